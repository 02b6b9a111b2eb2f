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

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use account::{Account, Budget, Concern, GroupFlags, KeyStanding, ListSummary};
pub use histogram::{BOUNDS, Histogram};
pub use pipeline::{Answer, Pipeline, ProbeState, Reading, Summary};
pub use since::{Beginning, Since};
pub use trend::{Level, Trend};

/// One moment on all clocks: ages are measured on those that never step, people are told the wall clock's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Never steps, but stands still while the machine sleeps; tests steer it.
    pub monotonic: Instant,
    /// Since the machine was started, its sleep included.
    pub boot: Duration,
    /// May step.
    pub wall: SystemTime,
}

impl Moment {
    /// This moment.
    pub fn now() -> Self {
        Self { monotonic: Instant::now(), boot: since_boot(), wall: SystemTime::now() }
    }

    /// The moment that comes `by` later, if no clock steps and the machine does not sleep.
    pub fn after(self, by: Duration) -> Self {
        Self { monotonic: self.monotonic + by, boot: self.boot + by, wall: self.wall + by }
    }

    /// Whether what came at this moment is not older than `stale_after`.
    pub fn is_fresh(self, now: Self, stale_after: Duration) -> bool {
        now.since(self) <= stale_after
    }

    /// The time from `earlier` to this moment; zero if it is later.
    pub fn since(self, earlier: Self) -> Duration {
        let awake = self.monotonic.saturating_duration_since(earlier.monotonic);
        awake.max(self.boot.saturating_sub(earlier.boot))
    }
}

#[cfg(target_os = "linux")]
fn since_boot() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    Duration::try_from(time).unwrap_or_default()
}

/// Elsewhere the monotonic clock has to do.
#[cfg(not(target_os = "linux"))]
fn since_boot() -> Duration {
    Duration::ZERO
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
    /// [`Account::changes_in`] has not passed. Read it before looking: what is written meanwhile then counts as news.
    pub fn version(&self) -> u64 {
        self.version.0.load(Ordering::Acquire)
    }

    /// All accounts, in the order of the configuration.
    pub fn accounts(&self) -> Vec<AccountHandle> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All accounts as they are now. Pipelines are shared with the picture, so this is cheap and holds no lock afterwards.
    pub fn snapshot(&self) -> Vec<(String, Account)> {
        let accounts = self.accounts();
        accounts.iter().map(|handle| (handle.name().to_owned(), handle.lock().clone())).collect()
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

#[cfg(test)]
mod tests {

    use super::*;

    #[test]
    fn the_sleep_of_the_machine_is_part_of_an_age_and_steps_of_the_wall_clock_are_not() {
        let second = Duration::from_secs(1);
        let hour = Duration::from_secs(3600);
        let earlier = Moment::now();
        let after = |awake, asleep: Duration, stepped: Duration| Moment {
            monotonic: earlier.monotonic + awake,
            boot: earlier.boot + awake + asleep,
            wall: earlier.wall + awake + stepped,
        };
        assert_eq!(after(second, Duration::ZERO, Duration::ZERO).since(earlier), second);
        assert_eq!(after(second, Duration::ZERO, hour).since(earlier), second);
        assert_eq!(after(second, hour, Duration::ZERO).since(earlier), second + hour);
        assert_eq!(earlier.since(after(second, hour, hour)), Duration::ZERO);

        let mut account = Account::default();
        account.stale_after = 2 * hour;
        account.list_succeeded(ListSummary::empty(earlier));
        let left = |asleep| account.changes_in(after(second, asleep, Duration::ZERO));
        let shown_for = 2 * hour + Duration::from_nanos(1);
        assert_eq!(left(Duration::ZERO), Some(shown_for - second));
        assert_eq!(left(hour), Some(shown_for - second - hour));
        assert_eq!(left(2 * hour), None, "it is not shown any more");
    }
}
