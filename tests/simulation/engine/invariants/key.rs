//! A key that is refused is not hammered: only the list is asked, at the pace of the backoff, until something is accepted.
//! And what is shown about the key is what responses to the key in use have said.

use std::time::{Duration, Instant};

use goldrush_exporter::account::KeyState;
use goldrush_exporter::api::{Error, KeyVerdict, Reason, Request};

use super::super::daemon;
use super::{Invariant, Scene, Step};

/// Until then, other requests may be in the way.
const IN_FLIGHT: Duration = Duration::from_secs(13);

#[derive(Default, Clone)]
struct Known {
    /// Since when everything that was delivered for the key in use says 401, on the monotonic clock.
    refused: Option<Duration>,
    refused_at: Option<Instant>,
    /// Something was delivered for any key that says 401.
    ever_refused: bool,
    /// Since the refusal, or since something that starts the backoff again.
    sent: u32,
    counts_from: Duration,
    /// The newest list was not processed, and is sent once more at once.
    unsent: bool,
    /// One probe may be sent once more after a rotation.
    retry: bool,
    /// With another key in place of one that is refused, something is sent by then.
    tries_by: Option<Duration>,
    /// Evidence of acceptance that was sent after the newest refusal.
    accepted: bool,
    /// Something has proved that a key is accepted.
    ever_accepted: bool,
    /// The newest list that says anything about the key in use says 403, and no 401 came since.
    wrong: bool,
}

pub struct DeadKey {
    known: Vec<Known>,
}

impl DeadKey {
    pub fn new(accounts: usize) -> Self {
        Self { known: vec![Known::default(); accounts] }
    }
}

/// How many lists the backoff allows in this time, if its jitter makes every pause as short as it can be.
fn allowed(elapsed: Duration) -> u32 {
    let (mut at, mut pause, mut count) = (0.0, 0.5, 1);
    while at + pause <= elapsed.as_secs_f64() {
        at += pause;
        pause = f64::min(pause * 2.0, 30.0);
        count += 1;
    }
    count
}

/// What a response proves about the key that it was requested with, as the contract says. What is not the API's proves nothing.
fn proof(error: Option<&Error>, request: &Request) -> KeyVerdict {
    match (error, request) {
        (None, _) => KeyVerdict::Accepted,
        (Some(Error::Unauthorized(_)), _) => KeyVerdict::Unauthorized,
        (Some(Error::Forbidden(_)), Request::Page(_)) => KeyVerdict::NotServiceKey,
        (Some(Error::Forbidden(_)), _) => KeyVerdict::Accepted,
        (Some(Error::NotFound(said)), Request::Probe(..)) if said.is_the_apis() => KeyVerdict::Accepted,
        (Some(_), _) => KeyVerdict::Nothing,
    }
}

impl Invariant for DeadKey {
    fn name(&self) -> &'static str {
        "dead key"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        let now = scene.clock.awake;
        match *step {
            Step::Restarted => self.known.fill(Known::default()),
            Step::Sent { account, request } => {
                let known = &mut self.known[account];
                known.tries_by = None;
                if known.refused.is_none() {
                    return Ok(());
                }
                match request {
                    Request::Page(_) => known.sent += 1,
                    Request::Probe(..) if known.retry => known.retry = false,
                    Request::Probe(id, probe) => {
                        return Err(format!("{probe} of {id} is sent with a key that is refused"));
                    }
                    Request::Usage => return Err("usage is requested with a key that is refused".to_owned()),
                }
                let most = 1 + allowed(now - known.counts_from);
                if known.sent > most {
                    return Err(format!("{} lists with a key that is refused, {most} at most", known.sent));
                }
            }
            // It is another API's: see `usage`.
            Step::Delivered { request: Request::Usage, .. } => {}
            Step::Delivered { account, sent, error, request } => {
                let known = &mut self.known[account];
                let driver = &scene.daemon.accounts[account];
                if matches!(request, Request::Page(_)) {
                    // The next step of the backoff follows only when this happens twice in a row.
                    known.unsent = error.is_some_and(Error::is_unsent) && !known.unsent;
                    // Without the page size, the same list follows at once.
                    let without_size = matches!(error, Some(Error::PageSizeRefused(_)));
                    if (known.unsent || without_size) && sent.generation == driver.generation {
                        known.sent = known.sent.saturating_sub(1);
                    }
                }
                if sent.generation != driver.generation {
                    let says_401 = error.is_some_and(|error| error.reason() == Reason::Unauthorized);
                    // By the next scrape, a list may have healed it.
                    if says_401
                        && known.refused.is_none()
                        && driver.handle.view(scene.clock.moment()).credential.is_refused()
                    {
                        return Err("a late 401 of an old key accuses the new one".to_owned());
                    }
                    return Ok(());
                }
                let proof = proof(error, request);
                let is_older = known.refused.is_some() && known.refused_at.is_some_and(|at| sent.at < at);
                match proof {
                    KeyVerdict::Unauthorized => known.wrong = false,
                    KeyVerdict::NotServiceKey if !is_older => known.wrong = true,
                    KeyVerdict::Accepted if !is_older && matches!(request, Request::Page(_)) => known.wrong = false,
                    _ => {}
                }
                match proof {
                    KeyVerdict::Unauthorized => {
                        if known.refused.is_none() {
                            (known.sent, known.counts_from) = (0, now);
                        }
                        // Of one wave, the first counts: what was sent after it came is newer than all of them.
                        known.refused = known.refused.or(Some(now));
                        if !is_older {
                            known.refused_at = Some(scene.clock.moment().monotonic());
                        }
                        known.ever_refused = true;
                        known.accepted = false;
                    }
                    proof @ (KeyVerdict::Accepted | KeyVerdict::NotServiceKey) => {
                        known.ever_accepted |= proof == KeyVerdict::Accepted;
                        if known.refused_at.is_none_or(|at| sent.at >= at) {
                            known.refused = None;
                            known.accepted = true;
                        }
                    }
                    KeyVerdict::Nothing => {}
                }
            }
            Step::Rotated { account } => {
                let known = &mut self.known[account];
                (known.retry, known.sent, known.counts_from) = (true, 0, now);
                known.accepted = false;
                if known.refused.is_some() {
                    let budget = scene.daemon.accounts[account].settings.poll.requests_per_second.recip();
                    known.tries_by = Some(now + IN_FLIGHT + Duration::from_secs_f64(2.0 * budget));
                }
            }
            Step::Reloaded { account, .. } => {
                let known = &mut self.known[account];
                (known.sent, known.counts_from) = (0, now);
                known.unsent = false;
                known.accepted = false;
            }
            Step::Scraped { picture, views } => {
                for (account, known) in self.known.iter_mut().enumerate() {
                    if views[account].budget.paused_until.is_some() {
                        known.tries_by = None;
                    }
                    if known.tries_by.is_some_and(|by| now > by) {
                        return Err("the new key is not tried at once".to_owned());
                    }
                    let Some(shown) = picture.accounts.get(daemon::name(account)) else {
                        return Err(format!("account {account} is not shown"));
                    };
                    let value = shown.samples.get("goldrush_auth_unauthorized").copied();
                    let is_refused = matches!(views[account].credential.state(), KeyState::Refused { .. });
                    let is_accepted = matches!(views[account].credential.state(), KeyState::Accepted { .. });
                    if is_accepted && !known.ever_accepted {
                        return Err("a key counts as accepted that nothing has accepted".to_owned());
                    }
                    if value != Some(f64::from(is_refused)) {
                        return Err(format!("goldrush_auth_unauthorized is {value:?}"));
                    }
                    let value = shown.samples.get("goldrush_auth_forbidden").copied();
                    if value != Some(f64::from(known.wrong)) {
                        return Err(format!(
                            "goldrush_auth_forbidden is {value:?}, and the list says so: {}",
                            known.wrong
                        ));
                    }
                    if known.refused.is_some() && !is_refused {
                        return Err("all that was delivered says 401, and the key is not shown as refused".to_owned());
                    }
                    if is_refused && (!known.ever_refused || known.accepted) {
                        return Err("a key is shown as refused that nothing has refused since".to_owned());
                    }
                }
            }
            _ => {}
        }
        Ok(())
    }
}
