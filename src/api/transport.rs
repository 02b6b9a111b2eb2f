//! Classifies connection errors by what they tell an operator.

use std::error::Error as StdError;
use std::time::Duration;

use rustls::CertificateError;

use super::error::{Error, Waiting};
use super::lookup::LookUpError;
use super::redact::redact;
use super::trust;

/// A host that takes longer to accept a connection is as good as down.
pub(super) const LONGEST_CONNECT: Duration = Duration::from_secs(5);

/// The meaning of a reqwest error of a request that had this `timeout` and was `waiting`.
pub(super) fn sort(error: &reqwest::Error, waiting: Waiting, timeout: Duration) -> Error {
    if error.is_timeout() {
        return if error.is_connect() {
            Error::Timeout { after: timeout.min(LONGEST_CONNECT), waiting: Waiting::Connection }
        } else {
            Error::Timeout { after: timeout, waiting }
        };
    }
    if let Some(look_up) = find::<LookUpError>(error) {
        return Error::Dns(look_up.to_string());
    }
    let text = chain(error);
    if error.is_connect() {
        if !causes(error).any(is_tls) {
            return Error::Connect(text);
        }
        let trust = trust::complaint().map(|trust| format!("; {trust}")).unwrap_or_default();
        return Error::Tls(text + &trust);
    }
    if is_unprocessed(error) {
        return Error::Unsent(text);
    }
    // reqwest calls two things a "decode" error: a body that cannot be decompressed, and one that ends too early. A
    // response that is not HTTP is not a "decode" error to reqwest, but it is not what the API documents either.
    match find::<hyper::Error>(error) {
        Some(hyper) if hyper.is_parse() => Error::Decode(text),
        None if error.is_decode() => Error::Decode(text),
        _ => Error::Disconnected(text),
    }
}

/// Whether the server says that it did not process the request: it was closing the connection, or refused the stream
/// (RFC 9113, sections 6.8 and 8.7), or the connection was closed before anything was written to it.
fn is_unprocessed(error: &reqwest::Error) -> bool {
    let refused = find::<h2::Error>(error).is_some_and(|h2| {
        h2.is_remote()
            && ((h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR))
                || (h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM)))
    });
    refused || find::<hyper::Error>(error).is_some_and(hyper::Error::is_canceled)
}

fn causes<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

/// `io::Error` hides the error that it wraps from `source`, and wraps another `io::Error` here.
fn is_tls(error: &(dyn StdError + 'static)) -> bool {
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.is::<rustls::Error>() || wrapped.is_some_and(|inner| is_tls(inner))
}

/// The causes without reqwest's own first sentence, which contains only the URL.
pub(super) fn chain(error: &reqwest::Error) -> String {
    let texts: Vec<String> = causes(error).skip(1).map(sentence).collect();
    if texts.is_empty() { "no cause given".to_owned() } else { texts.join(": ") }
}

/// What a cause says, without text that the peer has written. A server can repeat the ServiceKey that it was sent, and a
/// certificate can name internal hosts.
fn sentence(cause: &(dyn StdError + 'static)) -> String {
    if let Some(error) = cause.downcast_ref::<std::io::Error>() {
        return error.get_ref().map_or_else(|| error.to_string(), |inner| sentence(inner));
    }
    if let Some(error) = cause.downcast_ref::<h2::Error>() {
        return without_debug_data(error);
    }
    if let Some(rustls::Error::InvalidCertificate(CertificateError::NotValidForNameContext { expected, .. })) =
        cause.downcast_ref()
    {
        return format!("the certificate is not valid for {}", expected.to_str());
    }
    if cause.is::<hyper::Error>() || cause.is::<rustls::Error>() || cause.is::<reqwest::Error>() {
        return cause.to_string();
    }
    redact(&cause.to_string())
}

/// GOAWAY contains debug data (RFC 9113, section 6.8), which h2 quotes.
fn without_debug_data(error: &h2::Error) -> String {
    match (error.reason(), error.get_io()) {
        (Some(reason), _) => {
            let by = if error.is_remote() { "received" } else { "sent" };
            let frame = if error.is_go_away() { "GOAWAY" } else { "RST_STREAM" };
            format!("{by} {frame} ({reason:?})")
        }
        (None, Some(error)) => sentence(error),
        (None, None) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sentence of a cause that other errors wrap, as in the HTTP libraries.
    fn said(cause: impl StdError + Send + Sync + 'static) -> String {
        sentence(&std::io::Error::other(std::io::Error::other(cause)))
    }

    #[test]
    fn what_the_peer_writes_is_in_no_sentence() {
        let expected = rustls::pki_types::ServerName::try_from("api.example").unwrap().to_owned();
        let presented = vec!["DnsName(\"vault.internal.example\")".to_owned()];
        let name = CertificateError::NotValidForNameContext { expected, presented };
        for (text, shown) in [
            (said(rustls::Error::InvalidCertificate(name)), "the certificate is not valid for api.example"),
            (
                said(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)),
                "invalid peer certificate: UnknownIssuer",
            ),
            (said(h2::Error::from(h2::Reason::ENHANCE_YOUR_CALM)), "sent RST_STREAM (ENHANCE_YOUR_CALM)"),
            (said(std::io::Error::from_raw_os_error(111)), "Connection refused (os error 111)"),
            (sentence(&std::io::Error::other("token sk_live_1 rejected")), "token [redacted] rejected"),
        ] {
            assert_eq!(text, shown);
        }
    }
}
