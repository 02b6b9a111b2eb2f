"""What the dashboards share about GoldRush: labels, variables, phases, troubles.

Replicas and shards of the exporter may show an account or a pipeline several times. So every query aggregates the labels of
the scrape (job, instance) away, unless the panel is about the exporter itself.
"""

from .grafana import (
    annotation, constant_variable, dashboard_link, datasource_variable, query_variable, table, target, values,
)

FLEET, PIPELINE, EXPORTER = "goldrush-fleet", "goldrush-pipeline", "goldrush-exporter"

# What a pipeline is known by. The name is the user's and may hold quotes and line breaks, which Grafana does not escape in
# queries: so the variable holds the id, and shows the name.
IDS = "account, project, pipeline_id, pipeline"
ON = "on (account, pipeline_id)"

# What is below it may need metrics that the lean profile leaves out; a test of the exposition knows the title.
DETAILS_TITLE = "Details (metrics.profile: full)"

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


# Where a kind of trouble is looked up: the alert about it, whose runbook helps.
_ALERTS = "on (kind) group_left (alert) group by (kind, alert) (goldrush_trouble_kind_info)"


def pipelines_with(*kinds):
    """How many pipelines have one of these troubles: 0 if none has, nothing if no pipeline is known."""
    return (
        f'count(group by (account, pipeline_id) (goldrush_pipeline_trouble{{{CHOSEN}, kind=~"{"|".join(kinds)}"}}))'
        f" or 0 * count({newest('goldrush_pipeline_forbidden')})"
    )


def accounts_with(*kinds):
    """How often accounts have one of these troubles, each group or expected pipeline by itself."""
    return (
        f'count(group by (account, about) (goldrush_account_trouble{{{ACCOUNT}, kind=~"{"|".join(kinds)}"}}))'
        f" or 0 * count(goldrush_up{{{ACCOUNT}}})"
    )


def pipeline_troubles():
    """Every trouble of every pipeline, with its alert."""
    return f"max by ({IDS}, kind, severity, alert) (goldrush_pipeline_trouble{{{CHOSEN}}} * {_ALERTS})"


def account_troubles():
    """Every trouble of every account, with its alert."""
    return f"max by (account, about, kind, severity, alert) (goldrush_account_trouble{{{ACCOUNT}}} * {_ALERTS})"


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


# The first column of tables of troubles and alerts.
SEVERITY = ("severity", "Severity", {
    "mappings": values(("critical", "critical", "red"), ("warning", "warning", "orange")),
    "custom.cellOptions": {"mode": "basic", "type": "color-background"}, "custom.width": 80,
})


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


# Alerts of an account or of the exporter have no pipeline_id: an empty label matches as well.
OF_ACCOUNTS = 'account=~"$account|"'
OF_PIPELINES = f'{OF_ACCOUNTS}, project=~"$project|", pipeline_id=~"$pipeline_id|"'


def _firing(matchers):
    return f'ALERTS{{alertname=~"GoldRush.*", alertstate="firing", severity!="none", {matchers}}}'


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
            SEVERITY,
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
