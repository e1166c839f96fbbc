//! The three-way handshake, from either end (RFC 9293 §3.5).

use super::super::client::Ends;
use super::super::frame::{ACK, CWR, ECE, FIN, Opt, Packet, RST, SYN};
use super::super::plan::SECOND;
use super::receive::Receiving;
use super::send::Sending;
use super::{Agreed, Habits, Heard, Marks, Outcome, PATIENCE, Peer, Script, Stream, Timer};

/// Where the numbers of a connection begin.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opening {
    pub(crate) iss: u32,
    pub(crate) ts_offset: u32,
}

impl Peer {
    fn new(ends: Ends, habits: Habits, script: Script, id: u64, opening: Opening) -> Self {
        Self {
            habits,
            script,
            ends,
            stream: Stream { id, len: script.len },
            heard: Heard::default(),
            header: None,
            outcome: None,
            faults: Vec::new(),
            marks: Marks::default(),
            beyond: 0,
            troubles: Vec::new(),
            passed: Vec::new(),
            out: Vec::new(),
            accepts: false,
            open: false,
            agreed: Agreed::default(),
            send: Sending::new(opening.iss),
            receive: Receiving::new(),
            ts_offset: opening.ts_offset,
            ts_first: None,
            ts_last: 0,
            ts_recent: 0,
            timers: [None; Timer::COUNT],
        }
    }

    /// A client: its SYN is sent at once.
    pub(crate) fn opens(
        now: u64,
        ends: Ends,
        habits: Habits,
        script: Script,
        id: u64,
        opening: Opening,
    ) -> Self {
        let mut peer = Self::new(ends, habits, script, id, opening);
        peer.set(Timer::Silence, now + PATIENCE);
        peer.resend(now);
        peer.go_on(now);
        peer
    }

    /// A server that has this SYN; it answers after `delay`.
    pub(crate) fn accepts(
        now: u64,
        syn: &Packet,
        (habits, script): (Habits, Script),
        id: u64,
        opening: Opening,
        delay: u64,
    ) -> Self {
        let ends =
            Ends { mac: syn.dst_mac, server_mac: syn.src_mac, local: syn.dst, remote: syn.src };
        let mut peer = Self::new(ends, habits, script, id, opening);
        peer.accepts = true;
        peer.agree(syn, syn.flags & (ECE | CWR) == ECE | CWR);
        peer.set(Timer::Silence, now + PATIENCE);
        if delay == 0 {
            peer.resend(now);
        } else {
            peer.set(Timer::Resend, now + delay);
        }
        peer.go_on(now);
        peer
    }

    /// Takes what the other's SYN says.
    fn agree(&mut self, syn: &Packet, ecn: bool) {
        let habits = self.habits;
        let scales = habits.shift.is_some() && syn.scale().is_some();
        let smallest = if syn.src.is_ipv6() { 1220 } else { 536 };
        self.agreed = Agreed {
            mss: syn.mss().unwrap_or(smallest).min(habits.mss),
            timestamps: habits.timestamps && syn.time().is_some(),
            sack: habits.sack && syn.sack_ok(),
            ecn: habits.ecn && ecn,
            scaled: scales,
            our_shift: if scales { habits.shift.unwrap_or(0) } else { 0 },
            their_shift: if scales { syn.scale().unwrap_or(0).min(14) } else { 0 },
        };
        self.receive.irs = syn.seq;
        self.receive.next = 1;
        self.receive.acked = 1;
        self.receive.edge = 1 + self.first_window();
        self.ts_recent = syn.time().map_or(0, |(val, _)| val);
        // The window of a SYN is never scaled (RFC 7323 §2.2).
        self.send.start(u64::from(syn.window), u64::from(self.agreed.mss));
    }

    fn first_window(&self) -> u64 {
        self.habits.buffer.min(65_535)
    }

    /// Sends our SYN, or SYN-ACK, which offers no more than it was offered.
    pub(super) fn send_syn(&mut self, now: u64) {
        let (habits, offered) = (self.habits, self.agreed);
        let all = !self.accepts;
        let mut options = vec![Opt::Mss(habits.mss)];
        options.extend((habits.sack && (all || offered.sack)).then_some(Opt::SackOk));
        if habits.timestamps && (all || offered.timestamps) {
            options.push(self.stamp(now));
        }
        let scale = habits.shift.filter(|_| all || offered.scaled);
        options.extend(scale.into_iter().flat_map(|shift| [Opt::Nop, Opt::Scale(shift)]));
        let flags = match (self.accepts, habits.ecn, offered.ecn) {
            (false, true, _) => SYN | ECE | CWR,
            (true, _, true) => SYN | ACK | ECE,
            (true, ..) => SYN | ACK,
            (false, ..) => SYN,
        };
        let window = self.first_window() as u16;
        self.push(Packet { flags, window, options, ..self.ends.packet() }, 0);
        self.send.nxt = 1;
        self.send.highest = 1;
    }

    /// RFC 9293 §3.10.7.3
    pub(super) fn in_syn_sent(&mut self, now: u64, packet: &Packet) {
        let acceptable = packet.has(ACK) && packet.ack == self.send.iss.wrapping_add(1);
        if packet.has(RST) {
            if acceptable {
                self.end(Outcome::Refused);
            }
            return;
        }
        if !acceptable || !packet.has(SYN) {
            if packet.has(ACK) {
                let reset = Packet { seq: packet.ack, flags: RST, ..self.ends.packet() };
                self.out.push(reset);
            }
            return;
        }
        self.check_syn_ack(packet);
        self.agree(packet, packet.has(ECE));
        self.send.una = 1;
        self.opened(now);
        if self.habits.eager {
            self.receive.owes_at_once = true;
        } else {
            self.send_ack(now);
        }
    }

    /// What a SYN-ACK must be for the SYN that we sent.
    fn check_syn_ack(&mut self, packet: &Packet) {
        let habits = self.habits;
        let rules = [
            ("no flags but SYN, ACK, ECE", packet.flags & !ECE == SYN | ACK),
            ("ECE only if asked", !packet.has(ECE) || habits.ecn),
            ("no payload", packet.payload.is_empty()),
            ("always an MSS, of at least 88", packet.mss().is_some_and(|mss| mss >= 88)),
            ("scale only if offered", packet.scale().is_none() || habits.shift.is_some()),
            ("scale at most 14", packet.scale().unwrap_or(0) <= 14),
            ("SACK only if offered", !packet.sack_ok() || habits.sack),
            ("timestamps only if offered", packet.time().is_none() || habits.timestamps),
            ("our timestamp echoed", packet.time().is_none_or(|(_, ecr)| self.has_sent(ecr))),
        ];
        for (rule, _) in rules.iter().filter(|(_, holds)| !holds) {
            self.fault(&format!("SYN-ACK: {rule}"), packet);
        }
    }

    /// RFC 9293 §3.10.7.4 in SYN_RCVD, as Linux's `tcp_check_req` has it.
    pub(super) fn in_syn_rcvd(&mut self, now: u64, packet: &Packet) {
        if packet.flags & (SYN | ACK | RST) == SYN && packet.seq == self.receive.irs {
            if self.send.highest > 0 {
                self.send_syn(now);
            }
            return;
        }
        let seq = self.receive.place(packet.seq);
        let old = self.is_old(packet);
        let stray_echo = self.habits.strict_echo
            && self.agreed.timestamps
            && packet.time().is_some_and(|(_, ecr)| !self.has_sent(ecr));
        if old || stray_echo || seq > self.receive.edge as i64 || seq < 1 {
            if stray_echo && packet.has(ACK) && !packet.has(RST) {
                self.fault("the third ACK echoes no TSval of our SYN-ACKs", packet);
            }
            return self.answer_unless_reset(now, packet);
        }
        if packet.has(RST) {
            return self.end(Outcome::Reset);
        }
        if packet.has(SYN) {
            let reset =
                Packet { seq: self.send.iss.wrapping_add(1), flags: RST, ..self.ends.packet() };
            self.out.push(reset);
            return self.end(Outcome::Reset);
        }
        if !packet.has(ACK) || self.send.highest == 0 {
            return;
        }
        if packet.ack != self.send.iss.wrapping_add(1) {
            let reset = Packet { seq: packet.ack, flags: RST, ..self.ends.packet() };
            return self.out.push(reset);
        }
        self.send.una = 1;
        self.opened(now);
        self.in_open(now, packet);
    }

    fn answer_unless_reset(&mut self, now: u64, packet: &Packet) {
        if !packet.has(RST) {
            self.send_ack(now);
        }
    }

    fn opened(&mut self, now: u64) {
        self.open = true;
        self.send.tries = 0;
        self.clear(Timer::Resend);
        self.start_program(now);
    }

    /// How long the SYN or SYN-ACK waits for an answer.
    pub(super) fn syn_wait(&self) -> u64 {
        SECOND << self.send.tries.min(3)
    }

    /// Whether a SYN takes the place of this connection, as Linux reads RFC 6191 §2.
    pub(crate) fn yields_to(&self, syn: &Packet) -> bool {
        let newer = match syn.time() {
            Some((val, _)) if self.agreed.timestamps => {
                let ahead = val.wrapping_sub(self.ts_recent) as i32;
                if ahead < 0 {
                    return false;
                }
                ahead > 0
            }
            _ => false,
        };
        syn.flags & (SYN | ACK | RST | FIN) == SYN
            && self.state() == super::State::TimeWait
            && (newer || self.receive.place(syn.seq) > self.receive.next as i64)
    }
}
