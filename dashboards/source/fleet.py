"""Fleet: what is wrong, and where."""

from .goldrush import (
    ACCOUNT, CHOSEN, DESIRED_NAME_MAPPINGS, EXPORTER, FLEET, HEALTH_MAPPINGS, IDS, NO_YES_MAPPINGS, OF_PIPELINES,
    PHASE_NAME_MAPPINGS, PHASES, PIPELINE, ROW_TO_PIPELINE, RUNBOOKS_VARIABLE, SERIES_TO_PIPELINE, SEVERITY, account_troubles,
    accounts_with, alert_annotation, common_variables, firing_alerts, links, newest, pipeline_troubles, pipelines_with, runbook,
    to_runbook,
)
from .grafana import colored, dashboard, graph, link, override, row, stat, steps, table, target, values

RED, ORANGE, PURPLE = steps("green", (1, "red")), steps("green", (1, "orange")), steps("green", (1, "purple"))


def _count(title, query, thresholds, alert, description, **more):
    """How many have a trouble, and what to do about it."""
    return stat(
        title, query, width=3, description=description, thresholds=thresholds, links=[link("Runbook", runbook(alert))], **more,
    )


TRIAGE = [
    row("Triage"),
    _count(
        "Keys refused", accounts_with("key_unauthorized"), RED, "GoldRushServiceKeyUnauthorized",
        "Accounts whose ServiceKey the API refuses (401): missing, malformed or revoked. Nothing of such an account is watched.",
    ),
    _count(
        "Not a ServiceKey", accounts_with("key_not_service_key"), RED, "GoldRushCredentialNotServiceKey",
        "Accounts for whose list of pipelines the API returns 403: the credential is a read-only API key.",
    ),
    _count(
        "Destinations down", pipelines_with("destination_unhealthy"), RED, "GoldRushDestinationUnhealthy",
        "Pipelines whose last two destination checks failed.",
    ),
    _count(
        "Failed", pipelines_with("failed"), RED, "GoldRushPipelineFailed",
        "Pipelines in phase FAILED. They do not heal by themselves.",
    ),
    _count(
        "Stalled", pipelines_with("stalled"), RED, "GoldRushPipelineStalled",
        "RUNNING, with something to do, but neither offset, height nor record count moves.",
    ),
    _count(
        "Lagging", pipelines_with("delay_high", "delay_critical"), ORANGE, "GoldRushProcessingDelayHigh",
        "Processing delay above the threshold, and not catching up. Bounded pipelines read history and do not count.",
    ),
    _count(
        "Readings stale", pipelines_with("readings_stale"), PURPLE, "GoldRushReadingsStale",
        "Pipelines of which a probe has no fresh reading. The other numbers say little about them.",
    ),
    _count(
        "Expected, missing", accounts_with("expected_missing"), RED, "GoldRushExpectedPipelineMissing",
        "Pipelines that the configuration expects and the list does not show.",
    ),
    stat(
        "Exporters down",
        "count(min by (job, instance) (up) == 0 and on (job, instance) last_over_time(goldrush_exporter_build_info[$__range]))"
        " or 0 * count(last_over_time(goldrush_exporter_build_info[$__range]))",
        width=3, height=3,
        description="Exporters of this time range that cannot be scraped now, or not in all of their parts.",
        thresholds=RED, links=[link("Runbook", runbook("GoldRushExporterDown"))],
    ),
    _count(
        "API failing", accounts_with("list_failing", "foreign_response", "no_readings"), ORANGE, "GoldRushApiUnavailable",
        "Accounts whose list of pipelines or whose every probe fails, or gets responses that are not the API's.", height=3,
    ),
    _count(
        "Billing trouble", accounts_with(
            "group_over_limit", "group_trial_expired", "payment_required", "credits_used_up", "credits_running_out",
        ), RED, "GoldRushGroupOverLimit",
        "Groups over the limit of their plan or with an expired free trial, and accounts whose credits are used up or run out "
        "soon.", height=3,
    ),
    _count(
        "Not running", pipelines_with("not_running"), ORANGE, "GoldRushPipelineNotRunning",
        "Wanted running, and not RUNNING for longer than a deployment takes. Bounded pipelines that have ended do not count.", height=3,
    ),
    _count(
        "Return 403", pipelines_with("forbidden"), ORANGE, "GoldRushPipelineForbidden",
        "Listed, but of another group: they cannot be watched.", height=3,
    ),
    _count(
        "Drop records", pipelines_with("records_dropped"), ORANGE, "GoldRushRecordsDropped",
        "Drop more of their records than the threshold.", height=3,
    ),
    stat(
        "Pipelines",
        f"count(count by (account, pipeline_id) (goldrush_pipeline_forbidden{{{CHOSEN}}}))"
        f" or 0 * count(goldrush_up{{{ACCOUNT}}})",
        width=3, height=3, description="Pipelines that are polled.", background=False,
    ),
    stat(
        "Throughput", f"sum({newest('goldrush_pipeline_records_per_second')})", width=3, height=3, unit="rowsps", decimals=0,
        description="Sum of the rolling throughputs that the API reports.", background=False,
    ),
]

NAME = ("pipeline", "Pipeline", {"links": ROW_TO_PIPELINE, "custom.width": 260})
# The link needs the id; the name is what people read, so the id gets what room is left.
ID = ("pipeline_id", "pipeline_id", {"custom.minWidth": 80})

TABLES = [
    table(
        "Troubled pipelines", [target(pipeline_troubles(), table=True)],
        [
            SEVERITY,
            NAME,
            ("kind", "Trouble", {"custom.width": 170}),
            ("account", "account", {"custom.width": 90}),
            ("alert", "alert", {"links": to_runbook("alert"), "custom.width": 240}),
            ID,
        ],
        width=14, height=10, sort=[("Severity", False)],
        description="One row for each pipeline and trouble, as the exporter judges it. The name leads to the pipeline's "
                    "dashboard, the alert to its runbook. It fires once the trouble has lasted.",
    ),
    firing_alerts(
        [
            NAME,
            ("account", "account", {"custom.width": 90}),
            ID,
        ],
        width=10, height=10,
    ),
    table(
        "Accounts",
        [
            target(f"max by (account) (goldrush_up{{{ACCOUNT}}})", table=True),
            target(f"max by (account) (goldrush_auth_unauthorized{{{ACCOUNT}}})"
                   f" + 2 * max by (account) (goldrush_auth_forbidden{{{ACCOUNT}}})", table=True),
            target(f"max by (account) (goldrush_service_key_loaded_timestamp_seconds{{{ACCOUNT}}}) * 1000", table=True),
            target(f"count by (account) (count by (account, pipeline_id) (goldrush_pipeline_forbidden{{{ACCOUNT}}}))", table=True),
            target(f"time() - max by (account) (goldrush_discovery_last_success_timestamp_seconds{{{ACCOUNT}}})", table=True),
        ],
        [
            ("account", "account", {}),
            ("Value #A", "List", {
                "mappings": values((1, "ok", "green"), (0, "fails", "red")),
                "custom.cellOptions": {"type": "color-text"}, "custom.width": 70,
            }),
            ("Value #B", "Key", {
                "mappings": values((0, "accepted", "green"), (1, "refused (401)", "red"), (2, "not a ServiceKey", "red"),
                                   (3, "refused (401)", "red")),
                "custom.cellOptions": {"type": "color-text"}, "custom.width": 140,
            }),
            ("Value #C", "Key loaded", {"unit": "dateTimeAsIso", "custom.width": 160}),
            ("Value #D", "Pipelines", {"custom.width": 90}),
            ("Value #E", "List age", {"unit": "s", "decimals": 0, "custom.width": 110}),
        ],
        width=8, height=6, sort=[("Key", True)],
        description="One ServiceKey each. “List age” is the age of the newest list that succeeded.",
    ),
    table(
        "Groups",
        [
            target(f"max by (account, group) ({metric}{{{ACCOUNT}}})", table=True)
            for metric in ("goldrush_group_over_limit", "goldrush_group_free_trial_expired", "goldrush_group_paid")
        ],
        [
            ("group", "Group", {}),
            ("account", "account", {"custom.width": 100}),
            ("Value #A", "Over limit", {
                "mappings": NO_YES_MAPPINGS, "custom.cellOptions": {"type": "color-text"}, "custom.width": 90}),
            ("Value #B", "Trial expired", {
                "mappings": NO_YES_MAPPINGS, "custom.cellOptions": {"type": "color-text"}, "custom.width": 100}),
            ("Value #C", "Paid", {"mappings": values((0, "no", "text"), (1, "yes", "text")), "custom.width": 60}),
        ],
        width=7, height=6, sort=[("Over limit", True)],
        description="What the API says about the billing of the groups. Over limit or expired: the platform is about to stop "
                    "serving the group, or has stopped.",
    ),
    table(
        "Troubled accounts", [target(account_troubles(), table=True)],
        [
            SEVERITY,
            ("account", "account", {"custom.width": 80}),
            ("kind", "Trouble", {"custom.width": 150}),
            ("about", "About", {}),
            ("alert", "alert", {"links": to_runbook("alert")}),
        ],
        width=9, height=6, sort=[("Severity", False)],
        description="One row for each account and trouble; “About” is the group or the expected pipeline, if it is about one.",
    ),
]

SLOS = [
    row("Service level objectives"),
    table(
        "Objectives",
        [
            target(f"1 - avg by (account, team, slo) (avg_over_time(goldrush:slo_bad:ratio{{{ACCOUNT}}}[$__range]))", table=True),
            target(f"avg by (account, team, slo) (goldrush:slo_bad:ratio{{{ACCOUNT}}} * 0"
                   " + on (slo) group_left () avg by (slo) (goldrush:slo_objective:ratio))", table=True),
            target(f"max by (account, team, slo) (goldrush:slo_burn:rate1h{{{ACCOUNT}}})", table=True),
            target(f"max by (account, team, slo) (goldrush:slo_burn:rate3d{{{ACCOUNT}}})", table=True),
        ],
        [
            ("slo", "Objective", {}),
            ("account", "account", {"custom.width": 100}),
            ("team", "Team", {"custom.width": 100}),
            ("Value #A", "Reached", {"unit": "percentunit", "decimals": 2, "custom.width": 90}),
            ("Value #B", "Wanted", {"unit": "percentunit", "decimals": 2, "custom.width": 90}),
            ("Value #C", "Burn, 1 h", {
                "decimals": 1, "thresholds": steps("green", (1, "orange"), (14.4, "red")),
                "custom.cellOptions": {"type": "color-text"}, "custom.width": 90}),
            ("Value #D", "Burn, 3 d", {
                "decimals": 1, "thresholds": steps("green", (1, "orange")), "custom.cellOptions": {"type": "color-text"},
                "custom.width": 90}),
        ],
        width=12, height=8, sort=[("Burn, 1 h", True)],
        description="Reached: over the time range, without the time in which nothing could be read. A burn rate of 1 uses up the "
                    "error budget of 30 days in 30 days. Empty: alerts/goldrush-slo.rules.yml is not loaded.",
    ),
    graph(
        "Error budget burn, 1 h",
        [target(f"max by (account, team, slo) (goldrush:slo_burn:rate1h{{{ACCOUNT}}})", "{{slo}} {{account}} {{team}}")],
        width=12, height=8, unit="short", min=0, thresholds=steps("transparent", (14.4, "red")),
        description="How many times as fast as the objective allows. Line: the threshold of GoldRushErrorBudgetFastBurn.",
    ),
]

CONSUMED = f"goldrush_usage_credits_consumed{{{ACCOUNT}}}"

TRENDS = [
    row("Trends"),
    graph(
        "Pipelines by phase",
        [target(f"sum by (phase) ({newest('goldrush_pipeline_phase', by=f'{IDS}, phase')}) > 0", "{{phase}}")],
        stacked=True, line="stepAfter", decimals=0, unit="short", min=0,
        overrides=[override(name, colored(color)) for name, _, color in PHASES],
        description="Pipelines without a fresh reading are not in it.",
    ),
    graph(
        "Throughput by project",
        [target(f"sum by (account, project) ({newest('goldrush_pipeline_records_per_second')})", "{{account}} / {{project}}")],
        stacked=True, unit="rowsps", min=0,
        description="Rolling throughput as the API reports it. “rows” are source records.",
    ),
    graph(
        "Processing delay, highest 10",
        [target(f"topk(10, {newest('goldrush_pipeline_processing_delay_seconds')})", "{{pipeline}} ({{account}})")],
        unit="s", min=0, thresholds=steps("transparent", (300, "orange")), data_links=SERIES_TO_PIPELINE,
        description="From source to destination. Line: the default of the threshold. The ten are chosen at every point in time, "
                    "so more than ten can appear.",
    ),
    graph(
        "Backlog, highest 10",
        [target(f"topk(10, {newest('goldrush_pipeline_pending_records')})", "{{pipeline}} ({{account}})")],
        unit="short", min=0, data_links=SERIES_TO_PIPELINE,
        description="Records buffered and not yet written to the destination.",
    ),
    graph(
        "Destinations down by reason",
        [target(f"count by (reason) ({newest('goldrush_pipeline_destination_error', by=f'{IDS}, reason')})", "{{reason}}")],
        stacked=True, line="stepAfter", decimals=0, unit="short", min=0,
        description="Reasons are classified by the exporter. Empty: all destinations are healthy.",
    ),
    graph(
        "Dropped records, highest 10",
        [target(f"topk(10, max by ({IDS}) (rate(goldrush_pipeline_dropped_records_total{{{CHOSEN}}}[$__rate_interval])) > 0)",
                "{{pipeline}} ({{account}})")],
        unit="rowsps", min=0, interval="1m", data_links=SERIES_TO_PIPELINE,
        description="Records that could not be normalized or decoded. Empty: none is dropped.",
    ),
    graph(
        "Credits",
        [
            target(f"max by (account) ({CONSUMED})", "{{account}}: used"),
            target(f"max by (account) ({CONSUMED} + 7 * increase({CONSUMED}[1d]))", "{{account}}: in 7 days, at the last day's pace"),
            target(f"max by (account) (goldrush_usage_credits_limit{{{ACCOUNT}}}"
                   f" + (goldrush_usage_flex_credits_limit{{{ACCOUNT}}} or 0 * goldrush_usage_credits_limit{{{ACCOUNT}}}))",
                   "{{account}}: limit"),
        ],
        width=24, unit="short", min=0, links=[link("Runbook", runbook("GoldRushCreditsRunningOut"))],
        description="Credits used this month, and where they will be in 7 days; the limit includes flex credits. The count begins "
                    "again with the month. Empty: the exporter does not poll usage (poll.usage), or no key may read it.",
    ),
]

EVERY = [
    row("Every pipeline"),
    table(
        "All pipelines",
        [
            target(f"max by ({IDS}, topic, destination_type, execution_mode) (goldrush_pipeline_info{{{CHOSEN}}})", table=True),
            target(f"{newest('goldrush_pipeline_phase', by=f'{IDS}, phase')} == 1", table=True),
            target(f"{newest('goldrush_pipeline_desired_status', by=f'{IDS}, status')} == 1", table=True),
            target(f"min by ({IDS}) (goldrush_pipeline_destination_healthy{{{CHOSEN}}})", table=True),
            target(newest("goldrush_pipeline_processing_delay_seconds"), table=True),
            target(newest("goldrush_pipeline_pending_records"), table=True),
            target(newest("goldrush_pipeline_records_per_second"), table=True),
            target(f"time() - {newest('goldrush_pipeline_last_progress_timestamp_seconds')}", table=True),
            target(f"time() - {newest('goldrush_pipeline_start_time_seconds')}", table=True),
            target(f"max by ({IDS}) (increase(goldrush_pipeline_dropped_records_total{{{CHOSEN}}}[$__range]))", table=True),
        ],
        [
            NAME,
            ("project", "Project", {"custom.width": 140}),
            ("account", "account", {"custom.width": 90}),
            ("status", "Wanted", {
                "mappings": DESIRED_NAME_MAPPINGS, "custom.cellOptions": {"type": "color-text"}, "custom.width": 80}),
            ("phase", "Phase", {
                "mappings": PHASE_NAME_MAPPINGS, "custom.cellOptions": {"mode": "basic", "type": "color-background"},
                "custom.width": 100}),
            ("Value #D", "Destination", {
                "mappings": HEALTH_MAPPINGS, "custom.cellOptions": {"type": "color-text"}, "custom.width": 100}),
            ("Value #E", "Delay", {
                "unit": "s", "decimals": 1, "thresholds": steps("text", (60, "yellow"), (300, "orange"), (1800, "red")),
                "custom.cellOptions": {"type": "color-text"}, "custom.width": 90}),
            ("Value #F", "Backlog", {"unit": "short", "decimals": 0, "custom.width": 90}),
            ("Value #G", "Throughput", {"unit": "rowsps", "custom.width": 110}),
            ("Value #H", "Last progress", {"unit": "s", "decimals": 0, "custom.width": 110}),
            ("Value #I", "Worker age", {"unit": "s", "decimals": 0, "custom.width": 100}),
            ("Value #J", "Dropped", {"unit": "short", "decimals": 0, "custom.width": 90}),
            ("destination_type", "Type", {"custom.width": 90}),
            ("execution_mode", "Mode", {"custom.width": 90}),
            ("topic", "Topic", {"custom.minWidth": 200}),
            ID,
        ],
        height=16, sort=[("Phase", False)],
        description="An empty cell is a value that the API does not give or a reading that is stale. “Dropped” is over the "
                    "time range.",
    ),
]


def build():
    """The dashboard's JSON."""
    return dashboard(
        FLEET, "GoldRush / Fleet", "All pipelines of the chosen accounts: what is wrong, and where.",
        [*TRIAGE, *TABLES, *SLOS, *TRENDS, *EVERY],
        variables=[*common_variables(multi=True), RUNBOOKS_VARIABLE],
        annotations=[alert_annotation(OF_PIPELINES)],
        links=links(PIPELINE, EXPORTER),
    )
