//! What answers say of the ServiceKey, and what follows.

use tokio::time::Instant;
use tracing::{error, info, warn};

use super::{Job, Poller};
use crate::api::{Error, Said};
use crate::fleet::Moment;
use crate::service_key::{Look, Reread};

impl Poller {
    pub(super) fn accept_key(&mut self, now: Moment) {
        (self.refused, self.told_refused) = (None, None);
        let was_refused = self.fleet.lock().accept_key(now);
        if was_refused {
            info!(account = self.fleet.name(), source = %self.keys.source(), "the ServiceKey is accepted again");
            // The key may be another group's: see what it shows.
            self.list_due = Instant::now();
            self.list_backoff.reset();
        }
    }

    pub(super) async fn refuse_key(&mut self, retry: Job, sent: Instant, now: Moment) {
        self.fleet.lock().refuse_key(now);
        let generation = self.keys.current().generation;
        // A new key that is no better is news.
        let news = self.told_refused.replace(generation) != Some(generation);
        if news {
            error!(account = self.fleet.name(), source = %self.keys.source(), "{}", Error::Unauthorized(Said::default()));
        }
        let newly_refused = self.refused.is_none();
        // Those of one wave that come in late are no new refusal: what was sent after the first one counts.
        if self.refused.is_none_or(|at| sent >= at) {
            self.refused = Some(now.monotonic);
        }
        // Once for each key: many requests may be refused together, and a file system that hangs is waited for.
        if news && self.reread_key().await {
            // One retry at once; the others follow when the new key is accepted.
            match retry {
                Job::ListPage(_) => self.list_due = Instant::now(),
                Job::Probe(probe) => self.urgent.push_back(Job::Probe(probe)),
            }
        } else if newly_refused && matches!(retry, Job::Probe(_)) {
            // A list that was refused itself has set its next turn already.
            self.list_due = Instant::now() + self.list_backoff.next();
        }
    }

    /// Whether there is a new key now.
    async fn reread_key(&mut self) -> bool {
        let found = self.keys.look().await;
        self.take_key(found)
    }

    pub(super) fn take_key(&mut self, found: Look) -> bool {
        let account = self.fleet.name();
        match self.keys.take(found) {
            Reread::Unchanged => false,
            Reread::Failed(problem) => {
                warn!(account, "{problem}; the key that was read before stays in use");
                false
            }
            Reread::Changed => {
                info!(account, source = %self.keys.source(), "a new ServiceKey has been read");
                self.fleet.lock().key_loaded = Some(self.keys.current().loaded_at);
                if self.refused.is_some() || matches!(self.list_failure, Some(Error::Forbidden(_))) {
                    self.list_backoff.reset();
                    self.list_due = Instant::now();
                }
                true
            }
        }
    }
}
