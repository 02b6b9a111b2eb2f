//! Unwraps `data` from the envelope of every API response.

use super::error::Error;
use super::head::Head;
use super::lenient::{Kind, Raw, Record};
use super::redact::redact;
use super::repair::repair;

/// `{"data": …, "error": false, "error_message": null, "error_code": null}` (Pipeline REST API, Error Handling).
#[derive(Default)]
struct Envelope<'a> {
    /// Not parsed until it is clear that this is not an error, whose `data` can be anything.
    data: Option<Raw<'a>>,
    error: Option<bool>,
    error_message: Option<Raw<'a>>,
    error_code: Option<Raw<'a>>,
}

/// Reads the `data` of a successful response (`Ok(None)` if it is null), or works out which error the response means.
pub(super) fn open<T: Record>(head: &Head, body: &[u8]) -> Result<Option<T>, Error> {
    // Invalid UTF-8 becomes U+FFFD here, for all texts. A valid body is not copied.
    let text = String::from_utf8_lossy(body);
    let start = text.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '\u{FEFF}');
    if start.is_empty() {
        return Err(head.bare());
    }
    let repaired;
    let mut parsed = Raw::parse(&text);
    if parsed.is_err()
        && let Some(text) = repair(&text)
    {
        repaired = text;
        parsed = Raw::parse(&repaired);
    }
    let envelope = parsed.map_err(|error| complaint(&error)).and_then(Envelope::of);
    match envelope {
        Ok(envelope) if head.status == 200 && envelope.error != Some(true) => envelope.data().map_err(Error::Decode),
        Ok(envelope) if head.status == 200 || envelope.is_whole() => Err(envelope.refusal(head)),
        Err(complaint) if head.status == 200 && start.starts_with(['{', '[']) => Err(Error::Decode(complaint)),
        Ok(_) | Err(_) => Err(head.foreign()),
    }
}

impl<'a> Envelope<'a> {
    fn of(body: Raw<'a>) -> Result<Self, String> {
        let mut envelope = Self::default();
        let read = body.each_field(|name, value| {
            match name {
                "data" => envelope.data = Some(value),
                "error" => {
                    envelope.error = match value.kind() {
                        Kind::Null => None,
                        Kind::Boolean => value.flag().unwrap_or_default(),
                        _ => return Err(value.mismatch(Kind::Boolean).below("error")),
                    };
                }
                "error_message" => envelope.error_message = Some(value),
                "error_code" => envelope.error_code = Some(value),
                _ => {}
            }
            Ok(())
        });
        read.map_err(|mismatch| mismatch.to_string())?;
        Ok(envelope)
    }

    /// Whether this is certainly the API's envelope: other JSON may have an `error` field, too.
    fn is_whole(&self) -> bool {
        self.error.is_some() && (self.data.is_some() || self.error_message.is_some() || self.error_code.is_some())
    }

    fn data<T: Record>(&self) -> Result<Option<T>, String> {
        let data = self.data.ok_or_else(|| "data: missing from the envelope".to_owned())?;
        match data.kind() {
            Kind::Null => Ok(None),
            _ => T::read(data).map(Some).map_err(|mismatch| mismatch.below("data").to_string()),
        }
    }

    fn refusal(&self, head: &Head) -> Error {
        let code = text(self.error_code);
        let redacted = match code.as_str() {
            "" => "none".to_owned(),
            digits if digits.bytes().all(|byte| byte.is_ascii_digit()) => code.clone(),
            text => redact(text),
        };
        head.refused(&code, redacted, redact(&text(self.error_message)))
    }
}

/// A text, or the JSON of any other value; empty for null.
fn text(raw: Option<Raw<'_>>) -> String {
    let Some(raw) = raw else { return String::new() };
    match raw.text() {
        Ok(text) => text.unwrap_or_default().into_owned(),
        Err(_) => raw.json().to_owned(),
    }
}

/// Where the body stops being JSON. Contains nothing of the body itself.
fn complaint(error: &serde_json::Error) -> String {
    if error.is_eof() {
        "the JSON ends too early".to_owned()
    } else {
        format!("not JSON at line {}, column {}", error.line(), error.column())
    }
}

#[cfg(test)]
mod tests;
