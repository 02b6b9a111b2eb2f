//! Turns a response into a reading or an error, for its request. Needs no connection: simulations call it, too.

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::envelope;
use super::error::Error;
use super::head::Head;
use super::lenient::Record;
use super::list::ListPage;
use super::operation::Probe;
use super::request::{ProbeResponse, Request, Response};
use super::usage::Usage;

/// Reads a response that did not come from a connection; headers that HTTP does not allow are dropped.
pub fn read(request: Request, status: u16, headers: &[(&str, &str)], body: &[u8]) -> Response {
    let headers: HeaderMap = headers
        .iter()
        .filter_map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value).ok()?))
        })
        .collect();
    response(request, Ok(Received { head: Head::of(status, &headers), body: body.to_vec() }))
}

/// A complete response that has not been parsed.
pub(super) struct Received {
    pub(super) head: Head,
    pub(super) body: Vec<u8>,
}

impl Received {
    fn open<T: Record>(&self) -> Result<Option<T>, Error> {
        envelope::open(&self.head, &self.body)
    }
}

pub(super) fn response(request: Request, received: Result<Received, Error>) -> Response {
    match request {
        Request::Page(number) => Response::Page(number, received.and_then(|received| page(received.open()?))),
        Request::Probe(id, probe) => Response::Probe(
            id,
            match probe {
                Probe::Status => ProbeResponse::Status(received.and_then(reading)),
                Probe::Metrics => ProbeResponse::Metrics(received.and_then(reading)),
                Probe::DestinationHealth => ProbeResponse::DestinationHealth(received.and_then(reading)),
            },
        ),
        Request::Usage => Response::Usage(received.and_then(|received| Usage::documented(received.open()?))),
    }
}

fn page(data: Option<ListPage>) -> Result<ListPage, Error> {
    data.ok_or_else(|| Error::Decode("data: null instead of a page of the list".to_owned()))
}

/// If there is no worker, `data` is null: all fields of the reading are `None`.
fn reading<T: Record>(received: Received) -> Result<T, Error> {
    Ok(received.open()?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Phase, PipelineId};

    fn probe(body: &str) -> Response {
        let id = PipelineId::new("a").unwrap();
        read(Request::Probe(id, Probe::Status), 200, &[], body.as_bytes())
    }

    #[test]
    fn without_data_there_is_no_page_and_no_worker() {
        let page = read(Request::Page(1), 200, &[], br#"{"data":null}"#);
        assert!(matches!(page, Response::Page(1, Err(Error::Decode(_)))), "{page:?}");
        let phase = |response| match response {
            Response::Probe(_, ProbeResponse::Status(Ok(status))) => status.phase,
            other => panic!("{other:?}"),
        };
        assert_eq!(phase(probe(r#"{"data":null}"#)), None);
        assert_eq!(phase(probe(r#"{"data":{"status":"RUNNING"}}"#)), Some(Phase::Running));
    }
}
