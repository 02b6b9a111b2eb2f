//! A simulated Pipeline REST API to run against: demo, tests and benchmarks share it.
//!
//! [`Simulator`] is the handle: it serves the API, changes the simulated platform, and reports the requests it
//! received. `world` is the model of groups, keys and pipelines, `living` moves a pipeline's numbers, `scenario` and
//! `demo` define what is wrong, `fault` breaks chosen requests, `answers` writes the JSON, `routes` and `control`
//! handle HTTP.

mod answers;
mod catalogue;
mod control;
mod demo;
mod fault;
mod group;
mod identity;
mod journal;
mod living;
mod pipeline;
mod refusal;
mod routes;
mod scenario;
#[cfg(test)]
mod tests;
mod world;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::routing::any;
use axum::serve::ListenerExt;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use tokio::net::TcpListener;
use tokio::time::Instant;

pub use catalogue::PRIVATE_STRINGS;
pub use demo::{DEMO_KEY_PROD, DEMO_KEY_REVOKED, DEMO_KEY_STAGING};
pub use fault::{Fault, FaultMatcher};
pub use group::SimulatedGroup;
pub use journal::{RequestCounts, RequestRecord};
pub use living::Condition;
pub use pipeline::SimulatedPipeline;
pub use scenario::Scenario;

// Tests name the endpoint they mean.
pub use crate::api::Operation as Endpoint;

use fault::Faults;
use journal::Journal;
use world::World;

/// The path of the API, as in the real service's base URL.
pub const BASE_PATH: &str = "/platform/pipeline-api/";
/// The path of the account's usage, next to the API.
pub const USAGE_PATH: &str = "/platform/usage/";

/// The initial settings of a [`Simulator`]. No `Debug`, because it contains a key.
#[derive(Clone)]
pub struct Options {
    /// Pipelines per group, and so per list. [`Scenario::Demo`] has its own.
    pub pipelines: usize,
    /// Number of groups. [`Scenario::Demo`] has its own.
    pub groups: usize,
    /// The initial scenario.
    pub scenario: Scenario,
    /// The maximum `page_size`: a greater one is clamped to it.
    pub max_page_size: usize,
    /// The latency of each response.
    pub latency: Duration,
    /// Ids are the same for the same seed.
    pub seed: u64,
    /// The ServiceKey of the first group: key 0.
    pub service_key: String,
    /// The host name of a proxy in front of the simulator, if any: requests may name that host.
    pub front: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pipelines: 20,
            groups: 2,
            scenario: Scenario::Healthy,
            max_page_size: 100,
            latency: Duration::ZERO,
            seed: 1,
            service_key: "sk_simulated_0000000000000000".to_owned(),
            front: None,
        }
    }
}

/// A simulated platform. Cheap to clone: clones share the platform.
#[derive(Clone)]
pub struct Simulator(Arc<Inner>);

struct Inner {
    /// Tokio's clock, so that a test can pause it.
    started: Instant,
    max_page_size: usize,
    latency: Duration,
    front: Option<String>,
    world: Mutex<World>,
    journal: Mutex<Journal>,
    faults: Mutex<Faults>,
}

/// Ends responses that would otherwise never end when their server stops.
type Stop = Shared<BoxFuture<'static, ()>>;

#[derive(Clone)]
struct App {
    simulator: Simulator,
    stop: Stop,
    /// The server's address, if known: requests should name this host.
    address: Option<SocketAddr>,
}

impl Simulator {
    /// Creates the platform; serves nothing yet.
    pub fn new(options: Options) -> Self {
        let groups = match options.scenario {
            Scenario::Demo => 0,
            _ => options.groups,
        };
        let mut world = World::new(options.seed, groups, options.pipelines);
        world.add_service_key(&options.service_key, 0);
        world.set_scenario(Duration::ZERO, options.scenario);
        Self(Arc::new(Inner {
            started: Instant::now(),
            max_page_size: options.max_page_size.max(1),
            latency: options.latency,
            front: options.front,
            world: Mutex::new(world),
            journal: Mutex::default(),
            faults: Mutex::default(),
        }))
    }

    /// Serves the API and its control on this listener until `shutdown`, which also ends requests that hang. The same
    /// simulator can be served again afterwards.
    pub async fn serve(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let stop = shutdown.boxed().shared();
        let address = listener.local_addr().ok();
        // A response of several packets must not wait for the client's delayed acknowledgement.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "no TCP_NODELAY");
            }
        });
        axum::serve(listener, self.routes(stop.clone(), address)).with_graceful_shutdown(stop).await
    }

    fn routes(&self, stop: Stop, address: Option<SocketAddr>) -> Router {
        control::routes()
            .route(BASE_PATH, any(routes::api))
            .route(&format!("{BASE_PATH}{{*rest}}"), any(routes::api))
            .route(USAGE_PATH, any(routes::api))
            .fallback(routes::elsewhere)
            .with_state(App { simulator: self.clone(), stop, address })
    }

    /// Switches the scenario; [`Scenario::Healthy`] repairs everything. The first switch to [`Scenario::Demo`] replaces
    /// the fleet with the demo's, which then stays.
    pub fn set_scenario(&self, scenario: Scenario) {
        self.world(|world, now| world.set_scenario(now, scenario));
    }

    pub fn scenario(&self) -> Scenario {
        self.world(|world, _| world.scenario())
    }

    /// Adds a ServiceKey for a group, with the next index. Adding a revoked key again makes it valid.
    pub fn add_service_key(&self, key: &str, group: usize) {
        self.world(|world, _| world.add_service_key(key, group));
    }

    /// Adds a regular API key, which gets 403, with the next index.
    pub fn add_read_only_key(&self, key: &str) {
        self.world(|world, _| world.add_read_only_key(key));
    }

    /// Revokes a key: from now on it gets 401.
    pub fn revoke_key(&self, key: &str) {
        self.world(|world, _| world.revoke_key(key));
    }

    /// The ids of a group's pipelines, in list order.
    pub fn pipeline_ids(&self, group: usize) -> Vec<String> {
        self.world(|world, _| world.pipeline_ids(group))
    }

    /// Changes the pipeline with this id, if it exists. `f` must not call the simulator.
    pub fn update_pipeline(&self, id: &str, f: impl FnOnce(&mut SimulatedPipeline)) {
        self.world(|world, now| world.update_pipeline(now, id, f));
    }

    /// Adds a pipeline at the end of its group's list; one with the same id is replaced.
    pub fn add_pipeline(&self, pipeline: SimulatedPipeline) {
        self.world(|world, now| world.add_pipeline(now, pipeline));
    }

    /// Deletes a pipeline: from now on it gets 404.
    pub fn remove_pipeline(&self, id: &str) {
        self.world(|world, _| world.remove_pipeline(id));
    }

    /// Restarts a pipeline's worker: its counts fall back to 0.
    pub fn restart_worker(&self, id: &str) {
        self.world(|world, now| world.restart_worker(now, id));
    }

    /// Changes the group with this index, if it exists. `f` must not call the simulator.
    pub fn update_group(&self, group: usize, f: impl FnOnce(&mut SimulatedGroup)) {
        self.world(|world, _| world.update_group(group, f));
    }

    /// Applies a fault to all matching requests from now on; `None` removes it. If several faults match, the last one
    /// set applies.
    pub fn set_fault(&self, matcher: FaultMatcher, fault: Option<Fault>) {
        lock(&self.0.faults).set(matcher, fault);
    }

    /// The last 10,000 requests to paths of the API, oldest first.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.journal().requests()
    }

    /// How many requests have arrived since the start.
    pub fn request_counts(&self) -> RequestCounts {
        self.journal().counts()
    }

    /// What an exporter must never do, but did: use a verb other than GET, request a path that is not an endpoint or
    /// with a query that the endpoint does not have, name another host, or send a body, no Authorization header or
    /// several. Only the first 1,000 are kept.
    pub fn violations(&self) -> Vec<String> {
        self.journal().violations()
    }

    fn elapsed(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Calls `f` with the locked world and the current time.
    fn world<T>(&self, f: impl FnOnce(&mut World, Duration) -> T) -> T {
        let mut world = lock(&self.0.world);
        // Read under the lock, so that time never runs backwards in the world.
        f(&mut world, self.elapsed())
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.0.journal)
    }

    fn find_fault(&self, endpoint: Option<Endpoint>, pipeline: Option<&str>) -> Option<Fault> {
        lock(&self.0.faults).find(endpoint, pipeline)
    }
}

/// A test that panics while it holds a lock must not break every other response.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
