//! `/metrics`, or a part of it, in the format and with the compression that the scraper accepts.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};

use super::App;
use crate::exposition::{self, Encoding, Part, choose_format};
use crate::http::{accepts_gzip, joined};

pub(super) async fn respond(
    State(app): State<App>,
    Query(parameters): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let parameters = parameters.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let part = match Part::of_parameters(parameters) {
        Ok(part) => part,
        Err(problem) => return (StatusCode::BAD_REQUEST, format!("{problem}\n")).into_response(),
    };
    if let Some(unknown) = part.accounts().iter().find(|name| app.fleet.account(name).is_none()) {
        return (StatusCode::NOT_FOUND, format!("account: there is no account {unknown:?}\n")).into_response();
    }
    let format = choose_format(joined(&headers, &header::ACCEPT).as_deref());
    let gzip = accepts_gzip(joined(&headers, &header::ACCEPT_ENCODING).as_deref());
    let encoding = if gzip { Encoding::Gzip } else { Encoding::Identity };
    let Ok(body) = app.exposition.scrape(format, encoding, &part).await else {
        return (StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be written.\n").into_response();
    };
    let left = body.bytes() as u64;
    let body = Body::new(Pieces { body, left });
    let mut response = ([(header::CONTENT_TYPE, format.content_type())], body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("Accept, Accept-Encoding"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

/// A body of known length, sent in pieces that are not copied together.
struct Pieces {
    body: exposition::Body,
    left: u64,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = self.body.find(|piece| !piece.is_empty());
        self.left -= piece.as_ref().map_or(0, |piece| piece.len() as u64);
        Poll::Ready(piece.map(|piece| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
