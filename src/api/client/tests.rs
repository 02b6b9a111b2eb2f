use tokio::net::TcpListener;

use super::super::error::Said;
use super::*;
use crate::api::BaseUrl;
use crate::api::{ConnectionLimits, Reason};

fn client(base_url: &str) -> Client {
    Client::new(Settings {
        base_url: BaseUrl::parse(base_url, false).unwrap(),
        timeout: Duration::from_secs(10),
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
