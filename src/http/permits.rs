//! Limits on concurrent requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// A limit on concurrent requests for some paths; a request counts until its response has been sent.
#[derive(Debug, Clone)]
pub struct Limit {
    /// All of these share the limit.
    pub paths: Vec<String>,
    /// Maximum concurrent requests.
    pub concurrent: usize,
    /// How many further requests may wait for a permit.
    pub waiting: usize,
    /// How long they wait.
    pub patience: Duration,
    /// The body of the 503 that refuses other requests.
    pub refusal: &'static str,
}

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

    /// Waits for a permit; `None` if too many requests wait, or if no permit is returned in time.
    pub async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        if let Ok(permit) = self.permits.clone().try_acquire_owned() {
            return Some(permit);
        }
        let _waiting = self.waiting.try_acquire().ok()?;
        timeout(self.limit.patience, self.permits.clone().acquire_owned()).await.ok()?.ok()
    }
}
