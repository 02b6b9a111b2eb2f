//! Prometheus exporter for GoldRush pipelines.
mod labels;
pub mod api;
pub mod service_key;
pub mod fleet;
