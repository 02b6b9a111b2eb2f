//! Where `serve` and `demo` listen.

use tokio::net::TcpListener;

use crate::cli::Flags;
use crate::http::{self, ListenError};

pub(super) async fn listen(flags: &Flags) -> Result<Vec<TcpListener>, ListenError> {
    if flags.systemd_socket {
        return http::systemd_sockets();
    }
    let mut listeners = Vec::new();
    for address in &flags.listen_addresses {
        listeners.push(http::listen(address).await?);
    }
    Ok(listeners)
}
