"""What the exporter exposes, and whether PromQL names nothing else."""

import re
from collections import defaultdict

# What Prometheus adds by itself.
# `part` comes from the exporter's service discovery.
TARGET_LABELS = {"job", "instance", "part"}
TARGET_METRICS = {"up", "scrape_duration_seconds", "scrape_samples_scraped"}
ALERT_METRICS = {"ALERTS", "ALERTS_FOR_STATE"}
ALERT_LABELS = {"alertname", "alertstate", "severity"}
# Labels whose values the exporter always shows in full: a wrong value in a rule would never match.
CLOSED = {"phase", "status", "probe", "operation", "code"}
# What only some configurations show: the team of a policy.
OPTIONAL_LABELS = {"team"}
# Every kind of trouble, whether something is wrong or not.
KINDS = "goldrush_trouble_kind_info"

STRING = re.compile(r'"(?:[^"\\]|\\.)*"|\'(?:[^\'\\]|\\.)*\'')
NAME = re.compile(r"\b(?:goldrush|process)[_:][A-Za-z0-9_:]*|\bup\b(?=\s*[{=)]|\s*$)|\bscrape_\w+|\bALERTS(?:_FOR_STATE)?\b")
SELECTOR = re.compile(rf"({NAME.pattern})\s*(\{{[^}}]*\}})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")

# The end of label_replace: the label that it makes, and the one that it reads.
# The label that count_values makes.
COUNTED = re.compile(r'count_values(?:\s+by\s*\([^)]*\))?\s*\(\s*"(\w+)"')
REPLACED = re.compile(r',\s*"(\w+)",\s*"(?:[^"\\]|\\.)*",\s*"(\w*)",\s*"(?:[^"\\]|\\.)*"\s*\)')


class Exposition:
    """The sample names of a classic exposition, with their labels and the values of these; and recording rules, with the labels that they set."""

    def __init__(self, text, records):
        self.families = set(re.findall(r"^# TYPE (\S+)", text, re.M))
        self.values = defaultdict(lambda: defaultdict(set))
        for line in text.splitlines():
            sample = re.match(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? \S+$", line)
            if sample and not line.startswith("#"):
                labels = self.values[sample[1]]
                for name, value in re.findall(r'(\w+)="((?:[^"\\]|\\.)*)"', sample[2] or ""):
                    labels[name].add(value)
        self.labels = {label for labels in self.values.values() for label in labels} | TARGET_LABELS | OPTIONAL_LABELS
        self.labels |= {label for labels in records.values() for label in labels}
        self.records = records
        # (kind, severity, alert) as the exporter says them.
        self.kinds = {
            tuple(re.search(rf'{label}="([^"]*)"', line)[1] for label in ("kind", "severity", "alert"))
            for line in text.splitlines() if line.startswith(KINDS + "{")
        }

    def problems(self, expression):
        """Names and labels in PromQL that do not exist."""
        expression = re.sub(r"#.*", "", expression)
        for name, selector in SELECTOR.findall(expression):
            recorded = name in self.records
            if name in self.values or name in TARGET_METRICS:
                known = set(self.values.get(name, {})) | TARGET_LABELS | OPTIONAL_LABELS
            elif recorded or name in ALERT_METRICS:
                known = self.labels | ALERT_LABELS
            else:
                yield f"there is no metric {name}"
                continue
            for label, operator, value in MATCHER.findall(selector):
                if label not in known:
                    yield f"{name} has no label {label}"
                elif label in CLOSED | {"kind"} and not recorded and "$" not in value and "%" not in value:
                    alternatives = value[1:-1].split("|") if "~" in operator else [value[1:-1]]
                    shown = self.values[KINDS if label == "kind" else name][label]
                    for missing in set(alternatives) - shown - {""}:
                        yield f'{name} never has {label}="{missing}"'
        made = {label for label, _ in REPLACED.findall(expression)} | set(COUNTED.findall(expression))
        grouped = (label.strip() for group in GROUPING.findall(STRING.sub('""', expression)) for label in group.split(","))
        for label in [*grouped, *(label for _, label in REPLACED.findall(expression))]:
            if label and label not in self.labels | ALERT_LABELS | made:
                yield f"no metric has the label {label}"

    def problems_of_prose(self, text):
        """Names in a text that do not exist; labels in its selectors that do not exist."""
        for name in re.findall(r"\bgoldrush_\w*[a-z]\b", text):
            if name not in self.families | set(self.values):
                yield f"there is no metric {name}"
        for name, selector in re.findall(r"(goldrush_\w+)(\{[^}]*\})", text):
            yield from self.problems(name + selector)
