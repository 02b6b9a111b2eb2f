//! What the exporter answers over HTTP: `/metrics`, a page for people, health, reload.
//!
//! A connection's way: `listen`, `server` (with `activity`, who is too slow, and `access`, what
//! `--web.config.file` asks for), `gate` (which request is let in), the routes.

mod access;
mod activity;
mod auth;
mod config;
mod gate;
mod healthcheck;
mod listen;
mod metrics;
mod page;
mod server;
mod tls;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::sync::{mpsc, oneshot};

use crate::exposition::Exposition;
use crate::fleet::Fleet;
use crate::moment::Moment;

pub use access::Access;
pub use healthcheck::{Unhealthy, healthcheck};
pub use listen::{ListenError, listen, systemd_sockets};
pub use server::Server;

/// What `/-/healthy` answers.
const HEALTHY: &str = "goldrush-exporter is healthy.\n";

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

/// The routes.
pub fn router(app: App) -> Router {
    Router::new()
        .merge(page::routes())
        .route(&app.telemetry_path, get(metrics::answer))
        .route("/-/healthy", get(async || HEALTHY))
        .route("/-/ready", get(ready))
        .route("/-/reload", post(reload))
        .with_state(app)
}

/// Puts a changed `--web.config.file` into effect, as long as it is polled.
pub async fn keep_access_current(access: Arc<Access>, exposition: Arc<Exposition>) {
    access.watch(|in_use| exposition.own.note_web_config(in_use)).await;
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
