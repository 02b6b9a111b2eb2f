"""What the dashboards share about GoldRush: labels, variables, phases, and what counts as trouble.

Replicas and shards of the exporter may show an account or a pipeline several times. So every query aggregates the labels of
the scrape (job, instance) away, unless the panel is about the exporter itself.
"""

from .grafana import (
    annotation, choice_variable, constant_variable, dashboard_link, datasource_variable, query_variable, table, target, values,
)

FLEET, PIPELINE, EXPORTER = "goldrush-fleet", "goldrush-pipeline", "goldrush-exporter"

# What a pipeline is known by. The name is the user's and may hold quotes and line breaks, which Grafana does not escape in
# queries: so the variable holds the id, and shows the name.
IDS = "account, project, pipeline_id, pipeline"
ON = "on (account, pipeline_id)"

# The filters of the fleet's variables. An account may have no pipeline at all.
ACCOUNT = 'account=~"$account"'
CHOSEN = 'account=~"$account", project=~"$project", pipeline_id=~"$pipeline_id"'

# Text and colour of each phase; the number is what state timelines show instead of it.
PHASES = [
    ("RUNNING", 1, "green"), ("DEPLOYING", 2, "blue"), ("STOPPING", 3, "yellow"), ("STOPPED", 4, "#6e7687"),
    ("PAUSED", 5, "#8e96a7"), ("FAILED", 6, "red"), ("UNKNOWN", 7, "purple"),
]
DESIRED = [("running", 11, "green"), ("paused", 12, "#8e96a7")]

PHASE_MAPPINGS = values(*((number, name, color) for name, number, color in PHASES))
PHASE_NAME_MAPPINGS = values(*((name, name, color) for name, _, color in PHASES))
DESIRED_MAPPINGS = values(*((number, name, color) for name, number, color in DESIRED))
DESIRED_NAME_MAPPINGS = values(*((name, name, color) for name, _, color in DESIRED))
HEALTH_MAPPINGS = values((1, "healthy", "green"), (0, "down", "red"))
SUCCESS_MAPPINGS = values((1, "ok", "green"), (0, "failed", "red"))
NO_YES_MAPPINGS = values((0, "no", "green"), (1, "yes", "red"))


def coded(metric, label, codes, chosen):
    """The state that is 1 of several, as one number. Of two exporters that differ for a moment, the greater number."""
    return "max(\n  " + "\n  or ".join(
        f'max by ({label}) ({metric}{{{chosen}, {label}="{name}"}}) * {number}' for name, number, _ in codes
    ) + "\n)"


def newest(metric, chosen=CHOSEN, by=IDS):
    """One series for each pipeline, however many exporters show it."""
    return f"max by ({by}) ({metric}{{{chosen}}})"


def _where(metric, condition, *matchers, by=IDS):
    """Pipelines of which the metric meets a condition. Compared first, so that there is little to aggregate in a large fleet;
    with several exporters, one that sees it is enough."""
    return f"max by ({by}) ({metric}{{{', '.join([CHOSEN, *matchers])}}} {condition})"


def _phase(name):
    return _where("goldrush_pipeline_phase", "== 1", f'phase="{name}"')


_BOUNDED = 'goldrush_pipeline_info{execution_mode="bounded"}'
# Paused by the user, or bounded and at its end: that is no trouble.
_PAUSED = _where("goldrush_pipeline_desired_status", "== 1", 'status="paused"')
_ON_DUTY = f"unless {ON} ({_PAUSED} or ({_phase('STOPPED')} and {ON} {_BOUNDED}))"
# What a failed worker said last stays: its failure is the trouble.
_ALIVE = f"unless {ON} {_phase('FAILED')}"
# How long nothing had moved when the metrics were last read.
_IDLE = (
    f"max by ({IDS}) (goldrush_pipeline_probe_last_success_timestamp_seconds{{{CHOSEN}, probe=\"metrics\"}})"
    f" - {newest('goldrush_pipeline_last_progress_timestamp_seconds')}"
)
# How old the newest reading of each probe is, and probes that have never succeeded.
_AGE = f"time() - {newest('goldrush_pipeline_probe_last_success_timestamp_seconds', by=f'{IDS}, probe')}"
_NEVER_READ = (
    f"{_where('goldrush_pipeline_probe_success', '== 0', by=f'{IDS}, probe')}"
    " unless on (account, pipeline_id, probe) goldrush_pipeline_probe_last_success_timestamp_seconds"
)

# (key, text in the table, severity, runbook, query). Every query gives one series for each pipeline concerned, on duty or
# not; a label `reason` is added to the text. They agree with the alerts of the same name, but show at once what an alert
# waits for, and need no recording rule: a Prometheus without the rules shows them as well.
TROUBLES = [
    ("destinations", "destination down", 2, "GoldRushDestinationUnhealthy",
     _where("goldrush_pipeline_destination_error", "== 1", by=f"{IDS}, reason")),
    ("failed", "failed", 2, "GoldRushPipelineFailed", _phase("FAILED")),
    ("stalled", "stalled", 2, "GoldRushPipelineStalled", f"{_IDLE} > $stalled_after and {ON} {_phase('RUNNING')}"),
    # A bounded pipeline reads history, so its delay is large by nature.
    ("lagging", "lagging", 1, "GoldRushProcessingDelayHigh",
     f"{_where('goldrush_pipeline_processing_delay_seconds', '> $lag_above')} unless {ON} {_BOUNDED} {_ALIVE}"),
    ("stale", "readings stale or phase unknown", 1, "GoldRushReadingsStale",
     f"max by ({IDS}) ({_AGE} > $stale_after or ({_NEVER_READ}) or {_phase('UNKNOWN')})"
     f" unless {ON} (goldrush_pipeline_forbidden == 1)"),
    ("not_running", "not running", 1, "GoldRushPipelineNotRunning",
     "label_replace("
     + _where("goldrush_pipeline_phase", "== 1", 'phase!~"RUNNING|FAILED|UNKNOWN"', by=f"{IDS}, phase")
     + ', "reason", "$1", "phase", "(.*)")'),
    ("replicas", "replicas not ready", 1, "GoldRushReplicasNotReady",
     f"max by ({IDS}) (goldrush_pipeline_replicas{{{CHOSEN}}} > goldrush_pipeline_replicas_ready)"
     f" and {ON} {_phase('RUNNING')}"),
    ("forbidden", "answers 403", 1, "GoldRushPipelineForbidden", _where("goldrush_pipeline_forbidden", "== 1")),
    ("dropping", "drops records", 1, "GoldRushRecordsDropped",
     f"max by ({IDS}) (increase(goldrush_pipeline_dropped_records_total{{{CHOSEN}}}[15m]) >= 1)"),
    ("restarting", "restarts again and again", 1, "GoldRushPipelineRestarting",
     f"max by ({IDS}) (changes(goldrush_pipeline_start_time_seconds{{{CHOSEN}}}[30m]) >= 3)"),
    ("backlog", "backlog grows", 1, "GoldRushBacklogGrowing",
     f"{_where('goldrush_pipeline_pending_records', '> 10000')}"
     f" and max by ({IDS}) (deriv(goldrush_pipeline_pending_records{{{CHOSEN}}}[15m]) > 0) {_ALIVE}"),
]

_KNOWN = f"count({newest('goldrush_pipeline_forbidden')})"


def number_of(key):
    """How many pipelines have this trouble: 0 if none has, nothing if no pipeline is known."""
    query = next(query for name, _, _, _, query in TROUBLES if name == key)
    return f"count(\n  count by (account, pipeline_id) (\n    ({query}) {_ON_DUTY}\n  )\n) or 0 * {_KNOWN}"


def runbook_of(key):
    """The alert whose runbook helps."""
    return next(alert for name, _, _, alert, _ in TROUBLES if name == key)


def all_troubles():
    """Every trouble of every pipeline; the value is the severity, `trouble` says what, `runbook` names the alert."""
    parts = []
    for _, text, severity, alert, query in TROUBLES:
        # An empty reason must not leave a separator behind.
        text = f'label_replace(label_replace(0 * ({query}) + {severity}, "trouble", "{text}", "", ""),' \
               f' "trouble", "{text}: $1", "reason", "(.+)")'
        parts.append(f'label_replace({text}, "runbook", "{alert}", "", "")')
    any_trouble = "(\n  " + "\n  or ".join(parts) + f"\n) {_ON_DUTY}"
    return f"max by ({IDS}, trouble, runbook) (\n{any_trouble}\n)"


def runbook(alert):
    """Where the runbook of an alert is."""
    return f"${{runbooks}}/{alert}.md"


def _to_pipeline(labels):
    url = (
        f"/d/{PIPELINE}?var-account=${{{labels}.account}}&var-pipeline_id=${{{labels}.pipeline_id}}"
        "&${datasource:queryparam}&${__url_time_range}"
    )
    return [{"targetBlank": False, "title": "Pipeline", "url": url}]


# From a row of a table, and from a line of a graph.
ROW_TO_PIPELINE, SERIES_TO_PIPELINE = _to_pipeline("__data.fields"), _to_pipeline("__field.labels")


def to_runbook(field):
    """A cell's link to the runbook that this field names."""
    return [{"targetBlank": True, "title": "Runbook", "url": runbook(f"${{__data.fields.{field}}}")}]


def severity(*mapping):
    """The first column of a table of troubles."""
    return {
        "mappings": values(*mapping), "custom.cellOptions": {"mode": "basic", "type": "color-background"}, "custom.width": 80,
    }


RUNBOOKS_VARIABLE = constant_variable(
    "runbooks", "https://github.com/covalenthq/goldrush-exporter/blob/main/alerts/runbooks",
    "Where the runbooks are, without a slash at the end.",
)

# `query_result` because the list needs the name to show and the id to use. Labels come in alphabetical order.
_PIPELINE_QUERY = "query_result(group by (pipeline, pipeline_id) (last_over_time(goldrush_pipeline_forbidden{%s}[$__range])))"
_PIPELINE_REGEX = r'/\{(?:pipeline="(?<text>[\s\S]*)",)?pipeline_id="(?<value>[^"]+)"\}/'


def account_variable(multi):
    """Which accounts."""
    return query_variable(
        "account", "Account", "label_values(goldrush_up, account)", multi=multi, include_all=True, all_value=".*",
    )


def project_variable(multi):
    """Which projects."""
    return query_variable(
        "project", "Project", f"label_values(goldrush_pipeline_forbidden{{{ACCOUNT}}}, project)", multi=multi,
        include_all=True, all_value=".*",
    )


def pipeline_variable(multi):
    """Which pipelines: shows names, holds ids."""
    return query_variable(
        "pipeline_id", "Pipeline", _PIPELINE_QUERY % f'{ACCOUNT}, project=~"$project"', multi=multi, include_all=multi,
        all_value=".*" if multi else None, regex=_PIPELINE_REGEX,
    )


THRESHOLD_VARIABLES = [
    choice_variable(
        "lag_above", "Lagging above", [("1m", "60"), ("5m", "300"), ("15m", "900"), ("30m", "1800")], "5m",
        "From which processing delay on a pipeline counts as lagging.",
    ),
    choice_variable(
        "stalled_after", "Stalled after", [("2m", "120"), ("5m", "300"), ("10m", "600"), ("30m", "1800")], "10m",
        "How long nothing has to move in a RUNNING pipeline for it to count as stalled.",
    ),
    choice_variable(
        "stale_after", "Stale after", [("1m", "60"), ("2m", "120"), ("5m", "300"), ("15m", "900")], "5m",
        "From which age on a reading counts as stale. The exporter withdraws it after poll.stale_after (5m by default).",
    ),
]


# Alerts of an account or of the exporter have no pipeline_id: an empty label matches as well.
OF_ACCOUNTS = 'account=~"$account|"'
OF_PIPELINES = f'{OF_ACCOUNTS}, project=~"$project|", pipeline_id=~"$pipeline_id|"'


def _firing(matchers):
    return f'ALERTS{{alertname=~"GoldRush.*", alertstate="firing", {matchers}}}'


def alert_annotation(matchers):
    """Firing alerts, for as long as they fire."""
    return annotation(
        "Alerts", f"max by (alertname, severity, account, pipeline) ({_firing(matchers)})", "red", "{{alertname}}",
        "{{account}} {{pipeline}}", tags="severity",
    )


def moment_annotation(name, timestamps, color, title, text=""):
    """Moments that a gauge tells in Unix time."""
    return annotation(name, f"{timestamps} * 1000", color, title, text, value_is_time=True)


def firing_alerts(columns, **more):
    """The alerts that fire for what is chosen; `columns` after severity and name."""
    fields = ", ".join(["severity", "alertname", *(field for field, _, _ in columns)])
    return table(
        "Firing alerts", [target(f"max by ({fields}) ({_firing(OF_PIPELINES)})", table=True)],
        [
            ("severity", "Severity", severity(("critical", "critical", "red"), ("warning", "warning", "orange"))),
            ("alertname", "alertname", {"links": to_runbook("alertname"), "custom.width": 240}),
            *columns,
        ],
        sort=[("Severity", False)],
        description="Alerts of the GoldRush rules that fire now. The name leads to the runbook. Empty if none fires, or if this "
                    "Prometheus does not load the rules.",
        **more,
    )


def links(*uids):
    """The other dashboards."""
    titles = {FLEET: "Fleet", PIPELINE: "Pipeline", EXPORTER: "Exporter"}
    return [dashboard_link(titles[uid], uid) for uid in uids]


def common_variables(multi):
    """Data source, account, project, pipeline."""
    return [datasource_variable(), account_variable(multi), project_variable(multi), pipeline_variable(multi)]
