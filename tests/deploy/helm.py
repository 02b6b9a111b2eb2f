"""Helm for the tests, by its own Go SDK. Reads a question as JSON from standard input, answers as JSON.

{"chart": FOLDER or ARCHIVE, "render": {CASE: {"values": {...}, "name": RELEASE, "namespace": ...}}}
    -> {CASE: {"objects": [...], "notes": TEXT} or {"error": TEXT}}
{"chart": FOLDER, "lint": {CASE: {"values": {...}, "kube_version": ...}}} -> {CASE: [{"severity": 0 to 3, "error": TEXT}]}
{"chart": FOLDER, "package": FOLDER} -> the archive's path
"""

import json
import sys

import yaml
from helm_python import chart as helm


def render(chart, case):
    try:
        values = case.pop("values")
        chart.validate_schema(values)
        files = chart.render(values, **case)
    except Exception as error:
        return {"error": str(error)}
    notes = [text for path, text in files.items() if path.endswith("NOTES.txt")]
    documents = [text for path, text in files.items() if path.endswith(".yaml")]
    objects = [found for text in documents for found in yaml.safe_load_all(text) if found]
    return {"objects": objects, "notes": notes[0]}


question = json.load(sys.stdin)
if "package" in question:
    answer = helm.package(question["chart"], destination=question["package"])
elif "lint" in question:
    answer = {}
    for name, case in question["lint"].items():
        answer[name] = helm.lint(question["chart"], case.pop("values"), strict=True, **case)["messages"]
else:
    with helm.Chart.load(question["chart"]) as loaded:
        answer = {name: render(loaded, case) for name, case in question["render"].items()}
json.dump(answer, sys.stdout)
