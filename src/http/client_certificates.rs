//! Checks clients' certificates like Go's policies.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, OtherError, RootCertStore, SignatureScheme};

use super::certificates::{Facts, MAKE_V3, client_authorities};
use super::config::Tls;

/// What a client must present, according to `client_auth_type` and `client_allowed_sans`.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Demands {
    /// Any certificate.
    pub certificate: bool,
    /// If the client presents a certificate: one that an authority has signed.
    pub verified: bool,
    /// One that the client CA has signed, not just any authority that the system trusts.
    pub by_client_ca: bool,
    /// If the client presents a certificate: one with a name from the list.
    pub name: bool,
}

impl Demands {
    pub fn of(tls: &Tls) -> Self {
        let (certificate, verified) = policy(tls).unwrap_or_default();
        Self {
            certificate,
            verified,
            by_client_ca: verified && tls.client_ca.is_some(),
            name: tls.client_allowed_sans.is_some(),
        }
    }
}

/// Whether `client_auth_type` demands a certificate, and whether it verifies one; `None` for an unknown policy.
fn policy(tls: &Tls) -> Option<(bool, bool)> {
    match tls.client_auth_type.as_deref() {
        None | Some("NoClientCert" | "RequestClientCert") => Some((false, false)),
        Some("RequireAnyClientCert" | "RequireClientCert") => Some((true, false)),
        Some("VerifyClientCertIfGiven") => Some((false, true)),
        Some("RequireAndVerifyClientCert") => Some((true, true)),
        Some(_) => None,
    }
}

/// Why rustls refuses a certificate, if its own errors do not say so.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it is an X.509 version 1 certificate, which rustls refuses: {MAKE_V3}")]
    Version1,
    /// A CA is accepted only if the client CA file contains that very certificate.
    #[error(
        "it is a CA (CA:TRUE), which rustls refuses from a client: sign a certificate with it that is not one \
         (basicConstraints CA:FALSE), or put this certificate itself into the client CA file"
    )]
    Authority,
}

impl From<Unusable> for rustls::Error {
    fn from(why: Unusable) -> Self {
        CertificateError::Other(OtherError(Arc::new(why))).into()
    }
}

/// The verifier of clients' certificates; `None` if none is requested.
pub(super) fn verifier(
    tls: &Tls,
    provider: &Arc<CryptoProvider>,
    warnings: &mut Vec<String>,
) -> Result<Option<Arc<ClientCertificates>>, String> {
    let name = tls.client_auth_type.as_deref().unwrap_or("NoClientCert");
    let Some((mandatory, verified)) = policy(tls) else {
        return Err(format!(
            "tls_server_config.client_auth_type: unknown policy `{name}`; expected NoClientCert, RequestClientCert, \
             RequireAnyClientCert, VerifyClientCertIfGiven or RequireAndVerifyClientCert"
        ));
    };
    if name == "NoClientCert" {
        if tls.client_ca.is_some() {
            return Err("tls_server_config.client_ca: no client certificate is requested; \
                        set client_auth_type to RequireAndVerifyClientCert"
                .to_owned());
        }
        if tls.client_allowed_sans.is_some() {
            warnings.push(
                "tls_server_config.client_allowed_sans has no effect, as no client certificate is requested; \
                 set client_auth_type to RequireAndVerifyClientCert"
                    .to_owned(),
            );
        }
        return Ok(None);
    }
    match &tls.client_allowed_sans {
        Some(names) if names.is_empty() => warnings.push(
            "tls_server_config.client_allowed_sans is empty: every client that presents a certificate is refused"
                .to_owned(),
        ),
        Some(_) if name != "RequireAndVerifyClientCert" => warnings.push(format!(
            "tls_server_config.client_allowed_sans with client_auth_type {name}: only RequireAndVerifyClientCert \
             refuses clients that have no certificate, or one that they signed themselves"
        )),
        _ => {}
    }
    let trust = match &tls.client_ca {
        _ if !verified => Trust::Any,
        Some(ca) => {
            let authorities = client_authorities(ca, warnings)?;
            let mut roots = RootCertStore::empty();
            for authority in &authorities {
                let added = roots.add(authority.clone());
                added.map_err(|_| format!("{} holds a certificate that cannot be read", ca.origin))?;
            }
            Trust::Roots { verifier: web_pki(roots, provider, true)?, authorities }
        }
        None => of_the_system(name, provider, warnings)?,
    };
    let algorithms = provider.signature_verification_algorithms;
    let allowed_sans = tls.client_allowed_sans.clone();
    Ok(Some(Arc::new(ClientCertificates { mandatory, trust, allowed_sans, algorithms })))
}

/// Without a client CA, Go verifies with the certificates of the operating system.
fn of_the_system(name: &str, provider: &Arc<CryptoProvider>, warnings: &mut Vec<String>) -> Result<Trust, String> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        warnings.push(format!(
            "tls_server_config.client_auth_type: {name} without client_ca_file, and this system has no root \
             certificates: every client certificate is refused"
        ));
        return Ok(Trust::Nothing);
    }
    warnings.push(format!(
        "tls_server_config.client_auth_type: {name} without client_ca_file: client certificates of all public \
         authorities that this system trusts are accepted"
    ));
    // Sending their names would make each handshake some ten kilobytes longer.
    Ok(Trust::Roots { verifier: web_pki(roots, provider, false)?, authorities: Vec::new() })
}

fn web_pki(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
    hints: bool,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let builder = if hints { builder } else { builder.clear_root_hint_subjects() };
    builder.build().map_err(|error| format!("tls_server_config: client certificates cannot be verified: {error}"))
}

/// Whose certificates are accepted.
#[derive(Debug)]
enum Trust {
    Any,
    Nothing,
    Roots {
        verifier: Arc<dyn ClientCertVerifier>,
        /// Accepted from a client directly, as in Go: a self-signed certificate is its own authority.
        authorities: Vec<CertificateDer<'static>>,
    },
}

/// Checks clients' certificates and their names.
#[derive(Debug)]
pub(super) struct ClientCertificates {
    mandatory: bool,
    trust: Trust,
    allowed_sans: Option<Vec<String>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ClientCertificates {
    fn check_issuer(
        &self,
        certificate: &CertificateDer<'_>,
        facts: &Facts,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), rustls::Error> {
        match &self.trust {
            Trust::Any => Ok(()),
            Trust::Nothing => Err(CertificateError::UnknownIssuer.into()),
            Trust::Roots { authorities, .. } if authorities.contains(certificate) => {
                let at = std::time::Duration::from_secs(now.as_secs());
                match facts {
                    _ if facts.is_expired(at) => Err(CertificateError::Expired.into()),
                    _ if facts.is_early(at) => Err(CertificateError::NotValidYet.into()),
                    _ if !facts.is_for_clients => Err(CertificateError::InvalidPurpose.into()),
                    _ => Ok(()),
                }
            }
            Trust::Roots { .. } if facts.is_ca => Err(Unusable::Authority.into()),
            Trust::Roots { verifier, .. } => {
                verifier.verify_client_cert(certificate, intermediates, now).map(|_verified| ())
            }
        }
    }
}

impl ClientCertVerifier for ClientCertificates {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        match &self.trust {
            Trust::Roots { verifier, .. } => verifier.root_hint_subjects(),
            Trust::Any | Trust::Nothing => &[],
        }
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let facts = Facts::of(certificate).ok_or(CertificateError::BadEncoding)?;
        if !facts.is_v3 {
            return Err(Unusable::Version1.into());
        }
        self.check_issuer(certificate, &facts, intermediates, now)?;
        if let Some(allowed) = &self.allowed_sans
            && !facts.names().iter().any(|name| allowed.contains(name))
        {
            return Err(CertificateError::ApplicationVerificationFailure.into());
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
