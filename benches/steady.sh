#!/bin/sh
# Full load with nothing killed: nobody takes over from a coordinator that lives, and memory stays as
# it is.
#
#   cargo build --release && benches/steady.sh [psmr]
#
# LASTS (600 s), DURABILITY (memory or sync). One line on standard output: how many rings have another
# ballot than before (none should), commands a second, the longest silence, and the memory of all
# nodes before and after.
set -eu

# shellcheck source=benches/cluster.sh
. "$(dirname "$0")/cluster.sh"
lasts=${LASTS:-600}

# ballots: of every ring, a line each.
ballots() {
    "$psmr" status --config "$config" --json | grep -o '"ring":[0-9]*,[^}]*"ballot":[0-9]*'
}

start --keys 100000 --durability "${DURABILITY:-memory}"
until is_whole; do sleep 0.1; done
full() {
    load --keys 100000 --clients 16 --outstanding 4096 --mix read=50,update=50 --warmup 0 --seconds "$1"
}
full 10 >"$home/report"
ballots >"$home/before"
before=$(memory)
full "$lasts" >"$home/report"
ballots >"$home/after"
changed=$(diff "$home/before" "$home/after" | grep -c '^>' || true)
printf '%d of %d rings have another ballot after %d s; %.0f commands/s, longest silence %.0f ms, ' \
    "$changed" "$(wc -l <"$home/after")" "$lasts" "$(value "$home/report" commands_per_s)" \
    "$(value "$home/report" silence_us | awk '{ print $1 / 1000 }')"
echo "memory of all nodes $before MiB before, $(memory) MiB after"
