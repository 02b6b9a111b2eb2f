//! Accepts connections and serves them within limits: slow, numerous or hostile clients cost little and cannot lock
//! others out.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{Method, Response, StatusCode};
use axum::response::IntoResponse as _;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, warn};

use super::access::Access;
use super::activity::{Activity, Connection, Connections, Followed};
use super::gate::Gate;
use super::refusals::Refusals;
use super::site::Site;
use super::tls::HTTP2;

/// For all listeners together, if the process may open at least twice as many files.
const MAX_CONNECTIONS: usize = 512;
/// Of a request's line and headers together.
const MAX_HEADER_BYTES: usize = 16 * 1024;
/// Number of headers in HTTP/1.
const MAX_HEADERS: usize = 64;
/// Concurrent requests on one HTTP/2 connection.
const MAX_STREAMS: u32 = 32;
/// The pause after an error of the listener that no client caused.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The minimum time between two warnings about such errors.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// A TCP or TLS stream. Behind a pointer, so that the program holds HTTP/1 and HTTP/2 once rather than twice.
trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

/// What all connections share.
pub struct Server {
    router: TowerToHyperService<Router>,
    access: Arc<Access>,
    gate: Gate,
    refusals: Refusals,
    connections: Arc<Connections>,
}

impl Server {
    /// Serves `site` to the clients that `access` admits.
    pub fn new(site: Site, access: Arc<Access>) -> Self {
        Self {
            router: TowerToHyperService::new(site.router),
            access,
            gate: Gate::new(site.realm, site.open, site.limits),
            refusals: Refusals::new(),
            connections: Arc::new(Connections::new(max_connections())),
        }
    }

    /// Serves one listener until the sender of `stopped` is dropped, then finishes the requests in flight. No error of
    /// the listener stops it: each is temporary, or concerns one client.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, mut stopped: watch::Receiver<()>) {
        let mut tasks = JoinSet::new();
        let mut warned: Option<Instant> = None;
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = tasks.join_next() => continue,
                _ = stopped.changed() => break,
            };
            match accepted {
                Ok((stream, peer)) => {
                    // On a socket for both families, IPv4 addresses appear in IPv6 notation.
                    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
                    tasks.spawn(self.clone().connection(stream, peer, stopped.clone()));
                }
                Err(error) if is_of_a_client(&error) => {}
                Err(error) => {
                    if warned.is_none_or(|last| last.elapsed() >= WARNING_PAUSE) {
                        warn!("a connection cannot be accepted: {error}; closing the one that has been idle longest");
                        warned = Some(Instant::now());
                    }
                    self.connections.evict();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        while tasks.join_next().await.is_some() {}
    }

    async fn connection(self: Arc<Self>, stream: TcpStream, peer: SocketAddr, mut stopped: watch::Receiver<()>) {
        let connection = self.connections.enter();
        // Without it, the last part of a response waits for the client's acknowledgement.
        let _ = stream.set_nodelay(true);
        let Some(config) = self.access.rules().tls.clone() else {
            return self.http(Box::new(stream), false, peer, &connection, stopped).await;
        };
        let shaken = tokio::select! {
            shaken = TlsAcceptor::from(config).accept(stream) => shaken,
            why = connection.activity.is_over() => return debug!(%peer, "closed in the TLS handshake: {why}"),
            _ = stopped.changed() => return,
        };
        match shaken {
            Ok(stream) => {
                let http2 = stream.get_ref().1.alpn_protocol() == Some(HTTP2);
                self.http(Box::new(stream), http2, peer, &connection, stopped).await;
            }
            Err(error) => self.refusals.note(peer, &error),
        }
    }

    async fn http(
        self: Arc<Self>,
        stream: Box<dyn Stream>,
        http2: bool,
        peer: SocketAddr,
        connection: &Connection,
        mut stopped: watch::Receiver<()>,
    ) {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        // `Activity` has the timeouts, because it also covers the handshake and slow readers.
        builder.http1().header_read_timeout(None).max_buf_size(MAX_HEADER_BYTES).max_headers(MAX_HEADERS);
        builder.http2().max_header_list_size(MAX_HEADER_BYTES as u32).max_concurrent_streams(MAX_STREAMS);
        // Only the negotiated protocol: on a plain connection, a slow client could drag out the detection of HTTP/2.
        let builder = if http2 { builder.http2_only() } else { builder.http1_only() };
        let activity = connection.activity.clone();
        let service = service_fn(|request| self.clone().respond(request, peer, activity.clone()));
        let mut serving = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stopping = false;
        loop {
            tokio::select! {
                served = serving.as_mut() => {
                    if let Err(error) = served {
                        debug!(%peer, "a connection broke: {error}");
                    }
                    return;
                }
                why = activity.is_over() => return debug!(%peer, "a connection is closed: {why}"),
                _ = stopped.changed(), if !stopping => {
                    stopping = true;
                    serving.as_mut().graceful_shutdown();
                }
            }
        }
    }

    async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        activity: Arc<Activity>,
    ) -> Result<Response<Followed>, Infallible> {
        let ticket = activity.begin();
        let rules = self.access.rules();
        let head = request.method() == Method::HEAD;
        let (mut response, permit) = match self.gate.admit(&rules, &request, peer.ip()).await {
            Ok(None) => (self.router.call(request).await?, None),
            Ok(Some(permit)) => {
                // Rendering finishes and keeps its permit even if the client disconnects.
                let response = self.router.call(request);
                match tokio::spawn(async move { (response.await, permit) }).await {
                    Ok((response, permit)) => (response?, Some(permit)),
                    Err(_) => (StatusCode::INTERNAL_SERVER_ERROR.into_response(), None),
                }
            }
            // HTTP/2 clients treat a body after HEAD as a protocol error. The router omits it itself.
            Err(refusal) if head => (refusal.map(|_| Body::empty()), None),
            Err(refusal) => (refusal, None),
        };
        for (name, value) in &rules.headers {
            // A header that a route has set stays: a page's policy allows its own script.
            response.headers_mut().entry(name).or_insert_with(|| value.clone());
        }
        Ok(response.map(|body| Followed::new(body, ticket, permit)))
    }
}

/// Half of the files that the process may open remain for its own requests.
fn max_connections() -> usize {
    let files = getrlimit(Resource::Nofile).current.map(|files| usize::try_from(files / 2));
    files.and_then(Result::ok).map_or(MAX_CONNECTIONS, |half| half.clamp(8, MAX_CONNECTIONS))
}

/// Whether the client disconnected before it was accepted.
fn is_of_a_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests;
