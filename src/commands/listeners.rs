//! Where commands listen.

use tokio::net::TcpListener;

use super::Error;
use crate::cli::Flags;
use crate::http;

/// The listeners of `serve` and `demo`.
pub(super) async fn all(flags: &Flags) -> Result<Vec<TcpListener>, Error> {
    if flags.systemd_socket {
        return Ok(http::systemd_sockets()?);
    }
    let mut listeners = Vec::new();
    for address in &flags.listen_addresses {
        listeners.push(listen(address, "--web.listen-address").await?);
    }
    Ok(listeners)
}

/// Listens on the address in this flag.
pub(super) async fn listen(address: &str, flag: &'static str) -> Result<TcpListener, Error> {
    http::listen(address).await.map_err(|error| Error::Listen { address: address.to_owned(), flag, error })
}
