#!/bin/sh
# The speed rows of README.md: each run RUNS times (5), medians.
#
#   cargo build --release && benches/rows.sh [psmr]
#
# Runs of rows that are compared alternate, so that a slow minute of the machine hits both. One line
# a row on standard output, progress on standard error. Takes about 4 minutes; nothing else should
# run on the machine.
set -eu

psmr=${1:-target/release/psmr}
runs=${RUNS:-5}
tree="--service btree --keys 10000000 --clients 1 --outstanding 1024 --seconds 3 --warmup 1"
null="--service null --model smr --seconds 3 --warmup 1"
samples=$(mktemp -d)
trap 'rm -rf "$samples"' EXIT

# The number of a key in the one line of JSON.
value() {
    sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p"
}

# sample NAME OPTIONS..: one run; its figures are added to those of NAME.
sample() {
    name=$1
    shift
    echo "$name: psmr bench run $*" >&2
    json=$("$psmr" bench run --json "$@")
    echo "$json" | value commands_per_s >>"$samples/$name.rate"
    echo "$json" | value cpu_ns_per_command >>"$samples/$name.cpu"
    echo "$json" | sed 's/.*"latency_us"//' | sed "s/}.*//" | value p50 >>"$samples/$name.p50"
    echo "$json" | value allocations_after_warmup >>"$samples/$name.allocations"
}

# median NAME FIGURE
median() {
    sort -n "$samples/$1.$2" | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'
}

row() {
    printf '%-34s %10.0f commands/s %7.0f ns CPU %9.1f us p50 %4.0f allocations\n' \
        "$1" "$(median "$1" rate)" "$(median "$1" cpu)" "$(median "$1" p50)" \
        "$(median "$1" allocations)"
}

# ratio NAME NAME: of the medians.
ratio() {
    awk -v a="$(median "$1" rate)" -v b="$(median "$2" rate)" -v n="$1 / $2" \
        'BEGIN { printf "%-60s %.2f\n", n, a / b }'
}

# The options are words without spaces.
# shellcheck disable=SC2086
for run in $(seq "$runs"); do
    echo "run $run of $runs" >&2
    sample null-in-process $null --client-path in-process --clients 1 --outstanding 4096
    sample null-datagram $null --client-path datagram --clients 4 --outstanding 4096
    sample one-outstanding $null --client-path datagram --clients 1 --outstanding 1
    sample opt-psmr-0 --model opt-psmr --threads 2 $tree --client-path in-process --dependent 0
    sample psmr-0 --model psmr --threads 2 $tree --client-path in-process --dependent 0
    sample opt-psmr-0-datagram --model opt-psmr --threads 2 $tree --client-path datagram --dependent 0
    sample smr-100 --model smr $tree --client-path in-process --dependent 100
    sample opt-psmr-100 --model opt-psmr --threads 2 $tree --client-path in-process --dependent 100
    sample psmr-100-command --model psmr --threads 2 $tree --client-path in-process \
        --dependent 100 --barrier command
    sample psmr-100-instance --model psmr --threads 2 $tree --client-path in-process \
        --dependent 100 --barrier instance
done

for name in null-in-process null-datagram one-outstanding opt-psmr-0 psmr-0 opt-psmr-0-datagram \
    smr-100 opt-psmr-100 psmr-100-command psmr-100-instance; do
    row "$name"
done
ratio opt-psmr-100 psmr-100-command
ratio opt-psmr-100 psmr-100-instance
ratio opt-psmr-100 smr-100
ratio psmr-0 opt-psmr-0
