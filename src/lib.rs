//! Prometheus exporter for GoldRush pipelines: polls the Pipeline REST API, serves `/metrics`.
//!
//! A value's way, and the crate's one direction (nothing below knows what is above it):
//!
//! * [`routes`] responds to scrapers and, with `page`, to people; [`exposition`] writes the text that scrapers read;
//! * [`fleet`] is the picture: what is known of every pipeline, and since when;
//! * [`poll`] asks when something is due and writes the picture, through [`api`], with a [`service_key`].
//!
//! [`http`] is a web server for any exporter, [`rate`] a limit on how often something happens, `settings` reads files of
//! settings; none of them knows what it is used for. [`config`] says what to poll; [`daemon`] wires it all together; [`cli`] and [`run`] are the command line;
//! [`logging`] writes to standard error; [`hardening`] hides the process from its neighbours, [`allocator`] keeps its memory flat.
//! [`simulator`] is a Pipeline API to run against. To add a gauge: one row in `exposition/families.rs`.

pub mod account;
pub mod allocator;
pub mod api;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod events;
pub mod exposition;
mod file_system;
pub mod fleet;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod hardening;
pub mod http;
mod labels;
pub mod logging;
pub mod moment;
mod page;
pub mod poller;
pub mod pulse;
pub mod rate;
pub mod routes;
pub mod run;
pub mod service_key;
mod settings;
pub mod simulator;
pub mod thresholds;
pub mod trouble;
