//! Durations and rates in the configuration's notation.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::de::{Deserializer, Error};
use serde::ser::{Serialize, Serializer};

use crate::settings::{LONGEST, ValueKind, value_of};

/// Nothing that is polled changes faster, and with at least this interval, stretching does not overflow clocks.
pub(super) const SHORTEST: Duration = Duration::from_millis(10);
/// In requests per second. The lowest rate does not overflow clocks, the highest still leaves a pause between requests.
pub(super) const RATES: RangeInclusive<f64> = 0.01..=1_000_000.0;

const EXAMPLE: &str = "a duration such as 15s or 5m";

/// A duration in humantime's notation; for `serde(with)`.
pub(super) mod duration {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let (value, shown) = value_of(deserializer)?;
        parse_duration(value, &shown).map_err(D::Error::custom)
    }

    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }
}

/// An optional duration; empty means off, because the effective configuration shows "off" as empty.
pub(super) mod optional_duration {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        let (value, shown) = value_of(deserializer)?;
        match value {
            ValueKind::Nil => Ok(None),
            // A variable cannot be null.
            ValueKind::String(text) if text.is_empty() => Ok(None),
            value => parse_duration(value, &shown).map(Some).map_err(D::Error::custom),
        }
    }

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        match duration {
            Some(duration) => super::duration::serialize(duration, serializer),
            None => serializer.serialize_none(),
        }
    }
}

pub(super) fn parse_duration(value: ValueKind, shown: &str) -> Result<Duration, String> {
    let no_unit = || Err(format!("{shown} has no unit (expected {EXAMPLE})"));
    let text = match value {
        ValueKind::String(text) => text,
        ValueKind::I64(_) | ValueKind::Float(_) => return no_unit(),
        _ => return Err(format!("expected {EXAMPLE}, found {shown}")),
    };
    match humantime::parse_duration(&text) {
        Ok(Duration::ZERO) => Err(format!("must be greater than zero ({EXAMPLE})")),
        Ok(duration) if duration < SHORTEST => Err(format!("must be at least 10ms, found {shown}")),
        Ok(duration) if duration > LONGEST => Err(format!("must be at most 365days, found {shown}")),
        Ok(duration) => Ok(duration),
        Err(_) if text.trim().parse::<f64>().is_ok() => no_unit(),
        Err(_) => Err(format!("expected {EXAMPLE}, found {shown}")),
    }
}

/// A number of requests per second.
pub(super) mod rate {
    use super::*;

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        let (value, shown) = value_of(deserializer)?;
        parse_number(value, &shown, RATES).map_err(D::Error::custom)
    }

    pub fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        Shown::Number(*number).serialize(serializer)
    }
}

pub(super) fn parse_number(value: ValueKind, shown: &str, range: RangeInclusive<f64>) -> Result<f64, String> {
    let number = match value {
        ValueKind::Float(number) => Some(number),
        ValueKind::I64(number) => Some(number as f64),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| range.contains(number));
    number.ok_or_else(|| format!("expected a number from {} to {}, found {shown}", range.start(), range.end()))
}

/// A value in the configuration's notation.
pub(super) enum Shown {
    Seconds(f64),
    /// Without a fraction if it is whole.
    Number(f64),
}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::Seconds(seconds) => duration::serialize(&Duration::from_secs_f64(seconds), serializer),
            Self::Number(number) if number as u64 as f64 == number => serializer.serialize_u64(number as u64),
            Self::Number(number) => serializer.serialize_f64(number),
        }
    }
}
