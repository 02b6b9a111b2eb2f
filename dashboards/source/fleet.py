"""Fleet: what is wrong, and where."""

from .goldrush import (
    ACCOUNT, CHOSEN, DESIRED_NAME_MAPPINGS, EXPORTER, FLEET, HEALTH_MAPPINGS, IDS, NO_YES_MAPPINGS, OF_PIPELINES,
    PHASE_NAME_MAPPINGS, PHASES, PIPELINE, ROW_TO_PIPELINE, RUNBOOKS_VARIABLE, SERIES_TO_PIPELINE, THRESHOLD_VARIABLES,
    alert_annotation, all_troubles, common_variables, firing_alerts, links, newest, number_of, runbook, runbook_of, severity,
    to_runbook,
)
from .grafana import colored, dashboard, graph, link, override, row, stat, steps, table, target, values

RED, ORANGE, PURPLE = steps("green", (1, "red")), steps("green", (1, "orange")), steps("green", (1, "purple"))


def _trouble(title, key, thresholds, description, **more):
    """How many pipelines have a trouble, and what to do about it."""
    return stat(
        title, number_of(key), width=3, description=description, thresholds=thresholds,
        links=[link("Runbook", runbook(runbook_of(key)))], **more,
    )


def _accounts(title, metric, alert, description):
    return stat(
        title, f"sum(max by (account) ({metric}{{{ACCOUNT}}}))", width=3, description=description, thresholds=RED,
        links=[link("Runbook", runbook(alert))],
    )


TRIAGE = [
    row("Triage"),
    _accounts(
        "Keys refused", "goldrush_auth_unauthorized", "GoldRushServiceKeyUnauthorized",
        "Accounts whose ServiceKey is answered 401: missing, malformed or revoked. Nothing of such an account is watched.",
    ),
    _accounts(
        "Not a ServiceKey", "goldrush_auth_forbidden", "GoldRushCredentialNotServiceKey",
        "Accounts whose list of pipelines is answered 403: the credential is a read-only API key.",
    ),
    _trouble("Destinations down", "destinations", RED, "Pipelines whose last destination check failed."),
    _trouble("Failed", "failed", RED, "Pipelines in phase FAILED. They do not heal by themselves."),
    _trouble(
        "Stalled", "stalled", RED,
        "RUNNING, but neither offset, height nor record count has moved for longer than “Stalled after”. A quiet topic looks "
        "the same.",
    ),
    _trouble(
        "Lagging", "lagging", ORANGE,
        "Processing delay above “Lagging above”. Bounded pipelines read history and do not count.",
    ),
    _trouble(
        "Stale or unknown", "stale", PURPLE,
        "The newest reading is older than “Stale after”, there is none, or the phase is one that the exporter does not know. "
        "The other numbers say nothing about these pipelines.",
    ),
    stat(
        "Expected, missing", f"sum(max by (account, pipeline_id) (goldrush_expected_pipeline_missing{{{ACCOUNT}}}))"
        f" or 0 * count(goldrush_up{{{ACCOUNT}}})",
        width=3, description="Pipelines that the configuration expects and the list does not show.",
        thresholds=RED, links=[link("Runbook", runbook("GoldRushExpectedPipelineMissing"))],
    ),
    stat(
        "Exporters down",
        "count(up == 0 and on (job, instance) last_over_time(goldrush_exporter_build_info[$__range]))"
        " or 0 * count(last_over_time(goldrush_exporter_build_info[$__range]))",
        width=3, height=3,
        description="Targets that were exporters within the time range and cannot be scraped now.",
        thresholds=RED, links=[link("Runbook", runbook("GoldRushExporterDown"))],
    ),
    stat(
        "Lists failing", f"sum(1 - max by (account) (goldrush_up{{{ACCOUNT}}}))", width=3, height=3,
        description="Accounts whose newest list of pipelines failed, whatever the reason.",
        thresholds=ORANGE, links=[link("Runbook", runbook("GoldRushApiUnavailable"))],
    ),
    stat(
        "Billing trouble",
        f"count(max by (account, group) (goldrush_group_over_limit{{{ACCOUNT}}} == 1"
        f" or goldrush_group_free_trial_expired{{{ACCOUNT}}} == 1))"
        f" or 0 * count(goldrush_group_over_limit{{{ACCOUNT}}})",
        width=3, height=3, description="Groups over the limit of their plan or with an expired free trial.",
        thresholds=RED, links=[link("Runbook", runbook("GoldRushGroupOverLimit"))],
    ),
    _trouble("Not running", "not_running", ORANGE, "Wanted running, but in none of RUNNING, FAILED and UNKNOWN; bounded "
             "pipelines that have ended do not count.", height=3),
    _trouble("Answer 403", "forbidden", ORANGE, "Listed, but of another group: they cannot be watched.", height=3),
    _trouble("Drop records", "dropping", ORANGE, "Dropped at least one record within 15 minutes.", height=3),
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
        "Troubled pipelines", [target(all_troubles(), table=True)],
        [
            ("Value", "Severity", severity((2, "critical", "red"), (1, "warning", "orange"))),
            NAME,
            ("trouble", "Trouble", {"custom.width": 230}),
            ("account", "account", {"custom.width": 90}),
            ("runbook", "runbook", {"links": to_runbook("runbook"), "custom.width": 230}),
            ID,
        ],
        width=14, height=10, sort=[("Severity", True)],
        description="One row for each pipeline and trouble. The name leads to the pipeline's dashboard. Paused pipelines and "
                    "bounded ones that have ended are no trouble.",
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
        width=11, height=6, sort=[("Key", True)],
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
        width=8, height=6, sort=[("Over limit", True)],
        description="What the API says about the billing of the groups. Over limit or expired: the platform is about to stop "
                    "serving the group, or has stopped.",
    ),
    table(
        "Expected, but missing",
        [target(f"max by (account, pipeline_id) (goldrush_expected_pipeline_missing{{{ACCOUNT}}}) == 1", table=True)],
        [
            ("account", "account", {"custom.width": 100}),
            ("pipeline_id", "pipeline_id", {}),
        ],
        width=5, height=6, links=[link("Runbook", runbook("GoldRushExpectedPipelineMissing"))],
        description="Pipelines that the configuration expects and the newest list does not show. Empty: none is missing.",
    ),
]

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
        description="From source to destination. Line: the threshold of the alert. The ten are chosen at every point in time, "
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
        [*TRIAGE, *TABLES, *TRENDS, *EVERY],
        variables=[*common_variables(multi=True), *THRESHOLD_VARIABLES, RUNBOOKS_VARIABLE],
        annotations=[alert_annotation(OF_PIPELINES)],
        links=links(PIPELINE, EXPORTER),
    )
