//! Where `serve` and `demo` listen.

use tokio::net::TcpListener;

use super::Error;
use crate::cli::Flags;
use crate::http;

pub(super) async fn listen(flags: &Flags) -> Result<Vec<TcpListener>, Error> {
    if flags.systemd_socket {
        return Ok(http::systemd_sockets()?);
    }
    let mut listeners = Vec::new();
    for address in &flags.listen_addresses {
        listeners.push(http::listen(address).await?);
    }
    Ok(listeners)
}
