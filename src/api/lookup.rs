//! Looks up the API's host: one look-up at a time, for all requests that wait for it.
//!
//! A look-up cannot be called off. It keeps its thread until the operating system gives up, long after the request, and
//! that thread is one of a pool whose other threads write what scrapers read. Nothing is kept once it has ended.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::task::spawn_blocking;

type Found = Result<Vec<SocketAddr>, Arc<io::Error>>;
type UnderWay = Option<Shared<BoxFuture<'static, Found>>>;

/// Of one client, which talks to one host.
pub(super) struct LookUp {
    ask: fn(&str) -> io::Result<Vec<SocketAddr>>,
    under_way: Arc<Mutex<UnderWay>>,
}

impl Default for LookUp {
    /// Asks the operating system.
    fn default() -> Self {
        Self { ask: |host| Ok((host, 0).to_socket_addrs()?.collect()), under_way: Arc::default() }
    }
}

impl Resolve for LookUp {
    fn resolve(&self, name: Name) -> Resolving {
        let (ask, under_way) = (self.ask, self.under_way.clone());
        let begin = || {
            let asked = spawn_blocking(move || {
                let found = ask(name.as_str()).map_err(Arc::new);
                *lock(&under_way) = None;
                found
            });
            asked.map(|found| found.unwrap_or_else(|gone| Err(Arc::new(io::Error::other(gone))))).boxed().shared()
        };
        let found = lock(&self.under_way).get_or_insert_with(begin).clone();
        Box::pin(async { Ok(Box::new(found.await?.into_iter()) as Addrs) })
    }
}

fn lock(under_way: &Mutex<UnderWay>) -> MutexGuard<'_, UnderWay> {
    under_way.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::RwLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Look-ups that have begun, and what they wait for.
    static BEGUN: AtomicUsize = AtomicUsize::new(0);
    static SILENCE: RwLock<()> = RwLock::new(());

    #[tokio::test]
    async fn while_a_name_server_is_silent_all_requests_wait_for_one_look_up() {
        let ask = |host: &str| {
            BEGUN.fetch_add(1, Ordering::SeqCst);
            drop(SILENCE.read().unwrap());
            (host, 0).to_socket_addrs().map(Iterator::collect)
        };
        let look_up = LookUp { ask, under_way: Arc::default() };
        let resolve = |host: &str| look_up.resolve(host.parse().unwrap());
        let silence = SILENCE.write().unwrap();
        // Requests that have given up are among them.
        (0..50).for_each(|_| drop(resolve("127.0.0.1")));
        let waiting: Vec<_> = (0..50).map(|_| resolve("127.0.0.1")).collect();
        drop(silence);
        for addresses in futures_util::future::join_all(waiting).await {
            assert_eq!(addresses.unwrap().collect::<Vec<_>>(), ["127.0.0.1:0".parse().unwrap()]);
        }
        assert_eq!(BEGUN.load(Ordering::SeqCst), 1);

        // The next one asks anew, and a failure is the one of the operating system.
        let nowhere = "x".repeat(64);
        let error = resolve(&nowhere).await.err().unwrap();
        assert_eq!(error.to_string(), (&*nowhere, 0).to_socket_addrs().unwrap_err().to_string());
        assert_eq!(BEGUN.load(Ordering::SeqCst), 2);
    }
}
