"""Alerts, their runbooks and their unit tests: held to each other, to the dashboards, and to what the exporter exposes."""

import re
from collections import defaultdict
from pathlib import Path

import yaml

from exposition import OPTIONAL_LABELS

ALERTS = Path(__file__).resolve().parents[2] / "alerts"
RULES = [ALERTS / "goldrush.rules.yml", ALERTS / "goldrush-slo.rules.yml"]
RUNBOOK_URL = "https://github.com/covalenthq/goldrush-exporter/blob/main/alerts/runbooks/"
PLACEHOLDERS = re.compile(r"\$(?:ACCOUNT|ID|KEY_FILE|EXPORTER)\b|\bFILE\b")
# Where these are explained.
PLACEHOLDERS_URL = "https://github.com/covalenthq/goldrush-exporter/blob/main/docs/operations.md#when-you-are-paged"
# Fires always, so there is nothing to wait for and nothing to resolve.
WATCHDOG = "GoldRushWatchdog"
HEADINGS = [
    "## Symptom",
    "## Impact",
    "## First three minutes",
    "## Causes by likelihood",
    "## How to confirm",
    "## How to fix",
    "## How to prevent",
    "## Background",
]
# The only values that a dashboard's variable gets from an alert.
FROM_ALERT = re.compile(r"\{\{ \$labels\.\w+ \| urlquery \}\}")
# What a test has to show, where its name does not say it.
HINTS = {"silent just before it fires": " (at most 30s before, in the same test)"}
PRINTF = re.compile(r'printf\s+("(?:[^"\\]|\\.)*")|query\s+("(?:[^"\\]|\\.)*")')


def seconds(duration):
    """`1h2m30s`, or a bare 0, as seconds."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(float(n) * units[unit] for n, unit in re.findall(r"(\d+)(ms|[smhd])", str(duration)))


def queries(annotation):
    """The PromQL that a template runs, its parameters as they are."""
    for groups in PRINTF.findall(annotation):
        yield next(filter(None, groups))[1:-1].replace('\\"', '"').replace("%q", '"%"')


def check_alert(alert, exposition, dashboards):
    """Problems of one alert by itself."""
    name, annotations = alert["alert"], alert.get("annotations", {})
    if not name.startswith("GoldRush"):
        yield "its name does not start with GoldRush"
    if alert.get("labels", {}).get("severity") not in (("none",) if name == WATCHDOG else ("critical", "warning")):
        yield "its severity is neither critical nor warning"
    if "for" not in alert and name != WATCHDOG:
        yield "it has no `for`: one reading would be enough"
    for key in ("summary", "description", "runbook_url", "dashboard_url"):
        if not annotations.get(key):
            yield f"it has no {key}"
    if annotations.get("runbook_url") != f"{RUNBOOK_URL}{name}.md":
        yield f"its runbook_url is not {RUNBOOK_URL}{name}.md"
    yield from dashboards.problems_of_link(FROM_ALERT.sub("value", annotations.get("dashboard_url", "")))
    for text in [alert["expr"], *(query for text in annotations.values() for query in queries(text))]:
        yield from exposition.problems(text)


def check_runbooks(alerts, exposition):
    """Problems of runbooks."""
    pages = {path.stem: path.read_text() for path in (ALERTS / "runbooks").glob("*")}
    for name in sorted(set(alerts) - set(pages)):
        yield f"alert {name}: there is no runbooks/{name}.md"
    for name, text in sorted(pages.items()):
        if name not in alerts:
            yield f"runbooks/{name}.md: there is no such alert"
        if not text.startswith(f"# {name}\n") or re.findall(r"^## .*$", text, re.M) != HEADINGS:
            yield f"runbooks/{name}.md: its headings are not {name} and {', '.join(HEADINGS)}"
        if PLACEHOLDERS.search(text) and f"({PLACEHOLDERS_URL})" not in text:
            yield f"runbooks/{name}.md: it has placeholders and does not link to {PLACEHOLDERS_URL}"
        queries_of_page = re.findall(r"```promql\n(.*?)```", text, re.S)
        found = [*exposition.problems_of_prose(text), *(p for query in queries_of_page for p in exposition.problems(query))]
        yield from (f"runbooks/{name}.md: {problem}" for problem in found)
        for other in set(re.findall(r"\bGoldRush[A-Z]\w+", text)) - set(alerts):
            yield f"runbooks/{name}.md: there is no alert {other}"


def check_tests(alerts, exposition):
    """Problems of the unit tests."""
    shown = defaultdict(set)
    for path in sorted((ALERTS / "tests").glob("*.test.yml")):
        content = yaml.safe_load(path.read_text())
        if [(path.parent / file).resolve() for file in content["rule_files"]] not in [[file] for file in RULES]:
            yield f"{path.name}: its rule_files is not one of {', '.join(file.name for file in RULES)}"
        for case in content["tests"]:
            where = f'{path.name}, "{case["name"]}"'
            for series in case.get("input_series", []):
                yield from (f"{where}: {problem}" for problem in exposition.problems(series["series"]))
            moments = defaultdict(list)
            for test in case.get("alert_rule_test", []):
                name = test["alertname"]
                if name not in alerts:
                    yield f"{where}: there is no alert {name}"
                    continue
                moments[name].append((seconds(test["eval_time"]), bool(test["exp_alerts"])))
                for expected in test["exp_alerts"]:
                    if set(expected.get("exp_annotations", {})) != set(alerts[name].get("annotations", {})):
                        yield f"{where}: {name} is expected without all of its text"
                    text = " ".join(alerts[name].get("annotations", {}).values())
                    for label in set(re.findall(r"\$labels\.(\w+)", text)) - set(expected.get("exp_labels", {})) - OPTIONAL_LABELS:
                        yield f"{where}: the text of {name} uses the label {label}, which it does not have"
            for name, expectations in moments.items():
                firing = [time for time, fires in expectations if fires]
                silent = [time for time, fires in expectations if not fires]
                shown[name] |= {"firing"} if firing else {"silent where it is harmless"}
                if firing and silent:
                    # Half a minute is one evaluation.
                    shown[name] |= {"silent just before it fires"} if any(0 < f - s <= 30 for f in firing for s in silent) else set()
                    shown[name] |= {"resolved"} if max(silent) > max(firing) else set()
    for name in alerts:
        for what in ("firing",) if name == WATCHDOG else ("firing", "silent just before it fires", "resolved", "silent where it is harmless"):
            if what not in shown[name]:
                yield f"alert {name}: no test shows it {what}{HINTS.get(what, '')}"


def check_kinds(alerts, exposition):
    """Problems between the rules and the kinds of trouble that a running exporter knows."""
    if not exposition.kinds:
        yield "the exporter shows no kind of trouble"
    for kind, severity, name in sorted(exposition.kinds):
        if name not in alerts:
            yield f"kind {kind}: there is no alert {name}"
        elif f'_trouble{{kind="{kind}"' in alerts[name]["expr"] and alerts[name]["labels"]["severity"] != severity:
            yield f"kind {kind}: its severity is {severity}, and that of {name} is not"


def check_groups(groups):
    """Rules that need a recording rule of their own group: some rule engines write those later."""
    for group in groups:
        for record in (rule["record"] for rule in group["rules"] if "record" in rule):
            for rule in group["rules"]:
                if record in rule["expr"]:
                    yield f"rule {rule.get('alert') or rule['record']}: {record} is of its own group"


def problems(groups, alerts, exposition, dashboards):
    """Everything that does not fit. `alerts`: rules by name."""
    rules = [rule for group in groups for rule in group["rules"]]
    yield from check_kinds(alerts, exposition)
    yield from check_groups(groups)
    # One record may have several rules that differ in a label.
    names = [rule.get("alert") or " ".join([rule["record"], *rule.get("labels", {}).values()]) for rule in rules]
    yield from (f"{name}: it is defined twice" for name in sorted({name for name in names if names.count(name) > 1}))
    for rule in rules:
        if "record" in rule:
            name = rule["record"]
            if not re.fullmatch(r"goldrush:\w+:\w+", name):
                yield f"rule {name}: its name is not goldrush:metric:operation"
            yield from (f"rule {name}: {problem}" for problem in exposition.problems(rule["expr"]))
        else:
            yield from (f"alert {rule['alert']}: {problem}" for problem in check_alert(rule, exposition, dashboards))
    yield from check_runbooks(alerts, exposition)
    yield from check_tests(alerts, exposition)
