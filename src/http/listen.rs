//! Listening sockets: our own, or passed by systemd.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use listenfd::ListenFd;
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that may wait to be accepted.
const BACKLOG: u32 = 1024;

/// Why the sockets of systemd cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SystemdSocketError {
    /// systemd did not start this process, or not through a socket unit.
    #[error(
        "there is no socket of systemd (--web.systemd-socket): LISTEN_FDS and LISTEN_PID do not name this process; \
         start it through a .socket unit"
    )]
    None,
    /// The socket has another type.
    #[error(
        "socket {0} of systemd (--web.systemd-socket) cannot be served: {1}; expected ListenStream= with an address and a \
         port"
    )]
    Unusable(usize, io::Error),
}

/// Listens on an address in exporter-toolkit's notation: `host:port`, or `:port` for all IPv6 and IPv4 addresses.
///
/// # Errors
/// If the address is in use, not on this machine, or not allowed.
pub async fn listen(address: &str) -> io::Result<TcpListener> {
    let Some(port) = port(address) else { return TcpListener::bind(address).await };
    match listen_on_both(port) {
        // This machine may have no IPv6. A port in use is not free for IPv4 either.
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await
        }
        listener => listener,
    }
}

/// The port of an address without a host.
fn port(address: &str) -> Option<u16> {
    address.strip_prefix(':')?.parse().ok()
}

/// One socket for IPv6 and IPv4, even if net.ipv6.bindv6only is set.
fn listen_on_both(port: u16) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v6()?;
    set_ipv6_v6only(&socket, false)?;
    // Like `TcpListener::bind`: connections of an earlier process do not block the port.
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv6Addr::UNSPECIFIED, port).into())?;
    socket.listen(BACKLOG)
}

/// The addresses at which a program on this machine reaches the listener on `address`, the likeliest first.
pub(super) fn local(address: &str) -> Vec<String> {
    let (v4, v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let both = |port| vec![SocketAddr::from((v4, port)).to_string(), SocketAddr::from((v6, port)).to_string()];
    match (port(address), address.parse::<SocketAddr>()) {
        (Some(port), _) => both(port),
        (None, Ok(address)) if address.ip().is_unspecified() => both(address.port()),
        _ => vec![address.to_owned()],
    }
}

/// All sockets that systemd has passed.
///
/// # Errors
/// If there are none, or one of another type.
pub fn systemd_sockets() -> Result<Vec<TcpListener>, SystemdSocketError> {
    let mut passed = ListenFd::from_env();
    if passed.len() == 0 {
        return Err(SystemdSocketError::None);
    }
    let mut listeners = Vec::new();
    for index in 0..passed.len() {
        let refused = |error| SystemdSocketError::Unusable(index, error);
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
        // This machine may have no IPv6.
        if TcpListener::bind("[::1]:0").await.is_ok() {
            TcpStream::connect(("::1", port)).await.unwrap();
        }
        let error = listen(&format!(":{port}")).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
