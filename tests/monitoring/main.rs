//! The exporter in the hands of Prometheus and Alertmanager: expositions, rules, dashboards.

#[path = "../common/mod.rs"]
mod common;

mod alerting;
mod dashboards;
mod names;
mod prometheus;
