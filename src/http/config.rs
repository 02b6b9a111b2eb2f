//! The file of `--web.config.file`, in exporter-toolkit's format: its settings, and the files that it names.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use serde::de::{Deserializer, Error as _};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::file_system;
use crate::rate::Bucket;
use crate::settings::{ConfigError, LONGEST, Section, Text, ValueKind, parse_yaml, value_of, whole};

/// Larger than any such file or certificate chain; reading stops here.
const LARGEST_FILE: u64 = 1024 * 1024;

/// The headers that exporter-toolkit allows, and the allowed values of each (empty: any value).
const HEADERS: [(&str, &[&str]); 5] = [
    ("Content-Security-Policy", &[]),
    ("Strict-Transport-Security", &[]),
    ("X-Content-Type-Options", &["nosniff"]),
    ("X-Frame-Options", &["deny", "sameorigin"]),
    ("X-XSS-Protection", &[]),
];

/// The settings, with the contents of the files that they name.
#[derive(Default)]
pub(super) struct WebFile {
    /// `None` for plain HTTP.
    pub tls: Option<Tls>,
    /// Whether to offer HTTP/2 over TLS.
    pub http2: bool,
    /// Added to every response.
    pub headers: HeaderMap,
    /// Names and bcrypt hashes. If there are any, requests need a password.
    pub users: BTreeMap<String, String>,
    /// For all requests together.
    pub rate_limit: Option<RateLimit>,
    /// Settings that are valid but probably not intended; a sentence each.
    pub warnings: Vec<String>,
}

/// `tls_server_config`, with the file's names for suites and curves; `tls` resolves them.
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

/// One request per `interval`, and `burst` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RateLimit {
    pub interval: Duration,
    pub burst: u32,
}

impl RateLimit {
    pub fn bucket(self) -> Bucket {
        Bucket::new(1.0 / self.interval.as_secs_f64(), f64::from(self.burst), Instant::now().into_std())
    }
}

/// PEM text, inline or from a file.
pub(super) struct Pem {
    /// The prefix of messages: the setting, and the path if there is one.
    pub origin: String,
    pub text: Result<Zeroizing<Vec<u8>>, String>,
}

impl Pem {
    /// The text, or why it cannot be read.
    pub fn bytes(&self) -> Result<&[u8], String> {
        self.text.as_ref().map(|text| text.as_slice()).map_err(|why| format!("{} cannot be read: {why}", self.origin))
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Written {
    tls_server_config: Section<TlsSection>,
    http_server_config: Section<HttpSection>,
    basic_auth_users: Section<BTreeMap<String, Text>>,
    rate_limit: Section<RateLimitSection>,
}

#[derive(Default, serde::Deserialize)]
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
    prefer_server_cipher_suites: OnByDefault,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct HttpSection {
    http2: OnByDefault,
    headers: Section<BTreeMap<String, Scalar>>,
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RateLimitSection {
    interval: Option<Scalar>,
    #[serde(deserialize_with = "whole::<0, _, _>")]
    burst: u32,
}

/// Text that Go also accepts as an unquoted number: `X-XSS-Protection: 0`, `interval: 0`.
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

impl<'de> serde::Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match value_of(deserializer)? {
            (ValueKind::String(text), _) => Ok(Self::Text(text)),
            (ValueKind::I64(number), _) => Ok(Self::Number(number)),
            (_, shown) => Err(D::Error::custom(format!("expected text in quotes or a whole number, found {shown}"))),
        }
    }
}

/// A boolean as in YAML 1.1, which Go's parser reads: `no` and `off` are booleans.
struct OnByDefault(bool);

impl Default for OnByDefault {
    fn default() -> Self {
        Self(true)
    }
}

impl<'de> serde::Deserialize<'de> for OnByDefault {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (value, shown) = value_of(deserializer)?;
        let boolean = match value {
            ValueKind::Boolean(boolean) => Some(boolean),
            ValueKind::String(text) => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "y" => Some(true),
                "false" | "no" | "off" | "n" => Some(false),
                _ => None,
            },
            _ => None,
        };
        boolean.map(Self).ok_or_else(|| D::Error::custom(format!("expected true or false, found {shown}")))
    }
}

impl WebFile {
    /// Parses the text of the file at `path`, and reads the files that it names, relative to its directory.
    ///
    /// A named file that cannot be read is an error of its [`Pem`], not of this function.
    ///
    /// # Errors
    /// A [`ConfigError`] for the first invalid setting.
    pub async fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let refused = |problem| ConfigError::of_file(path, problem);
        let Section(written) = parse_yaml::<Section<Written>>(path, text)?;
        let Section(HttpSection { http2: OnByDefault(http2), headers: Section(headers) }) = written.http_server_config;
        let folder = path.parent().unwrap_or(Path::new(""));
        let mut warnings = Vec::new();
        let tls = tls(written.tls_server_config.0, folder, &mut warnings).await.map_err(refused)?;
        let users: BTreeMap<String, String> =
            written.basic_auth_users.0.into_iter().map(|(name, hash)| (name, hash.0)).collect();
        if tls.is_none() && !users.is_empty() {
            warnings.push("basic_auth_users without tls_server_config: the network can read the passwords".to_owned());
        }
        Ok(Self {
            tls,
            http2,
            headers: headers_of(headers).map_err(refused)?,
            users,
            rate_limit: rate_limit(written.rate_limit.0, &mut warnings).map_err(refused)?,
            warnings,
        })
    }
}

/// Reads a whole file of at most [`LARGEST_FILE`] bytes.
///
/// # Errors
/// Why it cannot be read.
pub(super) async fn read_file(path: &Path) -> Result<Zeroizing<Vec<u8>>, String> {
    file_system::read(path, LARGEST_FILE).await.map_err(|error| error.to_string())
}

fn given(text: Option<Text>) -> Option<String> {
    text.map(|text| text.0).filter(|text| !text.is_empty())
}

fn texts(list: Vec<Text>) -> Vec<String> {
    list.into_iter().map(|text| text.0).collect()
}

async fn tls(section: TlsSection, folder: &Path, warnings: &mut Vec<String>) -> Result<Option<Tls>, String> {
    let cert = pem("cert", section.cert, section.cert_file, folder, warnings).await;
    let key = pem("key", section.key, section.key_file, folder, warnings).await;
    let client_ca = pem("client_ca", section.client_ca, section.client_ca_file, folder, warnings).await;
    let client_auth_type = given(section.client_auth_type);
    let min_version = given(section.min_version);
    let max_version = given(section.max_version);
    let cipher_suites = texts(section.cipher_suites.unwrap_or_default());
    let curve_preferences = texts(section.curve_preferences.unwrap_or_default());
    // As in exporter-toolkit, any of these turns TLS on.
    let is_on = cert.is_some() || key.is_some() || client_ca.is_some() || client_auth_type.is_some();
    let has_details = section.client_allowed_sans.is_some()
        || min_version.is_some()
        || max_version.is_some()
        || !cipher_suites.is_empty()
        || !curve_preferences.is_empty();
    let (cert, key) = match (cert, key) {
        (Some(cert), Some(key)) => (cert, key),
        (None, _) if is_on => {
            return Err("tls_server_config: the certificate is missing (cert_file or cert)".to_owned());
        }
        (_, None) if is_on => return Err("tls_server_config: the key is missing (key_file or key)".to_owned()),
        _ => {
            if has_details {
                warnings.push("tls_server_config has no certificate and no key: TLS is off".to_owned());
            }
            return Ok(None);
        }
    };
    Ok(Some(Tls {
        cert,
        key,
        client_ca,
        client_auth_type,
        client_allowed_sans: section.client_allowed_sans.map(texts),
        min_version,
        max_version,
        cipher_suites,
        curve_preferences,
        prefer_server_cipher_suites: section.prefer_server_cipher_suites.0,
    }))
}

async fn pem(
    setting: &str,
    inline: Option<Text>,
    file: Option<Text>,
    folder: &Path,
    warnings: &mut Vec<String>,
) -> Option<Pem> {
    let (inline, file) = (given(inline), given(file));
    if inline.is_some() && file.is_some() {
        warnings.push(format!("tls_server_config has both {setting} and {setting}_file: {setting} has no effect"));
    }
    if let Some(file) = file {
        let path: PathBuf = folder.join(file);
        let origin = format!("tls_server_config.{setting}_file: {}", path.display());
        return Some(Pem { origin, text: read_file(&path).await });
    }
    let origin = format!("tls_server_config.{setting}");
    inline.map(|text| Pem { origin, text: Ok(Zeroizing::new(text.into_bytes())) })
}

fn headers_of(written: BTreeMap<String, Scalar>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in written {
        let value = value.text();
        let path = format!("http_server_config.headers.{name}");
        let Some((_, values)) = HEADERS.iter().find(|(known, _)| *known == name) else {
            let known: Vec<&str> = HEADERS.iter().map(|(known, _)| *known).collect();
            return Err(format!("{path}: unknown header; expected one of {}", known.join(", ")));
        };
        // As in exporter-toolkit, an empty value does not set the header.
        if value.is_empty() {
            continue;
        }
        if !values.is_empty() && !values.contains(&value.as_str()) {
            return Err(format!("{path}: expected {}", values.join(" or ")));
        }
        let header = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(&value).ok());
        let (header, value) = header.ok_or_else(|| format!("{path}: expected one line of visible characters"))?;
        headers.insert(header, value);
    }
    Ok(headers)
}

fn rate_limit(section: RateLimitSection, warnings: &mut Vec<String>) -> Result<Option<RateLimit>, String> {
    let interval = match section.interval {
        None | Some(Scalar::Number(0)) => return Ok(None),
        Some(Scalar::Number(number)) => {
            let number = u64::try_from(number).map_err(|_| "rate_limit.interval: must not be negative".to_owned())?;
            warnings.push(format!("rate_limit.interval: {number} without a unit is {number} nanoseconds, as in Go"));
            Duration::from_nanos(number)
        }
        Some(Scalar::Text(text)) => humantime::parse_duration(&text)
            .map_err(|_| "rate_limit.interval: expected a duration such as 1s, or 0 for no limit".to_owned())?,
    };
    if interval.is_zero() {
        return Ok(None);
    }
    // Longer intervals would overflow clocks.
    if interval > LONGEST {
        return Err("rate_limit.interval: must be at most 365 days".to_owned());
    }
    if section.burst == 0 {
        warnings.push("rate_limit.burst: 0 would refuse every request: 1 is used".to_owned());
    }
    Ok(Some(RateLimit { interval, burst: section.burst.max(1) }))
}
