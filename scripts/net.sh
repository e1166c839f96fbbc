# shellcheck shell=bash
# A network of two hosts and an engine on one of them. Sourced after lib.sh by scripts/demo and scripts/real-clients.
#
#   [ client namespace: c0 10.10.0.1/16 fd00:10::1/64 ] ──veth── [ e0: no address; usher on net_af_packet : server namespace ]
#
# The names carry the id of this process. net_trap removes everything however the script ends; what a SIGKILL leaves
# behind is removed by the next script that calls net_up.

NET_CLIENT=usher-c-$$
NET_SERVER=usher-s-$$
readonly NET_CLIENT NET_SERVER
# The VIP of the `hello` service in configs/demo.toml.
readonly VIP4=10.10.0.10 VIP6=fd00:10::10 VIP_PORT=80

WORKDIR=
children=()
USHER_PID=

client() { ip netns exec "$NET_CLIENT" "$@"; }
server() { ip netns exec "$NET_SERVER" "$@"; }

# Call first: from here on nothing outlives the script.
net_trap() {
    trap net_down EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
}

net_up() {
    net_sweep
    WORKDIR=$(mktemp -d "${TMPDIR:-/tmp}/usher-$$.XXXXXX")
    ip netns add "$NET_CLIENT"
    ip netns add "$NET_SERVER"
    # An engine owns every address of its link: the kernel beside it must own none, link-local ones included.
    server sysctl -qw net.ipv6.conf.default.disable_ipv6=1 net.ipv6.conf.all.disable_ipv6=1
    client sysctl -qw net.ipv4.ip_forward=0 net.ipv4.tcp_tw_reuse=1 net.ipv4.ip_local_port_range='1024 65535'
    ip link add c0 netns "$NET_CLIENT" type veth peer name e0 netns "$NET_SERVER"
    # A kernel leaves checksums to the device, and a veth has none: frames would arrive unfinished.
    offloads_off client c0
    offloads_off server e0
    client ip address add 10.10.0.1/16 dev c0
    client ip address add fd00:10::1/64 dev c0 nodad
    client ip link set lo up
    client ip link set c0 up
    server ip link set lo up
    server ip link set e0 up
    wait_for "the carrier of e0" server grep -qx up /sys/class/net/e0/operstate
}

# wait_for WHAT COMMAND...: until the command succeeds, fifteen seconds at most.
wait_for() {
    local what=$1 tries
    shift
    for ((tries = 0; tries < 150; tries++)); do
        ! "$@" || return 0
        sleep 0.1
    done
    die "waited in vain for $what"
}

offloads_off() {
    "$1" ethtool -K "$2" tx off tso off gso off gro off >"$WORKDIR/ethtool" 2>&1 ||
        die "the offloads of $2 cannot be switched off" "$(cat "$WORKDIR/ethtool")"
}

# Runs a command that may last. A signal to this script ends it at once instead of after the command, with all that
# it has started: it leads a process group of its own.
await() {
    setsid "$@" &
    local pid=$! status=0
    children+=("$pid")
    wait "$pid" || status=$?
    forget "$pid"
    return "$status"
}

# Runs a command in the background until net_down; its id is in $LAST.
background() {
    setsid "$@" &
    LAST=$!
    children+=("$LAST")
}

forget() {
    local pid kept=()
    for pid in "${children[@]}"; do [ "$pid" = "$1" ] || kept+=("$pid"); done
    children=("${kept[@]}")
}

# usher_up BINARY: configs/demo.toml, started and polled. Its output goes to $WORKDIR/usher.out and usher.err.
usher_up() {
    cp "$TOP"/configs/hello.http "$WORKDIR"
    sed "s/^cores = .*/cores = [$(last_core)]/" "$TOP/configs/demo.toml" >"$WORKDIR/demo.toml"
    ip netns exec "$NET_SERVER" "$1" check -c "$WORKDIR/demo.toml" || die "usher check refuses configs/demo.toml"
    background ip netns exec "$NET_SERVER" "$1" run -c "$WORKDIR/demo.toml" \
        >"$WORKDIR/usher.out" 2>"$WORKDIR/usher.err"
    USHER_PID=$LAST
    wait_for "usher to be ready" ready_or_gone
    kill -0 "$USHER_PID" 2>/dev/null || {
        sed 's/^/  usher: /' "$WORKDIR/usher.err" >&2
        die "usher did not become ready"
    }
}

ready_or_gone() { grep -qx 'usher ready' "$WORKDIR/usher.out" || ! kill -0 "$USHER_PID" 2>/dev/null; }

# The last core that this process may use: the first is where everything else is busy, and a container may have neither.
last_core() { sed -n 's/^Cpus_allowed_list:.*[^0-9]\([0-9]*\)$/\1/p' /proc/self/status; }

# Stops the engine as an operator would, and returns its exit code.
usher_down() {
    local status=0
    kill -TERM "$USHER_PID" 2>/dev/null || true
    wait "$USHER_PID" || status=$?
    forget "$USHER_PID"
    USHER_PID=
    return "$status"
}

# The MAC at which a client reaches ADDRESS, learned by talking to it once.
mac_of() { client ip -j neigh show to "$1" dev c0 | jq -er '.[0].lladdr'; }

# metric NAME: that counter of the running engine, summed over its labels.
metric() { server curl -sS --max-time 5 http://127.0.0.1:9464/metrics | metric_sum "$1"; }

metric_sum() {
    awk -v name="$1" '$1 == name || index($1, name "{") == 1 { sum += $NF } END { printf "%d\n", sum }'
}

# Requests that wrk says it completed.
wrk_requests() { sed -n 's/^ *\([0-9]*\) requests in .*/\1/p' "$1"; }

net_down() {
    local status=$?
    trap - EXIT
    trap '' INT TERM HUP # a second Ctrl-C must not leave a namespace behind
    # Whatever else went wrong: an engine that is gone is the reason.
    [ -z "$USHER_PID" ] || kill -0 "$USHER_PID" 2>/dev/null ||
        warn "usher has ended by itself; its last words: $(tail -n 5 "$WORKDIR/usher.err")"
    stop "${children[@]}"
    # What those started lives in our own namespaces, where nobody else has any business.
    netns_remove "$NET_CLIENT"
    netns_remove "$NET_SERVER"
    [ -z "$WORKDIR" ] || rm -rf "$WORKDIR"
    exit "$status"
}

# stop PID...: asks them and the groups that they lead, waits five seconds at most, then insists.
stop() {
    local tries
    signal TERM "$@" || return 0
    for ((tries = 0; tries < 50; tries++)); do
        signal 0 "$@" || return 0
        sleep 0.1
    done
    signal KILL "$@" || true
}

# signal NAME PID...: whether there was anybody to hear it.
signal() {
    local name=$1 pid heard=1
    shift
    for pid in "$@"; do
        # Not yet a leader, or a leader that has ended before its group: one of the two reaches it.
        ! kill -s "$name" -- "$pid" 2>/dev/null || heard=0
        ! kill -s "$name" -- "-$pid" 2>/dev/null || heard=0
    done
    return "$heard"
}

netns_remove() {
    [ -e "/run/netns/$1" ] || return 0
    local pids
    mapfile -t pids < <(ip netns pids "$1" 2>/dev/null)
    stop "${pids[@]}"
    ip netns del "$1"
}

# Removes the namespaces and files of scripts that were killed before they could.
net_sweep() {
    local path name
    for path in /run/netns/usher-[cs]-*; do
        [ -e "$path" ] || continue
        name=${path##*/}
        kill -0 "${name##*-}" 2>/dev/null || netns_remove "$name"
    done
    for path in "${TMPDIR:-/tmp}"/usher-[0-9]*.??????; do
        [ -d "$path" ] || continue
        name=${path##*/usher-}
        kill -0 "${name%.*}" 2>/dev/null || rm -rf "$path"
    done
}
