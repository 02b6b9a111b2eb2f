//! What a response means for its request. No connection is needed: simulations call it as well.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::envelope;
use super::error::Error;
use super::head::Head;
use super::lenient::Record;
use super::list::ListPage;
use super::operation::Probe;
use super::request::{ProbeResponse, Request, Response};
use super::usage::Usage;

/// Reads a response that came without a connection; headers that HTTP does not allow are left out.
pub fn read(request: Request, status: u16, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let headers: HeaderMap = headers
        .iter()
        .filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        })
        .collect();
    let head = Head::of(status, &headers);
    match request {
        Request::Page(number) => Response::Page(number, envelope::open(&head, body).and_then(page)),
        Request::Probe(id, probe) => Response::Probe(
            id,
            match probe {
                Probe::Status => ProbeResponse::Status(envelope::open(&head, body).map(reading)),
                Probe::Metrics => ProbeResponse::Metrics(envelope::open(&head, body).map(reading)),
                Probe::DestinationHealth => ProbeResponse::DestinationHealth(envelope::open(&head, body).map(reading)),
            },
        ),
        Request::Usage => Response::Usage(envelope::open(&head, body).and_then(Usage::documented)),
    }
}

pub(super) fn page(data: Option<ListPage>) -> Result<ListPage, Error> {
    data.ok_or_else(|| Error::Decode("data: null instead of a page of the list".to_owned()))
}

/// Without a worker to speak of, `data` is null: a reading all of whose fields are `None`.
pub(super) fn reading<T: Record>(data: Option<T>) -> T {
    data.unwrap_or_default()
}
