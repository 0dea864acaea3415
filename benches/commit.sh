#!/bin/sh
# What a durable log adds to the time of one command at a time, over what the disk takes by itself
# for such writes: by turns the disk, a run with durability memory, and one with sync.
#
#   cargo build --release --benches && benches/commit.sh [psmr]
#
# ROUNDS (10). DATA_DIR (a new directory under /tmp): on the disk that is meant. All three acceptors of
# a run share that disk and two of them write at once, so the disk is measured with one write and with
# two; and a cluster of one acceptor, which has the disk for itself, is measured too. Two lines on
# standard output: medians, microseconds; progress on standard error.
set -eu

psmr=${1:-target/release/psmr}
rounds=${ROUNDS:-10}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
data=${DATA_DIR:-$scratch/data}

p50() {
    rm -rf "$data"
    "$psmr" bench run --json --service null --model smr --command-bytes 64 --seconds 2 --warmup 1 \
        --client-path datagram --clients 1 --outstanding 1 "$@" |
        sed 's/.*"latency_us"//; s/}.*//' | sed -n 's/.*"p50":\([0-9.]*\).*/\1/p'
}

for round in $(seq "$rounds"); do
    echo "round $round of $rounds" >&2
    cargo bench --quiet --bench log -- "$(dirname "$data")" >"$scratch/disk"
    one=$(awk '/^1 of 100 bytes/ { print $6 }' "$scratch/disk")
    two=$(sed -n 's/^two writes.*: \([0-9.]*\) us$/\1/p' "$scratch/disk")
    memory=$(p50 --durability memory)
    sync=$(p50 --durability sync --data-dir "$data")
    alone=$(p50 --acceptors 1 --durability memory)
    alone_sync=$(p50 --acceptors 1 --durability sync --data-dir "$data")
    echo "$one $two $memory $sync $alone $alone_sync" >>"$scratch/rounds"
done
awk '
    function median(values, n,    i, j, held) {
        for (i = 2; i <= n; i++) {
            held = values[i]
            for (j = i - 1; j > 0 && values[j] > held; j--) values[j + 1] = values[j]
            values[j + 1] = held
        }
        return values[int((n + 1) / 2)]
    }
    {
        one[NR] = $1; two[NR] = $2; memory[NR] = $3; sync[NR] = $4
        added[NR] = $4 - $3; of_one[NR] = added[NR] / $1; of_two[NR] = added[NR] / $2
        alone[NR] = $5; alone_sync[NR] = $6; own[NR] = $6 - $5; of_own[NR] = own[NR] / $1
    }
    END {
        printf "disk %.0f us, two writes at once %.0f us; p50 %.0f us, with logs %.0f us: ",
            median(one, NR), median(two, NR), median(memory, NR), median(sync, NR)
        printf "adds %.0f us, %.2f of one write, %.2f of two (%d rounds)\n",
            median(added, NR), median(of_one, NR), median(of_two, NR), NR
        printf "one acceptor alone: p50 %.0f us, with a log %.0f us: adds %.0f us, %.2f of one write\n",
            median(alone, NR), median(alone_sync, NR), median(own, NR), median(of_own, NR)
    }' "$scratch/rounds"
