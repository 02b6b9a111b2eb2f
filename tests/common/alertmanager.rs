//! A real Alertmanager, and a receiver of its messages.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use serde_json::{Value, json};

use super::daemon::Daemon;
use super::{PATIENCE, request, send};

/// An Alertmanager process. Dropping it kills it.
pub struct Alertmanager(Daemon);

impl Alertmanager {
    pub fn start(config: &str) -> Self {
        Self(Daemon::start("prometheus-alertmanager", &[("alertmanager.yml", config)], |folder, address| {
            vec![
                format!("--config.file={}", folder.join("alertmanager.yml").display()),
                format!("--storage.path={}", folder.join("data").display()),
                format!("--web.listen-address={address}"),
                "--cluster.listen-address=".to_owned(),
            ]
        }))
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> &str {
        &self.0.address
    }

    /// Its alerts with this name.
    pub fn alerts(&self, name: &str) -> Vec<Value> {
        let path = format!("/api/v2/alerts?filter=alertname%3D%22{name}%22");
        serde_json::from_str(&request(self.address(), "GET", &path, &[]).text()).unwrap()
    }

    /// All its alerts.
    pub fn all_alerts(&self) -> Vec<Value> {
        serde_json::from_str(&request(self.address(), "GET", "/api/v2/alerts", &[]).text()).unwrap()
    }

    /// Sends it an alert with these labels, which ends at this time, or not yet.
    pub fn take(&self, labels: Value, ends_at: Option<jiff::Timestamp>) {
        let mut alert = json!({"labels": labels, "annotations": {"summary": "from the test"}});
        if let Some(ends_at) = ends_at {
            alert["endsAt"] = json!(ends_at.to_string());
        }
        let headers = [("Content-Type", "application/json")];
        let answer = send(self.address(), "POST", "/api/v2/alerts", &headers, json!([alert]).to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
}

/// A message as it arrived.
#[derive(Debug, Clone)]
pub struct Message {
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
    pub body: Value,
}

/// An HTTP server that accepts and keeps every message.
pub struct Receiver {
    /// `127.0.0.1:port`
    pub address: String,
    messages: Messages,
    _runtime: tokio::runtime::Runtime,
}

type Messages = Arc<(Mutex<Vec<Message>>, Condvar)>;

impl Receiver {
    pub fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let messages = Messages::default();
        let router = Router::new().fallback(keep).with_state(messages.clone());
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self { address, messages, _runtime: runtime }
    }

    /// All messages so far.
    pub fn messages(&self) -> Vec<Message> {
        self.messages.0.lock().unwrap().clone()
    }

    /// Waits for a matching message, and returns it.
    #[track_caller]
    pub fn until(&self, what: &str, fits: impl Fn(&Message) -> bool) -> Message {
        let deadline = Instant::now() + PATIENCE;
        let (lock, news) = &*self.messages;
        let mut messages = lock.lock().unwrap();
        loop {
            if let Some(message) = messages.iter().find(|message| fits(message)) {
                return message.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{what}: no such message in {messages:#?}");
            messages = news.wait_timeout(messages, left).unwrap().0;
        }
    }
}

async fn keep(
    State(messages): State<Messages>,
    uri: Uri,
    headers: HeaderMap,
    body: String,
) -> (StatusCode, &'static str) {
    let authorization = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
    let body = serde_json::from_str(&body).unwrap_or(Value::Null);
    messages.0.lock().unwrap().push(Message { path: uri.path().to_owned(), authorization, body });
    messages.1.notify_all();
    // Like PagerDuty's 202 and Slack's "ok". For Alertmanager, any 2xx from a webhook is a success.
    (StatusCode::ACCEPTED, "ok")
}
