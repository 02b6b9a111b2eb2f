//! The rules of `--web.config.file`: read at startup, and again when the file or a file that it names changes.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use aws_lc_rs::digest;
use axum::http::HeaderMap;
use rustls::ServerConfig;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{error, info, warn};

use super::auth::Users;
use super::client_certificates::Demands;
use super::config::{WebFile, read_file};
use super::tls;
use crate::rate::Bucket;
use crate::settings::ConfigError;

/// How often the files are read.
const INTERVAL: Duration = Duration::from_secs(1);

/// The rules for connections and requests, all from one reading of the file.
pub(super) struct Rules {
    /// `None` for plain HTTP.
    pub tls: Option<Arc<ServerConfig>>,
    /// For client certificates.
    demands: Demands,
    /// Added to every response, unless a route has set them.
    pub headers: HeaderMap,
    pub users: Arc<Users>,
    rate: Option<Mutex<Bucket>>,
    warnings: Vec<String>,
}

/// The file and the files that it names, at one moment.
struct Snapshot {
    path: PathBuf,
    file: Result<WebFile, ConfigError>,
    /// Of all contents, and of the errors of files that could not be read.
    fingerprint: Vec<u8>,
}

impl Snapshot {
    async fn take(path: &Path) -> Self {
        let refused = |problem| ConfigError::of_file(path, problem);
        let mut sum = digest::Context::new(&digest::SHA256);
        let mut add = |part: Result<&[u8], String>| {
            let (kind, part) = part.as_ref().map_or_else(|why| (b'-', why.as_bytes()), |bytes| (b'+', *bytes));
            sum.update(&[kind]);
            sum.update(&(part.len() as u64).to_be_bytes());
            sum.update(part);
        };
        let bytes = read_file(path).await;
        add(bytes.as_ref().map(|bytes| bytes.as_slice()).map_err(Clone::clone));
        let file = match &bytes {
            Ok(bytes) => match std::str::from_utf8(bytes) {
                Ok(text) => WebFile::parse(path, text).await,
                Err(_) => Err(refused("cannot be read: it is not UTF-8".to_owned())),
            },
            Err(why) => Err(refused(format!("cannot be read: {why}"))),
        };
        if let Ok(WebFile { tls: Some(tls), .. }) = &file {
            [Some(&tls.cert), Some(&tls.key), tls.client_ca.as_ref()]
                .into_iter()
                .flatten()
                .for_each(|pem| add(pem.bytes()));
        }
        Self { path: path.to_owned(), file, fingerprint: sum.finish().as_ref().to_vec() }
    }

    fn rules(self) -> Result<Rules, ConfigError> {
        let WebFile { tls, http2, headers, users, rate_limit, mut warnings } = self.file?;
        let refused = |problem| ConfigError::of_file(&self.path, problem);
        let demands = tls.as_ref().map(Demands::of).unwrap_or_default();
        let tls = tls.map(|tls| tls::server_config(&tls, http2, &mut warnings)).transpose().map_err(refused)?;
        let users = Arc::new(Users::new(users).map_err(refused)?);
        let rate = rate_limit.map(|limit| Mutex::new(limit.bucket()));
        let warnings = warnings.into_iter().map(|warning| format!("{}: {warning}", self.path.display())).collect();
        Ok(Rules { tls, demands, headers, users, rate, warnings })
    }
}

/// The rules in effect.
pub struct Access {
    path: Option<PathBuf>,
    /// Of the files at startup.
    first: Vec<u8>,
    rules: RwLock<Arc<Rules>>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Rules {
    /// Whether `rate_limit` allows another request now.
    pub fn takes_another(&self) -> bool {
        let take = |bucket: &Mutex<Bucket>| {
            bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now().into_std())
        };
        self.rate.as_ref().is_none_or(|bucket| take(bucket).is_ok())
    }
}

impl Access {
    /// Admits every client, over plain HTTP.
    ///
    /// # Errors
    /// If the operating system has no random numbers.
    pub fn unrestricted() -> Result<Self, ConfigError> {
        let users = Users::new(std::collections::BTreeMap::new());
        let users = users.map_err(|problem| ConfigError { origin: "the web server".to_owned(), problem })?;
        let rules = Rules {
            tls: None,
            demands: Demands::default(),
            headers: HeaderMap::new(),
            users: Arc::new(users),
            rate: None,
            warnings: Vec::new(),
        };
        Ok(Self { path: None, first: Vec::new(), rules: RwLock::new(Arc::new(rules)) })
    }

    /// Loads the rules from this file.
    ///
    /// # Errors
    /// A [`ConfigError`] that names the setting and what it expects, never a secret.
    pub async fn load(path: &Path) -> Result<Self, ConfigError> {
        let snapshot = Snapshot::take(path).await;
        let first = snapshot.fingerprint.clone();
        Ok(Self { path: Some(path.to_owned()), first, rules: RwLock::new(Arc::new(snapshot.rules()?)) })
    }

    /// Settings that are valid but probably not intended; a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        self.rules().warnings.clone()
    }

    pub fn is_tls(&self) -> bool {
        self.rules().tls.is_some()
    }

    pub(super) fn rules(&self) -> Arc<Rules> {
        self.rules.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the files periodically and applies changes; calls `noted` with whether the present contents are in use.
    ///
    /// A change is applied once two consecutive readings agree: a file that is being written, or a certificate whose key
    /// arrives a moment later, is not mistaken for the new state. Comparing contents also notices the links that
    /// Kubernetes swaps.
    pub async fn watch(&self, noted: impl Fn(bool)) {
        let Some(path) = self.path.clone() else { return std::future::pending().await };
        let mut in_use = self.first.clone();
        let (mut refused, mut last) = (None, None);
        let mut readings = tokio::time::interval(INTERVAL);
        readings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            readings.tick().await;
            let snapshot = Snapshot::take(&path).await;
            let fingerprint = snapshot.fingerprint.clone();
            let is_settled = last.replace(fingerprint.clone()).as_ref() == Some(&fingerprint);
            if fingerprint == in_use {
                if refused.take().is_some() {
                    noted(true);
                    info!(file = %path.display(), "the web configuration is the one in use again");
                }
            } else if is_settled && refused.as_ref() != Some(&fingerprint) {
                match snapshot.rules().and_then(|rules| self.replace(rules)) {
                    Ok(warnings) => {
                        (in_use, refused) = (fingerprint, None);
                        noted(true);
                        info!(file = %path.display(), "the web configuration has been loaded");
                        warnings.iter().for_each(|warning| warn!("{warning}"));
                    }
                    Err(problem) => {
                        refused = Some(fingerprint);
                        noted(false);
                        error!("the web configuration cannot be loaded, the old one stays: {problem}");
                    }
                }
            }
        }
    }

    /// A file that has lost its contents must not open the exporter to every client.
    fn replace(&self, rules: Rules) -> Result<Vec<String>, ConfigError> {
        let old = self.rules();
        let less = |demand: fn(&Demands) -> bool| demand(&old.demands) && !demand(&rules.demands);
        let lost = if old.tls.is_some() && rules.tls.is_none() {
            Some("tls_server_config was removed")
        } else if less(|demands| demands.certificate) || less(|demands| demands.verified) {
            Some("tls_server_config.client_auth_type is weaker than the one in use")
        } else if less(|demands| demands.by_client_ca) {
            Some("tls_server_config.client_ca was removed")
        } else if less(|demands| demands.name) {
            Some("tls_server_config.client_allowed_sans was removed")
        } else if !old.users.is_empty() && rules.users.is_empty() {
            Some("basic_auth_users was removed")
        } else {
            None
        };
        if let Some(lost) = lost {
            let path = self.path.as_deref().unwrap_or(Path::new(""));
            return Err(ConfigError::of_file(path, format!("{lost}: restart the exporter if this is intended")));
        }
        let warnings = rules.warnings.clone();
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        Ok(warnings)
    }
}
