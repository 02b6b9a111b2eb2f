//! The picture: what is known of every account and pipeline, and since when. `poll` writes it, all else reads it.
//!
//! Readings are kept as the API gave them, each with the moment it came. Whether one is still fresh is
//! decided when the picture is looked at, so nothing has to run for a stale reading to disappear.

mod account;
mod histogram;
mod pipeline;
mod since;
mod trend;
pub mod trouble;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use account::{Account, Budget, Concern, GroupFlags, KeyStanding, ListSummary};
pub use histogram::{BOUNDS, Histogram};
pub use pipeline::{Answer, Pipeline, ProbeState, Reading, Summary};
pub use since::{Beginning, Since};
pub use trend::{Level, Trend};

/// One moment on both clocks: ages are measured on the monotonic one, people are told the wall clock's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Never steps; tests steer it.
    pub monotonic: Instant,
    /// May step.
    pub wall: SystemTime,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), wall: SystemTime::now() }
    }

    /// The time from `earlier` to this moment; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.monotonic.saturating_duration_since(earlier.monotonic)
    }
}

/// Seconds since the Unix epoch, as Prometheus writes times.
pub fn unix_seconds(time: SystemTime) -> f64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => after.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// All accounts. Cheap to clone: clones show the same picture.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    accounts: Arc<RwLock<Vec<AccountHandle>>>,
}

/// One account's part of the picture, for its poller to write and for readers to look at.
#[derive(Debug, Clone)]
pub struct AccountHandle {
    name: Arc<str>,
    state: Arc<Mutex<Account>>,
}

impl Fleet {
    /// The account of that name, which is made if there is none.
    pub fn account(&self, name: &str) -> AccountHandle {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.iter().find(|account| &*account.name == name) {
            return account.clone();
        }
        let account = AccountHandle { name: name.into(), state: Arc::default() };
        accounts.push(account.clone());
        account
    }

    /// Forgets the accounts that are not named, and puts the others into the order of `names`.
    pub fn retain(&self, names: &[&str]) {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        let place = |account: &AccountHandle| names.iter().position(|name| *name == &*account.name);
        accounts.retain(|account| place(account).is_some());
        accounts.sort_by_key(place);
    }

    /// All accounts, in the order of the configuration.
    pub fn accounts(&self) -> Vec<AccountHandle> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether every account has had its first answer to the list, or has waited long enough for it.
    pub fn is_ready(&self) -> bool {
        self.accounts().iter().all(|account| account.lock().is_ready())
    }
}

impl AccountHandle {
    /// The account's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The account itself. Hold it shortly: its poller waits meanwhile.
    pub fn lock(&self) -> MutexGuard<'_, Account> {
        // A poller that panics ends the process (see `daemon`), so a poisoned lock is only ever seen on the way out.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
