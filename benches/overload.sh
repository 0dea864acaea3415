#!/bin/sh
# What ten times the load that fills a cluster does to it, and a replica that stands still: a service
# of about 20 us a command limits the capacity.
#
#   cargo build --release && benches/overload.sh [psmr]
#
# On standard output: commands answered a second with enough outstanding, with ten times and a hundred
# times as many, and again 2 s later; then the same with one replica stopped, and how long it takes to
# be level again; the memory of all nodes before and after. Takes about a minute.
set -eu

# shellcheck source=benches/cluster.sh
. "$(dirname "$0")/cluster.sh"
service="work = ${WORK:-10000}"

# run NAME OUTSTANDING CLIENTS: commands a second, and a line.
run() {
    load --clients "$3" --outstanding "$2" --warmup 0 --seconds 5 >"$home/report" 2>"$home/load.log"
    rate=$(value "$home/report" commands_per_s)
    first=${first:-$rate}
    printf '%-34s %9.0f commands/s %5.2f of the first %9.0f us p50 %9.0f us p99\n' "$1" "$rate" \
        "$(echo "$rate $first" | awk '{ print $1 / $2 }')" \
        "$(latency "$home/report" p50)" "$(latency "$home/report" p99)"
}

start --service null --model smr --threads 1
until is_whole; do sleep 0.1; done
load --clients 8 --outstanding 256 --seconds 3 --warmup 0 >"$home/report"
before=$(memory)
run "256 outstanding" 256 8
run "2,560 outstanding" 2560 80
run "25,600 outstanding" 25600 400
sleep 2
run "256 outstanding, 2 s later" 256 8
echo "memory of all nodes: $before MiB before, $(memory) MiB after"
# shellcheck disable=SC2154
kill -STOP "$pid_r2"
run "2,560 outstanding, r2 stopped" 2560 80
run "2,560 outstanding, r2 stopped" 2560 80
kill -CONT "$pid_r2"
start=$(date +%s%N)
until is_whole && [ "$(of r2 lag)" = 0 ]; do sleep 0.05; done
end=$(date +%s%N)
awk -v ns="$((end - start))" 'BEGIN { printf "r2 is level %.2f s after it goes on\n", ns / 1e9 }'
run "256 outstanding, r2 back" 256 8
echo "memory of all nodes: $(memory) MiB after"
