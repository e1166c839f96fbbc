//! HTTP for Prometheus and for probes: `/metrics`, `/healthz` (it runs), `/readyz` (it should get
//! traffic).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use tiny_http::{Header, Method, Request, Response, Server};

use super::{SharedSource, prometheus_text};

/// Connections that wait for the server.
const BACKLOG: i32 = 128;

/// The server. Dropping it ends it.
pub struct HttpServer {
    /// See [`Self::has_address`].
    has_address: bool,
    server: Arc<Server>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens at `address`, also when the machine does not have it yet: a network namespace whose `lo` is
    /// down has not even 127.0.0.1, and the engine's ports need neither.
    ///
    /// # Errors
    ///
    /// The address is taken or may not be used.
    pub fn listen(address: SocketAddr, source: SharedSource) -> io::Result<Self> {
        let (listener, has_address) = match TcpListener::bind(address) {
            Err(cause) if cause.kind() == io::ErrorKind::AddrNotAvailable => {
                (listen_ahead(address)?, false)
            }
            listener => (listener?, true),
        };
        let server = Server::from_listener(listener, None).map_err(io::Error::other)?;
        let server = Arc::new(server);
        let stop = Arc::new(AtomicBool::new(false));
        let (serving, stopped) = (Arc::clone(&server), Arc::clone(&stop));
        let serve = move || {
            for request in serving.incoming_requests() {
                answer(request, &source);
                // Acquire: paired with the store in `drop`.
                if stopped.load(Ordering::Acquire) {
                    break;
                }
            }
        };
        let thread = std::thread::Builder::new().name("usher-metrics".into()).spawn(serve)?;
        Ok(Self { has_address, server, stop, thread: Some(thread) })
    }

    /// Whether the machine had the address when this began. If not, it serves once it has.
    #[must_use]
    pub const fn has_address(&self) -> bool {
        self.has_address
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.server_addr().to_ip()
    }
}

/// A listener at an address that will be the machine's one day.
fn listen_ahead(address: SocketAddr) -> io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // Linux heeds the option of IPv4 for both families
    sockopt::set_ip_freebind(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

impl std::fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HttpServer({:?})", self.address())
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        // Release: paired with the load in `listen`.
        self.stop.store(true, Ordering::Release);
        self.server.unblock();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(request: Request, source: &SharedSource) {
    let path = request.url().split('?').next().unwrap_or_default();
    let (status, text) = match (request.method(), path) {
        (Method::Get | Method::Head, path) => page(path, source),
        _ => (405, "only GET and HEAD are answered\n".into()),
    };
    let mut response = Response::from_string(text).with_status_code(status);
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    if let Ok(header) = Header::from_bytes("Content-Type", kind) {
        response.add_header(header);
    }
    // a client that went away needs no answer
    let _ = request.respond(response);
}

fn page(path: &str, source: &SharedSource) -> (u16, String) {
    match path {
        "/metrics" => (200, prometheus_text(source.snapshot())),
        "/healthz" => (200, "ok\n".into()),
        "/readyz" => match source.not_ready() {
            None => (200, "ready\n".into()),
            Some(why) => (503, format!("not ready: {why}\n")),
        },
        _ => (404, "there are /metrics, /healthz and /readyz\n".into()),
    }
}
