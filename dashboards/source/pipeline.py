"""Pipeline: one of them, and how it came to this."""

from .goldrush import (
    DESIRED, DESIRED_MAPPINGS, DETAILS_TITLE, EXPORTER, FLEET, HEALTH_MAPPINGS, OF_PIPELINES, PHASE_MAPPINGS, PHASES, PIPELINE,
    RUNBOOKS_VARIABLE, SUCCESS_MAPPINGS, alert_annotation, coded, common_variables, firing_alerts, links, moment_annotation,
    runbook,
)
from .grafana import colored, dashboard, graph, link, override, row, stat, steps, table, target, timeline, values

# Only the id, so that a pipeline that was renamed or moved keeps its past.
THIS = 'account=~"$account", pipeline_id="$pipeline_id"'


def _max(metric, *matchers):
    return f"max({metric}{{{', '.join([THIS, *matchers])}}})"


def _rate(metric):
    return f"max(rate({metric}{{{THIS}}}[$__rate_interval]))"


NOW = [
    stat(
        "Phase", coded("goldrush_pipeline_phase", "phase", PHASES, THIS), width=3, mappings=PHASE_MAPPINGS,
        description="What the worker does.",
    ),
    stat(
        "Wanted", coded("goldrush_pipeline_desired_status", "status", DESIRED, THIS), width=3, mappings=DESIRED_MAPPINGS,
        description="What the user wants.",
    ),
    stat(
        "Destination", f"min(goldrush_pipeline_destination_healthy{{{THIS}}})", width=3, mappings=HEALTH_MAPPINGS,
        description="Result of the last check that the platform made.",
        links=[link("Runbook", runbook("GoldRushDestinationUnhealthy"))],
    ),
    stat(
        "Processing delay", _max("goldrush_pipeline_processing_delay_seconds"), width=3, unit="s", decimals=1,
        thresholds=steps("green", (60, "yellow"), (300, "orange"), (1800, "red")),
        description="From source to destination.", links=[link("Runbook", runbook("GoldRushProcessingDelayHigh"))],
    ),
    stat(
        "Backlog", _max("goldrush_pipeline_pending_records"), width=3, unit="short", decimals=0, background=False,
        description="Records buffered and not yet written to the destination.",
        links=[link("Runbook", runbook("GoldRushBacklogGrowing"))],
    ),
    stat(
        "Throughput", _max("goldrush_pipeline_records_per_second"), width=3, unit="rowsps", decimals=0, background=False,
        description="Rolling throughput as the API reports it.",
    ),
    stat(
        "Last progress", f"time() - {_max('goldrush_pipeline_last_progress_timestamp_seconds')}", width=3, unit="s",
        decimals=0, thresholds=steps("green", (120, "yellow"), (600, "red")),
        description="How long ago the exporter last saw offset, height or record count move. Normal if paused or ended.",
        links=[link("Runbook", runbook("GoldRushPipelineStalled"))],
    ),
    stat(
        "Restarts in range", f"max(changes(goldrush_pipeline_start_time_seconds{{{THIS}}}[$__range]))", width=3, decimals=0,
        thresholds=steps("green", (1, "yellow"), (3, "orange")),
        description="How often the worker's start time changed within the time range.",
        links=[link("Runbook", runbook("GoldRushPipelineRestarting"))],
    ),
    stat(
        "Returns 403", _max("goldrush_pipeline_forbidden"), width=3, height=5,
        mappings=values((0, "no", "green"), (1, "yes", "orange")),
        description="Yes: the pipeline belongs to another group, so nothing else is known of it.",
        links=[link("Runbook", runbook("GoldRushPipelineForbidden"))],
    ),
    stat(
        "Worker age", f"time() - {_max('goldrush_pipeline_start_time_seconds')}", width=3, height=5, unit="s", decimals=0,
        background=False, description="Time since the worker started.",
    ),
    firing_alerts([("account", "account", {"custom.width": 120})], width=18, height=5),
    table(
        "What it is",
        [
            target("max by (pipeline, account, project, topic, chain, destination_type, execution_mode, group) "
                   f"(goldrush_pipeline_info{{{THIS}}})", table=True),
            target(f"max by (account) (goldrush_pipeline_updated_timestamp_seconds{{{THIS}}}) * 1000", table=True),
        ],
        [
            ("pipeline", "Name", {"custom.width": 260}),
            ("account", "Account", {"custom.width": 90}),
            ("project", "Project", {"custom.width": 130}),
            ("group", "Group", {"custom.width": 130}),
            ("topic", "Topic", {"custom.minWidth": 200}),
            ("chain", "Chain", {"custom.width": 120}),
            ("destination_type", "Destination", {"custom.width": 100}),
            ("execution_mode", "Mode", {"custom.width": 90}),
            ("Value #B", "Changed", {"unit": "dateTimeAsIso", "custom.width": 160}),
        ],
        width=24, height=3, description="From the newest list. More than one row: several accounts show the pipeline.",
    ),
]

STATE = [
    row("State"),
    timeline(
        "Phase and desired status",
        [
            target(coded("goldrush_pipeline_desired_status", "status", DESIRED, THIS), "desired"),
            target(coded("goldrush_pipeline_phase", "phase", PHASES, THIS), "phase"),
        ],
        mappings=[{"type": "value", "options": {
            **PHASE_MAPPINGS[0]["options"], **DESIRED_MAPPINGS[0]["options"]}}],
        description="A gap is a time without a fresh reading.", height=4,
    ),
    timeline(
        "Destination",
        [
            target(f"min(goldrush_pipeline_destination_healthy{{{THIS}}})", "health"),
            target(f"2 * max by (reason) (goldrush_pipeline_destination_error{{{THIS}}})", "{{reason}}"),
        ],
        mappings=values((1, "healthy", "green"), (0, "down", "red"), (2, "the reason", "orange")),
        description="Health as of the platform's last check, and while it is down one band for each reason.",
    ),
]

PROGRESS = [
    row("Progress"),
    graph(
        "Throughput", [target(_max("goldrush_pipeline_records_per_second"), "throughput")], unit="rowsps", min=0,
        description="Rolling throughput as the API reports it.",
    ),
    graph(
        "Processing delay", [target(_max("goldrush_pipeline_processing_delay_seconds"), "delay")],
        unit="s", min=0, thresholds=steps("transparent", (300, "orange"), (1800, "red")),
        description="From source to destination. Lines: the defaults of the thresholds.",
    ),
    graph(
        "Backlog", [target(_max("goldrush_pipeline_pending_records"), "pending records")], unit="short", min=0,
        description="Records buffered and not yet written. It grows while the destination is down or slow.",
    ),
    graph(
        "Dropped records", [target(_rate("goldrush_pipeline_dropped_records_total"), "dropped")], unit="rowsps", min=0,
        interval="1m", description="Records that could not be normalized or decoded.",
        links=[link("Runbook", runbook("GoldRushRecordsDropped"))],
    ),
    graph(
        "Block height",
        [
            target(_max("goldrush_pipeline_last_block_height"), "newest block"),
            target(f"max(deriv(goldrush_pipeline_last_block_height{{{THIS}}}[$__rate_interval]))", "blocks per second"),
        ],
        unit="none", decimals=0, interval="1m",
        overrides=[override("blocks per second", {"id": "custom.axisPlacement", "value": "right"},
                            {"id": "decimals", "value": 2}, {"id": "unit", "value": "short"})],
        description="Newest block processed, and its slope (right axis).",
    ),
]

FRESHNESS = [
    row("Worker and freshness"),
    graph(
        "Worker age", [target(f"time() - {_max('goldrush_pipeline_start_time_seconds')}", "age")], unit="s", min=0,
        description="Falls to 0 at each restart.",
    ),
    graph(
        "Age of the readings",
        [target(f"time() - max by (probe) (goldrush_pipeline_probe_last_success_timestamp_seconds{{{THIS}}})", "{{probe}}")],
        unit="s", min=0, thresholds=steps("transparent", (300, "red")),
        description="Time since each probe last succeeded. Line: the default of poll.stale_after, at which the exporter "
                    "withdraws the reading.",
        links=[link("Runbook", runbook("GoldRushReadingsStale"))],
    ),
]

_START, _STOP, _HEIGHT = (
    f"goldrush_pipeline_{block}{{{THIS}}}" for block in ("start_block", "stop_block", "last_block_height")
)

BLOCKS = [
    row("Backfill and chain"),
    graph(
        "Backfill",
        [
            target(f"clamp(max(({_HEIGHT} - {_START}) / ({_STOP} - {_START} > 0)), 0, 1)", "done"),
            target(f"max(({_STOP} - {_HEIGHT} > 0) / (deriv({_HEIGHT}[10m]) > 0))", "time left"),
        ],
        unit="percentunit", min=0,
        overrides=[override("time left", {"id": "custom.axisPlacement", "value": "right"}, {"id": "unit", "value": "s"})],
        description="Of a bounded pipeline: the part of its blocks that is done, and the time until its stop block at the pace of "
                    "the last 10 minutes (right axis). A fall: its worker has begun again. Empty where a block is not known.",
        links=[link("Runbook", runbook("GoldRushBackfillEndedEarly"))],
    ),
    graph(
        "Blocks behind",
        [
            target(
                "clamp_min(max(max by (chain) (goldrush_chain_highest_block) "
                f'* on (chain) group by (chain) (goldrush_pipeline_info{{{THIS}, execution_mode="unbounded"}})) '
                f"- max({_HEIGHT}), 0)",
                "behind",
            ),
        ],
        unit="short", decimals=0, min=0,
        description="Of an unbounded pipeline: how many blocks it is behind the unbounded pipeline that is furthest on its chain, in "
                    "all accounts of this Prometheus. 0: it is the furthest itself, or the only one.",
        links=[link("Runbook", runbook("GoldRushProcessingDelayHigh"))],
    ),
]

# The only panels that need more than the lean profile of metrics.
DETAILS = [
    row(DETAILS_TITLE),
    timeline(
        "Probes of the exporter",
        [target(f"min by (probe) (goldrush_pipeline_probe_success{{{THIS}}})", "{{probe}}")],
        mappings=SUCCESS_MAPPINGS, description="Whether the exporter's newest request of each kind succeeded.",
    ),
    graph(
        "Records read", [target(_rate("goldrush_pipeline_source_records_total"), "read from the source")], unit="rowsps",
        min=0, interval="1m",
        description="Rate of the records read since the worker started. The counter moves once per poll of the metrics.",
    ),
    graph(
        "Source offset",
        [
            target(_max("goldrush_pipeline_last_offset"), "committed offset"),
            target(f"max(deriv(goldrush_pipeline_last_offset{{{THIS}}}[$__rate_interval]))", "offsets per second"),
        ],
        unit="none", decimals=0, interval="1m",
        overrides=[override("offsets per second", {"id": "custom.axisPlacement", "value": "right"},
                            {"id": "decimals", "value": 1}, {"id": "unit", "value": "short"})],
        description="Last offset that the worker committed, and its slope (right axis).",
    ),
    graph(
        "Age of the destination check",
        [target(f"time() - {_max('goldrush_pipeline_destination_last_check_timestamp_seconds')}", "last check")],
        unit="s", min=0, thresholds=steps("transparent", (900, "orange")),
        description="Time since the platform last checked the destination. Line: the default of the threshold.",
        links=[link("Runbook", runbook("GoldRushDestinationCheckOld"))],
    ),
    graph(
        "Destination latency", [target(_max("goldrush_pipeline_destination_latency_seconds"), "latency")], unit="s", min=0,
        width=8, description="Duration of the platform's last check. None while the check fails.",
    ),
    graph(
        "Replicas",
        [
            target(_max("goldrush_pipeline_replicas"), "desired"),
            target(_max("goldrush_pipeline_replicas_ready"), "ready"),
        ],
        unit="short", decimals=0, min=0, width=8, line="stepAfter", fill=0, description="Live when all desired ones are ready.",
        overrides=[override("desired", colored("#8e96a7")), override("ready", colored("green"))],
        links=[link("Runbook", runbook("GoldRushReplicasNotReady"))],
    ),
    stat(
        "Age of the pipeline", f"time() - {_max('goldrush_pipeline_created_timestamp_seconds')}", width=8, height=8, unit="s",
        decimals=0, background=False, description="Time since the pipeline was created.",
    ),
]


def build():
    """The dashboard's JSON."""
    return dashboard(
        PIPELINE, "GoldRush / Pipeline", "One pipeline: its state, its progress, its destination.",
        [*NOW, *STATE, *PROGRESS, *BLOCKS, *FRESHNESS, *DETAILS],
        variables=[*common_variables(multi=False), RUNBOOKS_VARIABLE],
        annotations=[
            alert_annotation(OF_PIPELINES),
            moment_annotation(
                "Configuration changes", _max("goldrush_pipeline_updated_timestamp_seconds"), "blue", "Configuration changed",
            ),
            moment_annotation("Worker starts", _max("goldrush_pipeline_start_time_seconds"), "purple", "Worker started"),
        ],
        links=links(FLEET, EXPORTER),
    )
