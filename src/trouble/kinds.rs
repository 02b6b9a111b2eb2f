//! The kinds of trouble: the second table of the program.
//!
//! One row says everything that is fixed about a kind. The judge raises it, `goldrush_pipeline_trouble` and
//! `goldrush_account_trouble` expose it, the page shows its sentence, and the alert in `alerts/goldrush.rules.yml` is
//! written from it. `.github/CONTRIBUTING.md` lists what a new kind needs besides its row.

use crate::labels::closed_set;
use crate::thresholds::Threshold;

closed_set! {
    /// The label `severity` of troubles and alerts.
    pub enum Severity {
        /// Pages a person.
        Critical = "critical",
        /// Opens a ticket.
        Warning = "warning",
    }
}

/// What a trouble is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    Account,
    Pipeline,
}

impl Scope {
    /// The gauge that shows troubles of this scope.
    pub const fn gauge(self) -> &'static str {
        match self {
            Self::Account => "goldrush_account_trouble",
            Self::Pipeline => "goldrush_pipeline_trouble",
        }
    }
}

/// The setting that holds a threshold.
#[derive(Debug, Clone, Copy)]
pub enum Setting {
    /// Of `policies`.
    Policy(Threshold),
    /// Of `accounts`.
    Account(&'static str),
}

impl Setting {
    /// As it is written in the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Policy(threshold) => threshold.as_str(),
            Self::Account(name) => name,
        }
    }
}

/// Everything that is fixed about a kind.
#[derive(Debug)]
pub struct Row {
    /// The label `kind`.
    pub name: &'static str,
    /// For people, without numbers: the page adds those that it has.
    pub sentence: &'static str,
    pub severity: Severity,
    pub scope: Scope,
    /// The setting that says from when on it is trouble, if there is one.
    pub threshold: Option<Setting>,
    pub alert: &'static str,
    pub rule: Rule,
}

/// Where the alert's rule comes from.
#[derive(Debug)]
pub enum Rule {
    /// It is written from the table.
    Generated(Generated),
    /// It needs Prometheus's memory and is written by hand.
    Written,
}

/// An alert on the gauges of troubles. Templates are Prometheus's own; white space in them does not matter.
#[derive(Debug)]
pub struct Generated {
    /// Why the alert waits: the comment above `for`.
    pub why: &'static str,
    /// The rule's `for`.
    pub wait: &'static str,
    /// Bridges a restart of the exporter.
    pub keep_firing_for: Option<&'static str>,
    /// Kinds that the judge raises instead of this one, because they are worse or say more. The rule matches them, too
    /// (`kind=~"this|other"`), so that a change to one of them does not start `for` again. Alertmanager inhibits this
    /// alert meanwhile.
    pub also: &'static [Kind],
    /// One alert for each combination of these labels.
    pub per: &'static [&'static str],
    pub summary: &'static str,
    pub description: &'static str,
    /// The uid of the dashboard to open.
    pub dashboard: &'static str,
}

const PIPELINE: &[&str] = &["job", "account", "project", "pipeline_id", "pipeline", "team"];
const ACCOUNT: &[&str] = &["job", "account"];
const SUBJECT: &[&str] = &["job", "account", "about"];
/// Each exporter has its own budget.
const INSTANCE: &[&str] = &["job", "instance", "account"];
const TEAM: &[&str] = &["job", "account", "team"];

const FLEET_DASHBOARD: &str = "goldrush-fleet";
const PIPELINE_DASHBOARD: &str = "goldrush-pipeline";
const EXPORTER_DASHBOARD: &str = "goldrush-exporter";

/// The alert's pipeline, as every text names it.
macro_rules! named {
    () => {
        r#""{{ $labels.pipeline }}" ({{ $labels.pipeline_id }}, account {{ $labels.account }})"#
    };
}

/// A template's query for a gauge of the alert's pipeline. Its result is empty once the reading has been withdrawn.
macro_rules! of_pipeline {
    ($metric:literal) => {
        concat!(
            r#"printf "max by (pipeline_id) ("#,
            $metric,
            r#"{job=%q,account=%q,pipeline_id=%q})" $labels.job $labels.account $labels.pipeline_id | query"#
        )
    };
}

/// A template's query for the time between two instants of the alert's pipeline: that a probe succeeded, and a gauge.
macro_rules! before_reading {
    ($probe:literal, $metric:literal) => {
        concat!(
            r#"printf "max(goldrush_pipeline_probe_last_success_timestamp_seconds"#,
            r#"{job=%q,account=%q,pipeline_id=%q,probe=\""#,
            $probe,
            r#"\"} - ignoring (probe) "#,
            $metric,
            // Both sides name the pipeline: Prometheus would read the series of all pipelines, for each alert.
            r#"{job=%[1]q,account=%[2]q,pipeline_id=%[3]q})" $labels.job $labels.account $labels.pipeline_id | query"#
        )
    };
}

/// A template's query for a gauge of the alert's account.
macro_rules! of_account {
    ($metric:literal) => {
        concat!(
            r#"printf "max by (account) ("#,
            $metric,
            r#"{job=%q,account=%q})" $labels.job $labels.account | query"#
        )
    };
}

macro_rules! kinds {
    ($($kind:ident = $name:literal, $sentence:literal { $($field:ident: $value:expr,)+ })+) => {
        /// What can be wrong; the worst first.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(#[doc = $sentence] $kind,)+ }

        impl Kind {
            /// Every kind, the worst first.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)+];
        }

        static ROWS: [Row; Kind::ALL.len()] = [$(Row { name: $name, sentence: $sentence, $($field: $value,)+ },)+];
    };
}

kinds! {
    KeyUnauthorized = "key_unauthorized",
    "The API refuses the ServiceKey (401): it is revoked or wrong, and the account is not being watched." {
        severity: Severity::Critical,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushServiceKeyUnauthorized",
        rule: Rule::Generated(Generated {
            why: "A rotation is over within seconds, because the exporter reads the key file again at once. So is a \
                  single wrong 401.",
            wait: "1m",
            keep_firing_for: Some("3m"),
            also: &[],
            per: ACCOUNT,
            summary: "The ServiceKey of account {{ $labels.account }} is refused (401)",
            description: concat!(
                "GoldRush returns 401 to account {{ $labels.account }}: the ServiceKey is missing, malformed or \
                 revoked. The key in use was loaded at {{ with ",
                of_account!("goldrush_service_key_loaded_timestamp_seconds"),
                " }}{{ . | first | value | humanizeTimestamp }}{{ else }}an unknown time{{ end }}. None of its \
                 pipelines is being watched. Put a valid ServiceKey into the account's key file; with systemd, \
                 check the file, then restart the service.",
            ),
            dashboard: FLEET_DASHBOARD,
        }),
    }

    KeyNotServiceKey = "key_not_service_key",
    "The API returns 403 for the list: the credential is not a ServiceKey, and the account is not being watched." {
        severity: Severity::Critical,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushCredentialNotServiceKey",
        rule: Rule::Generated(Generated {
            why: "Two lists: a single wrong 403 is over by then.",
            wait: "2m",
            keep_firing_for: Some("3m"),
            also: &[],
            per: ACCOUNT,
            summary: "The credential of account {{ $labels.account }} is not a ServiceKey (403)",
            description: concat!(
                "GoldRush returns 403 for the list of pipelines of account {{ $labels.account }}: the credential is a \
                 read-only API key. It was loaded at {{ with ",
                of_account!("goldrush_service_key_loaded_timestamp_seconds"),
                " }}{{ . | first | value | humanizeTimestamp }}{{ else }}an unknown time{{ end }}. Put a ServiceKey \
                 in its place; with systemd, check the file, then restart the service.",
            ),
            dashboard: FLEET_DASHBOARD,
        }),
    }

    PaymentRequired = "payment_required",
    "The API returns 402: the credits of the account are used up." {
        severity: Severity::Critical,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushPaymentRequired",
        rule: Rule::Generated(Generated {
            why: "Two lists: a single wrong 402 is over by then.",
            wait: "2m",
            keep_firing_for: Some("3m"),
            also: &[],
            per: ACCOUNT,
            summary: "GoldRush requires a payment for account {{ $labels.account }} (402)",
            description: "GoldRush returns 402 to account {{ $labels.account }}: its credits are used up. \
                          GoldRush stops serving its pipelines, or has stopped already. Pipelines that are created, \
                          deleted or paused now go unnoticed. Add credits, or buy a larger plan.",
            dashboard: FLEET_DASHBOARD,
        }),
    }

    ListFailing = "list_failing", "The list of pipelines fails." {
        severity: Severity::Critical,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushApiUnavailable",
        rule: Rule::Generated(Generated {
            why: "One failed list stands for a whole discovery interval (60 s). Ten in a row are an outage.",
            wait: "10m",
            keep_firing_for: Some("3m"),
            also: &[Kind::PaymentRequired, Kind::ForeignResponse],
            per: ACCOUNT,
            summary: "The list of pipelines of account {{ $labels.account }} fails",
            description: concat!(
                "Last success of the list of account {{ $labels.account }}: {{ with ",
                r#"printf "time() - min by (account) (goldrush_discovery_last_success_timestamp_seconds"#,
                r#"{job=%q,account=%q} and on (job, instance, account) goldrush_up == 0)" "#,
                "$labels.job $labels.account | query",
                " }}{{ . | first | value | humanizeDuration }} ago{{ else }}never{{ end }}.{{ with ",
                r#"printf "topk(1, sum by (reason) (increase(goldrush_api_request_failures_total{job=%q,account=%q,"#,
                r#"operation=\"list\"}[10m])) > 0)" $labels.job $labels.account | query"#,
                r#" }} Most frequent reason: {{ . | first | label "reason" }}.{{ end }} Pipelines that are created, "#,
                "deleted or paused now go unnoticed.",
            ),
            dashboard: EXPORTER_DASHBOARD,
        }),
    }

    ForeignResponse = "foreign_response", "Something between the exporter and GoldRush responded." {
        severity: Severity::Critical,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushForeignResponse",
        rule: Rule::Generated(Generated {
            why: "As GoldRushApiUnavailable, which it explains.",
            wait: "10m",
            keep_firing_for: Some("3m"),
            also: &[],
            per: ACCOUNT,
            summary: "Something between the exporter and GoldRush responded for account {{ $labels.account }}",
            description: "The list of pipelines of account {{ $labels.account }} gets responses that are not the \
                          API's: a proxy, a gateway or a login page responds instead of GoldRush. They say nothing \
                          about the key or the pipelines. Pipelines that are created, deleted or paused now go \
                          unnoticed.",
            dashboard: EXPORTER_DASHBOARD,
        }),
    }

    NoReadings = "no_readings",
    "The list succeeds, but no probe of any pipeline does: the pipelines are not being watched." {
        severity: Severity::Critical,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushNoReadings",
        rule: Rule::Generated(Generated {
            why: "The trouble begins when the last reading is as old as poll.stale_after (5m): 11 minutes in all.",
            wait: "6m",
            keep_firing_for: Some("3m"),
            also: &[],
            per: ACCOUNT,
            summary: "No probe of any pipeline of account {{ $labels.account }} succeeds",
            description: "No probe of account {{ $labels.account }} has succeeded for more than 5 minutes. Its \
                          pipelines (with shards: those of one instance) are not being watched. Pages about them that are already out stay open.",
            dashboard: EXPORTER_DASHBOARD,
        }),
    }

    ExpectedMissing = "expected_missing", "The list does not show an expected pipeline." {
        severity: Severity::Critical,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushExpectedPipelineMissing",
        rule: Rule::Generated(Generated {
            why: "A list can skip a pipeline while others are created or deleted. Five lists in a row do not.",
            wait: "5m",
            keep_firing_for: Some("3m"),
            also: &[],
            per: SUBJECT,
            summary: "Expected pipeline {{ $labels.about }} is missing",
            description: "The configuration of account {{ $labels.account }} expects pipeline {{ $labels.about }}, \
                          and GoldRush does not list it. It was deleted, or the key belongs to another group.",
            dashboard: FLEET_DASHBOARD,
        }),
    }

    GroupOverLimit = "group_over_limit", "A group is over the limit of its plan." {
        severity: Severity::Critical,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushGroupOverLimit",
        rule: Rule::Generated(Generated {
            why: "Five lists.",
            wait: "5m",
            keep_firing_for: Some("3m"),
            also: &[],
            per: SUBJECT,
            summary: "GoldRush group {{ $labels.about }} is over its limit",
            description: concat!(
                "Group {{ $labels.about }} (account {{ $labels.account }}) has used up its plan. GoldRush stops \
                 serving it, or has stopped already.{{ with ",
                of_account!("goldrush:pipelines:count"),
                " }} Pipelines of the account: {{ . | first | value }}.{{ end }}",
            ),
            dashboard: FLEET_DASHBOARD,
        }),
    }

    CreditsUsedUp = "credits_used_up", "The credits of the account are used up, flex credits included." {
        severity: Severity::Critical,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushCreditsUsedUp",
        rule: Rule::Generated(Generated {
            why: "Within a month, credits are only used: one reading is enough.",
            wait: "1m",
            keep_firing_for: Some("3m"),
            also: &[],
            per: ACCOUNT,
            summary: "The credits of account {{ $labels.account }} are used up",
            description: concat!(
                "Account {{ $labels.account }} has used {{ with ",
                of_account!("goldrush_usage_credits_consumed"),
                " }}{{ . | first | value | humanize }}{{ else }}all{{ end }} credits this month: all that its plan and \
                 its flex credits allow. GoldRush stops serving it, or has stopped already. Raise the limit of the flex \
                 credits, or buy a larger plan.",
            ),
            dashboard: FLEET_DASHBOARD,
        }),
    }

    Failed = "failed", "The worker has failed and does not recover by itself." {
        severity: Severity::Critical,
        scope: Scope::Pipeline,
        threshold: None,
        alert: "GoldRushPipelineFailed",
        rule: Rule::Generated(Generated {
            why: "Four readings of the status.",
            wait: "1m",
            keep_firing_for: Some("4m"),
            also: &[],
            per: PIPELINE,
            summary: r#"Pipeline "{{ $labels.pipeline }}" has failed"#,
            description: concat!(
                "Pipeline ",
                named!(),
                " is FAILED. It does not recover by itself.",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    DestinationUnhealthy = "destination_unhealthy", "The destination is unhealthy." {
        severity: Severity::Critical,
        scope: Scope::Pipeline,
        threshold: None,
        alert: "GoldRushDestinationUnhealthy",
        rule: Rule::Generated(Generated {
            why: "The trouble begins with the second unhealthy reading in a row. See the promise above.",
            wait: "30s",
            keep_firing_for: Some("4m"),
            also: &[],
            per: PIPELINE,
            summary: r#"The destination of pipeline "{{ $labels.pipeline }}" is unhealthy"#,
            description: concat!(
                "GoldRush cannot reach the destination of pipeline ",
                named!(),
                ". {{ with ",
                r#"printf "max by (reason) (goldrush_pipeline_destination_error{job=%q,account=%q,pipeline_id=%q})" "#,
                "$labels.job $labels.account $labels.pipeline_id | query",
                r#" }}Reason: {{ range $i, $error := . | sortByLabel "reason" }}{{ if $i }}, {{ end }}"#,
                "{{ $error.Labels.reason }}{{ end }}.{{ else }}No reason is known.{{ end }} Records are buffered and \
                 written later, as long as the buffer lasts; a webhook loses what it does not accept.",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    NotRunning = "not_running", "The pipeline should run, but does not." {
        severity: Severity::Critical,
        scope: Scope::Pipeline,
        threshold: Some(Setting::Policy(Threshold::Deployment)),
        alert: "GoldRushPipelineNotRunning",
        rule: Rule::Generated(Generated {
            why: "The exporter waits until a deployment would be over: the threshold deployment, 15m.",
            wait: "1m",
            keep_firing_for: Some("4m"),
            also: &[],
            per: PIPELINE,
            summary: r#"Pipeline "{{ $labels.pipeline }}" should run and does not"#,
            description: concat!(
                "Pipeline ",
                named!(),
                " should be running. Its phase is {{ with ",
                r#"printf "max by (phase) (goldrush_pipeline_phase{job=%q,account=%q,pipeline_id=%q}) == 1" "#,
                "$labels.job $labels.account $labels.pipeline_id | query",
                r#" }}{{ . | first | label "phase" }}{{ else }}not known{{ end }}, and it has not been RUNNING for "#,
                "longer than a deployment takes.",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    Stalled = "stalled", "The pipeline makes no progress, although there is work." {
        severity: Severity::Critical,
        scope: Scope::Pipeline,
        threshold: Some(Setting::Policy(Threshold::Stalled)),
        alert: "GoldRushPipelineStalled",
        rule: Rule::Generated(Generated {
            why: "Four readings of the metrics.",
            wait: "2m",
            keep_firing_for: Some("4m"),
            also: &[],
            per: PIPELINE,
            summary: r#"Pipeline "{{ $labels.pipeline }}" has stalled"#,
            description: concat!(
                "Pipeline ",
                named!(),
                " is RUNNING, but offset, block height and record count have not moved{{ with ",
                before_reading!("metrics", "goldrush_pipeline_last_progress_timestamp_seconds"),
                " }} for {{ . | first | value | humanizeDuration }}. {{ with ",
                r#"printf "max by (pipeline_id) (goldrush_pipeline_pending_records"#,
                r#"{job=%q,account=%q,pipeline_id=%q}) > 0" "#,
                "$labels.job $labels.account $labels.pipeline_id | query",
                " }}{{ . | first | value | humanize }} records are waiting in its buffer.{{ else }}Another pipeline \
                 has read on from the same topic.{{ end }}{{ else }}. It cannot be read now.{{ end }}",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    DelayCritical = "delay_critical", "The pipeline lags far behind its chain and does not catch up." {
        severity: Severity::Critical,
        scope: Scope::Pipeline,
        threshold: Some(Setting::Policy(Threshold::DelayCritical)),
        alert: "GoldRushProcessingDelayCritical",
        rule: Rule::Generated(Generated {
            why: "A delay that shrinks within minutes needs no person.",
            wait: "10m",
            keep_firing_for: Some("4m"),
            also: &[],
            per: PIPELINE,
            summary: r#"Pipeline "{{ $labels.pipeline }}" lags far behind its chain"#,
            description: concat!(
                "Records of pipeline ",
                named!(),
                " reach the destination with a delay {{ with ",
                of_pipeline!("goldrush_pipeline_processing_delay_seconds"),
                " }}of {{ . | first | value | humanizeDuration }}, and it does not shrink.{{ else }}that does not \
                 shrink. It cannot be read now.{{ end }}",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    GroupTrialExpired = "group_trial_expired", "The free trial of a group has expired." {
        severity: Severity::Warning,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushGroupTrialExpired",
        rule: Rule::Generated(Generated {
            why: "Five lists.",
            wait: "5m",
            keep_firing_for: None,
            also: &[],
            per: SUBJECT,
            summary: "The free trial of GoldRush group {{ $labels.about }} has expired",
            description: concat!(
                "The free trial of group {{ $labels.about }} (account {{ $labels.account }}) is over. GoldRush stops \
                 serving it, or has stopped already.{{ with ",
                of_account!("goldrush:pipelines:count"),
                " }} Pipelines of the account: {{ . | first | value }}.{{ end }}",
            ),
            dashboard: FLEET_DASHBOARD,
        }),
    }

    CreditsRunningOut = "credits_running_out",
    "At the current pace, the credits of the account run out soon, and before the month ends." {
        severity: Severity::Warning,
        scope: Scope::Account,
        threshold: Some(Setting::Account("credits_run_out")),
        alert: "GoldRushCreditsRunningOut",
        rule: Rule::Generated(Generated {
            why: "The pace is that of a day or more. After a restart, the exporter needs a day of readings to know it \
                  again: the alert stays meanwhile.",
            wait: "30m",
            keep_firing_for: Some("24h"),
            also: &[Kind::CreditsUsedUp],
            per: ACCOUNT,
            summary: "The credits of account {{ $labels.account }} run out soon",
            description: concat!(
                "At the pace of the last day or two, the credits of account {{ $labels.account }} run out within the \
                 setting credits_run_out (7 days by default), before the month ends.{{ with ",
                r#"printf "max by (account) (goldrush_usage_credits_consumed{job=%q,account=%q} "#,
                r#"/ (goldrush_usage_credits_limit + (goldrush_usage_flex_credits_limit or 0 * goldrush_usage_credits_limit)))" "#,
                "$labels.job $labels.account | query",
                " }} Used so far: {{ . | first | value | humanizePercentage }}, flex credits included.{{ end }} GoldRush \
                 stops serving an account without credits.",
            ),
            dashboard: FLEET_DASHBOARD,
        }),
    }

    PipelinesOverLimit = "pipelines_over_limit",
    "There are more pipelines than max_pipelines: the others are not being watched." {
        severity: Severity::Warning,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushPipelinesOverLimit",
        rule: Rule::Generated(Generated {
            why: "Five lists.",
            wait: "5m",
            keep_firing_for: None,
            also: &[],
            per: ACCOUNT,
            summary: "Account {{ $labels.account }} has more pipelines than max_pipelines",
            description: "Account {{ $labels.account }} has more pipelines than max_pipelines allows, so some of them \
                          are not polled. No alert covers those.",
            dashboard: FLEET_DASHBOARD,
        }),
    }

    RateLimited = "rate_limited",
    "Polling is paused, because a response demanded it (429, or another with Retry-After)." {
        severity: Severity::Warning,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushRateLimited",
        rule: Rule::Written,
    }

    BudgetTooSmall = "budget_too_small",
    "The intervals need more requests than are allowed: all of them are stretched." {
        severity: Severity::Warning,
        scope: Scope::Account,
        threshold: None,
        alert: "GoldRushPollBudgetTooSmall",
        rule: Rule::Generated(Generated {
            why: "Pipelines that deploy are polled more often for a while.",
            wait: "15m",
            keep_firing_for: None,
            also: &[],
            per: INSTANCE,
            summary: "The request budget of account {{ $labels.account }} is too small for its pipelines",
            description: concat!(
                "{{ $labels.instance }} needs {{ with ",
                r#"printf "goldrush_poll_required_requests_per_second{job=%q,instance=%q,account=%q} "#,
                r#"/ goldrush_poll_allowed_requests_per_second" $labels.job $labels.instance $labels.account | query"#,
                " }}{{ . | first | value | humanizePercentage }}{{ else }}more than 100%{{ end }} of the requests per \
                 second that it may send for account {{ $labels.account }}. All its intervals are stretched to that \
                 much.",
            ),
            dashboard: EXPORTER_DASHBOARD,
        }),
    }

    DelayHigh = "delay_high", "The pipeline lags behind its chain and does not catch up." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: Some(Setting::Policy(Threshold::Delay)),
        alert: "GoldRushProcessingDelayHigh",
        rule: Rule::Generated(Generated {
            why: "A delay that shrinks within minutes needs no person.",
            wait: "10m",
            keep_firing_for: Some("4m"),
            also: &[Kind::DelayCritical],
            per: PIPELINE,
            summary: r#"Pipeline "{{ $labels.pipeline }}" lags behind its chain"#,
            description: concat!(
                "Records of pipeline ",
                named!(),
                " reach the destination with a delay {{ with ",
                of_pipeline!("goldrush_pipeline_processing_delay_seconds"),
                " }}of {{ . | first | value | humanizeDuration }}, and it does not shrink.{{ else }}that does not \
                 shrink. It cannot be read now.{{ end }}",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    BacklogGrowing = "backlog_growing", "Records are waiting to be written, and the backlog is growing." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: Some(Setting::Policy(Threshold::Backlog)),
        alert: "GoldRushBacklogGrowing",
        rule: Rule::Generated(Generated {
            why: "A burst is written within minutes.",
            wait: "10m",
            keep_firing_for: Some("5m"),
            also: &[],
            per: PIPELINE,
            summary: r#"The backlog of pipeline "{{ $labels.pipeline }}" is growing"#,
            description: concat!(
                "{{ with ",
                of_pipeline!("goldrush_pipeline_pending_records"),
                " }}{{ . | first | value | humanize }}{{ else }}Many{{ end }} records of pipeline ",
                named!(),
                " are waiting to be written, and the backlog is growing. The destination accepts fewer records than \
                 the chain produces.",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    RecordsDropped = "records_dropped", "Records are dropped because they cannot be normalized or decoded." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: Some(Setting::Policy(Threshold::DroppedShare)),
        alert: "GoldRushRecordsDropped",
        rule: Rule::Generated(Generated {
            why: "A few records, once, are not worth a ticket.",
            wait: "5m",
            keep_firing_for: None,
            also: &[],
            per: PIPELINE,
            summary: r#"Pipeline "{{ $labels.pipeline }}" drops records"#,
            description: concat!(
                "Pipeline ",
                named!(),
                " dropped {{ with ",
                r#"printf "max by (pipeline_id) (increase(goldrush_pipeline_dropped_records_total"#,
                r#"{job=%q,account=%q,pipeline_id=%q}[15m])) > 0" "#,
                "$labels.job $labels.account $labels.pipeline_id | query",
                " }}{{ . | first | value | humanize }} records in 15 minutes{{ else }}records{{ end }} because they \
                 could not be normalized or decoded. They do not reach the destination.",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    EndedEarly = "ended_early", "The backfill has ended before its stop block." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: Some(Setting::Policy(Threshold::UnprocessedShare)),
        alert: "GoldRushBackfillEndedEarly",
        rule: Rule::Generated(Generated {
            why: "A worker that is replaced may be STOPPED in between.",
            wait: "5m",
            keep_firing_for: None,
            also: &[],
            per: PIPELINE,
            summary: r#"Backfill "{{ $labels.pipeline }}" has ended before its stop block"#,
            description: concat!(
                "Backfill ",
                named!(),
                " has ended{{ with ",
                of_pipeline!("goldrush_pipeline_last_block_height"),
                " }} at block {{ . | first | value | printf \"%.0f\" }}{{ end }}, before its stop block{{ with ",
                of_pipeline!("goldrush_pipeline_stop_block"),
                " }} {{ . | first | value | printf \"%.0f\" }}{{ end }}. The blocks in between are missing at the \
                 destination.",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    Restarting = "restarting", "The worker restarts again and again." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: Some(Setting::Policy(Threshold::Restarts)),
        alert: "GoldRushPipelineRestarting",
        rule: Rule::Generated(Generated {
            why: "The exporter counts over half an hour. After a restart, it needs as long to know again.",
            wait: "1m",
            keep_firing_for: Some("30m"),
            also: &[],
            per: PIPELINE,
            summary: r#"The worker of pipeline "{{ $labels.pipeline }}" restarts again and again"#,
            description: concat!(
                "The worker of pipeline ",
                named!(),
                " restarted at least 3 times in 30 minutes (the default of the threshold restarts).",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    DestinationFlapping = "destination_flapping", "The destination comes and goes." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: Some(Setting::Policy(Threshold::DestinationChanges)),
        alert: "GoldRushDestinationFlapping",
        rule: Rule::Generated(Generated {
            why: "What GoldRushDestinationUnhealthy cannot see, because it heals before `for` is over. The exporter \
                  counts over half an hour. After a restart, it needs as long to know again.",
            wait: "1m",
            keep_firing_for: Some("30m"),
            also: &[],
            per: PIPELINE,
            summary: r#"The destination of pipeline "{{ $labels.pipeline }}" comes and goes"#,
            description: concat!(
                "The health of the destination of pipeline ",
                named!(),
                " changed at least 6 times in 30 minutes (the default of the threshold destination_changes).",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    ReplicasNotReady = "replicas_not_ready", "Not all replicas are ready." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: None,
        alert: "GoldRushReplicasNotReady",
        rule: Rule::Generated(Generated {
            why: "A replica that starts takes minutes.",
            wait: "10m",
            keep_firing_for: None,
            also: &[],
            per: PIPELINE,
            summary: r#"Not all replicas of pipeline "{{ $labels.pipeline }}" are ready"#,
            description: concat!(
                "{{ with ",
                r#"printf "max by (pipeline_id) (goldrush_pipeline_replicas{job=%q,account=%q,pipeline_id=%q} "#,
                r#"- goldrush_pipeline_replicas_ready{job=%[1]q,account=%[2]q,pipeline_id=%[3]q})" "#,
                "$labels.job $labels.account $labels.pipeline_id | query",
                " }}{{ . | first | value }}{{ else }}Some{{ end }} of {{ with ",
                of_pipeline!("goldrush_pipeline_replicas"),
                " }}{{ . | first | value }}{{ else }}the{{ end }} replicas of pipeline ",
                named!(),
                " are not ready.",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    NoProgress = "no_progress", "The pipeline makes no progress. The chain may be quiet." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: Some(Setting::Policy(Threshold::NoProgress)),
        alert: "GoldRushPipelineNoProgress",
        rule: Rule::Generated(Generated {
            why: "Four readings of the metrics.",
            wait: "2m",
            keep_firing_for: None,
            also: &[],
            per: PIPELINE,
            summary: r#"Pipeline "{{ $labels.pipeline }}" makes no progress"#,
            description: concat!(
                "Pipeline ",
                named!(),
                " is RUNNING, but offset, block height and record count have not moved{{ with ",
                before_reading!("metrics", "goldrush_pipeline_last_progress_timestamp_seconds"),
                " }} for {{ . | first | value | humanizeDuration }}{{ end }}. Its chain may be quiet.",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    Forbidden = "forbidden", "The API returns 403: the pipeline belongs to another group and is not being watched." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: None,
        alert: "GoldRushPipelineForbidden",
        rule: Rule::Generated(Generated {
            why: "A pipeline that moves to another group leaves the list within minutes.",
            wait: "10m",
            keep_firing_for: None,
            also: &[],
            per: PIPELINE,
            summary: r#"GoldRush refuses to show pipeline "{{ $labels.pipeline }}" (403)"#,
            description: concat!(
                "Pipeline ",
                named!(),
                " is listed, but the API returns 403 for it: it belongs to another group and is not being watched.",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    DestinationCheckOld = "destination_check_old",
    "GoldRush last checked the destination long ago: its health may be out of date." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: Some(Setting::Policy(Threshold::DestinationCheckAge)),
        alert: "GoldRushDestinationCheckOld",
        rule: Rule::Generated(Generated {
            why: "GoldRush does not document how often it checks.",
            wait: "5m",
            keep_firing_for: None,
            also: &[],
            per: PIPELINE,
            summary: r#"The destination of pipeline "{{ $labels.pipeline }}" has not been checked for long"#,
            description: concat!(
                "GoldRush last checked the destination of pipeline ",
                named!(),
                " {{ with ",
                before_reading!("destination_health", "goldrush_pipeline_destination_last_check_timestamp_seconds"),
                " }}{{ . | first | value | humanizeDuration }} before the newest reading{{ else }}long ago{{ end }}. \
                 Its health may be out of date.",
            ),
            dashboard: PIPELINE_DASHBOARD,
        }),
    }

    ReadingsStale = "readings_stale", "A probe has no fresh reading." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: None,
        alert: "GoldRushReadingsStale",
        // One alert with a count: what makes readings stale mostly concerns many pipelines at once.
        rule: Rule::Generated(Generated {
            why: "The trouble begins when a reading is as old as poll.stale_after (5m): 10 minutes in all.",
            wait: "5m",
            keep_firing_for: None,
            also: &[],
            per: TEAM,
            summary: "Readings are stale in account {{ $labels.account }}",
            description: concat!(
                "{{ with ",
                r#"printf "count(group by (pipeline_id) (goldrush_pipeline_trouble"#,
                r#"{job=%q,account=%q,team=%q,kind=\"readings_stale\"}))" "#,
                "$labels.job $labels.account $labels.team | query",
                " }}{{ . | first | value }}{{ end }} pipeline(s) of account {{ $labels.account }} have no fresh \
                 reading of every probe. Alerts that need these readings cannot fire for them.{{ with ",
                // Looking for the worst of them would read the series of all pipelines.
                r#"printf "topk(1, goldrush_pipeline_trouble{job=%q,account=%q,team=%q,kind=\"readings_stale\"})" "#,
                r#"$labels.job $labels.account $labels.team | query }}{{ $id := . | first | label "pipeline_id" }}"#,
                "{{ with ",
                r#"printf "group(goldrush_pipeline_probe_success{job=%q,account=%q,pipeline_id=%q,probe=\"status\"} == 1 "#,
                r#"unless on () goldrush_pipeline_phase{job=%[1]q,account=%[2]q,pipeline_id=%[3]q})" "#,
                "$labels.job $labels.account $id | query",
                " }} For example, the responses about {{ $id }} have no phase.{{ else }}{{ with ",
                r#"printf "bottomk(1, min by (probe) ("#,
                r#"goldrush_pipeline_probe_last_success_timestamp_seconds{job=%q,account=%q,pipeline_id=%q} "#,
                r#"or 0 * goldrush_pipeline_probe_success{job=%[1]q,account=%[2]q,pipeline_id=%[3]q}))" "#,
                "$labels.job $labels.account $id | query",
                r#" }} For example, the probe {{ . | first | label "probe" }} of {{ $id }} "#,
                "{{ with . | first | value }}last succeeded at {{ . | humanizeTimestamp }}{{ else }}has not succeeded \
                 since the exporter started{{ end }}.{{ end }}{{ end }}{{ end }}",
            ),
            dashboard: EXPORTER_DASHBOARD,
        }),
    }

    ProbeFailing = "probe_failing", "Requests about the pipeline fail again and again." {
        severity: Severity::Warning,
        scope: Scope::Pipeline,
        threshold: None,
        alert: "GoldRushApiErrors",
        rule: Rule::Written,
    }
}

impl Kind {
    /// Everything that is fixed about this kind.
    pub fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.row().name)
    }
}
