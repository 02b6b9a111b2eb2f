//! How to talk to the API, and when connections are given up.

use std::path::PathBuf;
use std::time::Duration;

use super::base_url::BaseUrl;

/// How to talk to the API.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Every request goes to a path below it.
    pub base_url: BaseUrl,
    /// For a whole response, connecting included.
    pub timeout: Duration,
    /// For one body, decompressed.
    pub max_response_bytes: u64,
    /// Idle connections to keep: one for each request that may be in flight.
    pub max_connections: usize,
    pub connections: ConnectionLimits,
}

/// When connections are replaced. With the defaults, readings are back within a minute of any fault that new
/// connections cure.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionLimits {
    /// The age at which all are replaced: the host may have another address by then.
    pub max_age: Duration,
    /// How many requests in a row may time out, without a response in between, before all connections are replaced.
    pub timeouts_in_a_row: u32,
    /// After two foreign responses in a row, all connections of at least this age are replaced: the host may have
    /// another address by now. If only one endpoint gets foreign responses, other responses come in between.
    pub foreign_age: Duration,
    /// How long an HTTP/2 connection with requests in flight may be silent before it is pinged.
    pub ping_interval: Duration,
    /// How long a ping may stay unacknowledged before the connection is closed.
    pub ping_timeout: Duration,
    /// If a TLS handshake fails, trusted certificates of at least this age are read again.
    pub trust_age: Duration,
    /// A PEM file with the only trusted certificates. `None` means the system's store, or `SSL_CERT_FILE` and
    /// `SSL_CERT_DIR`.
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
