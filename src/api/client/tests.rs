use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::super::error::Said;
use super::*;
use crate::api::BaseUrl;
use crate::api::{ConnectionLimits, Reason};

fn client(base_url: &str) -> Client {
    client_with(base_url, Duration::from_secs(10))
}

fn client_with(base_url: &str, timeout: Duration) -> Client {
    Client::new(Settings {
        base_url: BaseUrl::parse(base_url, false).unwrap(),
        timeout,
        max_response_bytes: 1024,
        max_connections: 1,
        connections: ConnectionLimits::default(),
    })
    .unwrap()
}

fn key() -> ServiceKey {
    ServiceKey::new("sk_1").unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_connect_timeout_names_the_limit_that_passed() {
    // The listener queues connections, but nothing completes a TLS handshake.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let client = client(&format!("https://{}/", listener.local_addr().unwrap()));
    let error = client.list_page(&key(), 1).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "timed out after 5s (the limit for connecting) looking up the host, connecting or negotiating TLS"
    );
    assert_eq!(error.reason(), Reason::Timeout);
}

/// A server that refuses a `page_size` and counts connections.
async fn without_page_size(axum_request: axum::extract::Request) -> axum::response::Response {
    let query = axum_request.uri().query().unwrap_or_default();
    let (status, body) = if query.contains("page_number=9") {
        (422, r#"{"data":null,"error":true,"error_message":"invalid page"}"#)
    } else if query.contains("page_size") {
        (400, r#"{"error":true,"error_message":"invalid limit","error_code":"E1"}"#)
    } else {
        (200, r#"{"data":{"items":[]}}"#)
    };
    let body = axum::body::Body::from(body);
    axum::response::Response::builder().status(status).body(body).unwrap()
}

#[tokio::test]
async fn a_page_size_that_is_refused_is_omitted_from_then_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&format!("http://{}/", listener.local_addr().unwrap()));
    let router = axum::Router::new().fallback(without_page_size);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let refused = Error::PageSizeRefused(Box::new(Error::UnexpectedStatus {
        status: 400,
        said: Said::in_envelope("invalid limit"),
    }));
    assert_eq!(client.list_page(&key(), 1).await, Err(refused.clone()));
    assert_eq!(refused.reason(), Reason::UnexpectedStatus);
    for page in 1..3 {
        client.list_page(&key(), page).await.unwrap();
    }
    // A refusal without a size cannot be about the size.
    let error = client.list_page(&key(), 9).await.unwrap_err();
    assert_eq!(error, Error::UnexpectedStatus { status: 422, said: Said::in_envelope("invalid [redacted]") });
    assert_eq!(client.list_page(&key(), 1).await, Err(refused.clone()));
    client.list_page(&key(), 1).await.unwrap();
    client.renew().unwrap();
    assert_eq!(client.list_page(&key(), 1).await, Err(refused));
}

/// A server whose responses depend on the path.
async fn by_path(request: axum::extract::Request) -> axum::response::Response {
    let padded = |text: &str, bytes: usize| format!("{text}{}", " ".repeat(bytes - text.len()));
    let (status, body) = match request.uri().path() {
        "/pipe_1/status/" => (200, padded(r#"{"data":{"status":"RUNNING"}}"#, 1_024)),
        "/pipe_1/metrics/" => (200, padded(r#"{"data":{"last_offset":1}}"#, 1_025)),
        "/pipe_1/destination-health/" => (404, padded(r#"{"data":null,"error":true,"error_message":"gone"}"#, 2_000)),
        _ => (500, String::new()),
    };
    axum::response::Response::builder().status(status).body(axum::body::Body::from(body)).unwrap()
}

#[tokio::test]
async fn a_body_is_read_up_to_its_limit_which_is_another_one_for_refusals() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&format!("http://{}/", listener.local_addr().unwrap()));
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(by_path)).await });
    let error = async |probe| {
        let id = crate::api::PipelineId::new("pipe_1").unwrap();
        client.send(&key(), Request::Probe(id, probe)).await.error().cloned()
    };
    assert_eq!(error(Probe::Status).await, None);
    assert_eq!(error(Probe::Metrics).await, Some(Error::TooLarge { limit: 1_024 }));
    assert_eq!(error(Probe::DestinationHealth).await, Some(Error::NotFound(Said::in_envelope("gone"))));
}

/// The error of a request to a server that sends these bytes and closes the connection.
async fn error_after(sends: &'static [u8]) -> Error {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(sends).await;
    });
    client(&format!("http://{address}/")).list_page(&key(), 1).await.unwrap_err()
}

#[tokio::test]
async fn what_is_not_a_response_cannot_be_decoded_and_one_that_is_cut_was_disconnected() {
    assert_eq!(error_after(b"nonsense\r\n\r\n").await.reason(), Reason::Decode);
    let no_gzip = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 8\r\n\r\nnonsense";
    assert_eq!(error_after(no_gzip).await.reason(), Reason::Decode);
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{";
    assert_eq!(error_after(cut).await.reason(), Reason::Disconnected);
}

#[tokio::test(start_paused = true)]
async fn the_body_of_a_refusal_may_come_later_than_its_headers() {
    let error = async |late| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            let body = r#"{"data":null,"error":true,"error_message":"revoked"}"#;
            let head = format!("HTTP/1.1 401 Unauthorized\r\ncontent-length: {}\r\n\r\n", body.len());
            stream.write_all(head.as_bytes()).await.unwrap();
            tokio::time::sleep(late).await;
            let _ = stream.write_all(body.as_bytes()).await;
        });
        client(&format!("http://{address}/")).list_page(&key(), 1).await.unwrap_err().reason()
    };
    assert_eq!(error(Duration::from_millis(2_900)).await, Reason::Unauthorized);
    assert_eq!(error(Duration::from_millis(3_100)).await, Reason::ForeignResponse, "it may be anybody's");
}

#[tokio::test]
async fn a_refused_connection_and_a_silent_server_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base_url = format!("http://{}/", listener.local_addr().unwrap());
    let silent = client_with(&base_url, Duration::from_millis(300)).list_page(&key(), 1).await.unwrap_err();
    assert_eq!(silent.to_string(), "timed out after 300ms (api.timeout) waiting for response headers");
    drop(listener);
    let refused = client(&base_url).list_page(&key(), 1).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::Connect);
    assert!(refused.to_string().contains("refused"), "{refused}");
}
