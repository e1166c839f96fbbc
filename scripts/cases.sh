# shellcheck shell=bash
# What scripts/real-clients, scripts/real-proxies and scripts/real-rings share: tests by name, and captures of what they caused.
# Sourced after net.sh.

passed=0 failed=0

# run_tests NAME...: one line each, then a summary in this script's name. Exits with 1 when one failed.
run_tests() {
    local name
    for name in "$@"; do run_test "$name"; done
    say
    say "$(basename "$0"): $passed passed, $failed failed"
    [ "$failed" = 0 ] || {
        engine_words
        exit 1
    }
}

run_test() {
    local log=$WORKDIR/$1.log
    # In a condition `set -e` is off inside, so that every test ends in the check that decides it.
    if "$1" >"$log" 2>&1; then
        say "test $1 ... ok"
        passed=$((passed + 1))
    else
        say "test $1 ... FAILED"
        tail -n 30 "$log" | sed 's/^/    /'
        failed=$((failed + 1))
    fi
}

engine_words() {
    say "-- usher, standard output"
    tail -n 60 "$WORKDIR/usher.out"
    say "-- usher, standard error"
    tail -n 60 "$WORKDIR/usher.err"
}

# capture NAMESPACE INTERFACE [FILTER]: into $WORKDIR/INTERFACE.pcap, until the process $LAST is stopped.
capture() {
    background ip netns exec "$1" tcpdump -Z root -i "$2" -U -w "$WORKDIR/$2.pcap" --immediate-mode -B 32768 "${@:3}" \
        2>"$WORKDIR/$2.err"
    wait_for "tcpdump to listen" grep -q 'listening on' "$WORKDIR/$2.err"
}

# frames INTERFACE FILTER [ARGUMENT...]: those of its capture that tshark selects.
frames() {
    tshark -n -r "$WORKDIR/$1.pcap" -o tcp.check_checksum:TRUE -o ip.check_checksum:TRUE -Y "$2" "${@:3}" 2>/dev/null
}

# no_bad_checksum_on INTERFACE [MAC]: none in its capture. The kernel of MAC writes a TCP checksum of 0 as 0xffff
# (CSUM_MANGLED_0), the same number in one's complement; tshark calls that bad, about once in 65536 frames.
no_bad_checksum_on() {
    local bad='ip.checksum.status == 0 || tcp.checksum.status == 0 || icmp.checksum.status == 0 || icmpv6.checksum.status == 0'
    local mangled="eth.src == $2 && tcp.checksum == 0xffff && tcp.checksum_calculated == 0"
    [ -n "$(frames "$1" 'tcp.flags.syn == 1 && tcp.flags.ack == 1' | head -n 1)" ] || return
    frames "$1" "($bad) && !($mangled)" >"$WORKDIR/bad" || return
    head -n 20 "$WORKDIR/bad"
    [ ! -s "$WORKDIR/bad" ]
}

# wrk_ok CONNECTIONS SECONDS ARGUMENT...: all requests are answered.
wrk_ok() {
    client wrk -t 1 -c "$1" -d "$2s" "${@:3}" >"$WORKDIR/wrk" || return
    cat "$WORKDIR/wrk"
    ! grep -E 'Socket errors|Non-2xx' "$WORKDIR/wrk" && [ "$(wrk_requests "$WORKDIR/wrk")" -gt 100 ]
}

# top_up BINARY: `usher top` in a terminal of 80 x 24, which says at its end how it ended and how it left the terminal.
top_up() {
    background env LC_ALL=C.UTF-8 TERM=screen tmux -u -f /dev/null -S "$WORKDIR/tmux" -D
    wait_for "tmux to listen" [ -S "$WORKDIR/tmux" ]
    # shellcheck disable=SC2016 # the shell in the terminal expands it
    tmux_do new-session -d -x 80 -y 24 sh -c '"$@"; echo "left with $?"; stty -a; exec sleep 1000' sh \
        "$1" top --interval 200ms -c "$WORKDIR/usher.toml"
}

tmux_do() { tmux -S "$WORKDIR/tmux" "$@"; }
top_keys() { tmux_do send-keys "$@"; }
top_screen() { tmux_do capture-pane -p; }
top_has() { top_screen | grep -qE -- "$1"; }
# top_shows PATTERN, top_lacks PATTERN: within fifteen seconds. The screen goes into the log of the test.
top_shows() { top_comes_to top_has "$1"; }
top_lacks() { top_comes_to top_has_no "$1"; }
top_has_no() { ! top_has "$1"; }
top_comes_to() {
    local tries
    for ((tries = 0; tries < 150; tries++)); do
        ! "$@" || break
        sleep 0.1
    done
    say "-- $*"
    top_screen
    "$@"
}
# The process id of what runs in the terminal.
top_pid() { pgrep -P "$(tmux_do display-message -p '#{pane_pid}')" -x usher; }
top_again() { tmux_do kill-server && rm -f "$WORKDIR/tmux"; }
