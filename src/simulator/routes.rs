//! The simulated API over HTTP: chooses the response to each request.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::Response;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::{self, Page};
use super::fault::Fault;
use super::journal::RequestRecord;
use super::refusal::Refusal;
use super::scenario::Scenario;
use super::{App, BASE_PATH, Simulator, Stop, USAGE_PATH};
use crate::api::Operation;

/// The default of `page_size`.
const DEFAULT_PAGE_SIZE: usize = 100;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

pub(super) async fn api(State(app): State<App>, request: Request) -> Response {
    app.simulator.answer(request, &app).await
}

/// Notes a request outside of the API: an exporter must not send any.
pub(super) async fn elsewhere(State(app): State<App>, request: Request) -> StatusCode {
    app.simulator.journal().violated(format!("{} {}: is outside of the API", request.method(), request.uri().path()));
    StatusCode::NOT_FOUND
}

/// The endpoint and pipeline that a request names.
struct Target<'a> {
    /// `None` for a path that is not an endpoint.
    endpoint: Option<Operation>,
    pipeline: Option<&'a str>,
}

impl<'a> Target<'a> {
    fn of(path: &'a str) -> Self {
        if path == USAGE_PATH {
            return Self { endpoint: Some(Operation::Usage), pipeline: None };
        }
        let rest = path.strip_prefix(BASE_PATH).map(|rest| rest.split('/'));
        let segments: Vec<_> = rest.into_iter().flatten().collect();
        // A path ends in a slash, so the last segment is empty.
        let (endpoint, pipeline) = match segments[..] {
            [""] => (Some(Operation::List), None),
            [id, "status", ""] => (Some(Operation::Status), Some(id)),
            [id, "metrics", ""] => (Some(Operation::Metrics), Some(id)),
            [id, "destination-health", ""] => (Some(Operation::DestinationHealth), Some(id)),
            _ => (None, None),
        };
        Self { endpoint, pipeline }
    }

    /// Whether the query has only the endpoint's parameters: a page of the list, or the month of the usage; probes have
    /// none.
    fn asks_properly(&self, query: Option<&str>) -> bool {
        if self.endpoint == Some(Operation::Usage) {
            return query == Some("duration=1");
        }
        let known: &[&str] = if self.endpoint == Some(Operation::List) { &["page_number", "page_size"] } else { &[] };
        let is_known = |pair: &str| known.contains(&pair.split('=').next().unwrap_or_default());
        query.is_none_or(|query| query.split('&').all(is_known))
    }
}

#[derive(Deserialize)]
struct PageQuery {
    page_number: Option<usize>,
    page_size: Option<usize>,
}

impl Simulator {
    /// Notes a request, applies its delay, and returns its response.
    pub(super) async fn answer(&self, request: Request, app: &App) -> Response {
        let (parts, body) = request.into_parts();
        let target = Target::of(parts.uri.path());
        let number = self.note(&parts, &body, &target, app.address);
        let response = self
            .decide(&parts, &target, number, app.stop.clone())
            .await
            .unwrap_or_else(|refusal| refused(&refusal, number));
        tracing::debug!(number, status = response.status().as_u16(), "answered");
        self.journal().answered(number, response.status().as_u16());
        response
    }

    /// Whether a request names the host that it reached.
    fn is_for(&self, parts: &Parts, address: SocketAddr) -> bool {
        let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let host = host.or(parts.uri.authority().map(|authority| authority.as_str())).unwrap_or_default();
        let name = host.rsplit_once(':').map(|(name, _)| name);
        host == address.to_string()
            || host == format!("localhost:{}", address.port())
            || (name.is_some() && name == self.0.front.as_deref())
    }

    /// Notes a request and its violations in the journal. Returns its number.
    fn note(&self, parts: &Parts, body: &Body, target: &Target<'_>, address: Option<SocketAddr>) -> u64 {
        let path = parts.uri.path_and_query().map_or_else(|| parts.uri.path(), |path| path.as_str()).to_owned();
        let key = self.key_index(&parts.headers);
        let authorizations: Vec<_> = parts.headers.get_all(header::AUTHORIZATION).iter().collect();
        let bearer = |value: &HeaderValue| value.as_bytes().starts_with(b"Bearer ");
        let wrongs = [
            (parts.method != Method::GET, "is not a GET"),
            (target.endpoint.is_none(), "is not a path that an exporter requests"),
            (!target.asks_properly(parts.uri.query()), "has a query other than a page or a month"),
            (authorizations.len() > 1, "carries more than one Authorization header"),
            (authorizations.is_empty(), "carries no Authorization header"),
            (authorizations.iter().any(|value| !bearer(value)), "carries something other than a bearer token"),
            (address.is_some_and(|address| !self.is_for(parts, address)), "is for another host"),
            (!body.is_end_stream(), "has a body"),
        ];
        let mut journal = self.journal();
        for (_, wrong) in wrongs.iter().filter(|(applies, _)| *applies) {
            journal.violated(format!("{} {path}: {wrong}", parts.method));
        }
        journal.arrived(RequestRecord {
            at: self.elapsed(),
            method: parts.method.to_string(),
            path,
            endpoint: target.endpoint,
            pipeline: target.pipeline.map(str::to_owned),
            key,
            status: None,
        })
    }

    async fn decide(&self, parts: &Parts, target: &Target<'_>, number: u64, stop: Stop) -> Result<Response, Refusal> {
        let latency = self.0.latency + self.scenario().latency();
        if !latency.is_zero() {
            sleep(latency, &stop).await?;
        }
        let (mut repeated_page, mut shuffled) = (false, false);
        match self.find_fault(target.endpoint, target.pipeline) {
            Some(Fault::Delay(delay)) => sleep(delay, &stop).await?,
            Some(Fault::RepeatedPage) => repeated_page = true,
            Some(Fault::ShuffledPages) => shuffled = true,
            Some(Fault::PageSizeRefused(_)) if !names_a_page_size(&parts.uri) => {}
            Some(Fault::PageSizeRefused(refusal)) => return faulty(*refusal, stop).await,
            Some(fault) => return faulty(fault, stop).await,
            None => {}
        }
        // The key is checked after the delay: one that was revoked meanwhile is refused.
        let key = self.key_index(&parts.headers);
        let caller = self.world(|world, now| world.admit(now, key))?;
        match self.scenario() {
            Scenario::Html => return Ok(html(StatusCode::OK, "Sign in to the network")),
            Scenario::ServerErrors if number % 3 == 2 => return Ok(server_error(number / 3)),
            _ => {}
        }
        if parts.method != Method::GET {
            return Err(Refusal::Method);
        }
        let data = match (target.endpoint, target.pipeline) {
            (Some(Operation::List), _) => {
                let mut page = self.page(&parts.uri)?;
                page.shuffled = shuffled;
                if repeated_page {
                    page.number = 1;
                }
                let mut list = self.world(|world, _| world.list(caller, page));
                if repeated_page {
                    list["pagination"]["has_more"] = json!(true);
                }
                list
            }
            (Some(Operation::Usage), _) => self.world(|world, now| world.usage(now, caller))?,
            (Some(endpoint), Some(id)) => self.world(|world, now| world.probe(now, caller, endpoint, id))?,
            _ => return Err(Refusal::UnknownPath),
        };
        Ok(json_answer(StatusCode::OK, &answers::success(data)))
    }

    /// The page that a list request asks for, with its size clamped.
    fn page(&self, uri: &Uri) -> Result<Page, Refusal> {
        let Query(query) = Query::<PageQuery>::try_from_uri(uri).map_err(|_| Refusal::Page)?;
        let number = query.page_number.unwrap_or(1);
        let size = query.page_size.unwrap_or(DEFAULT_PAGE_SIZE);
        if number == 0 || size == 0 {
            return Err(Refusal::Page);
        }
        Ok(Page { number, size: size.min(self.0.max_page_size), shuffled: false })
    }

    /// The index of the key in a request.
    fn key_index(&self, headers: &HeaderMap) -> Option<usize> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (value, None) = (values.next()?, values.next()) else {
            return None;
        };
        let key = value.to_str().ok()?.strip_prefix("Bearer ")?;
        self.world(|world, _| world.key_index(key))
    }
}

/// Sleeps, but not beyond the end of the server.
async fn sleep(duration: Duration, stop: &Stop) -> Result<(), Refusal> {
    tokio::select! {
        () = tokio::time::sleep(duration) => Ok(()),
        () = stop.clone() => Err(Refusal::Stopping),
    }
}

async fn faulty(fault: Fault, stop: Stop) -> Result<Response, Refusal> {
    /// The beginning of an envelope, and white space that can be repeated in it forever.
    const BEGINNING: Bytes = Bytes::from_static(b"{\"data\": ");
    const SPACE: Bytes = Bytes::from_static(&[b' '; 64 * 1024]);

    let beginning = stream::iter([io::Result::Ok(BEGINNING)]);
    Ok(match fault {
        Fault::Answer { status, headers, body } => {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status_of(status);
            for (name, value) in headers {
                if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                    response.headers_mut().append(name, value);
                }
            }
            response
        }
        Fault::Foreign(status) => html(status_of(status), "Attention Required!"),
        Fault::RateLimited { retry_after } => rate_limited(json!(429), retry_after),
        Fault::EnvelopeError { code, message } => json_answer(StatusCode::OK, &answers::failure(code, &message)),
        Fault::StalledBody => streamed(Body::from_stream(beginning.chain(stream::pending()).take_until(stop))),
        Fault::BrokenBody => {
            // Without the pause, the connection may break before the beginning has been sent.
            let broken = stream::once(async {
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(io::Error::from(io::ErrorKind::ConnectionReset))
            });
            streamed(Body::from_stream(beginning.chain(broken)))
        }
        Fault::EndlessBody => {
            streamed(Body::from_stream(beginning.chain(stream::repeat_with(|| Ok(SPACE))).take_until(stop)))
        }
        Fault::Hang | Fault::Delay(_) | Fault::PageSizeRefused(_) | Fault::RepeatedPage | Fault::ShuffledPages => {
            stop.await;
            return Err(Refusal::Stopping);
        }
    })
}

fn names_a_page_size(uri: &Uri) -> bool {
    uri.query().is_some_and(|query| query.contains("page_size="))
}

fn status_of(status: u16) -> StatusCode {
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn refused(refusal: &Refusal, number: u64) -> Response {
    let status = refusal.status();
    // The reference shows codes of both types.
    let code = if number.is_multiple_of(2) { json!(status) } else { json!(status.to_string()) };
    match refusal {
        Refusal::RateLimited { retry_after } => rate_limited(code, Some(retry_after.to_string())),
        _ => json_answer(status_of(status), &answers::failure(code, refusal.message())),
    }
}

fn rate_limited(code: Value, retry_after: Option<String>) -> Response {
    let mut response = json_answer(StatusCode::TOO_MANY_REQUESTS, &answers::failure(code, "Too many requests"));
    if let Some(Ok(value)) = retry_after.map(HeaderValue::try_from) {
        response.headers_mut().insert(header::RETRY_AFTER, value);
    }
    response
}

/// The failure number `number` of [`Scenario::ServerErrors`].
fn server_error(number: u64) -> Response {
    match number % 3 {
        0 => json_answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            &answers::failure(json!("INTERNAL"), "Internal server error"),
        ),
        1 => html(StatusCode::BAD_GATEWAY, "502 Bad Gateway"),
        _ => html(StatusCode::SERVICE_UNAVAILABLE, "503 Service Temporarily Unavailable"),
    }
}

fn html(status: StatusCode, title: &str) -> Response {
    let body = format!("<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>\n");
    with_type(status, HTML, Body::from(body))
}

/// A JSON response with this status.
pub(super) fn json_answer(status: StatusCode, value: &Value) -> Response {
    with_type(status, JSON, Body::from(value.to_string()))
}

fn streamed(body: Body) -> Response {
    with_type(StatusCode::OK, JSON, body)
}

fn with_type(status: StatusCode, content_type: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_with_their_final_slash_are_endpoints() {
        let of = |rest: &str| {
            let path = format!("{BASE_PATH}{rest}");
            let target = Target::of(&path);
            (target.endpoint, target.pipeline.map(str::to_owned))
        };
        assert_eq!(of(""), (Some(Operation::List), None));
        assert_eq!(of("pipe_1/destination-health/"), (Some(Operation::DestinationHealth), Some("pipe_1".to_owned())));
        assert_eq!(Target::of(USAGE_PATH).endpoint, Some(Operation::Usage));
        for other in ["pipe_1/", "pipe_1/status", "pipe_1/logs/", "/", "pipe_1/status//"] {
            assert_eq!(of(other), (None, None), "{other}");
        }
    }
}
