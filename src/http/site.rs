//! What is served: everything that one exporter has and another has not.

use axum::Router;

use super::permits::Limit;

/// An exporter behind the server.
#[derive(Debug)]
pub struct Site {
    /// The routes.
    pub router: Router,
    /// Names the exporter where a password is asked for.
    pub realm: &'static str,
    /// Paths that need no password, such as those that kubelet and load balancers request.
    pub open: &'static [&'static str],
    /// Which paths serve only so many requests at once. Paths that no limit names are unlimited.
    pub limits: Vec<Limit>,
}

/// How a healthy exporter is recognized.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    /// Needs no password.
    pub path: &'static str,
    /// The body of the response, which no other program sends.
    pub body: &'static str,
}
