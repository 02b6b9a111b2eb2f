//! What the exporter serves over HTTP: `/metrics`, a page for people, health, reload; and which of it has limits.

mod metrics;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{mpsc, oneshot};

use crate::exposition::Exposition;
use crate::fleet::Fleet;
use crate::http::{Health, Limit, Site};
use crate::moment::Moment;
use crate::page::{self, REPORT_PATHS};

/// What a healthy exporter says.
pub const HEALTH: Health = Health { path: "/-/healthy", body: "goldrush-exporter is healthy.\n" };

const READY_PATH: &str = "/-/ready";

/// Kubelet and load balancers have no password.
const OPEN: [&str; 2] = [HEALTH.path, READY_PATH];

/// Concurrent reports on the fleet: each is made for one reader and may be of many megabytes, unlike a scrape's
/// response, whose pieces are shared.
const REPORTS: usize = 4;
/// Reports that wait for others. A person waits rather than asks again.
const WAITING_REPORTS: usize = 32;
/// How long they wait.
const REPORT_WAIT: Duration = Duration::from_secs(5);

/// A request to load the configuration again; what became of it goes back.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// What the routes work with.
#[derive(Debug, Clone)]
pub struct App {
    /// What `/metrics` shows.
    pub exposition: Arc<Exposition>,
    /// What the page and readiness are read from.
    pub fleet: Fleet,
    /// Where `/metrics` is.
    pub telemetry_path: String,
    /// Whom `POST /-/reload` asks; `None` where `--web.enable-lifecycle` is not set.
    pub reload: Option<mpsc::Sender<ReloadRequest>>,
}

/// The routes and their limits; of scrapes, `max_requests` at once, or any number if it is 0.
pub fn site(app: App, max_requests: usize) -> Site {
    let mut limits = vec![Limit {
        paths: REPORT_PATHS.map(str::to_owned).into(),
        concurrent: REPORTS,
        waiting: WAITING_REPORTS,
        patience: REPORT_WAIT,
        refusal: "As many pages and JSON answers as there may be are being read.\n",
    }];
    if max_requests > 0 {
        limits.push(Limit {
            paths: vec![app.telemetry_path.clone()],
            concurrent: max_requests,
            waiting: 0,
            patience: Duration::ZERO,
            refusal: "As many scrapes as --web.max-requests allows are going on.\n",
        });
    }
    Site { router: router(app), realm: "goldrush-exporter", open: &OPEN, limits }
}

fn router(app: App) -> Router {
    let page = page::routes(app.fleet.clone(), app.telemetry_path.clone());
    Router::new()
        .route(&app.telemetry_path, get(metrics::answer))
        .route(HEALTH.path, get(async || HEALTH.body))
        .route(READY_PATH, get(ready))
        .route("/-/reload", post(reload))
        .with_state(app)
        .merge(page)
}

async fn ready(State(app): State<App>) -> Response {
    if app.fleet.is_ready(Moment::now()) {
        "goldrush-exporter is ready.\n".into_response()
    } else {
        let waiting = "goldrush-exporter is not ready: an account has not been listed yet.\n";
        (StatusCode::SERVICE_UNAVAILABLE, waiting).into_response()
    }
}

async fn reload(State(app): State<App>) -> Response {
    let Some(sender) = app.reload else {
        return (StatusCode::FORBIDDEN, "Reload is off: start with --web.enable-lifecycle, or send SIGHUP.\n")
            .into_response();
    };
    let (request, answer) = oneshot::channel();
    if sender.send(request).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "The exporter is shutting down.\n").into_response();
    }
    match answer.await {
        Ok(Ok(())) => "The configuration has been loaded.\n".into_response(),
        Ok(Err(problem)) => {
            (StatusCode::INTERNAL_SERVER_ERROR, format!("The old configuration stays: {problem}\n")).into_response()
        }
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "The exporter is shutting down.\n").into_response(),
    }
}
