//! The text format that the scraper accepts (RFC 9110, section 12.5.1).

use super::writer::Format;
use crate::http::quality;

/// The format for an `Accept` header: OpenMetrics if the header accepts 1.0 and does not prefer the classic format.
/// Otherwise, even if it accepts neither, the classic one, which every scraper can read.
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
            (Some("application/openmetrics-text,text/plain"), OpenMetrics),
            (Some("application/openmetrics-text;q=0.5,text/plain;version=0.0.4"), Classic),
            (Some("application/openmetrics-text;q=0.5,text/plain;version=0.0.1"), OpenMetrics),
            (Some("application/openmetrics-text;q=0.5,text/*"), Classic),
            (Some("application/openmetrics-text;q=0.5,*/*"), Classic),
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
}
