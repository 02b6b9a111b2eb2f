//! TLS according to `tls_server_config`, with rustls.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::server::NoServerSessionStorage;
use rustls::{CipherSuite, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion};

use super::certificates::{private_key, server_chain};
use super::client_certificates::verifier;
use super::config::Tls;
use super::secp521r1::Secp521r1;

/// The ALPN name of HTTP/2.
pub(super) const HTTP2: &[u8] = b"h2";

/// Suites that Go has and rustls does not implement.
const UNSUPPORTED_SUITES: [&str; 8] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
];

/// HTTP/2 requires one of these in TLS 1.2 (RFC 9113, section 9.2.2, and Go for servers that have no RSA key).
const HTTP2_SUITES: [CipherSuite; 2] =
    [CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256];

/// The TLS configuration of the server. Adds valid but probably unintended settings to `warnings`.
///
/// # Errors
/// Says what is wrong with which setting, in one sentence without secrets.
pub(super) fn server_config(tls: &Tls, http2: bool, warnings: &mut Vec<String>) -> Result<Arc<ServerConfig>, String> {
    let versions = versions(tls.min_version.as_deref(), tls.max_version.as_deref(), warnings)?;
    let provider = Arc::new(provider(tls, &versions, http2, warnings)?);
    let config = ServerConfig::builder_with_provider(provider.clone());
    let config = config.with_protocol_versions(&versions).map_err(|error| {
        format!("tls_server_config: the versions, cipher suites and curves do not fit together: {error}")
    })?;
    let config = match verifier(tls, &provider, warnings)? {
        Some(verifier) => config.with_client_cert_verifier(verifier),
        None => config.with_no_client_auth(),
    };
    let chain = server_chain(&tls.cert, warnings)?;
    let key = private_key(&tls.key)?;
    let mut config = config.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("{} does not belong to the certificate of {}", tls.key.origin, tls.cert.origin)
        }
        rustls::Error::InvalidCertificate(_) => format!("{} holds a certificate that cannot be read", tls.cert.origin),
        error => format!("{} and {} cannot be used: {error}", tls.cert.origin, tls.key.origin),
    })?;
    config.ignore_client_order = tls.prefer_server_cipher_suites;
    config.alpn_protocols = if http2 { vec![HTTP2.to_vec()] } else { Vec::new() };
    config.alpn_protocols.push(b"http/1.1".to_vec());
    // A resumed session would not present its client certificate again, even after that has expired.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn versions(
    min: Option<&str>,
    max: Option<&str>,
    warnings: &mut Vec<String>,
) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    const OLD: &str = "rustls does not implement TLS 1.0 and TLS 1.1, which are broken";
    let known = [&rustls::version::TLS12, &rustls::version::TLS13];
    let unknown = |setting: &str, name: &str| {
        Err(format!("tls_server_config.{setting}: unknown TLS version `{name}`; expected TLS12 or TLS13"))
    };
    let min = match min.unwrap_or("TLS12") {
        "TLS12" => 0,
        "TLS13" => 1,
        old @ ("TLS10" | "TLS11") => {
            warnings.push(format!("tls_server_config.min_version: {OLD}: the minimum is TLS12, not {old}"));
            0
        }
        name => return unknown("min_version", name),
    };
    let max = match max.unwrap_or("TLS13") {
        "TLS12" => 0,
        "TLS13" => 1,
        "TLS10" | "TLS11" => {
            return Err(format!("tls_server_config.max_version: {OLD}: no version is left; expected TLS12 or TLS13"));
        }
        name => return unknown("max_version", name),
    };
    if min > max {
        return Err("tls_server_config.min_version: must not be above max_version: no version is left".to_owned());
    }
    Ok(known[min..=max].to_vec())
}

/// The cryptography that the server offers.
fn provider(
    tls: &Tls,
    versions: &[&'static SupportedProtocolVersion],
    http2: bool,
    warnings: &mut Vec<String>,
) -> Result<CryptoProvider, String> {
    let mut provider = aws_lc_rs::default_provider();
    if !tls.cipher_suites.is_empty() {
        provider.cipher_suites = cipher_suites(&tls.cipher_suites, warnings)?;
        let offers = |suite: &SupportedCipherSuite| versions.contains(&suite.version());
        if !provider.cipher_suites.iter().any(offers) {
            return Err("tls_server_config.cipher_suites: none of them is left for max_version TLS12".to_owned());
        }
        let has_http2_suite = provider.cipher_suites.iter().any(|suite| HTTP2_SUITES.contains(&suite.suite()));
        if http2 && versions.contains(&&rustls::version::TLS12) && !has_http2_suite {
            return Err("tls_server_config.cipher_suites: HTTP/2 requires TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 or \
                        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256; add one, or set http_server_config.http2 to false"
                .to_owned());
        }
    }
    if !tls.curve_preferences.is_empty() {
        provider.kx_groups = tls.curve_preferences.iter().map(|name| curve(name)).collect::<Result<_, _>>()?;
    }
    Ok(provider)
}

/// The name that Go has for a suite.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_")
}

/// The named TLS 1.2 suites, in that order; those of TLS 1.3 are always included, as in Go.
fn cipher_suites(names: &[String], warnings: &mut Vec<String>) -> Result<Vec<SupportedCipherSuite>, String> {
    let (mut suites, old): (Vec<_>, Vec<_>) =
        aws_lc_rs::ALL_CIPHER_SUITES.iter().copied().partition(|suite| suite.tls13().is_some());
    let mut left_out = Vec::new();
    for name in names {
        if let Some(suite) = old.iter().find(|suite| suite_name(suite) == *name) {
            suites.push(*suite);
        } else if UNSUPPORTED_SUITES.contains(&name.as_str()) {
            left_out.push(name.as_str());
        } else if !suites.iter().any(|suite| suite_name(suite) == *name) {
            let known: Vec<String> = old.iter().map(suite_name).collect();
            return Err(format!(
                "tls_server_config.cipher_suites: unknown cipher suite `{name}`; expected {}",
                known.join(", ")
            ));
        }
    }
    if !left_out.is_empty() {
        warnings.push(format!(
            "tls_server_config.cipher_suites: left out, as rustls implements neither CBC nor RSA key exchange: {}",
            left_out.join(", ")
        ));
    }
    Ok(suites)
}

fn curve(name: &str) -> Result<&'static dyn SupportedKxGroup, String> {
    match name {
        "X25519" => Ok(aws_lc_rs::kx_group::X25519),
        "CurveP256" => Ok(aws_lc_rs::kx_group::SECP256R1),
        "CurveP384" => Ok(aws_lc_rs::kx_group::SECP384R1),
        "CurveP521" => Ok(&Secp521r1),
        "X25519MLKEM768" => Ok(aws_lc_rs::kx_group::X25519MLKEM768),
        _ => Err(format!(
            "tls_server_config.curve_preferences: unknown curve `{name}`; \
             expected X25519MLKEM768, X25519, CurveP256, CurveP384 or CurveP521"
        )),
    }
}
