//! What a client accepts, and how much it prefers it (RFC 9110, sections 12.4.2, 12.5.1 and 12.5.3).

use axum::http::{HeaderMap, HeaderName};

/// Whether an `Accept-Encoding` header accepts gzip.
pub fn accepts_gzip(accept_encoding: Option<&str>) -> bool {
    let accept = accept_encoding.unwrap_or_default();
    quality(accept, |range| match range.name {
        "gzip" | "x-gzip" => Some(2),
        "*" => Some(1),
        _ => None,
    }) > 0.0
}

/// One element of such a header.
#[derive(Debug)]
pub struct Range<'a> {
    /// In lower case, such as `text/*` or `gzip`.
    pub name: &'a str,
    /// The parameter `version`.
    pub version: Option<&'a str>,
}

/// The q-value of the most specific element that matches, the highest if there are several; 0 if none matches.
pub fn quality(header: &str, specificity: impl Fn(&Range<'_>) -> Option<u8>) -> f64 {
    let header = header.to_ascii_lowercase();
    let fitting = header.split(',').filter_map(|element| {
        let mut parts = element.split(';').map(str::trim);
        let mut range = Range { name: parts.next()?, version: None };
        let mut q = 1.0;
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            match name.trim() {
                "q" => q = value.trim().parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0),
                "version" => range.version = Some(value.trim().trim_matches('"')),
                _ => {}
            }
        }
        Some((specificity(&range)?, q))
    });
    fitting.max_by(|a, b| a.0.cmp(&b.0).then(f64::total_cmp(&a.1, &b.1))).map_or(0.0, |(_, q)| q)
}

/// Several headers with the same name form one list (RFC 9110, section 5.3).
pub fn joined(headers: &HeaderMap, name: &HeaderName) -> Option<String> {
    let values: Vec<&str> = headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect();
    (!values.is_empty()).then(|| values.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip() {
        for (accept, gzip) in [
            (None, false),
            (Some(""), false),
            (Some("identity"), false),
            (Some("gzip"), true),
            (Some("deflate, GZIP;q=0.5"), true),
            (Some("gzip;q=0"), false),
            (Some("gzip;q=0, *"), false),
            (Some("*"), true),
            (Some("*;q=0"), false),
            (Some("br"), false),
        ] {
            assert_eq!(accepts_gzip(accept), gzip, "{accept:?}");
        }
    }
}
