//! Troubles follow from what was told: each one that is shown has a reason in the readings, each reading that is trouble is
//! shown, and what cannot be read does not heal.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use goldrush_exporter::account::{KeyState, View};
use goldrush_exporter::api::{PipelineId, Probe, Reason};

use super::super::daemon;
use super::super::picture::{AccountPicture, Picture, Series};
use super::super::told::{At, PipelineTold, ProbeTold, Told};
use super::{Invariant, Scene, Step};

/// A slope is taken over ten minutes; after this it holds nothing of what was before.
const SLOPE: Duration = Duration::from_secs(1_500);

#[derive(Default)]
pub struct Judgement {
    /// The kinds of each pipeline in trouble at the scrape before, by account and id.
    before: BTreeMap<(usize, PipelineId), BTreeSet<Rc<str>>>,
    /// The accounts without readings at the scrape before.
    without_readings: BTreeSet<usize>,
    /// What the list said was wrong at the scrape before.
    concerns: Vec<Rc<Series>>,
    scraped: Duration,
    /// Something else than a reading has changed the picture since.
    excused: bool,
}

/// Kinds that end, or become another one, without a reading: by time or by another failure.
const CHANGE_WITHOUT_READINGS: [&str; 3] = ["probe_failing", "readings_stale", "forbidden"];

/// Kinds that only a list can end.
const CONCERNS: [&str; 4] = ["expected_missing", "group_over_limit", "group_trial_expired", "pipelines_over_limit"];

impl Invariant for Judgement {
    fn name(&self) -> &'static str {
        "judgement"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        match step {
            Step::Restarted | Step::Reloaded { .. } => self.excused = true,
            Step::Scraped { picture, views } => {
                let mut now_raised = BTreeMap::new();
                for (account, view) in views.iter().enumerate() {
                    let Some(shown) = picture.accounts.get(daemon::name(account)) else { continue };
                    of_account(&shown.kinds, view, account, scene)?;
                    gauges_agree(shown, &scene.told[account])?;
                    self.no_readings_stays(account, shown, view, &scene.told[account])?;
                    for (id, told) in &scene.told[account].pipelines {
                        let Some(shown) = shown.pipelines.get(id.as_str()) else { continue };
                        let kinds = &shown.kinds;
                        of_pipeline(told, kinds, view).map_err(|what| format!("{id}: {what}"))?;
                        of_failing_probes(told, kinds, account, scene).map_err(|what| format!("{id}: {what}"))?;
                        let key = (account, id.clone());
                        if let Some(before) = self.before.get(&key).filter(|_| !self.excused) {
                            self.heals_by_readings_only(before, kinds, told).map_err(|what| format!("{id}: {what}"))?;
                        }
                        if !kinds.is_empty() {
                            now_raised.insert(key, kinds.clone());
                        }
                    }
                }
                self.concerns_heal_by_lists_only(picture, scene)?;
                self.before = now_raised;
                self.scraped = scene.now();
                self.excused = false;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Judgement {
    /// It ends when something is read, by a list, or with the key; not because more fails than before.
    fn no_readings_stays(
        &mut self,
        account: usize,
        shown: &AccountPicture,
        view: &View,
        told: &Told,
    ) -> Result<(), String> {
        let is_shown = shown.kinds.contains("no_readings");
        let was_shown = self.without_readings.remove(&account);
        if is_shown {
            self.without_readings.insert(account);
        }
        let is_new = |at: At| at.world >= self.scraped;
        let is_refused = |probe: &ProbeTold| {
            probe.attempt.is_some_and(|(at, failure)| failure == Some(Reason::Forbidden) && is_new(at))
        };
        // A pipeline that the key may not see is not watched.
        let any_refused = told.pipelines.values().flat_map(|pipeline| &pipeline.probes).any(is_refused);
        let is_accepted = matches!(view.credential.state(), KeyState::Accepted { .. });
        let may_heal =
            self.excused || !is_accepted || any_refused || [told.read, told.listed].into_iter().flatten().any(is_new);
        if was_shown && !is_shown && !may_heal {
            return Err("no_readings has healed, and nothing was read or listed".to_owned());
        }
        Ok(())
    }

    fn concerns_heal_by_lists_only(&mut self, picture: &Picture, scene: &Scene) -> Result<(), String> {
        let is_concern = |series: &&Rc<Series>| series.kind.as_deref().is_some_and(|kind| CONCERNS.contains(&kind));
        let shown: Vec<_> = picture.troubles.iter().filter(is_concern).cloned().collect();
        let before = std::mem::replace(&mut self.concerns, shown);
        let is_shown = |series: &Series| self.concerns.iter().any(|shown| shown.text == series.text);
        for series in before.iter().filter(|series| !self.excused && !is_shown(series)) {
            let mut accounts = scene.told.iter().enumerate();
            let told = accounts.find(|(account, _)| series.account.as_deref() == Some(daemon::name(*account)));
            let listed = told.and_then(|(_, told)| told.listed);
            if listed.is_none_or(|at| at.world < self.scraped) {
                return Err(format!("{} has healed without a list", series.text));
            }
        }
        Ok(())
    }

    fn heals_by_readings_only(
        &self,
        before: &BTreeSet<Rc<str>>,
        kinds: &BTreeSet<Rc<str>>,
        told: &PipelineTold,
    ) -> Result<(), String> {
        let is_new = |at: At| at.world >= self.scraped;
        let was_read = told.probes.iter().filter_map(|probe| probe.read).any(is_new) || is_new(told.listed);
        for kind in before {
            // Other pipelines of the topic decide which of these two it is.
            let renamed = match &**kind {
                "stalled" => kinds.contains("no_progress"),
                "no_progress" => kinds.contains("stalled"),
                _ => false,
            };
            let healed = !kinds.contains(kind) && !renamed;
            if healed && !was_read && !CHANGE_WITHOUT_READINGS.contains(&&**kind) {
                return Err(format!("{kind} has healed without a reading"));
            }
        }
        Ok(())
    }
}

fn of_account(kinds: &BTreeSet<Rc<str>>, view: &View, account: usize, scene: &Scene) -> Result<(), String> {
    let state = view.credential.state();
    let exact = |kind: &str, is: bool| {
        let shown = kinds.contains(kind);
        if shown == is { Ok(()) } else { Err(format!("{kind} is shown: {shown}, and should be: {is}")) }
    };
    let refused = matches!(state, KeyState::Refused { .. });
    let wrong = matches!(state, KeyState::NotServiceKey { .. });
    exact("key_unauthorized", refused)?;
    exact("key_not_service_key", wrong)?;
    exact("rate_limited", view.budget.paused_until.is_some())?;
    exact("budget_too_small", view.budget.required > view.budget.allowed)?;
    let told = &scene.told[account];
    // What a refused key leads to is one trouble, and the list has no other.
    let expected = told.list_failure.filter(|_| !refused && !wrong).map(|reason| match reason {
        Reason::ForeignResponse => "foreign_response",
        Reason::PaymentRequired => "payment_required",
        _ => "list_failing",
    });
    // Otherwise, a list may have failed because of what its pages say together.
    if refused || wrong || told.list_failure.is_some() || told.lists_failed == 0 {
        for kind in ["foreign_response", "payment_required", "list_failing"] {
            exact(kind, expected == Some(kind))?;
        }
    }
    let settings = &scene.daemon.accounts[account].settings;
    no_readings(kinds.contains("no_readings"), view, account, scene)?;
    if kinds.contains("expected_missing") && settings.account.expect.is_empty() {
        return Err("a pipeline is missing that is not expected".to_owned());
    }
    Ok(())
}

/// The gauges that say the same as a trouble, also while something is wrong.
fn gauges_agree(shown: &AccountPicture, told: &Told) -> Result<(), String> {
    let gauge = |name: &str| shown.samples.get(name).copied().ok_or_else(|| format!("{name} is not shown"));
    let agrees = |name: &str, is: bool, should: bool| {
        if is == should { Ok(()) } else { Err(format!("{name} says {is}, and should say {should}")) }
    };
    let is_up = gauge("goldrush_up")? > 0.0;
    // Before the first list, and while one is overdue, it is not up either.
    agrees("goldrush_up", is_up, is_up && told.list_failure.is_none())?;
    let paused = "goldrush_poll_paused_until_timestamp_seconds";
    agrees(paused, gauge(paused)? > 0.0, shown.kinds.contains("rate_limited"))
}

/// Shown only without a fresh reading, and in any case once lists have succeeded for as long as readings are fresh.
fn no_readings(is_shown: bool, view: &View, account: usize, scene: &Scene) -> Result<(), String> {
    let (told, now) = (&scene.told[account], scene.now());
    let stale_after = scene.daemon.accounts[account].settings.poll.stale_after;
    let watched = || told.pipelines.values().filter(|pipeline| !pipeline.is_off_duty() && !is_forbidden(pipeline));
    let reads = watched().flat_map(|pipeline| pipeline.probes.iter().filter_map(|probe| probe.read));
    let is_read = reads.into_iter().any(|at| at.is_fresh(now, stale_after));
    if is_shown && is_read {
        return Err("no_readings is shown, and there is a fresh one".to_owned());
    }
    let succeeds = view.listing.succeeds();
    let listed = succeeds.began().filter(|_| succeeds.state()).map(|began| scene.clock.moment().since(began.at));
    let is_old = |at: At| !at.is_fresh(now, stale_after);
    let is_due = matches!(view.credential.state(), KeyState::Accepted { .. })
        && listed.is_some_and(|listed| listed > stale_after)
        && told.read.is_none_or(is_old)
        && watched().any(|pipeline| is_old(pipeline.on_duty_since()));
    if is_due && !is_shown {
        return Err("nothing has been read although lists succeed, and no_readings is not shown".to_owned());
    }
    Ok(())
}

fn is_forbidden(told: &PipelineTold) -> bool {
    told.probes.iter().any(|probe| probe.attempt.is_some_and(|(_, failure)| failure == Some(Reason::Forbidden)))
}

/// Seconds from one delivery to another.
fn between(from: At, to: At) -> f64 {
    to.world.saturating_sub(from.world).as_secs_f64()
}

fn later(a: At, b: At) -> At {
    if b.world > a.world { b } else { a }
}

fn of_pipeline(told: &PipelineTold, kinds: &BTreeSet<Rc<str>>, view: &View) -> Result<(), String> {
    let shows = |kind: &str| kinds.contains(kind);
    let exact = |kind: &str, is: bool| {
        if shows(kind) == is { Ok(()) } else { Err(format!("{kind} is shown: {}, and was told: {is}", shows(kind))) }
    };
    let only_if = |kind: &str, may: bool| {
        if may || !shows(kind) { Ok(()) } else { Err(format!("{kind} is shown, and nothing told so")) }
    };
    let must = |kind: &str, has_to: bool| {
        if !has_to || shows(kind) { Ok(()) } else { Err(format!("{kind} is not shown, and has to be")) }
    };
    let on_duty = told.on_duty_since();
    let failed = told.known.phase == Some("FAILED");
    let stopped = told.not_running_since.filter(|_| told.known.phase.is_some_and(|phase| phase != "RUNNING"));
    let stopped = stopped.filter(|since| !failed || Some(*since) != told.phase_since);
    let not_running =
        stopped.zip(told.known.phase_read).is_some_and(|(since, read)| between(later(since, on_duty), read) >= 900.0);
    // A worker that is PAUSED may be resumed soon.
    let is_over = told.has_ended() && (told.known.phase != Some("PAUSED") || not_running);
    exact("ended_early", is_over && !told.item.paused && told.is_complete() == Some(false))?;
    if told.is_off_duty() {
        let others: Vec<_> = kinds.iter().filter(|kind| &***kind != "ended_early").collect();
        return if others.is_empty() { Ok(()) } else { Err(format!("is off duty, and in trouble {others:?}")) };
    }
    let read = |probe: Probe| told.probes[probe as usize].read;
    exact("failed", failed)?;
    exact("destination_unhealthy", told.unhealthy >= 2)?;
    let lately = |times: &[Duration], read: Option<At>| {
        let last = read.map_or(Duration::ZERO, |read| read.world);
        times.iter().filter(|time| last - **time <= Duration::from_secs(1_800)).count()
    };
    exact("restarting", lately(&told.restarts, told.known.start.map(|(_, read)| read)) >= 3)?;
    exact("destination_flapping", lately(&told.flips, told.known.healthy.map(|(_, read)| read)) >= 6)?;
    exact("not_running", not_running)?;
    let works = told.is_working();
    exact("replicas_not_ready", works && told.known.lacks_replicas)?;
    let age = told.known.checked.filter(|_| told.unhealthy == 0).map(|(checked, read)| read.wall - checked);
    exact("destination_check_old", works && age.is_some_and(|age| age > 900.0))?;

    let metrics = told.known.metrics;
    let read_at = read(Probe::Metrics);
    let delay = metrics.delay_ms.unwrap_or_default() / 1_000.0;
    let may_lag = works && !told.item.bounded;
    let restarts = matches!(told.known.phase, Some("DEPLOYING" | "STOPPING")) && !told.item.bounded;
    only_if("delay_high", (may_lag || restarts) && delay > 300.0)?;
    only_if("delay_critical", (may_lag || restarts) && delay > 1_800.0)?;
    let steady = told
        .lags
        .zip(read_at)
        .is_some_and(|((since, low, high), read)| low == high && read.world.saturating_sub(since) > SLOPE);
    let lags = may_lag && steady && metrics.delay_ms.is_some();
    must("delay_high", lags && delay <= 1_800.0)?;
    must("delay_critical", lags && delay > 1_800.0)?;
    let pending = metrics.pending.unwrap_or_default();
    only_if("backlog_growing", !failed && pending > 25_000.0)?;
    let grows = told.backlog_grows.zip(read_at).is_some_and(|(since, read)| read.world.saturating_sub(since) > SLOPE);
    let says_pending = told.metrics.is_some_and(|metrics| metrics.pending.is_some());
    must("backlog_growing", grows && !failed && says_pending)?;
    only_if("records_dropped", !failed && told.dropped_more.is_some())?;
    let idle = told.progress.zip(told.known.position_read);
    let longest = idle.map_or(0.0, |(progress, read)| between(progress, read));
    let left_behind = told.left_behind();
    let behind_since = left_behind.map(|found| found.seen);
    let work_since = told.waits_since.into_iter().chain(behind_since).min_by_key(|at| at.world);
    let since = |from: Option<At>| from.zip(told.known.position_read).map_or(0.0, |(from, read)| between(from, read));
    only_if("stalled", works && longest > 600.0 && since(work_since) > 600.0)?;
    only_if("no_progress", works && longest > 1_800.0)?;
    let stands_since =
        told.progress.zip(told.running_since).map(|(progress, running)| later(later(progress, running), on_duty));
    let shortest = since(stands_since);
    must("stalled", works && shortest > 600.0 && since(told.waits_since) > 600.0)?;
    // What others had read before it ran again may not be its work.
    let is_its_work = left_behind.zip(stands_since).is_some_and(|(found, since)| found.read_on.world > since.world);
    must("stalled", works && is_its_work && since(behind_since) > 600.0)?;
    must("no_progress", works && shortest > 1_800.0 && !shows("stalled"))?;

    let accepted = matches!(view.credential.state(), KeyState::Accepted { .. });
    only_if("forbidden", is_forbidden(told))?;
    must("forbidden", is_forbidden(told) && accepted)?;
    let fails = told.probes.iter().any(|probe| probe.attempt.is_some_and(|(_, failure)| failure.is_some()));
    only_if("probe_failing", fails)?;
    let without_phase = told.status.is_some() && told.phase().is_none();
    only_if("readings_stale", fails || without_phase)
}

/// A probe that fails while others of the account succeed is trouble, and what cannot be read for too long is stale.
fn of_failing_probes(
    told: &PipelineTold,
    kinds: &BTreeSet<Rc<str>>,
    account: usize,
    scene: &Scene,
) -> Result<(), String> {
    // A refused pipeline is `forbidden`, and nothing else for that.
    if told.is_off_duty() || is_forbidden(told) {
        return Ok(());
    }
    let stale_after = scene.daemon.accounts[account].settings.poll.stale_after;
    let is_fresh = |probe: &ProbeTold| probe.read.is_some_and(|at| at.is_fresh(scene.now(), stale_after));
    let mut alone = told.probes.iter().filter(|probe| probe.fails_alone).peekable();
    let fails = alone.peek().is_some();
    let is_stale = !alone.all(is_fresh);
    let shows = |kind: &str| kinds.contains(kind);
    if is_stale && !shows("readings_stale") {
        return Err("a probe fails that has not been read for too long, and readings_stale is not shown".to_owned());
    }
    if fails && !shows("readings_stale") && !shows("probe_failing") {
        return Err("a probe fails while others succeed, and probe_failing is not shown".to_owned());
    }
    Ok(())
}
