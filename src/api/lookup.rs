//! Resolves the API's host name without the operating system's resolver.
//!
//! In a static binary, `getaddrinfo` loads modules of the machine's C library and can crash in them. It also cannot be
//! cancelled: a silent name server would block one thread per request. `/etc/hosts` and `/etc/resolv.conf` are read
//! again when they change.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::system_conf::parse_resolv_conf;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::file_system;

/// Timeout for one name server: connecting, with a second attempt, must end within its own limit.
const LONGEST_QUERY: Duration = Duration::from_secs(2);
/// Lists that block advertisements make `/etc/hosts` large.
const LARGEST_FILE: u64 = 64 * 1024 * 1024;

/// A resolver that follows the machine's configuration. Clones share what they have read.
#[derive(Clone)]
pub(super) struct LookUp(Arc<Inner>);

struct Inner {
    hosts: PathBuf,
    resolv_conf: PathBuf,
    /// The name servers' port; `resolv.conf` cannot name one.
    port: u16,
    /// With the content of `resolv.conf` that it was built from.
    resolver: Mutex<Option<(Vec<u8>, TokioResolver)>>,
}

/// Why a name has no address.
#[derive(Debug)]
pub(super) enum LookUpError {
    NotFound,
    NoAddress,
    Silent,
    Configuration(String),
    Failed(String),
}

impl fmt::Display for LookUpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("the name does not exist (NXDOMAIN)"),
            Self::NoAddress => f.write_str("the name exists and has no address"),
            Self::Silent => f.write_str("no name server of /etc/resolv.conf responds"),
            Self::Configuration(why) => write!(f, "/etc/resolv.conf cannot be used: {why}"),
            Self::Failed(why) => write!(f, "the look-up failed: {why}"),
        }
    }
}

impl std::error::Error for LookUpError {}

impl Default for LookUp {
    fn default() -> Self {
        Self::reading("/etc/hosts".into(), "/etc/resolv.conf".into(), 53)
    }
}

impl fmt::Debug for LookUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookUp").finish_non_exhaustive()
    }
}

impl LookUp {
    pub(super) fn reading(hosts: PathBuf, resolv_conf: PathBuf, port: u16) -> Self {
        Self(Arc::new(Inner { hosts, resolv_conf, port, resolver: Mutex::new(None) }))
    }

    async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, LookUpError> {
        let hosts = file_system::read(&self.0.hosts, LARGEST_FILE).await.unwrap_or_default();
        let known = in_hosts(&String::from_utf8_lossy(&hosts), name);
        if !known.is_empty() {
            return Ok(known);
        }
        if is_localhost(name) {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        let found = self.resolver().await?.lookup_ip(name).await.map_err(|error| LookUpError::of(&error))?;
        Ok(found.iter().collect())
    }

    async fn resolver(&self) -> Result<TokioResolver, LookUpError> {
        let text = match file_system::read(&self.0.resolv_conf, LARGEST_FILE).await {
            // Like the C library: use a name server on this machine.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(|error| LookUpError::Configuration(error.to_string()))?.to_vec(),
        };
        let mut resolver = self.0.resolver.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((read, resolver)) = &*resolver
            && *read == text
        {
            return Ok(resolver.clone());
        }
        let built = build(&text, self.0.port).map_err(LookUpError::Configuration)?;
        *resolver = Some((text, built.clone()));
        Ok(built)
    }
}

fn build(resolv_conf: &[u8], port: u16) -> Result<TokioResolver, String> {
    let names_a_server =
        String::from_utf8_lossy(resolv_conf).lines().any(|line| line.trim_start().starts_with("nameserver"));
    let (config, mut options) = if names_a_server {
        parse_resolv_conf(resolv_conf).map_err(|error| error.to_string())?
    } else {
        let local = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
        (ResolverConfig::from_name_servers(vec![local]), ResolverOpts::default())
    };
    let (domain, search, mut servers) = config.into_parts();
    for connection in servers.iter_mut().flat_map(|server| &mut server.connections) {
        connection.port = port;
    }
    let config = ResolverConfig::from_parts(domain, search, servers);
    options.timeout = options.timeout.min(LONGEST_QUERY);
    // Retries: more would not end in time.
    options.attempts = 1;
    // The resolver would read the file once, and never again.
    options.use_hosts_file = ResolveHosts::Never;
    // Each new connection looks the address up again, and there are few of them.
    options.cache_size = 0;
    let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
    *builder.options_mut() = options;
    builder.build().map_err(|error| error.to_string())
}

/// The addresses that a hosts file assigns to a name.
fn in_hosts(hosts: &str, name: &str) -> Vec<IpAddr> {
    let name = name.trim_end_matches('.');
    let lines = hosts.lines().map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let address = words.next()?.parse().ok()?;
            words.any(|word| word.trim_end_matches('.').eq_ignore_ascii_case(name)).then_some(address)
        })
        .collect()
}

/// RFC 6761, section 6.3.
fn is_localhost(name: &str) -> bool {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}

impl LookUpError {
    fn of(error: &NetError) -> Self {
        match error {
            NetError::Timeout | NetError::NoConnections => Self::Silent,
            NetError::Dns(DnsError::NoRecordsFound(_)) if error.is_nx_domain() => Self::NotFound,
            NetError::Dns(DnsError::NoRecordsFound(_)) => Self::NoAddress,
            other => Self::Failed(other.to_string()),
        }
    }
}

impl Resolve for LookUp {
    fn resolve(&self, name: Name) -> Resolving {
        let look_up = self.clone();
        Box::pin(async move {
            let addresses = look_up.addresses(name.as_str()).await?;
            Ok(Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0))) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;

    /// A name server that resolves every name below `example` to one address, and no other name. `dual`
    /// has an IPv6 address as well; the address of `moving` changes with each query. All may be cached.
    async fn name_server(socket: UdpSocket, address: [u8; 4]) {
        let mut query = [0; 512];
        let mut moving = [198, 51, 100, 0];
        while let Ok((length, from)) = socket.recv_from(&mut query).await {
            let mut end = 12;
            while query[end] != 0 {
                end += 1 + usize::from(query[end]);
            }
            let question = &query[12..end + 5];
            assert!(length >= end + 5);
            let known = question.windows(9).any(|part| part.eq_ignore_ascii_case(b"\x07example\0"));
            let record: Option<&[u8]> = match question {
                _ if !known => None,
                [5, b'e', b'm', b'p', b't', b'y', ..] => None,
                [6, b'm', b'o', b'v', b'i', b'n', b'g', .., 0, 1, 0, 1] => {
                    moving[3] += 1;
                    Some(&moving)
                }
                [.., 0, 1, 0, 1] => Some(&address),
                [4, b'd', b'u', b'a', b'l', .., 0, 28, 0, 1] => Some(&IPV6),
                _ => None,
            };
            let flags = if known { [0x81, 0x80] } else { [0x81, 0x83] };
            let count = u8::from(record.is_some());
            let mut response = [&query[..2], &flags, &[0, 1, 0, count, 0, 0, 0, 0], question].concat();
            if let Some(record) = record {
                response.extend([0xc0, 12]);
                response.extend(&question[question.len() - 4..]);
                response.extend([0, 0, 0, 60, 0, record.len() as u8]);
                response.extend(record);
            }
            let _ = socket.send_to(&response, from).await;
        }
    }

    const IPV6: [u8; 16] = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1).octets();

    fn text(found: Result<Vec<IpAddr>, LookUpError>) -> String {
        match found {
            Ok(addresses) => addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
            Err(error) => error.to_string(),
        }
    }

    #[tokio::test]
    async fn names_come_from_the_files_of_this_moment() {
        let first = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let port = first.local_addr().unwrap().port();
        let second = UdpSocket::bind(("127.0.0.2".parse::<IpAddr>().unwrap(), port)).await.unwrap();
        tokio::spawn(name_server(first, [192, 0, 2, 1]));
        tokio::spawn(name_server(second, [192, 0, 2, 2]));
        let folder = tempfile::tempdir().unwrap();
        let (hosts, resolv_conf) = (folder.path().join("hosts"), folder.path().join("resolv.conf"));
        let look_up = LookUp::reading(hosts.clone(), resolv_conf.clone(), port);
        let find = async |name: &str| text(look_up.addresses(name).await);

        assert_eq!(find("api.example").await, "192.0.2.1", "no files: the name server of this machine");
        assert_eq!(find("nowhere.invalid").await, "the name does not exist (NXDOMAIN)");
        assert_eq!(find("empty.example").await, "the name exists and has no address");
        assert_eq!(find("dual.example").await, "2001:db8::1 192.0.2.1", "connecting skips an unreachable family");
        let (before, after) = (find("moving.example").await, find("moving.example").await);
        assert!(before.starts_with("198.51.100.") && after.starts_with("198.51.100."), "{before}, {after}");
        assert_ne!(before, after, "each look-up asks again");
        assert_eq!(find("localhost").await, "127.0.0.1 ::1");
        assert_eq!(find("api.localhost").await, "127.0.0.1 ::1");
        std::fs::write(&resolv_conf, "# no name server\n").unwrap();
        assert_eq!(find("api.example").await, "192.0.2.1");
        std::fs::write(&resolv_conf, "search sub.example\n nameserver 127.0.0.2\noptions ndots:2\n").unwrap();
        assert_eq!(find("api.example").await, "192.0.2.2");
        assert_eq!(find("api").await, "192.0.2.2", "the search domain is appended");
        std::fs::write(
            &hosts,
            "# 192.0.2.9 api.example\n192.0.2.7 other API.example. # mine\n2001:db8::1 api.example\n",
        )
        .unwrap();
        assert_eq!(find("api.example").await, "192.0.2.7 2001:db8::1");
        std::fs::write(&hosts, "").unwrap();
        assert_eq!(find("api.example").await, "192.0.2.2");
        std::fs::write(&resolv_conf, "nameserver localhost\n").unwrap();
        assert!(find("api.example").await.starts_with("/etc/resolv.conf cannot be used"));
        std::fs::remove_file(&resolv_conf).unwrap();
        std::fs::create_dir(&resolv_conf).unwrap();
        assert!(find("api.example").await.starts_with("/etc/resolv.conf cannot be used"));
        let too_long = format!("{}.invalid", "x".repeat(64));
        assert!(find(&too_long).await.starts_with("/etc/resolv.conf cannot be used"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_name_server_is_reported() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let port = silent.local_addr().unwrap().port();
        let resolv_conf = folder.path().join("resolv.conf");
        let look_up = LookUp::reading(folder.path().join("hosts"), resolv_conf.clone(), port);
        for (options, expected) in [("", 4), ("timeout:30 attempts:9", 4), ("timeout:1", 2)] {
            std::fs::write(&resolv_conf, format!("nameserver 127.0.0.1\noptions {options}\n")).unwrap();
            let started = tokio::time::Instant::now();
            let found = futures_util::future::join_all((0..50).map(|_| look_up.addresses("api.example"))).await;
            let elapsed = started.elapsed();
            assert_eq!(elapsed.as_secs(), expected, "{options}: {elapsed:?}");
            assert!(elapsed <= crate::api::transport::LONGEST_CONNECT, "{elapsed:?}");
            for found in found {
                assert_eq!(text(found), "no name server of /etc/resolv.conf responds");
            }
        }
    }

    #[test]
    fn the_machines_hosts_file_is_read_here_only() {
        let resolver = build(b"nameserver 127.0.0.1\n", 53).unwrap();
        assert_eq!(resolver.options().use_hosts_file, ResolveHosts::Never);
    }
}
