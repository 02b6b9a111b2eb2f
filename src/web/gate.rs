//! What every request has to pass before the routes see it.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use tokio::sync::OwnedSemaphorePermit;

use super::access::Rules;
use super::auth::Verdict;
use super::server::Server;

/// Asked by kubelet and by load balancers, which have no password.
const OPEN: [&str; 2] = ["/-/healthy", "/-/ready"];

const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"goldrush-exporter\", charset=\"UTF-8\"");

/// Lets a request in, a scrape with the place that it takes up, or gives the answer that refuses it.
pub(super) async fn admit<B: hyper::body::Body>(
    server: &Server,
    rules: &Rules,
    request: &Request<B>,
    peer: IpAddr,
) -> Result<Option<OwnedSemaphorePermit>, Response<Body>> {
    let path = request.uri().path();
    if !OPEN.contains(&path) {
        if !rules.rate.as_ref().is_none_or(|rate| rate.take()) {
            return Err(later(StatusCode::TOO_MANY_REQUESTS, "There are more requests than rate_limit allows.\n"));
        }
        let credentials = request.headers().get(header::AUTHORIZATION);
        match rules.users.judge(credentials, peer, &server.checks).await {
            Verdict::Admitted => {}
            Verdict::Refused => {
                tracing::debug!(%peer, "no password, or a wrong one");
                let challenge = [(header::WWW_AUTHENTICATE, CHALLENGE)];
                return Err(
                    (StatusCode::UNAUTHORIZED, challenge, "A user and a password are needed.\n").into_response()
                );
            }
            Verdict::Busy => {
                return Err(later(StatusCode::TOO_MANY_REQUESTS, "Too many passwords are being checked.\n"));
            }
        }
    }
    if !request.body().is_end_stream() {
        return Err((StatusCode::PAYLOAD_TOO_LARGE, "No request here takes a body.\n").into_response());
    }
    match &server.scrapes {
        Some(scrapes) if path == server.telemetry_path => match scrapes.clone().try_acquire_owned() {
            Ok(permit) => Ok(Some(permit)),
            Err(_) => Err(later(
                StatusCode::SERVICE_UNAVAILABLE,
                "As many scrapes as --web.max-requests allows are going on.\n",
            )),
        },
        _ => Ok(None),
    }
}

fn later(status: StatusCode, text: &'static str) -> Response<Body> {
    (status, [(header::RETRY_AFTER, HeaderValue::from_static("1"))], text).into_response()
}
