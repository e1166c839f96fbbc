//! Causes, which are also counters: why a frame was dropped, why a flow ended.

/// Declares a closed enum whose variants are counters: index, name and help come from one list. The
/// engine's own counters are declared by it, too.
#[macro_export]
macro_rules! counters {
    ($(#[$meta:meta])* $name:ident { $($variant:ident $text:literal $help:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $name { $(#[doc = $help] $variant,)+ }

        impl $name {
            /// Every one, in order of its index.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];
            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Its index in arrays of counters: less than `COUNT`.
            #[must_use]
            pub const fn index(self) -> usize { self as usize }

            /// The name used in metrics, tables and JSON.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// One sentence for operators.
            #[must_use]
            pub const fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)+ }
            }
        }
    };
}

counters! {
    /// Why a frame was dropped.
    Reason {
        Runt "runt" "The frame is shorter than its headers.",
        OtherMac "other_mac" "The frame is addressed to another station.",
        OtherVlan "other_vlan" "The frame is tagged for a VLAN that is not the port's, or tagged where the port is untagged.",
        OtherEthertype "other_ethertype" "Neither IPv4, IPv6 nor ARP.",
        OtherAddress "other_address" "The packet or query is for an address that is not ours.",
        OtherProtocol "other_protocol" "An IP protocol or ICMP type that we do not serve.",
        GroupAddressed "group_addressed" "TCP or echo to a broadcast or multicast address.",
        BadIpHeader "bad_ip_header" "IP version, header length or total length is impossible.",
        BadIpChecksum "bad_ip_checksum" "The IPv4 header checksum is wrong.",
        Fragment "fragment" "IP fragments are not reassembled.",
        IpOptions "ip_options" "Source routing options are refused.",
        ExtensionHeaders "extension_headers" "An IPv6 extension header chain that is unknown, too long or forbidden.",
        BadSource "bad_source" "The source address is loopback, multicast, broadcast, unspecified or our own.",
        Land "land" "Source and destination are the same.",
        BadTcpHeader "bad_tcp_header" "Data offset or options are impossible.",
        BadTcpChecksum "bad_tcp_checksum" "The TCP checksum is wrong.",
        BadIcmp "bad_icmp" "An ICMP message with a wrong checksum or length.",
        BadArp "bad_arp" "An ARP packet that is malformed or claims an address of ours.",
        BadNdp "bad_ndp" "A neighbour discovery message that fails RFC 4861 §7.1.",
        BadFlags "bad_flags" "No ACK where RFC 9293 demands it, or SYN with FIN to a service.",
        SimultaneousOpen "simultaneous_open" "A SYN-ACK where we never sent a SYN.",
        ZeroPort "zero_port" "Source or destination port 0.",
        UnknownPort "unknown_port" "No service listens there, and policy says to be silent.",
        ResetUnwanted "reset_unwanted" "A RST without a flow; a RST is never answered.",
        ResetInTimeWait "reset_in_time_wait" "A RST does not end TIME_WAIT (RFC 1337).",
        ResetOutOfWindow "reset_out_of_window" "A RST outside the window (RFC 5961 §3.2).",
        InvalidAck "invalid_ack" "An ACK without a flow that is no valid cookie, and policy says to be silent.",
        AckUnacceptable "ack_unacceptable" "An acknowledgement number that a half-open flow cannot accept, and policy says to be silent.",
        OutOfWindow "out_of_window" "No octet of the segment is in the receive window, and the answer was withheld.",
        Paws "paws" "An old timestamp (RFC 7323 §5), and the answer was withheld.",
        TimestampMissing "timestamp_missing" "Timestamps were negotiated and this segment has none (RFC 7323 §3.2).",
        CookieReplayed "cookie_replayed" "A valid cookie that has already opened a flow.",
        HalfOpenFull "half_open_full" "The half-open limit is reached and cookies are off.",
        TableFull "table_full" "The flow table is full.",
        Draining "draining" "The engine is draining and takes no new connections.",
        RateLimited "rate_limited" "A RST, challenge ACK or ICMP error was withheld by the rate limit.",
        NoBuffer "no_buffer" "No buffer was free.",
        PortRefused "port_refused" "The port's transmit queue was full.",
        NoNextHop "no_next_hop" "The next hop's MAC is not known.",
        Multicast "multicast_membership" "Multicast control traffic that is not for us.",
        TtlExpired "ttl_expired" "The packet's time to live ran out at us.",
        HoldFull "hold_full" "A proxied client's early data was not kept: its flow, or all flows together, hold what they may; the client sends it again.",
        NoBackend "no_backend" "A new connection to a service that has no backend.",
        OtherBackend "other_backend" "A segment of a backend that was not chosen for the flow.",
        SnatExhausted "snat_exhausted" "No source port was free towards any backend.",
        IcmpUnbelievable "icmp_unbelievable" "An ICMP error about a segment that is not in flight (RFC 5927 §4.1).",
        CongestionUnechoed "congestion_unechoed" "A proxied client's segment was marked by congestion (CE) and its backend does not speak ECN: the client is to notice by the loss (RFC 6040 §4.2).",
        RedirectFull "redirect_full" "The ring to the worker whose the frame is, or that has a queue of the port that it goes out by, was full.",
        RingFull "ring_full" "The ring of a service's events is full: its client sends it again.",
        NoConsumer "no_consumer" "A service's consumer is not there, or its flow ended while nothing was decided about it.",
        NoLease "no_lease" "Consumers have as many buffers as they may: the client sends it again.",
        MultiSegment "multi_segment" "A frame in several buffers that did not fit into one: it was larger than the MTU allows, or no buffer was free.",
    }
}

impl Reason {
    /// Whether the frame itself was broken, or had no business on the wire, rather than being sound
    /// and not for us or not wanted now.
    #[must_use]
    pub const fn is_malformed(self) -> bool {
        matches!(
            self,
            Self::Runt
                | Self::BadIpHeader
                | Self::BadIpChecksum
                | Self::BadSource
                | Self::Land
                | Self::BadTcpHeader
                | Self::BadTcpChecksum
                | Self::BadIcmp
                | Self::BadArp
                | Self::BadNdp
                | Self::BadFlags
                | Self::ZeroPort
        )
    }
}

counters! {
    /// Why a flow ended.
    End {
        Closed "closed" "Both sides closed.",
        ClosedByReset "reset_by_peer" "The peer reset the connection.",
        IdleTimeout "idle_timeout" "Nothing was heard for the idle time.",
        HalfClosedTimeout "half_closed_timeout" "The peer never closed its side.",
        RetransmissionTimeout "retransmission_timeout" "Retransmissions were not acknowledged.",
        HandshakeTimeout "handshake_timeout" "The third ACK never came.",
        HandshakeReset "handshake_reset" "The peer reset a half-open connection.",
        BackendRefused "backend_refused" "No backend accepted the connection.",
        ConnectTimeout "connect_timeout" "No backend answered in time.",
        NoBackend "no_backend" "No backend was left to try.",
        SnatExhausted "snat_exhausted" "No source port was free towards any backend.",
        Replaced "replaced" "A new SYN with the same tuple replaced it.",
        Evicted "evicted" "It gave way in a full table.",
        Drained "drained" "The drain timeout reset it.",
        ResetByConsumer "reset_by_consumer" "Its consumer reset it.",
        ConsumerGone "consumer_gone" "Its consumer was gone.",
        SpentExpired "spent_expired" "A spent marker's cookie expired.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_is_told_from_not_ours() {
        assert!(Reason::BadTcpChecksum.is_malformed() && !Reason::OtherMac.is_malformed());
    }

    #[test]
    fn causes_are_indexed_in_order_and_named_once() {
        let mut names: std::vec::Vec<_> = Reason::ALL.iter().map(|r| r.name()).collect();
        assert!(Reason::ALL.iter().enumerate().all(|(i, r)| r.index() == i));
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Reason::COUNT);
        assert!(End::ALL.iter().enumerate().all(|(i, e)| e.index() == i && !e.help().is_empty()));
    }
}
