//! Notifies systemd (`Type=notify`): ready, reloading, stopping, and watchdog keep-alives. Does nothing without
//! `NOTIFY_SOCKET` in the environment.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

/// The exporter listens, or a reload is over. `status` is one line for `systemctl status`.
pub fn ready(status: &str) {
    // In the protocol, one line is one assignment.
    let status = status.replace(char::is_control, " ");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

pub fn reloading() {
    // `Type=notify-reload` identifies a reload by its time.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!("cannot notify systemd of the reload: {error}"),
    }
}

pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("cannot notify systemd (NOTIFY_SOCKET): {error}");
    }
}

/// How soon to check a stuck poller again: after the whole machine or process was paused, this check may run before the
/// pollers had their turn.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The service manager's watchdog (`WatchdogSec=`): it kills the process if it is not fed in time.
pub struct Watchdog(Option<Feeding>);

struct Feeding {
    period: Duration,
    next: Instant,
    /// Whether the last check found a stuck poller.
    stuck: bool,
}

impl Watchdog {
    /// The watchdog that the environment asks for, if any.
    pub fn of_environment() -> Self {
        Self::new(sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()))
    }

    fn new(limit: Option<Duration>) -> Self {
        // Twice as often as required, as sd_watchdog_enabled(3) advises.
        Self(limit.map(|limit| {
            let period = limit.div_f64(2.0).max(Duration::from_millis(1));
            Feeding { period, next: Instant::now(), stuck: false }
        }))
    }

    /// Waits until it must be fed.
    pub async fn hungry(&self) {
        match &self.0 {
            Some(feeding) => sleep_until(feeding.next).await,
            None => std::future::pending().await,
        }
    }

    /// Feeds it, unless an account's poller is stuck: then it checks again soon.
    pub fn feed(&mut self, stuck: Option<&str>) {
        let Some(feeding) = &mut self.0 else { return };
        let news = feeding.look(stuck.is_some());
        match stuck {
            None => tell(&[NotifyState::Watchdog]),
            Some(account) if news => {
                error!(
                    account,
                    "the poller is stuck: no longer notifying the watchdog, so that systemd restarts the exporter"
                );
            }
            Some(_) => {}
        }
        if news && stuck.is_none() {
            info!("no poller is stuck any more: notifying the watchdog again");
        }
    }
}

impl Feeding {
    /// Notes whether a poller is stuck, and when to check again. Returns whether that is news.
    fn look(&mut self, stuck: bool) -> bool {
        let pause = if stuck { self.period.min(LOOK_AGAIN) } else { self.period };
        self.next = Instant::now() + pause;
        std::mem::replace(&mut self.stuck, stuck) != stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long it waits after a check with this result.
    async fn pause(watchdog: &mut Watchdog, stuck: Option<&str>) -> Duration {
        let begin = Instant::now();
        watchdog.feed(stuck);
        watchdog.hungry().await;
        begin.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stuck_poller_is_checked_again_soon() {
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(30)));
        let begin = Instant::now();
        watchdog.hungry().await;
        assert_eq!(begin.elapsed(), Duration::ZERO, "it is fed at once");
        let [second, half] = [1, 15].map(Duration::from_secs);
        assert_eq!(pause(&mut watchdog, None).await, half);
        assert_eq!(pause(&mut watchdog, Some("prod")).await, second);
        assert_eq!(pause(&mut watchdog, Some("prod")).await, second);
        assert_eq!(pause(&mut watchdog, None).await, half);

        let mut impatient = Watchdog::new(Some(Duration::from_secs(1)));
        assert_eq!(pause(&mut impatient, Some("prod")).await, Duration::from_millis(500));
    }

    #[test]
    fn a_stuck_poller_is_reported_once_per_period() {
        let mut watchdog = Watchdog::new(Some(Duration::from_secs(30)));
        let feeding = watchdog.0.as_mut().unwrap();
        let looks = [false, true, true, false, false, true, true];
        assert_eq!(looks.map(|stuck| feeding.look(stuck)), [false, true, false, true, false, true, false]);
    }
}
