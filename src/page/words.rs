//! Times and numbers for people.

use std::time::Duration;

use super::value::Number;

/// A duration in its largest fitting unit: `5 s`, `3 min`, `2 h`, `9 d`.
pub(super) fn duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        172_800..63_072_000 => format!("{} d", seconds / 86_400),
        _ => format!("{} years", seconds / 31_536_000),
    }
}

/// Measured seconds: short ones to a tenth, long ones as a duration.
pub(super) fn seconds(Number(seconds): Number) -> String {
    match seconds {
        ..0.05 => "0 s".to_owned(),
        0.05..10.0 => format!("{seconds:.1} s"),
        10.0..120.0 => format!("{seconds:.0} s"),
        _ => duration(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
    }
}

/// A count with separators; from a million on in millions or billions.
pub(super) fn count(Number(value): Number) -> String {
    match value.abs() {
        ..1e6 => separated(value),
        // Not 1000.00 M, by rounding.
        1e6..999_995_000.0 => format!("{:.2} M", value / 1e6),
        _ => format!("{:.2} G", value / 1e9),
    }
}

/// All digits of a number, with separators and up to three decimals.
pub(super) fn separated(value: f64) -> String {
    let text = format!("{:.3}", value.abs());
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let mut shown = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    let fraction = fraction.trim_end_matches('0');
    let point = if fraction.is_empty() { "" } else { "." };
    let sign = if value < 0.0 { "-" } else { "" };
    format!("{sign}{shown}{point}{fraction}")
}

/// A rate, to about three digits.
pub(super) fn rate(Number(value): Number) -> String {
    if value.abs() < 100.0 {
        format!("{}/s", separated((value * 10.0).round() / 10.0))
    } else {
        format!("{}/s", count(Number(value.round())))
    }
}

/// An instant in UTC, as RFC 3339 writes it, to the second. `None` for a time outside of the calendar.
pub(super) fn utc(unix: f64) -> Option<String> {
    jiff::Timestamp::from_second(unix.floor() as i64).ok().map(|time| time.to_string())
}

/// A time from [`utc`] in a more readable format.
pub(super) fn for_people(utc: &str) -> String {
    utc.replace('T', " ").replace('Z', " UTC")
}

/// A label value for people: `connection_refused` becomes `connection refused`.
pub(super) fn plain(label: &str) -> String {
    label.replace('_', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_numbers_are_short() {
        for (seconds, shown) in [
            (0, "0 s"),
            (119, "119 s"),
            (120, "2 min"),
            (7_199, "119 min"),
            (7_200, "2 h"),
            (172_799, "47 h"),
            (172_800, "2 d"),
            (94_608_000, "3 years"),
        ] {
            assert_eq!(duration(Duration::from_secs(seconds)), shown);
        }
        for (value, shown) in
            [(0.0, "0 s"), (0.849, "0.8 s"), (12.6, "13 s"), (301.0, "5 min"), (1e300, "584942417355 years")]
        {
            assert_eq!(seconds(Number(value)), shown);
        }
        for (value, shown) in [
            (0.0, "0"),
            (12.5, "12.5"),
            (999.0, "999"),
            (1_000.0, "1,000"),
            (-123_456.0, "-123,456"),
            (999_999.0, "999,999"),
            (1_234_567.0, "1.23 M"),
            (999_999_999.0, "1.00 G"),
            (38_500_000_000.0, "38.50 G"),
        ] {
            assert_eq!(count(Number(value)), shown);
        }
        for (value, shown) in [(0.0, "0/s"), (3.25, "3.3/s"), (240.4, "240/s"), (1_900.0, "1,900/s")] {
            assert_eq!(rate(Number(value)), shown);
        }
    }

    #[test]
    fn times_are_utc() {
        assert_eq!(utc(1_700_000_000.9).as_deref(), Some("2023-11-14T22:13:20Z"));
        assert_eq!(utc(1e18), None);
    }
}
