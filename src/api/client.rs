//! The HTTP client. It sends only GET requests, and only to one host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};

use super::connections::{ClientError, Connections};
use super::error::{Error, Waiting};
use super::head::Head;
use super::list::ListPage;
use super::lookup::LookUp;
use super::operation::Probe;
use super::read::{self, Received};
use super::request::{Request, Response};
use super::settings::Settings;
use super::transport;
use super::usage::Usage;
use crate::service_key::ServiceKey;

/// The API's maximum is not documented: the server may clamp this.
pub(super) const PAGE_SIZE: u32 = 100;
/// How much of an error response's body is read: enough for an envelope.
const LARGEST_REFUSAL: u64 = 64 * 1024;
const LONGEST_REFUSAL: Duration = Duration::from_secs(3);

/// Cheap to clone: clones share their connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    connections: Connections,
    /// The API refused [`PAGE_SIZE`], so requests omit `page_size` and the API chooses it.
    page_size_refused: AtomicBool,
}

impl Client {
    /// Sets up the connection pool; sends nothing yet.
    ///
    /// # Errors
    /// [`ClientError`] if TLS cannot be set up, for example because there is no trusted certificate.
    pub fn new(settings: Settings) -> Result<Self, ClientError> {
        Self::with(settings, LookUp::default())
    }

    pub(super) fn with(settings: Settings, look_up: LookUp) -> Result<Self, ClientError> {
        let connections = Connections::new(&settings, look_up)?;
        Ok(Self(Arc::new(Inner { settings, connections, page_size_refused: AtomicBool::new(false) })))
    }

    #[cfg(test)]
    pub(super) fn settings(&self) -> &Settings {
        &self.0.settings
    }

    /// Replaces all connections, and reads the trusted certificates and name servers again. Requests in flight are not
    /// disturbed.
    ///
    /// # Errors
    /// [`ClientError`] as from [`new`](Self::new); the old connections then stay in use.
    pub fn renew(&self) -> Result<(), ClientError> {
        self.0.connections.renew()?;
        self.0.page_size_refused.store(false, Ordering::Relaxed);
        Ok(())
    }

    /// Sends one request and waits for its response, at most for `api.timeout`. It never retries: the caller owns the
    /// request budget.
    pub async fn send(&self, key: &ServiceKey, request: Request) -> Response {
        let page_size = (!self.0.page_size_refused.load(Ordering::Relaxed)).then_some(PAGE_SIZE);
        let url = self.url(&request, page_size);
        let (generation, http) = self.0.connections.current().await;
        let received = match url {
            Ok(url) => self.exchange(&http, key, url).await,
            Err(error) => Err(error),
        };
        let response = read::response(request, received);
        self.0.connections.note(generation, response.error());
        match response {
            Response::Page(number, Err(error)) if error.may_be_about_a_parameter() => {
                // The request named no size, so the size was not the reason: the next list names one again.
                self.0.page_size_refused.store(page_size.is_some(), Ordering::Relaxed);
                let error = if page_size.is_some() { Error::PageSizeRefused(Box::new(error)) } else { error };
                Response::Page(number, Err(error))
            }
            response => response,
        }
    }

    /// Requests a page of the list; pages count from 1.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn list_page(&self, key: &ServiceKey, page_number: u32) -> Result<ListPage, Error> {
        match self.send(key, Request::Page(page_number)).await {
            Response::Page(_, page) => page,
            Response::Probe(..) | Response::Usage(_) => unreachable!("a response is of the kind of its request"),
        }
    }

    /// Requests what the account has used this month.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn usage(&self, key: &ServiceKey) -> Result<Usage, Error> {
        match self.send(key, Request::Usage).await {
            Response::Usage(usage) => usage,
            Response::Page(..) | Response::Probe(..) => unreachable!("a response is of the kind of its request"),
        }
    }

    fn url(&self, request: &Request, page_size: Option<u32>) -> Result<Url, Error> {
        let base = &self.0.settings.base_url;
        match request {
            Request::Page(number) => Ok(base.list(*number, page_size)),
            Request::Probe(id, probe) => Ok(base.of_pipeline(id, probe_path(*probe))),
            // The configuration rejects such an address if usage is polled.
            Request::Usage => {
                base.usage().ok_or_else(|| Error::Decode("api.base_url does not end in /pipeline-api/".to_owned()))
            }
        }
    }

    async fn exchange(&self, http: &reqwest::Client, key: &ServiceKey, url: Url) -> Result<Received, Error> {
        let mut authorization = HeaderValue::try_from(format!("Bearer {}", key.reveal()))
            .map_err(|_| Error::Decode("the ServiceKey does not fit into a header".to_owned()))?;
        authorization.set_sensitive(true);
        let sent = http.get(url).header(AUTHORIZATION, authorization).send().await;
        let response = sent.map_err(|error| self.failure(&error, Waiting::Headers))?;
        let head = Head::of(response.status().as_u16(), response.headers());
        if head.status == 200 {
            let body = self.body(response, self.0.settings.max_response_bytes).await?;
            return Ok(Received { head, body });
        }
        // Reading a short body lets the connection be reused; waiting for a longer one is not worth it.
        let body = tokio::time::timeout(LONGEST_REFUSAL, self.body(response, LARGEST_REFUSAL)).await;
        match body {
            Ok(Ok(body)) => Ok(Received { head, body }),
            Ok(Err(_)) | Err(_) => Err(head.unread()),
        }
    }

    /// Reads the whole body, decompressed. The limit applies whatever the headers promise.
    async fn body(&self, mut response: reqwest::Response, limit: u64) -> Result<Vec<u8>, Error> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.failure(&error, Waiting::Body))? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(Error::TooLarge { limit });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn failure(&self, error: &reqwest::Error, waiting: Waiting) -> Error {
        transport::sort(error, waiting, self.0.settings.timeout)
    }
}

fn probe_path(probe: Probe) -> &'static str {
    match probe {
        Probe::Status => "status",
        Probe::Metrics => "metrics",
        Probe::DestinationHealth => "destination-health",
    }
}

#[cfg(test)]
mod tests;
