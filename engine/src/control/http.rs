//! HTTP for Prometheus and for probes: `/metrics`, `/healthz` (it runs), `/readyz` (it should get
//! traffic).

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use tiny_http::{Header, Method, Request, Response, Server};

use super::{SharedSource, prometheus_text};

/// The server. Dropping it ends it.
pub struct HttpServer {
    server: Arc<Server>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HttpServer {
    /// Listens at `address`.
    ///
    /// # Errors
    ///
    /// The address is taken, is not this machine's, or may not be used.
    pub fn listen(address: SocketAddr, source: SharedSource) -> io::Result<Self> {
        let server = Arc::new(Server::http(address).map_err(io::Error::other)?);
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
        Ok(Self { server, stop, thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        self.server.server_addr().to_ip()
    }
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
