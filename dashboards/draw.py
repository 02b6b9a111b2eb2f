#!/usr/bin/env python3
"""Draws a dashboard as a picture, from its own queries and a Prometheus that has the data. Needs matplotlib.

    draw.py dashboards/fleet.json fleet.png --prometheus http://localhost:9090 --minutes 30
    draw.py dashboards/pipeline.json pipeline.png --set account=prod --set pipeline_id=pipe_…

For pictures in documentation where no Grafana is at hand: an approximation of what Grafana shows, not what it shows.
"""

import argparse
import datetime
import json
import re
import urllib.parse
import urllib.request

import matplotlib

matplotlib.use("Agg")
import matplotlib.dates as dates  # noqa: E402
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.patches import FancyBboxPatch  # noqa: E402
from PIL import Image  # noqa: E402

PAGE = DARK = "#111217"
PANEL, LINE, TEXT, FAINT, LINK = "#181b1f", "#2c3235", "#d0d1d9", "#8e8f9a", "#6e9fff"
COLORS = {
    "green": "#73bf69", "yellow": "#fade2a", "orange": "#ff9830", "red": "#f2495c", "blue": "#5794f2", "purple": "#b877d9",
    "text": TEXT, "transparent": PANEL,
}
PALETTE = ["#73bf69", "#f2cc0c", "#5794f2", "#ff9830", "#f2495c", "#b877d9", "#8ab8ff", "#ffb357", "#96d98d", "#ff7383"]
UNIT_WIDTH, UNIT_HEIGHT, GAP = 50, 30, 6  # pixels of Grafana's grid
DPI = 100
POINTS = 72 / DPI


def color(name):
    """A colour of Grafana's by its name, or one by its number."""
    return COLORS.get(name, name)


class Source:
    """A Prometheus, and what the variables stand for."""

    def __init__(self, address, dashboard, seconds, chosen):
        self.address, self.seconds = address, seconds
        self.end = float(self._get("query", query="time()")[0])
        self.values = {"__rate_interval": "1m", "__range": f"{seconds}s"}
        for variable in dashboard["templating"]["list"]:
            value = variable.get("current", {}).get("value", "")
            everything = value in ("$__all", ["$__all"])
            self.values[variable["name"]] = variable.get("allValue", ".*") if everything else value
        self.values.update(chosen)

    def _get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"{self.address}/api/v1/{path}?{query}") as answer:
            return json.load(answer)["data"]["result"]

    def fill(self, text):
        """The text with its variables filled in."""
        return re.sub(r"\$\{?([A-Za-z_]\w*)\}?", lambda found: self.values[found[1]], text)

    def now(self, expression):
        """[(labels, value)]"""
        result = self._get("query", query=self.fill(expression), time=self.end)
        return [(series["metric"], float(series["value"][1])) for series in result]

    def over_time(self, expression):
        """[(labels, times, values)], with NaN where there is nothing."""
        step = max(1, self.seconds // 300)
        start = self.end - self.seconds
        result = self._get("query_range", query=self.fill(expression), start=start, end=self.end, step=step)
        times = [start + index * step for index in range(int(self.seconds // step) + 1)]
        for series in result:
            known = {round(float(time)): float(value) for time, value in series["values"]}
            yield series["metric"], times, [known.get(round(time), float("nan")) for time in times]


def formatted(value, unit=None, decimals=None):
    """A number as Grafana would write it."""
    if value != value:
        return ""
    if unit == "dateTimeAsIso":
        return datetime.datetime.fromtimestamp(value / 1000).strftime("%Y-%m-%d %H:%M:%S")
    if unit == "s":
        for size, name in ((86400, "days"), (3600, "hours"), (60, "mins")):
            if abs(value) >= size:
                return f"{value / size:.1f} {name}"
        return f"{value * 1000:.0f} ms" if 0 < abs(value) < 1 else f"{value:.{decimals or 0}f} s"
    if unit == "percentunit":
        return f"{value * 100:.{decimals or 0}f} %"
    suffix = {"rowsps": " rows/s", "reqps": " req/s", "cps": " c/s", "bytes": " B"}.get(unit, "")
    if unit != "none":
        for size, name in ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K")):
            if abs(value) >= size:
                return f"{value / size:.2f}".rstrip("0").rstrip(".") + name + suffix
    text = f"{value:.{2 if decimals is None else decimals}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text) + suffix


def shown(value, field):
    """(text, colour or None) of a value by the mappings, thresholds and unit of its field."""
    for mapping in field.get("mappings", []):
        key = f"{value:g}" if isinstance(value, float) else value
        if mapping["type"] == "value" and key in mapping["options"]:
            return mapping["options"][key]["text"], color(mapping["options"][key]["color"])
    if isinstance(value, str):
        return value, None
    reached = None
    for step in field.get("thresholds", {}).get("steps", []):
        if step["value"] is None or value >= step["value"]:
            reached = color(step["color"])
    return formatted(value, field.get("unit"), field.get("decimals")), reached


def legend(target, labels):
    """The name of a series."""
    if target["legendFormat"] == "__auto":
        return ", ".join(labels.values())
    return re.sub(r"\{\{(\w+)\}\}", lambda found: labels.get(found[1], ""), target["legendFormat"])


class Picture:
    """A page on which panels are placed by Grafana's grid, in pixels from the top left."""

    def __init__(self, height):
        self.width, self.height = 24 * UNIT_WIDTH + GAP, height
        self.figure = plt.figure(figsize=(self.width / DPI, height / DPI), dpi=DPI, facecolor=PAGE)
        self.page = self.axes(0, 0, self.width, height)
        self.page.set(xlim=(0, self.width), ylim=(height, 0))
        self.page.axis("off")

    def axes(self, x, y, width, height):
        """Axes of that place and size."""
        return self.figure.add_axes(
            (x / self.width, 1 - (y + height) / self.height, width / self.width, height / self.height), facecolor=PANEL)

    def box(self, x, y, width, height, fill=PANEL):
        """A rounded rectangle."""
        style = "round,pad=0,rounding_size=2"
        self.page.add_patch(FancyBboxPatch((x, y), width, height, boxstyle=style, facecolor=fill, edgecolor=LINE, linewidth=0.6))

    def text(self, x, y, text, pixels, width=None, **more):
        """Text that is cut at a width."""
        # The font has no pictographs.
        text = "".join(character for character in text if ord(character) < 0x10000).replace("\n", " ")
        if width is not None and len(text) > (room := max(1, int(width / (pixels * 0.58)))):
            text = text[: room - 1] + "…"
        more = {"color": TEXT, "va": "center", **more}
        self.page.text(x, y, text, fontsize=pixels * POINTS, **more)


def draw_stat(picture, source, panel, place):
    x, y, width, height = place
    field = panel["fieldConfig"]["defaults"]
    result = source.now(panel["targets"][0]["expr"])
    text, shade = shown(result[0][1], field) if result else ("no data", "#808080")
    solid = panel["options"]["colorMode"] == "background_solid"
    if solid:
        picture.box(x, y, width, height, shade)
    dark = solid and shade != "#808080"
    picture.text(x + 8, y + 12, panel["title"], 11, width - 14, color=DARK if dark else TEXT, weight="bold")
    pixels = min(28, (width - 16) / max(1, len(text)) / 0.6)
    picture.text(x + width / 2, y + height * 0.6, text, pixels, color=DARK if dark else shade or TEXT, ha="center")


def merged(source, panel):
    """The rows of a table: the answers of its queries, merged by the labels that they share, as Grafana does it."""
    rows = []
    several = len(panel["targets"]) > 1
    for target in panel["targets"]:
        name = f"Value #{target['refId']}" if several else "Value"
        for labels, value in source.now(target["expr"]):
            fits = [
                row for row in rows
                if name not in row and all(row.get(label, text) == text for label, text in labels.items())
            ]
            for row in fits:
                row.update(labels, **{name: value})
            if not fits:
                rows.append({**labels, name: value})
    return rows


def draw_table(picture, source, panel, place):
    """Answers where its last row ends."""
    x, y, width, height = place
    picture.text(x + 8, y + 12, panel["title"], 11, weight="bold")
    organize = panel["transformations"][1]["options"]
    fields = sorted(organize["indexByName"], key=organize["indexByName"].get)
    defaults = panel["fieldConfig"]["defaults"]
    headers, configs = {}, {}
    for field in fields:
        headers[field] = organize["renameByName"].get(field, field)
        configs[field] = dict(defaults)
        for override in panel["fieldConfig"]["overrides"]:
            if override["matcher"]["options"] == headers[field]:
                configs[field].update((item["id"], item["value"]) for item in override["properties"])
    rows = merged(source, panel)
    for sort in panel["options"]["sortBy"]:
        field = next(field for field in fields if headers[field] == sort["displayName"])
        rows.sort(key=lambda row: (row.get(field) is None, row.get(field, 0)), reverse=sort["desc"])
    if not rows:
        picture.text(x + width / 2, y + height / 2, "No data", 12, ha="center", color=FAINT)
        return y + height
    fixed = {field: configs[field]["custom.width"] * 0.8 for field in fields if "custom.width" in configs[field]}
    least = [field for field in fields if field not in fixed]
    rest = max(90, (width - 16 - sum(fixed.values())) / max(1, len(least)))
    left = x + 8
    for field in fields:
        column = fixed.get(field, rest)
        if left + 30 > x + width:
            break
        column = min(column, x + width - left)
        picture.text(left, y + 32, headers[field], 10, column - 4, color=LINK, weight="bold")
        style = configs[field].get("custom.cellOptions", {}).get("type")
        for number, row in enumerate(rows):
            top = y + 42 + number * 20
            if top + 20 > y + height:
                break
            if field not in row:
                continue
            text, shade = shown(row[field], configs[field])
            if style == "color-background" and shade:
                picture.box(left - 2, top + 1, column - 4, 18, shade)
            ink = LINK if "links" in configs[field] else TEXT
            if shade and style in ("color-background", "color-text"):
                ink = DARK if style == "color-background" else shade
            picture.text(left + 2, top + 10, text, 10, column - 8, color=ink)
        left += column
    for number in range(min(len(rows), int((height - 42) // 20))):
        picture.page.plot([x + 4, x + width - 4], [y + 42 + number * 20] * 2, color=LINE, linewidth=0.5)
    picture.page.plot([x + 4, x + width - 4], [y + 42] * 2, color=LINE, linewidth=0.8)
    return min(y + height, y + 50 + len(rows) * 20)


def time_axis(axes, source):
    moment = datetime.datetime.fromtimestamp
    axes.set_xlim(moment(source.end - source.seconds), moment(source.end))
    axes.xaxis.set_major_locator(dates.AutoDateLocator(minticks=3, maxticks=7))
    axes.xaxis.set_major_formatter(dates.DateFormatter("%H:%M"))
    axes.tick_params(colors=FAINT, labelsize=9 * POINTS, length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)


def draw_annotations(axes, source, dashboard):
    for annotation in dashboard["annotations"]["list"]:
        if "expr" not in annotation:
            continue
        for _, times, values in source.over_time(annotation["expr"]):
            if annotation["useValueForTime"]:
                starts = {value / 1000 for value in values if value == value}
            else:
                # Where something begins after half a minute of nothing.
                known = [time for time, value in zip(times, values) if value == value]
                starts = {time for before, time in zip([0, *known], known) if time - before > 30}
            for start in (start for start in starts if source.end - source.seconds < start < source.end):
                moment = datetime.datetime.fromtimestamp(start)
                axes.axvline(moment, color=color(annotation["iconColor"]), linewidth=0.8, linestyle=(0, (3, 3)))


def draw_timeseries(picture, source, panel, place, dashboard):
    x, y, width, height = place
    picture.text(x + 8, y + 12, panel["title"], 11, weight="bold")
    field, custom = panel["fieldConfig"]["defaults"], panel["fieldConfig"]["defaults"]["custom"]
    overridden = {
        override["matcher"]["options"]: {item["id"]: item["value"] for item in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
    }
    series = [
        (legend(target, labels), times, values)
        for target in panel["targets"] for labels, times, values in source.over_time(target["expr"])
    ]
    lines = min(len(series), 4)
    margin = 110 if any("custom.axisPlacement" in properties for properties in overridden.values()) else 90
    axes = picture.axes(x + 70, y + 28, width - margin - 10, height - 56 - 14 * lines)
    right = None
    stacked = custom["stacking"]["mode"] == "normal"
    below = [0.0] * len(series[0][1]) if series else []
    step = "post" if custom["lineInterpolation"] == "stepAfter" else None
    for number, (name, times, values) in enumerate(series):
        properties = overridden.get(name, {})
        shade = color(properties["color"]["fixedColor"]) if "color" in properties else PALETTE[number % len(PALETTE)]
        moments = [datetime.datetime.fromtimestamp(time) for time in times]
        target = axes
        if properties.get("custom.axisPlacement") == "right":
            target = right = right or axes.twinx()
        if stacked:
            top = [low + (0 if value != value else value) for low, value in zip(below, values)]
            target.fill_between(moments, below, top, color=shade, alpha=0.4, linewidth=0, step=step)
            values, below = top, top
        target.plot(moments, values, color=shade, linewidth=1, drawstyle="steps-post" if step else "default")
        if number < lines:
            last = next((value for value in reversed(series[number][2]) if value == value), float("nan"))
            row = y + height - 10 - 14 * (lines - 1 - number)
            picture.box(x + 12, row - 1, 10, 3, shade)
            more = f"   (and {len(series) - lines} more)" if number == lines - 1 and len(series) > lines else ""
            picture.text(x + 28, row, name + more, 10, width - 130)
            unit, decimals = properties.get("unit", field.get("unit")), properties.get("decimals", field.get("decimals"))
            picture.text(x + width - 10, row, formatted(last, unit, decimals), 10, ha="right", color=FAINT)
    if not series:
        picture.text(x + width / 2, y + height / 2, "No data", 12, ha="center", color=FAINT)
        axes.axis("off")
        return
    time_axis(axes, source)
    axes.grid(color=LINE, linewidth=0.5)
    if field.get("min") == 0:
        axes.set_ylim(bottom=0)
    low, high = axes.get_ylim()
    high += (high - low) * 0.05
    if custom["thresholdsStyle"]["mode"] == "dashed":
        for limit in field["thresholds"]["steps"]:
            if limit["value"] is not None and limit["value"] < high:
                axes.axhline(limit["value"], color=color(limit["color"]), linewidth=0.8, linestyle="--")
    axes.set_ylim(low, high)
    for side, unit in ((axes, field.get("unit")), (right, "short")):
        if side is not None:
            side.yaxis.set_major_locator(plt.MaxNLocator(4))
            side.yaxis.set_major_formatter(lambda value, _, unit=unit: formatted(value, unit))
            side.tick_params(colors=FAINT, labelsize=9 * POINTS, length=0)
    if right is not None:
        for spine in right.spines.values():
            spine.set_visible(False)
    draw_annotations(axes, source, dashboard)


def draw_timeline(picture, source, panel, place):
    x, y, width, height = place
    picture.text(x + 8, y + 12, panel["title"], 11, weight="bold")
    series = [
        (legend(target, labels), times, values)
        for target in panel["targets"] for labels, times, values in source.over_time(target["expr"])
    ]
    axes = picture.axes(x + 110, y + 26, width - 130, height - 46)
    for number, (_, times, values) in enumerate(series):
        start = 0
        for index in range(1, len(times) + 1):
            if index < len(times) and str(values[index]) == str(values[start]):
                continue
            if values[start] == values[start]:
                text, shade = shown(values[start], panel["fieldConfig"]["defaults"])
                begin, end = (datetime.datetime.fromtimestamp(times[min(i, len(times) - 1)]) for i in (start, index))
                axes.barh(-number, end - begin, left=begin, height=0.8, color=shade, alpha=0.85)
                if (index - start) / len(times) * (width - 140) > 9 * len(text):
                    axes.text(begin, -number, f" {text}", fontsize=9 * POINTS, va="center", color=DARK)
            start = index
    time_axis(axes, source)
    axes.set_yticks([-number for number in range(len(series))], [name for name, _, _ in series])
    axes.set_ylim(0.6 - len(series), 0.6)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dashboard", help="JSON of a dashboard")
    parser.add_argument("picture", help="PNG to write")
    parser.add_argument("--prometheus", default="http://localhost:9090", help="its address")
    parser.add_argument("--minutes", type=int, default=30, help="length of the time range, which ends now")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="value of a variable")
    arguments = parser.parse_args()
    with open(arguments.dashboard, encoding="utf-8") as file:
        dashboard = json.load(file)
    chosen = dict(item.split("=", 1) for item in arguments.set)
    source = Source(arguments.prometheus, dashboard, arguments.minutes * 60, chosen)
    plt.rcParams.update({"font.family": ["DejaVu Sans"], "text.parse_math": False})
    header = 44
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in dashboard["panels"])
    picture = Picture(bottom * UNIT_HEIGHT + header + GAP)
    picture.text(GAP + 4, 22, dashboard["title"], 17, weight="bold")
    picture.text(picture.width - 12, 22, f"last {arguments.minutes} minutes", 11, ha="right", color=FAINT)
    for panel in dashboard["panels"]:
        grid = panel["gridPos"]
        x, y = grid["x"] * UNIT_WIDTH + GAP, grid["y"] * UNIT_HEIGHT + header
        place = x, y, grid["w"] * UNIT_WIDTH - GAP, grid["h"] * UNIT_HEIGHT - GAP
        if panel["type"] == "row":
            picture.text(x + 4, y + 14, f"▾ {panel['title']}", 13, weight="bold")
            continue
        picture.box(*place)
        if panel["type"] == "stat":
            draw_stat(picture, source, panel, place)
        elif panel["type"] == "table":
            end = draw_table(picture, source, panel, place)
        elif panel["type"] == "timeseries":
            draw_timeseries(picture, source, panel, place, dashboard)
        elif panel["type"] == "state-timeline":
            draw_timeline(picture, source, panel, place)
        else:
            parser.error(f"panels of type {panel['type']} are not drawn")
    picture.figure.savefig(arguments.picture, dpi=DPI, facecolor=PAGE)
    # A hundred colours are enough for text and lines, and a third of the size.
    image = Image.open(arguments.picture).convert("RGB")
    if dashboard["panels"][-1]["type"] == "table":
        image = image.crop((0, 0, image.width, int(end)))
    image.quantize(100).save(arguments.picture, optimize=True)


if __name__ == "__main__":
    main()
