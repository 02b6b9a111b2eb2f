//! The exporter as a process: what it asks the API, what it shows of the answers, and what it does when something goes wrong.

#[path = "../common/mod.rs"]
mod common;

mod blocked_output;
mod command_line;
mod foreign;
mod goes_wrong;
mod model;
mod other_api;
mod paging;
mod refusals;
mod secrets;
mod service_keys;
mod sharding;
mod smoke;
mod time;
