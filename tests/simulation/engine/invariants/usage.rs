//! The usage of credits is what was said of it, is asked for no more often than configured, and only with an accepted key;
//! its troubles are raised for credits that are used up or will be. What becomes of its requests touches nothing else:
//! that is checked where they are delivered.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use goldrush_exporter::account::{KeyState, View};
use goldrush_exporter::api::{Error, Reason, Request};
use goldrush_exporter::moment::unix_seconds;

use super::super::clock::EPOCH;
use super::super::daemon;
use super::super::picture::Samples;
use super::super::told::UsageTold;
use super::{Invariant, Scene, Step};

/// As `credits_run_out` is by default.
const SOON: f64 = 7.0 * 86_400.0;
const DAY: Duration = Duration::from_secs(86_400);
/// January, when all histories are.
const MONTH: f64 = 31.0 * 86_400.0;

#[derive(Default, Clone)]
struct Account {
    /// Before this it is not asked for again, on the monotonic clock.
    not_before: Duration,
    /// The same without what the API has asked for.
    regular: Duration,
    reloaded: bool,
}

pub struct Usage {
    accounts: Vec<Account>,
}

impl Usage {
    pub fn new(accounts: usize) -> Self {
        Self { accounts: vec![Account::default(); accounts] }
    }
}

impl Invariant for Usage {
    fn name(&self) -> &'static str {
        "usage"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        let now = scene.clock.awake;
        match *step {
            Step::Restarted => self.accounts.fill(Account::default()),
            Step::Reloaded { account, .. } => {
                self.accounts[account] = Account { reloaded: true, ..Account::default() };
                if scene.daemon.accounts[account].settings.poll.usage.is_none() {
                    scene.told[account].usage = UsageTold::default();
                }
            }
            Step::Sent { account, request: Request::Usage } => {
                let Some(interval) = scene.daemon.accounts[account].settings.poll.usage else {
                    return Err("is requested without poll.usage".to_owned());
                };
                let known = &mut self.accounts[account];
                if now < known.not_before {
                    return Err(format!("is requested {:?} too early", known.not_before - now));
                }
                known.regular = now + interval;
                known.not_before = known.regular;
                let view = scene.daemon.accounts[account].handle.view(scene.clock.moment());
                if !matches!(view.credential.state(), KeyState::Accepted { .. }) {
                    return Err(format!("is requested with a key that is {:?}", view.credential.state()));
                }
            }
            Step::Delivered { account, sent, error: Some(error), request: Request::Usage } => {
                let known = &mut self.accounts[account];
                let is_late = sent.generation != scene.daemon.accounts[account].generation;
                if error.is_unsent() || (is_late && matches!(error.reason(), Reason::Unauthorized | Reason::Forbidden))
                {
                    (known.regular, known.not_before) = (Duration::ZERO, Duration::ZERO);
                } else if let Some(wait) = Error::retry_after(error).filter(|_| !is_late) {
                    known.not_before = known.not_before.max(now + wait);
                }
            }
            // A pause is the old key's.
            Step::Rotated { account } => {
                let known = &mut self.accounts[account];
                known.not_before = known.not_before.min(known.regular);
            }
            Step::Scraped { picture, views } => {
                for (account, view) in views.iter().enumerate() {
                    let Some(shown) = picture.accounts.get(daemon::name(account)) else { continue };
                    shows_what_was_said(&shown.samples, account, scene)?;
                    judges(&shown.kinds, account, view, scene)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

fn shows_what_was_said(shown: &Samples, account: usize, scene: &Scene) -> Result<(), String> {
    let poll = &scene.daemon.accounts[account].settings.poll;
    let told = &scene.told[account].usage;
    let mut expected = BTreeMap::new();
    if let Some(interval) = poll.usage {
        let age = poll.stale_after.max(3 * interval);
        let is_fresh = |at: Option<super::super::told::At>| at.is_some_and(|at| at.is_fresh(scene.now(), age));
        if let Some(facts) = told.facts.filter(|_| is_fresh(told.probe.read)) {
            expected.insert("credits_consumed", facts.consumed);
            expected.insert("credits_limit", facts.limit);
            expected.insert("flex_credits_limit", facts.flex);
            expected.insert("premium_credits", facts.consumed);
            expected.insert("free_credits", 0.0);
        }
        let attempt = told.probe.attempt.filter(|(at, _)| is_fresh(Some(*at)));
        expected.insert("probe_success", f64::from(attempt.is_some_and(|(_, failure)| failure.is_none())));
        if let Some(read) = told.probe.read {
            expected.insert("probe_last_success_timestamp_seconds", read.wall);
        }
    }
    let found: BTreeMap<&str, f64> = shown
        .iter()
        .filter_map(|(series, value)| Some((series.strip_prefix("goldrush_usage_")?, *value)))
        .filter(|(series, _)| !series.starts_with("plan_info"))
        .collect();
    if found == expected { Ok(()) } else { Err(format!("{found:?} is shown, and {expected:?} was said")) }
}

fn judges(kinds: &BTreeSet<Rc<str>>, account: usize, view: &View, scene: &Scene) -> Result<(), String> {
    let (used_up, running_out) = (kinds.contains("credits_used_up"), kinds.contains("credits_running_out"));
    let told = &scene.told[account];
    // Where the list says the same, it says more.
    let says_list = view.listing.failure().is_some_and(|error| error.reason() == Reason::PaymentRequired);
    let Some(facts) = told.usage.facts.filter(|_| !says_list) else {
        let is_raised = used_up || running_out;
        return if is_raised { Err("credits are in trouble, and nothing says so".to_owned()) } else { Ok(()) };
    };
    let left = facts.limit + facts.flex - facts.consumed;
    if used_up != (left <= 0.0) {
        return Err(format!("credits_used_up is shown: {used_up}, and {left} are left"));
    }
    // Over which of the last days the pace is taken is the exporter's choice.
    let read = told.usage.probe.read.map_or(unix_seconds(scene.clock.moment().wall()), |at| at.wall);
    let epoch = EPOCH as f64;
    let month_lasts = if read < epoch { epoch - read } else { epoch + MONTH - read };
    let (newest, consumed) = *told.usage.spent.last().unwrap_or(&(scene.clock.moment().monotonic(), 0.0));
    let bases = told.usage.spent.iter().filter(|(at, _)| newest - *at >= DAY);
    let is_soon: Vec<bool> = bases
        .map(|(at, before)| {
            let pace = (consumed - before) / (newest - *at).as_secs_f64();
            pace > 0.0 && left.max(0.0) / pace < month_lasts && left.max(0.0) / pace <= SOON
        })
        .collect();
    if running_out && (used_up || !is_soon.contains(&true)) {
        return Err(format!("credits_running_out is shown, and {left} that are left last"));
    }
    if !running_out && !used_up && !is_soon.is_empty() && !is_soon.contains(&false) {
        return Err(format!("credits_running_out is not shown, and {left} that are left do not last"));
    }
    Ok(())
}
