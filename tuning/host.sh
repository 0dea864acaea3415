#!/usr/bin/env bash
# Settings of a host that runs psmr nodes: checks them, applies them, or undoes what it applied.
#
#   tuning/host.sh check                       what differs; status 1 if anything does
#   sudo tuning/host.sh apply [OPTIONS]        sets what differs, and keeps what was there before
#   sudo tuning/host.sh undo                   puts that back
#
# Options of check and apply:
#   --hugepages N      2 MiB pages to reserve [512]
#   --latency US       idle states that take longer to leave are disabled [10]
#   --nic DEVICE       a network card: its interrupts go to --irq-cpus, and are not held back
#   --irq-cpus LIST    CPUs that take the card's interrupts [0]
#
# Nothing here outlives a reboot. README.md says what each setting buys. PSMR_ROOT stands before
# every path, for tests.
set -euo pipefail

root=${PSMR_ROOT:-}
state=$root/run/psmr-tuning
hugepages=512 latency=10 nic='' irq_cpus=0 differs=0

fail() {
    echo "host.sh: $1" >&2
    exit "${2:-2}"
}

# The value of a file; of a choice like `always [madvise] never` the chosen word.
current() {
    local text
    text=$(<"$1")
    if [[ $text =~ \[([a-z]+)\] ]]; then text=${BASH_REMATCH[1]}; fi
    echo "$text"
}

# set_to PATH VALUE: in mode check compares, in mode apply writes. What a machine lacks is skipped.
set_to() {
    local path=$root$1 value=$2 before
    [ -e "$path" ] || return 0
    before=$(current "$path")
    if [ "$before" = "$value" ]; then return 0; fi
    echo "$1: $before, wanted $value"
    differs=1
    if [ "$mode" = apply ]; then
        # The first value is the one to go back to, however often this runs.
        grep -qsF "$1 " "$state" || echo "$1 $before" >>"$state" || fail "cannot keep $state: run as root" 3
        echo "$value" >"$path" || fail "cannot write $path: run as root" 3
    fi
}

# at_least PATH VALUE: like set_to, for limits that may be higher.
at_least() {
    if [ -e "$root$1" ] && [ "$(current "$root$1")" -lt "$2" ]; then set_to "$1" "$2"; fi
}

# coalescing VALUE: microseconds that the card holds interrupts back.
coalescing() {
    command -v ethtool >/dev/null || { echo "ethtool is not installed: rx-usecs not looked at"; return 0; }
    local before
    before=$(ethtool -c "$nic" 2>/dev/null | awk '$1 == "rx-usecs:" { print $2 }') || true
    [[ $before =~ ^[0-9]+$ ]] && [ "$before" != "$1" ] || return 0
    echo "$nic rx-usecs: $before, wanted $1"
    differs=1
    if [ "$mode" = apply ]; then
        grep -qsF "rx-usecs:$nic " "$state" || echo "rx-usecs:$nic $before" >>"$state"
        ethtool -C "$nic" rx-usecs "$1"
    fi
}

all() {
    # Sockets: a burst of trains must fit while a worker waits.
    at_least /proc/sys/net/core/rmem_max 8388608
    at_least /proc/sys/net/core/wmem_max 8388608
    at_least /proc/sys/net/core/netdev_max_backlog 10000
    # A worker's socket joins a group a ring, 65 at most.
    at_least /proc/sys/net/ipv4/igmp_max_memberships 80
    # Memory: the tree in 2 MiB pages, and none of them moved under a pinned thread.
    at_least /proc/sys/vm/nr_hugepages "$hugepages"
    set_to /sys/kernel/mm/transparent_hugepage/enabled madvise
    set_to /proc/sys/kernel/numa_balancing 0
    # Processors: full clock, and no idle state that takes longer to leave than a round of votes.
    local path dir exit_us
    for path in "$root"/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor; do
        set_to "${path#"$root"}" performance
    done
    for dir in "$root"/sys/devices/system/cpu/cpu[0-9]*/cpuidle/state[0-9]*; do
        [ -e "$dir/latency" ] || continue
        exit_us=$(current "$dir/latency")
        if [ "$exit_us" -gt "$latency" ]; then set_to "${dir#"$root"}/disable" 1; fi
    done
    if [ -n "$nic" ]; then card; fi
    if ! grep -qE '(^| )isolcpus=' "$root/proc/cmdline" 2>/dev/null; then
        echo "note: no isolcpus on the kernel's command line (a boot parameter, see README.md)"
    fi
}

card() {
    [ -d "$root/sys/class/net/$nic" ] || fail "--nic $nic: there is no such device; see \`ip link\`"
    local interrupt
    for interrupt in "$root/sys/class/net/$nic/device/msi_irqs"/[0-9]*; do
        set_to "/proc/irq/${interrupt##*/}/smp_affinity_list" "$irq_cpus"
    done
    if [ -z "$root" ] && pgrep -x irqbalance >/dev/null; then
        echo "note: irqbalance runs and moves interrupts: stop it, or ban the card's interrupts"
    fi
    coalescing 0
}

undo() {
    [ -e "$state" ] || { echo "nothing was applied since the machine started"; return 0; }
    local name value
    while read -r name value; do
        echo "$name: back to $value"
        case $name in
            rx-usecs:*) ethtool -C "${name#rx-usecs:}" rx-usecs "$value" ;;
            *) echo "$value" >"$root$name" || fail "cannot write $name: run as root" 3 ;;
        esac
    done <"$state"
    rm "$state"
}

mode=${1:-}
shift || true
while [ $# -gt 0 ]; do
    [ $# -ge 2 ] || fail "$1 needs a value"
    case $1 in
        --hugepages) hugepages=$2 ;;
        --latency) latency=$2 ;;
        --nic) nic=$2 ;;
        --irq-cpus) irq_cpus=$2 ;;
        *) fail "$1 is no option: see the head of this file" ;;
    esac
    shift 2
done
[[ $hugepages =~ ^[0-9]+$ ]] || fail "--hugepages $hugepages is no number"
[[ $latency =~ ^[0-9]+$ ]] || fail "--latency $latency is no number"
case $mode in
    check) all; exit "$differs" ;;
    apply) all ;;
    undo) undo ;;
    *) fail "say check, apply or undo" ;;
esac
