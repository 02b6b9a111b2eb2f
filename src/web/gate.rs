//! What every request has to pass before the routes see it.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::access::Rules;
use super::auth::Verdict;
use super::page::REPORT_PATHS;
use super::server::Server;

/// Asked by kubelet and by load balancers, which have no password.
const OPEN: [&str; 2] = ["/-/healthy", "/-/ready"];

const CHALLENGE: HeaderValue = HeaderValue::from_static("Basic realm=\"goldrush-exporter\", charset=\"UTF-8\"");

/// Reports at the same time: each is made for one reader and may be of many megabytes, unlike a scrape's answer,
/// whose pieces are shared.
const REPORTS: usize = 4;
/// Reports that may wait for a place.
const WAITING_REPORTS: usize = 32;
/// How long one waits. A person waits rather than asks again.
const REPORT_WAIT: Duration = Duration::from_secs(5);

/// The places of reports on the fleet: the page and its JSON form. Scrapes have others.
pub(super) struct Reports {
    places: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Default for Reports {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(REPORTS)), waiting: Semaphore::new(WAITING_REPORTS) }
    }
}

impl Reports {
    /// Waits for a place; `None` if there is none for too long, or if too many wait.
    async fn place(&self) -> Option<OwnedSemaphorePermit> {
        let _waiting = self.waiting.try_acquire().ok()?;
        timeout(REPORT_WAIT, self.places.clone().acquire_owned()).await.ok()?.ok()
    }
}

/// Lets a request in, a scrape or a report with the place that it takes up, or gives the answer that refuses it.
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
    let (place, refusal) = match &server.scrapes {
        Some(scrapes) if path == server.telemetry_path => {
            (scrapes.clone().try_acquire_owned().ok(), "As many scrapes as --web.max-requests allows are going on.\n")
        }
        _ if REPORT_PATHS.contains(&path) => {
            (server.reports.place().await, "As many pages and JSON answers as there may be are being read.\n")
        }
        _ => return Ok(None),
    };
    place.map(Some).ok_or_else(|| later(StatusCode::SERVICE_UNAVAILABLE, refusal))
}

fn later(status: StatusCode, text: &'static str) -> Response<Body> {
    (status, [(header::RETRY_AFTER, HeaderValue::from_static("1"))], text).into_response()
}
