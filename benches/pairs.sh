#!/bin/sh
# What durability, authentication, plain sockets and checkpoints cost: pairs of runs that alternate,
# and the ratios within each pair.
#
#   cargo build --release && benches/pairs.sh [psmr] [PAIR..]
#
# PAIRS (10) of each; without names all of them: durable, keys, keys-tree, socket, checkpoints.
# One line a pair on standard output: the median of the ratios, the least and the greatest; progress on
# standard error. A pair takes about 10 s, one of checkpoints a minute; nothing else should run on the
# machine. DATA_DIR (a new directory under /tmp) is where durable runs write: name one on the disk
# that is meant.
set -eu

psmr=${1:-target/release/psmr}
[ $# -eq 0 ] || shift
pairs=${PAIRS:-10}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
data=${DATA_DIR:-$scratch/data}

# rate OPTIONS..: the commands a second of one run.
rate() {
    echo "psmr bench run $*" >&2
    rm -rf "$data"
    "$psmr" bench run --json "$@" | sed -n 's/.*"commands_per_s":\([0-9.]*\).*/\1/p'
}

# compare NAME COMMON A B: B over A, options as words.
# shellcheck disable=SC2086
compare() {
    : >"$scratch/ratios"
    for pair in $(seq "$pairs"); do
        echo "$1: pair $pair of $pairs" >&2
        # Each is first in half of the pairs.
        if [ $((pair % 2)) = 0 ]; then
            a=$(rate $2 $3)
            b=$(rate $2 $4)
        else
            b=$(rate $2 $4)
            a=$(rate $2 $3)
        fi
        awk -v a="$a" -v b="$b" 'BEGIN { print b / a, a, b }' >>"$scratch/ratios"
    done
    sort -n "$scratch/ratios" | awk -v name="$1" '
        { ratio[NR] = $1; a[NR] = $2; b[NR] = $3 }
        END {
            middle = int((NR + 1) / 2)
            printf "%-12s %.2f (%.2f to %.2f, %d pairs; the median pair %.0f and %.0f a second)\n",
                name, ratio[middle], ratio[1], ratio[NR], NR, a[middle], b[middle]
        }'
}

null="--service null --model smr --command-bytes 64 --seconds 2 --warmup 1 --client-path datagram"
many="$null --clients 4 --outstanding 16384"
mixed="--model opt-psmr --threads 2 --dependent 10 --seconds 2 --warmup 1 --client-path datagram
    --clients 4 --outstanding 4096"
tree="--model opt-psmr --keys 10000000 --dependent 10 --seconds 11 --warmup 2 --outstanding 1024"

for name in ${*:-durable keys keys-tree socket checkpoints}; do
    case $name in
        durable)
            compare durable "$many" "--durability memory" \
                "--durability sync --data-dir $data"
            ;;
        keys)
            [ -e "$scratch/key" ] || "$psmr" keygen --out "$scratch/key" >/dev/null
            compare keys "$many" "" "--key-file $scratch/key"
            ;;
        keys-tree)
            [ -e "$scratch/key" ] || "$psmr" keygen --out "$scratch/key" >/dev/null
            compare keys-tree "$mixed" "" "--key-file $scratch/key"
            ;;
        socket) compare socket "$many" "--io uring" "--io socket" ;;
        checkpoints)
            compare checkpoints "$tree" "--checkpoint-interval-ms 0" \
                "--checkpoint-interval-ms 10000"
            ;;
        *)
            echo "$name: no pair of that name: durable, keys, keys-tree, socket, checkpoints" >&2
            exit 2
            ;;
    esac
done
