//! What systemd is told (`Type=notify`): ready, reloading, stopping, and by the watchdog that all is well.
//! Without `NOTIFY_SOCKET` in the environment nothing is told to anyone.

use sd_notify::NotifyState;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{error, warn};

/// It listens, or a reload is over. `status` is one line for `systemctl status`.
pub fn ready(status: &str) {
    // One line is one assignment of the protocol.
    let status = status.replace(char::is_control, " ");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The configuration is being loaded again.
pub fn reloading() {
    // `Type=notify-reload` tells by the time which of several reloads this is.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!("systemd is not told of the reload: {error}"),
    }
}

/// It stops.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("systemd cannot be told (NOTIFY_SOCKET): {error}");
    }
}

/// The service manager's watchdog (`WatchdogSec=`): it kills the process when it is not fed in time.
pub struct Watchdog(Option<Interval>);

impl Watchdog {
    /// The watchdog that the environment speaks of, if there is one.
    pub fn of_environment() -> Self {
        // Twice as often as it asks for, as sd_watchdog_enabled(3) advises.
        Self(sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()).map(|limit| {
            let mut interval = interval(limit.div_f64(2.0).max(std::time::Duration::from_millis(1)));
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            interval
        }))
    }

    /// Waits until it is to be fed again.
    pub async fn hungry(&mut self) {
        match &mut self.0 {
            Some(interval) => _ = interval.tick().await,
            None => std::future::pending().await,
        }
    }

    /// Feeds it, unless an account's poller is stuck.
    pub fn feed(&self, stuck: Option<&str>) {
        match stuck {
            None => tell(&[NotifyState::Watchdog]),
            Some(account) => {
                error!(account, "the poller is stuck: the watchdog is not fed, so that it restarts the exporter")
            }
        }
    }
}
