//! What the server serves: everything that differs between exporters.

use axum::Router;

use super::permits::Limit;

#[derive(Debug)]
pub struct Site {
    pub router: Router,
    /// Names the exporter when a browser asks for a password.
    pub realm: &'static str,
    /// Paths that need no password, such as those that kubelet and load balancers request.
    pub open: &'static [&'static str],
    /// Limits on concurrent requests, by path. Paths without a limit are unlimited.
    pub limits: Vec<Limit>,
}

/// How to recognize a healthy exporter.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    /// Needs no password.
    pub path: &'static str,
    /// The body of the response, which no other program sends.
    pub body: &'static str,
}
