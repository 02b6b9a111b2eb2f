//! `/metrics`: in the format and with the compression that the scraper accepts.

use std::io::Write as _;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::Compression;
use flate2::write::GzEncoder;

use super::App;
use crate::exposition::{accepts_gzip, choose_format};

pub(super) async fn answer(State(app): State<App>, headers: HeaderMap) -> Response {
    let format = choose_format(joined(&headers, &header::ACCEPT).as_deref());
    let gzip = accepts_gzip(joined(&headers, &header::ACCEPT_ENCODING).as_deref());
    // Large fleets take milliseconds to write and more to compress: too long for the reactor.
    let rendered = tokio::task::spawn_blocking(move || {
        let body = app.exposition.render(format);
        if gzip { compress(&body) } else { body }
    });
    let Ok(body) = rendered.await else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be written.\n").into_response();
    };
    let mut response = ([(header::CONTENT_TYPE, format.content_type())], body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// Several headers of one name are one list (RFC 9110, section 5.3).
pub(super) fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

pub(super) fn compress(body: &[u8]) -> Vec<u8> {
    // The fastest level: label sets repeat so much that higher ones cost more than they save.
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    // Writing into memory cannot fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}
