# shellcheck shell=bash
# A network of two hosts and an engine on one of them, and backends behind it if they are wanted. Sourced after lib.sh by
# scripts/demo, scripts/real-clients, scripts/real-proxies and scripts/compare-proxies.
#
#   [ client namespace: c0 10.10.0.1/16 fd00:10::1/64 ] ──veth── [ e0: no address; usher on net_af_packet : server namespace ]
#   [ backend namespace: b0 10.20.0.2/16, .3, fd00:20::2/64, ::3 ] ──veth── [ e1: no address : the same ]
#   [ far namespace: f0 10.30.0.2/24 fd00:30::2/64 ] ──veth── [ f1: the client namespace, as a router ]
#
# The names carry the id of this process. net_trap removes everything however the script ends; what a SIGKILL leaves
# behind is removed by the next script that calls net_up.

NET_CLIENT=usher-c-$$
NET_SERVER=usher-s-$$
NET_BACKEND=usher-b-$$
NET_FAR=usher-f-$$
readonly NET_CLIENT NET_SERVER NET_BACKEND NET_FAR
# The VIP of `hello` in configs/demo.toml and of `web` in configs/demo-proxy.toml, and one that backends have, too (l2).
readonly VIP4=10.10.0.10 VIP6=fd00:10::10 VIP_PORT=80
readonly DIRECT4=10.10.0.20 DIRECT6=fd00:10::20

WORKDIR=
children=()
USHER_PID=

client() { ip netns exec "$NET_CLIENT" "$@"; }
server() { ip netns exec "$NET_SERVER" "$@"; }
backend() { ip netns exec "$NET_BACKEND" "$@"; }
far() { ip netns exec "$NET_FAR" "$@"; }

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
    server ip link set lo up
    link_up client "$NET_CLIENT" c0 e0 10.10.0.1/16 fd00:10::1/64
}

# The backends' half, after net_up. They have the address of the service with `forward = "l2"` on their loopback, tell
# nobody (arp_ignore), and answer from it through usher.
backends_up() {
    ip netns add "$NET_BACKEND"
    backend sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2 \
        net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
    link_up backend "$NET_BACKEND" b0 e1 10.20.0.2/16 10.20.0.3/16 fd00:20::2/64 fd00:20::3/64
    backend ip address add "$DIRECT4/32" dev lo
    backend ip address add "$DIRECT6/128" dev lo nodad
    backend ip rule add from "$DIRECT4" lookup 100
    backend ip route add default via 10.20.0.1 dev b0 table 100
    backend ip -6 rule add from "$DIRECT6" lookup 100
    backend ip -6 route add default via fd00:20::1 dev b0 table 100
}

# A client behind a router, the client's namespace, after net_up: packets of more than 1300 bytes do not pass to it, which
# neither end can know.
far_up() {
    ip netns add "$NET_FAR"
    ip link add f0 netns "$NET_FAR" type veth peer name f1 netns "$NET_CLIENT"
    offloads_off client f1
    host_up client f1 10.30.0.1/24 fd00:30::1/64
    offloads_off far f0
    host_up far f0 10.30.0.2/24 fd00:30::2/64
    far ip route add default via 10.30.0.1
    far ip -6 route add default via fd00:30::1
    client sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    client ip route add 10.30.0.2/32 dev f1 mtu lock 1300
    client ip -6 route add fd00:30::2/128 dev f1 mtu lock 1300
}

# link_up SIDE NAMESPACE INTERFACE ENGINE_INTERFACE ADDRESS...: a veth between a host's kernel and the engine.
link_up() {
    ip link add "$3" netns "$2" type veth peer name "$4" netns "$NET_SERVER"
    # A kernel leaves checksums to the device, and a veth has none: frames would arrive unfinished.
    offloads_off "$1" "$3"
    offloads_off server "$4"
    host_up "$1" "$3" "${@:5}"
    server ip link set "$4" up
    wait_for "the carrier of $4" server grep -qx up "/sys/class/net/$4/operstate"
}

# host_up SIDE INTERFACE ADDRESS...
host_up() {
    local address
    for address in "${@:3}"; do
        if [[ $address = *:* ]]; then
            "$1" ip address add "$address" dev "$2" nodad
        else
            "$1" ip address add "$address" dev "$2"
        fi
    done
    "$1" ip link set lo up
    "$1" ip link set "$2" up
}

# nginx_up NAME DIRECTIVES: a backend, ready; its id is in $LAST. It serves $WORKDIR/www, takes what is PUT to /up/,
# and says its name at / and in a header.
nginx_up() {
    mkdir -p "$WORKDIR/www/up"
    cat >"$WORKDIR/$1.conf" <<NGINX
daemon off;
user root;
pid $WORKDIR/$1.pid;
events {}
http {
    access_log off;
    client_body_temp_path $WORKDIR/$1.body;
    client_max_body_size 0;
    keepalive_requests 1000000;
    server {
        $2
        root $WORKDIR/www;
        add_header X-Backend $1 always;
        location = / { return 200 "$1 \$remote_addr \$proxy_protocol_addr\n"; }
        location /up/ { dav_methods PUT; }
    }
}
NGINX
    background ip netns exec "$NET_BACKEND" nginx -p "$WORKDIR" -c "$WORKDIR/$1.conf" -e "$WORKDIR/$1.err"
    wait_for "nginx to listen" nginx_ready_or_gone "$1" "$LAST"
    kill -0 "$LAST" 2>/dev/null || die "nginx did not start" "$(cat "$WORKDIR/$1.err")"
}

# It writes its id once it listens.
nginx_ready_or_gone() { [ -s "$WORKDIR/$1.pid" ] || ! kill -0 "$2" 2>/dev/null; }

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

# usher_up BINARY NAME [MORE]: configs/NAME.toml with the text MORE behind it, started and polled, with a worker on each of
# $USHER_CORES ("0, 1"), or one on the last core. Its output goes to
# $WORKDIR/usher.out and usher.err.
usher_up() {
    cp "$TOP"/configs/hello.http "$WORKDIR"
    { sed "s/^cores = .*/cores = [${USHER_CORES:-$(last_core)}]/" "$TOP/configs/$2.toml" && say "${3-}"; } >"$WORKDIR/usher.toml"
    ip netns exec "$NET_SERVER" "$1" check -c "$WORKDIR/usher.toml" || die "usher check refuses configs/$2.toml"
    background ip netns exec "$NET_SERVER" "$1" run -c "$WORKDIR/usher.toml" \
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
    netns_remove "$NET_BACKEND"
    netns_remove "$NET_FAR"
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
    for path in /run/netns/usher-[bcfs]-*; do
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
