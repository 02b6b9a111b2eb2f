//! `/sd`: the targets of this exporter, for Prometheus's HTTP service discovery.

use axum::extract::State;
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use super::App;
use crate::exposition::Part;

/// Distinguishes the parts of one exporter, which have the same address.
const LABEL: &str = "part";

pub(super) async fn respond(State(app): State<App>, uri: Uri, headers: HeaderMap) -> Response {
    let Some(address) = address(&uri, &headers) else {
        let expected = "The Host header is missing or invalid (expected the address that scrapers reach, such as exporter:9877).\n";
        return (StatusCode::BAD_REQUEST, expected).into_response();
    };
    match app.exposition.parts(app.target_size).await {
        Ok(parts) => {
            let targets = parts.iter().map(|part| target(&address, &app.telemetry_path, part));
            let json = Value::from_iter(targets).to_string();
            ([(header::CONTENT_TYPE, "application/json")], json).into_response()
        }
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "The metrics could not be written.\n").into_response(),
    }
}

fn target(address: &str, path: &str, part: &Part) -> Value {
    let mut labels = Map::from_iter([("__metrics_path__".to_owned(), path.into())]);
    if let Some((parameter, value)) = part.parameter() {
        labels.insert(LABEL.to_owned(), value.as_str().into());
        labels.insert(format!("__param_{parameter}"), value.into());
    }
    json!({ "targets": [address], "labels": labels })
}

/// The address in the request: if service discovery reaches the exporter there, scrapes do, too.
fn address(uri: &Uri, headers: &HeaderMap) -> Option<String> {
    // HTTP/2 has it in the request target.
    let authority = match uri.authority() {
        Some(authority) => authority.clone(),
        None => {
            let mut hosts = headers.get_all(header::HOST).iter();
            let host = hosts.next().filter(|_| hosts.next().is_none())?;
            host.to_str().ok()?.parse::<Authority>().ok()?
        }
    };
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    (!authority.host().is_empty() && authority.as_str().chars().all(is_plain)).then(|| authority.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_that_of_the_request() {
        let of = |host: &str| {
            address(&"/sd".parse().unwrap(), &[(header::HOST, host.parse().unwrap())].into_iter().collect())
        };
        for host in ["exporter:9877", "10.0.0.1:9877", "[::1]:9877", "exporter.example.org"] {
            assert_eq!(of(host).as_deref(), Some(host));
        }
        for host in ["", ":9877", "user@exporter:9877", "a b", "exporter/x", "exporter?x", "{{host}}", "a,b"] {
            assert_eq!(of(host), None, "{host}");
        }
        assert_eq!(address(&"/sd".parse().unwrap(), &HeaderMap::new()), None);
        let http2 = address(&"https://exporter:9877/sd".parse().unwrap(), &HeaderMap::new());
        assert_eq!(http2.as_deref(), Some("exporter:9877"));
    }
}
