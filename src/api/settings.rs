//! How to talk to the API, and when connections are given up.

use std::path::PathBuf;
use std::time::Duration;

use super::base_url::BaseUrl;

/// How to talk to the API.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Every request goes to a path below it.
    pub base_url: BaseUrl,
    /// For one whole response, connecting included.
    pub timeout: Duration,
    /// For one body, unpacked.
    pub max_response_bytes: u64,
    /// Connections worth keeping: one for each request that may be in flight.
    pub max_connections: usize,
    /// When connections are given up.
    pub connections: ConnectionLimits,
}

/// When connections are given up. The defaults bring readings back within a minute of any fault that new connections heal.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionLimits {
    /// The age at which all are replaced: the host may have another address by then.
    pub max_age: Duration,
    /// Requests that time out one after another, without a response in between, before all are replaced.
    pub timeouts_in_a_row: u32,
    /// The age from which two responses in a row that are not the API's have all replaced: the host may have another address
    /// by now. Between foreign responses to one endpoint alone there are others.
    pub foreign_age: Duration,
    /// Silence on an HTTP/2 connection with requests under way before it is sent a ping.
    pub ping_interval: Duration,
    /// How long a ping may stay without its echo before the connection is closed.
    pub ping_timeout: Duration,
    /// How long after they were read the trusted certificates are read again, if a TLS handshake fails.
    pub trust_age: Duration,
    /// A PEM file with the only certificates to trust. `None` is the system's store, or what `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR` say.
    pub trusted: Option<PathBuf>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            max_age: Duration::from_secs(45),
            timeouts_in_a_row: 2,
            foreign_age: Duration::from_secs(5),
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(5),
            trust_age: Duration::from_secs(30),
            trusted: None,
        }
    }
}
