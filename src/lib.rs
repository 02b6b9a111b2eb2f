//! Prometheus exporter for GoldRush pipelines: polls the Pipeline REST API, serves `/metrics`.
//!
//! The path of a value through the crate, top down (no module knows the ones above it):
//!
//! * [`routes`] serves scrapers and, with `page`, people; [`exposition`] writes the text that scrapers read;
//! * [`trouble`] judges what is wrong, from what [`account`] knows;
//! * [`fleet`] holds all accounts, each under its lock;
//! * [`poller`] drives one account: it sends the requests that [`account`] chooses through [`api`], with a
//!   [`service_key`], hands the responses back, and turns `events` into log lines;
//! * [`account`] holds the state of one account and decides what to do, without I/O and without a clock. It decides,
//!   for example, what a 401 leads to.
//!
//! [`config`] says what to poll, and [`thresholds`] when something is wrong; `daemon` wires everything together;
//! [`cli`] and [`commands`] are the command line; [`simulator`] is a Pipeline API to run against.
//!
//! The base modules depend on none of these: [`http`] is a web server for any exporter, `rate` a rate limiter, [`moment`]
//! a time on three clocks, `settings` reads settings files strictly, `file_system` and `output` read and write without
//! blocking the runtime, [`logging`] writes to standard error, `hardening` protects the process's memory, and
//! [`allocator`] keeps its memory flat.
//!
//! To add a gauge: one row in `exposition/families.rs`. To add a kind of trouble: one row in `trouble/kinds.rs` and one
//! function in `trouble/judge.rs`.

pub mod account;
pub mod allocator;
pub mod api;
pub mod cli;
pub mod commands;
pub mod config;
mod daemon;
mod events;
pub mod exposition;
mod file_system;
pub mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hardening;
pub mod http;
mod labels;
pub mod logging;
pub mod moment;
mod output;
mod page;
pub mod poller;
mod pulse;
mod rate;
pub mod routes;
pub mod service_key;
mod settings;
pub mod simulator;
pub mod thresholds;
pub mod trouble;
