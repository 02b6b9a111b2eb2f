#!/usr/bin/env python3
"""Holds alerts, runbooks and unit tests to each other, and all of them to what the exporter exposes.

    check.py --exposition FILE    FILE: a classic text exposition in which every family has a sample

Exits with 1 and one line per problem.
"""

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path

import yaml

ALERTS = Path(__file__).resolve().parent.parent
RULES = ALERTS / "goldrush.rules.yml"
RUNBOOK_URL = "https://github.com/covalenthq/goldrush-exporter/blob/main/alerts/runbooks/"
HEADINGS = ["## What it means", "## How to see it", "## What to do", "## GoldRush facts behind it"]
DASHBOARD = re.compile(r"/d/goldrush-(fleet|pipeline|exporter)(\?(&?var-(account|project|pipeline_id)=\{\{[^}]*\}\})+)?")

# What Prometheus adds by itself.
TARGET_LABELS = {"job", "instance"}
BUILT_IN = {"up": set(), "ALERTS": {"alertname", "alertstate"}, "ALERTS_FOR_STATE": {"alertname"}}
# Labels whose values the exporter always shows in full: a wrong value in a rule would never match.
CLOSED = {"phase", "status", "probe", "endpoint", "code"}

STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
NAME = re.compile(r"\b(?:goldrush|process)[_:][A-Za-z0-9_:]*|\bup\b(?=\s*[{=)]|\s*$)|\bALERTS(?:_FOR_STATE)?\b")
SELECTOR = re.compile(rf"({NAME.pattern})\s*(\{{[^}}]*\}})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
PRINTF = re.compile(r'printf\s+("(?:[^"\\]|\\.)*")|query\s+("(?:[^"\\]|\\.)*")')


class Exposition:
    """The sample names of an exposition, with their labels and the values of these."""

    def __init__(self, text, records):
        self.values = defaultdict(lambda: defaultdict(set))
        for line in text.splitlines():
            sample = re.match(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? \S+$", line)
            if sample and not line.startswith("#"):
                labels = self.values[sample[1]]
                for name, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', sample[2] or ""):
                    labels[name].add(value)
        self.labels = {label for labels in self.values.values() for label in labels} | TARGET_LABELS
        self.records = records

    def problems(self, expression):
        """Names and labels in PromQL that do not exist."""
        expression = re.sub(r"#.*", "", expression)
        for name, selector in SELECTOR.findall(expression):
            recorded = name in self.records
            if not recorded and name not in self.values and name not in BUILT_IN:
                yield f"there is no metric {name}"
                continue
            known = self.labels if recorded else set(self.values.get(name, {})) | BUILT_IN.get(name, set()) | TARGET_LABELS
            for label, operator, value in MATCHER.findall(selector):
                if label not in known:
                    yield f"{name} has no label {label}"
                elif label in CLOSED and not recorded and "$" not in value and "%" not in value:
                    alternatives = value[1:-1].split("|") if "~" in operator else [value[1:-1]]
                    for missing in set(alternatives) - self.values[name][label] - {""}:
                        yield f'{name} never has {label}="{missing}"'
        for group in GROUPING.findall(STRING.sub('""', expression)):
            for label in filter(None, (label.strip() for label in group.split(","))):
                if label not in self.labels:
                    yield f"no metric has the label {label}"


def seconds(duration):
    """`1h2m30s`, or a bare 0, as seconds."""
    units = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
    return sum(float(n) * units[unit] for n, unit in re.findall(r"(\d+)(ms|[smhd])", str(duration)))


def queries(annotation):
    """The PromQL that a template runs, its parameters as they are."""
    for groups in PRINTF.findall(annotation):
        yield next(filter(None, groups))[1:-1].replace('\\"', '"').replace("%q", '"%"')


def check_alert(alert, exposition):
    """Problems of one alert by itself."""
    name, annotations = alert["alert"], alert.get("annotations", {})
    if not name.startswith("GoldRush"):
        yield "its name does not start with GoldRush"
    if alert.get("labels", {}).get("severity") not in ("critical", "warning"):
        yield "its severity is neither critical nor warning"
    if "for" not in alert:
        yield "it has no `for`: one reading would be enough"
    for key in ("summary", "description", "runbook_url", "dashboard_url"):
        if not annotations.get(key):
            yield f"it has no {key}"
    if annotations.get("runbook_url") != f"{RUNBOOK_URL}{name}.md":
        yield f"its runbook_url is not {RUNBOOK_URL}{name}.md"
    if not DASHBOARD.fullmatch(annotations.get("dashboard_url", "")):
        yield "its dashboard_url is no path of a dashboard with known variables"
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
        for block in re.findall(r"```promql\n(.*?)```", text, re.S):
            yield from (f"runbooks/{name}.md: {problem}" for problem in exposition.problems(block))
        for other in set(re.findall(r"\bGoldRush[A-Z]\w+", text)) - set(alerts):
            yield f"runbooks/{name}.md: there is no alert {other}"


def check_tests(alerts, exposition):
    """Problems of the unit tests."""
    shown = defaultdict(set)
    for path in sorted((ALERTS / "tests").glob("*.test.yml")):
        content = yaml.safe_load(path.read_text())
        if [(path.parent / file).resolve() for file in content["rule_files"]] != [RULES]:
            yield f"{path.name}: its rule_files is not {RULES.name} alone"
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
                    for label in set(re.findall(r"\$labels\.(\w+)", text)) - set(expected.get("exp_labels", {})):
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
        for what in ("firing", "silent just before it fires", "resolved", "silent where it is harmless"):
            if what not in shown[name]:
                yield f"alert {name}: no test shows it {what}"


def main():
    """Prints all problems; answers the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--exposition", type=Path, required=True, help="classic text exposition of the exporter")
    exposition_file = parser.parse_args().exposition
    rules = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
    records = [rule["record"] for rule in rules if "record" in rule]
    alerts = {rule["alert"]: rule for rule in rules if "alert" in rule}
    exposition = Exposition(exposition_file.read_text(), set(records))

    problems = []
    if not exposition.values:
        problems.append(f"{exposition_file}: there is no sample in it")
    names = [rule.get("alert") or rule["record"] for rule in rules]
    problems += [f"{name}: it is defined twice" for name in sorted({name for name in names if names.count(name) > 1})]
    for rule in rules:
        if "record" in rule:
            name = rule["record"]
            if not re.fullmatch(r"goldrush:\w+:\w+", name):
                problems.append(f"rule {name}: its name is not goldrush:metric:operation")
            problems += [f"rule {name}: {problem}" for problem in exposition.problems(rule["expr"])]
        else:
            problems += [f"alert {rule['alert']}: {problem}" for problem in check_alert(rule, exposition)]
    problems += check_runbooks(alerts, exposition)
    problems += check_tests(alerts, exposition)
    for problem in dict.fromkeys(problems):
        print(problem, file=sys.stderr)
    if not problems:
        print(f"{len(alerts)} alerts, their runbooks and their tests fit together")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
