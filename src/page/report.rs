//! The fleet at one moment: one structure for the page and the JSON form, so that both show the same.
//!
//! Fields have the names of the gauges without their prefix, and their units. Values that are not fresh are left out, as on
//! `/metrics`.

use std::sync::Arc;
use std::time::Duration;

use serde::{Serialize, Serializer};

use super::message;
use super::query::Query;
use super::value::{Number, Time};
use crate::account::{Beginning, KeyState, Pipeline, ProbeState, Usage, View};
use crate::api::{self, DestinationErrorReason, Error, Phase, Probe, Reason};
use crate::fleet::Fleet;
use crate::labels::closed_set;
use crate::moment::{Moment, unix_seconds};
use crate::trouble::{Judge, Kind, Severity, Trouble};

/// All accounts at one moment.
pub(super) struct Snapshot {
    now: Moment,
    accounts: Vec<(String, View)>,
}

impl Snapshot {
    pub(super) fn of(fleet: &Fleet, now: Moment) -> Self {
        Self { now, accounts: fleet.snapshot(now) }
    }
}

/// Everything that is shown.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    time_seconds: Number,
    #[serde(skip)]
    pub(super) now: Moment,
    pub(super) version: &'static str,
    pub(super) accounts: Vec<AccountReport<'a>>,
    /// Of all accounts, whatever the query.
    pub(super) pipelines_total: usize,
    /// Those with at least one trouble.
    pub(super) pipelines_in_trouble: usize,
    /// Those with at least one critical trouble.
    pub(super) pipelines_critical: usize,
    /// Those that match the query.
    pub(super) pipelines_matching: usize,
    /// The matching pipelines between offset and limit, the worst first.
    pub(super) pipelines: Vec<PipelineReport<'a>>,
}

#[derive(Serialize)]
pub(super) struct AccountReport<'a> {
    pub(super) account: &'a str,
    pub(super) key: KeyReport,
    pub(super) up: bool,
    pub(super) list_failure: Option<&'static str>,
    pub(super) pipelines: usize,
    pub(super) pipelines_in_trouble: usize,
    pub(super) pipelines_critical: usize,
    pub(super) pipelines_unowned: Option<usize>,
    #[serde(rename = "discovery_last_success_timestamp_seconds")]
    pub(super) listed: Option<Time>,
    /// Counts only pipelines that are neither paused nor at their end nor forbidden.
    pub(super) oldest_reading_age_seconds: Option<Number>,
    pub(super) budget: BudgetReport,
    pub(super) groups: Vec<GroupReport<'a>>,
    /// `None` without `poll.usage`.
    pub(super) usage: Option<UsageReport<'a>>,
    pub(super) troubles: Vec<TroubleReport>,
}

closed_set! {
    /// Whether the API accepts a key.
    pub(super) enum KeyStanding {
        /// There is no response yet.
        Unknown = "unknown",
        /// The newest response accepted it.
        Accepted = "accepted",
        /// The API responds 401.
        Unauthorized = "unauthorized",
        /// The API responds 403 to the list.
        NotServiceKey = "not_a_service_key",
    }
}

/// The state of an account's ServiceKey; never the key itself.
#[derive(Serialize)]
pub(super) struct KeyReport {
    #[serde(serialize_with = "as_text")]
    pub(super) state: KeyStanding,
    pub(super) since: Option<SinceReport>,
    #[serde(rename = "loaded_timestamp_seconds")]
    pub(super) loaded: Time,
}

/// Whether the budget of requests suffices.
#[derive(Serialize)]
pub(super) struct BudgetReport {
    pub(super) required_requests_per_second: Number,
    pub(super) allowed_requests_per_second: Number,
    pub(super) lag_seconds: Number,
    pub(super) paused_until_timestamp_seconds: Option<Number>,
    #[serde(skip)]
    pub(super) paused_for: Option<Duration>,
}

/// The billing flags of a group.
#[derive(Serialize)]
pub(super) struct GroupReport<'a> {
    group: &'a str,
    paid: Option<bool>,
    over_limit: Option<bool>,
    free_trial_expired: Option<bool>,
}

/// The account's use of credits this month.
#[derive(Serialize)]
pub(super) struct UsageReport<'a> {
    /// Whether this key may read it; unknown before the first response.
    pub(super) offered: Option<bool>,
    /// Why the newest request failed.
    pub(super) failure: Option<&'static str>,
    #[serde(rename = "last_success_timestamp_seconds")]
    pub(super) read: Option<Time>,
    pub(super) credits_consumed: Option<Number>,
    pub(super) credits_limit: Option<Number>,
    pub(super) flex_credits_limit: Option<Number>,
    pub(super) premium_credits: Option<Number>,
    pub(super) free_credits: Option<Number>,
    pub(super) plan: Option<&'a str>,
    /// At the pace of the last day or two; only if the month does not end first.
    pub(super) credits_run_out_in_seconds: Option<Number>,
    /// The limits of the plan and the flex credits together.
    #[serde(skip)]
    pub(super) ceiling: Option<Number>,
}

#[derive(Serialize)]
pub(super) struct PipelineReport<'a> {
    pub(super) account: &'a str,
    pub(super) project: Option<&'a str>,
    pub(super) pipeline_id: &'a str,
    pub(super) pipeline: Option<&'a str>,
    pub(super) topic: Option<&'a str>,
    pub(super) chain: Option<&'a str>,
    pub(super) destination_type: Option<&'a str>,
    pub(super) execution_mode: &'static str,
    pub(super) group: Option<&'a str>,
    pub(super) team: Option<&'a str>,
    /// The index in `policies` of the configuration.
    pub(super) policy: Option<usize>,
    pub(super) desired_status: Option<&'static str>,
    pub(super) phase: Option<&'static str>,
    pub(super) phase_since: Option<SinceReport>,
    /// Paused, or bounded and at its end.
    pub(super) off_duty: bool,
    pub(super) replicas: Option<Number>,
    pub(super) replicas_ready: Option<Number>,
    #[serde(rename = "start_time_seconds")]
    pub(super) started: Option<Time>,
    #[serde(rename = "created_timestamp_seconds")]
    pub(super) created: Option<Time>,
    #[serde(rename = "updated_timestamp_seconds")]
    pub(super) updated: Option<Time>,
    pub(super) records_consumed: Option<Number>,
    pub(super) last_offset: Option<Number>,
    pub(super) last_block_height: Option<Number>,
    pub(super) pending_records: Option<Number>,
    pub(super) processing_delay_seconds: Option<Number>,
    pub(super) records_per_second: Option<Number>,
    pub(super) normalization_errors: Option<Number>,
    #[serde(rename = "last_progress_timestamp_seconds")]
    pub(super) progress: Option<Time>,
    pub(super) start_block: Option<Number>,
    pub(super) stop_block: Option<Number>,
    pub(super) backfill: Option<BackfillReport>,
    pub(super) destination: DestinationReport<'a>,
    pub(super) forbidden: bool,
    pub(super) probes: Probes,
    pub(super) troubles: Vec<TroubleReport>,
}

/// The progress of a bounded pipeline. Unknown values are `None`.
#[derive(Clone, Copy, Serialize)]
pub(super) struct BackfillReport {
    /// From 0 to 1.
    pub(super) ratio: Option<Number>,
    pub(super) blocks_left: Number,
    pub(super) blocks_per_second: Option<Number>,
    #[serde(rename = "estimated_end_timestamp_seconds")]
    pub(super) ends: Option<Number>,
    #[serde(skip)]
    pub(super) ends_in: Option<Duration>,
    #[serde(rename = "fell_back_timestamp_seconds")]
    pub(super) fell_back: Option<Time>,
    pub(super) fell_back_from_block: Option<Number>,
}

/// The last check of a pipeline's destination.
#[derive(Serialize)]
pub(super) struct DestinationReport<'a> {
    pub(super) healthy: Option<bool>,
    pub(super) since: Option<SinceReport>,
    pub(super) latency_seconds: Option<Number>,
    #[serde(rename = "last_check_timestamp_seconds")]
    pub(super) checked: Option<Time>,
    /// Only while it is unhealthy.
    pub(super) error_reason: Option<&'static str>,
    /// The API's text, redacted.
    pub(super) error: Option<&'a str>,
}

/// A pipeline's probes, in the order of [`Probe::ALL`].
pub(super) struct Probes(pub(super) [ProbeReport; Probe::COUNT]);

impl Probes {
    pub(super) fn named(&self) -> impl Iterator<Item = (Probe, &ProbeReport)> {
        Probe::ALL.iter().copied().zip(&self.0)
    }
}

impl Serialize for Probes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.named().map(|(probe, report)| (probe.as_str(), report)))
    }
}

#[derive(Serialize)]
pub(super) struct ProbeReport {
    pub(super) success: Option<bool>,
    /// Why the newest attempt failed.
    pub(super) failure: Option<&'static str>,
    #[serde(rename = "last_success_timestamp_seconds")]
    pub(super) read: Option<Time>,
    pub(super) age_seconds: Option<Number>,
    #[serde(skip)]
    pub(super) stale: bool,
}

#[derive(Serialize)]
pub(super) struct TroubleReport {
    #[serde(serialize_with = "as_text")]
    pub(super) kind: Kind,
    #[serde(serialize_with = "as_text")]
    pub(super) severity: Severity,
    pub(super) since: Option<SinceReport>,
    pub(super) about: Option<String>,
    pub(super) message: String,
    pub(super) alert: &'static str,
}

#[derive(Clone, Copy, Serialize)]
pub(super) struct SinceReport {
    #[serde(rename = "timestamp_seconds")]
    pub(super) time: Time,
    pub(super) or_earlier: bool,
}

fn as_text<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// An account at one moment, with its judge.
struct Judged<'a> {
    /// In the order of the configuration.
    index: usize,
    name: &'a str,
    view: &'a View,
    judge: Judge<'a>,
    now: Moment,
}

/// A pipeline and its troubles.
struct JudgedPipeline<'a> {
    /// The index of its account.
    account: usize,
    pipeline: &'a Pipeline,
    troubles: Vec<Trouble>,
}

impl<'a> Report<'a> {
    /// Judges all pipelines, and keeps those that match the query.
    pub(super) fn new(snapshot: &'a Snapshot, query: &Query) -> Self {
        let now = snapshot.now;
        let accounts = snapshot.accounts.iter().enumerate();
        let accounts: Vec<Judged> = accounts
            .map(|(index, (name, view))| Judged { index, name, view, judge: Judge::new(view, now), now })
            .collect();
        let mut report = Report {
            time_seconds: Number(unix_seconds(now.wall())),
            now,
            version: env!("CARGO_PKG_VERSION"),
            accounts: Vec::new(),
            pipelines_total: 0,
            pipelines_in_trouble: 0,
            pipelines_critical: 0,
            pipelines_matching: 0,
            pipelines: Vec::new(),
        };
        let mut matching = Vec::new();
        for account in &accounts {
            let judged = account.pipelines();
            let reported = account.report(&judged);
            report.pipelines_total += reported.pipelines;
            report.pipelines_in_trouble += reported.pipelines_in_trouble;
            report.pipelines_critical += reported.pipelines_critical;
            report.accounts.push(reported);
            if query.account.is_empty() || query.account == account.name {
                matching.extend(judged.into_iter().filter(|judged| {
                    query.trouble.matches(&judged.troubles) && query.finds(&account.texts(judged.pipeline))
                }));
            }
        }
        matching.sort_by_cached_key(JudgedPipeline::rank);
        report.pipelines_matching = matching.len();
        let shown = matching.iter().skip(query.offset).take(query.limit);
        report.pipelines = shown.map(|judged| accounts[judged.account].pipeline(judged)).collect();
        report
    }
}

impl JudgedPipeline<'_> {
    fn is_critical(&self) -> bool {
        self.troubles.iter().any(|trouble| trouble.kind.row().severity == Severity::Critical)
    }

    /// The worst first, grouped by kind; then healthy ones, and last those that have nothing to do.
    fn rank(&self) -> impl Ord + use<> {
        let worst = self.troubles.first().map(|trouble| (trouble.kind.row().severity, trouble.kind));
        let name = self.pipeline.listed().name.as_deref().unwrap_or_default().to_lowercase();
        (worst.is_none(), worst, self.pipeline.is_off_duty(), self.account, name, self.pipeline.id().clone())
    }
}

impl<'a> Judged<'a> {
    fn pipelines(&self) -> Vec<JudgedPipeline<'a>> {
        let judged = |pipeline: &'a std::sync::Arc<Pipeline>| JudgedPipeline {
            account: self.index,
            pipeline,
            troubles: self.judge.pipeline(pipeline),
        };
        self.view.pipelines.values().map(judged).collect()
    }

    /// The texts that a search compares.
    fn texts(&self, pipeline: &'a Pipeline) -> [&'a str; 8] {
        let listed = pipeline.listed();
        let phase = self.status(pipeline).and_then(|status| status.phase);
        [
            self.name,
            pipeline.id().as_str(),
            listed.name.as_deref().unwrap_or_default(),
            listed.project.as_deref().unwrap_or_default(),
            listed.topic.as_deref().unwrap_or_default(),
            listed.destination_type.as_deref().unwrap_or_default(),
            listed.group.as_ref().map(api::Group::label).unwrap_or_default(),
            phase.map_or("", Phase::as_str),
        ]
    }

    fn is_fresh(&self, pipeline: &Pipeline, probe: Probe) -> bool {
        pipeline.probe(probe).is_fresh(self.now, self.view.stale_after)
    }

    fn status(&self, pipeline: &'a Pipeline) -> Option<&'a api::Status> {
        pipeline.status().filter(|_| self.is_fresh(pipeline, Probe::Status))
    }

    fn time(&self, at: Moment) -> Time {
        Time::of(at, self.now)
    }

    fn wall(&self, unix: Option<f64>) -> Option<Time> {
        unix.map(|unix| Time::of_wall(unix, self.now))
    }

    fn since(&self, began: Option<Beginning>) -> Option<SinceReport> {
        began.map(|began| SinceReport { time: self.time(began.at), or_earlier: began.or_earlier })
    }

    fn trouble(&self, trouble: Trouble, message: String) -> TroubleReport {
        let row = trouble.kind.row();
        TroubleReport {
            kind: trouble.kind,
            severity: row.severity,
            since: self.since(trouble.since),
            about: trouble.about,
            message,
            alert: row.alert,
        }
    }

    fn report(&self, judged: &[JudgedPipeline<'a>]) -> AccountReport<'a> {
        let view = self.view;
        let budget = &view.budget;
        let groups = view.list_fresh(self.now).into_iter().flat_map(|list| &list.groups);
        let groups = groups.map(|(group, flags)| GroupReport {
            group,
            paid: flags.paid,
            over_limit: flags.over_limit,
            free_trial_expired: flags.free_trial_expired,
        });
        let on_duty = judged.iter().filter(|judged| !judged.pipeline.is_off_duty() && !judged.pipeline.is_forbidden());
        let oldest = on_duty.filter_map(|judged| self.oldest_reading(judged.pipeline)).max();
        let key = view.credential.state();
        let troubles = self.judge.account();
        AccountReport {
            account: self.name,
            key: KeyReport {
                state: match key {
                    KeyState::Untried => KeyStanding::Unknown,
                    KeyState::Accepted { .. } => KeyStanding::Accepted,
                    KeyState::Refused { .. } => KeyStanding::Unauthorized,
                    KeyState::NotServiceKey { .. } => KeyStanding::NotServiceKey,
                },
                since: self.since(key.since()),
                loaded: Time::of_system(view.credential.loaded_at(), self.now),
            },
            up: view.is_up(self.now),
            list_failure: view.listing.failure().map(|error: &Error| error.reason().as_str()),
            pipelines: judged.len(),
            pipelines_in_trouble: judged.iter().filter(|judged| !judged.troubles.is_empty()).count(),
            pipelines_critical: judged.iter().filter(|judged| judged.is_critical()).count(),
            pipelines_unowned: view.list_fresh(self.now).and(view.unowned()),
            listed: view.listing.latest().map(|list| self.time(list.at)),
            oldest_reading_age_seconds: oldest.map(|age| Number(age.as_secs_f64())),
            budget: BudgetReport {
                required_requests_per_second: Number(budget.required),
                allowed_requests_per_second: Number(budget.allowed),
                lag_seconds: Number(budget.lag(self.now).as_secs_f64()),
                paused_until_timestamp_seconds: budget.paused_until.map(|until| Number(unix_seconds(until.wall()))),
                paused_for: budget.paused_until.map(|until| until.since(self.now)),
            },
            groups: groups.collect(),
            usage: view.usage.as_ref().map(|usage| self.usage(usage)),
            troubles: troubles
                .into_iter()
                .map(|trouble| {
                    let message = message::of_account(&trouble, view, self.now);
                    self.trouble(trouble, message)
                })
                .collect(),
        }
    }

    fn usage(&self, usage: &'a Usage) -> UsageReport<'a> {
        let fresh = usage.fresh(self.now, self.view.stale_after);
        let number = |read: fn(&api::Usage) -> Option<f64>| fresh.and_then(read).map(Number);
        let age = usage.read_at().map(|at| self.now.since(at)).unwrap_or_default();
        let lasts = fresh.and_then(|_| usage.runs_out_in());
        let was_read = usage.read_at().is_some() && usage.failure().is_none();
        UsageReport {
            offered: if usage.is_not_offered() { Some(false) } else { was_read.then_some(true) },
            failure: usage.failure().map(Reason::as_str),
            read: usage.read_at().map(|at| self.time(at)),
            credits_consumed: number(|usage| usage.credits_consumed),
            credits_limit: number(|usage| usage.credits_limit),
            flex_credits_limit: number(|usage| usage.flex_credits_limit),
            premium_credits: number(|usage| usage.premium_credits),
            free_credits: number(|usage| usage.free_credits),
            plan: fresh.and_then(|usage| usage.plan.as_deref()),
            credits_run_out_in_seconds: lasts.map(|lasts| Number(lasts.saturating_sub(age).as_secs_f64())),
            ceiling: fresh.and_then(|_| usage.ceiling()).map(Number),
        }
    }

    fn oldest_reading(&self, pipeline: &Pipeline) -> Option<Duration> {
        pipeline.probes().filter_map(|(_, probe)| probe.read_at()).map(|at| self.now.since(at)).max()
    }

    fn pipeline(&self, judged: &JudgedPipeline<'a>) -> PipelineReport<'a> {
        let pipeline = judged.pipeline;
        let names = pipeline.listed();
        let listed = pipeline.listed_fresh(self.now, self.view.stale_after);
        let bounded = listed.filter(|listed| listed.is_bounded());
        let status = self.status(pipeline);
        let metrics = pipeline.metrics().filter(|_| self.is_fresh(pipeline, Probe::Metrics));
        let metric = |read: fn(&api::PipelineMetrics) -> Option<f64>| metrics.and_then(read).map(Number);
        let phase = status.and_then(|status| status.phase);
        let troubles = judged.troubles.iter().map(|trouble| {
            let message = message::of_pipeline(trouble, pipeline, self.view, self.now);
            self.trouble(trouble.clone(), message)
        });
        PipelineReport {
            account: self.name,
            project: named(&names.project),
            pipeline_id: pipeline.id().as_str(),
            pipeline: named(&names.name),
            topic: names.topic.as_deref(),
            chain: names.chain(),
            destination_type: names.destination_type.as_deref(),
            execution_mode: names.execution_mode.as_str(),
            group: names.group.as_ref().map(api::Group::label),
            team: pipeline.team(),
            policy: self.view.policy_of(pipeline),
            desired_status: listed.and_then(api::ListedPipeline::desired_status).map(|status| status.as_str()),
            phase: phase.map(Phase::as_str),
            phase_since: phase.and_then(|_| self.since(pipeline.phase().began())),
            off_duty: pipeline.is_off_duty(),
            replicas: status.and_then(|status| status.replicas).map(Number),
            replicas_ready: status.and_then(|status| status.ready).map(Number),
            started: self.wall(status.and_then(api::Status::start_time)),
            created: self.wall(listed.and_then(api::ListedPipeline::created_at)),
            updated: self.wall(listed.and_then(api::ListedPipeline::updated_at)),
            records_consumed: metric(|metrics| metrics.records_consumed),
            last_offset: metric(|metrics| metrics.last_offset),
            last_block_height: metric(|metrics| metrics.last_block_height),
            pending_records: metric(|metrics| metrics.pending_records),
            processing_delay_seconds: metric(|metrics| metrics.processing_delay_seconds),
            records_per_second: metric(|metrics| metrics.records_per_second),
            normalization_errors: metric(|metrics| metrics.normalization_errors),
            progress: metrics.and(pipeline.last_progress()).map(|at| self.time(at)),
            start_block: bounded.and_then(|listed| listed.start_block).map(Number),
            stop_block: bounded.and_then(|listed| listed.stop_block).map(Number),
            backfill: metrics.and(bounded).and_then(|_| self.backfill(pipeline)),
            destination: self.destination(pipeline),
            forbidden: pipeline.is_forbidden(),
            probes: Probes(Probe::ALL_VALUES.map(|probe| self.probe(pipeline.probe(probe)))),
            troubles: troubles.collect(),
        }
    }

    fn backfill(&self, pipeline: &Pipeline) -> Option<BackfillReport> {
        let backfill = pipeline.backfill()?;
        let read_at = pipeline.probe(Probe::Metrics).read_at()?;
        let left = backfill.seconds_left().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        Some(BackfillReport {
            ratio: backfill.ratio.map(Number),
            blocks_left: Number(backfill.blocks_left),
            blocks_per_second: backfill.blocks_per_second.map(Number),
            ends: left.map(|left| Number(unix_seconds(read_at.wall()) + left.as_secs_f64())),
            ends_in: left.map(|left| left.saturating_sub(self.now.since(read_at))),
            fell_back: backfill.fell_back.map(|fell| self.time(fell.at)),
            fell_back_from_block: backfill.fell_back.map(|fell| Number(fell.from_block)),
        })
    }

    fn destination(&self, pipeline: &'a Pipeline) -> DestinationReport<'a> {
        let health = pipeline.destination().filter(|_| self.is_fresh(pipeline, Probe::DestinationHealth));
        let healthy = health.and_then(|health| health.healthy);
        let reason = health.and_then(api::DestinationHealth::error_reason);
        let error = health.and_then(|health| health.last_error.as_ref()).filter(|_| reason.is_some());
        DestinationReport {
            healthy,
            since: healthy.and_then(|_| self.since(pipeline.healthy().began())),
            latency_seconds: health.and_then(|health| health.latency_seconds).map(Number),
            checked: self.wall(health.and_then(api::DestinationHealth::last_checked_at)),
            error_reason: reason.map(DestinationErrorReason::as_str),
            error: error.map(|error| &*error.redacted),
        }
    }

    fn probe(&self, probe: &ProbeState) -> ProbeReport {
        let read = probe.read_at().map(|at| self.time(at));
        ProbeReport {
            success: probe.success(self.now, self.view.stale_after),
            failure: probe.failure().map(Reason::as_str),
            read,
            age_seconds: read.map(|read| Number(read.age.as_secs_f64())),
            stale: read.is_some() && !probe.is_fresh(self.now, self.view.stale_after),
        }
    }
}

/// A name that is empty is none.
fn named(name: &Option<Arc<str>>) -> Option<&str> {
    name.as_deref().filter(|name| !name.is_empty())
}
