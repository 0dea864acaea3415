# A cluster of processes on loopback for the scripts beside: sourced, not run. Sets home, config and
# pid_ID of every node; all of them end and all files go when the script ends.

psmr=${1:-target/release/psmr}
home=$(mktemp -d)
config=$home/cluster.toml
running=""
trap 'for id in $running; do kill -9 "$id" 2>/dev/null || true; done; rm -rf "$home"' EXIT
trap 'exit 1' INT TERM

# node ID: started, with $options, and waited for.
# shellcheck disable=SC2086
node() {
    mkfifo "$home/ready-$1"
    "$psmr" node --config "$config" --id "$1" ${options:-} >"$home/ready-$1" 2>>"$home/$1.log" &
    eval "pid_$1=$!"
    running="$running $!"
    read -r _ <"$home/ready-$1"
    rm "$home/ready-$1"
}

# start OPTIONS OF CONFIG INIT..: all nodes.
start() {
    "$psmr" config init --out "$config" --data-dir "$home/data" --port-base 21000 "$@" >/dev/null
    if [ -n "${service:-}" ]; then
        sed -i "s/^\[service\]$/[service]\n$service/" "$config"
    fi
    for id in a1 a2 a3 r1 r2; do node "$id"; done
}

# is_whole: whether every node is up, has a vote and has the state.
is_whole() {
    "$psmr" status --config "$config" --json >"$home/status" &&
        ! grep -q '"up":false\|"votes":false\|"lost":true\|"coordinator":null' "$home/status"
}

# of ID NAME: what the status says of a node.
of() {
    "$psmr" status --config "$config" --json | sed 's/{"id":/\n&/g' |
        sed -n "/^{\"id\":\"$1\"/s/.*\"$2\":\([a-z0-9]*\).*/\1/p"
}

# memory: of all nodes that answer, in MiB.
memory() {
    "$psmr" status --config "$config" --json --patience 300ms | grep -o '"rss_bytes":[0-9]*' |
        cut -d: -f2 | awk '{ sum += $1 } END { printf "%.0f", sum / 1048576 }'
}

# load OPTIONS..: the report of a load.
load() {
    "$psmr" client --config "$config" load --json "$@"
}

# value REPORT NAME: a figure of it.
value() {
    sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p" "$1"
}

# latency REPORT NAME: of the latency of all commands.
latency() {
    sed 's/.*"latency_us"//; s/}.*//' "$1" | sed -n "s/.*\"$2\":\([0-9.]*\).*/\1/p"
}
