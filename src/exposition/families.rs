//! THE table: one row is one family, with its name, type, help, labels and how to read it from the picture.
//!
//! A new gauge is one row here. The README's table, the dashboards and the alerts are checked against it.

use crate::api::{DesiredStatus, Endpoint, Phase, Reason, UnknownField};
use crate::api::{DestinationHealth, Metrics, Pipeline as Listed, Status};
use crate::fleet::{Account, GroupFlags, Moment, Pipeline, unix_seconds};

use super::writer::{Kind, Labels, Samples};

/// One row of the table.
pub struct Family {
    /// As samples carry it.
    pub name: &'static str,
    /// One line for `# HELP`.
    pub help: &'static str,
    /// The type.
    pub kind: Kind,
    /// Labels beyond those of the subject.
    pub labels: &'static [&'static str],
    pub(super) read: Read,
}

/// What a family is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// An account.
    Account,
    /// A pipeline.
    Pipeline,
}

impl Subject {
    /// The labels that every series about it carries.
    pub const fn labels(self) -> &'static [&'static str] {
        match self {
            Self::Account => &["account"],
            Self::Pipeline => &["account", "project", "pipeline_id", "pipeline"],
        }
    }
}

impl Family {
    /// What the family is about.
    pub const fn subject(&self) -> Subject {
        match self.read {
            Read::Account(_) => Subject::Account,
            Read::Pipeline(_) => Subject::Pipeline,
        }
    }
}

/// How the samples of one subject are read.
pub(super) enum Read {
    Account(fn(&AccountView, &mut Samples)),
    Pipeline(fn(&PipelineView, &mut Samples)),
}

/// An account at one moment.
pub(super) struct AccountView<'a> {
    pub(super) name: &'a str,
    pub(super) account: &'a Account,
    pub(super) now: Moment,
}

impl AccountView<'_> {
    pub(super) fn push_labels(&self, labels: &mut Labels) {
        labels.push(&[("account", self.name)]);
    }

    fn each_group(&self, samples: &mut Samples, flag: fn(&GroupFlags) -> Option<bool>) {
        for (group, flags) in self.account.list_fresh(self.now).iter().flat_map(|list| &list.groups) {
            samples.labelled(&[("group", group)], flag(flags).map(f64::from));
        }
    }
}

/// A pipeline at one moment: shows only what is fresh.
#[derive(Clone, Copy)]
pub(super) struct PipelineView<'a> {
    pub(super) account: &'a AccountView<'a>,
    pub(super) pipeline: &'a Pipeline,
}

impl<'a> PipelineView<'a> {
    pub(super) fn push_labels(&self, labels: &mut Labels) {
        let listed = self.pipeline.listed();
        labels.push(&[
            ("account", self.account.name),
            ("project", listed.project.as_deref().unwrap_or_default()),
            ("pipeline_id", self.pipeline.id().as_str()),
            ("pipeline", listed.name.as_deref().unwrap_or_default()),
        ]);
    }

    fn listed(&self) -> Option<&'a Listed> {
        self.pipeline.listed_fresh(self.account.now, self.account.account.stale_after)
    }

    fn status(&self) -> Option<&'a Status> {
        self.pipeline.status.fresh(self.account.now, self.account.account.stale_after)
    }

    fn metrics(&self) -> Option<&'a Metrics> {
        self.pipeline.metrics.fresh(self.account.now, self.account.account.stale_after)
    }

    fn destination(&self) -> Option<&'a DestinationHealth> {
        self.pipeline.destination_health.fresh(self.account.now, self.account.account.stale_after)
    }
}

const fn pipeline(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    read: fn(&PipelineView, &mut Samples),
) -> Family {
    Family { name, help, kind: Kind::Gauge, labels, read: Read::Pipeline(read) }
}

const fn account(
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    read: fn(&AccountView, &mut Samples),
) -> Family {
    Family { name, help, kind: Kind::Gauge, labels, read: Read::Account(read) }
}

impl Family {
    const fn of_kind(mut self, kind: Kind) -> Self {
        self.kind = kind;
        self
    }
}

/// A count as the API says it; a negative one would be no counter.
fn count(value: Option<f64>) -> Option<f64> {
    value.filter(|value| *value >= 0.0)
}

/// Every family about accounts and pipelines, in the order of the exposition.
pub const FAMILIES: &[Family] = &[
    account("goldrush_up", "Whether the newest list of pipelines succeeded.", &[], |a, s| {
        s.flag(Some(a.account.up));
    }),
    account(
        "goldrush_auth_unauthorized",
        "Whether the ServiceKey in use is answered 401: missing, malformed or revoked.",
        &[],
        |a, s| s.flag(Some(a.account.unauthorized)),
    ),
    account(
        "goldrush_auth_forbidden",
        "Whether the list of pipelines is answered 403: the credential is not a ServiceKey.",
        &[],
        |a, s| s.flag(Some(a.account.forbidden)),
    ),
    account(
        "goldrush_auth_failures_total",
        "Answers of 401 and 403 since the start, whatever key was in use.",
        &["code"],
        |a, s| {
            s.labelled(&[("code", "401")], Some(a.account.unauthorized_answers as f64));
            s.labelled(&[("code", "403")], Some(a.account.forbidden_answers as f64));
        },
    )
    .of_kind(Kind::Counter),
    account(
        "goldrush_service_key_loaded_timestamp_seconds",
        "When the ServiceKey in use was read, in Unix time.",
        &[],
        |a, s| s.value(a.account.key_loaded.map(unix_seconds)),
    ),
    account("goldrush_pipelines", "Pipelines that this exporter polls, as of the newest list.", &[], |a, s| {
        s.value(a.account.list_fresh(a.now).map(|_| a.account.pipelines().len() as f64));
    }),
    account(
        "goldrush_discovery_last_success_timestamp_seconds",
        "When the list of pipelines last succeeded as a whole, in Unix time.",
        &[],
        |a, s| s.value(a.account.list.as_ref().map(|list| unix_seconds(list.at.wall))),
    ),
    account(
        "goldrush_expected_pipeline_missing",
        "Whether a pipeline that the configuration expects is missing from the newest list.",
        &["pipeline_id"],
        |a, s| {
            for (id, missing) in a.account.list_fresh(a.now).iter().flat_map(|list| &list.expected) {
                s.labelled(&[("pipeline_id", id)], Some(f64::from(*missing)));
            }
        },
    ),
    account(
        "goldrush_pipelines_over_limit",
        "Whether there are more pipelines than max_pipelines, so that some are not polled.",
        &[],
        |a, s| s.flag(a.account.list_fresh(a.now).map(|list| list.truncated)),
    ),
    account("goldrush_group_paid", "Whether the group is on a paid plan, as of the last poll.", &["group"], |a, s| {
        a.each_group(s, |flags| flags.paid);
    }),
    account(
        "goldrush_group_over_limit",
        "Whether the group is over the limit of its plan, as of the last poll.",
        &["group"],
        |a, s| a.each_group(s, |flags| flags.over_limit),
    ),
    account(
        "goldrush_group_free_trial_expired",
        "Whether the free trial of the group has expired, as of the last poll.",
        &["group"],
        |a, s| a.each_group(s, |flags| flags.free_trial_expired),
    ),
    account(
        "goldrush_api_request_duration_seconds",
        "Duration of requests to the Pipeline API, whatever their outcome.",
        &["endpoint"],
        |a, s| {
            for endpoint in Endpoint::ALL {
                s.histogram(&[("endpoint", endpoint.as_str())], &a.account.durations[*endpoint as usize]);
            }
        },
    )
    .of_kind(Kind::Histogram),
    account(
        "goldrush_api_request_failures_total",
        "Requests to the Pipeline API that gave no reading, by reason.",
        &["endpoint", "reason"],
        |a, s| {
            for endpoint in Endpoint::ALL {
                for reason in Reason::ALL {
                    let count = a.account.failures[*endpoint as usize][*reason as usize];
                    s.labelled(&[("endpoint", endpoint.as_str()), ("reason", reason.as_str())], Some(count as f64));
                }
            }
        },
    )
    .of_kind(Kind::Counter),
    account(
        "goldrush_api_unknown_values_total",
        "Values of the Pipeline API that this version does not know, by field.",
        &["field"],
        |a, s| {
            for field in UnknownField::ALL {
                let count = a.account.unknown_values[*field as usize];
                s.labelled(&[("field", field.as_str())], Some(count as f64));
            }
        },
    )
    .of_kind(Kind::Counter),
    account(
        "goldrush_poll_required_requests_per_second",
        "Requests per second that the configured intervals need for the pipelines there are.",
        &[],
        |a, s| s.value(Some(a.account.budget.required)),
    ),
    account(
        "goldrush_poll_allowed_requests_per_second",
        "Requests per second that the configuration allows for this account.",
        &[],
        |a, s| s.value(Some(a.account.budget.allowed)),
    ),
    account("goldrush_poll_lag_seconds", "How late the most overdue probe is.", &[], |a, s| {
        s.value(Some(a.account.budget.lag(a.now).as_secs_f64()));
    }),
    account(
        "goldrush_poll_paused_until_timestamp_seconds",
        "Until when polling waits because the API answered 429, in Unix time; 0 while it does not wait.",
        &[],
        |a, s| {
            let until = a.account.budget.waits_until(a.now);
            s.value(Some(until.map_or(0.0, |until| unix_seconds(until.wall))));
        },
    ),
    pipeline(
        "goldrush_pipeline_info",
        "What the pipeline is, as of the last poll; always 1.",
        &["topic", "destination_type", "execution_mode", "group"],
        |p, s| {
            let Some(listed) = p.listed() else { return };
            let labels = [
                ("topic", listed.topic.as_deref().unwrap_or_default()),
                ("destination_type", listed.destination_type.as_deref().unwrap_or_default()),
                ("execution_mode", listed.execution_mode.as_str()),
                ("group", listed.group.as_ref().map(|group| group.label()).unwrap_or_default()),
            ];
            s.labelled(&labels, Some(1.0));
        },
    ),
    pipeline(
        "goldrush_pipeline_desired_status",
        "What the user wants, as of the last poll: 1 for the status that holds, 0 for the other.",
        &["status"],
        |p, s| {
            let Some(desired) = p.listed().and_then(Listed::desired_status) else { return };
            for status in DesiredStatus::ALL {
                s.labelled(&[("status", status.as_str())], Some(f64::from(*status == desired)));
            }
        },
    ),
    pipeline(
        "goldrush_pipeline_phase",
        "What the worker does, as of the last poll: 1 for the phase that holds, 0 for all others.",
        &["phase"],
        |p, s| {
            let Some(current) = p.status().and_then(|status| status.phase) else { return };
            for phase in Phase::ALL {
                s.labelled(&[("phase", phase.as_str())], Some(f64::from(*phase == current)));
            }
        },
    ),
    pipeline("goldrush_pipeline_replicas", "Replicas wanted, as of the last poll.", &[], |p, s| {
        s.value(p.status().and_then(|status| status.replicas));
    }),
    pipeline("goldrush_pipeline_replicas_ready", "Replicas that are ready, as of the last poll.", &[], |p, s| {
        s.value(p.status().and_then(|status| status.ready));
    }),
    pipeline(
        "goldrush_pipeline_start_time_seconds",
        "When the worker started, in Unix time, as of the last poll.",
        &[],
        |p, s| s.value(p.status().and_then(Status::start_time)),
    ),
    pipeline(
        "goldrush_pipeline_created_timestamp_seconds",
        "When the pipeline was created, in Unix time.",
        &[],
        |p, s| s.value(p.listed().and_then(Listed::created_at)),
    ),
    pipeline(
        "goldrush_pipeline_updated_timestamp_seconds",
        "When the pipeline was last changed, in Unix time, as of the last poll.",
        &[],
        |p, s| s.value(p.listed().and_then(Listed::updated_at)),
    ),
    pipeline(
        "goldrush_pipeline_records_consumed",
        "Source records read since the worker started, as of the last poll.",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.records_consumed)),
    ),
    pipeline(
        "goldrush_pipeline_last_offset",
        "Last source offset that the worker committed, as of the last poll.",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.last_offset)),
    ),
    pipeline("goldrush_pipeline_last_block_height", "Newest block processed, as of the last poll.", &[], |p, s| {
        s.value(p.metrics().and_then(|metrics| metrics.last_block_height));
    }),
    pipeline(
        "goldrush_pipeline_pending_records",
        "Records buffered and not yet written to the destination, as of the last poll.",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.pending_records)),
    ),
    pipeline(
        "goldrush_pipeline_processing_delay_seconds",
        "Delay from source to destination, as of the last poll.",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.processing_delay_seconds)),
    ),
    pipeline(
        "goldrush_pipeline_records_per_second",
        "Rolling throughput as the API says it, as of the last poll.",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.records_per_second)),
    ),
    pipeline(
        "goldrush_pipeline_normalization_errors",
        "Records dropped because they could not be normalized or decoded, as of the last poll.",
        &[],
        |p, s| s.value(p.metrics().and_then(|metrics| metrics.normalization_errors)),
    ),
    pipeline(
        "goldrush_pipeline_source_records_total",
        "Source records read since the worker started, as of the last poll; starts again with the worker.",
        &[],
        |p, s| s.value(count(p.metrics().and_then(|metrics| metrics.records_consumed))),
    )
    .of_kind(Kind::Counter),
    pipeline(
        "goldrush_pipeline_dropped_records_total",
        "Records dropped since the worker started, as of the last poll; starts again with the worker.",
        &[],
        |p, s| s.value(count(p.metrics().and_then(|metrics| metrics.normalization_errors))),
    )
    .of_kind(Kind::Counter),
    pipeline(
        "goldrush_pipeline_last_progress_timestamp_seconds",
        "When the offset, the height or the record count was last seen to move or first seen, in Unix time.",
        &[],
        |p, s| s.value(p.metrics().and(p.pipeline.last_progress()).map(|at| unix_seconds(at.wall))),
    ),
    pipeline(
        "goldrush_pipeline_destination_healthy",
        "Whether the last check reached the destination, as of the last poll.",
        &[],
        |p, s| s.flag(p.destination().and_then(|destination| destination.healthy)),
    ),
    pipeline(
        "goldrush_pipeline_destination_latency_seconds",
        "Duration of the last check of the destination, as of the last poll.",
        &[],
        |p, s| s.value(p.destination().and_then(|destination| destination.latency_seconds)),
    ),
    pipeline(
        "goldrush_pipeline_destination_last_check_timestamp_seconds",
        "When the destination was last checked, in Unix time, as of the last poll.",
        &[],
        |p, s| s.value(p.destination().and_then(DestinationHealth::last_checked_at)),
    ),
    pipeline(
        "goldrush_pipeline_destination_error",
        "Why the destination is unhealthy, as of the last poll; 1, and only while it is.",
        &["reason"],
        |p, s| {
            let Some(reason) = p.destination().and_then(DestinationHealth::error_reason) else { return };
            s.labelled(&[("reason", reason.as_str())], Some(1.0));
        },
    ),
    pipeline(
        "goldrush_pipeline_forbidden",
        "Whether the API answers 403 for this pipeline: it belongs to another group.",
        &[],
        |p, s| s.flag(Some(p.pipeline.is_forbidden())),
    ),
    pipeline("goldrush_pipeline_probe_success", "Whether the newest probe succeeded.", &["probe"], |p, s| {
        let (now, stale_after) = (p.account.now, p.account.account.stale_after);
        let successes = [
            (Endpoint::Status, p.pipeline.status.success(now, stale_after)),
            (Endpoint::Metrics, p.pipeline.metrics.success(now, stale_after)),
            (Endpoint::DestinationHealth, p.pipeline.destination_health.success(now, stale_after)),
        ];
        for (probe, success) in successes {
            s.labelled(&[("probe", probe.as_str())], success.map(f64::from));
        }
    }),
    pipeline(
        "goldrush_pipeline_probe_last_success_timestamp_seconds",
        "When the probe last succeeded, in Unix time; a failure never moves it.",
        &["probe"],
        |p, s| {
            let times = [
                (Endpoint::Status, p.pipeline.status.last_success()),
                (Endpoint::Metrics, p.pipeline.metrics.last_success()),
                (Endpoint::DestinationHealth, p.pipeline.destination_health.last_success()),
            ];
            for (probe, time) in times {
                s.labelled(&[("probe", probe.as_str())], time.map(unix_seconds));
            }
        },
    ),
];
