//! The shelf: all accounts under their locks, and a version that says whether anything has changed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Instant;

use crate::account::{Account, Event, Next, Sent, View};
use crate::api::Response;
use crate::moment::Moment;

/// All accounts. Cheap to clone: clones show the same accounts.
#[derive(Debug, Clone, Default)]
pub struct Fleet {
    accounts: Arc<RwLock<Vec<AccountHandle>>>,
    version: Version,
}

/// Moves on with each change.
#[derive(Debug, Clone, Default)]
struct Version(Arc<AtomicU64>);

impl Version {
    fn advance(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }
}

/// One account on the shelf, for its poller to drive and for readers to look at.
#[derive(Debug, Clone)]
pub struct AccountHandle {
    name: Arc<str>,
    account: Arc<Mutex<Account>>,
    version: Version,
}

impl Fleet {
    /// Puts an account on the shelf, in place of the one of that name if there is one.
    pub fn insert(&self, name: &str, account: Account) -> AccountHandle {
        let handle =
            AccountHandle { name: name.into(), account: Arc::new(Mutex::new(account)), version: self.version.clone() };
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        match accounts.iter_mut().find(|account| &*account.name == name) {
            Some(account) => *account = handle.clone(),
            None => accounts.push(handle.clone()),
        }
        self.version.advance();
        handle
    }

    /// The account of that name.
    pub fn account(&self, name: &str) -> Option<AccountHandle> {
        self.accounts().into_iter().find(|account| &*account.name == name)
    }

    /// Forgets the accounts that are not named, and puts the others into the order of `names`.
    pub fn retain(&self, names: &[&str]) {
        let mut accounts = self.accounts.write().unwrap_or_else(PoisonError::into_inner);
        let position = |account: &AccountHandle| names.iter().position(|name| *name == &*account.name);
        accounts.retain(|account| position(account).is_some());
        accounts.sort_by_key(position);
        self.version.advance();
    }

    /// Whether two snapshots can differ: they cannot while this stays the same and [`View::changes_in`] has not passed.
    /// Read it before the snapshot: what happens meanwhile then counts as news.
    pub fn version(&self) -> u64 {
        self.version.0.load(Ordering::Acquire)
    }

    /// All accounts, in the order of the configuration.
    pub fn accounts(&self) -> Vec<AccountHandle> {
        self.accounts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// All accounts as they are now.
    pub fn snapshot(&self, now: Moment) -> Vec<(String, View)> {
        self.accounts().iter().map(|handle| (handle.name().to_owned(), handle.view(now))).collect()
    }

    /// Whether every account has had its first response to the list, or has waited long enough for it.
    pub fn is_ready(&self, now: Moment) -> bool {
        self.accounts().iter().all(|account| account.read(|account| account.is_ready(now)))
    }
}

impl AccountHandle {
    /// The account's name in the configuration.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// [`Account::next`]
    pub fn next(&self, now: Instant) -> Next {
        self.lock().next(now)
    }

    /// [`Account::answered`]
    pub fn answered(&self, sent: Sent, response: Response, now: Moment) -> Vec<Event> {
        self.change(|account| account.answered(sent, response, now))
    }

    /// [`Account::view`]
    pub fn view(&self, now: Moment) -> View {
        self.lock().view(now)
    }

    /// Looks at the account without changing it.
    pub fn read<T>(&self, read: impl FnOnce(&Account) -> T) -> T {
        read(&self.lock())
    }

    /// Changes the account in one step for all readers.
    pub fn change<T>(&self, change: impl FnOnce(&mut Account) -> T) -> T {
        let mut account = self.lock();
        let changed = change(&mut account);
        // Still under the lock: a version that has been seen stands for a picture that can be seen.
        self.version.advance();
        changed
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        // A poller that panics ends the process (see `daemon`), so a poisoned lock is only ever seen on the way out.
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
