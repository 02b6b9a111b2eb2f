//! `check` and the page must name the same cause that the metrics count.

use serde_json::Value;

use crate::common::{Exporter, run};
use crate::faults::Expected;
use crate::judge::PIPELINES;
use crate::{Cell, Endpoint};

/// Whether a message leads to the component that failures with this reason are about.
pub fn is_told(said: &str, reason: &str) -> bool {
    // A connection can end before the request or after it.
    let unsent = "the connection was closed before the request was processed";
    said.contains(phrase(reason)) || (reason == "disconnected" && said.contains(unsent))
}

/// What the message for a failure with this reason must contain.
fn phrase(reason: &str) -> &'static str {
    match reason {
        "unauthorized" => "the API returned 401",
        "payment_required" => "the API returned 402: the plan's credits are used up",
        "forbidden" => "the API returned 403: the credential is an API key, not a ServiceKey",
        "not_found" => "the API returned 404: there is no list of pipelines at that address",
        "rate_limited" => "the API returned 429",
        "server_error" => "(server error)",
        "redirect" => "a redirect, which is never followed",
        "unexpected_status" => "which it does not document for this request",
        "foreign_response" => "something between the exporter and GoldRush responded",
        "api_error" => "the API returned error: true",
        "timeout" => "timed out after",
        "disconnected" => "the connection broke before the response was complete",
        "too_large" => "the response is larger than api.max_response_bytes",
        "decode" => "the response is not what the API documents",
        "dns" => "the host of api.base_url has no address",
        "tls" => "the TLS handshake with the host of api.base_url failed",
        "connect" => "cannot connect to the host of api.base_url",
        _ => panic!("a reason without a sentence: {reason}"),
    }
}

/// The account's trouble if its list fails for this reason.
fn kind(reason: &str) -> &'static str {
    match reason {
        "unauthorized" => "key_unauthorized",
        "forbidden" => "key_not_service_key",
        "payment_required" => "payment_required",
        "foreign_response" => "foreign_response",
        _ => "list_failing",
    }
}

/// The exit status of `check` if the list fails for this reason.
fn status(reason: &str) -> i32 {
    match reason {
        "unauthorized" => 3,
        "forbidden" => 4,
        "timeout" | "dns" | "tls" | "connect" | "disconnected" => 5,
        _ => 6,
    }
}

/// `check` leads to the same component, by its message and its exit status.
#[track_caller]
pub fn is_said_by_check(name: &str, reason: &str, settings: &[(String, String)]) {
    let ended = run(&["check"], settings);
    assert!(is_told(&ended.stdout, reason), "{name}: {}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status, Some(status(reason)), "{name}: {}", ended.stdout);
    crate::no_canary(&[ended.stdout, ended.stderr]);
}

/// Checks what the JSON form of the page says about an account whose list fails for this reason.
#[track_caller]
pub fn is_told_of_the_account(exporter: &Exporter, name: &str, account: &str, reason: &str) {
    let report: Value = serde_json::from_slice(&exporter.get("/api/v1/pipelines").body).unwrap();
    let account = named(&report["accounts"], "account", account);
    assert_eq!(account["list_failure"], reason, "{name}: {account:#}");
    let trouble = named(&account["troubles"], "kind", kind(reason));
    let said = trouble["message"].as_str().unwrap();
    let is_about_the_key = matches!(reason, "unauthorized" | "forbidden");
    assert!(if is_about_the_key { said.contains("ServiceKey") } else { is_told(said, reason) }, "{name}: {said}");
}

/// Checks what the JSON form of the page says about lasting faults. Intermittent ones are left out.
pub fn is_on_the_page(exporter: &Exporter, cells: &[Cell]) {
    let report: Value = serde_json::from_slice(&exporter.get("/api/v1/pipelines").body).unwrap();
    let lasting = cells.iter().filter(|cell| match cell.expected() {
        Expected::Failure(_) | Expected::LongPause(_) => true,
        Expected::KeyRefused => cell.endpoint == Endpoint::List,
        Expected::Pause(_) | Expected::Nothing | Expected::Reading(_) => false,
    });
    for cell in lasting {
        let (name, reason) = (format!("{} on {}", cell.fault.name, cell.endpoint), cell.reason().unwrap());
        let account = named(&report["accounts"], "account", &cell.account);
        if cell.endpoint == Endpoint::Usage {
            assert_eq!(account["usage"]["failure"], reason, "{name}: {account:#}");
            continue;
        }
        if cell.endpoint != Endpoint::List {
            let of_account = |pipeline: &&Value| pipeline["account"] == cell.account.as_str();
            let pipelines: Vec<Value> =
                report["pipelines"].as_array().unwrap().iter().filter(of_account).cloned().collect();
            let victim = named(&Value::Array(pipelines), "pipeline_id", PIPELINES[0]);
            assert_eq!(victim["probes"][cell.endpoint.as_str()]["failure"], reason, "{name}: {victim:#}");
            continue;
        }
        is_told_of_the_account(exporter, &name, &cell.account, reason);
    }
}

#[track_caller]
fn named(list: &Value, field: &str, name: &str) -> Value {
    let found = list.as_array().unwrap().iter().find(|entry| entry[field] == name);
    found.unwrap_or_else(|| panic!("no {field} {name} in {list:#}")).clone()
}
