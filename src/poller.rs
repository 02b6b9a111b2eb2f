//! Drives one account: sends the requests that [`Account::next`] returns, hands the responses back, watches the source
//! of the key, and logs events. [`crate::account`] makes all decisions.
//!
//! [`Account::next`]: crate::account::Account::next

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::{Duration, Instant};

use futures_util::future::{Fuse, FusedFuture as _, FutureExt as _};
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::time::MissedTickBehavior;
use tracing::{debug, info, warn};

use crate::account::{Account, Event, Next, Sent};
use crate::api::{Client, Error, Response};
use crate::events::EventLog;
use crate::fleet::Driver;
use crate::moment::Moment;
use crate::pulse::Pulse;
use crate::service_key::{KeyHolder, KeyInUse, KeySource, Look, Reread};

/// The loop turns at least this often. Each tick checks the key file, so a rotation is noticed within this time even
/// before the old key expires. It also tells a waiting loop from a stuck one.
const TICK: Duration = Duration::from_secs(1);

type InFlight = FuturesUnordered<Pin<Box<dyn Future<Output = (Sent, Response)> + Send>>>;

/// The task of one account. It ends only when it is dropped.
pub struct Poller {
    client: Client,
    keys: KeyHolder,
    account: Driver,
    log: EventLog,
    pulse: Pulse,
    in_flight: InFlight,
}

impl Poller {
    /// Drives `account` with the current key of `keys`.
    pub fn new(client: Client, keys: KeyHolder, account: Driver) -> Self {
        let log = EventLog::new(account.name().to_owned(), keys.source().clone());
        Self { client, keys, account, log, pulse: Pulse::new(), in_flight: FuturesUnordered::new() }
    }

    /// A clone of its client, which shares its connections.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// Follows the key that it sends.
    pub fn key(&self) -> KeyInUse {
        self.keys.in_use()
    }

    /// Shows whether the poller's loop still turns.
    pub fn pulse(&self) -> Pulse {
        self.pulse.clone()
    }

    /// Polls forever.
    pub async fn run(mut self) {
        self.poll_until(|_, _| false).await;
    }

    /// Polls until everything has been requested once.
    ///
    /// # Errors
    /// Why the account could not be listed, or that its key was refused.
    pub async fn once(mut self) -> Result<(), Error> {
        self.account.change(Account::ask_once);
        self.poll_until(Account::is_done).await;
        self.account.read(Account::failure).map_or(Ok(()), Err)
    }

    async fn poll_until(&mut self, is_over: impl Fn(&Account, Instant) -> bool) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let key_can_change = matches!(self.keys.source(), KeySource::File(_));
        // Reads the key file, which may be on a file system that hangs: nothing else waits for it.
        let mut look = pin!(Fuse::terminated());
        loop {
            self.pulse.beat();
            let wake = self.send_what_is_due();
            let now = Moment::now().monotonic();
            if look.is_terminated() && self.account.read(|account| is_over(account, now)) {
                return;
            }
            tokio::select! {
                Some((sent, response)) = self.in_flight.next() => {
                    let key_is_refused = self.take(sent, response);
                    if key_is_refused && key_can_change {
                        // A read in progress may have seen the old key.
                        look.set(self.keys.look().fuse());
                    }
                }
                () = sleep_until(wake) => {}
                _ = tick.tick() => if key_can_change && look.is_terminated() { look.set(self.keys.look().fuse()); },
                found = &mut look => self.take_key(found),
            }
        }
    }

    /// Returns when to try again.
    fn send_what_is_due(&mut self) -> Option<Instant> {
        loop {
            match self.account.next(Moment::now().monotonic()) {
                Next::Send(request, sent) => {
                    let client = self.client.clone();
                    let key = self.keys.current().key.clone();
                    self.in_flight.push(Box::pin(async move { (sent, client.send(&key, request).await) }));
                }
                Next::WaitUntil(wake) => return Some(wake),
                Next::Idle => return None,
            }
        }
    }

    /// Returns whether the key is refused: its source may hold a new one.
    fn take(&mut self, sent: Sent, response: Response) -> bool {
        let now = Moment::now();
        debug!(
            account = self.account.name(),
            operation = response.request().operation().as_str(),
            failure = response.error().map(|error| error.reason().as_str()),
            detail = response.error().map(ToString::to_string),
            "response"
        );
        let events = self.account.answered(sent, response, now);
        events.iter().for_each(|event| self.log.write(event, now.monotonic()));
        events.iter().any(|event| matches!(event, Event::KeyRefused(_)))
    }

    fn take_key(&mut self, found: Look) {
        let account = self.account.name();
        match self.keys.take(found) {
            Reread::Unchanged => {}
            Reread::Failed(problem) => warn!(account, "{problem}; the key that was read before stays in use"),
            Reread::Changed => {
                let loaded_at = self.keys.current().loaded_at;
                let now = Moment::now().monotonic();
                if self.account.change(|account| account.key_replaced(loaded_at, now)).is_some() {
                    info!(account, source = %self.keys.source(), "a new ServiceKey has been read");
                }
            }
        }
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(wake) => tokio::time::sleep_until(wake.into()).await,
        None => std::future::pending().await,
    }
}
