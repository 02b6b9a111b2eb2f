//! The configuration as it is written: which settings there are, and what each kind of value takes.

use std::ops::RangeInclusive;
use std::time::Duration;

use ::config::ValueKind;
use serde::de::{Deserializer, Error};

use super::{Filter, Poll, Shard};
use crate::settings::value_of;

pub(crate) use crate::settings::{LONGEST, Section, Text, boolean, list, whole};

/// Nothing that is polled changes faster, and no interval is so short that stretching the others for it overflows clocks.
pub(super) const SHORTEST: Duration = Duration::from_millis(10);
/// In requests per second. The least makes no clock overflow, the most no pause vanish.
pub(super) const RATES: RangeInclusive<f64> = 0.01..=1_000_000.0;

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Sections {
    pub api: Section<ApiSection>,
    pub poll: Section<Poll>,
    #[serde(deserialize_with = "list")]
    pub accounts: Vec<Section<AccountSection>>,
    pub shard: Section<Shard>,
    #[serde(deserialize_with = "whole::<1, _, _>")]
    pub max_pipelines: usize,
}

impl Default for Sections {
    fn default() -> Self {
        Self {
            api: Section::default(),
            poll: Section::default(),
            accounts: Vec::new(),
            shard: Section::default(),
            max_pipelines: 20_000,
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ApiSection {
    pub base_url: Text,
    #[serde(deserialize_with = "boolean")]
    pub allow_http: bool,
    #[serde(deserialize_with = "duration")]
    pub timeout: Duration,
    #[serde(deserialize_with = "whole::<1024, _, _>")]
    pub max_response_bytes: u64,
}

impl Default for ApiSection {
    fn default() -> Self {
        Self {
            base_url: Text("https://api.covalenthq.com/platform/pipeline-api/".to_owned()),
            allow_http: false,
            timeout: Duration::from_secs(10),
            max_response_bytes: 8 * 1024 * 1024,
        }
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AccountSection {
    pub name: Option<Text>,
    pub service_key_file: Option<Text>,
    pub service_key_env: Option<Text>,
    pub projects: Section<Filter>,
    pub pipelines: Section<Filter>,
    pub pipeline_ids: Section<Filter>,
    #[serde(deserialize_with = "list")]
    pub expect: Vec<Text>,
}

/// A duration in humantime's notation.
pub(super) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    const TAKES: &str = "it takes one such as 15s or 5m";
    let (value, shown) = value_of(deserializer)?;
    let refused = |why: &str| Err(D::Error::custom(format!("{shown} {why}; {TAKES}")));
    let text = match value {
        ValueKind::String(text) => text,
        ValueKind::I64(_) | ValueKind::Float(_) => return refused("is a duration without a unit"),
        _ => return refused("is not a duration"),
    };
    match humantime::parse_duration(&text) {
        Ok(Duration::ZERO) => refused("is no time at all"),
        Ok(duration) if duration < SHORTEST => refused("is shorter than 10ms"),
        Ok(duration) if duration > LONGEST => refused("is longer than 365 days"),
        Ok(duration) => Ok(duration),
        Err(_) if text.trim().parse::<f64>().is_ok() => refused("is a duration without a unit"),
        Err(_) => refused("is not a duration"),
    }
}

/// A number of requests per second.
pub(super) fn rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let (value, shown) = value_of(deserializer)?;
    let number = match value {
        ValueKind::Float(number) => Some(number),
        ValueKind::I64(number) => Some(number as f64),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| RATES.contains(number));
    let (least, most) = (RATES.start(), RATES.end());
    number.ok_or_else(|| D::Error::custom(format!("{shown} is not a number from {least} to {most}")))
}
