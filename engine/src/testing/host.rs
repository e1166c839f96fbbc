//! A host with a TCP of its own, smoltcp's, at the other end of a memory port: what tests and examples of programs
//! talk to.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::thread;

use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{self, Device, DeviceCapabilities, Medium};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::Instant;
use smoltcp::wire::{EthernetAddress, HardwareAddress, IpCidr, Ipv4Cidr};

use crate::clock::{Clock, SystemClock};
use crate::port::Frame as _;
use crate::port::memory::Wire;

/// Bytes of each buffer of a connection.
const BUFFER: usize = 65_535;

/// How long [`Host::wait`] waits, in µs: so long that only what will never come is not there by then.
const PATIENCE_US: u64 = 30_000_000;

/// A host on a memory port's wire.
pub struct Host {
    interface: Interface,
    sockets: SocketSet<'static>,
    link: Link,
    clock: SystemClock,
    next_port: u16,
}

/// One connection of a [`Host`], or a place for one that listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connection(SocketHandle);

impl Host {
    /// A host with this address in a network of so many bits. The last byte of the address is that of its MAC, too.
    ///
    /// # Panics
    /// If `bits` is above 32.
    #[must_use]
    pub fn new(wire: Wire, address: Ipv4Addr, bits: u8) -> Self {
        let mut link = Link { wire };
        let mut clock = SystemClock::start();
        let [.., last] = address.octets();
        let mac = HardwareAddress::Ethernet(EthernetAddress([2, 0, 0, 0, 0xff, last]));
        let now = at(&mut clock);
        let mut interface = Interface::new(Config::new(mac), &mut link, now);
        interface.update_ip_addrs(|all| {
            all.push(IpCidr::Ipv4(Ipv4Cidr::new(address, bits))).expect("room for one address");
        });
        let sockets = SocketSet::new(Vec::new());
        Self { interface, sockets, link, clock, next_port: 40_000 }
    }

    /// Begins a connection.
    ///
    /// # Panics
    /// Never, unless smoltcp's rules change.
    pub fn connect(&mut self, to: SocketAddrV4) -> Connection {
        self.next_port += 1;
        let mut socket = socket();
        let begun = socket.connect(self.interface.context(), to, self.next_port);
        begun.expect("a new socket connects anywhere");
        Connection(self.sockets.add(socket))
    }

    /// A place for one connection to this port. Several may listen to one port.
    ///
    /// # Panics
    /// If the port is 0.
    pub fn listen(&mut self, port: u16) -> Connection {
        let mut socket = socket();
        socket.listen(port).expect("a new socket listens to any port");
        Connection(self.sockets.add(socket))
    }

    /// Receives and sends what there is. Never blocks.
    pub fn poll(&mut self) {
        let now = at(&mut self.clock);
        self.interface.poll(now, &mut self.link, &mut self.sockets);
    }

    /// Polls until `done` returns something.
    ///
    /// # Panics
    /// When that has taken half a minute.
    pub fn wait<T>(&mut self, mut done: impl FnMut(&mut Self) -> Option<T>) -> T {
        let until = self.clock.now().us + PATIENCE_US;
        loop {
            self.poll();
            if let Some(done) = done(self) {
                return done;
            }
            assert!(self.clock.now().us < until, "what a test waits for has not come: {self:?}");
            thread::yield_now();
        }
    }

    /// Puts bytes into the connection's buffer. Returns how many there was room for: none before it is established.
    pub fn send(&mut self, connection: Connection, bytes: &[u8]) -> usize {
        self.socket(connection).send_slice(bytes).unwrap_or(0)
    }

    /// Moves what has arrived to the end of `into`.
    pub fn receive(&mut self, connection: Connection, into: &mut Vec<u8>) {
        let socket = self.socket(connection);
        while socket.can_recv() {
            let taken = socket.recv(|bytes| {
                into.extend_from_slice(bytes);
                (bytes.len(), ())
            });
            if taken.is_err() {
                return;
            }
        }
    }

    /// Closes our side behind what is in the buffer.
    pub fn close(&mut self, connection: Connection) {
        self.socket(connection).close();
    }

    /// Ends the connection by RST.
    pub fn abort(&mut self, connection: Connection) {
        self.socket(connection).abort();
    }

    /// Whether the handshake is complete and the connection has not ended.
    pub fn is_established(&mut self, connection: Connection) -> bool {
        self.socket(connection).may_send() || self.socket(connection).may_recv()
    }

    /// Whether the other side has closed and all of it was received, or the connection has ended.
    pub fn is_over(&mut self, connection: Connection) -> bool {
        let socket = self.socket(connection);
        let begins = matches!(socket.state(), State::SynSent | State::SynReceived | State::Listen);
        !begins && !socket.may_recv()
    }

    /// Waits for the handshake.
    ///
    /// # Panics
    /// As [`Self::wait`] does.
    pub fn established(&mut self, connection: Connection) {
        self.wait(|host| host.is_established(connection).then_some(()));
    }

    /// Waits until `count` bytes have come, or no more will.
    ///
    /// # Panics
    /// As [`Self::wait`] does.
    pub fn read(&mut self, connection: Connection, count: usize) -> Vec<u8> {
        let mut all = Vec::new();
        self.wait(|host| {
            host.receive(connection, &mut all);
            (all.len() >= count || host.is_over(connection)).then_some(())
        });
        all
    }

    /// Connects, sends `request`, waits for the first byte of an answer, closes, and returns all of the answer.
    ///
    /// # Panics
    /// As [`Self::wait`] does.
    pub fn ask(&mut self, to: SocketAddrV4, request: &[u8]) -> Vec<u8> {
        let connection = self.connect(to);
        self.established(connection);
        let (mut sent, mut answer) = (0, Vec::new());
        self.wait(|host| {
            sent += host.send(connection, &request[sent..]);
            host.receive(connection, &mut answer);
            let answered = sent == request.len() && answer.len() >= request.len();
            (answered || host.is_over(connection)).then_some(())
        });
        self.close(connection);
        answer.extend(self.read(connection, usize::MAX));
        answer
    }

    fn socket(&mut self, connection: Connection) -> &mut Socket<'static> {
        self.sockets.get_mut(connection.0)
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let states = self.sockets.iter().map(|(_, socket)| match socket {
            smoltcp::socket::Socket::Tcp(socket) => socket.state(),
        });
        f.debug_list().entries(states).finish()
    }
}

fn socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = Socket::new(buffer(), buffer());
    // As browsers do: nothing acknowledges what an undecided flow has sent, and smoltcp would keep the rest back.
    socket.set_nagle_enabled(false);
    socket
}

fn at(clock: &mut SystemClock) -> Instant {
    Instant::from_micros(clock.now().us as i64)
}

/// The wire as smoltcp sees a device.
struct Link {
    wire: Wire,
}

impl Device for Link {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sending<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sending<'_>)> {
        let frame = self.wire.receive(0)?;
        Some((Received(frame.bytes().to_vec()), Sending(&self.wire)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sending<'_>> {
        Some(Sending(&self.wire))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

struct Sending<'a>(&'a Wire);

impl phy::TxToken for Sending<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, write: F) -> R {
        let mut bytes = vec![0; len];
        let written = write(&mut bytes);
        // What finds no room is lost, as on any wire.
        self.0.send(0, &bytes);
        written
    }
}
