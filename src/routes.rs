//! The exporter's HTTP routes: `/metrics`, service discovery, a page for people, health, reload; and their limits.

mod metrics;
mod targets;

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

/// The response of a healthy exporter.
pub const HEALTH: Health = Health { path: "/-/healthy", body: "goldrush-exporter is healthy.\n" };

const READY_PATH: &str = "/-/ready";

/// Service discovery.
pub const TARGETS_PATH: &str = "/sd";

/// Open without a password, because kubelet and load balancers have none.
const OPEN: [&str; 2] = [HEALTH.path, READY_PATH];

/// Maximum concurrent requests for the page and its JSON form: each response is rendered for one reader and may have
/// many megabytes, while scrapes share theirs.
const REPORTS: usize = 4;
/// How many further requests wait: people prefer waiting to retrying.
const WAITING_REPORTS: usize = 32;
/// How long they wait.
const REPORT_WAIT: Duration = Duration::from_secs(5);

/// A request to reload the configuration; the outcome is sent back.
pub type ReloadRequest = oneshot::Sender<Result<(), String>>;

/// The parts of the exporter that the routes use.
#[derive(Debug, Clone)]
pub struct App {
    /// Renders `/metrics`.
    pub exposition: Arc<Exposition>,
    /// Source of the page and of readiness.
    pub fleet: Fleet,
    pub telemetry_path: String,
    /// Maximum bytes per part that service discovery lists.
    pub target_size: usize,
    /// Receives the requests of `POST /-/reload`; `None` without `--web.enable-lifecycle`.
    pub reload: Option<mpsc::Sender<ReloadRequest>>,
}

/// The routes and their limits. At most `max_requests` scrapes are concurrent (0 = unlimited).
pub fn site(app: App, max_requests: usize) -> Site {
    let mut limits = vec![Limit {
        paths: REPORT_PATHS.map(str::to_owned).into(),
        concurrent: REPORTS,
        waiting: WAITING_REPORTS,
        patience: REPORT_WAIT,
        refusal: "Too many concurrent requests for the page and its JSON form.\n",
    }];
    if max_requests > 0 {
        limits.push(Limit {
            paths: vec![app.telemetry_path.clone(), TARGETS_PATH.to_owned()],
            concurrent: max_requests,
            waiting: 0,
            patience: Duration::ZERO,
            refusal: "Too many concurrent scrapes (--web.max-requests).\n",
        });
    }
    Site { router: router(app), realm: "goldrush-exporter", open: &OPEN, limits }
}

fn router(app: App) -> Router {
    let own = [
        (app.telemetry_path.as_str(), get(metrics::respond)),
        (TARGETS_PATH, get(targets::respond)),
        (HEALTH.path, get(async || HEALTH.body)),
        (READY_PATH, get(ready)),
        ("/-/reload", post(reload)),
    ];
    let own = own.map(|(path, route)| (path, route.with_state(app.clone())));
    let page = page::Context { fleet: app.fleet.clone(), telemetry_path: app.telemetry_path.clone() };
    let routes: Vec<_> = own.into_iter().chain(page::routes(&page)).collect();
    let paths: Vec<_> = routes.iter().map(|(path, _)| *path).collect();
    let unknown = format!("Not found. The paths are {}.\n", paths.join(", "));
    let router = routes.into_iter().fold(page::assets(), |router, (path, route)| router.route(path, route));
    router.fallback(async move || (StatusCode::NOT_FOUND, unknown.clone()))
}

async fn ready(State(app): State<App>) -> Response {
    if app.fleet.is_ready(Moment::now()) {
        "goldrush-exporter is ready.\n".into_response()
    } else {
        let waiting = "goldrush-exporter is not ready: the pipelines of an account have not been listed yet.\n";
        (StatusCode::SERVICE_UNAVAILABLE, waiting).into_response()
    }
}

async fn reload(State(app): State<App>) -> Response {
    let Some(sender) = app.reload else {
        return (
            StatusCode::FORBIDDEN,
            "Reloading over HTTP is disabled: start with --web.enable-lifecycle, or send SIGHUP.\n",
        )
            .into_response();
    };
    let (request, outcome) = oneshot::channel();
    if sender.send(request).await.is_err() {
        return (StatusCode::SERVICE_UNAVAILABLE, "The exporter is shutting down.\n").into_response();
    }
    match outcome.await {
        Ok(Ok(())) => "The configuration has been loaded.\n".into_response(),
        Ok(Err(problem)) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            format!("The configuration cannot be loaded, keeping the old one: {problem}\n"),
        )
            .into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "The exporter is shutting down.\n").into_response(),
    }
}
