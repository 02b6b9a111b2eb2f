//! Strictly typed values.
//!
//! The config crate turns `2.7` into 3 and `on` into 1 if a whole number is expected. So values are taken from the tree
//! and checked here.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use ::config::{Value, ValueKind};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Longer durations would overflow clocks.
pub(crate) const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// A map of settings. An empty one (in YAML, if all settings are commented out) leaves the defaults. A list is
/// rejected: serde would interpret it as the settings in order.
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

/// A text written as text: an unquoted `1.10` is a number and would lose its zero.
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
            _ => Err(D::Error::custom("expected text, in quotes if it looks like a number")),
        }
    }
}

/// A list; may be left empty.
pub(crate) fn list<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<T>, D::Error> {
    deserializer.deserialize_any(ListVisitor(PhantomData))
}

struct ListVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list (in environment variables, one for each element: …__0, …__1)")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = elements.next_element()? {
            list.push(element);
        }
        Ok(list)
    }

    fn visit_unit<E>(self) -> Result<Vec<T>, E> {
        Ok(Vec::new())
    }
}

/// A whole number; no count here needs more than 32 bits.
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
    number
        .ok_or_else(|| D::Error::custom(format!("expected a whole number from {LEAST} to {}, found {shown}", u32::MAX)))
}

pub(crate) fn boolean<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let (value, shown) = value_of(deserializer)?;
    let boolean = match value {
        ValueKind::Boolean(boolean) => Some(boolean),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    boolean.ok_or_else(|| D::Error::custom(format!("expected true or false, found {shown}")))
}

/// A value, and how messages show it.
pub(crate) fn value_of<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(ValueKind, String), D::Error> {
    let value = Value::deserialize(deserializer)?.kind;
    let shown = match &value {
        ValueKind::Nil => "nothing".to_owned(),
        ValueKind::Table(_) => "a section".to_owned(),
        ValueKind::Array(_) => "a list".to_owned(),
        ValueKind::String(text) => format!("{text:?}"),
        scalar => scalar.to_string(),
    };
    Ok((value, shown))
}
