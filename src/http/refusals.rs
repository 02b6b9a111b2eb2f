//! Logs handshakes that fail for a reason that an operator can fix: a few at once, and then one per minute.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rustls::{AlertDescription, CertificateError, OtherError};
use tokio::time::Instant;
use tracing::{debug, warn};

use super::client_certificates::Unusable;
use crate::rate::Bucket;

/// Warnings per second.
const RATE: f64 = 1.0 / 60.0;
/// Clients may be refused for different reasons.
const BURST: f64 = 5.0;

/// Failed handshakes, and when the log last mentioned them.
pub(super) struct Refusals {
    bucket: Mutex<Bucket>,
    unmentioned: AtomicU64,
}

impl Refusals {
    pub fn new() -> Self {
        Self { bucket: Mutex::new(Bucket::new(RATE, BURST, Instant::now().into_std())), unmentioned: AtomicU64::new(0) }
    }

    pub fn note(&self, peer: SocketAddr, error: &io::Error) {
        let Some(reason) = reason(error) else {
            return debug!(%peer, "the TLS handshake failed: {error}");
        };
        if self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(Instant::now().into_std()).is_err() {
            self.unmentioned.fetch_add(1, Ordering::Relaxed);
            return debug!(%peer, "the TLS handshake failed: {reason}");
        }
        match self.unmentioned.swap(0, Ordering::Relaxed) {
            0 => warn!(%peer, "the TLS handshake failed: {reason}"),
            more => warn!(%peer, "the TLS handshake failed: {reason}; {more} more failed since the last warning"),
        }
    }
}

/// Why client and server did not agree; `None` if one of them just disconnected.
fn reason(error: &io::Error) -> Option<String> {
    Some(match error.get_ref()?.downcast_ref::<rustls::Error>()? {
        rustls::Error::NoCertificatesPresented => "the client presented no certificate".to_owned(),
        rustls::Error::InvalidCertificate(error) => {
            format!("the client certificate is refused: {}", certificate_problem(error))
        }
        rustls::Error::AlertReceived(alert) => format!("the client gave up: {}", alert_problem(*alert)),
        rustls::Error::PeerIncompatible(problem) => {
            format!("no TLS version, cipher suite or curve in common ({problem:?})")
        }
        rustls::Error::InvalidMessage(_) => {
            "the client does not speak TLS (a scrape configuration without `scheme: https`?)".to_owned()
        }
        other => other.to_string(),
    })
}

fn certificate_problem(error: &CertificateError) -> String {
    let text = match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
        CertificateError::UnknownIssuer => "the client CA has not signed it",
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "it is not for clients (extendedKeyUsage without clientAuth)"
        }
        CertificateError::ApplicationVerificationFailure => {
            "none of its subject alternative names is in client_allowed_sans"
        }
        CertificateError::BadEncoding => "it cannot be read",
        CertificateError::BadSignature => "its signature is wrong",
        CertificateError::Other(OtherError(why)) => {
            return why
                .downcast_ref::<Unusable>()
                .map_or_else(|| format!("rustls does not accept it ({why})"), Unusable::to_string);
        }
        other => return format!("{other:?}"),
    };
    text.to_owned()
}

fn alert_problem(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::UnknownCA => {
            "it does not trust the CA of the server certificate (`ca_file` of its tls_config?)".to_owned()
        }
        AlertDescription::CertificateExpired => "the server certificate has expired".to_owned(),
        AlertDescription::BadCertificate => {
            "it refuses the server certificate (does it hold the name that the client uses?)".to_owned()
        }
        other => format!("alert {other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn reasons_are_in_words() {
        let reason = |error: rustls::Error| reason(&io::Error::other(error)).unwrap();
        let unusable = reason(Unusable::Authority.into());
        assert!(unusable.contains("it is a CA (CA:TRUE), which rustls refuses from a client: sign "), "{unusable}");
        let other = reason(CertificateError::Other(OtherError(Arc::new(io::Error::other("Strange")))).into());
        assert_eq!(other, "the client certificate is refused: rustls does not accept it (Strange)");
        assert!(super::reason(&io::ErrorKind::UnexpectedEof.into()).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn the_warning_after_a_minute_counts_those_that_were_left_out() {
        let refusals = Refusals::new();
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let error = io::Error::other(rustls::Error::NoCertificatesPresented);
        let unmentioned = || refusals.unmentioned.load(Ordering::Relaxed);
        for expected in [0, 0, 0, 0, 0, 1, 2] {
            refusals.note(peer, &error);
            assert_eq!(unmentioned(), expected);
        }
        tokio::time::advance(std::time::Duration::from_secs(61)).await;
        refusals.note(peer, &error);
        assert_eq!(unmentioned(), 0);
    }
}
