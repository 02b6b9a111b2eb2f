#!/usr/bin/env python3
"""Holds alerts, runbooks, dashboards, documentation and what is deployed to each other and to what the exporter exposes.

    check.py < EXPOSITION    a classic text exposition in which every family has a sample

Exits with 1 and one line per problem.
"""

import re
import sys
from pathlib import Path

import yaml

sys.dont_write_bytecode = True

import alerts  # noqa: E402
from dashboards import Dashboards  # noqa: E402
from exposition import Exposition  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTATION = ["README.md", "docs/*.md", "dashboards/README.md", "deploy/README.md"]
# Files whose comments and texts may name metrics and alerts.
CONFIGURATIONS = ["alerts/*.yml", "deploy/**/*.y*ml"]


def problems_of_text(path, alerts_by_name, exposition):
    """Names in the documentation or a configuration that do not exist; expressions in its YAML count as PromQL."""
    text = (ROOT / path).read_text()
    yield from exposition.problems_of_prose(text)
    for expression in re.findall(r"^ *expr: (.*)$", text, re.M):
        yield from exposition.problems(expression)
    examples = set(re.findall(r"alert: (\w+)", text))
    # Not what is the beginning of a regular expression.
    for name in set(re.findall(r"\bGoldRush[A-Z]\w+\b(?!\(|\.[*+])", text)) - set(alerts_by_name) - examples:
        yield f"there is no alert {name}"


def main():
    """Prints all problems; answers the exit status."""
    groups = [group for file in alerts.RULES for group in yaml.safe_load(file.read_text())["groups"]]
    rules = [rule for group in groups for rule in group["rules"]]
    by_name = {rule["alert"]: rule for rule in rules if "alert" in rule}
    records = {rule["record"]: set(rule.get("labels", {})) for rule in rules if "record" in rule}
    exposition = Exposition(sys.stdin.read(), records)
    dashboards = Dashboards()
    problems = [] if exposition.values else ["there is no sample in the exposition"]
    problems += alerts.problems(groups, by_name, exposition, dashboards)
    problems += dashboards.problems(by_name, exposition)
    documentation = sorted(path for pattern in DOCUMENTATION for path in ROOT.glob(pattern))
    configurations = sorted(path for pattern in CONFIGURATIONS for path in ROOT.glob(pattern))
    for path in (str(path.relative_to(ROOT)) for path in [*documentation, *configurations]):
        problems += [f"{path}: {problem}" for problem in problems_of_text(path, by_name, exposition)]
    for problem in dict.fromkeys(problems):
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
