//! Events as C sees them.

use std::net::{IpAddr, SocketAddr};

use engine::{Event, Lease};

/// A flow's name, of one consumer and of one flow only.
pub type UsherFlow = u64;

/// The bytes of an event, which are the caller's until it frees them by usher_lease_free or sends them by
/// usher_write_lease. May be freed on any thread, also after usher_stop.
#[derive(Debug)]
pub struct UsherLease(pub(crate) Lease);

/// Which event it is.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsherEventKind {
    /// A client has completed its handshake, and nothing is decided about the flow. Fields: client, credit.
    Established,
    /// Bytes of an undecided flow, which nobody has acknowledged. Fields: data, len, lease.
    Peeked,
    /// Bytes of an owned flow, in order. Fields: data, len, lease.
    Data,
    /// The client has acknowledged bytes that were written: as many may be written again. Fields: bytes.
    Acknowledged,
    /// The client has closed its side of an owned flow.
    PeerClosed,
    /// The flow is over, and its name is stale. Fields: bytes (written, and not acknowledged).
    Ended,
    /// A command was not carried out. Fields: command, why.
    Refused,
}

/// Which command was refused.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsherCommand {
    /// None: the event is another one.
    None,
    /// usher_proxy
    Proxy,
    /// usher_own
    Own,
    /// usher_write, usher_write_lease
    Write,
    /// usher_close
    Close,
    /// usher_reset
    Reset,
    /// usher_respond
    Respond,
}

/// Why a command was refused.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UsherObjection {
    /// It was not: the event is another one.
    None,
    /// The flow has ended, or is none of this consumer's.
    NoSuchFlow,
    /// The flow is not in the phase that the command needs.
    WrongPhase,
    /// More bytes than the flow's credit.
    OverCredit,
    /// The service has no such backend, or none that can be connected to.
    NoBackend,
}

/// One event. Fields that its kind does not have are 0.
#[repr(C)]
#[derive(Debug)]
pub struct UsherEvent {
    /// Which event.
    pub kind: UsherEventKind,
    /// Which command was refused.
    pub command: UsherCommand,
    /// Why it was.
    pub why: UsherObjection,
    /// The client's TCP port.
    pub client_port: u16,
    /// The client's address: IPv6, or IPv4 as ::ffff:a.b.c.d.
    pub client: [u8; 16],
    /// How many bytes may be written before the first acknowledgement.
    pub credit: u32,
    /// Which flow.
    pub flow: UsherFlow,
    /// How many bytes were acknowledged, or lost.
    pub bytes: u64,
    /// What the client has sent: valid for as long as the lease.
    pub data: *const u8,
    /// How many bytes.
    pub len: usize,
    /// Whose they are: to be freed by the caller.
    pub lease: *mut UsherLease,
}

impl UsherEvent {
    fn new(kind: UsherEventKind, flow: engine::FlowId) -> Self {
        Self {
            kind,
            command: UsherCommand::None,
            why: UsherObjection::None,
            client_port: 0,
            client: [0; 16],
            credit: 0,
            flow: flow.to_bits(),
            bytes: 0,
            data: std::ptr::null(),
            len: 0,
            lease: std::ptr::null_mut(),
        }
    }
}

impl From<Event> for UsherEvent {
    fn from(event: Event) -> Self {
        use UsherEventKind as Kind;
        let flow = event.flow();
        match event {
            Event::Established(new) => {
                let (client, client_port) = plain(new.client());
                Self {
                    client,
                    client_port,
                    credit: new.credit,
                    ..Self::new(Kind::Established, flow)
                }
            }
            Event::Data { data, peeked, .. } => {
                let kind = if peeked { Kind::Peeked } else { Kind::Data };
                let lease = Box::new(UsherLease(data));
                let (data, len) = (lease.0.bytes().as_ptr(), lease.0.bytes().len());
                Self { data, len, lease: Box::into_raw(lease), ..Self::new(kind, flow) }
            }
            Event::Acknowledged { bytes, .. } => {
                Self { bytes: bytes.into(), ..Self::new(Kind::Acknowledged, flow) }
            }
            Event::PeerClosed { .. } => Self::new(Kind::PeerClosed, flow),
            Event::Ended { lost, .. } => Self { bytes: lost, ..Self::new(Kind::Ended, flow) },
            Event::Refused { command, why, .. } => {
                Self { command: command.into(), why: why.into(), ..Self::new(Kind::Refused, flow) }
            }
        }
    }
}

fn plain(address: SocketAddr) -> ([u8; 16], u16) {
    let ip = match address.ip() {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    (ip.octets(), address.port())
}

impl From<engine::CommandKind> for UsherCommand {
    fn from(kind: engine::CommandKind) -> Self {
        match kind {
            engine::CommandKind::Proxy => Self::Proxy,
            engine::CommandKind::Own => Self::Own,
            engine::CommandKind::Write => Self::Write,
            engine::CommandKind::Close => Self::Close,
            engine::CommandKind::Reset => Self::Reset,
            engine::CommandKind::Respond => Self::Respond,
        }
    }
}

impl From<engine::Objection> for UsherObjection {
    fn from(why: engine::Objection) -> Self {
        match why {
            engine::Objection::NoSuchFlow => Self::NoSuchFlow,
            engine::Objection::WrongPhase => Self::WrongPhase,
            engine::Objection::OverCredit => Self::OverCredit,
            engine::Objection::NoBackend => Self::NoBackend,
        }
    }
}

/// Gives the bytes of an event back. NULL is nothing to give.
///
/// # Safety
/// `lease` is NULL, or came in an event and was neither freed nor sent.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn usher_lease_free(lease: *mut UsherLease) {
    if !lease.is_null() {
        // SAFETY: it was made by `Box::into_raw` for an event, and this is its only end, as the caller promises.
        drop(unsafe { Box::from_raw(lease) });
    }
}
