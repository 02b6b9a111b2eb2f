//! What is shown of the fleet at one moment: one structure for the page and the JSON form, so that both say the same.
//!
//! Fields are named as the gauges, without their prefix, in the same units. What is not fresh is not here, as on
//! `/metrics`.

use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use super::query::Query;
use super::words;
use crate::api::{self, DestinationErrorReason, Phase, Reason};
use crate::fleet::trouble::{Judge, Kind, Severity, Trouble, is_off_duty};
use crate::fleet::{Account, Beginning, Fleet, KeyStanding, Moment, Pipeline, ProbeState, unix_seconds};

/// The picture at one moment.
pub(super) struct Snapshot {
    now: Moment,
    accounts: Vec<(String, Account)>,
}

impl Snapshot {
    pub(super) fn of(fleet: &Fleet, now: Moment) -> Self {
        Self { now, accounts: fleet.snapshot() }
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
    /// All pipelines there are.
    pub(super) pipelines_total: usize,
    /// Of them, those with at least one trouble.
    pub(super) pipelines_in_trouble: usize,
    /// Of them, those with at least one that is critical.
    pub(super) pipelines_critical: usize,
    /// Those that fit the query.
    pub(super) pipelines_matching: usize,
    /// A part of those, the troubled ones first.
    pub(super) pipelines: Vec<PipelineReport<'a>>,
}

/// An account.
#[derive(Serialize)]
pub(super) struct AccountReport<'a> {
    pub(super) account: &'a str,
    pub(super) key: KeyReport,
    pub(super) up: bool,
    pub(super) list_failure: Option<&'static str>,
    pub(super) pipelines: usize,
    pub(super) pipelines_in_trouble: usize,
    pub(super) pipelines_critical: usize,
    #[serde(rename = "discovery_last_success_timestamp_seconds")]
    pub(super) listed: Option<Time>,
    /// Of the pipelines that are neither paused nor at their end nor forbidden.
    pub(super) oldest_reading_age_seconds: Option<Number>,
    pub(super) budget: BudgetReport,
    pub(super) groups: Vec<GroupReport<'a>>,
    pub(super) troubles: Vec<TroubleReport>,
}

/// The ServiceKey of an account, of which nothing is shown but how it fares.
#[derive(Serialize)]
pub(super) struct KeyReport {
    pub(super) state: &'static str,
    pub(super) since: Option<SinceReport>,
    #[serde(rename = "loaded_timestamp_seconds")]
    pub(super) loaded: Option<Time>,
}

/// Whether the requests suffice.
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

/// A pipeline.
#[derive(Serialize)]
pub(super) struct PipelineReport<'a> {
    pub(super) account: &'a str,
    pub(super) project: Option<&'a str>,
    pub(super) pipeline_id: &'a str,
    pub(super) pipeline: Option<&'a str>,
    pub(super) topic: Option<&'a str>,
    pub(super) destination_type: Option<&'a str>,
    pub(super) execution_mode: Option<&'a str>,
    pub(super) group: Option<&'a str>,
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
    pub(super) destination: DestinationReport<'a>,
    pub(super) forbidden: bool,
    pub(super) probes: Probes,
    pub(super) troubles: Vec<TroubleReport>,
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
    /// The API's own words, redacted.
    pub(super) error: Option<&'a str>,
}

/// A pipeline's three probes.
#[derive(Serialize)]
pub(super) struct Probes {
    pub(super) status: ProbeReport,
    pub(super) metrics: ProbeReport,
    pub(super) destination_health: ProbeReport,
}

impl Probes {
    pub(super) fn named(&self) -> [(&'static str, &ProbeReport); 3] {
        [("status", &self.status), ("metrics", &self.metrics), ("destination_health", &self.destination_health)]
    }
}

/// One of a pipeline's probes.
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
    /// Again and again.
    #[serde(skip)]
    pub(super) failing: bool,
}

/// One thing that is wrong.
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

/// When something began.
#[derive(Clone, Copy, Serialize)]
pub(super) struct SinceReport {
    #[serde(rename = "timestamp_seconds")]
    pub(super) time: Time,
    pub(super) or_earlier: bool,
}

/// A point in time: written as Unix seconds, and how long ago it was by the monotonic clock where that was there.
#[derive(Clone, Copy)]
pub(super) struct Time {
    pub(super) unix: f64,
    pub(super) age: Duration,
}

impl Time {
    fn of(at: Moment, now: Moment) -> Self {
        Self { unix: unix_seconds(at.wall), age: now.since(at) }
    }

    /// A time of which only the wall clock is known; one in the future is now.
    fn of_wall(unix: f64, now: Moment) -> Self {
        let age = Duration::try_from_secs_f64(unix_seconds(now.wall) - unix).unwrap_or_default();
        Self { unix, age }
    }

    fn of_system(at: SystemTime, now: Moment) -> Self {
        Self::of_wall(unix_seconds(at), now)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Number(self.unix).serialize(serializer)
    }
}

/// A number, to three digits after the point; whole numbers have none.
#[derive(Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        /// 2^53: a whole number beyond may have been rounded.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        let rounded = (self.0 * 1000.0).round() / 1000.0;
        if rounded.fract() == 0.0 && rounded.abs() <= EXACT {
            serializer.serialize_i64(rounded as i64)
        } else {
            serializer.serialize_f64(rounded)
        }
    }
}

fn as_text<T: std::fmt::Display, S: Serializer>(value: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// An account at one moment.
struct View<'a> {
    place: usize,
    name: &'a str,
    account: &'a Account,
    judge: Judge<'a>,
    now: Moment,
}

/// A pipeline and what is wrong with it.
struct Judged<'a> {
    view: usize,
    pipeline: &'a Pipeline,
    troubles: Vec<Trouble>,
}

impl<'a> Report<'a> {
    /// Judges all pipelines, and shows those that are asked for.
    pub(super) fn new(snapshot: &'a Snapshot, query: &Query) -> Self {
        let now = snapshot.now;
        let accounts = snapshot.accounts.iter().enumerate();
        let views: Vec<View> = accounts
            .map(|(place, (name, account))| View { place, name, account, judge: Judge::new(account, now), now })
            .collect();
        let mut report = Report {
            time_seconds: Number(unix_seconds(now.wall)),
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
        for view in &views {
            let judged = view.judged();
            let account = view.report(&judged);
            report.pipelines_total += account.pipelines;
            report.pipelines_in_trouble += account.pipelines_in_trouble;
            report.pipelines_critical += account.pipelines_critical;
            report.accounts.push(account);
            if query.account.is_empty() || query.account == view.name {
                matching.extend(judged.into_iter().filter(|judged| {
                    query.trouble.matches(&judged.troubles) && query.finds(&view.texts(judged.pipeline))
                }));
            }
        }
        matching.sort_by_cached_key(Judged::place);
        report.pipelines_matching = matching.len();
        let shown = matching.iter().skip(query.offset).take(query.limit);
        report.pipelines = shown.map(|judged| views[judged.view].pipeline(judged)).collect();
        report
    }
}

impl Judged<'_> {
    fn is_critical(&self) -> bool {
        self.troubles.iter().any(|trouble| trouble.kind.severity() == Severity::Critical)
    }

    /// The worst first, like beside like; then the well ones, and at the end those that have nothing to do.
    fn place(&self) -> impl Ord + use<> {
        let worst = self.troubles.first().map(|trouble| (trouble.kind.severity(), trouble.kind));
        let name = self.pipeline.listed().name.as_deref().unwrap_or_default().to_lowercase();
        (worst.is_none(), worst, is_off_duty(self.pipeline), self.view, name, self.pipeline.id().clone())
    }
}

impl<'a> View<'a> {
    fn judged(&self) -> Vec<Judged<'a>> {
        let pipelines = self.account.pipelines();
        pipelines
            .map(|pipeline| Judged { view: self.place, pipeline, troubles: self.judge.pipeline(pipeline) })
            .collect()
    }

    /// What a search looks at.
    fn texts(&self, pipeline: &'a Pipeline) -> [&'a str; 8] {
        let listed = pipeline.listed();
        let phase = self.fresh(&pipeline.status).and_then(|status| status.phase);
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

    fn fresh<'p, T>(&self, probe: &'p ProbeState<T>) -> Option<&'p T> {
        probe.fresh(self.now, self.account.stale_after)
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
        TroubleReport {
            kind: trouble.kind,
            severity: trouble.kind.severity(),
            since: self.since(trouble.since),
            about: trouble.about,
            message,
            alert: trouble.kind.alert(),
        }
    }

    fn report(&self, judged: &[Judged<'a>]) -> AccountReport<'a> {
        let account = self.account;
        let waits_until = account.budget.waits_until(self.now);
        let budget = BudgetReport {
            required_requests_per_second: Number(account.budget.required),
            allowed_requests_per_second: Number(account.budget.allowed),
            lag_seconds: Number(account.budget.lag(self.now).as_secs_f64()),
            paused_until_timestamp_seconds: waits_until.map(|until| Number(unix_seconds(until.wall))),
            paused_for: waits_until.map(|until| until.since(self.now)),
        };
        let groups = account.list_fresh(self.now).into_iter().flat_map(|list| &list.groups);
        let groups = groups.map(|(group, flags)| GroupReport {
            group,
            paid: flags.paid,
            over_limit: flags.over_limit,
            free_trial_expired: flags.free_trial_expired,
        });
        let mut report = AccountReport {
            account: self.name,
            key: KeyReport {
                state: match account.key().state() {
                    KeyStanding::Unknown => "unknown",
                    KeyStanding::Accepted => "accepted",
                    KeyStanding::Unauthorized => "unauthorized",
                    KeyStanding::NotServiceKey => "not_a_service_key",
                },
                since: self.since(account.key().began()),
                loaded: account.key_loaded.map(|at| Time::of_system(at, self.now)),
            },
            up: account.up,
            list_failure: account.list_failure.map(Reason::as_str),
            pipelines: judged.len(),
            pipelines_in_trouble: judged.iter().filter(|judged| !judged.troubles.is_empty()).count(),
            pipelines_critical: judged.iter().filter(|judged| judged.is_critical()).count(),
            listed: account.list.as_ref().map(|list| self.time(list.at)),
            oldest_reading_age_seconds: judged
                .iter()
                .filter(|judged| !is_off_duty(judged.pipeline) && !judged.pipeline.is_forbidden())
                .filter_map(|judged| self.oldest_reading(judged.pipeline))
                .max()
                .map(|age| Number(age.as_secs_f64())),
            budget,
            groups: groups.collect(),
            troubles: Vec::new(),
        };
        report.troubles = self
            .judge
            .account()
            .into_iter()
            .map(|trouble| {
                let message = words::of_account(&trouble, &report);
                self.trouble(trouble, message)
            })
            .collect();
        report
    }

    fn oldest_reading(&self, pipeline: &Pipeline) -> Option<Duration> {
        let moments = [
            pipeline.status.reading().map(|reading| reading.at),
            pipeline.metrics.reading().map(|reading| reading.at),
            pipeline.destination_health.reading().map(|reading| reading.at),
        ];
        moments.into_iter().flatten().map(|at| self.now.since(at)).max()
    }

    fn pipeline(&self, judged: &Judged<'a>) -> PipelineReport<'a> {
        let pipeline = judged.pipeline;
        let names = pipeline.listed();
        let listed = pipeline.listed_fresh(self.now, self.account.stale_after);
        let status = self.fresh(&pipeline.status);
        let metrics = self.fresh(&pipeline.metrics);
        let metric = |read: fn(&api::Metrics) -> Option<f64>| metrics.and_then(read).map(Number);
        let phase = status.and_then(|status| status.phase);
        let mut report = PipelineReport {
            account: self.name,
            project: names.project.as_deref(),
            pipeline_id: pipeline.id().as_str(),
            pipeline: names.name.as_deref(),
            topic: names.topic.as_deref(),
            destination_type: names.destination_type.as_deref(),
            execution_mode: names.execution_mode.as_deref(),
            group: names.group.as_ref().map(api::Group::label),
            desired_status: listed.and_then(api::Pipeline::desired_status).map(|status| status.as_str()),
            phase: phase.map(Phase::as_str),
            phase_since: phase.and_then(|_| self.since(pipeline.phase().began())),
            off_duty: is_off_duty(pipeline),
            replicas: status.and_then(|status| status.replicas).map(Number),
            replicas_ready: status.and_then(|status| status.ready).map(Number),
            started: self.wall(status.and_then(api::Status::start_time)),
            created: self.wall(listed.and_then(api::Pipeline::created_at)),
            updated: self.wall(listed.and_then(api::Pipeline::updated_at)),
            records_consumed: metric(|metrics| metrics.records_consumed),
            last_offset: metric(|metrics| metrics.last_offset),
            last_block_height: metric(|metrics| metrics.last_block_height),
            pending_records: metric(|metrics| metrics.pending_records),
            processing_delay_seconds: metric(|metrics| metrics.processing_delay_ms.map(|ms| ms / 1000.0)),
            records_per_second: metric(|metrics| metrics.records_per_second),
            normalization_errors: metric(|metrics| metrics.normalization_errors),
            progress: metrics.and(pipeline.last_progress()).map(|at| self.time(at)),
            destination: self.destination(pipeline),
            forbidden: pipeline.is_forbidden(),
            probes: Probes {
                status: self.probe(&pipeline.status, pipeline.failure(api::Endpoint::Status)),
                metrics: self.probe(&pipeline.metrics, pipeline.failure(api::Endpoint::Metrics)),
                destination_health: self
                    .probe(&pipeline.destination_health, pipeline.failure(api::Endpoint::DestinationHealth)),
            },
            troubles: Vec::new(),
        };
        report.troubles = judged
            .troubles
            .iter()
            .map(|trouble| {
                let message = words::of_pipeline(trouble, &report);
                self.trouble(trouble.clone(), message)
            })
            .collect();
        report
    }

    fn destination(&self, pipeline: &'a Pipeline) -> DestinationReport<'a> {
        let health = self.fresh(&pipeline.destination_health);
        let reason = health.and_then(api::DestinationHealth::error_reason);
        let error = health.and_then(|health| health.last_error.as_ref()).filter(|_| reason.is_some());
        DestinationReport {
            healthy: health.and_then(|health| health.healthy),
            since: health.and_then(|health| health.healthy).and_then(|_| self.since(pipeline.healthy().began())),
            latency_seconds: health.and_then(|health| health.latency_ms).map(|ms| Number(ms / 1000.0)),
            checked: self.wall(health.and_then(api::DestinationHealth::last_checked_at)),
            error_reason: reason.map(DestinationErrorReason::as_str),
            error: error.map(|error| &*error.redacted),
        }
    }

    fn probe<T>(&self, probe: &ProbeState<T>, failure: Option<Reason>) -> ProbeReport {
        let read = probe.reading().map(|reading| self.time(reading.at));
        ProbeReport {
            success: probe.success(self.now, self.account.stale_after),
            failure: failure.map(Reason::as_str),
            read,
            age_seconds: read.map(|read| Number(read.age.as_secs_f64())),
            stale: probe.stale_since(self.now, self.account.stale_after).is_some(),
            failing: probe.failing_since().is_some(),
        }
    }
}
