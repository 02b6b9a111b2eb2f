//! The HTTP client: GET is the only verb that exists here, one host the only one it talks to.

use std::error::Error as StdError;
use std::time::{Duration, SystemTime};

use reqwest::header::{ACCEPT, AUTHORIZATION, DATE, HeaderMap, HeaderValue, RETRY_AFTER};
use reqwest::{Url, redirect, retry};
use serde::de::DeserializeOwned;

use super::base_url::BaseUrl;
use super::envelope;
use super::error::Error;
use super::lookup::LookUp;
use super::request::{Probe, ProbeResponse, Request, Response};
use super::retry_after;
use super::wire::ListPage;
use crate::service_key::ServiceKey;

/// What is asked for; the server may clamp it (the greatest size is not documented).
const PAGE_SIZE: u32 = 100;
/// A host that takes longer than this to accept a connection is as good as down.
const LONGEST_CONNECT: Duration = Duration::from_secs(5);
/// What is read of the body of a refusal, whose status says it all.
const LARGEST_DRAIN: u64 = 64 * 1024;
const LONGEST_DRAIN: Duration = Duration::from_millis(500);

/// How to talk to the API.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Where it answers.
    pub base_url: BaseUrl,
    /// For one whole answer, connecting included.
    pub timeout: Duration,
    /// For one body, unpacked.
    pub max_response_bytes: u64,
    /// Connections worth keeping: one for each request that may be in flight.
    pub max_connections: usize,
}

/// Why no client could be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up: {0}")]
pub struct ClientError(String);

/// Asks the four questions. Cheap to clone: clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    settings: Settings,
}

impl Client {
    /// Sets up the connections' pool; nothing is sent yet.
    ///
    /// # Errors
    /// [`ClientError`] if TLS cannot be set up, for want of any trusted certificate for example.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .user_agent(concat!("goldrush-exporter/", env!("CARGO_PKG_VERSION")))
            .default_headers(HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]))
            // A key that can delete pipelines goes to the configured host: not to where a redirect or a
            // proxy variable in the environment points.
            .redirect(redirect::Policy::none())
            .no_proxy()
            // What the API refuses over HTTP/2 would be sent again at once, past the budget.
            .retry(retry::never())
            .https_only(settings.base_url.is_https())
            .dns_resolver(LookUp::default())
            .connect_timeout(settings.timeout.min(LONGEST_CONNECT))
            .timeout(settings.timeout)
            .pool_max_idle_per_host(settings.max_connections)
            .build()
            .map_err(|error| ClientError(chain(&error)))?;
        Ok(Self { http, settings })
    }

    /// Sends a request and waits for its response, at most for `api.timeout`.
    pub async fn send(&self, key: &ServiceKey, request: Request) -> Response {
        match request {
            Request::Page(number) => Response::Page(number, self.list_page(key, number).await),
            Request::Probe(id, probe) => {
                let url = |path| self.settings.base_url.of_pipeline(&id, path);
                let response = match probe {
                    Probe::Status => ProbeResponse::Status(self.probe(key, url("status")).await),
                    Probe::Metrics => ProbeResponse::Metrics(self.probe(key, url("metrics")).await),
                    Probe::DestinationHealth => {
                        ProbeResponse::DestinationHealth(self.probe(key, url("destination-health")).await)
                    }
                };
                Response::Probe(id, response)
            }
        }
    }

    /// One page of the list; pages count from 1.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn list_page(&self, key: &ServiceKey, page_number: u32) -> Result<ListPage, Error> {
        let page: Option<ListPage> = self.get(key, self.settings.base_url.list(page_number, PAGE_SIZE)).await?;
        page.ok_or_else(|| Error::Decode("data: null instead of a page of the list".to_owned()))
    }

    /// Without a worker to speak of, `data` is null: a reading all of whose fields are `None`.
    async fn probe<T: DeserializeOwned + Default>(&self, key: &ServiceKey, url: Url) -> Result<T, Error> {
        Ok(self.get(key, url).await?.unwrap_or_default())
    }

    async fn get<T: DeserializeOwned>(&self, key: &ServiceKey, url: Url) -> Result<Option<T>, Error> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", key.reveal()))
            .map_err(|_| Error::Decode("the ServiceKey does not fit into a header".to_owned()))?;
        authorization.set_sensitive(true);
        let sent = self.http.get(url).header(AUTHORIZATION, authorization).send().await;
        let response = sent.map_err(|error| self.transport(&error, "waiting for the answer to begin"))?;
        let retry_after = retry_after_of(&response);
        if let Some(refusal) = Error::from_status(response.status().as_u16(), retry_after) {
            // Reading the little that follows lets the connection be used again; more is not worth waiting for.
            let _ = tokio::time::timeout(LONGEST_DRAIN, self.body(response, LARGEST_DRAIN)).await;
            return Err(refusal);
        }
        envelope::open(&self.body(response, self.settings.max_response_bytes).await?, retry_after)
    }

    /// The whole body, unpacked; the limit holds whatever the headers promise.
    async fn body(&self, mut response: reqwest::Response, limit: u64) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.transport(&error, "reading the answer"))? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(Error::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    /// Sorts reqwest's errors by what they tell an operator.
    fn transport(&self, error: &reqwest::Error, doing: &'static str) -> Error {
        if error.is_timeout() {
            let timeout = self.settings.timeout;
            return if error.is_connect() {
                let (missing, doing) =
                    ("connection within the limit for connecting", "looking up the host, TCP or TLS");
                Error::Timeout { missing, timeout: timeout.min(LONGEST_CONNECT), doing }
            } else {
                Error::Timeout { missing: "whole answer within api.timeout", timeout, doing }
            };
        }
        let text = chain(error);
        if error.is_connect() {
            // hyper-util tells a failed look-up apart only in its text.
            return if text.contains("dns error") {
                Error::Dns(text)
            } else if causes(error).any(is_tls) {
                Error::Tls(text)
            } else {
                Error::Connect(text)
            };
        }
        // reqwest calls both a "decode" error: a body that cannot be unpacked, and one that ends too early. What is
        // no HTTP at all is not its kind of "decode", but it is what nobody documents.
        let hyper = causes(error).find_map(|cause| cause.downcast_ref::<hyper::Error>());
        match hyper {
            Some(hyper) if hyper.is_parse() => Error::Decode(text),
            None if error.is_decode() => Error::Decode(text),
            _ => Error::Disconnected(text),
        }
    }
}

fn retry_after_of(response: &reqwest::Response) -> Option<Duration> {
    let header = |name| response.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    retry_after::parse(header(RETRY_AFTER)?, header(DATE), SystemTime::now())
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// io::Error hides what it wraps from `source`, so it has to be opened: there is one within another.
fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|inner| is_tls(inner))
}

/// The causes without reqwest's own first sentence, which holds the URL and says nothing else.
fn chain(error: &reqwest::Error) -> String {
    let texts: Vec<String> = causes(error).skip(1).map(ToString::to_string).collect();
    if texts.is_empty() { "no cause given".to_owned() } else { texts.join(": ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_does_not_come_about_is_blamed_on_the_limit_that_passed() {
        // Connections wait there to be accepted; nobody shakes hands.
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("https://{}/", listener.local_addr().unwrap());
        let client = Client::new(Settings {
            base_url: BaseUrl::parse(&base_url, false).unwrap(),
            timeout: Duration::from_secs(10),
            max_response_bytes: 1024,
            max_connections: 1,
        });
        let error = client.unwrap().list_page(&ServiceKey::new("sk_1").unwrap(), 1).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "no connection within the limit for connecting (5s): looking up the host, TCP or TLS"
        );
        assert_eq!(error.reason(), crate::api::Reason::Timeout);
    }
}
