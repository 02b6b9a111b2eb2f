//! The connections to the API, and when they are replaced.
//!
//! A connection can lie. Its peer may acknowledge every packet and never respond, or be the wrong server since the
//! address changed. HTTP/2 sends all requests over one connection, so one such connection blinds an account. Pings
//! detect a silent peer; a new pool cures the rest: it looks up the host and reads the trusted certificates again.

use std::sync::{Mutex, MutexGuard, PoisonError};

use reqwest::header::{ACCEPT, HeaderMap, HeaderValue};
use reqwest::{Certificate, redirect, retry};
use tokio::time::Instant;

use super::error::{Error, Waiting};
use super::lookup::LookUp;
use super::settings::Settings;
use super::transport::{LONGEST_CONNECT, chain};
use super::trust;

#[cfg(test)]
mod tests;

/// Why the HTTP client could not be built.
#[derive(Debug, thiserror::Error)]
#[error("the HTTP client cannot be set up: {0}")]
pub struct ClientError(String);

#[derive(Debug)]
pub(super) struct Connections {
    settings: Settings,
    look_up: LookUp,
    pool: Mutex<Pool>,
    /// Held while a request replaces the pool; other requests that need a new pool wait for it.
    replacing: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Pool {
    http: reqwest::Client,
    /// Counts the pools, so that a late failure in an old pool is not held against the new one.
    generation: u64,
    built: Instant,
    /// Timeouts since the last response.
    timeouts: u32,
    /// The last response did not come from the API.
    is_foreign: bool,
    /// The next request replaces the pool.
    is_given_up: bool,
}

impl Connections {
    pub(super) fn new(settings: &Settings, look_up: LookUp) -> Result<Self, ClientError> {
        let http = build(settings, &look_up)?;
        let pool = Mutex::new(Pool::new(http, 0));
        Ok(Self { settings: settings.clone(), look_up, pool, replacing: tokio::sync::Mutex::default() })
    }

    /// The pool to send the next request with, and its generation.
    pub(super) async fn current(&self) -> (u64, reqwest::Client) {
        if self.needs_another() {
            let _replacing = self.replacing.lock().await;
            // Another request may have replaced it meanwhile.
            if self.needs_another() {
                self.replace_or_keep().await;
            }
        }
        let pool = self.lock();
        (pool.generation, pool.http.clone())
    }

    fn needs_another(&self) -> bool {
        let pool = self.lock();
        pool.is_given_up || pool.built.elapsed() >= self.settings.connections.max_age
    }

    /// Notes how a request ended that was sent with the pool of this generation.
    pub(super) fn note(&self, generation: u64, error: Option<&Error>) {
        let limits = &self.settings.connections;
        let mut pool = self.lock();
        if pool.generation != generation {
            return;
        }
        let age = pool.built.elapsed();
        match error {
            Some(Error::Timeout { waiting: Waiting::Headers | Waiting::Body, .. }) => {
                pool.timeouts += 1;
                pool.is_given_up |= pool.timeouts >= limits.timeouts_in_a_row;
            }
            Some(Error::Tls(_)) => pool.is_given_up |= age >= limits.trust_age,
            Some(error) if !error.answered() => {}
            Some(Error::ForeignResponse(_)) => {
                pool.timeouts = 0;
                let was_foreign = std::mem::replace(&mut pool.is_foreign, true);
                pool.is_given_up |= was_foreign && age >= limits.foreign_age;
            }
            _ => {
                pool.timeouts = 0;
                pool.is_foreign = false;
            }
        }
    }

    pub(super) fn renew(&self) -> Result<(), ClientError> {
        let http = build(&self.settings, &self.look_up)?;
        self.lock().replace(http);
        Ok(())
    }

    /// Keeps the old connections if no new ones can be set up. Reading a directory of 150 certificates takes 4 ms, and
    /// longer on a slow disk, so it must not block the thread that serves scrapes.
    async fn replace_or_keep(&self) {
        let (settings, look_up) = (self.settings.clone(), self.look_up.clone());
        let built = tokio::task::spawn_blocking(move || build(&settings, &look_up));
        let built = match tokio::time::timeout(self.settings.timeout, built).await {
            Ok(Ok(built)) => built,
            Ok(Err(error)) => Err(ClientError(error.to_string())),
            Err(_) => Err(ClientError("reading the trusted certificates takes longer than api.timeout".to_owned())),
        };
        let mut pool = self.lock();
        match built {
            Ok(http) => pool.replace(http),
            Err(error) => {
                tracing::warn!(%error, "cannot replace the connections to the API, the old ones stay");
                *pool = Pool::new(pool.http.clone(), pool.generation);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    fn new(http: reqwest::Client, generation: u64) -> Self {
        let built = Instant::now();
        Self { http, generation, built, timeouts: 0, is_foreign: false, is_given_up: false }
    }

    /// Requests in flight keep the old pool until they end.
    fn replace(&mut self, http: reqwest::Client) {
        *self = Self::new(http, self.generation + 1);
    }
}

fn build(settings: &Settings, look_up: &LookUp) -> Result<reqwest::Client, ClientError> {
    let limits = &settings.connections;
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("goldrush-exporter/", env!("CARGO_PKG_VERSION")))
        .default_headers(HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]))
        // A key that can delete pipelines goes to the configured host only, never to the target of a redirect or of a
        // proxy variable in the environment.
        .redirect(redirect::Policy::none())
        .no_proxy()
        // reqwest would at once resend what the API refuses over HTTP/2, and so exceed the request budget.
        .retry(retry::never())
        .https_only(settings.base_url.is_https())
        .dns_resolver(look_up.clone())
        .connect_timeout(settings.timeout.min(LONGEST_CONNECT))
        .timeout(settings.timeout)
        .pool_max_idle_per_host(settings.max_connections)
        .http2_keep_alive_interval(limits.ping_interval)
        .http2_keep_alive_timeout(limits.ping_timeout)
        // An idle connection is as cheap to replace as to ping, but a dead one that is found now costs no request
        // later.
        .http2_keep_alive_while_idle(true)
        // For HTTP/1.1, and for peers that vanish without a packet.
        .tcp_keepalive(limits.ping_interval)
        .tcp_keepalive_interval(limits.ping_interval)
        .tcp_keepalive_retries(2);
    #[cfg(target_os = "linux")]
    {
        builder = builder.tcp_user_timeout(limits.ping_interval + limits.ping_timeout);
    }
    if let Some(file) = &limits.trusted {
        builder = builder.tls_certs_only(read_certificates(file)?);
    }
    builder.build().map_err(|error| ClientError(trust::complaint().unwrap_or_else(|| chain(&error))))
}

fn read_certificates(file: &std::path::Path) -> Result<Vec<Certificate>, ClientError> {
    let pem = std::fs::read(file).map_err(|error| ClientError(format!("{}: {error}", file.display())))?;
    Certificate::from_pem_bundle(&pem).map_err(|error| ClientError(format!("{}: {}", file.display(), chain(&error))))
}
