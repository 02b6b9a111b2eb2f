//! Parses `Retry-After`: seconds or an HTTP date (RFC 9110, section 10.2.3).

use std::time::{Duration, SystemTime};

/// A wait of more than a day is a server's mistake, not a rate limit: it would blind the account.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// How long the server asks to wait. A date is compared with the response's own `Date` if present, so that a wrong
/// clock on either side does not matter. Nonsense is `None`; a date in the past is zero.
pub(super) fn parse(retry_after: &str, date: Option<&str>, now: SystemTime) -> Option<Duration> {
    let text = retry_after.trim();
    let wait = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit still mean "very long".
        Duration::from_secs(text.parse().unwrap_or(u64::MAX))
    } else {
        let until = httpdate::parse_http_date(text).ok()?;
        let from = date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
        until.duration_since(from).unwrap_or_default()
    };
    Some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: SystemTime = SystemTime::UNIX_EPOCH;

    #[test]
    fn seconds() {
        assert_eq!(parse(" 120 ", None, NOW), Some(Duration::from_secs(120)));
        assert_eq!(parse("0", None, NOW), Some(Duration::ZERO));
        assert_eq!(parse("99999999999999999999999", None, NOW), Some(LONGEST));
        for nonsense in ["", "-5", "1.5", "soon", "+3"] {
            assert_eq!(parse(nonsense, None, NOW), None, "{nonsense}");
        }
    }

    #[test]
    fn a_date_is_compared_with_the_date_of_the_response() {
        let until = "Thu, 01 Jan 1970 00:02:00 GMT";
        assert_eq!(parse(until, None, NOW), Some(Duration::from_secs(120)));
        assert_eq!(parse(until, Some("Thu, 01 Jan 1970 00:01:30 GMT"), NOW), Some(Duration::from_secs(30)));
        assert_eq!(parse(until, Some("Thu, 01 Jan 1970 00:03:00 GMT"), NOW), Some(Duration::ZERO));
    }
}
