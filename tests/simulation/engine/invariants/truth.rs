//! Once nothing has begun or ended for a while, the picture is the truth: the pipelines that exist, as they are, and the
//! troubles that they have.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use goldrush_exporter::api::PipelineId;

use super::super::daemon;
use super::super::history::{Condition, Fault};
use super::super::picture::AccountPicture;
use super::super::world::Pipeline;
use super::readings::phase_series;
use super::{Invariant, Scene, Step};

/// After this, everything has been read often enough to be judged.
const LONGEST: Duration = Duration::from_secs(900);

#[derive(Default)]
pub struct Truth {
    /// The end of the last pause of each account, in the world's time.
    paused: BTreeMap<usize, Duration>,
}

impl Invariant for Truth {
    fn name(&self) -> &'static str {
        "truth"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        let Step::Scraped { picture, views } = step else { return Ok(()) };
        let now = scene.now();
        for (account, view) in views.iter().enumerate() {
            if view.budget.paused_until.is_some() {
                self.paused.insert(account, now);
            }
            let poll = &scene.daemon.accounts[account].settings.poll;
            let stretch = (view.budget.required / view.budget.allowed).max(1.0);
            let pipelines = view.pipelines.len() as f64;
            // A list that failed backs off for a minute at most. Then a list, which its share of the budget stretches, and
            // each probe twice.
            let pages = (pipelines / f64::from(scene.history.setup.page)).ceil() + 1.0;
            let list = (poll.discovery.as_secs_f64() * stretch)
                .min(pages / poll.requests_per_second * 20.0)
                .max(poll.discovery.as_secs_f64())
                + pages / poll.requests_per_second
                + pages;
            let round = 3.0 * pipelines / poll.requests_per_second;
            let settles = Duration::from_secs_f64(60.0 + 2.0 * list + 2.0 * 1.6 * 120.0 * stretch + 2.0 * round + 30.0);
            let calm = scene.calm_for().min(now.saturating_sub(self.paused.get(&account).copied().unwrap_or_default()));
            // With a budget as small as that, readings come and go: the list is withdrawn before the next one comes.
            let comes_and_goes = list.max(60.0 * stretch) * 1.6 > poll.stale_after.as_secs_f64();
            // Where nothing moves any more, what grows does so no longer.
            if calm < settles || scene.world.is_faulty() || scene.world.is_frozen() || comes_and_goes {
                continue;
            }
            scene.coverage.note("calm: the picture was compared with the truth");
            let Some(shown) = picture.accounts.get(daemon::name(account)) else {
                return Err(format!("account {account} is not shown"));
            };
            let idle = poll.idle.mul_f64(1.6 * stretch);
            compare(account, shown, scene, calm, settles, idle)?;
        }
        Ok(())
    }
}

fn compare(
    account: usize,
    shown: &AccountPicture,
    scene: &Scene,
    calm: Duration,
    settles: Duration,
    idle: Duration,
) -> Result<(), String> {
    for (series, truth) in [("goldrush_up", 1.0), ("goldrush_auth_unauthorized", 0.0), ("goldrush_auth_forbidden", 0.0)]
    {
        let found = shown.samples.get(series);
        if found != Some(&truth) {
            return Err(format!("{series} is {found:?}, and nothing has been wrong for {calm:?}"));
        }
    }
    let settings = &scene.daemon.accounts[account].settings;
    let all: Vec<&Pipeline> = scene.world.of(account).collect();
    let ours: Vec<&Pipeline> =
        all.iter().copied().filter(|pipeline| settings.account.projects.matches(pipeline.project)).collect();
    let is_cut = all.len() > settings.max_pipelines;
    let truth: BTreeSet<&str> = ours.iter().map(|pipeline| pipeline.id.as_str()).collect();
    let found: BTreeSet<&str> = shown.pipelines.keys().map(|id| &**id).collect();
    for gone in found.difference(&truth) {
        // What a list that is cut hides is not gone, as long as it exists at all.
        let may_be_hidden = is_cut && scene.world.pipelines.iter().any(|pipeline| pipeline.id.as_str() == *gone);
        if !may_be_hidden {
            return Err(format!("{gone} is shown, and does not exist or is not polled here"));
        }
    }
    if let (Some(missing), false) = (truth.difference(&found).next(), is_cut) {
        return Err(format!("{missing} exists, and is not shown"));
    }
    for pipeline in ours {
        if let (Some(shown), false) = (shown.pipelines.get(pipeline.id.as_str()), is_cut) {
            // Of those that a cut list hides, what the list says is old.
            if *shown.name != *pipeline.name || *shown.project != *pipeline.project {
                return Err(format!("{} is shown as {:?}", pipeline.id, shown.name));
            }
            // The readings of one that has nothing to do come and go if the budget stretches its pace beyond `stale_after`.
            let is_idle = pipeline.has(Condition::Paused)
                || pipeline.has(Condition::Ended)
                || pipeline.is_complete()
                || scene.told[account].has_ended(&pipeline.id);
            if scene.now() - pipeline.turned < settles || (is_idle && idle > settings.poll.stale_after) {
                continue;
            }
            let in_turns = [Condition::CrashLoops, Condition::RunsAgain, Condition::Flickers];
            let is_steady = !in_turns.into_iter().any(|is| pipeline.has(is));
            if let Some(phase) = pipeline.phase().filter(|_| is_steady)
                && shown.samples.get(phase_series(phase)) != Some(&1.0)
            {
                return Err(format!("{} is {phase}, and something else is shown", pipeline.id));
            }
            let kinds = &shown.kinds;
            let now = scene.now();
            for (kind, condition, after) in INCIDENTS {
                let lasted = pipeline.since(*condition).map(|since| now - since);
                let hidden = pipeline.has(Condition::Paused)
                    || (pipeline.bounded && (pipeline.has(Condition::Ended) || pipeline.has(Condition::RunsAgain)))
                    || pipeline.is_complete()
                    // A bounded one whose worker was last read to be PAUSED has nothing to do until something else is read.
                    || scene.told[account].has_ended(&pipeline.id)
                    || (pipeline.bounded
                        && matches!(condition, Condition::Lag | Condition::LagCritical | Condition::WorkerPaused));
                let worse = has_worse(pipeline, *condition);
                // Whatever has begun or ended since may have hidden it: a pause, or another exporter.
                let after = Duration::from_secs(*after);
                let due = lasted.is_some_and(|lasted| lasted > after + LONGEST) && calm > after + settles;
                if due && !hidden && !worse && !kinds.contains(*kind) {
                    return Err(format!(
                        "{} has been {condition:?} for {lasted:?}, and {kind} is not raised",
                        pipeline.id
                    ));
                }
            }
            let ends_early = pipeline.has(Condition::Ended) && pipeline.is_short() && !pipeline.has(Condition::Paused);
            if ends_early && !kinds.contains("ended_early") {
                return Err(format!("{} has ended before its last block, and ended_early is not raised", pipeline.id));
            }
            // Restarts and flapping count for half an hour.
            let at_peace = pipeline.conditions.is_empty() && calm > Duration::from_secs(1_500 + 1_800);
            // The age of a check depends on the wall clock.
            let mut kinds = kinds.iter().filter(|kind| scene.clock.stepped == 0 || ***kind != *"destination_check_old");
            if let Some(kind) = kinds.next().filter(|_| at_peace) {
                return Err(format!("{} is in trouble {kind}, and nothing is wrong with it", pipeline.id));
            }
        }
    }
    let is_missing = |id: &PipelineId| !all.iter().any(|pipeline| pipeline.id == *id);
    for (kind, is) in [
        ("pipelines_over_limit", is_cut),
        ("group_over_limit", !all.is_empty() && scene.world.is_flagged(account, &Fault::OverLimit)),
        ("group_trial_expired", !all.is_empty() && scene.world.is_flagged(account, &Fault::TrialExpired)),
        ("expected_missing", settings.account.expect.iter().any(is_missing)),
    ] {
        // What a list that is cut does not show may be missing, or may be of another group.
        if shown.kinds.contains(kind) != is && (!is_cut || kind == "pipelines_over_limit") {
            return Err(format!("{kind} is so: {is}, and something else is shown"));
        }
    }
    let over = shown.samples.get("goldrush_pipelines_over_limit");
    if over != Some(&f64::from(is_cut)) {
        return Err(format!("goldrush_pipelines_over_limit is {over:?}"));
    }
    Ok(())
}

/// What has to be raised, and how long after it has begun, in seconds, beyond the time in which all is read.
const INCIDENTS: &[(&str, Condition, u64)] = &[
    ("failed", Condition::Failed, 0),
    ("destination_unhealthy", Condition::Unhealthy, 0),
    ("not_running", Condition::Deploying, 900),
    ("not_running", Condition::CrashLoops, 900),
    ("not_running", Condition::WorkerPaused, 900),
    ("replicas_not_ready", Condition::LacksReplicas, 0),
    ("delay_high", Condition::Lag, 900),
    ("delay_critical", Condition::LagCritical, 900),
    ("backlog_growing", Condition::Backlog, 0),
    ("stalled", Condition::Stalled, 600),
    ("records_dropped", Condition::Drops, 0),
    ("readings_stale", Condition::NoPhase, 0),
];

/// What keeps a worker from running, or from being seen to run.
const WORKER: &[Condition] = &[
    Condition::Failed,
    Condition::Deploying,
    Condition::CrashLoops,
    Condition::WorkerPaused,
    Condition::StrangePhase,
    Condition::NoPhase,
    Condition::Flickers,
];

/// Something else is so with the pipeline that hides this.
fn has_worse(pipeline: &Pipeline, condition: Condition) -> bool {
    use Condition as C;
    let (worker, others): (&[Condition], &[Condition]) = match condition {
        C::Unhealthy => (&[], &[C::Flaps, C::Flickers]),
        C::Failed => (&[], &[C::Paused]),
        C::Deploying | C::CrashLoops | C::WorkerPaused => (&[], &[C::Paused, C::Failed]),
        C::NoPhase => (&[], &[C::Failed, C::Deploying, C::CrashLoops, C::WorkerPaused, C::StrangePhase]),
        C::Lag => (WORKER, &[C::LagCritical]),
        C::Backlog | C::Stalled => (WORKER, &[C::Quiet, C::Stalled, C::Backlog]),
        // Drops are not seen between the first two readings of each worker.
        C::Drops => (WORKER, &[C::Quiet, C::Stalled, C::Backlog, C::Restarts]),
        _ => (WORKER, &[]),
    };
    worker.iter().chain(others).any(|other| *other != condition && pipeline.has(*other))
}
