//! The picture: what is known of every account and pipeline, and since when. `poll` writes it, all else reads it.
//!
//! Readings are kept as the API gave them, each with the moment it came. Whether one is still fresh is
//! decided when the picture is looked at, so nothing has to run for a stale reading to disappear.

mod account;
mod histogram;
mod pipeline;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

pub use account::{Account, Budget, GroupFlags, ListSummary};
pub use histogram::{BOUNDS, Histogram};
pub use pipeline::{Answer, Pipeline, ProbeState, Summary};

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
    }
}
