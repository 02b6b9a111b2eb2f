//! The timeouts of connections, under a paused clock.

use std::time::Duration;

use axum::routing::get;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use super::*;
use crate::http::permits::Limit;

/// Serves a small response, large metrics for one scraper at a time, and a large report.
struct Rig {
    server: Arc<Server>,
    _stop: watch::Sender<()>,
    stopped: watch::Receiver<()>,
}

impl Rig {
    fn new() -> Self {
        let large = get(async || "x".repeat(1024 * 1024));
        let router =
            Router::new().route("/small", get(async || "small")).route("/large", large.clone()).route("/", large);
        let access = Arc::new(Access::unrestricted().unwrap());
        let limit = |path: &str, concurrent, waiting| Limit {
            paths: vec![path.to_owned()],
            concurrent,
            waiting,
            patience: Duration::from_secs(5),
            refusal: "Too many.\n",
        };
        let limits = vec![limit("/large", 1, 0), limit("/", 4, 32)];
        let site = Site { router, realm: "tests", open: &[], limits };
        let (stop, stopped) = watch::channel(());
        Self { server: Arc::new(Server::new(site, access)), _stop: stop, stopped }
    }

    fn connect(&self, http2: bool) -> DuplexStream {
        let (client, stream) = duplex(1024);
        let (server, stopped) = (self.server.clone(), self.stopped.clone());
        tokio::spawn(async move {
            let connection = server.connections.enter();
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            server.clone().http(Box::new(stream), http2, peer, &connection, stopped).await;
        });
        client
    }
}

const SMALL: &[u8] = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n";
const LARGE: &[u8] = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n";

const REPORT: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

/// Reads the beginning of a response. Returns its status.
async fn begin_of_response(client: &mut DuplexStream) -> String {
    let mut begin = [0; 15];
    client.read_exact(&mut begin).await.unwrap();
    String::from_utf8_lossy(&begin[9..12]).into_owned()
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_a_whole_request_is_cut_after_ten_seconds() {
    let rig = Rig::new();
    for (http2, request) in [(false, SMALL), (true, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")] {
        let mut client = rig.connect(http2);
        let begin = Instant::now();
        // One byte per second always looks busy, but does not finish in time.
        for byte in request.iter().take(9) {
            client.write_all(&[*byte]).await.unwrap();
            sleep(Duration::from_secs(1)).await;
        }
        let _ = client.read_to_end(&mut Vec::new()).await;
        assert_eq!(begin.elapsed().as_secs(), 10, "HTTP/2: {http2}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_for_the_next_scrape_but_not_for_ever() {
    let rig = Rig::new();
    let mut client = rig.connect(false);
    for _ in 0..3 {
        client.write_all(SMALL).await.unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"small") {
            assert!(client.read_buf(&mut response).await.unwrap() > 0);
        }
        assert!(response.starts_with(b"HTTP/1.1 200 OK"));
        sleep(Duration::from_secs(60)).await;
    }
    client.write_all(&SMALL[..5]).await.unwrap();
    let begin = Instant::now();
    client.read_to_end(&mut Vec::new()).await.unwrap();
    // It has been idle for 60 s; an incomplete request makes no difference.
    assert_eq!(begin.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_slow_reader_takes_up_a_scrape_until_it_is_cut() {
    let rig = Rig::new();
    let mut slow = rig.connect(false);
    slow.write_all(LARGE).await.unwrap();
    assert_eq!(begin_of_response(&mut slow).await, "200");
    let begin = Instant::now();

    let mut other = rig.connect(false);
    other.write_all(LARGE).await.unwrap();
    assert_eq!(begin_of_response(&mut other).await, "503");

    let mut read = 0;
    while let Ok(1) = slow.read(&mut [0]).await {
        read += 1;
        sleep(Duration::from_millis(100)).await;
    }
    // What was buffered when the connection was closed arrived a little later.
    assert!((60..=170).contains(&begin.elapsed().as_secs()), "{:?}", begin.elapsed());
    assert!(read < 2000, "{read}");

    let mut other = rig.connect(false);
    other.write_all(LARGE).await.unwrap();
    assert_eq!(begin_of_response(&mut other).await, "200", "its permit is free again");
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(1), other.read_to_end(&mut rest)).await;
    assert!(rest.len() >= 1024 * 1024, "a client that reads is served whole");
    other.write_all(LARGE).await.unwrap();
    assert_eq!(begin_of_response(&mut other).await, "200", "and returns its permit when it has read all");
}

#[tokio::test(start_paused = true)]
async fn a_report_waits_for_a_permit_but_neither_for_long_nor_with_many() {
    let rig = Rig::new();
    let ask = async || {
        let mut client = rig.connect(false);
        client.write_all(REPORT).await.unwrap();
        client
    };
    let mut slow = Vec::new();
    for _ in 0..4 {
        let mut client = ask().await;
        assert_eq!(begin_of_response(&mut client).await, "200");
        slow.push(client);
    }
    let begin = Instant::now();
    let mut late = ask().await;
    assert_eq!(begin_of_response(&mut late).await, "503");
    assert_eq!(begin.elapsed().as_secs(), 5);

    let mut waiting = Vec::new();
    for _ in 0..32 {
        waiting.push(ask().await);
    }
    sleep(Duration::from_secs(1)).await;
    let begin = Instant::now();
    let mut one_too_many = ask().await;
    assert_eq!(begin_of_response(&mut one_too_many).await, "503");
    let mut small = rig.connect(false);
    small.write_all(SMALL).await.unwrap();
    assert_eq!(begin_of_response(&mut small).await, "200");
    let mut scrape = rig.connect(false);
    scrape.write_all(LARGE).await.unwrap();
    assert_eq!(begin_of_response(&mut scrape).await, "200");
    assert_eq!(begin.elapsed().as_secs(), 0, "nothing else waits");

    // When a client disconnects, the request that has waited longest gets its permit.
    drop(slow.pop());
    assert_eq!(begin_of_response(&mut waiting[0]).await, "200");
    assert_eq!(begin_of_response(&mut waiting[1]).await, "503");
}

#[tokio::test]
async fn the_connection_that_has_waited_longest_makes_room() {
    let connections = Arc::new(Connections::new(2));
    let busy = connections.enter();
    let _ticket = busy.activity.begin();
    let waiting = connections.enter();
    let third = connections.enter();
    assert_eq!(waiting.activity.is_over().await, "there are too many connections");
    let fourth = connections.enter();
    assert_eq!(third.activity.is_over().await, "there are too many connections");
    let _other = fourth.activity.begin();
    let _fifth = connections.enter();
    assert_eq!(busy.activity.is_over().await, "there are too many connections");
}

#[tokio::test(start_paused = true)]
async fn responses_sent_in_time_do_not_excuse_one_that_is_not() {
    let connections = Arc::new(Connections::new(2));
    let hostile = connections.enter();
    let begin = Instant::now();
    let _stuck = hostile.activity.begin();
    let asked = async {
        for _ in 0..10 {
            sleep(Duration::from_secs(50)).await;
            drop(hostile.activity.begin());
        }
    };
    tokio::select! {
        why = hostile.activity.is_over() => assert_eq!(why, "the client reads its response too slowly"),
        () = asked => panic!("it is never cut"),
    }
    assert_eq!(begin.elapsed().as_secs(), 60);
}

#[tokio::test(start_paused = true)]
async fn the_connection_with_the_oldest_response_makes_room_whatever_else_it_was_sent() {
    let connections = Arc::new(Connections::new(2));
    let (first, second) = (connections.enter(), connections.enter());
    let _oldest = first.activity.begin();
    sleep(Duration::from_secs(1)).await;
    let _other = second.activity.begin();
    sleep(Duration::from_secs(1)).await;
    drop(first.activity.begin());
    let _third = connections.enter();
    assert_eq!(first.activity.is_over().await, "there are too many connections");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_sends_each_request_before_the_last_response_has_ended_is_served_on() {
    let connections = Arc::new(Connections::new(1));
    let busy = connections.enter();
    let begin = Instant::now();
    let asked = async {
        let mut last = busy.activity.begin();
        for _ in 0..100 {
            sleep(Duration::from_secs(30)).await;
            let next = busy.activity.begin();
            sleep(Duration::from_secs(10)).await;
            // The older one ends first.
            drop(std::mem::replace(&mut last, next));
        }
        drop(last);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        why = busy.activity.is_over() => assert_eq!(why, "no further request has come"),
        () = asked => {}
    }
    assert_eq!(begin.elapsed().as_secs(), 100 * 40 + 90);
}
