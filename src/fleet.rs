//! All accounts, each under its lock, and a version that tells whether anything has changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use crate::account::{Account, Event, Next, Sent, View};
use crate::api::Response;
use crate::moment::Moment;

/// All accounts. Cheap to clone: clones share the accounts.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    accounts: Arc<RwLock<Vec<AccountHandle>>>,
    version: Version,
}

/// Increases with each change.
#[derive(Debug, Clone, Default)]
struct Version(Arc<AtomicU64>);

impl Version {
    fn advance(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// Access to one account, for readers.
#[derive(Debug, Clone)]
pub struct AccountHandle {
    name: Arc<str>,
    driven: Arc<Mutex<Driven>>,
    version: Version,
}

/// An account, and who may change it.
#[derive(Debug)]
struct Driven {
    account: Account,
    /// The number of the newest driver.
    driver: u64,
}

/// The right to drive an account. Each account has one driver: when another one takes over, the previous one gets no
/// more requests to send, and its responses are ignored. So a poller that hangs and wakes up after a reload cannot
/// overwrite its successor's state.
#[derive(Debug)]
pub struct Driver {
    account: AccountHandle,
    number: u64,
}

impl Fleet {
    /// Adds an account; one with the same name is replaced.
    pub fn insert(&self, name: &str, account: Account) -> AccountHandle {
        let driven = Arc::new(Mutex::new(Driven { account, driver: 0 }));
        let handle = AccountHandle { name: name.into(), driven, version: self.version.clone() };
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        match accounts.iter_mut().find(|account| &*account.name == name) {
            Some(account) => *account = handle.clone(),
            None => accounts.push(handle.clone()),
        }
        self.version.advance();
        handle
    }

    /// The account with this name.
    pub fn account(&self, name: &str) -> Option<AccountHandle> {
        self.accounts().into_iter().find(|account| &*account.name == name)
    }

    /// Drops accounts that are not in `names`, and puts the others into the order of `names`.
    pub fn retain(&self, names: &[&str]) {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        let position = |account: &AccountHandle| names.iter().position(|name| *name == &*account.name);
        accounts.retain(|account| position(account).is_some());
        accounts.sort_by_key(position);
        self.version.advance();
    }

    /// Two snapshots cannot differ while this stays the same, [`View::changes_in`] has not passed and the wall clock
    /// has [not stepped](Moment::wall_stepped_since). Read it before the snapshot: a change in between then counts as
    /// new.
    pub fn version(&self) -> u64 {
        self.version.0.load(Ordering::Acquire)
    }

    /// All accounts, in the order of the configuration.
    pub fn accounts(&self) -> Vec<AccountHandle> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A view of every account.
    pub fn snapshot(&self, now: Moment) -> Vec<(String, View)> {
        self.accounts().iter().map(|handle| (handle.name().to_owned(), handle.view(now))).collect()
    }

    /// Whether every account has received its first list response, or has waited for it long enough.
    pub fn is_ready(&self, now: Moment) -> bool {
        self.accounts().iter().all(|account| account.read(|account| account.is_ready(now)))
    }
}

impl AccountHandle {
    pub fn name(&self) -> &str {
        &self.name
    }

    /// [`Account::view`]
    pub fn view(&self, now: Moment) -> View {
        self.lock().account.view(now)
    }

    /// Reads the account without changing it.
    pub fn read<T>(&self, read: impl FnOnce(&Account) -> T) -> T {
        read(&self.lock().account)
    }

    /// Changes the account; readers see all of the change or nothing.
    pub fn change<T>(&self, change: impl FnOnce(&mut Account) -> T) -> T {
        self.change_in(&mut self.lock(), change)
    }

    /// Changes the account and hands it to another driver, atomically.
    pub fn hand_over(&self, change: impl FnOnce(&mut Account)) -> Driver {
        let mut driven = self.lock();
        driven.driver += 1;
        self.change_in(&mut driven, change);
        Driver { account: self.clone(), number: driven.driver }
    }

    fn change_in<T>(&self, driven: &mut Driven, change: impl FnOnce(&mut Account) -> T) -> T {
        let changed = change(&mut driven.account);
        // Still under the lock, so that a reader that sees the new version also sees the change.
        self.version.advance();
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Driven> {
        // A poller that panics ends the process (see `daemon`), so a poisoned lock is only seen during shutdown.
        self.driven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Driver {
    pub fn name(&self) -> &str {
        self.account.name()
    }

    /// [`Account::next`]
    pub fn next(&self, now: Instant) -> Next {
        self.lock().map_or(Next::Idle, |mut driven| driven.account.next(now))
    }

    /// [`Account::answered`]
    pub fn answered(&self, sent: Sent, response: Response, now: Moment) -> Vec<Event> {
        self.change(|account| account.answered(sent, response, now)).unwrap_or_default()
    }

    /// [`AccountHandle::read`]
    pub fn read<T>(&self, read: impl FnOnce(&Account) -> T) -> T {
        self.account.read(read)
    }

    /// [`AccountHandle::change`]; `None` if another driver has taken over.
    pub fn change<T>(&self, change: impl FnOnce(&mut Account) -> T) -> Option<T> {
        self.lock().map(|mut driven| self.account.change_in(&mut driven, change))
    }

    fn lock(&self) -> Option<MutexGuard<'_, Driven>> {
        Some(self.account.lock()).filter(|driven| driven.driver == self.number)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::account::{ReadAgain, testing};
    use crate::api::Request;

    /// A complete list with this pipeline.
    fn list(id: &str) -> Response {
        let page = json!({"items": [{"id": id}], "pagination": {"has_more": false}});
        Response::Page(1, Ok(serde_json::from_value(page).unwrap()))
    }

    #[test]
    fn a_replaced_driver_sends_nothing_and_its_responses_are_ignored() {
        let now = Moment::now();
        let handle = Fleet::default().insert("prod", testing::account(&[], now));
        let later = now.after(Duration::from_secs(1));
        let send = |driver: &Driver, at: Moment| match driver.next(at.monotonic()) {
            Next::Send(request, sent) => {
                assert_eq!(request, Request::Page(1));
                sent
            }
            other => panic!("{other:?}"),
        };
        let old = handle.hand_over(|_| {});
        let sent_by_old = send(&old, now);
        let loaded_at = now.wall();
        let new = handle.hand_over(|account| {
            let key = ReadAgain { loaded_at, is_another: false };
            account.reconfigure(testing::settings(&[]), key, now);
        });
        assert_eq!(old.next(later.monotonic()), Next::Idle);
        let sent_by_new = send(&new, later);
        assert!(old.answered(sent_by_old, list("pipe_of_the_old"), later).is_empty());
        assert_eq!(old.change(|account| account.key_replaced(loaded_at, now.monotonic())), None);
        let view = handle.view(later);
        assert!(view.pipelines.is_empty() && view.listing.latest().is_none());
        assert!(view.requests.durations.iter().all(|counted| counted.sum == 0.0), "not even counted");
        assert_eq!(new.next(later.after(Duration::from_secs(1)).monotonic()), Next::Idle, "its own is in flight");
        new.answered(sent_by_new, list("pipe_of_the_new"), later);
        let known: Vec<String> = handle.view(later).pipelines.keys().map(ToString::to_string).collect();
        assert_eq!(known, ["pipe_of_the_new"]);
    }
}
