//! Controls a running simulator over HTTP, outside the API's own path. Never shows a key.

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post, put};
use serde_json::{Value, json};

use super::routes::json_answer;
use super::scenario::Scenario;
use super::{App, Simulator};

pub(super) fn routes() -> Router<App> {
    Router::new()
        .route("/simulator", get(show))
        .route("/simulator/scenario/{name}", put(switch))
        .route("/simulator/keys/{key}", put(add))
        .route("/simulator/keys/{key}/revoke", post(revoke))
}

async fn show(State(app): State<App>) -> Response {
    json_answer(StatusCode::OK, &describe(&app.simulator))
}

async fn switch(State(app): State<App>, Path(name): Path<String>) -> Response {
    match name.parse() {
        Ok(scenario) => {
            app.simulator.set_scenario(scenario);
            json_answer(StatusCode::OK, &describe(&app.simulator))
        }
        Err(error) => json_answer(StatusCode::NOT_FOUND, &json!({"error": error})),
    }
}

/// Adds a ServiceKey of the first group, to rehearse a rotation.
async fn add(State(app): State<App>, Path(key): Path<String>) -> Response {
    app.simulator.add_service_key(&key, 0);
    json_answer(StatusCode::OK, &describe(&app.simulator))
}

async fn revoke(State(app): State<App>, Path(index): Path<usize>) -> Response {
    if app.simulator.world(|world, _| world.revoke_key_at(index)) {
        json_answer(StatusCode::OK, &describe(&app.simulator))
    } else {
        json_answer(StatusCode::NOT_FOUND, &json!({"error": "no such key"}))
    }
}

fn describe(simulator: &Simulator) -> Value {
    let scenarios: Vec<_> = Scenario::ALL
        .iter()
        .map(|scenario| json!({"name": scenario.as_str(), "description": scenario.description()}))
        .collect();
    let keys: Vec<_> = simulator
        .world(|world, _| world.revoked_keys())
        .into_iter()
        .enumerate()
        .map(|(index, revoked)| json!({"index": index, "revoked": revoked}))
        .collect();
    json!({
        "scenario": simulator.scenario().as_str(),
        "scenarios": scenarios,
        "keys": keys,
        "requests": simulator.request_counts(),
        "violations": simulator.violations(),
    })
}
