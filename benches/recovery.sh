#!/bin/sh
# How long a replica that has lost everything takes to come back under load: it is killed, its
# directory removed, and it is started again while a client goes on.
#
#   cargo build --release && benches/recovery.sh [psmr]
#
# KEYS (10000000), DURABILITY (memory or sync), SECONDS_OF_LOAD (30). Prints the seconds from its
# start to its being level again, and what the client saw. Takes about a minute.
set -eu

psmr=${1:-target/release/psmr}
keys=${KEYS:-10000000}
load=${SECONDS_OF_LOAD:-30}
home=$(mktemp -d)
config=$home/cluster.toml
running=""
trap 'for id in $running; do kill -9 "$id" 2>/dev/null || true; done; rm -rf "$home"' EXIT

# node ID: started, and waited for.
node() {
    mkfifo "$home/ready-$1"
    "$psmr" node --config "$config" --id "$1" >"$home/ready-$1" 2>>"$home/$1.log" &
    eval "pid_$1=$!"
    running="$running $!"
    read -r _ <"$home/ready-$1"
    rm "$home/ready-$1"
}

# What the status says of node ID under NAME.
of() {
    "$psmr" status --config "$config" --json | sed 's/{"id":/\n&/g' |
        sed -n "/^{\"id\":\"$1\"/s/.*\"$2\":\([a-z0-9]*\).*/\1/p"
}

"$psmr" config init --out "$config" --keys "$keys" --durability "${DURABILITY:-memory}" \
    --data-dir "$home/data" --port-base 21000
for id in a1 a2 a3 r1 r2; do node "$id"; done
"$psmr" client --config "$config" load --keys "$keys" --clients 1 --outstanding 256 \
    --mix read=50,update=40,insert=5,delete=5 --seconds "$load" --json >"$home/report" &
client=$!
running="$running $client"
sleep 12
# shellcheck disable=SC2154
kill -9 "$pid_r1"
rm -rf "$home/data/r1"
sleep 1
start=$(date +%s%N)
node r1
until [ "$(of r1 lost)" = false ] && [ "$(of r1 transfers)" != 0 ]; do sleep 0.1; done
end=$(date +%s%N)
awk -v ns="$((end - start))" -v keys="$keys" \
    'BEGIN { printf "%d keys: back after %.2f s under load\n", keys, ns / 1e9 }'
wait "$client"
sed 's/.*"commands_per_s":\([0-9.]*\).*"latency_us":\({[^}]*}\).*/commands_per_s \1 latency_us \2/' "$home/report"
