//! The exporter's web server and what it serves.

#[path = "../common/mod.rs"]
mod common;

mod browser;
mod certificates;
mod http;
mod listen;
mod page;
mod server_limits;
mod toolkit;
mod web_config;
