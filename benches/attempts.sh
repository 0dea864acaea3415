#!/bin/sh
# How often a command is sent until it is answered, without loss and where every node loses some of
# what it receives: proposals, votes, decisions and repairs alike.
#
#   cargo build --release && benches/attempts.sh [psmr]
#
# LOSS (10, percent), LASTS (10, seconds). A line each on standard output: attempts a command, and
# commands without an answer.
set -eu

loss=${LOSS:-10}
lasts=${LASTS:-10}

# A cluster whose nodes have $options, of the subshell that calls it.
measure() {
    # shellcheck source=benches/cluster.sh
    . "$(dirname "$0")/cluster.sh"
    start --keys 100000
    until is_whole; do sleep 0.1; done
    load --keys 100000 --clients 4 --outstanding 64 --mix read=50,update=50 --warmup 0 \
        --seconds "$lasts" --deadline 30s >"$home/report"
    awk -v attempts="$(value "$home/report" attempts)" -v retries="$(value "$home/report" retries)" \
        -v unknown="$(value "$home/report" unknown)" '
        BEGIN { printf "%.3f attempts a command (%d commands, %d without an answer)\n",
            attempts / (attempts - retries), attempts - retries, unknown }'
}

printf 'without loss: '
(options="" && measure "$@")
printf '%s %% lost at each node: ' "$loss"
(options="--fault loss=$loss" && measure "$@")
