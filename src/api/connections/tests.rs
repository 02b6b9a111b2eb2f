//! Connections that lie: a TCP relay on loopback in front of an HTTP/2 server, with every way in which a connection can
//! fail.

use std::time::Duration;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::http::Response;
use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::api::ConnectionLimits;
use crate::api::{BaseUrl, Client, Foreign, Reason};
use crate::service_key::ServiceKey;

const HOST: &str = "api.example";
const EMPTY_LIST: &str = r#"{"data":{"items":[],"pagination":{"has_more":false,"total_count":0}},"error":false}"#;

/// What happens to the connections that are open at a moment.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    /// Not at all, yet.
    Honest,
    /// Every packet is acknowledged, and nothing is ever sent back.
    Silent,
    /// Nothing is read either, as if packets were dropped.
    Stuck,
    /// HTTP/2 works and pings are acknowledged, but no request gets a response.
    NeverResponds,
    /// Every request gets an error response.
    WrongBackend,
    /// Streams are refused before they are processed.
    RefusesStreams,
    /// Streams fail while they are processed.
    ResetsStreams,
    /// The server sends GOAWAY before it has processed anything.
    GoesAway,
    /// The server sends GOAWAY because of an error.
    GoesAwayInAnger,
}

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    fn server(&self) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let parameters = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth();
        let mut config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Arc::new(config)
    }
}

struct Server {
    address: SocketAddr,
    accepted: Arc<AtomicUsize>,
    /// For open connections and for new ones.
    lies: Arc<Mutex<watch::Sender<Lie>>>,
    tls: Arc<Mutex<Arc<ServerConfig>>>,
}

impl Server {
    async fn start(address: &str, tls: Arc<ServerConfig>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            accepted: Arc::default(),
            lies: Arc::new(Mutex::new(watch::Sender::new(Lie::Honest))),
            tls: Arc::new(Mutex::new(tls)),
        };
        let (accepted, lies, tls) = (server.accepted.clone(), server.lies.clone(), server.tls.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                accepted.fetch_add(1, Ordering::SeqCst);
                let lie = lies.lock().unwrap().subscribe();
                let tls = tls.lock().unwrap().clone();
                let (near, far) = tokio::io::duplex(64 * 1024);
                tokio::spawn(relay(stream, near, lie.clone()));
                tokio::spawn(serve(far, tls, lie));
            }
        });
        server
    }

    /// Open connections lie from now on; new ones are honest.
    fn lie(&self, lie: Lie) {
        self.lies.lock().unwrap().send_replace(lie);
        self.honest();
    }

    fn honest(&self) {
        *self.lies.lock().unwrap() = watch::Sender::new(Lie::Honest);
    }

    /// New connections lie from the start.
    fn always(&self, lie: Lie) {
        *self.lies.lock().unwrap() = watch::Sender::new(lie);
    }
}

async fn relay(mut client: TcpStream, mut server: DuplexStream, mut lie: watch::Receiver<Lie>) {
    let struck = tokio::select! {
        _ = tokio::io::copy_bidirectional(&mut client, &mut server) => return,
        // The sender is dropped when the next lie is told; this connection then keeps its own.
        Ok(lie) = lie.wait_for(|lie| matches!(lie, Lie::Silent | Lie::Stuck)) => *lie,
    };
    if struck == Lie::Stuck {
        std::future::pending::<()>().await;
    }
    let mut sink = [0; 4096];
    while client.read(&mut sink).await.is_ok_and(|read| read > 0) {}
}

async fn serve(stream: DuplexStream, tls: Arc<ServerConfig>, lie: watch::Receiver<Lie>) {
    let Ok(mut stream) = TlsAcceptor::from(tls).accept(stream).await else { return };
    let told = *lie.borrow();
    match told {
        Lie::GoesAway => return go_away(&mut stream, h2::Reason::NO_ERROR).await,
        Lie::GoesAwayInAnger => return go_away(&mut stream, h2::Reason::ENHANCE_YOUR_CALM).await,
        _ => {}
    }
    let Ok(mut connection) = h2::server::handshake(stream).await else { return };
    let mut unanswered = Vec::new();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let respond_with = |status: u16, body: &'static str, respond: &mut h2::server::SendResponse<_>| {
            let head = Response::builder().status(status).body(()).unwrap();
            let _ = respond
                .send_response(head, false)
                .and_then(|mut stream| stream.send_data(bytes::Bytes::from(body), true));
        };
        match *lie.borrow() {
            Lie::NeverResponds => unanswered.push((request, respond)),
            Lie::RefusesStreams => respond.send_reset(h2::Reason::REFUSED_STREAM),
            Lie::ResetsStreams => respond.send_reset(h2::Reason::INTERNAL_ERROR),
            Lie::WrongBackend => respond_with(404, "default backend - 404", &mut respond),
            _ => respond_with(200, EMPTY_LIST, &mut respond),
        }
    }
}

/// Sends SETTINGS and, after the first request, GOAWAY with no stream processed.
async fn go_away(stream: &mut TlsStream<DuplexStream>, reason: h2::Reason) {
    let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).await;
    let _ = stream.read(&mut [0; 1024]).await;
    let frame = [&[0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0][..], &u32::from(reason).to_be_bytes()].concat();
    let _ = stream.write_all(&frame).await;
    let _ = stream.shutdown().await;
    while stream.read(&mut [0; 1024]).await.is_ok_and(|read| read > 0) {}
}

struct Scene {
    folder: tempfile::TempDir,
    authority: Authority,
    server: Server,
    client: Client,
}

impl Scene {
    /// A client that has received a response.
    async fn new(timeout: Duration, limits: ConnectionLimits) -> Self {
        let authority = Authority::new();
        let server = Server::start("127.0.0.1:0", authority.server()).await;
        let folder = tempfile::tempdir().unwrap();
        let trusted = folder.path().join("trusted.pem");
        std::fs::write(&trusted, authority.0.pem()).unwrap();
        let hosts = folder.path().join("hosts");
        std::fs::write(&hosts, format!("127.0.0.1 {HOST}")).unwrap();
        let settings = Settings {
            base_url: BaseUrl::parse(&format!("https://{HOST}:{}/", server.address.port()), false).unwrap(),
            timeout,
            max_response_bytes: 1 << 20,
            max_connections: 8,
            connections: ConnectionLimits { trusted: Some(trusted), ..limits },
        };
        let look_up = LookUp::reading(hosts, folder.path().join("resolv.conf"), 53);
        let client = Client::with(settings, look_up).unwrap();
        let scene = Self { folder, authority, server, client };
        scene.request().await.unwrap();
        scene
    }

    async fn request(&self) -> Result<(), Error> {
        self.client.list_page(&ServiceKey::new("sk_1").unwrap(), 1).await.map(|_| ())
    }

    /// How long it takes until a request succeeds; requests are sent one after another.
    async fn recovery(&self) -> Duration {
        let start = Instant::now();
        let recovers = async {
            while self.request().await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), recovers).await.unwrap();
        start.elapsed()
    }
}

/// Limits that are never reached.
fn patient() -> ConnectionLimits {
    ConnectionLimits {
        max_age: NEVER,
        timeouts_in_a_row: u32::MAX,
        foreign_age: NEVER,
        ping_interval: NEVER,
        ping_timeout: NEVER,
        trust_age: NEVER,
        trusted: None,
    }
}

const NEVER: Duration = Duration::from_secs(3600);
const SHORT: Duration = Duration::from_millis(300);

#[tokio::test]
async fn a_silent_peer_is_found_by_pings() {
    for lie in [Lie::Silent, Lie::Stuck] {
        let limits = ConnectionLimits { ping_interval: SHORT, ping_timeout: SHORT, ..patient() };
        let scene = Scene::new(Duration::from_secs(30), limits).await;
        scene.server.lie(lie);
        let recovery = scene.recovery().await;
        assert!(recovery < Duration::from_secs(10), "{lie:?}: {recovery:?}");
    }
}

#[tokio::test]
async fn connections_on_which_requests_time_out_in_a_row_are_given_up() {
    for lie in [Lie::Silent, Lie::Stuck, Lie::NeverResponds] {
        let scene = Scene::new(SHORT, ConnectionLimits { timeouts_in_a_row: 2, ..patient() }).await;
        scene.server.lie(lie);
        for _ in 0..2 {
            assert_eq!(scene.request().await.unwrap_err().reason(), Reason::Timeout, "{lie:?}");
        }
        // On a busy machine, a new connection may take longer than the short timeout.
        scene.recovery().await;
        assert!(scene.server.accepted.load(Ordering::SeqCst) >= 2, "{lie:?}");
    }
}

#[tokio::test]
async fn one_timeout_between_responses_gives_nothing_up() {
    let scene = Scene::new(Duration::from_secs(30), ConnectionLimits { timeouts_in_a_row: 2, ..patient() }).await;
    let connections = Connections::new(scene.client.settings(), LookUp::default()).unwrap();
    let timeout = || Some(Error::Timeout { after: SHORT, waiting: Waiting::Headers });
    let refused = Error::of_status(503);
    for (error, generation) in [
        (timeout(), 0),
        (None, 0),
        (timeout(), 0),
        (refused, 0),
        (timeout(), 0),
        (Some(Error::Connect(String::new())), 0),
        (Some(Error::Timeout { after: SHORT, waiting: Waiting::Connection }), 0),
        (timeout(), 1),
    ] {
        connections.note(0, error.as_ref());
        assert_eq!(connections.current().await.0, generation, "{error:?}");
    }
    // Requests still in flight in the old pool say nothing about the new one.
    connections.note(0, timeout().as_ref());
    connections.note(0, timeout().as_ref());
    assert_eq!(connections.current().await.0, 1);
}

#[tokio::test]
async fn only_two_foreign_responses_in_a_row_on_old_connections_give_them_up() {
    let scene = Scene::new(Duration::from_secs(30), patient()).await;
    let foreign = || {
        let foreign = Foreign { status: 200, retry_after: None, content: "HTML", product: None };
        Some(Error::ForeignResponse(foreign))
    };
    let timeout = || Some(Error::Timeout { after: SHORT, waiting: Waiting::Headers });
    for (foreign_age, generation) in [(Duration::ZERO, 1), (NEVER, 0)] {
        let mut settings = scene.client.settings().clone();
        settings.connections = ConnectionLimits { foreign_age, timeouts_in_a_row: 2, ..settings.connections };
        let connections = Connections::new(&settings, LookUp::default()).unwrap();
        for error in [foreign(), None, timeout(), foreign(), timeout(), None] {
            connections.note(0, error.as_ref());
            assert_eq!(connections.current().await.0, 0, "{error:?}");
        }
        connections.note(0, foreign().as_ref());
        connections.note(0, foreign().as_ref());
        assert_eq!(connections.current().await.0, generation);
    }
}

#[tokio::test]
async fn connections_that_cannot_be_replaced_stay_and_are_not_replaced_again_at_once() {
    let scene = Scene::new(Duration::from_secs(30), patient()).await;
    let connections = Connections::new(scene.client.settings(), LookUp::default()).unwrap();
    std::fs::remove_file(scene.folder.path().join("trusted.pem")).unwrap();
    connections.lock().is_given_up = true;
    assert_eq!(connections.current().await.0, 0);
    assert!(!connections.lock().is_given_up);
}

#[test]
fn many_requests_share_one_replacement_and_block_no_thread_for_it() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(1).build().unwrap();
    runtime.block_on(async {
        let scene = Scene::new(Duration::from_secs(30), patient()).await;
        let connections = Connections::new(scene.client.settings(), LookUp::default()).unwrap();
        connections.lock().is_given_up = true;
        // The only thread for blocking work is busy until all requests have started.
        let (release, busy) = std::sync::mpsc::channel::<()>();
        tokio::task::spawn_blocking(move || busy.recv());
        let mut requests = futures_util::future::join_all((0..8).map(|_| async { connections.current().await.0 }));
        assert!(futures_util::poll!(&mut requests).is_pending());
        drop(release);
        assert_eq!(requests.await, [1; 8]);
    });
}

#[tokio::test]
async fn after_the_maximum_age_and_after_a_foreign_response_the_host_is_looked_up_again() {
    for limits in
        [ConnectionLimits { max_age: SHORT, ..patient() }, ConnectionLimits { foreign_age: SHORT, ..patient() }]
    {
        follows_the_address(limits).await;
    }
}

async fn follows_the_address(limits: ConnectionLimits) {
    let scene = Scene::new(Duration::from_secs(30), limits).await;
    let other: IpAddr = "127.0.0.2".parse().unwrap();
    let address = SocketAddr::new(other, scene.server.address.port()).to_string();
    let moved = Server::start(&address, scene.authority.server()).await;
    // The old address still responds, but it is no longer the API.
    scene.server.lie(Lie::WrongBackend);
    scene.server.always(Lie::WrongBackend);
    std::fs::write(scene.folder.path().join("hosts"), format!("127.0.0.2 {HOST}")).unwrap();
    scene.recovery().await;
    assert_eq!(moved.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_new_certificate_authority_is_trusted_without_a_restart() {
    for renewed in [false, true] {
        let trust_age = if renewed { NEVER } else { SHORT };
        let scene = Scene::new(Duration::from_secs(30), ConnectionLimits { trust_age, ..patient() }).await;
        let authority = Authority::new();
        *scene.server.tls.lock().unwrap() = authority.server();
        scene.client.renew().unwrap();
        assert_eq!(scene.request().await.unwrap_err().reason(), Reason::Tls);
        std::fs::write(scene.folder.path().join("trusted.pem"), authority.0.pem()).unwrap();
        if renewed {
            assert_eq!(scene.request().await.unwrap_err().reason(), Reason::Tls);
            scene.client.renew().unwrap();
            scene.request().await.unwrap();
        } else {
            scene.recovery().await;
        }
    }
}

#[tokio::test]
async fn a_missing_trust_store_keeps_the_old_connections() {
    let scene = Scene::new(Duration::from_secs(30), ConnectionLimits { max_age: Duration::ZERO, ..patient() }).await;
    std::fs::remove_file(scene.folder.path().join("trusted.pem")).unwrap();
    let error = scene.client.renew().unwrap_err().to_string();
    assert!(error.contains("trusted.pem: No such file"), "{error}");
    scene.request().await.unwrap();
    assert_eq!(scene.server.accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_unprocessed_request_is_reported_as_unsent_and_is_not_sent_twice() {
    for lie in [Lie::GoesAway, Lie::RefusesStreams] {
        let scene = Scene::new(Duration::from_secs(30), patient()).await;
        scene.server.always(lie);
        scene.client.renew().unwrap();
        let error = scene.request().await.unwrap_err();
        assert!(error.is_unsent() && error.reason() == Reason::Disconnected, "{lie:?}: {error}");
        assert_eq!(scene.server.accepted.load(Ordering::SeqCst), 2, "{lie:?}");
    }
}

#[tokio::test]
async fn a_request_that_may_have_been_processed_is_not_reported_as_unsent() {
    for (lie, sentence) in [
        (Lie::ResetsStreams, "received RST_STREAM (INTERNAL_ERROR)"),
        (Lie::GoesAwayInAnger, "received GOAWAY (ENHANCE_YOUR_CALM)"),
    ] {
        let scene = Scene::new(Duration::from_secs(30), patient()).await;
        scene.server.always(lie);
        scene.client.renew().unwrap();
        let error = scene.request().await.unwrap_err();
        assert!(!error.is_unsent() && error.reason() == Reason::Disconnected, "{lie:?}: {error}");
        assert!(error.to_string().contains(sentence), "{lie:?}: {error}");
    }
}

#[tokio::test]
async fn requests_in_flight_survive_a_renewal() {
    let scene = Scene::new(Duration::from_secs(30), patient()).await;
    let (first, ()) = tokio::join!(scene.request(), async { scene.client.renew().unwrap() });
    first.unwrap();
    scene.request().await.unwrap();
}

/// Any fault that new connections cure is over within a minute, polling included: `status` is polled every 15 s.
#[test]
fn the_defaults_bring_readings_back_within_a_minute() {
    let limits = ConnectionLimits::default();
    let (poll, timeout) = (Duration::from_secs(15), Duration::from_secs(10));
    let minute = Duration::from_secs(60);
    assert!(limits.ping_interval + limits.ping_timeout + poll < minute);
    assert!(timeout * limits.timeouts_in_a_row + poll < minute);
    assert!(limits.max_age + poll <= minute);
    assert!(limits.trust_age + poll < minute);
}
