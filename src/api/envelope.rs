//! Takes `data` out of the envelope that every answer of the API comes in.

use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::error::Error;
use super::redact::redact;

/// `{"data": …, "error": false, "error_message": null, "error_code": null}` (Pipeline REST API, Error Handling).
#[derive(Deserialize)]
struct Envelope<'a> {
    /// Left unread until it is clear that this is no error, whose `data` can be anything.
    #[serde(borrow, default, deserialize_with = "even_null")]
    data: Option<&'a RawValue>,
    error: Option<bool>,
    #[serde(borrow)]
    error_message: Option<&'a RawValue>,
    #[serde(borrow)]
    error_code: Option<&'a RawValue>,
}

/// Reads the `data` of a successful answer; `Ok(None)` where it is null. `retry_after` is what its header asks for.
pub(super) fn open<T: DeserializeOwned>(body: &[u8], retry_after: Option<Duration>) -> Result<Option<T>, Error> {
    let envelope: Envelope = parse(body, "")?;
    if envelope.error == Some(true) {
        return Err(refusal(&envelope, retry_after));
    }
    let data = envelope.data.ok_or_else(|| Error::Decode("data: missing from the envelope".to_owned()))?;
    parse(data.get().as_bytes(), "data.")
}

/// Keeps `"data": null` apart from no `data` at all, which is no envelope.
fn even_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// An `error_code` of 401, 403, 404 or 429 means what the HTTP status of that number means.
fn refusal(envelope: &Envelope, retry_after: Option<Duration>) -> Error {
    let code = text(envelope.error_code);
    let same_as_status = code.parse().ok().filter(|code| matches!(code, 401 | 403 | 404 | 429));
    same_as_status.and_then(|status| Error::from_status(status, retry_after)).unwrap_or_else(|| Error::ApiError {
        code: match code.as_str() {
            "" => "none".to_owned(),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => code,
            text => redact(text),
        },
        message: redact(&text(envelope.error_message)),
    })
}

/// A string or a number, as text.
fn text(raw: Option<&RawValue>) -> String {
    let raw = raw.map(RawValue::get).unwrap_or_default();
    serde_json::from_str::<String>(raw).unwrap_or_else(|_| raw.to_owned())
}

fn parse<'a, T: Deserialize<'a>>(json: &'a [u8], prefix: &str) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let complaint = complaint(error.inner());
        // Only the path of a wrong type consists of documented names: what is no JSON may stand behind any name.
        match (error.inner().is_data(), prefix) {
            (true, prefix) => Error::Decode(format!("{prefix}{}: {complaint}", error.path())),
            (false, "") => Error::Decode(complaint),
            (false, prefix) => Error::Decode(format!("{}: {complaint}", prefix.trim_end_matches('.'))),
        }
    })?;
    let trailing = deserializer.end();
    trailing.map_err(|error| Error::Decode(complaint(&error)))?;
    Ok(value)
}

/// serde_json's complaint without the value it quotes, which can be anything the body holds.
fn complaint(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let text = error.to_string();
    match error.classify() {
        Category::Data => {
            let expected = text.rsplit_once(", expected ").map_or("", |(_, expected)| expected);
            let expected = expected.split_once(" at line ").map_or(expected, |(expected, _)| expected);
            let found = text.strip_prefix("invalid type: ").unwrap_or_default();
            let found = found.split(['"', '`', ',']).next().unwrap_or_default().trim();
            match (found, expected) {
                ("", "") => "not of the documented type".to_owned(),
                ("", expected) => format!("expected {expected}"),
                (found, expected) => format!("found {found}, expected {expected}"),
            }
        }
        Category::Syntax => format!("not JSON at line {}, column {}", error.line(), error.column()),
        Category::Eof => "the JSON ends too early".to_owned(),
        Category::Io => "not readable".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::{ListPage, Phase, PipelineMetrics, Status};
    use super::*;

    fn metrics(body: &str) -> Result<Option<PipelineMetrics>, Error> {
        open(body.as_bytes(), None)
    }

    fn decode(body: &str) -> String {
        match metrics(body) {
            Err(Error::Decode(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn numbers_are_integers_or_fractions_and_null_missing_and_unknown_fields_are_fine() {
        let read = metrics(
            r#"{"data":{"records_consumed":12,"last_offset":-1,"pending_records":0.5,"last_block_height":null,
                "new_field":{"a":[1]}},"error":false,"error_message":null,"error_code":null,"more":1}"#,
        );
        let expected = PipelineMetrics {
            records_consumed: Some(12.0),
            last_offset: Some(-1.0),
            pending_records: Some(0.5),
            ..PipelineMetrics::default()
        };
        assert_eq!(read, Ok(Some(expected)));
        assert_eq!(metrics(r#"{"data":{}}"#), Ok(Some(PipelineMetrics::default())));
        assert_eq!(metrics(r#"{"data":null,"error":null}"#), Ok(None));
    }

    #[test]
    fn a_wrong_type_is_a_failure_that_names_the_field_and_hides_the_value() {
        assert_eq!(
            decode(r#"{"data":{"pending_records":"postgres://u:p@h, expected x"}}"#),
            "data.pending_records: found string, expected f64"
        );
        assert_eq!(decode(r#"{"data":{"pending_records":true}}"#), "data.pending_records: found boolean, expected f64");
        assert_eq!(decode(r#"{"data":{},"error":"secret"}"#), "error: found string, expected a boolean");
        let page = open::<ListPage>(br#"{"data":{"items":[{"id":"a"},{"id":7}]}}"#, None);
        assert_eq!(page, Err(Error::Decode("data.items[1].id: found integer, expected a string".to_owned())));
    }

    #[test]
    fn what_is_no_envelope_is_a_decode_failure() {
        assert_eq!(decode("<html>"), "not JSON at line 1, column 1");
        assert_eq!(decode(""), "the JSON ends too early");
        assert_eq!(decode("{}"), "data: missing from the envelope");
        assert!(decode(r#"{"data":{"pending_records":1e400}}"#).starts_with("data: not JSON"));
        assert!(decode(r#"{"data":{"pending_records":NaN}}"#).contains("not JSON"));
        assert!(decode(r#"{"data":{}} trailing"#).contains("not JSON"));
        assert!(decode(&format!(r#"{{"data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000))).starts_with("data"));
    }

    #[test]
    fn names_that_are_not_documented_are_not_shown() {
        for body in [r#"{"canary@x":n}"#, r#"{"data":{"canary@x":n}}"#, r#"{"data":{"canary@x":"#] {
            assert!(!decode(body).contains("canary"), "{}", decode(body));
        }
    }

    #[test]
    fn an_error_in_a_success_is_a_failure_whatever_data_holds() {
        let refused = |code: &str| {
            metrics(&format!(r#"{{"data":"?","error":true,"error_message":"no host db7","error_code":{code}}}"#))
        };
        assert_eq!(refused("\"401\""), Err(Error::Unauthorized));
        assert_eq!(refused("401"), Err(Error::Unauthorized));
        assert_eq!(refused("404"), Err(Error::NotFound));
        for code in ["500", "\"500\""] {
            let error = Error::ApiError { code: "500".into(), message: "no host [redacted]".into() };
            assert_eq!(refused(code), Err(error));
        }
        let error = Error::ApiError { code: "none".into(), message: "no host [redacted]".into() };
        assert_eq!(refused("null"), Err(error));
    }

    #[test]
    fn a_new_phase_is_unknown_and_an_empty_one_is_none() {
        let phase = |text: &str| {
            let body = format!(r#"{{"data":{{"status":{text},"start_time":"yesterday"}}}}"#);
            open::<Status>(body.as_bytes(), None).unwrap().unwrap()
        };
        assert_eq!(phase("\"RUNNING\"").phase, Some(Phase::Running));
        assert_eq!(phase("\"CRASHED\"").phase, Some(Phase::Unknown));
        assert_eq!(phase("\"\"").phase, None);
        assert_eq!(phase("null").phase, None);
        assert_eq!(phase("null").unknown_fields().count(), 1, "the start time");
        assert_eq!(phase("null").start_time(), None);
    }
}
