//! The exporter's routes without sockets, at the simulated moment.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode, header};
use axum::response::Response;
use goldrush_exporter::exposition::Exposition;
use goldrush_exporter::routes::{self, App};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use tokio::runtime::Runtime;

use super::Scene;

/// Moments that the routes read are those of Tokio's clock, which is paused. Their time since boot is always before that of the
/// simulation, so that it says nothing; so until the machine sleeps, ages are what they are in the simulation.
pub struct Served {
    runtime: Runtime,
    routes: Option<TowerToHyperService<axum::Router>>,
}

impl Default for Served {
    fn default() -> Self {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().start_paused(true).max_blocking_threads(1).build();
        Self { runtime: runtime.unwrap_or_else(|error| panic!("{error}")), routes: None }
    }
}

impl Served {
    /// The daemon has been replaced.
    pub fn restart(&mut self) {
        self.routes = None;
    }

    /// Sends requests at this moment.
    pub fn at<'a>(&'a mut self, scene: &Scene) -> impl Fn(&str, &str) -> Result<String, String> + 'a {
        let now = scene.clock.moment().monotonic();
        self.runtime.block_on(async {
            let ahead = now.saturating_duration_since(tokio::time::Instant::now().into_std());
            tokio::time::advance(ahead).await;
        });
        let routes = &*self.routes.get_or_insert_with(|| {
            let fleet = scene.daemon.fleet.clone();
            let app = App {
                // Those that are left out differ from scrape to scrape.
                exposition: Arc::new(Exposition::new(fleet.clone()).without_exporter_metrics()),
                fleet,
                telemetry_path: "/metrics".to_owned(),
                target_size: 1 << 20,
                reload: None,
            };
            TowerToHyperService::new(routes::site(app, 0).router)
        });
        let runtime = &self.runtime;
        move |path, accept| runtime.block_on(get(routes, path, accept)).map_err(|what| format!("GET {path}: {what}"))
    }
}

async fn get(
    routes: &TowerToHyperService<axum::Router>,
    path: &str,
    accept: &str,
) -> Result<String, Box<dyn std::error::Error>> {
    let request = Request::get(path).header(header::ACCEPT, accept).body(Body::empty())?;
    let response: Response = routes.call(request).await?;
    let (status, body) = (response.status(), to_bytes(response.into_body(), usize::MAX).await?);
    let text = String::from_utf8(body.into())?;
    if status == StatusCode::OK { Ok(text) } else { Err(format!("{status} {text}").into()) }
}
