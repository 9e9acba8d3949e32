//! Where the counters can be read: `GET /metrics` over TCP or a Unix socket.

mod address;

use std::convert::Infallible;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ALLOW, CONTENT_TYPE, HOST, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::spawn_blocking;
use unhang::{Bind, ErrorKind, Listener};

use super::Metrics;
pub(crate) use address::Address;

/// For one scrape, from the accept to the close: what Prometheus itself allows by default.
const DEADLINE: Duration = Duration::from_secs(10);

/// Scrapes at once: a scraper needs few, and must not take the server's descriptors.
const AT_ONCE: usize = 16;

/// Where it listens, or will: an address that a server that is being replaced still has is free when
/// that one has ended, and until then it is that one's counters that can be read there.
pub(crate) struct Endpoint {
    address: Address,
    door: Option<Door>,
}

/// Listens for as long as it is kept.
struct Door {
    socket: Socket,
    /// Removes the file at the end, if there is one.
    _file: Option<Listener>,
}

enum Closed {
    Taken(String),
    Failed(String),
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Endpoint {
    /// `may_wait` for an address that another still has.
    pub(crate) async fn listen(address: &Address, may_wait: bool) -> Result<Self, String> {
        let door = match Door::open(address).await {
            Ok(door) => Some(door),
            Err(Closed::Taken(_)) if may_wait => None,
            Err(Closed::Taken(why) | Closed::Failed(why)) => return Err(why),
        };
        Ok(Self { address: address.clone(), door })
    }

    /// What it waits for, if it waits: the process that has the address may be no server that ends soon.
    pub(crate) fn waits(&self) -> Option<String> {
        let address = &self.address;
        self.door.is_none().then(|| {
            format!(
                "another listens at --metrics {address}: until it is free, its counters are not ours"
            )
        })
    }

    /// Which processes can read the counters: the operator should know.
    pub(crate) fn reached_by(&self) -> Option<String> {
        let Address::Tcp(address) = &self.address else { return None };
        (!address.ip().to_canonical().is_loopback()).then(|| {
            format!(
                "--metrics {address} is not of this machine alone: everybody who reaches it can read the \
                 counters. 127.0.0.1:{} is",
                address.port()
            )
        })
    }

    /// For ever, unless it turns out that it cannot listen; then it says why.
    pub(crate) async fn serve(self, metrics: Arc<Metrics>) -> String {
        let (mut door, mut pause) = (self.door, PAUSE);
        loop {
            match door {
                Some(door) => match door.serve(metrics).await {},
                None => match Door::open(&self.address).await {
                    Ok(free) => door = Some(free),
                    Err(Closed::Taken(_)) => {
                        tokio::time::sleep(pause).await;
                        pause = (2 * pause).min(LONGEST);
                    }
                    Err(Closed::Failed(why)) => return why,
                },
            }
        }
    }
}

impl Door {
    async fn open(address: &Address) -> Result<Self, Closed> {
        let failed = |error: io::Error| {
            let why =
                format!("cannot listen at --metrics {address}: {error}{}", cure(error.kind()));
            match error.kind() {
                io::ErrorKind::AddrInUse => Closed::Taken(why),
                _ => Closed::Failed(why),
            }
        };
        match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await.map_err(failed)?;
                Ok(Self { socket: Socket::Tcp(listener), _file: None })
            }
            Address::Unix(path) => {
                let file = Bind::new(path).replaceable(false).listen().map_err(|error| {
                    let why = format!("cannot listen for --metrics: {error}");
                    match error.kind() {
                        ErrorKind::Held { .. } => Closed::Taken(why),
                        _ => Closed::Failed(why),
                    }
                })?;
                let socket = file.as_fd().try_clone_to_owned();
                let listener = socket.and_then(|socket| UnixListener::from_std(socket.into()));
                let socket = Socket::Unix(listener.map_err(failed)?);
                Ok(Self { socket, _file: Some(file) })
            }
        }
    }

    async fn serve(self, metrics: Arc<Metrics>) -> Infallible {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        loop {
            // The semaphore is never closed.
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { continue };
            let metrics = Arc::clone(&metrics);
            let accepted = match &self.socket {
                Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(answer(stream, Via::Tcp, metrics, place));
                }),
                Socket::Unix(listener) => listener.accept().await.map(|(stream, _)| {
                    tokio::spawn(answer(stream, Via::Unix, metrics, place));
                }),
            };
            // The kernel's failure or the client's: the next may succeed.
            if accepted.is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// What to do next, after what went wrong.
fn cure(error: io::ErrorKind) -> &'static str {
    match error {
        io::ErrorKind::AddrInUse => ". See who has it (ss -ltnp), or choose another port.",
        io::ErrorKind::AddrNotAvailable => {
            ". No address of this machine: choose one of its own, as 127.0.0.1."
        }
        io::ErrorKind::PermissionDenied => ". A port below 1024 takes root: choose one above.",
        _ => "",
    }
}

/// After an accept that failed, and at first while the address is another's: trying again at once would
/// only burn the processor.
const PAUSE: Duration = Duration::from_millis(100);

/// While it still is: for each try all processes may be gone through, to find the one that has it.
const LONGEST: Duration = Duration::from_secs(2);

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    via: Via,
    metrics: Arc<Metrics>,
    _place: OwnedSemaphorePermit,
) {
    let respond = |request: Request<Incoming>| {
        let metrics = Arc::clone(&metrics);
        async move { Ok::<_, Infallible>(response(&request, via, metrics).await) }
    };
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service_fn(respond));
    // A client that is cut off, or breaks the protocol, only hurts itself.
    let _ = tokio::time::timeout(DEADLINE, connection).await;
}

/// How a scrape comes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Via {
    Tcp,
    /// Not even a browser that was told to would come this way.
    Unix,
}

/// The name in a request that is not just the address which it was sent to. A web page from elsewhere can let
/// its reader's browser ask here, once its own name leads here (DNS rebinding); but it asks by that name.
fn foreign_host<B>(request: &Request<B>) -> Option<String> {
    let headers = request.headers().get_all(HOST).iter();
    let named = headers.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let asked = request.uri().authority().map(|authority| authority.as_str().to_owned());
    named.chain(asked).find(|host| !is_address(host))
}

/// Whether it is an address or `localhost`, with a port or without.
fn is_address(host: &str) -> bool {
    let without_port = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = without_port.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_v6 = |name: &str| name.parse::<Ipv6Addr>().is_ok();
    name.is_some_and(is_v6)
        || without_port.parse::<Ipv4Addr>().is_ok()
        || without_port.eq_ignore_ascii_case("localhost")
}

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");

async fn response(
    request: &Request<Incoming>,
    via: Via,
    metrics: Arc<Metrics>,
) -> Response<Full<Bytes>> {
    let mut response = Response::default();
    if let Some(host) = foreign_host(request).filter(|_| via == Via::Tcp) {
        *response.status_mut() = StatusCode::MISDIRECTED_REQUEST;
        *response.body_mut() =
            Full::from(format!("expected an address or localhost as the Host, got {host:?}\n"));
        return response;
    }
    match (request.method(), request.uri().path()) {
        // On a thread of its own: handlers share this one, and the kernel searches all sockets.
        (&Method::GET, "/metrics") => match spawn_blocking(move || metrics.text()).await {
            Ok(Ok(text)) => {
                *response.body_mut() = Full::from(text);
                response.headers_mut().insert(CONTENT_TYPE, OPEN_METRICS);
            }
            Ok(Err(_)) | Err(_) => *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR,
        },
        (_, "/metrics") => {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
            response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
        }
        _ => {
            *response.status_mut() = StatusCode::NOT_FOUND;
            *response.body_mut() = Full::from("the counters are at /metrics\n");
        }
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_address_and_localhost_are_no_foreign_host() {
        for own in
            ["127.0.0.1", "127.0.0.1:9090", "10.1.2.3:80", "[::1]:9090", "[::1]", "LocalHost:1"]
        {
            assert!(is_address(own), "{own}");
        }
        for foreign in [
            "evil.example",
            "evil.example:9090",
            "",
            ":9090",
            "::1",
            "127.0.0.1.evil.example",
            "127.0.0.1:9090@evil.example",
            "localhost.evil.example",
            "evil.example:",
        ] {
            assert!(!is_address(foreign), "{foreign}");
        }
    }
}
