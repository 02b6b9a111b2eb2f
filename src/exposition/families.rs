//! THE table: one row is one family, with its name, type, help, labels and how to read it from the accounts.
//!
//! A new gauge is one row here. The table in docs/metrics.md is written from it; the dashboards and the alerts are checked against it.

use crate::account::{GroupFlags, ListSummary, Pipeline, View};
use crate::api::{
    DesiredStatus, DestinationHealth, ListedPipeline, Operation, Phase, PipelineMetrics, Probe, Reason, Status,
    UnknownField, Usage,
};
use crate::moment::{Moment, unix_seconds};
use crate::trouble::{Judge, Kind as TroubleKind, Trouble};

use super::part::{Bucket, Place};
use super::writer::{Kind, Labels, Samples};

/// One row of the table.
pub struct Family {
    pub name: &'static str,
    /// One line for `# HELP`.
    pub help: &'static str,
    pub kind: Kind,
    /// Labels beyond those of the subject.
    pub labels: &'static [&'static str],
    /// Whether the shipped alerts or dashboards need it, so that the profile `lean` has it.
    pub in_lean: bool,
    pub stability: Stability,
    pub(super) read: Read,
}

/// What a change of a family needs: docs/metrics.md says what each level promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// A new major version.
    Stable,
    /// A line in the changelog.
    Experimental,
}

impl Stability {
    /// As the documentation writes it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "STABLE",
            Self::Experimental => "EXPERIMENTAL",
        }
    }
}

/// What a family is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The exporter, whatever it polls.
    Exporter,
    /// An account.
    Account,
    /// A pipeline.
    Pipeline,
}

impl Subject {
    /// The labels that every series about it carries.
    pub const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Exporter => &[],
            Self::Account => &["account"],
            Self::Pipeline => &["account", "project", "pipeline_id", "pipeline"],
        }
    }
}

impl Family {
    pub const fn subject(&self) -> Subject {
        match self.read {
            Read::Exporter(_) => Subject::Exporter,
            Read::Account(_) => Subject::Account,
            Read::Pipeline(_) => Subject::Pipeline,
        }
    }

    const fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }

    const fn experimental(mut self) -> Self {
        self.stability = Stability::Experimental;
        self
    }

    const fn lean(mut self) -> Self {
        self.in_lean = true;
        self
    }
}

/// How the samples of one subject are read.
pub(super) enum Read {
    Exporter(fn(&mut Samples)),
    Account(fn(&AccountView, &mut Samples)),
    Pipeline(fn(&PipelineView, &mut Samples)),
}

/// An account at one moment.
pub(super) struct AccountView<'a> {
    pub(super) name: &'a str,
    pub(super) place: Place,
    pub(super) view: &'a View,
    pub(super) judge: Judge<'a>,
    pub(super) now: Moment,
}

impl<'a> AccountView<'a> {
    pub(super) fn new(number: usize, name: &'a str, view: &'a View, now: Moment) -> Self {
        let place = Place { account: number, bucket: Bucket::of(name) };
        Self { name, place, view, judge: Judge::new(view, now), now }
    }

    pub(super) fn push_labels(&self, labels: &mut Labels) {
        labels.push(&[("account", self.name)]);
    }

    fn list(&self) -> Option<&'a ListSummary> {
        self.view.list_fresh(self.now)
    }

    /// The kinds of requests that are sent.
    fn operations(&self) -> impl Iterator<Item = Operation> {
        let polls_usage = self.view.usage.is_some();
        Operation::ALL.iter().copied().filter(move |operation| *operation != Operation::Usage || polls_usage)
    }

    /// The account's usage of credits, if it is polled and fresh.
    fn usage(&self) -> Option<&'a Usage> {
        self.view.usage.as_ref()?.fresh(self.now, self.view.stale_after)
    }

    fn each_group(&self, samples: &mut Samples, flag: fn(&GroupFlags) -> Option<bool>) {
        for (group, flags) in self.list().iter().flat_map(|list| &list.groups) {
            samples.labelled(&[("group", group)], flag(flags).map(f64::from));
        }
    }
}

/// A pipeline at one moment: shows only what is fresh.
#[derive(Clone, Copy)]
pub(super) struct PipelineView<'a> {
    pub(super) account: &'a AccountView<'a>,
    pub(super) pipeline: &'a Pipeline,
    pub(super) place: Place,
}

impl<'a> PipelineView<'a> {
    pub(super) fn new(account: &'a AccountView<'a>, pipeline: &'a Pipeline) -> Self {
        let place = Place { account: account.place.account, bucket: Bucket::of(pipeline.id().as_str()) };
        Self { account, pipeline, place }
    }

    pub(super) fn push_labels(&self, labels: &mut Labels) {
        let listed = self.pipeline.listed();
        labels.push(&[
            ("account", self.account.name),
            ("project", listed.project.as_deref().unwrap_or_default()),
            ("pipeline_id", self.pipeline.id().as_str()),
            ("pipeline", listed.name.as_deref().unwrap_or_default()),
        ]);
    }

    fn listed(&self) -> Option<&'a ListedPipeline> {
        self.pipeline.listed_fresh(self.account.now, self.account.view.stale_after)
    }

    fn bounded(&self) -> Option<&'a ListedPipeline> {
        self.listed().filter(|listed| listed.is_bounded())
    }

    fn is_fresh(&self, probe: Probe) -> bool {
        self.pipeline.probe(probe).is_fresh(self.account.now, self.account.view.stale_after)
    }

    fn status(&self) -> Option<&'a Status> {
        self.pipeline.status().filter(|_| self.is_fresh(Probe::Status))
    }

    fn metrics(&self) -> Option<&'a PipelineMetrics> {
        self.pipeline.metrics().filter(|_| self.is_fresh(Probe::Metrics))
    }

    fn destination(&self) -> Option<&'a DestinationHealth> {
        self.pipeline.destination().filter(|_| self.is_fresh(Probe::DestinationHealth))
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.account.judge.pipeline(self.pipeline)
    }
}

const fn gauge(name: &'static str, help: &'static str, labels: &'static [&'static str], read: Read) -> Family {
    Family { name, help, kind: Kind::Gauge, labels, in_lean: false, stability: Stability::Stable, read }
}

const fn pipeline(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    read: fn(&PipelineView, &mut Samples),
) -> Family {
    gauge(name, help, labels, Read::Pipeline(read))
}

const fn account(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    read: fn(&AccountView, &mut Samples),
) -> Family {
    gauge(name, help, labels, Read::Account(read))
}

const fn exporter(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    read: fn(&mut Samples),
) -> Family {
    gauge(name, help, labels, Read::Exporter(read))
}

/// A count from the API; counters cannot be negative.
fn count(value: Option<f64>) -> Option<f64> {
    value.filter(|value| *value >= 0.0)
}

/// Every family about accounts and pipelines, in the order of the exposition. HELP says that values are those of the last
/// poll, as Prometheus's guide "Writing exporters" asks where they are not read at scrape time.
pub const FAMILIES: &[Family] = &[
    exporter(
        "goldrush_trouble_kind_info",
        "Always 1; each kind of trouble that this exporter can report, with the alert about it.",
        &["kind", "severity", "alert"],
        |s| {
            for kind in TroubleKind::ALL {
                let row = kind.row();
                let labels = [("kind", row.name), ("severity", row.severity.as_str()), ("alert", row.alert)];
                s.labelled(&labels, Some(1.0));
            }
        },
    )
    .lean(),
    account("goldrush_up", "1 if the newest list of pipelines succeeded, 0 otherwise.", &[], |a, s| {
        s.flag(Some(a.view.is_up(a.now)));
    })
    .lean(),
    account(
        "goldrush_account_trouble",
        "Always 1; one series for each trouble of the account now (about: the group or expected pipeline, or empty).",
        &["kind", "severity", "about"],
        |a, s| {
            for trouble in a.judge.account() {
                let row = trouble.kind.row();
                let about = trouble.about.as_deref().unwrap_or_default();
                s.labelled(&[("kind", row.name), ("severity", row.severity.as_str()), ("about", about)], Some(1.0));
            }
        },
    )
    .lean(),
    account(
        "goldrush_auth_unauthorized",
        "1 if the API returns 401 for the ServiceKey in use (missing, malformed or revoked), 0 otherwise.",
        &[],
        |a, s| s.flag(Some(a.view.credential.is_refused())),
    )
    .lean(),
    account(
        "goldrush_auth_forbidden",
        "1 if the API returns 403 for the list of pipelines (the credential is not a ServiceKey), 0 otherwise.",
        &[],
        |a, s| s.flag(Some(a.view.credential.is_not_a_service_key())),
    )
    .lean(),
    account(
        "goldrush_auth_failures_total",
        "Responses with 401 or 403 about pipelines since the start, whichever key was in use.",
        &["code"],
        |a, s| {
            for (code, reason) in [("401", Reason::Unauthorized), ("403", Reason::Forbidden)] {
                s.labelled(&[("code", code)], Some(a.view.requests.failed(reason) as f64));
            }
        },
    )
    .of_kind(Kind::Counter)
    .lean(),
    account(
        "goldrush_service_key_loaded_timestamp_seconds",
        "Unix time at which the ServiceKey in use was read.",
        &[],
        |a, s| s.value(Some(unix_seconds(a.view.credential.loaded_at()))),
    )
    .lean(),
    account("goldrush_pipelines", "Pipelines that this exporter polls, as of the newest list.", &[], |a, s| {
        s.value(a.list().map(|_| a.view.pipelines.len() as f64));
    })
    .lean(),
    account(
        "goldrush_pipelines_unowned",
        "Pipelines whose policy names no team, as of the newest list; no series if no policy names one.",
        &[],
        |a, s| s.value(a.list().and(a.view.unowned()).map(|count| count as f64)),
    )
    .experimental(),
    account(
        "goldrush_chain_highest_block",
        "Highest block that any unbounded pipeline of the account has processed on this chain, as of the last poll.",
        &["chain"],
        |a, s| {
            for (chain, block) in a.view.highest_blocks(a.now) {
                s.labelled(&[("chain", chain)], Some(block));
            }
        },
    )
    .experimental()
    .lean(),
    account(
        "goldrush_team_pipelines",
        "Pipelines on duty whose status has been read since the start, by the team that owns them (empty: none).",
        &["team"],
        |a, s| {
            for (team, pipelines) in a.list().iter().flat_map(|_| a.view.on_duty_by_team()) {
                s.labelled(&[("team", team)], Some(pipelines as f64));
            }
        },
    )
    .experimental()
    .lean(),
    account(
        "goldrush_discovery_last_success_timestamp_seconds",
        "Unix time at which the list of pipelines last succeeded as a whole.",
        &[],
        |a, s| s.value(a.view.listing.latest().map(|list| unix_seconds(list.at.wall()))),
    )
    .lean(),
    account(
        "goldrush_expected_pipeline_missing",
        "1 if the newest list does not show a pipeline that the configuration expects, 0 otherwise.",
        &["pipeline_id"],
        |a, s| {
            for (id, missing) in a.list().iter().flat_map(|list| &list.expected) {
                s.labelled(&[("pipeline_id", id.as_str())], Some(f64::from(*missing)));
            }
        },
    ),
    account(
        "goldrush_pipelines_over_limit",
        "1 if there are more pipelines than max_pipelines, so that some are not polled, 0 otherwise.",
        &[],
        |a, s| s.flag(a.list().map(|list| list.truncated)),
    ),
    account(
        "goldrush_group_paid",
        "1 if the group is on a paid plan, 0 otherwise, as of the last poll (group.is_paid).",
        &["group"],
        |a, s| a.each_group(s, |flags| flags.paid),
    )
    .lean(),
    account(
        "goldrush_group_over_limit",
        "1 if the group is over the limit of its plan, 0 otherwise, as of the last poll (group.is_over_limit).",
        &["group"],
        |a, s| a.each_group(s, |flags| flags.over_limit),
    )
    .lean(),
    account(
        "goldrush_group_free_trial_expired",
        "1 if the free trial of the group has expired, 0 otherwise, as of the last poll (group.is_free_trial_expired).",
        &["group"],
        |a, s| a.each_group(s, |flags| flags.free_trial_expired),
    )
    .lean(),
    account(
        "goldrush_usage_credits_consumed",
        "Credits that the account has used this month, as of the last poll (aggregate.credits_consumed).",
        &[],
        |a, s| s.value(a.usage().and_then(|usage| usage.credits_consumed)),
    )
    .experimental()
    .lean(),
    account(
        "goldrush_usage_credits_limit",
        "Credits that the plan of the account includes, as of the last poll (aggregate.max_credits).",
        &[],
        |a, s| s.value(a.usage().and_then(|usage| usage.credits_limit)),
    )
    .experimental()
    .lean(),
    account(
        "goldrush_usage_flex_credits_limit",
        "Credits that may be used beyond those of the plan, as of the last poll (aggregate.flex_credits.limit).",
        &[],
        |a, s| s.value(a.usage().and_then(|usage| usage.flex_credits_limit)),
    )
    .experimental()
    .lean(),
    account(
        "goldrush_usage_premium_credits",
        "Premium credits that the account has used this month, as of the last poll (aggregate.premium_credits).",
        &[],
        |a, s| s.value(a.usage().and_then(|usage| usage.premium_credits)),
    )
    .experimental(),
    account(
        "goldrush_usage_free_credits",
        "Free credits that the account has used this month, as of the last poll (aggregate.free_credits).",
        &[],
        |a, s| s.value(a.usage().and_then(|usage| usage.free_credits)),
    )
    .experimental(),
    account(
        "goldrush_usage_plan_info",
        "Always 1; the plan of the account, as of the last poll (aggregate.plan).",
        &["plan"],
        |a, s| {
            if let Some(plan) = a.usage().and_then(|usage| usage.plan.as_deref()) {
                s.labelled(&[("plan", plan)], Some(1.0));
            }
        },
    )
    .experimental(),
    account(
        "goldrush_usage_probe_success",
        "1 if the newest request for the usage of the account succeeded, 0 otherwise; only with poll.usage.",
        &[],
        |a, s| s.flag(a.view.usage.as_ref().map(|usage| usage.succeeds(a.now, a.view.stale_after))),
    )
    .experimental(),
    account(
        "goldrush_usage_probe_last_success_timestamp_seconds",
        "Unix time at which the usage of the account was last read.",
        &[],
        |a, s| {
            let read_at = a.view.usage.as_ref().and_then(|usage| usage.read_at());
            s.value(read_at.map(|at| unix_seconds(at.wall())));
        },
    )
    .experimental(),
    account(
        "goldrush_api_request_duration_seconds",
        "Duration of requests to the Pipeline API, whatever their outcome.",
        &["operation"],
        |a, s| {
            for operation in a.operations() {
                let durations = &a.view.requests.durations[operation as usize];
                s.histogram(&[("operation", operation.as_str())], durations);
            }
        },
    )
    .of_kind(Kind::Histogram)
    .lean(),
    account(
        "goldrush_api_request_failures_total",
        "Requests to the Pipeline API that returned no reading, by reason.",
        &["operation", "reason"],
        |a, s| {
            for operation in a.operations() {
                for reason in Reason::ALL {
                    let count = a.view.requests.failures[operation as usize][*reason as usize];
                    s.labelled(&[("operation", operation.as_str()), ("reason", reason.as_str())], Some(count as f64));
                }
            }
        },
    )
    .of_kind(Kind::Counter)
    .lean(),
    account(
        "goldrush_api_unknown_values_total",
        "Values of the Pipeline API that this version does not know or cannot use, by field.",
        &["field"],
        |a, s| {
            for field in UnknownField::ALL {
                let count = a.view.requests.unknown_values[*field as usize];
                s.labelled(&[("field", field.as_str())], Some(count as f64));
            }
        },
    )
    .of_kind(Kind::Counter)
    .lean(),
    account(
        "goldrush_poll_required_requests_per_second",
        "Requests per second that the configured intervals need for the current pipelines.",
        &[],
        |a, s| s.value(Some(a.view.budget.required)),
    )
    .lean(),
    account(
        "goldrush_poll_allowed_requests_per_second",
        "Requests per second that poll.requests_per_second allows for this account.",
        &[],
        |a, s| s.value(Some(a.view.budget.allowed)),
    )
    .lean(),
    account("goldrush_poll_lag_seconds", "Seconds by which the most overdue probe is late.", &[], |a, s| {
        s.value(Some(a.view.budget.lag(a.now).as_secs_f64()));
    })
    .lean(),
    account(
        "goldrush_poll_paused_until_timestamp_seconds",
        "Unix time until which polling pauses because the API demanded it (Retry-After); 0 if it does not pause.",
        &[],
        |a, s| {
            let until = a.view.budget.paused_until;
            s.value(Some(until.map_or(0.0, |until| unix_seconds(until.wall()))));
        },
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_trouble",
        "Always 1; one series for each trouble of the pipeline now, with the team that owns the pipeline.",
        &["kind", "severity", "team"],
        |p, s| {
            let team = p.pipeline.team().unwrap_or_default();
            for trouble in p.troubles() {
                let row = trouble.kind.row();
                s.labelled(&[("kind", row.name), ("severity", row.severity.as_str()), ("team", team)], Some(1.0));
            }
        },
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_off_duty",
        "1 if the pipeline has nothing to do (paused, or bounded and at its end); no series otherwise.",
        &[],
        |p, s| s.value(p.pipeline.is_off_duty().then_some(1.0)),
    ),
    pipeline(
        "goldrush_pipeline_info",
        "Always 1; what the pipeline is and which team owns it, as of the last poll (topic, destination_type, execution_mode, group).",
        &["topic", "chain", "destination_type", "execution_mode", "group", "team"],
        |p, s| {
            let Some(listed) = p.listed() else { return };
            let labels = [
                ("topic", listed.topic.as_deref().unwrap_or_default()),
                ("chain", listed.chain().unwrap_or_default()),
                ("destination_type", listed.destination_type.as_deref().unwrap_or_default()),
                ("execution_mode", listed.execution_mode.as_str()),
                ("group", listed.group.as_ref().map(|group| group.label()).unwrap_or_default()),
                ("team", p.pipeline.team().unwrap_or_default()),
            ];
            s.labelled(&labels, Some(1.0));
        },
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_desired_status",
        "1 for the desired status that holds, 0 for the other, as of the last poll (status of the list).",
        &["status"],
        |p, s| {
            let Some(desired) = p.listed().and_then(ListedPipeline::desired_status) else { return };
            s.state("status", DesiredStatus::ALL.iter().map(|status| (status.as_str(), *status == desired)));
        },
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_phase",
        "1 for the phase of the worker that holds, 0 for all others, as of the last poll (status.status).",
        &["phase"],
        |p, s| {
            let Some(current) = p.status().and_then(|status| status.phase) else { return };
            s.state("phase", Phase::ALL.iter().map(|phase| (phase.as_str(), *phase == current)));
        },
    )
    .lean(),
    pipeline("goldrush_pipeline_replicas", "Desired replicas, as of the last poll (status.replicas).", &[], |p, s| {
        s.value(p.status().and_then(|status| status.replicas));
    }),
    pipeline("goldrush_pipeline_replicas_ready", "Ready replicas, as of the last poll (status.ready).", &[], |p, s| {
        s.value(p.status().and_then(|status| status.ready));
    }),
    pipeline(
        "goldrush_pipeline_start_time_seconds",
        "Unix time at which the worker started, as of the last poll (status.start_time).",
        &[],
        |p, s| s.value(p.status().and_then(Status::start_time)),
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_created_timestamp_seconds",
        "Unix time at which the pipeline was created (created_at).",
        &[],
        |p, s| s.value(p.listed().and_then(ListedPipeline::created_at)),
    ),
    pipeline(
        "goldrush_pipeline_updated_timestamp_seconds",
        "Unix time at which the pipeline was last changed, as of the last poll (updated_at).",
        &[],
        |p, s| s.value(p.listed().and_then(ListedPipeline::updated_at)),
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_start_block",
        "Block that a bounded pipeline starts at, as of the last poll (execution_start_from).",
        &[],
        |p, s| s.value(p.bounded().and_then(|listed| listed.start_block)),
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_stop_block",
        "Block that a bounded pipeline ends at, as of the last poll (execution_stop_from).",
        &[],
        |p, s| s.value(p.bounded().and_then(|listed| listed.stop_block)),
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_records_consumed",
        "Source records read since the worker started, as of the last poll (metrics.records_consumed).",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.records_consumed)),
    ),
    pipeline(
        "goldrush_pipeline_last_offset",
        "Last source offset that the worker committed, as of the last poll (metrics.last_offset).",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.last_offset)),
    ),
    pipeline(
        "goldrush_pipeline_last_block_height",
        "Newest block that was processed, as of the last poll (metrics.last_block_height).",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.last_block_height)),
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_pending_records",
        "Records buffered and not yet written to the destination, as of the last poll (metrics.pending_records).",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.pending_records)),
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_processing_delay_seconds",
        "Delay from source to destination, as of the last poll (metrics.processing_delay_ms).",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.processing_delay_seconds)),
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_records_per_second",
        "Rolling throughput, as of the last poll (metrics.records_per_second).",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.records_per_second)),
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_normalization_errors",
        "Records dropped because they could not be normalized or decoded, as of the last poll (metrics.normalization_errors).",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.normalization_errors)),
    ),
    pipeline(
        "goldrush_pipeline_source_records_total",
        "Source records read since the worker started, as of the last poll; a restart resets it (metrics.records_consumed).",
        &[],
        |p, s| s.value(count(p.metrics().and_then(|metrics| metrics.records_consumed))),
    )
    .of_kind(Kind::Counter),
    pipeline(
        "goldrush_pipeline_dropped_records_total",
        "Records dropped since the worker started, as of the last poll; a restart resets it (metrics.normalization_errors).",
        &[],
        |p, s| s.value(count(p.metrics().and_then(|metrics| metrics.normalization_errors))),
    )
    .of_kind(Kind::Counter)
    .lean(),
    pipeline(
        "goldrush_pipeline_last_progress_timestamp_seconds",
        "Unix time at which the exporter last saw the offset, the height or the record count move, or first saw them.",
        &[],
        |p, s| s.value(p.metrics().and(p.pipeline.last_progress()).map(|at| unix_seconds(at.wall()))),
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_destination_healthy",
        "1 if the last check reached the destination, 0 otherwise, as of the last poll (destination-health.healthy).",
        &[],
        |p, s| s.flag(p.destination().and_then(|destination| destination.healthy)),
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_destination_latency_seconds",
        "Duration of the last check of the destination, as of the last poll (destination-health.latency_ms).",
        &[],
        |p, s| s.value(p.destination().and_then(|destination| destination.latency_seconds)),
    ),
    pipeline(
        "goldrush_pipeline_destination_last_check_timestamp_seconds",
        "Unix time of the last check of the destination, as of the last poll (destination-health.last_checked_at).",
        &[],
        |p, s| s.value(p.destination().and_then(DestinationHealth::last_checked_at)),
    ),
    pipeline(
        "goldrush_pipeline_destination_error",
        "1 if the destination is unhealthy, with the reason; no series otherwise, as of the last poll (destination-health.last_error).",
        &["reason"],
        |p, s| {
            let Some(reason) = p.destination().and_then(DestinationHealth::error_reason) else { return };
            s.labelled(&[("reason", reason.as_str())], Some(1.0));
        },
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_forbidden",
        "1 if the API returns 403 for this pipeline (it belongs to another group), 0 otherwise.",
        &[],
        |p, s| s.flag(Some(p.pipeline.is_forbidden())),
    )
    .lean(),
    pipeline(
        "goldrush_pipeline_probe_success",
        "1 if the newest probe succeeded, 0 otherwise.",
        &["probe"],
        |p, s| {
            for (probe, state) in p.pipeline.probes() {
                let success = state.success(p.account.now, p.account.view.stale_after);
                s.labelled(&[("probe", probe.as_str())], success.map(f64::from));
            }
        },
    ),
    pipeline(
        "goldrush_pipeline_probe_last_success_timestamp_seconds",
        "Unix time at which the probe last succeeded; a failure does not change it.",
        &["probe"],
        |p, s| {
            for (probe, state) in p.pipeline.probes() {
                let read_at = state.read_at().map(|at| unix_seconds(at.wall()));
                s.labelled(&[("probe", probe.as_str())], read_at);
            }
        },
    )
    .lean(),
];
