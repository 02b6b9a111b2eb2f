//! Values taken as they stand.
//!
//! The config crate turns `2.7` into 3 and `on` into 1 where a whole number is asked for, and serde's own
//! messages repeat what they found. So every value is taken as it was written and checked here.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use ::config::{Value, ValueKind};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// More would overflow clocks.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A map of settings. One without any, as YAML gives it when all are commented out, leaves the defaults;
/// a list is refused, which serde would take for the settings in order.
#[derive(Default)]
pub(crate) struct Section<T>(pub T);

impl<'de, T: Deserialize<'de> + Default> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(SectionVisitor(PhantomData))
    }
}

struct SectionVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de> + Default> Visitor<'de> for SectionVisitor<T> {
    type Value = Section<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a section of settings")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Section<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Section)
    }

    fn visit_unit<E>(self) -> Result<Section<T>, E> {
        Ok(Section::default())
    }
}

/// A text that was written as one: `1.10` without quotes is a number and would lose its zero.
pub(crate) struct Text(pub String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)?.kind {
            ValueKind::String(text) => Ok(Self(text)),
            _ => Err(D::Error::custom("it takes a text, in quotes if it looks like a number")),
        }
    }
}

/// A list; one without any elements may be left empty.
pub(crate) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    Option::<Vec<T>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A whole number; what is counted here never needs more than 32 bits.
pub(crate) fn whole<'de, const LEAST: u32, N: TryFrom<u32>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<N, D::Error> {
    let (value, shown) = value_of(deserializer)?;
    let number = match value {
        ValueKind::I64(number) => u32::try_from(number).ok(),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let number = number.filter(|number| *number >= LEAST).and_then(|number| N::try_from(number).ok());
    number.ok_or_else(|| D::Error::custom(format!("{shown} is not a whole number from {LEAST} to {}", u32::MAX)))
}

pub(crate) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let (value, shown) = value_of(deserializer)?;
    let boolean = match value {
        ValueKind::Boolean(boolean) => Some(boolean),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    boolean.ok_or_else(|| D::Error::custom(format!("{shown} is neither true nor false")))
}

/// A value, and how a message shows it.
pub(crate) fn value_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(ValueKind, String), D::Error> {
    let value = Value::deserialize(deserializer)?.kind;
    let shown = match &value {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::Table(_) => "a section".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        scalar => format!("`{scalar}`"),
    };
    Ok((value, shown))
}
