//! Reads certificates and keys from PEM, and says what to do if rustls refuses them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use humantime::format_rfc3339_seconds;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_cert::Certificate;
use x509_cert::certificate::Version;
use x509_cert::der::Decode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, SubjectAltName};

use super::config::Pem;

/// How to create a certificate of version 3.
pub(super) const MAKE_V3: &str = "create one of version 3, with `openssl req -x509 -addext subjectAltName=DNS:NAME …` or \
                                  `openssl x509 -req -extfile FILE …`";

/// clientAuth and anyExtendedKeyUsage (RFC 5280, section 4.2.1.12).
const FOR_CLIENTS: [ObjectIdentifier; 2] =
    [ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"), ObjectIdentifier::new_unwrap("2.5.29.37.0")];

/// The properties of a certificate that decide whether rustls accepts it.
pub(super) struct Facts {
    /// Older versions have no extensions.
    pub is_v3: bool,
    /// Whether it may sign other certificates.
    pub is_ca: bool,
    /// Whether it may identify a client.
    pub is_for_clients: bool,
    not_before: Duration,
    not_after: Duration,
    names: Vec<String>,
}

impl Facts {
    /// `None` if it is not a certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let certificate = Certificate::from_der(certificate).ok()?;
        let fields = certificate.tbs_certificate();
        let constraints = fields.get_extension::<BasicConstraints>().ok()?;
        let usage = fields.get_extension::<ExtendedKeyUsage>().ok()?;
        let names = fields.get_extension::<SubjectAltName>().ok()?;
        let for_clients = |(_, usage): (bool, ExtendedKeyUsage)| usage.0.iter().any(|use_| FOR_CLIENTS.contains(use_));
        Some(Self {
            is_v3: fields.version() == Version::V3,
            is_ca: constraints.is_some_and(|(_, constraints)| constraints.ca),
            is_for_clients: usage.is_none_or(for_clients),
            not_before: fields.validity().not_before.to_unix_duration(),
            not_after: fields.validity().not_after.to_unix_duration(),
            names: names.map_or_else(Vec::new, |(_, names)| names.0.iter().filter_map(name_text).collect()),
        })
    }

    /// Subject alternative names: DNS names, e-mail addresses, IP addresses and URIs, in Go's notation.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn is_expired(&self, now: Duration) -> bool {
        now > self.not_after
    }

    pub fn is_early(&self, now: Duration) -> bool {
        now < self.not_before
    }

    /// Why clients and servers refuse it now because of its dates, if they do.
    fn bad_date(&self) -> Option<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let date = |at: Duration| format_rfc3339_seconds(UNIX_EPOCH + at);
        if self.is_expired(now) {
            return Some(format!("expired at {}", date(self.not_after)));
        }
        self.is_early(now).then(|| format!("is not valid before {}", date(self.not_before)))
    }
}

fn name_text(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(text) | GeneralName::Rfc822Name(text) | GeneralName::UniformResourceIdentifier(text) => {
            Some(text.to_string())
        }
        GeneralName::IpAddress(bytes) => {
            let bytes = bytes.as_bytes();
            let v4 = <[u8; 4]>::try_from(bytes).map(std::net::IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(std::net::IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

/// All certificates in a file, at least one.
///
/// # Errors
/// What is wrong, without the file's text.
pub(super) fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = pem.bytes()?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let certificates = match certificates {
        Ok(certificates) if certificates.is_empty() => Err(pem::Error::NoItemsFound),
        other => other,
    };
    certificates.map_err(|error| format!("{} {}", pem.origin, flaw(&error, bytes, "certificate", "x509")))
}

/// The certificate chain that the server presents.
///
/// # Errors
/// What is wrong, without the file's text.
pub(super) fn server_chain(pem: &Pem, warnings: &mut Vec<String>) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain = certificates(pem)?;
    if let Some(facts) = chain.first().and_then(Facts::of) {
        if !facts.is_v3 {
            return Err(format!("{} is an X.509 version 1 certificate, which rustls refuses: {MAKE_V3}", pem.origin));
        }
        if let Some(problem) = facts.bad_date() {
            warnings.push(format!("{} {problem}: clients refuse it", pem.origin));
        }
    }
    Ok(chain)
}

/// The certificates that verify clients' certificates.
///
/// # Errors
/// What is wrong, without the file's text.
pub(super) fn client_authorities(
    pem: &Pem,
    warnings: &mut Vec<String>,
) -> Result<Vec<CertificateDer<'static>>, String> {
    let authorities = certificates(pem)?;
    for facts in authorities.iter().filter_map(Facts::of) {
        if let Some(problem) = facts.bad_date() {
            warnings.push(format!("{} holds a certificate that {problem}", pem.origin));
        }
        if !facts.is_v3 {
            warnings.push(format!(
                "{} holds an X.509 version 1 certificate: it can verify others, but rustls refuses it as a client's own; \
                 for that, {MAKE_V3}",
                pem.origin
            ));
        }
    }
    Ok(authorities)
}

/// The private key of the server's certificate.
///
/// # Errors
/// What is wrong, without the file's text.
pub(super) fn private_key(pem: &Pem) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = pem.bytes()?;
    let holds = |text: &[u8]| bytes.windows(text.len()).any(|window| window == text);
    if holds(b"BEGIN ENCRYPTED PRIVATE KEY") || holds(b"Proc-Type: 4,ENCRYPTED") {
        return Err(format!(
            "{} is encrypted, and the exporter cannot ask for a passphrase: decrypt it with `openssl pkey -in FILE -out NEW`",
            pem.origin
        ));
    }
    PrivateKeyDer::from_pem_slice(bytes)
        .map_err(|error| format!("{} {}", pem.origin, flaw(&error, bytes, "private key", "pkey")))
}

/// What is wrong with a file. rustls's own message might quote it.
fn flaw(error: &pem::Error, bytes: &[u8], what: &str, command: &str) -> String {
    /// DER begins with this: a sequence. The next byte shows that it is longer than 127 bytes.
    const SEQUENCE: u8 = 0x30;
    match error {
        _ if bytes.iter().all(u8::is_ascii_whitespace) => format!("is empty: expected a {what} in PEM"),
        _ if bytes.first() == Some(&SEQUENCE) && bytes.get(1).is_some_and(|length| length & 0x80 != 0) => {
            format!("is DER, not PEM: convert it with `openssl {command} -inform DER -in FILE -out NEW`")
        }
        pem::Error::NoItemsFound => format!("holds no {what} in PEM"),
        _ => format!("is broken: its {what} in PEM has no end, or is not base64"),
    }
}
