//! How many requests of a kind are served at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A limit on the concurrent requests for some paths, until their responses have been sent.
#[derive(Debug, Clone)]
pub struct Limit {
    /// The limit is on all of these together.
    pub paths: Vec<String>,
    /// Requests that are served at once.
    pub concurrent: usize,
    /// Further requests that wait for a permit.
    pub waiting: usize,
    /// How long they wait.
    pub patience: Duration,
    /// The body of the 503 for all others.
    pub refusal: &'static str,
}

/// The permits of one [`Limit`].
pub(super) struct Permits {
    pub limit: Limit,
    permits: Arc<Semaphore>,
    waiting: Semaphore,
}

impl Permits {
    pub fn new(limit: Limit) -> Self {
        let semaphore = |count: usize| Semaphore::new(count.min(Semaphore::MAX_PERMITS));
        let (permits, waiting) = (Arc::new(semaphore(limit.concurrent)), semaphore(limit.waiting));
        Self { limit, permits, waiting }
    }

    /// Waits for a permit; `None` if too many wait, or if none is returned in time.
    pub async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        timeout(self.limit.patience, self.permits.clone().acquire_owned()).await.ok()?.ok()
    }
}
