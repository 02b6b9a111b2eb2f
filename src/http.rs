//! A web server for an exporter: limits, TLS, passwords, and `--web.config.file` in exporter-toolkit's format.
//!
//! Nothing here knows which exporter it serves: the exporter is a [`Site`]. A connection passes [`listen`], [`Server`]
//! (with `activity` for timeouts and [`Access`] for the rules of the file), `gate` (which requests are admitted) and
//! the site's routes.

mod access;
mod activity;
mod auth;
mod certificates;
mod client_certificates;
mod config;
mod gate;
mod healthcheck;
mod listen;
mod negotiate;
mod permits;
mod refusals;
mod secp521r1;
mod server;
mod site;
mod tls;

pub use access::Access;
pub use healthcheck::{Unhealthy, healthcheck};
pub use listen::{SystemdSocketError, listen, systemd_sockets};
pub use negotiate::{Range, accepts_gzip, joined, quality};
pub use permits::Limit;
pub use server::Server;
pub use site::{Health, Site};
