//! One cause, whoever is asked: `check` and the page name what the metrics count.

use serde_json::Value;

use crate::common::Exporter;
use crate::faults::Expected;
use crate::judge::PIPELINES;
use crate::{Cell, Endpoint};

/// What the sentence about a failure of this reason must say.
pub fn phrase(reason: &str) -> &'static str {
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
        _ => panic!("a reason without a sentence: {reason}"),
    }
}

/// The trouble of the account, if its list fails for this reason.
fn kind(reason: &str) -> &'static str {
    match reason {
        "unauthorized" => "key_unauthorized",
        "forbidden" => "key_not_service_key",
        "payment_required" => "payment_required",
        "foreign_response" => "foreign_response",
        _ => "list_failing",
    }
}

/// What the page's JSON form says of faults that last. Those that come and go are left out.
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
        assert_eq!(account["list_failure"], reason, "{name}: {account:#}");
        let trouble = named(&account["troubles"], "kind", kind(reason));
        let is_about_the_key = matches!(reason, "unauthorized" | "forbidden");
        let said = trouble["message"].as_str().unwrap();
        assert!(is_about_the_key || said.contains(phrase(reason)), "{name}: {said}");
    }
}

#[track_caller]
fn named(list: &Value, field: &str, name: &str) -> Value {
    let found = list.as_array().unwrap().iter().find(|entry| entry[field] == name);
    found.unwrap_or_else(|| panic!("no {field} {name} in {list:#}")).clone()
}
