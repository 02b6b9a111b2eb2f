"""Dashboards: the names in their queries, what their links lead to, what their variables are called."""

import json
import re
from pathlib import Path

import yaml

FOLDER = Path(__file__).resolve().parents[2] / "dashboards"
# Grafana's own, beside those whose names begin with two underscores.
OWN_VARIABLES = {"timeFilter"}
VARIABLE = re.compile(r"\$(?:\{(\w+)[^}]*\}|([A-Za-z_]\w*))")


def strings(value):
    """Every string in some JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (list, dict)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from strings(item)


def queries(dashboard):
    """(where, PromQL) of every panel, annotation and variable."""
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"panel {panel['title']}", target["expr"]
    for annotation in dashboard["annotations"]["list"]:
        if "expr" in annotation:
            yield f"annotation {annotation['name']}", annotation["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            query = variable["query"]["query"]
            yield f"variable {variable['name']}", re.sub(r"^label_values\((.*), (\w+)\)$", r"count by (\2) (\1)", query)


class Dashboards:
    """All of them, by uid."""

    def __init__(self):
        self.by_file = {path.name: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
        self.variables = {
            dashboard["uid"]: {variable["name"] for variable in dashboard["templating"]["list"]}
            for dashboard in self.by_file.values()
        }

    def problems_of_link(self, url):
        """Problems of a path to a dashboard."""
        parts = re.fullmatch(r"/d/([\w-]+)(?:\?(.*))?", url)
        if not parts or parts[1] not in self.variables:
            yield f"{url} leads to no dashboard"
            return
        for part in filter(None, (parts[2] or "").split("&")):
            name = re.match(r"var-(\w+)=.", part)
            if not (name and name[1] in self.variables[parts[1]]) and part not in ("${datasource:queryparam}", "${__url_time_range}"):
                yield f"{part} in {url} is no variable of {parts[1]}"

    def problems(self, alerts, exposition):
        """Everything that does not fit."""
        if not self.by_file:
            yield "dashboards: there is none"
        for file, dashboard in self.by_file.items():
            yield from (f"dashboards/{file}: {problem}" for problem in self._problems_of(dashboard, alerts, exposition))
        yield from (f"dashboards/provisioning: {problem}" for problem in problems_of_provisioning())

    def _problems_of(self, dashboard, alerts, exposition):
        for where, query in queries(dashboard):
            yield from (f"{where}: {problem}" for problem in exposition.problems(query))
        known = self.variables[dashboard["uid"]] | OWN_VARIABLES
        for text in strings(dashboard):
            for braced, bare in VARIABLE.findall(text):
                name = braced or bare
                if not name.startswith("__") and name not in known:
                    yield f"there is no variable {name}, which is in: {text}"
            for name in set(re.findall(r"\bGoldRush[A-Z]\w+", text)) - set(alerts):
                yield f"there is no alert {name}"
            if text.startswith("/d/"):
                yield from self.problems_of_link(text)
        for name in self.variables[dashboard["uid"]]:
            rest = {**dashboard, "templating": {"list": [v for v in dashboard["templating"]["list"] if v["name"] != name]}}
            if not any(name in map("".join, VARIABLE.findall(text)) for text in strings(rest)):
                yield f"nothing uses the variable {name}"


# The keys that Grafana documents for its provisioning files. It ignores what it does not know, without a word.
PROVIDER = {
    "name", "orgId", "folder", "folderUid", "type", "disableDeletion", "updateIntervalSeconds", "allowUiUpdates", "options",
}
DATASOURCE = {
    "name", "type", "access", "uid", "orgId", "url", "user", "basicAuth", "basicAuthUser", "withCredentials", "isDefault",
    "jsonData", "secureJsonData", "version", "editable",
}
JSON_DATA = {
    "httpMethod", "timeInterval", "queryTimeout", "manageAlerts", "prometheusType", "prometheusVersion", "cacheLevel",
    "incrementalQuerying", "defaultEditor", "disableMetricsLookup", "customQueryParameters", "exemplarTraceIdDestinations",
    "disableRecordingRules", "tlsAuth", "tlsAuthWithCACert", "tlsSkipVerify", "serverName",
}


def problems_of_provisioning():
    """Problems of Grafana's provisioning files."""
    files = {
        kind: [yaml.safe_load(path.read_text()) for path in sorted((FOLDER / "provisioning" / kind).glob("*.yml"))]
        for kind in ("dashboards", "datasources")
    }
    for kind, key, documented in (("dashboards", "providers", PROVIDER), ("datasources", "datasources", DATASOURCE)):
        if not files[kind]:
            yield f"there is nothing in {kind}"
        for content in files[kind]:
            if content.get("apiVersion") != 1 or set(content) != {"apiVersion", key}:
                yield f"{kind}: it does not consist of apiVersion 1 and {key}"
            for item in content.get(key, []):
                yield from (f"{kind}: {unknown} is not documented" for unknown in set(item) - documented)
    for provider in (item for content in files["dashboards"] for item in content["providers"]):
        if provider.get("type") != "file" or not provider.get("options", {}).get("path", "").startswith("/"):
            yield "dashboards: it is no provider of files below an absolute path"
    for source in (item for content in files["datasources"] for item in content["datasources"]):
        if source.get("type") != "prometheus" or not source.get("url"):
            yield "datasources: it is no Prometheus with an address"
        yield from (f"datasources: jsonData.{key} is not documented" for key in set(source.get("jsonData", {})) - JSON_DATA)
