//! TLS as `tls_server_config` asks for it, by rustls.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
    SupportedCipherSuite, SupportedProtocolVersion,
};
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::config::{Pem, Tls};

/// The protocol that a client chose by ALPN, if it is HTTP/2.
pub(super) const HTTP2: &[u8] = b"h2";

/// The server's side of TLS.
///
/// # Errors
/// What is wrong with which setting, in one sentence without anything secret.
pub(super) fn server_config(tls: &Tls, http2: bool) -> Result<Arc<ServerConfig>, String> {
    let versions = versions(tls.min_version.as_deref(), tls.max_version.as_deref())?;
    let mut provider = aws_lc_rs::default_provider();
    if !tls.cipher_suites.is_empty() {
        provider.cipher_suites = cipher_suites(&tls.cipher_suites)?;
    }
    if !tls.curve_preferences.is_empty() {
        provider.kx_groups = tls.curve_preferences.iter().map(|name| curve(name)).collect::<Result<_, _>>()?;
    }
    let provider = Arc::new(provider);
    let config = ServerConfig::builder_with_provider(provider.clone());
    let config = config.with_protocol_versions(&versions).map_err(|error| {
        format!("tls_server_config: the versions, cipher suites and curves do not fit together: {error}")
    })?;
    let config = match client_certificates(tls, &provider)? {
        Some(verifier) => config.with_client_cert_verifier(verifier),
        None => config.with_no_client_auth(),
    };
    let chain = certificates(&tls.cert)?;
    let key = PrivateKeyDer::from_pem_slice(tls.key.bytes()?)
        .map_err(|error| format!("{} {}", tls.key.origin, flaw(&error, "private key")))?;
    let mut config = config.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            format!("{} does not belong to the certificate of {}", tls.key.origin, tls.cert.origin)
        }
        error => format!("{} and {} cannot be used: {error}", tls.cert.origin, tls.key.origin),
    })?;
    config.ignore_client_order = tls.prefer_server_cipher_suites;
    config.alpn_protocols = if http2 { vec![HTTP2.to_vec()] } else { Vec::new() };
    config.alpn_protocols.push(b"http/1.1".to_vec());
    // A resumed session would not show its client certificate again, even after it has expired.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

fn versions(min: Option<&str>, max: Option<&str>) -> Result<Vec<&'static SupportedProtocolVersion>, String> {
    let known = [&rustls::version::TLS12, &rustls::version::TLS13];
    let place = |setting: &str, name: &str| match name {
        "TLS12" => Ok(0),
        "TLS13" => Ok(1),
        "TLS10" | "TLS11" => Err(format!(
            "tls_server_config.{setting}: {name} is broken and not implemented here (rustls has none of it); \
             it takes TLS12 or TLS13"
        )),
        _ => Err(format!("tls_server_config.{setting}: `{name}` is no TLS version; it takes TLS12 or TLS13")),
    };
    let min = min.map_or(Ok(0), |name| place("min_version", name))?;
    let max = max.map_or(Ok(1), |name| place("max_version", name))?;
    if min > max {
        return Err("tls_server_config.min_version: it is above max_version, so that no version is left".to_owned());
    }
    Ok(known[min..=max].to_vec())
}

/// Go's name of a suite.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    suite.suite().as_str().unwrap_or_default().replace("TLS13_", "TLS_")
}

/// The suites of TLS 1.2 that are named, in that order; those of TLS 1.3 are always there, as in Go.
fn cipher_suites(names: &[String]) -> Result<Vec<SupportedCipherSuite>, String> {
    let (mut suites, old): (Vec<_>, Vec<_>) =
        aws_lc_rs::ALL_CIPHER_SUITES.iter().copied().partition(|suite| suite.tls13().is_some());
    for name in names {
        if let Some(suite) = old.iter().find(|suite| suite_name(suite) == *name) {
            suites.push(*suite);
        } else if !suites.iter().any(|suite| suite_name(suite) == *name) {
            let known: Vec<String> = old.iter().map(suite_name).collect();
            return Err(format!(
                "tls_server_config.cipher_suites: `{name}` is not implemented here (rustls has no CBC, no RC4 and no RSA \
                 key exchange); it takes {}",
                known.join(", ")
            ));
        }
    }
    Ok(suites)
}

fn curve(name: &str) -> Result<&'static dyn SupportedKxGroup, String> {
    match name {
        "X25519" => Ok(aws_lc_rs::kx_group::X25519),
        "CurveP256" => Ok(aws_lc_rs::kx_group::SECP256R1),
        "CurveP384" => Ok(aws_lc_rs::kx_group::SECP384R1),
        "X25519MLKEM768" => Ok(aws_lc_rs::kx_group::X25519MLKEM768),
        _ => Err(format!(
            "tls_server_config.curve_preferences: `{name}` is not implemented here (rustls has no CurveP521); \
             it takes X25519MLKEM768, X25519, CurveP256, CurveP384"
        )),
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.bytes()?).collect();
    let certificates = certificates.map_err(|error| format!("{} {}", pem.origin, flaw(&error, "certificate")))?;
    if certificates.is_empty() {
        return Err(format!("{} holds no certificate in PEM", pem.origin));
    }
    Ok(certificates)
}

/// rustls' own message could quote the file.
fn flaw(error: &pem::Error, what: &str) -> String {
    match error {
        pem::Error::NoItemsFound => format!("holds no {what} in PEM"),
        _ => format!("is broken: its {what} in PEM does not end, or is not base64"),
    }
}

/// What a client has to show, as `client_auth_type` and `client_allowed_sans` ask for it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demands {
    /// A certificate, any.
    pub certificate: bool,
    /// If there is a certificate, one of the client CA.
    pub verified: bool,
    /// If there is a certificate, one with a name of the list.
    pub name: bool,
}

impl Demands {
    /// What the settings demand.
    pub fn of(tls: &Tls) -> Self {
        let (certificate, verified) = policy(tls).unwrap_or_default();
        Self { certificate, verified, name: tls.client_allowed_sans.is_some() }
    }
}

/// Whether `client_auth_type` asks for a certificate, and whether it verifies one; `None` if there is no such policy.
fn policy(tls: &Tls) -> Option<(bool, bool)> {
    match tls.client_auth_type.as_deref() {
        None | Some("NoClientCert" | "RequestClientCert") => Some((false, false)),
        Some("RequireAnyClientCert" | "RequireClientCert") => Some((true, false)),
        Some("VerifyClientCertIfGiven") => Some((false, true)),
        Some("RequireAndVerifyClientCert") => Some((true, true)),
        Some(_) => None,
    }
}

/// How a client's certificate is looked at; `None` if it is not asked for.
fn client_certificates(tls: &Tls, provider: &Arc<CryptoProvider>) -> Result<Option<Arc<ClientCertificates>>, String> {
    let name = tls.client_auth_type.as_deref().unwrap_or("NoClientCert");
    let Some((mandatory, verified)) = policy(tls) else {
        return Err(format!(
            "tls_server_config.client_auth_type: `{name}` is not known; it takes NoClientCert, RequestClientCert, \
             RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert"
        ));
    };
    if name == "NoClientCert" {
        let useless = match (&tls.client_ca, &tls.client_allowed_sans) {
            (Some(_), _) => "client_ca",
            (None, Some(_)) => "client_allowed_sans",
            (None, None) => return Ok(None),
        };
        return Err(format!(
            "tls_server_config.{useless}: no client certificate is asked for; \
             with it, client_auth_type takes RequireAndVerifyClientCert"
        ));
    }
    if tls.client_allowed_sans.as_ref().is_some_and(Vec::is_empty) {
        return Err("tls_server_config.client_allowed_sans: it takes at least one name".to_owned());
    }
    let chain = match (&tls.client_ca, verified) {
        (Some(ca), true) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(ca)? {
                roots.add(certificate).map_err(|error| format!("{} cannot be trusted: {error}", ca.origin))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            Some(verifier.map_err(|error| format!("{} cannot be used: {error}", ca.origin))?)
        }
        (None, true) => {
            // Go would accept certificates of all public authorities.
            return Err(format!(
                "tls_server_config.client_auth_type: {name} takes a client_ca_file or client_ca to verify with"
            ));
        }
        (_, false) => None,
    };
    let algorithms = provider.signature_verification_algorithms;
    let allowed_sans = tls.client_allowed_sans.clone();
    Ok(Some(Arc::new(ClientCertificates { mandatory, chain, allowed_sans, algorithms })))
}

/// Looks at client certificates as Go's policies do, and at their names.
#[derive(Debug)]
struct ClientCertificates {
    mandatory: bool,
    /// Without it any certificate will do.
    chain: Option<Arc<dyn ClientCertVerifier>>,
    allowed_sans: Option<Vec<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.as_ref().map_or(&[], |chain| chain.root_hint_subjects())
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        if let Some(chain) = &self.chain {
            chain.verify_client_cert(certificate, intermediates, now)?;
        }
        if let Some(allowed) = &self.allowed_sans {
            let names = subject_alternative_names(certificate).ok_or(CertificateError::BadEncoding)?;
            if !names.iter().any(|name| allowed.contains(name)) {
                return Err(CertificateError::ApplicationVerificationFailure.into());
            }
        }
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// DNS names, addresses of both kinds and URIs, as Go writes them; `None` if the certificate cannot be read.
fn subject_alternative_names(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok()?;
    let names = names.map_or_else(Vec::new, |(_, names)| names.0);
    Some(names.iter().filter_map(name_text).collect())
}

fn name_text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(text) | GeneralName::Rfc822Name(text) | GeneralName::UniformResourceIdentifier(text) => {
            Some(text.to_string())
        }
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok().map(|address| address.to_string())
        }
        _ => None,
    }
}
