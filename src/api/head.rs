//! Whose response is it? The status and headers of a response, and what they mean before the body is read.
//!
//! Proxies, firewalls, ingresses and captive portals between the exporter and the API respond with the same statuses as
//! the API. So 401, 402, 403, 404 and 429 have their documented meaning only in the API's own envelope, or without a
//! body. Without a body the two cannot be told apart, and it would be the worse mistake to keep polling with a revoked
//! key and to blame a proxy. So an empty response counts as the API's, as far as that can be undone: it drops no
//! pipeline, and the next response with an envelope corrects it.

use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, DATE, HeaderMap, HeaderName, RETRY_AFTER, SERVER, VIA};

use super::error::{Error, Foreign, Said};
use super::retry_after;

/// The longest pause that a response without the API's envelope can cause. Its sender may be gone in a minute, and a
/// captive portal that asks for a day must not blind the exporter for a day.
const LONGEST_FOREIGN_PAUSE: Duration = Duration::from_secs(60);

/// Software that may stand between a client and an API. Nothing else from these headers is ever shown: they can contain
/// host names.
const PRODUCTS: &[&str] = &[
    "akamaighost",
    "akamainetstorage",
    "apache",
    "ats",
    "awselb",
    "big-ip",
    "bigip",
    "caddy",
    "cloudflare",
    "cloudfront",
    "ddos-guard",
    "envoy",
    "fastly",
    "gws",
    "haproxy",
    "imperva",
    "istio-envoy",
    "kong",
    "litespeed",
    "microsoft-azure-application-gateway",
    "microsoft-iis",
    "netlify",
    "nginx",
    "openresty",
    "squid",
    "sucuri",
    "tengine",
    "tinyproxy",
    "traefik",
    "varnish",
    "vercel",
    "zscaler",
];

pub(super) struct Head {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    content: &'static str,
    product: Option<&'static str>,
}

impl Head {
    pub(super) fn of(status: u16, headers: &HeaderMap) -> Self {
        let header = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let retry_after = header(RETRY_AFTER);
        Self {
            status,
            retry_after: retry_after.and_then(|text| retry_after::parse(text, header(DATE), SystemTime::now())),
            content: content(header(CONTENT_TYPE)),
            product: [header(SERVER), header(VIA)].into_iter().flatten().find_map(product),
        }
    }

    /// The error for an empty body. A 200 without a body is an error, too.
    pub(super) fn bare(&self) -> Error {
        self.without_envelope(self.retry_after)
    }

    fn without_envelope(&self, retry_after: Option<Duration>) -> Error {
        let error = Error::from_status(self.status, retry_after, Said::default());
        error.unwrap_or_else(|| Error::Decode("the body is empty".to_owned()))
    }

    /// The error for an envelope that is not a success. The API's own codes override any status.
    pub(super) fn refused(&self, code: &str, redacted_code: String, message: String) -> Error {
        let meant = code.parse().ok().filter(|code| matches!(code, 401 | 402 | 403 | 404 | 429));
        let said = Said::in_envelope(&message);
        let error = Error::from_status(meant.unwrap_or(self.status), self.retry_after, said);
        error.unwrap_or(Error::ApiError { code: redacted_code, message })
    }

    /// The error for a body that is not the API's.
    pub(super) fn foreign(&self) -> Error {
        self.foreign_because(self.content)
    }

    /// The error for a body that exceeded the limits for error responses.
    pub(super) fn unread(&self) -> Error {
        self.foreign_because("a body that is long or slow")
    }

    fn foreign_because(&self, content: &'static str) -> Error {
        let retry_after = self.retry_after.map(|wait| wait.min(LONGEST_FOREIGN_PAUSE));
        match self.status {
            // The API's own front end returns these statuses, and so does any other.
            300..=399 | 500..=599 => self.without_envelope(retry_after),
            status => {
                let product = self.product;
                Error::ForeignResponse(Foreign { status, retry_after, content, product })
            }
        }
    }
}

fn content(content_type: Option<&str>) -> &'static str {
    let Some(content_type) = content_type else { return "a body without a content type" };
    match content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase().as_str() {
        "text/html" | "application/xhtml+xml" => "HTML",
        "text/plain" => "plain text",
        "application/json" | "application/problem+json" | "text/json" => "other JSON",
        "application/xml" | "text/xml" | "application/problem+xml" => "XML",
        _ => "another type of content",
    }
}

fn product(header: &str) -> Option<&'static str> {
    let words = header.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).map(str::to_ascii_lowercase);
    words.into_iter().find_map(|word| PRODUCTS.iter().copied().find(|product| *product == word))
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;
    use crate::api::Status;
    use crate::api::envelope::open;

    #[test]
    fn a_foreign_response_pauses_for_a_minute_at_most() {
        let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static("86400"))]);
        let pause = |status: u16, body: &str| {
            let response = open::<Status>(&Head::of(status, &headers), body.as_bytes());
            response.unwrap_err().retry_after().map(|wait| wait.as_secs())
        };
        let envelope = r#"{"data": null, "error": true, "error_message": "busy", "error_code": null}"#;
        for (status, pauses) in [(429, [86_400, 86_400, 60, 60]), (503, [86_400, 86_400, 60, 60])] {
            let said = [envelope, "", "<html>Sign in</html>", r#"{"message": "busy"}"#].map(|body| pause(status, body));
            assert_eq!(said, pauses.map(Some), "{status}");
        }
        for status in [200, 302, 403, 511] {
            assert!(pause(status, "<html>Sign in</html>").is_none_or(|seconds| seconds <= 60), "{status}");
        }
        assert_eq!(Head::of(503, &headers).unread().retry_after(), Some(LONGEST_FOREIGN_PAUSE), "a body that hangs");
    }

    #[test]
    fn the_type_of_a_body_is_named_in_words() {
        for (content_type, words) in [
            (None, "a body without a content type"),
            (Some("Text/HTML ; charset=utf-8"), "HTML"),
            (Some("text/plain"), "plain text"),
            (Some("application/problem+json"), "other JSON"),
            (Some("application/xml"), "XML"),
            (Some("image/png"), "another type of content"),
        ] {
            assert_eq!(content(content_type), words);
        }
    }

    #[test]
    fn only_well_known_products_are_named() {
        for (header, named) in [
            ("cloudflare", Some("cloudflare")),
            ("nginx/1.25.3 (Ubuntu)", Some("nginx")),
            ("1.1 ip-10-0-0-7.internal (Varnish/6.0)", Some("varnish")),
            ("1.1 proxy.corp.example", None),
            ("nginxx", None),
            ("", None),
        ] {
            assert_eq!(product(header), named, "{header}");
        }
    }
}
