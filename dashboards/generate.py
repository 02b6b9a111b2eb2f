#!/usr/bin/env python3
"""Writes the dashboards' JSON from source/; with --check, says whether the committed JSON is what source/ gives."""

import json
import sys
from pathlib import Path

sys.dont_write_bytecode = True

from source import exporter, fleet, pipeline  # noqa: E402

HERE = Path(__file__).parent
DASHBOARDS = {"fleet.json": fleet, "pipeline.json": pipeline, "exporter.json": exporter}


def main():
    if sys.argv[1:] not in ([], ["--check"]):
        sys.exit("usage: generate.py [--check]")
    differs = []
    for name, module in DASHBOARDS.items():
        text = json.dumps(module.build(), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        path = HERE / name
        if not sys.argv[1:]:
            path.write_text(text, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != text:
            differs.append(name)
    if differs:
        sys.exit(f"not what dashboards/source gives: {', '.join(differs)}; run dashboards/generate.py")


if __name__ == "__main__":
    main()
