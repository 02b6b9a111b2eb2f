//! The picture: what is known of every account and pipeline, and since when. `poll` writes it, all else reads it.
//!
//! Readings are kept as the API gave them, each with the moment it came. Whether one is still fresh is
//! decided when the picture is looked at, so nothing has to run for a stale reading to disappear.

mod account;
mod histogram;
mod pipeline;

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use account::{Account, Budget, GroupFlags, ListSummary};
pub use histogram::{BOUNDS, Histogram};
pub use pipeline::{Answer, Pipeline, ProbeState, Summary};

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

    /// Until when something that was true at this moment is shown: up to and including `stale_after`.
    fn fresh_until(self, stale_after: Duration) -> Instant {
        self.monotonic + stale_after + Duration::from_nanos(1)
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
    version: Version,
}

/// Moves on with each change of the picture.
#[derive(Debug, Clone, Default)]
struct Version(Arc<AtomicU64>);

impl Version {
    fn advance(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// One account's part of the picture, for its poller to write and for readers to look at.
#[derive(Debug, Clone)]
pub struct AccountHandle {
    name: Arc<str>,
    state: Arc<Mutex<Account>>,
    version: Version,
}

/// An account under its lock. Whoever only looks at it changes nothing; whoever writes advances the picture's version.
#[derive(Debug)]
pub struct AccountGuard<'a> {
    account: MutexGuard<'a, Account>,
    version: &'a Version,
    written: bool,
}

impl Deref for AccountGuard<'_> {
    type Target = Account;

    fn deref(&self) -> &Account {
        &self.account
    }
}

impl DerefMut for AccountGuard<'_> {
    fn deref_mut(&mut self) -> &mut Account {
        self.written = true;
        &mut self.account
    }
}

impl Drop for AccountGuard<'_> {
    fn drop(&mut self) {
        // Still under the lock: a version that has been seen stands for a picture that can be seen.
        if self.written {
            self.version.advance();
        }
    }
}

impl Fleet {
    /// The account of that name, which is made if there is none.
    pub fn account(&self, name: &str) -> AccountHandle {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.iter().find(|account| &*account.name == name) {
            return account.clone();
        }
        let account = AccountHandle { name: name.into(), state: Arc::default(), version: self.version.clone() };
        accounts.push(account.clone());
        self.version.advance();
        account
    }

    /// Forgets the accounts that are not named, and puts the others into the order of `names`.
    pub fn retain(&self, names: &[&str]) {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        let place = |account: &AccountHandle| names.iter().position(|name| *name == &*account.name);
        accounts.retain(|account| place(account).is_some());
        accounts.sort_by_key(place);
        self.version.advance();
    }

    /// Whether two looks at the picture can differ: they cannot while this stays the same and
    /// [`Account::changes_at`] has not come. Read it before looking: what is written meanwhile then counts as news.
    pub fn version(&self) -> u64 {
        self.version.0.load(Ordering::Acquire)
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
    pub fn lock(&self) -> AccountGuard<'_> {
        // A poller that panics ends the process (see `daemon`), so a poisoned lock is only ever seen on the way out.
        let account = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        AccountGuard { account, version: &self.version, written: false }
    }
}
