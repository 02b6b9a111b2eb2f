//! Sockets to serve on: of our own, or passed on by systemd.

use std::io::ErrorKind;
use std::net::SocketAddr;

use listenfd::ListenFd;
use tokio::net::TcpListener;

/// Why there is nothing to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// An address is taken, foreign or not allowed.
    #[error("cannot listen on {0} (--web.listen-address): {1}")]
    Address(String, std::io::Error),
    /// Not started by systemd, or not through a socket unit.
    #[error(
        "there is no socket of systemd (--web.systemd-socket): LISTEN_FDS and LISTEN_PID do not speak of this process; start it through a .socket unit"
    )]
    NoSystemdSocket,
    /// A socket of another kind.
    #[error(
        "socket {0} of systemd (--web.systemd-socket) cannot be served: {1}; it takes ListenStream= with an address and a port"
    )]
    SystemdSocket(usize, std::io::Error),
}

/// Listens on an address as exporter-toolkit writes it: `host:port`, or `:port` for all addresses, of IPv4 and IPv6.
///
/// # Errors
/// [`ListenError::Address`].
pub async fn listen(address: &str) -> Result<TcpListener, ListenError> {
    let mut listener = TcpListener::bind(with_host(address, "[::]")).await;
    // Linux takes that for both, unless net.ipv6.bindv6only is set. There may be no IPv6 here; a port that is taken is
    // so for both.
    if address.starts_with(':') && listener.as_ref().is_err_and(|error| error.kind() != ErrorKind::AddrInUse) {
        listener = TcpListener::bind(with_host(address, "0.0.0.0")).await;
    }
    listener.map_err(|error| ListenError::Address(address.to_owned(), error))
}

/// The address where somebody on this machine reaches what listens on `address`.
pub(super) fn local(address: &str) -> String {
    let complete = with_host(address, "127.0.0.1");
    match complete.parse::<SocketAddr>() {
        Ok(SocketAddr::V4(v4)) if v4.ip().is_unspecified() => format!("127.0.0.1:{}", v4.port()),
        Ok(SocketAddr::V6(v6)) if v6.ip().is_unspecified() => format!("[::1]:{}", v6.port()),
        _ => complete,
    }
}

fn with_host(address: &str, host: &str) -> String {
    if address.starts_with(':') { format!("{host}{address}") } else { address.to_owned() }
}

/// All sockets that systemd has passed on.
///
/// # Errors
/// [`ListenError::NoSystemdSocket`] or [`ListenError::SystemdSocket`].
pub fn systemd_sockets() -> Result<Vec<TcpListener>, ListenError> {
    let mut passed = ListenFd::from_env();
    if passed.len() == 0 {
        return Err(ListenError::NoSystemdSocket);
    }
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let refused = |error| ListenError::SystemdSocket(index, error);
        let Some(listener) = passed.take_tcp_listener(index).map_err(refused)? else { continue };
        listener.set_nonblocking(true).map_err(refused)?;
        listeners.push(TcpListener::from_std(listener).map_err(refused)?);
    }
    Ok(listeners)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn without_a_host_it_listens_on_all_addresses_of_both_kinds() {
        let listener = listen(":0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        // There may be no IPv6 here.
        if TcpListener::bind("[::1]:0").await.is_ok() {
            TcpStream::connect(("::1", port)).await.unwrap();
        }
        let error = listen(&format!(":{port}")).await.unwrap_err();
        assert!(matches!(error, ListenError::Address(..)), "{error}");
    }
}
