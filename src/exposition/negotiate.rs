//! What the scraper accepts: the text format and the compression (RFC 9110, sections 12.5.1 and 12.5.3).

use super::writer::Format;

/// The format for an `Accept` header. Whoever names OpenMetrics 1.0 and does not prefer the classic format gets
/// it; everyone else, also who accepts neither, gets the classic one, which every scraper can read.
pub fn choose_format(accept: Option<&str>) -> Format {
    let accept = accept.unwrap_or("*/*");
    let openmetrics = quality(accept, |range| {
        (range.name == "application/openmetrics-text" && range.version.is_none_or(|version| version == "1.0.0"))
            .then_some(3)
    });
    let classic = quality(accept, |range| match range.name {
        "text/plain" if range.version.is_none_or(|version| version == "0.0.4") => Some(3),
        "text/*" => Some(2),
        "*/*" => Some(1),
        _ => None,
    });
    if openmetrics > 0.0 && openmetrics >= classic { Format::OpenMetrics } else { Format::Classic }
}

/// Whether an `Accept-Encoding` header accepts gzip.
pub fn accepts_gzip(accept_encoding: Option<&str>) -> bool {
    let accept = accept_encoding.unwrap_or_default();
    quality(accept, |range| match range.name {
        "gzip" | "x-gzip" => Some(2),
        "*" => Some(1),
        _ => None,
    }) > 0.0
}

/// One element of the header.
struct Range<'a> {
    name: &'a str,
    version: Option<&'a str>,
}

/// The q-value of the most specific element that fits, the highest of several; 0 where none fits.
fn quality(header: &str, specificity: impl Fn(&Range) -> Option<u8>) -> f64 {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats() {
        use Format::{Classic, OpenMetrics};
        for (accept, format) in [
            (None, Classic),
            (Some(""), Classic),
            (Some("*/*"), Classic),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Classic),
            (Some("application/json"), Classic),
            (Some("text/plain;version=0.0.4"), Classic),
            (Some("application/openmetrics-text"), OpenMetrics),
            (Some("application/openmetrics-text; version=1.0.0; charset=utf-8"), OpenMetrics),
            (Some("application/openmetrics-text;version=\"1.0.0\""), OpenMetrics),
            (Some("Application/OpenMetrics-Text;Version=1.0.0"), OpenMetrics),
            (Some("application/openmetrics-text;version=0.0.1"), Classic),
            (Some("application/openmetrics-text;q=0,*/*"), Classic),
            (Some("application/openmetrics-text;q=0.3,text/plain;q=0.7"), Classic),
            (Some("application/openmetrics-text;q=0.7,text/plain;q=0.3"), OpenMetrics),
            (Some("application/openmetrics-text;q=0.5,text/plain;q=0,*/*"), OpenMetrics),
            (Some("application/openmetrics-text;q=nonsense"), Classic),
            (Some(";;,,;q=1,="), Classic),
            // Prometheus 2.42.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                     text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                ),
                OpenMetrics,
            ),
            // Prometheus 3.
            (
                Some(
                    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                     application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,\
                     text/plain;version=0.0.4;q=0.2,*/*;q=0.1",
                ),
                OpenMetrics,
            ),
        ] {
            assert_eq!(choose_format(accept), format, "{accept:?}");
        }
    }

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
