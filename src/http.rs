//! A web server for an exporter: limits, TLS, passwords, and `--web.config.file` in exporter-toolkit's format.
//!
//! Nothing here knows which exporter it serves: what is behind it is a [`Site`]. A connection's way: [`listen`],
//! [`Server`] (with `activity`, who is too slow, and [`Access`], what the file asks for), `gate` (which request is let
//! in), the site's routes.

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
pub use listen::{ListenError, listen, systemd_sockets};
pub use negotiate::{Range, accepts_gzip, joined, quality};
pub use permits::Limit;
pub use server::Server;
pub use site::{Health, Site};
