//! The counters by name. Drops are counted by [`Reason`](usher_proto::verdict::Reason) and ends of
//! flows by [`End`](usher_proto::verdict::End), which name themselves.

use usher_proto::counters;

counters! {
    /// What a worker counts.
    Counter {
        Received "received" "Frames received on all ports.",
        Answered "answered" "Frames whose buffer became a TCP segment and went back.",
        Reflected "reflected" "Frames that became an ARP, neighbour discovery or echo reply.",
        Delivered "delivered" "Frames taken in without an answer in the same buffer.",
        Forwarded "forwarded" "Frames of proxied flows that went on to the other half.",
        Held "held" "Frames that wait for a backend, or for a next hop.",
        Dropped "dropped" "Frames dropped, for whatever reason.",
        RedirectedOut "redirected_out" "Frames handed on to the worker whose they are.",
        RedirectedIn "redirected_in" "Frames that other workers handed on.",
        RelayedOut "relayed_out" "Frames to send that went to a worker with a queue of their port.",
        RelayedIn "relayed_in" "Frames to send that came from workers without a queue of their port.",
        LessonsLost "lessons_lost" "Where neighbours are, as other workers were to be told and could not be.",
        Generated "generated" "Frames sent that answer none: data, retransmissions, announcements.",
        Released "released" "Frames that were held and went on.",
        Lost "lost" "Frames that were held and then dropped.",
        Refused "refused" "Frames to send that a port's full transmit queue refused.",
        Sent "sent" "Frames that the ports took.",
        Syns "syns" "SYNs sent to backends, repeated ones and checks included.",
        SynAcks "syn_acks" "SYN-ACKs sent, repeated ones and cookies included.",
        Resets "resets" "RSTs sent.",
        Withheld "withheld" "Generated segments that were not sent for want of a buffer.",
        CookiesSent "cookies_sent" "SYNs answered by cookie.",
        CookiesAccepted "cookies_accepted" "ACKs that proved a cookie and opened a flow.",
        CookiesUnplaced "cookies_unplaced" "ACKs that proved a cookie and found the flow table full.",
        CookiesRejected "cookies_rejected" "ACKs that were checked as a cookie and were none.",
        CookieMode "cookie_mode" "How often the worker began to answer new SYNs by cookie.",
        EvictedSpent "evicted_spent" "Markers of spent cookies that gave way in a full flow table.",
        EvictedTimeWait "evicted_time_wait" "Flows in TIME_WAIT that gave way in a full flow table.",
        BackendRetries "backend_retries" "Backends that were tried in vain for a connection.",
        PortsExhausted "ports_exhausted" "Backends that no source port was free for.",
        LeasesOut "leases_out" "Buffers that consumers have, at present.",
        Turns "turns" "Rounds over all ports.",
        IdleTurns "idle_turns" "Rounds in which nothing arrived.",
        Housekeeping "housekeeping" "Housekeeping slots.",
        BusyUs "busy_us" "Microseconds spent in rounds that had work.",
        TimeUs "time_us" "Microseconds since the start.",
    }
}

counters! {
    /// What a worker counts of each port.
    PortCounter {
        Received "received" "Frames received.",
        Sent "sent" "Frames that the port took.",
        Generated "generated" "Frames to send that answer none.",
        Refused "refused" "Frames to send that the full transmit queue refused.",
    }
}

counters! {
    /// What a worker counts of each service; failed handshakes and ended flows are counted by cause.
    ServiceCounter {
        Started "handshakes_started" "SYNs that took a record, and cookies that were accepted.",
        Completed "handshakes_completed" "Third ACKs that opened a flow.",
        HandshakeUs "handshake_us" "Sum of the handshakes' times in microseconds.",
        RingFull "ring_full" "Segments dropped because the ring of events had no room, or no consumer.",
        RingRefused "ring_refused" "Commands of the consumer that could not be carried out.",
        ConsumersLost "consumers_lost" "Consumers that were dropped, or were silent for too long.",
        RingDepth "ring_depth" "Events that the consumer has not taken, at present.",
        Undecided "undecided" "Flows whose consumer has not said what becomes of them, at present.",
    }
}
