//! The checks that every request must pass before it reaches the routes.

use std::net::IpAddr;

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use tokio::sync::OwnedSemaphorePermit;

use super::access::Rules;
use super::auth::{Checks, Verdict};
use super::permits::{Limit, Permits};

/// Checks requests against the current rules and the limits of the site.
pub(super) struct Gate {
    open: &'static [&'static str],
    challenge: HeaderValue,
    checks: Checks,
    permits: Vec<Permits>,
}

impl Gate {
    /// `realm` contains no quotes and no control characters.
    pub fn new(realm: &str, open: &'static [&'static str], limits: Vec<Limit>) -> Self {
        let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
        Self {
            open,
            challenge: challenge.unwrap_or(HeaderValue::from_static("Basic")),
            checks: Checks::default(),
            permits: limits.into_iter().map(Permits::new).collect(),
        }
    }

    /// Admits a request, with a permit if its path is limited, or returns the response that refuses it.
    pub async fn admit<B: hyper::body::Body>(
        &self,
        rules: &Rules,
        request: &Request<B>,
        peer: IpAddr,
    ) -> Result<Option<OwnedSemaphorePermit>, Response<Body>> {
        let path = request.uri().path();
        if !self.open.contains(&path) {
            if !rules.takes_another() {
                return Err(later(StatusCode::TOO_MANY_REQUESTS, "Too many requests (rate_limit).\n"));
            }
            let credentials = request.headers().get(header::AUTHORIZATION);
            match rules.users.judge(credentials, peer, &self.checks).await {
                Verdict::Admitted => {}
                Verdict::Refused => {
                    tracing::debug!(%peer, "no password, or a wrong one");
                    let challenge = [(header::WWW_AUTHENTICATE, self.challenge.clone())];
                    return Err((StatusCode::UNAUTHORIZED, challenge, "A user name and a password are required.\n")
                        .into_response());
                }
                Verdict::Busy => {
                    return Err(later(StatusCode::TOO_MANY_REQUESTS, "Too many password checks are waiting.\n"));
                }
            }
        }
        if !request.body().is_end_stream() {
            return Err((StatusCode::PAYLOAD_TOO_LARGE, "Requests must not have a body.\n").into_response());
        }
        let Some(permits) = self.permits.iter().find(|permits| permits.limit.paths.iter().any(|of| of == path)) else {
            return Ok(None);
        };
        let permit = permits.acquire().await;
        permit.map(Some).ok_or_else(|| later(StatusCode::SERVICE_UNAVAILABLE, permits.limit.refusal))
    }
}

fn later(status: StatusCode, text: &'static str) -> Response<Body> {
    (status, [(header::RETRY_AFTER, HeaderValue::from_static("1"))], text).into_response()
}
