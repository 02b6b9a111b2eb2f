//! Deserializes a tree of values, with errors as types.
//!
//! The config crate could deserialize its [`Value`], but its errors are texts that quote values.

use std::fmt;

use ::config::{Value, ValueKind};
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, Deserializer, Expected, IntoDeserializer, Unexpected, Visitor};
use serde::forward_to_deserialize_any;

/// Why a value cannot be deserialized. Never repeats the value, unless one of our own validations does.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Invalid {
    #[error("unknown setting (expected {})", known.join(", "))]
    UnknownSetting { known: &'static [&'static str] },
    /// The value has another type.
    #[error("expected {expected}")]
    Type { expected: String },
    /// The message of a validation.
    #[error("{0}")]
    Value(String),
}

impl de::Error for Invalid {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::Value(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::Type { expected: expected.to_string() }
    }

    fn unknown_field(_: &str, known: &'static [&'static str]) -> Self {
        Self::UnknownSetting { known }
    }
}

/// A setting, and why it cannot be deserialized. Displayed as one sentence.
pub(crate) struct Problem {
    /// The path of the setting, such as `accounts[0].name`. It ends at a colon or an equals sign: for
    /// YAML, `{name:value}` without a space is one name, and the value may be a secret.
    pub path: String,
    pub why: Invalid,
}

impl From<serde_path_to_error::Error<Invalid>> for Problem {
    fn from(error: serde_path_to_error::Error<Invalid>) -> Self {
        let path = error.path().to_string();
        let end = path.find([':', '=']).unwrap_or(path.len());
        Self { path: path[..end].to_owned(), why: error.into_inner() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The path of the whole file is a dot.
        let path = if self.path == "." { "the file" } else { &self.path };
        write!(f, "{path}: {}", self.why)
    }
}

pub(crate) fn deserialize<T: DeserializeOwned>(value: Value) -> Result<T, Problem> {
    serde_path_to_error::deserialize(Tree(value)).map_err(Problem::from)
}

struct Tree(Value);

impl<'de> IntoDeserializer<'de, Invalid> for Tree {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'de> Deserializer<'de> for Tree {
    type Error = Invalid;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self.0.kind {
            ValueKind::Nil => visitor.visit_unit(),
            ValueKind::Boolean(boolean) => visitor.visit_bool(boolean),
            ValueKind::I64(number) => visitor.visit_i64(number),
            ValueKind::I128(number) => visitor.visit_i128(number),
            ValueKind::U64(number) => visitor.visit_u64(number),
            ValueKind::U128(number) => visitor.visit_u128(number),
            ValueKind::Float(number) => visitor.visit_f64(number),
            ValueKind::String(text) => visitor.visit_string(text),
            ValueKind::Table(settings) => {
                let settings = settings.into_iter().map(|(key, value)| (key, Tree(value)));
                visitor.visit_map(MapDeserializer::new(settings))
            }
            ValueKind::Array(elements) => visitor.visit_seq(SeqDeserializer::new(elements.into_iter().map(Tree))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Invalid> {
        match self.0.kind {
            ValueKind::Nil => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Invalid> {
        visitor.visit_newtype_struct(self)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct enum identifier ignored_any
    }
}
