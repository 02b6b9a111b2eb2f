use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::super::error::Said;
use super::super::list::ListPage;
use super::super::readings::PipelineMetrics;
use super::*;
use crate::api::{Reason, UnknownField};

fn head(status: u16, headers: &[(&'static str, &'static str)]) -> Head {
    let header =
        |(name, value): &(&'static str, &'static str)| (HeaderName::from_static(name), HeaderValue::from_static(value));
    Head::of(status, &headers.iter().map(header).collect::<HeaderMap>())
}

fn metrics(body: impl AsRef<[u8]>) -> Result<Option<PipelineMetrics>, Error> {
    open(&head(200, &[]), body.as_ref())
}

fn decode(body: &str) -> String {
    match metrics(body) {
        Err(Error::Decode(text)) => text,
        other => panic!("{body}: {other:?}"),
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
fn an_unusable_value_costs_only_itself_and_is_counted() {
    for value in ["true", "\"postgres://u:p@h, expected x\"", "1e400", "NaN", "-Infinity", "{\"a\":[]}", "[[[[7]]]]"] {
        let read = metrics(format!(r#"{{"data":{{"pending_records":{value},"last_offset":1}}}}"#)).unwrap().unwrap();
        assert_eq!((read.pending_records, read.last_offset), (None, Some(1.0)), "{value}");
        assert_eq!(read.unknown_fields().collect::<Vec<_>>(), [UnknownField::PendingRecords], "{value}");
    }
}

#[test]
fn private_fields_are_skipped_whatever_they_contain() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies: [Vec<u8>; 4] = [
        b"{\"data\":{\"description\":\"caf\xe9\",\"last_offset\":1}}".to_vec(),
        b"{\"data\":{\"description\":\"\\ud83d \\q \x01\n\",\"last_offset\":1}}".to_vec(),
        format!(r#"{{"data":{{"transforms":{deep},"last_offset":1}}}}"#).into_bytes(),
        b"\xef\xbb\xbf{\"data\":{\"\xff\\ud800\":1,\"last_offset\":2,\"last_offset\":1}}".to_vec(),
    ];
    for body in bodies {
        let expected = PipelineMetrics { last_offset: Some(1.0), ..PipelineMetrics::default() };
        assert_eq!(metrics(&body), Ok(Some(expected)), "{}", String::from_utf8_lossy(&body[..40]));
    }
}

#[test]
fn the_envelope_and_ids_are_strict() {
    assert_eq!(decode(r#"{"data":{},"error":"secret"}"#), "error: found text, expected boolean");
    assert_eq!(decode(r#"{"data":["secret"],"error":false}"#), "data: found list, expected object");
    assert_eq!(decode("[]"), "the body: found list, expected object");
    assert_eq!(decode("{}"), "data: missing from the envelope");
    assert_eq!(decode(""), "the body is empty");
    assert_eq!(decode(r#"{"data":{"#), "the JSON ends too early");
    assert_eq!(decode(r#"{"data":{"a":n}}"#), "not JSON at line 1, column 15");
    assert!(decode(r#"{"data":{}} trailing"#).contains("not JSON"));
    assert!(decode(&format!(r#"{{"data":{}{}}}"#, "[".repeat(100_000), "]".repeat(100_000))).starts_with("data"));
    let page = open::<ListPage>(&head(200, &[]), br#"{"data":{"items":[{"id":"a"},{"id":7}]}}"#);
    assert_eq!(page, Err(Error::Decode("data.items[1].id: found number, expected text".to_owned())));
}

#[test]
fn undocumented_names_are_not_shown() {
    for body in [r#"{"canary@x":n}"#, r#"{"data":{"canary@x":n}}"#, r#"{"data":{"canary@x":"#] {
        assert!(!decode(body).contains("canary"), "{}", decode(body));
    }
}

/// The error that an envelope with `error: true` means.
fn refused(status: u16, code: &str) -> Error {
    let body = format!(r#"{{"data":"?","error":true,"error_message":"no host db7","error_code":{code}}}"#);
    open::<PipelineMetrics>(&head(status, &[]), body.as_bytes()).unwrap_err()
}

#[test]
fn error_codes_override_any_status_and_the_message_is_kept_redacted() {
    let said = || Said::in_envelope("no host [redacted]");
    for status in [200, 400, 418, 500] {
        for code in ["401", "\"401\""] {
            assert_eq!(refused(status, code), Error::Unauthorized(said()), "{status} {code}");
        }
        assert_eq!(refused(status, "\"402\""), Error::PaymentRequired(said()), "{status}");
        assert_eq!(refused(status, "404"), Error::NotFound(said()), "{status}");
    }
    assert_eq!(refused(403, "\"E1\""), Error::Forbidden(said()));
    assert_eq!(refused(422, "null"), Error::UnexpectedStatus { status: 422, said: said() });
    for code in ["500", "\"500\""] {
        let error = Error::ApiError { code: "500".into(), message: "no host [redacted]".into() };
        assert_eq!(refused(200, code), error);
    }
    assert!(refused(200, "null").to_string().contains("error_code none"));
    assert!(refused(200, "123456789").to_string().contains("error_code 123456789"));
    for long_or_no_number in ["1234567890", &"7".repeat(1_000), "\"1234567x\""] {
        let error = refused(200, long_or_no_number).to_string();
        assert!(error.contains("error_code [redacted]"), "{error}");
    }
    let without_data = open::<PipelineMetrics>(&head(401, &[]), br#"{"error":true,"error_message":"expired \ud83d"}"#);
    assert_eq!(without_data, Err(Error::Unauthorized(Said::in_envelope("expired [redacted]"))));
}

#[test]
fn a_status_is_the_apis_only_in_its_envelope_or_without_a_body() {
    let html = [("content-type", "text/html; charset=utf-8"), ("server", "cloudflare")];
    for status in [401, 402, 403, 404, 429, 400, 410, 418, 206] {
        for body in [
            "<html>Attention Required!",
            "default backend - 404",
            r#"{"message":"Forbidden"}"#,
            r#"{"error":"forbidden"}"#,
            r#"{"error":true}"#,
            "[]",
            "\"no\"",
        ] {
            let error = open::<PipelineMetrics>(&head(status, &html), body.as_bytes()).unwrap_err();
            assert_eq!(error.reason(), Reason::ForeignResponse, "{status} {body}");
            assert!(error.to_string().contains("HTML") && error.to_string().contains("cloudflare"), "{error}");
        }
        let of = |body: &str| open::<PipelineMetrics>(&head(status, &[]), body.as_bytes()).unwrap_err().reason();
        let empty = Error::of_status(status).unwrap().reason();
        assert_eq!((of(""), of(" \n")), (empty, empty), "{status}");
        assert_eq!(of(r#"{"data":null,"error":true}"#), empty, "{status}");
    }
    let of_200 = |body: &str| open::<PipelineMetrics>(&head(200, &html), body.as_bytes()).unwrap_err().reason();
    assert_eq!(of_200("<!doctype html><p>Sign in"), Reason::ForeignResponse);
    assert_eq!(of_200("\"ok\""), Reason::ForeignResponse);
    assert_eq!(of_200("{\"message\":\"ok\"}"), Reason::Decode);
    for status in [500, 502, 503] {
        let error = open::<PipelineMetrics>(&head(status, &html), b"<html>").unwrap_err();
        assert_eq!(error.reason(), Reason::ServerError, "{status}");
    }
    assert_eq!(open::<PipelineMetrics>(&head(302, &html), b"<html>").unwrap_err().reason(), Reason::Redirect);
}

#[test]
fn a_429_a_503_or_a_foreign_response_can_ask_for_a_pause() {
    let wait = |status, body: &str| {
        let head = head(status, &[("retry-after", "20")]);
        open::<PipelineMetrics>(&head, body.as_bytes()).unwrap_err().retry_after().map(|wait| wait.as_secs())
    };
    assert_eq!((wait(429, ""), wait(503, "<html>"), wait(429, "<html>")), (Some(20), Some(20), Some(20)));
    assert_eq!(wait(404, ""), None);
}
