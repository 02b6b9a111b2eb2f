"""Grafana's JSON: the parts of a dashboard as small functions. Knows nothing of GoldRush."""

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Rows of panels are laid out on a grid this wide.
GRID = 24


def target(expr, legend="", *, table=False, instant=None, heatmap=False):
    """A query. Tables and single values are instant, everything else is a range."""
    instant = table if instant is None else instant
    return {
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": expr,
        "format": "table" if table else "heatmap" if heatmap else "time_series",
        "instant": instant,
        "legendFormat": legend or "__auto",
        "range": not instant,
    }


def panel(kind, title, targets, *, width, height, description, unit=None, options, custom=None, **more):
    """A panel of any kind. `more`: decimals, thresholds, mappings, min, color, overrides, links, transformations, interval,
    data_links."""
    defaults = {key: more[key] for key in ("decimals", "min", "color", "mappings") if key in more}
    if unit:
        defaults["unit"] = unit
    if "data_links" in more:
        defaults["links"] = more["data_links"]
    defaults["thresholds"] = more.get("thresholds", steps("text"))
    if custom:
        defaults["custom"] = custom
    result = {
        "datasource": DATASOURCE,
        "description": description,
        "fieldConfig": {"defaults": defaults, "overrides": more.get("overrides", [])},
        "gridPos": {"h": height, "w": width, "x": 0, "y": 0},
        "options": options,
        "targets": [dict(query, refId=chr(ord("A") + index)) for index, query in enumerate(targets)],
        "title": title,
        "type": kind,
    }
    result.update((key, more[key]) for key in ("links", "transformations", "interval") if key in more)
    return result


def stat(title, expr, *, width, height=4, background=True, **more):
    """One number, as it is now. One that is not there is shown as such: not as a green 0, nor as the last one there was."""
    absent = {"type": "special", "options": {"match": "null+nan", "result": {"color": "#808080", "text": "no data"}}}
    more["mappings"] = [*more.get("mappings", []), absent]
    options = {
        "colorMode": "background_solid" if background else "value",
        "graphMode": "none",
        "justifyMode": "auto",
        "orientation": "auto",
        "percentChangeColorMode": "standard",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "showPercentChange": False,
        "textMode": "value",
        "wideLayout": True,
    }
    more.setdefault("color", {"mode": "thresholds"})
    return panel("stat", title, [target(expr, instant=True)], width=width, height=height, options=options, **more)


def graph(title, targets, *, width=12, height=8, stacked=False, table=True, fill=None, line="linear", **more):
    """Lines over time."""
    custom = {
        "drawStyle": "line",
        "fillOpacity": fill if fill is not None else 40 if stacked else 8,
        "lineInterpolation": line,
        "lineWidth": 1,
        "showPoints": "never",
        "spanNulls": False,
        "stacking": {"group": "A", "mode": "normal" if stacked else "none"},
        "thresholdsStyle": {"mode": "dashed" if "thresholds" in more else "off"},
    }
    legend = {
        "calcs": ["lastNotNull", "max"] if table else [],
        "displayMode": "table" if table else "list",
        "placement": "bottom",
        "showLegend": True,
    }
    options = {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}
    more.setdefault("color", {"mode": "palette-classic"})
    return panel("timeseries", title, targets, width=width, height=height, options=options, custom=custom, **more)


def timeline(title, targets, *, mappings, width=24, height=5, **more):
    """Bands of states over time. A gap is a time without a reading."""
    options = {
        "alignValue": "left",
        "legend": {"calcs": [], "displayMode": "list", "placement": "bottom", "showLegend": False},
        "mergeValues": True,
        "rowHeight": 0.85,
        "showValue": "auto",
        "tooltip": {"mode": "single", "sort": "none"},
    }
    custom = {"fillOpacity": 80, "lineWidth": 0}
    more.setdefault("color", {"mode": "thresholds"})
    return panel(
        "state-timeline", title, targets, width=width, height=height, options=options, custom=custom,
        mappings=mappings, **more,
    )


def heatmap(title, expr, *, unit, width=12, height=8, description):
    """The buckets of a histogram over time."""
    options = {
        "calculate": False,
        "cellGap": 1,
        "color": {
            "exponent": 0.5, "fill": "dark-orange", "mode": "scheme", "reverse": False, "scale": "exponential",
            "scheme": "Spectral", "steps": 64,
        },
        "exemplars": {"color": "rgba(255,0,255,0.7)"},
        "filterValues": {"le": 1e-9},
        "legend": {"show": True},
        "rowsFrame": {"layout": "auto"},
        "showValue": "never",
        "tooltip": {"mode": "single", "showColorScale": False, "yHistogram": False},
        "yAxis": {"axisPlacement": "left", "reverse": False, "unit": unit},
    }
    return panel(
        "heatmap", title, [target(expr, "{{le}}", heatmap=True)], width=width, height=height, description=description,
        options=options,
    )


def table(title, targets, columns, *, width=24, height=8, sort=None, **more):
    """Rows of an instant query, or of several that are merged by their labels.

    `columns`: (field, header, overrides of the column) in their order; fields that are not named are left out. Fields that
    links refer to keep their name and are shown: Grafana's versions differ in what a link calls a renamed field, and in how a
    column is hidden.
    """
    fields = [field for field, _, _ in columns]
    organize = {
        "excludeByName": {},
        "includeByName": {field: True for field in fields},
        "indexByName": {field: index for index, field in enumerate(fields)},
        "renameByName": {field: header for field, header, _ in columns if field != header},
    }
    overrides = [
        {"matcher": {"id": "byName", "options": header},
         "properties": [{"id": key, "value": value} for key, value in properties.items()]}
        for _, header, properties in columns if properties
    ]
    options = {
        "cellHeight": "sm",
        "frameIndex": 0,
        "showHeader": True,
        "sortBy": [{"desc": desc, "displayName": header} for header, desc in sort or []],
    }
    custom = {"align": "left", "cellOptions": {"type": "auto"}, "filterable": True, "inspect": False}
    return panel(
        "table", title, targets, width=width, height=height, options=options, custom=custom, overrides=overrides,
        transformations=[{"id": "merge", "options": {}}, {"id": "organize", "options": organize}], **more,
    )


def row(title):
    """A heading."""
    return {
        "collapsed": False, "gridPos": {"h": 1, "w": GRID, "x": 0, "y": 0}, "panels": [], "title": title, "type": "row",
    }


def steps(base, *more):
    """Thresholds: the colour below all, then (value, colour)."""
    return {
        "mode": "absolute",
        "steps": [{"color": base, "value": None}, *({"color": color, "value": value} for value, color in more)],
    }


def values(*mapping):
    """Value mappings: (value, text, colour)."""
    options = {
        str(value): {"color": color, "index": index, "text": text} for index, (value, text, color) in enumerate(mapping)
    }
    return [{"type": "value", "options": options}]


def colored(color):
    """A series in one colour."""
    return {"id": "color", "value": {"fixedColor": color, "mode": "fixed"}}


def override(name, *properties):
    """An override of the series or column of that name."""
    return {"matcher": {"id": "byName", "options": name}, "properties": list(properties)}


def link(title, url):
    """A link of a panel."""
    return {
        "asDropdown": False, "icon": "external link", "includeVars": False, "keepTime": False, "tags": [],
        "targetBlank": True, "title": title, "tooltip": "", "type": "link", "url": url,
    }


def dashboard_link(title, uid):
    """A link to another dashboard that takes the time range and the variables along."""
    return {
        "asDropdown": False, "icon": "dashboard", "includeVars": True, "keepTime": True, "tags": [], "targetBlank": False,
        "title": title, "tooltip": "", "type": "link", "url": f"/d/{uid}",
    }


def datasource_variable():
    """Which Prometheus."""
    return {
        "hide": 0, "includeAll": False, "label": "Data source", "multi": False, "name": "datasource",
        "options": [], "query": "prometheus", "refresh": 1, "regex": "", "skipUrlSync": False, "type": "datasource",
    }


def query_variable(name, label, query, *, multi=False, include_all=False, all_value=None, regex="", description=""):
    """Values from `label_values(…)` or `query_result(…)`."""
    kind = {"label_values": 1, "query_result": 3}[query.partition("(")[0]]
    variable = {
        "datasource": DATASOURCE,
        "description": description,
        "hide": 0,
        "includeAll": include_all,
        "label": label,
        "multi": multi,
        "name": name,
        "options": [],
        "query": {"qryType": kind, "query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "refresh": 2,
        "regex": regex,
        "skipUrlSync": False,
        "sort": 5,
        "type": "query",
    }
    if include_all:
        variable["current"] = {
            "selected": True, "text": ["All"] if multi else "All", "value": ["$__all"] if multi else "$__all",
        }
    if all_value:
        variable["allValue"] = all_value
    return variable


def constant_variable(name, value, description):
    """A value that is set in the dashboard's settings only."""
    return {
        "description": description, "hide": 2, "name": name, "query": value, "skipUrlSync": True, "type": "constant",
        "current": {"selected": True, "text": value, "value": value},
        "options": [{"selected": True, "text": value, "value": value}],
    }


def annotation(name, expr, color, title, text, *, tags="", value_is_time=False, enable=True):
    """Marks in every graph, from a query."""
    return {
        "datasource": DATASOURCE, "enable": enable, "expr": expr, "hide": False, "iconColor": color, "name": name,
        "step": "", "tagKeys": tags, "textFormat": text, "titleFormat": title, "useValueForTime": value_is_time,
    }


def dashboard(uid, title, description, panels, *, variables, annotations, links):
    """Lays the panels out from left to right, gives them their ids, and puts all together."""
    x = y = line = 0
    for number, item in enumerate(panels, start=1):
        item["id"] = number
        place = item["gridPos"]
        if x + place["w"] > GRID:
            x, y, line = 0, y + line, 0
        place["x"], place["y"] = x, y
        x, line = x + place["w"], max(line, place["h"])
    builtin = {
        "builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "enable": True, "hide": True,
        "iconColor": "rgba(0, 211, 255, 1)", "name": "Annotations & Alerts", "type": "dashboard",
    }
    return {
        "annotations": {"list": [builtin, *annotations]},
        "description": description,
        "editable": True,
        "fiscalYearStartMonth": 0,
        "graphTooltip": 1,
        "id": None,
        "links": links,
        "panels": panels,
        "refresh": "30s",
        "schemaVersion": 39,
        "tags": ["goldrush"],
        "templating": {"list": variables},
        "time": {"from": "now-1h", "to": "now"},
        "timepicker": {},
        "timezone": "browser",
        "title": title,
        "uid": uid,
        "version": 1,
        "weekStart": "",
    }
