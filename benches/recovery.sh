#!/bin/sh
# How long a replica that has lost everything takes to come back under load: it is killed, its
# directory removed, and it is started again while a client goes on.
#
#   cargo build --release && benches/recovery.sh [psmr]
#
# KEYS (10000000), DURABILITY (memory or sync), SECONDS_OF_LOAD (30). Prints the seconds from its
# start to its being level again, and what the client saw. Takes about a minute.
set -eu

# shellcheck source=benches/cluster.sh
. "$(dirname "$0")/cluster.sh"
keys=${KEYS:-10000000}

start --keys "$keys" --durability "${DURABILITY:-memory}"
load --keys "$keys" --clients 1 --outstanding 256 --mix read=50,update=40,insert=5,delete=5 \
    --seconds "${SECONDS_OF_LOAD:-30}" >"$home/report" &
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
