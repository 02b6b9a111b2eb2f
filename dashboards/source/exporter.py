"""Exporter: whether what the other dashboards show can be trusted."""

from .goldrush import (
    EXPORTER, FLEET, OF_ACCOUNTS, PIPELINE, RUNBOOKS_VARIABLE, account_variable, alert_annotation, links, moment_annotation,
    runbook,
)
from .grafana import (
    dashboard, datasource_variable, graph, heatmap, link, query_variable, row, stat, steps, table, target, values,
)

# All expands to the exporters that there are: `.*` would take every process of this Prometheus.
SELF = 'job=~"$job", instance=~"$instance"'
POLL = f'{SELF}, account=~"$account"'
# An exporter that is scraped in parts has one address, and is up if all of them are.
_UP = f"min by (job, instance) (up{{{SELF}}})"
# Two jobs may scrape the same address.
WHICH = "{{job}} {{instance}}"


def _rate(metric, by, matchers=POLL):
    return f"sum by ({by}) (rate({metric}{{{matchers}}}[$__rate_interval]))"


def _quantile(quantile):
    return target(
        f'histogram_quantile({quantile}, {_rate("goldrush_api_request_duration_seconds_bucket", "le")})', f"p{quantile * 100:g}"
    )


HEALTH = [
    stat(
        "Up", f"count({_UP} == 1) or 0 * count(up{{{SELF}}})", width=3, thresholds=steps("red", (1, "green")),
        description="Exporters that respond.", links=[link("Runbook", runbook("GoldRushExporterDown"))],
    ),
    stat(
        "Down", f"count({_UP} == 0) or 0 * count(up{{{SELF}}})", width=3, thresholds=steps("green", (1, "red")),
        description="Exporters that do not respond, or not in all of their parts.",
        links=[link("Runbook", runbook("GoldRushExporterInstanceDown"))],
    ),
    stat(
        "Configuration", f"min(goldrush_exporter_config_last_reload_successful{{{SELF}}})", width=3,
        mappings=values((1, "loaded", "green"), (0, "reload failed", "red")),
        description="Whether the newest attempt to load it succeeded, on all instances. After a failure the old one stays.",
        links=[link("Runbook", runbook("GoldRushConfigReloadFailed"))],
    ),
    stat(
        "Accounts with trouble",
        f"count(group by (account) (goldrush_account_trouble{{{POLL}}})) or 0 * count(goldrush_up{{{POLL}}})", width=3,
        thresholds=steps("green", (1, "red")),
        description="Accounts of which anything is wrong; the Fleet dashboard says what.",
    ),
    stat(
        "Failed requests",
        f'sum({_rate("goldrush_api_request_failures_total", "account")})'
        f' / (sum({_rate("goldrush_api_request_duration_seconds_count", "account")}) > 0)',
        width=3, unit="percentunit", decimals=1, thresholds=steps("green", (0.01, "yellow"), (0.1, "red")), interval="1m",
        description="Part of the requests to the API that gave no reading.",
        links=[link("Runbook", runbook("GoldRushApiErrors"))],
    ),
    stat(
        "Budget used",
        f"max(goldrush_poll_required_requests_per_second{{{POLL}}} / goldrush_poll_allowed_requests_per_second{{{POLL}}})",
        width=3, unit="percentunit", decimals=0, thresholds=steps("green", (0.8, "yellow"), (1, "red")),
        description="Requests per second that the intervals need, of those that are allowed; the account that is worst off. "
                    "Above 100 %, all intervals stretch.",
        links=[link("Runbook", runbook("GoldRushPollBudgetTooSmall"))],
    ),
    stat(
        "Polling paused", f"count(goldrush_poll_paused_until_timestamp_seconds{{{POLL}}} > time())"
        f" or 0 * count(goldrush_poll_paused_until_timestamp_seconds{{{POLL}}})",
        width=3, thresholds=steps("green", (1, "orange")),
        description="Accounts whose polling is paused because a response demanded it (429, or another with Retry-After).",
        links=[link("Runbook", runbook("GoldRushRateLimited"))],
    ),
    stat(
        "Unknown values in range", f"sum(increase(goldrush_api_unknown_values_total{{{POLL}}}[$__range]))", width=3, decimals=0,
        thresholds=steps("green", (1, "yellow")),
        description="Values that the API said and this version does not know. Above 0: look for a newer version.",
    ),
    table(
        "Instances",
        [
            target(f"max by (job, instance, version, revision, rustc) (goldrush_exporter_build_info{{{SELF}}})", table=True),
            target(f"max by (job, instance) (goldrush_exporter_config_last_reload_successful{{{SELF}}})", table=True),
            target(
                f"max by (job, instance) (goldrush_exporter_config_last_reload_success_timestamp_seconds{{{SELF}}}) * 1000",
                table=True),
            target(f"time() - max by (job, instance) (process_start_time_seconds{{{SELF}}})", table=True),
        ],
        [
            ("instance", "Instance", {}),
            ("job", "Job", {"custom.width": 110}),
            ("version", "Version", {"custom.width": 80}),
            ("revision", "Revision", {"custom.width": 120}),
            ("rustc", "rustc", {"custom.width": 80}),
            ("Value #B", "Configuration", {
                "mappings": values((1, "loaded", "green"), (0, "reload failed", "red")),
                "custom.cellOptions": {"type": "color-text"}, "custom.width": 110}),
            ("Value #C", "Loaded", {"unit": "dateTimeAsIso", "custom.width": 160}),
            ("Value #D", "Uptime", {"unit": "s", "decimals": 0, "custom.width": 90}),
        ],
        width=13, height=6, description="What is running. Different revisions: a rollout is under way, or got stuck.",
    ),
    table(
        "Accounts",
        [
            target(f"min by (instance, account) (goldrush_up{{{POLL}}})", table=True),
            target(f"max by (instance, account) (goldrush_pipelines{{{POLL}}})", table=True),
            target(f"max by (instance, account) (goldrush_service_key_loaded_timestamp_seconds{{{POLL}}}) * 1000", table=True),
            target(f"sum by (instance, account) (increase(goldrush_auth_failures_total{{{POLL}}}[$__range]))", table=True),
        ],
        [
            ("account", "Account", {}),
            ("instance", "Instance", {"custom.width": 150}),
            ("Value #A", "List", {
                "mappings": values((1, "ok", "green"), (0, "fails", "red")), "custom.cellOptions": {"type": "color-text"},
                "custom.width": 70}),
            ("Value #B", "Pipelines", {"custom.width": 80}),
            ("Value #C", "Key loaded", {"unit": "dateTimeAsIso", "custom.width": 160}),
            ("Value #D", "401 and 403", {"unit": "short", "decimals": 0, "custom.width": 100}),
        ],
        width=11, height=6, sort=[("List", False)],
        description="Each account of each instance. A rotation shows as a later “Key loaded”. “401 and 403” is over the time "
                    "range.",
    ),
]

API = [
    row("Requests to the Pipeline API"),
    graph(
        "Requests by operation", [target(_rate("goldrush_api_request_duration_seconds_count", "operation"), "{{operation}}")],
        unit="reqps", min=0, stacked=True, interval="1m", description="All requests, whatever their outcome.",
    ),
    graph(
        "Failures by reason",
        [target(f'{_rate("goldrush_api_request_failures_total", "operation, reason")} > 0', "{{reason}} ({{operation}})")],
        unit="reqps", min=0, stacked=True, interval="1m", description="Requests that gave no reading. Empty: none failed.",
        links=[link("Runbook", runbook("GoldRushApiErrors"))],
    ),
    graph(
        "Latency", [_quantile(0.5), _quantile(0.9), _quantile(0.99)], unit="s", min=0, interval="1m",
        description="Quantiles over all operations, from the histogram's buckets.",
    ),
    heatmap(
        "Latency, distribution", f"sum by (le) (increase(goldrush_api_request_duration_seconds_bucket{{{POLL}}}[$__rate_interval]))",
        unit="s", description="Requests by duration.",
    ),
    graph(
        "Latency by operation, mean",
        [target(f'{_rate("goldrush_api_request_duration_seconds_sum", "operation")}'
                f' / ({_rate("goldrush_api_request_duration_seconds_count", "operation")} > 0)', "{{operation}}")],
        unit="s", min=0, width=8, interval="1m", description="Mean duration of the requests.",
    ),
    graph(
        "401 and 403", [target(_rate("goldrush_auth_failures_total", "account, code"), "{{account}} {{code}}")],
        unit="reqps", min=0, width=8, interval="1m",
        description="Responses that refuse the key. A 403 can also be about a single pipeline.",
        links=[link("Runbook", runbook("GoldRushServiceKeyUnauthorized"))],
    ),
    graph(
        "Unknown values", [target(_rate("goldrush_api_unknown_values_total", "field"), "{{field}}")], unit="cps", min=0,
        width=8, interval="1m", description="Values that this version does not know, by field.",
    ),
]

BUDGET = [
    row("Polling"),
    graph(
        "Budget",
        [
            target(f"max by (account) (goldrush_poll_required_requests_per_second{{{POLL}}})", "{{account}} required"),
            target(f"max by (account) (goldrush_poll_allowed_requests_per_second{{{POLL}}})", "{{account}} allowed"),
        ],
        unit="reqps", min=0, width=8, fill=0,
        overrides=[{"matcher": {"id": "byRegexp", "options": "/ allowed$/"},
                    "properties": [{"id": "custom.lineStyle", "value": {"dash": [10, 10], "fill": "dash"}}]}],
        description="What the intervals need and what is allowed, of the instance that needs most.",
        links=[link("Runbook", runbook("GoldRushPollBudgetTooSmall"))],
    ),
    graph(
        "Lag", [target(f"max by (account) (goldrush_poll_lag_seconds{{{POLL}}})", "{{account}}")], unit="s", min=0, width=8,
        description="How late the most overdue probe is.",
    ),
    graph(
        "Polling paused",
        [target(f"clamp_min(max by (account) (goldrush_poll_paused_until_timestamp_seconds{{{POLL}}}) - time(), 0)", "{{account}}")],
        unit="s", min=0, width=8, description="How much longer polling is paused.",
        links=[link("Runbook", runbook("GoldRushRateLimited"))],
    ),
    graph(
        "Age of the list",
        [target(f"time() - min by (account) (goldrush_discovery_last_success_timestamp_seconds{{{POLL}}})", "{{account}}")],
        unit="s", min=0, width=8, thresholds=steps("transparent", (300, "red")),
        description="Time since the list of pipelines last succeeded as a whole, on the instance that is worst off. Line: the "
                    "default of poll.stale_after.",
    ),
    graph(
        "Oldest reading by probe",
        [target(f"time() - min by (probe) (goldrush_pipeline_probe_last_success_timestamp_seconds{{{POLL}}})", "{{probe}}")],
        unit="s", min=0, width=8, thresholds=steps("transparent", (300, "red")),
        description="The pipeline that was last read longest ago. Line: the default of poll.stale_after.",
        links=[link("Runbook", runbook("GoldRushReadingsStale"))],
    ),
    graph(
        "Pipelines polled",
        [target(f"sum by (job, instance, account) (goldrush_pipelines{{{POLL}}})", "{{account}} ({{job}} {{instance}})")],
        unit="short", decimals=0, min=0, width=8, stacked=True, line="stepAfter",
        description="Pipelines of each account on each instance. Shards divide them, replicas repeat them.",
    ),
]

PROCESS = [
    row("Exposition and process"),
    graph(
        "Samples", [target(f"sum by (job, instance) (scrape_samples_scraped{{{SELF}}})", WHICH)], unit="short", decimals=0,
        min=0, width=8, table=False,
        description="Samples of one scrape, of all parts together. sample_limit is compared with those of each part.",
    ),
    graph(
        "Render duration",
        [
            target(f"max by (job, instance) (goldrush_exporter_render_duration_seconds{{{SELF}}})", f"render {WHICH}"),
            target(f"max by (job, instance) (scrape_duration_seconds{{{SELF}}})", f"scrape {WHICH}"),
        ],
        unit="s", min=0, width=8, table=False,
        description="Writing the exposition before this one, and the whole scrape as Prometheus measured it.",
    ),
    graph(
        "Exposition size", [target(f"max by (job, instance) (goldrush_exporter_exposition_bytes{{{SELF}}})", WHICH)],
        unit="bytes", min=0, width=8, table=False, description="The exposition before this one, not compressed.",
    ),
    graph(
        "CPU", [target(_rate("process_cpu_seconds_total", "job, instance", SELF), WHICH)], unit="percentunit", min=0, width=8,
        table=False, interval="1m", description="100 % is one core.",
    ),
    graph(
        "Memory",
        [
            target(f"max by (job, instance) (process_resident_memory_bytes{{{SELF}}})", f"resident {WHICH}"),
            target(f"max by (job, instance) (process_virtual_memory_bytes{{{SELF}}})", f"virtual {WHICH}"),
        ],
        unit="bytes", min=0, width=8, table=False,
        description="Resident matters; virtual is address space only (hidden in the graph).",
        overrides=[{"matcher": {"id": "byRegexp", "options": "/^virtual /"},
                    "properties": [{"id": "custom.hideFrom", "value": {"legend": False, "tooltip": False, "viz": True}}]}],
    ),
    graph(
        "File descriptors",
        [
            target(f"max by (job, instance) (process_open_fds{{{SELF}}})", f"open {WHICH}"),
            target(f"max by (job, instance) (process_max_fds{{{SELF}}})", f"limit {WHICH}"),
        ],
        unit="short", decimals=0, min=0, width=8, table=False, description="Open ones and their limit, on a logarithmic scale.",
        overrides=[{"matcher": {"id": "byRegexp", "options": "/^(open|limit) /"},
                    "properties": [{"id": "custom.scaleDistribution", "value": {"log": 10, "type": "log"}}]}],
    ),
]


def build():
    """The dashboard's JSON."""
    return dashboard(
        EXPORTER, "GoldRush / Exporter", "Whether the exporter works, and whether its readings are fresh.",
        [*HEALTH, *API, *BUDGET, *PROCESS],
        variables=[
            datasource_variable(),
            query_variable("job", "Job", "label_values(goldrush_exporter_build_info, job)", multi=True, include_all=True),
            query_variable(
                "instance", "Instance", 'label_values(goldrush_exporter_build_info{job=~"$job"}, instance)', multi=True,
                include_all=True,
            ),
            account_variable(multi=True),
            RUNBOOKS_VARIABLE,
        ],
        annotations=[
            alert_annotation(OF_ACCOUNTS),
            moment_annotation(
                "Configuration loaded",
                f"max by (instance) (goldrush_exporter_config_last_reload_success_timestamp_seconds{{{SELF}}})", "blue",
                "Configuration loaded", "{{instance}}",
            ),
            moment_annotation(
                "Keys loaded", f"max by (account) (goldrush_service_key_loaded_timestamp_seconds{{{POLL}}})", "purple",
                "ServiceKey loaded", "{{account}}",
            ),
        ],
        links=links(FLEET, PIPELINE),
    )
