#!/bin/sh
# How long clients wait when the coordinator of a ring is killed, by default timers, over many kills:
# for the next acknowledgement of any command, and the command that waits longest.
#
#   cargo build --release && benches/takeover.sh [psmr]
#
# KILLS (100), DURABILITY (memory or sync), OUTSTANDING (64). Two lines on standard output: the
# median, the 99th percentile and the longest; each kill on standard error. A kill takes about 5 s.
set -eu

# shellcheck source=benches/cluster.sh
. "$(dirname "$0")/cluster.sh"
kills=${KILLS:-100}

start --keys 100000 --durability "${DURABILITY:-memory}"
for kill in $(seq "$kills"); do
    until is_whole; do sleep 0.1; done
    victim=$(grep -o '"coordinator":"[^"]*"' "$home/status" | head -1 | cut -d'"' -f4)
    load --keys 100000 --clients 4 --outstanding "${OUTSTANDING:-64}" --mix read=50,update=50 \
        --warmup 0 --seconds 3 >"$home/report" 2>"$home/load.log" &
    client=$!
    running="$running $client"
    # At another moment of timers and batches each time.
    sleep "1.$((kill * 37 % 100 + 100))"
    eval "kill -9 \$pid_$victim"
    wait "$client"
    silence=$(value "$home/report" silence_us)
    longest=$(latency "$home/report" max)
    echo "$silence" >>"$home/silences"
    echo "$longest" >>"$home/longest"
    echo "kill $kill of $kills: $victim, $silence us, the longest command $longest us" >&2
    node "$victim"
done

# summary NAME FILE
summary() {
    sort -n "$2" | awk -v name="$1" '
        { v[NR] = $1 / 1000 }
        END {
            middle = int((NR + 1) / 2)
            late = int(NR * 0.99 + 0.999999)
            printf "%s: median %.0f ms, p99 %.0f ms, max %.0f ms (%d kills of a coordinator)\n",
                name, v[middle], v[late], v[NR], NR
        }'
}
summary "next acknowledgement" "$home/silences"
summary "longest wait of a command" "$home/longest"
