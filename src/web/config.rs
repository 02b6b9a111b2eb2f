//! The file of `--web.config.file`, in exporter-toolkit's format: what it may hold, and the files that it names.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::file_system;
use crate::settings::{ConfigError, LONGEST, Section, Text, boolean, parse_yaml, whole};

/// No certificate chain and no such file is larger; reading stops there.
const LARGEST_FILE: u64 = 1024 * 1024;

/// The headers that exporter-toolkit allows to add, and the values that each takes if not any.
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// What the file says, with the contents of the files that it names.
#[derive(Default)]
pub(super) struct WebFile {
    /// Without it the exporter speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Whether HTTP/2 is offered over TLS.
    pub http2: bool,
    /// Put on every answer.
    pub headers: HeaderMap,
    /// Names and bcrypt hashes. If there are any, a password is asked for.
    pub users: BTreeMap<String, String>,
    /// Of all requests together.
    pub rate_limit: Option<RateLimit>,
}

/// `tls_server_config`. Names are as in the file: they are looked up where TLS is set up.
pub(super) struct Tls {
    pub cert: Pem,
    pub key: Pem,
    pub client_ca: Option<Pem>,
    pub client_auth_type: Option<String>,
    pub client_allowed_sans: Option<Vec<String>>,
    pub min_version: Option<String>,
    pub max_version: Option<String>,
    pub cipher_suites: Vec<String>,
    pub curve_preferences: Vec<String>,
    pub prefer_server_cipher_suites: bool,
}

/// One request each `interval`, and `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateLimit {
    pub interval: Duration,
    pub burst: u32,
}

/// Text in PEM, from the file itself or from another one.
pub(super) struct Pem {
    /// What a message begins with: the setting, and the path if there is one.
    pub origin: String,
    pub text: Result<Zeroizing<Vec<u8>>, String>,
}

impl Pem {
    /// The text, or why there is none.
    pub fn bytes(&self) -> Result<&[u8], String> {
        self.text.as_ref().map(|text| text.as_slice()).map_err(|why| format!("{} cannot be read: {why}", self.origin))
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    tls_server_config: Section<TlsSection>,
    http_server_config: Section<HttpSection>,
    basic_auth_users: Section<BTreeMap<String, Text>>,
    rate_limit: Section<RateLimitSection>,
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct TlsSection {
    cert: Option<Text>,
    cert_file: Option<Text>,
    key: Option<Text>,
    key_file: Option<Text>,
    client_ca: Option<Text>,
    client_ca_file: Option<Text>,
    client_auth_type: Option<Text>,
    client_allowed_sans: Option<Vec<Text>>,
    min_version: Option<Text>,
    max_version: Option<Text>,
    cipher_suites: Option<Vec<Text>>,
    curve_preferences: Option<Vec<Text>>,
    #[serde(deserialize_with = "boolean")]
    prefer_server_cipher_suites: bool,
}

impl Default for TlsSection {
    fn default() -> Self {
        Self {
            cert: None,
            cert_file: None,
            key: None,
            key_file: None,
            client_ca: None,
            client_ca_file: None,
            client_auth_type: None,
            client_allowed_sans: None,
            min_version: None,
            max_version: None,
            cipher_suites: None,
            curve_preferences: None,
            prefer_server_cipher_suites: true,
        }
    }
}

#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpSection {
    #[serde(deserialize_with = "boolean")]
    http2: bool,
    headers: Section<BTreeMap<String, Scalar>>,
}

impl Default for HttpSection {
    fn default() -> Self {
        Self { http2: true, headers: Section::default() }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RateLimitSection {
    interval: Option<Scalar>,
    #[serde(deserialize_with = "whole::<0, _, _>")]
    burst: u32,
}

/// Where Go takes a number without quotes for a text: `X-XSS-Protection: 0`, `interval: 0`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Scalar {
    Number(i64),
    Text(String),
}

impl Scalar {
    fn text(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

impl WebFile {
    /// Takes the text of the file at `path`, and reads the files that it names, relative to its folder.
    ///
    /// A named file that cannot be read is an error of the [`Pem`] in question, not of this.
    ///
    /// # Errors
    /// A [`ConfigError`] for the first setting found wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let refused = |problem: String| ConfigError { origin: path.display().to_string(), problem };
        let Section(written) = parse_yaml::<Section<Written>>(path, text)?;
        let Section(HttpSection { http2, headers: Section(headers) }) = written.http_server_config;
        Ok(Self {
            tls: tls(written.tls_server_config.0, path.parent().unwrap_or(Path::new(""))).map_err(refused)?,
            http2,
            headers: headers_of(headers).map_err(refused)?,
            users: written.basic_auth_users.0.into_iter().map(|(name, hash)| (name, hash.0)).collect(),
            rate_limit: rate_limit(written.rate_limit.0).map_err(refused)?,
        })
    }
}

/// Reads a whole file, up to a size that no such file has.
pub(super) fn read_file(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    file_system::read_blocking(path, LARGEST_FILE)
}

fn given(text: Option<Text>) -> Option<String> {
    text.map(|text| text.0).filter(|text| !text.is_empty())
}

fn texts(list: Option<Vec<Text>>) -> Vec<String> {
    list.unwrap_or_default().into_iter().map(|text| text.0).collect()
}

fn tls(section: TlsSection, folder: &Path) -> Result<Option<Tls>, String> {
    let cert = pem("cert", section.cert, section.cert_file, folder)?;
    let key = pem("key", section.key, section.key_file, folder)?;
    let client_ca = pem("client_ca", section.client_ca, section.client_ca_file, folder)?;
    let client_auth_type = given(section.client_auth_type);
    let (min_version, max_version) = (given(section.min_version), given(section.max_version));
    let (cipher_suites, curve_preferences) = (texts(section.cipher_suites), texts(section.curve_preferences));
    let anything = client_ca.is_some()
        || client_auth_type.is_some()
        || section.client_allowed_sans.is_some()
        || min_version.is_some()
        || max_version.is_some()
        || !cipher_suites.is_empty()
        || !curve_preferences.is_empty();
    let (cert, key) = match (cert, key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, None) if !anything => return Ok(None),
        (None, _) => return Err("tls_server_config has no certificate; it takes cert_file or cert".to_owned()),
        (_, None) => return Err("tls_server_config has no key; it takes key_file or key".to_owned()),
    };
    Ok(Some(Tls {
        cert,
        key,
        client_ca,
        client_auth_type,
        client_allowed_sans: section.client_allowed_sans.map(|names| texts(Some(names))),
        min_version,
        max_version,
        cipher_suites,
        curve_preferences,
        prefer_server_cipher_suites: section.prefer_server_cipher_suites,
    }))
}

fn pem(setting: &str, inline: Option<Text>, file: Option<Text>, folder: &Path) -> Result<Option<Pem>, String> {
    match (given(inline), given(file)) {
        (Some(_), Some(_)) => {
            Err(format!("tls_server_config has both {setting} and {setting}_file; it takes one of them"))
        }
        (Some(text), None) => {
            let origin = format!("tls_server_config.{setting}");
            Ok(Some(Pem { origin, text: Ok(Zeroizing::new(text.into_bytes())) }))
        }
        (None, Some(file)) => {
            let path: PathBuf = folder.join(file);
            let origin = format!("tls_server_config.{setting}_file: {}", path.display());
            Ok(Some(Pem { origin, text: read_file(&path).map_err(|error| error.to_string()) }))
        }
        (None, None) => Ok(None),
    }
}

fn headers_of(written: BTreeMap<String, Scalar>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in written {
        let value = value.text();
        let path = format!("http_server_config.headers.{name}");
        let Some((_, values)) = HEADERS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = HEADERS.iter().map(|(known, _)| *known).collect();
            return Err(format!("`{path}` is not a setting; headers takes {}", known.join(", ")));
        };
        // Blank is not set at all, as in exporter-toolkit.
        if value.is_empty() {
            continue;
        }
        if !values.is_empty() && !values.contains(&value.as_str()) {
            return Err(format!("{path}: it takes {}", values.join(" or ")));
        }
        let header = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok());
        let (header, value) = header.ok_or_else(|| format!("{path}: it takes one line of visible characters"))?;
        headers.insert(header, value);
    }
    Ok(headers)
}

fn rate_limit(section: RateLimitSection) -> Result<Option<RateLimit>, String> {
    let Some(interval) = section.interval else { return Ok(None) };
    let interval = match humantime::parse_duration(&interval.text()) {
        Ok(Duration::ZERO) => return Ok(None),
        // Clocks would overflow; with this, not even `burst` intervals come near it.
        Ok(interval) if interval > LONGEST => {
            return Err("rate_limit.interval: it takes no more than 365 days".to_owned());
        }
        Ok(interval) => interval,
        Err(_) => return Err("rate_limit.interval: it takes a duration such as 1s, or 0 for no limit".to_owned()),
    };
    if section.burst == 0 {
        return Err("rate_limit.burst: it takes a whole number from 1, or every request would be refused".to_owned());
    }
    Ok(Some(RateLimit { interval, burst: section.burst }))
}
