//! The page at `/` for people, and its JSON form at `/api/v1/pipelines`.

mod assets;
mod html;
mod message;
mod query;
mod report;
#[cfg(test)]
mod tests;
mod value;
mod words;

use std::io::Write as _;

use axum::Router;
use axum::extract::{Query as UrlQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get};
use flate2::Compression;
use flate2::write::GzEncoder;

use crate::fleet::Fleet;
use crate::http::{accepts_gzip, joined};
use crate::moment::Moment;
use assets::{ICON, ICON_PATH, SCRIPT, SCRIPT_PATH, STYLE, STYLE_PATH};
use query::Query;
use report::{Report, Snapshot};

/// The paths that report on the whole fleet: the page and its JSON form.
pub(crate) const REPORT_PATHS: [&str; 2] = ["/", "/api/v1/pipelines"];

/// As many pipelines as a phone can show; the worst come first.
const ON_A_PAGE: usize = 100;
/// More would keep a browser busy for seconds at each refresh.
const MOST_ON_A_PAGE: usize = 500;

/// The page loads only its own files, and other sites cannot embed it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The parameters of a request, decoded.
type Parameters = UrlQuery<Vec<(String, String)>>;

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Context {
    pub fleet: Fleet,
    pub telemetry_path: String,
}

/// The page and its JSON form, by path.
pub(crate) fn routes(context: &Context) -> [(&'static str, MethodRouter); 2] {
    let [page_path, json_path] = REPORT_PATHS;
    [(page_path, get(page)), (json_path, get(json))].map(|(path, route)| (path, route.with_state(context.clone())))
}

/// The files that the page loads.
pub(crate) fn assets() -> Router {
    Router::new()
        .route(SCRIPT_PATH, get(async |version| SCRIPT.respond(version)))
        .route(STYLE_PATH, get(async |version| STYLE.respond(version)))
        .route(ICON_PATH, get(async |version| ICON.respond(version)))
}

async fn page(state: State<Context>, headers: HeaderMap, UrlQuery(parameters): Parameters) -> Response {
    let write = |context: &Context, report: &Report, query: &Query| html::page(report, query, &context.telemetry_path);
    let query = Query::new(&parameters, ON_A_PAGE, MOST_ON_A_PAGE);
    let mut response = respond(state, headers, query, "text/html; charset=utf-8", write).await;
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    response
}

async fn json(state: State<Context>, headers: HeaderMap, UrlQuery(parameters): Parameters) -> Response {
    // A report contains nothing that JSON cannot represent.
    let write = |_: &Context, report: &Report, _: &Query| serde_json::to_string(report).unwrap_or_default() + "\n";
    respond(state, headers, Query::new(&parameters, usize::MAX, usize::MAX), "application/json", write).await
}

async fn respond(
    State(context): State<Context>,
    headers: HeaderMap,
    query: Result<Query, String>,
    content_type: &'static str,
    write: fn(&Context, &Report, &Query) -> String,
) -> Response {
    let query = match query {
        Ok(query) => query,
        Err(problem) => return guarded((StatusCode::BAD_REQUEST, problem).into_response()),
    };
    let gzip = accepts_gzip(joined(&headers, &header::ACCEPT_ENCODING).as_deref());
    // Judging and rendering thousands of pipelines takes milliseconds: too long for the reactor.
    let written = tokio::task::spawn_blocking(move || {
        let snapshot = Snapshot::of(&context.fleet, Moment::now());
        let body = write(&context, &Report::new(&snapshot, &query), &query).into_bytes();
        if gzip { compress(&body) } else { body }
    });
    let Ok(body) = written.await else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "The page could not be written.\n").into_response();
    };
    let mut response = ([(header::CONTENT_TYPE, content_type)], body).into_response();
    if gzip {
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    guarded(response)
}

fn compress(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// Adds headers so that nothing caches the response, guesses its type, or sends a referrer to linked sites.
fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
