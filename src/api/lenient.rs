//! Reads JSON one value at a time, so that an unusable value costs only itself.
//!
//! `serde`'s derived deserializers reject a whole response for one field of the wrong type. Here, an object is a series
//! of raw values: undocumented ones are skipped unparsed, and each documented one is read, absent (`null` or an empty
//! text), or [`Unusable`].

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::text::label;
use super::unknown::Unusable;

/// A larger count or duration is not a measurement: the wei of all chains together are fewer.
const LARGEST_NUMBER: f64 = 1e24;
/// 2100-01-01. A later time is a placeholder for "never".
const LATEST_TIME: f64 = 4_102_444_800.0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Boolean,
    Number,
    Text,
    List,
    Object,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "boolean",
            Self::Number => "number",
            Self::Text => "text",
            Self::List => "list",
            Self::Object => "object",
        })
    }
}

/// The text of one well-formed JSON value.
#[derive(Clone, Copy)]
pub(super) struct Raw<'a>(&'a str);

/// A value of the wrong type where the shape of the response depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// Consists only of documented names and indexes.
    pub(super) path: String,
    pub(super) found: Kind,
    pub(super) expected: Kind,
}

impl Mismatch {
    /// Prefixes the path with the object or list that contains the value.
    pub(super) fn below(self, parent: impl fmt::Display) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') { "" } else { "." };
        Self { path: format!("{parent}{separator}{}", self.path), ..self }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = if self.path.is_empty() { "the body" } else { &self.path };
        write!(f, "{place}: found {}, expected {}", self.found, self.expected)
    }
}

/// Something that is read from an object field by field.
pub(super) trait Record: Default {
    /// Reads the field of this name; ignores names that the record does not keep.
    fn field(&mut self, name: &str, value: Raw<'_>) -> Result<(), Mismatch>;

    fn read(object: Raw<'_>) -> Result<Self, Mismatch> {
        let mut record = Self::default();
        object.each_field(|name, value| record.field(name, value))?;
        Ok(record)
    }
}

/// For code that has a serde_json value.
macro_rules! deserialize_record {
    ($($record:ty),+) => {
        $(impl<'de> serde::Deserialize<'de> for $record {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
                Self::read($crate::api::lenient::Raw::of(&raw)).map_err(serde::de::Error::custom)
            }
        })+
    };
}

pub(super) use deserialize_record;

impl<'a> Raw<'a> {
    /// Fails unless the whole text is one value.
    pub(super) fn parse(text: &'a str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(text).map(|raw| Self(raw.get()))
    }

    pub(super) fn of(raw: &'a RawValue) -> Self {
        Self(raw.get())
    }

    pub(super) fn kind(self) -> Kind {
        match self.0.as_bytes().first() {
            Some(b'{') => Kind::Object,
            Some(b'[') => Kind::List,
            Some(b'"') => Kind::Text,
            Some(b't' | b'f') => Kind::Boolean,
            Some(b'n') => Kind::Null,
            _ => Kind::Number,
        }
    }

    pub(super) fn json(self) -> &'a str {
        self.0
    }

    /// Names only the types: the value itself can be private.
    pub(super) fn mismatch(self, expected: Kind) -> Mismatch {
        Mismatch { path: String::new(), found: self.kind(), expected }
    }

    /// Visits the fields of an object in order. Repeated fields are all visited, so the last one counts.
    pub(super) fn each_field(self, visit: impl FnMut(&str, Raw<'a>) -> Result<(), Mismatch>) -> Result<(), Mismatch> {
        let visited = serde_json::Deserializer::from_str(self.0).deserialize_map(Fields(visit));
        visited.unwrap_or_else(|_| Err(self.mismatch(Kind::Object)))
    }

    pub(super) fn each_item(self, visit: impl FnMut(Raw<'a>) -> Result<(), Mismatch>) -> Result<(), Mismatch> {
        let visited = serde_json::Deserializer::from_str(self.0).deserialize_seq(Items(visit));
        visited.unwrap_or_else(|_| Err(self.mismatch(Kind::List)))
    }

    /// The unescaped text; lone surrogates become U+FFFD.
    pub(super) fn text(self) -> Result<Option<Cow<'a, str>>, Unusable> {
        match self.kind() {
            Kind::Null => Ok(None),
            Kind::Text => {
                let text = unescape(self.0).ok_or(Unusable)?;
                Ok(Some(text).filter(|text| !text.is_empty()))
            }
            _ => Err(Unusable),
        }
    }

    pub(super) fn label(self) -> Result<Option<Arc<str>>, Unusable> {
        Ok(self.text()?.map(|text| label(&text)))
    }

    /// A label that may have been removed: an empty text says so, and null says nothing.
    pub(super) fn name(self) -> Result<Option<Arc<str>>, Unusable> {
        let label = self.label()?;
        Ok(label.or_else(|| (self.kind() == Kind::Text).then(Arc::default)))
    }

    /// A number, or a text that contains one.
    pub(super) fn number(self) -> Result<Option<f64>, Unusable> {
        let text = match self.kind() {
            Kind::Number => Cow::Borrowed(self.0),
            _ => match self.text()? {
                Some(text) => text,
                None => return Ok(None),
            },
        };
        let number: f64 = text.trim().parse().map_err(|_| Unusable)?;
        if number.abs() <= LARGEST_NUMBER { Ok(Some(number)) } else { Err(Unusable) }
    }

    /// Converts milliseconds to seconds, the unit used above this module.
    pub(super) fn seconds_of_ms(self) -> Result<Option<f64>, Unusable> {
        Ok(self.number()?.map(|ms| ms / 1000.0))
    }

    /// A count or a block position, which is never negative.
    pub(super) fn height(self) -> Result<Option<f64>, Unusable> {
        let number = self.number()?;
        if number.is_some_and(|number| number < 0.0) { Err(Unusable) } else { Ok(number) }
    }

    /// A boolean, or a text or digit that means one: databases and templates write them so.
    pub(super) fn flag(self) -> Result<Option<bool>, Unusable> {
        let text = match self.kind() {
            Kind::Boolean | Kind::Number => Cow::Borrowed(self.0),
            _ => match self.text()? {
                Some(text) => text,
                None => return Ok(None),
            },
        };
        match text.trim() {
            "1" => Ok(Some(true)),
            "0" => Ok(Some(false)),
            word if word.eq_ignore_ascii_case("true") => Ok(Some(true)),
            word if word.eq_ignore_ascii_case("false") => Ok(Some(false)),
            _ => Err(Unusable),
        }
    }

    /// An RFC 3339 timestamp as Unix seconds. One at or before the Unix epoch means "no time": Go's zero time is in
    /// year 1.
    pub(super) fn time(self) -> Result<Option<f64>, Unusable> {
        let Some(text) = self.text()? else { return Ok(None) };
        let time: jiff::Timestamp = text.trim().parse().map_err(|_| Unusable)?;
        let seconds = time.as_duration().as_secs_f64();
        if seconds > LATEST_TIME { Err(Unusable) } else { Ok(Some(seconds).filter(|seconds| *seconds > 0.0)) }
    }
}

struct Fields<F>(F);

impl<'de, F: FnMut(&str, Raw<'de>) -> Result<(), Mismatch>> Visitor<'de> for Fields<F> {
    type Value = Result<(), Mismatch>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut result = Ok(());
        while let Some(name) = map.next_key_seed(Text)? {
            if result.is_err() {
                map.next_value::<IgnoredAny>()?;
            } else {
                result = (self.0)(&name, Raw::of(map.next_value()?));
            }
        }
        Ok(result)
    }
}

struct Items<F>(F);

impl<'de, F: FnMut(Raw<'de>) -> Result<(), Mismatch>> Visitor<'de> for Items<F> {
    type Value = Result<(), Mismatch>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut result = Ok(());
        let mut index = 0;
        while let Some(item) = items.next_element::<&RawValue>()? {
            if result.is_ok() {
                result = (self.0)(Raw::of(item)).map_err(|mismatch| mismatch.below(format_args!("[{index}]")));
            }
            index += 1;
        }
        Ok(result)
    }
}

fn unescape(json: &str) -> Option<Cow<'_, str>> {
    Text.deserialize(&mut serde_json::Deserializer::from_str(json)).ok()
}

/// Reads a text as bytes, because only there serde_json tolerates lone surrogates.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<Self::Value, E> {
        Ok(std::str::from_utf8(bytes).map_or_else(|_| Cow::Owned(without_surrogates(bytes)), Cow::Borrowed))
    }

    fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(Cow::Owned(without_surrogates(bytes)))
    }
}

/// serde_json encodes a lone surrogate as three bytes, as UTF-8 would.
fn without_surrogates(bytes: &[u8]) -> String {
    let mut repaired = bytes.to_vec();
    for at in 0..repaired.len().saturating_sub(2) {
        if repaired[at] == 0xed && repaired[at + 1] >= 0xa0 {
            repaired[at..at + 3].copy_from_slice("\u{FFFD}".as_bytes());
        }
    }
    String::from_utf8(repaired).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Raw<'_> {
        Raw::parse(json).unwrap()
    }

    #[test]
    fn numbers_are_finite_possible_and_perhaps_written_as_text() {
        for (json, number) in [
            ("7", 7.0),
            ("-0.5", -0.5),
            ("1e3", 1000.0),
            ("18446744073709551616", 18_446_744_073_709_551_616.0),
            ("\"123\"", 123.0),
            ("\" 1.5e1 \"", 15.0),
            ("-1e24", -1e24),
        ] {
            assert_eq!(raw(json).number(), Ok(Some(number)), "{json}");
        }
        for json in ["null", "\"\""] {
            assert_eq!(raw(json).number(), Ok(None), "{json}");
        }
        for json in ["1e400", "-1e25", "\"NaN\"", "\"inf\"", "\"7 apples\"", "\"0x10\"", "true", "[7]", "{}"] {
            assert_eq!(raw(json).number(), Err(Unusable), "{json}");
        }
    }

    #[test]
    fn a_boolean_may_be_a_text_or_a_digit() {
        for (json, flag) in [("true", true), ("\"True\"", true), ("1", true), ("\"0\"", false), ("false", false)] {
            assert_eq!(raw(json).flag(), Ok(Some(flag)), "{json}");
        }
        for json in ["2", "\"yes\"", "1.0", "[]", "{}"] {
            assert_eq!(raw(json).flag(), Err(Unusable), "{json}");
        }
        assert_eq!(raw("null").flag(), Ok(None));
    }

    #[test]
    fn a_time_before_1970_means_none_and_one_after_2100_is_unusable() {
        for json in ["null", "\"\"", "\"0001-01-01T00:00:00Z\"", "\"1970-01-01T00:00:00Z\"", "\"1969-07-20T20:17:40Z\""]
        {
            assert_eq!(raw(json).time(), Ok(None), "{json}");
        }
        assert_eq!(raw("\"2023-11-07T05:31:56.5+01:00\"").time(), Ok(Some(1_699_331_516.5)));
        assert_eq!(raw("\"2100-01-01T00:00:00Z\"").time(), Ok(Some(LATEST_TIME)));
        for json in [
            "\"yesterday\"",
            "\"2100-01-01T00:00:01Z\"",
            "\"9999-12-31T23:59:59Z\"",
            "\"0000-00-00T00:00:00Z\"",
            "1699335116",
            "[]",
        ] {
            assert_eq!(raw(json).time(), Err(Unusable), "{json}");
        }
    }

    #[test]
    fn lone_surrogates_are_replaced_one_by_one() {
        for (json, text) in [
            (r#""x \ud83d""#, "x \u{FFFD}"),
            (r#""\ud83d\ude80""#, "🚀"),
            (r#""\ude80\ud83d z""#, "\u{FFFD}\u{FFFD} z"),
            (r#""\ud83d\n\ud83d\u0041""#, "\u{FFFD}\n\u{FFFD}A"),
            (r#""퟿ é \ud83d""#, "퟿ é \u{FFFD}"),
        ] {
            assert_eq!(raw(json).text(), Ok(Some(text.into())), "{json}");
        }
    }

    #[test]
    fn each_occurrence_of_a_repeated_field_is_visited() {
        let mut seen = Vec::new();
        let visited = raw(r#"{"a":1,"\ud83d":{"b":[]},"a":null}"#).each_field(|name, value| {
            seen.push((name.to_owned(), value.kind()));
            Ok(())
        });
        assert_eq!(visited, Ok(()));
        assert_eq!(seen, [("a".into(), Kind::Number), ("\u{FFFD}".into(), Kind::Object), ("a".into(), Kind::Null)]);
    }

    #[test]
    fn after_a_mismatch_nothing_more_is_visited() {
        let refuse = |value: Raw<'_>| Err(value.mismatch(Kind::Null));
        let mut visits = 0;
        let fields = raw(r#"{"a":1,"b":"x","c":2}"#).each_field(|_, value| {
            visits += 1;
            if value.kind() == Kind::Text { refuse(value) } else { Ok(()) }
        });
        assert_eq!((fields.unwrap_err().found, visits), (Kind::Text, 2));
        let items = raw(r#"[1,"x",2]"#).each_item(|value| {
            visits += 1;
            if value.kind() == Kind::Text { refuse(value) } else { Ok(()) }
        });
        assert_eq!((items.unwrap_err().path.as_str(), visits), ("[1]", 4));
    }

    #[test]
    fn a_mismatch_names_its_path_and_hides_the_value() {
        let items = raw(r#"[[], "secret"]"#);
        let mismatch = items.each_item(|item| item.each_item(|_| Ok(()))).unwrap_err().below("items");
        assert_eq!(mismatch.to_string(), "items[1]: found text, expected list");
    }
}
