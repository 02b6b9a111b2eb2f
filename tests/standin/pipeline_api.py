#!/usr/bin/env python3
"""A stand-in for the GoldRush Pipeline REST API, for tests of a client (the exporter).

Written from the contract (pipeline-api.md) alone, so that the client cannot come to depend on how its
own simulator happens to answer. It keeps every promise of the contract and is whimsical wherever the
contract promises nothing: null and missing fields, unknown fields, shuffled keys, JSON layouts, content
types, gzip, chunking, paging. It prints one line, `listening on http://127.0.0.1:PORT/BASE/`, and serves.

GET  /__control            what was asked, violations, canaries (private strings that must never come out)
GET  /__control?truth=1    the same, with the current truth about every pipeline
POST /__control            a JSON object (or a list of them): every key is a State.ctl_* method below
In merged fields the value "__missing__" takes a field away. Every --option's help says what it does.
"""
import argparse, base64, gzip, hashlib, json, os, random, re, select, socket, socketserver, struct, sys, threading, time
from datetime import datetime, timedelta, timezone
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote

LIST_MODES = ("normal", "clamped", "no-total", "no-has-more", "bare", "repeat-last", "endless", "shifting",
              "null-items-when-empty")
PROBES = ("status", "metrics", "destination-health")
POLLED = ("list", *PROBES, "usage")    # what a polite exporter may ask for
FAULT_FIELDS = {"endpoint", "pipeline", "status", "headers", "body", "body_base64", "repeat", "delay", "times",
                "truncate", "chunked", "reset", "hang"}
GONE, LIVE = "__missing__", "__live__"
HUGE = 2 ** 53 + 1
DSN = "postgres://secret_user:s3cr3t-pw@private-host.internal:5432/db?sslmode=require"
CANARIES = {text: "destination-health last_error" for text in
            ("secret_user", "s3cr3t-pw", "private-host.internal", DSN)}
LONG_NAME = ("long-näme-🦀-" * 1000)[:10_000]

# One row per pipeline, laid over plain(i). None is null, GONE is a missing field; rows past the end are plain.
WHIMS = [
    {"note": "ordinary; created_at with fraction and +02:00; metrics are fractions; start_time in nanoseconds",
     "pipe": {"name": "From Base Swap to Postgres", "created_at": "2024-02-29T23:59:59.123456+02:00"},
     "status": {"start_time": "2024-03-01T00:00:00.123456789Z"},
     "metrics": {"records_consumed": 1000.5, "processing_delay_ms": 0.25, "records_per_second": 99.75}},
    {"note": "name with quotes, backslash, newline, emoji, markup; phase CRASH_LOOP; destination 'Object Storage (S3)'; "
             "metrics 2^53+1; healthy but last_error set; latency fraction",
     "pipe": {"name": 'He said "hi" \\ C:\\new\nline two\t🚀 {a="b"} </script>\u2028\u202e\x07%s',
              "destination_type": "Object Storage (S3)", "topic": "eth.mainnet.ref.\"quoted\"\n"},
     "status": {"status": "CRASH_LOOP", "ready": 0},
     "metrics": {"records_consumed": HUGE, "last_offset": HUGE, "last_block_height": HUGE + 2},
     "health": {"last_error": "recovered from: " + DSN, "latency_ms": 12.5}},
    {"note": "name null; project and updated_at missing; paused/PAUSED 0 of 0; destination 'KAFKA'; metrics all zero; "
             "last_checked_at null; start_time null",
     "pipe": {"name": None, "project": GONE, "updated_at": GONE, "status": "paused", "destination_type": "KAFKA"},
     "status": {"status": "PAUSED", "replicas": 0, "ready": 0, "start_time": None},
     "metrics": dict.fromkeys(("records_consumed", "last_offset", "last_block_height", "pending_records",
                               "processing_delay_ms", "records_per_second", "normalization_errors"), 0),
     "health": {"last_checked_at": None, "latency_ms": 0}},
    {"note": "10,000-character name; bounded and STOPPED; destination 'gcs|r2, \"blob\"'; metrics data null; "
             "health data is {} plus unknown fields",
     "pipe": {"name": LONG_NAME, "execution_mode": "bounded", "execution_stop_from": "44999999",
              "destination_type": 'gcs|r2, "blob"'},
     "status": {"status": "STOPPED", "ready": 0}, "metrics": None,
     "health": {"healthy": GONE, "last_checked_at": GONE, "latency_ms": GONE, "last_error": GONE}},
    {"note": "group null; created_by null; FAILED; unhealthy with a connection string in last_error; latency null; "
             "some metrics null; destination 'AWS SQS'",
     "pipe": {"name": "数据 → очередь", "group": None, "created_by": None, "destination_type": "AWS SQS"},
     "status": {"status": "FAILED", "ready": 0, "uid": None},
     "metrics": {"last_offset": None, "pending_records": 54321, "processing_delay_ms": None, "normalization_errors": 17},
     "health": {"healthy": False, "latency_ms": None, "last_error": f'dial tcp: cannot connect to "{DSN}": timeout\n'}},
    {"note": "group flags partly null/missing; execution_mode missing; DEPLOYING 0 of 2; start_time missing; "
             "healthy null; some metrics missing; destination 'click-house'",
     "pipe": {"name": "", "execution_mode": GONE, "destination_type": "click-house",
              "group": {"is_paid": None, "is_over_limit": None, "is_free_trial_expired": GONE, "slug": None}},
     "status": {"status": "DEPLOYING", "replicas": 2, "ready": 0, "start_time": GONE},
     "metrics": {"records_consumed": GONE, "last_block_height": GONE, "records_per_second": GONE, "uid": GONE},
     "health": {"healthy": None, "latency_ms": GONE, "last_error": GONE}},
    {"note": "NUL in the name; topic and destination_type null; status missing; created_at null; STOPPING 1 of null; "
             "metrics in exponent notation; destination_config and transforms null; last_checked_at with -07:30",
     "pipe": {"name": "nul\x00inside", "topic": None, "destination_type": None, "status": GONE, "created_at": None,
              "project": None, "description": GONE, "destination_config": None, "transforms": None},
     "status": {"status": "STOPPING", "replicas": None, "ready": 1},
     "metrics": {"records_consumed": 1.25e16, "processing_delay_ms": 1e-7},
     "health": {"last_checked_at": "2024-05-05T05:05:05.5-07:30", "last_error": ""}},
    {"note": "the same name as the first one; 2 of 3 replicas ready; destination 'webhook/v2'",
     "pipe": {"name": "From Base Swap to Postgres", "destination_type": "webhook/v2"},
     "status": {"replicas": 3, "ready": 2}},
]


class Bad(Exception):
    """A control request that makes no sense."""


def canary(where, i):
    text = f"CANARY-{re.sub('[^a-z]+', '-', where)}-{i}"
    return CANARIES.setdefault(text, where) and text


def stamp(seconds, style=0):
    when = datetime.fromtimestamp(seconds, timezone.utc)
    if style % 3 == 1:
        return when.astimezone(timezone(timedelta(hours=2))).isoformat(timespec="microseconds")
    return when.strftime("%Y-%m-%dT%H:%M:%S") + (".000000001Z" if style % 3 == 2 else "Z")


def merge(base, over):
    for key, value in over.items():
        if value == GONE:
            base.pop(key, None)
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            merge(base[key], value)
        else:
            base[key] = value
    return base


def plain(i, n, now):
    """The four answers for pipeline n, before its whims; i tells the canaries apart."""
    c = lambda where: canary(where, i)
    uid = f"covalent-pipe-{i}"
    unknown = {"status": "paused", "deep": [{"id": "pipe_decoy", "records_consumed": -1, "more": {"a": [None, {}]}}],
               "dsn": c("unknown field")}
    pipe = {"id": "pipe_" + hashlib.sha256(f"standin-{i}-{n}".encode()).hexdigest()[:27], "name": f"Pipeline № {n}",
            "project": f"project-{n % 3}", "description": "what it does", "destination_type": "postgres",
            "topic": f"{('base', 'eth', 'solana')[n % 3]}.{('mainnet', 'sepolia')[n % 2]}.ref.block.{n}",
            "destination_config": {f: c("destination_config." + f) for f in ("type", "url", "user", "password")},
            "transforms": {c("transforms.key"): f"SELECT '{c('transforms.value')}' FROM t"},
            "execution_mode": "unbounded", "execution_start_from": "44745000", "execution_stop_from": "",
            "abi_file": {"abi": [{"name": c("abi_file")}]}, "abi_contract_addresses": [c("abi_contract_addresses")],
            "abi_unmatched": c("abi_unmatched"), "abi_undocumented": c("abi_undocumented"), "status": "running",
            "created_by": {f: c("created_by." + f) for f in ("id", "email", "display_name", "full_name")},
            "group": {"id": "group_standin", "name": "Stand-in \"group\"", "slug": "stand-in", "is_paid": True,
                      "is_over_limit": False, "is_free_trial_expired": False, "x_quota": {"is_over_limit": True}},
            "created_at": stamp(1699334716 + 86400 * (n % 3650)), "updated_at": stamp(1799334716 - n % 9999, n),
            "x_future": unknown}
    status = {"uid": uid, "status": "RUNNING", "replicas": 1, "ready": 1, "start_time": stamp(now - 3600, n),
              "conditions": [{"type": "Ready", "status": "False", "replicas": 99}]}
    metrics = {"uid": uid, "records_consumed": 1000 * (n + 1), "last_offset": 5000 + 7 * n, "pending_records": 3 * n,
               "last_block_height": 44745000 + n, "processing_delay_ms": 250 + n, "records_per_second": 100,
               "normalization_errors": n, "by_partition": [{"records_consumed": -5, "last_offset": None}], "schema": 3}
    health = {"healthy": True, "last_checked_at": LIVE, "latency_ms": 20 + n, "last_error": None,
              "history": [{"healthy": False, "last_error": f"postgres://u:{c('health unknown field')}@h/db"}]}
    return pipe, status, metrics, health


class Pipeline:
    def __init__(self, i, n, clock):
        whim = WHIMS[n] if isinstance(i, int) and n < len(WHIMS) else {"note": "plain, with unknown fields"}
        self.pipe, self.status, self.metrics, self.health = plain(i, n, clock.wall())
        self.note, self.t0, self.style, self.foreign, self.listed = whim["note"], clock.now(), n, False, True
        for part in ("pipe", "status", "metrics", "health"):
            if whim.get(part, {}) is None:
                setattr(self, part, None)
            else:
                merge(getattr(self, part), whim.get(part, {}))
        moving = self.status["status"] in ("RUNNING", "CRASH_LOOP", "STOPPING")
        self.rates = {"records_consumed": 100, "last_offset": 100, "last_block_height": 0.5} if moving else {}

    def metrics_at(self, now):
        if self.metrics is None:
            return None
        moved = dict(self.metrics)
        for field, rate in self.rates.items():
            if isinstance(moved.get(field), (int, float)):
                step = rate * (now - self.t0)
                moved[field] += int(step) if isinstance(moved[field], int) else step
        return moved

    def health_at(self, wall):
        if self.health and self.health.get("last_checked_at") == LIVE:
            return {**self.health, "last_checked_at": stamp(wall - 7, self.style)}
        return self.health


class Clock:
    def __init__(self, frozen):
        self.start, self.shown, self.since = time.time(), 0.0, None if frozen else time.monotonic()

    def now(self): return self.shown + (0 if self.since is None else time.monotonic() - self.since)
    def wall(self): return self.start + self.now()
    def freeze(self, frozen): self.shown, self.since = self.now(), None if frozen else time.monotonic()


class State:
    def __init__(self, args):
        self.lock, self.rng = threading.RLock(), random.Random(args.seed)
        self.mode, self.max_page_size, self.style, self.rotation = args.list_mode, args.max_page_size, {}, 0
        self.clock, self.base, self.keys = Clock(args.frozen), args.base_path, {args.key: "accepted"}
        self.faults, self.raw, self.fleet, self.invented = [], [], {}, 0
        for _ in range(args.pipelines):
            self.invent()
        stranger = self.invent("foreign", 0)
        stranger.foreign, stranger.listed, stranger.note = True, False, "of another group (403), never listed"
        self.in_flight, self.usage = 0, self.used()
        self.ctl_reset_recording(True)

    def invent(self, i=None, n=None):
        if i is None:
            i = n = self.invented
            self.invented += 1
        made = Pipeline(i, n, self.clock)
        self.fleet[made.pipe["id"]] = made
        return made

    def endless(self, n):
        made = Pipeline("endless", n, self.clock)    # made anew each time, so for ever costs no memory
        made.pipe["id"], made.t0 = f"pipe_endless{n}", 0
        return made

    def used(self):
        """The account's usage of this month; its keys are named, and called by their names."""
        key = canary("by_api_key apikey", "0")
        return {"aggregate": {"credits_consumed": 1234.5, "max_credits": 300000, "premium_credits": "1000",
                              "free_credits": 234.5, "plan": "Vibe \"Coding\"\n", "flex_credits": {"limit": 7, "x": [key]},
                              "x_by_key": {key: 1}},
                "by_day": [{"date": "2026-11-01", "premium_credits": -1, "free_credits": None}],
                "by_api_key": [{"apikey": key, "credits_consumed": -2, "aggregate": {"max_credits": -3}}, key, None],
                "period": {"from": "2026-11-01", key: key}}

    def find(self, pid):
        match = re.fullmatch(r"pipe_endless(\d{1,18})", pid) if self.mode == "endless" else None
        return self.fleet.get(pid) or (self.endless(int(match[1])) if match else None)

    def known(self, pid):
        if pid in self.fleet:
            return self.fleet[pid]
        raise Bad(f"no pipeline {pid!r}")

    # ---- control: one method per key of the posted object
    def ctl_accept(self, key): self.keys[key] = "accepted"              # a ServiceKey of the fleet's group
    def ctl_revoke(self, key): self.keys[key] = "revoked"               # 401 from now on
    def ctl_read_only(self, key): self.keys[key] = "read-only"          # a regular API key: 403
    def ctl_delete(self, pid): self.known(pid) and self.fleet.pop(pid)  # 404 from now on
    def ctl_style(self, style): self.style = style or {}    # pins whims: json ctype gzip chunked lower reason close
    def ctl_add_raw(self, item): self.raw.append(item)                  # any JSON as an item of the list
    def ctl_max_page_size(self, n): self.max_page_size = int(n)
    def ctl_freeze(self, frozen): self.clock.freeze(frozen)             # values and stamps stand still
    def ctl_advance(self, seconds): self.clock.shown += seconds         # moves the values (and stamps) on
    def ctl_pipeline(self, over): merge(self.known(over.pop("id", None)).pipe, over)
    def ctl_usage(self, data): self.usage = data    # the whole data; GONE: not offered to any key (404)
    def ctl_status(self, over): self.body("status", over)
    def ctl_health(self, over): self.body("health", over)

    def ctl_list_mode(self, mode):
        if mode not in LIST_MODES:
            raise Bad(f"list_mode is one of {LIST_MODES}")
        self.mode = mode

    def body(self, part, over):
        """Merges fields into one answer; {"id": …, "data": x} replaces its whole `data`."""
        one = self.known(over.pop("id", None))
        if "data" in over:
            setattr(one, part, over.pop("data"))
        if over:
            setattr(one, part, merge(getattr(one, part) or {}, over))

    def ctl_metrics(self, over):    # fields given here stop moving
        one = self.known(over.get("id"))
        one.rates = {field: rate for field, rate in one.rates.items() if field not in over}
        self.body("metrics", over)

    def ctl_foreign(self, over):    # {"id": …, "foreign": bool = true, "listed": bool = not foreign}
        one = self.known(over["id"])
        one.foreign = over.get("foreign", True)
        one.listed = over.get("listed", not one.foreign)

    def ctl_add(self, over):        # pipeline fields, and _status, _metrics, _health to merge (null: data is null)
        one = self.invent()
        self.fleet[over.get("id", one.pipe["id"])] = self.fleet.pop(one.pipe["id"])
        parts = {part: over.pop("_" + part, {}) for part in ("status", "metrics", "health")}
        merge(one.pipe, over)
        for part, extra in parts.items():
            getattr(self, "ctl_" + part)({"id": one.pipe["id"], **({"data": None} if extra is None else extra)})
        return one.pipe["id"]

    def ctl_fault(self, fault):     # the first fault that matches is used; a header may say {http_date+3}
        if set(fault) - FAULT_FIELDS or fault.get("endpoint", "*") not in (*POLLED, "*"):
            raise Bad(f"a fault has {sorted(FAULT_FIELDS)} and an endpoint of {POLLED} or *")
        self.faults.append({**fault, "used": 0, "cleared": False})

    def ctl_clear_faults(self, _):  # ends hanging requests, too
        for fault in self.faults:
            fault["cleared"] = True
        self.faults = []

    def ctl_reset_recording(self, _):
        self.requests, self.violations, self.max_in_flight, self.epoch = [], [], 0, time.monotonic()

    def control(self, command):
        made = []
        for part in command if isinstance(command, list) else [command]:
            for name, value in part.items():
                method = getattr(self, "ctl_" + name, None)
                if method is None:
                    raise Bad(f"unknown control {name!r}")
                made += [x for x in [method(value)] if name == "add"]
        return {"ok": True, "added": made}

    def report(self, truth):
        own = {pid: one for pid, one in self.fleet.items() if not one.foreign}
        out = {"requests": self.requests, "violations": self.violations, "canaries": CANARIES,
               "max_in_flight": self.max_in_flight, "in_flight": self.in_flight, "usage": self.usage,
               "keys": [{"index": i, "standing": s} for i, s in enumerate(self.keys.values())],
               "ids": list(own), "foreign_ids": [pid for pid in self.fleet if pid not in own], "list_mode": self.mode,
               "whims": {pid: one.note for pid, one in self.fleet.items()}, "faults": self.faults}
        if truth:
            now, wall = self.clock.now(), self.clock.wall()
            out["truth"] = {pid: {"pipeline": one.pipe, "status": one.status, "metrics": one.metrics_at(now),
                                  "health": one.health_at(wall)} for pid, one in self.fleet.items()}
        return out

    # ---- what the API answers: (status, data or error text)
    def page(self, query):
        asked = parse_qs(query, keep_blank_values=True)
        try:
            number, size = (int(asked.get(k, [d])[-1]) for k, d in (("page_number", 1), ("page_size", 10)))
        except ValueError:
            number = size = 0
        if number < 1 or size < 1:
            return 400, "page_number and page_size are positive integers"
        mode, size = self.mode, min(size, 3 if self.mode == "clamped" else self.max_page_size)
        every = [one.pipe for one in self.fleet.values() if one.listed] + self.raw
        if mode == "shifting" and every:
            turn = self.rotation % len(every)
            every, self.rotation = every[turn:] + every[:turn], self.rotation + 1
        low, total = (number - 1) * size, len(every)
        items = every[low:low + size]
        if mode == "endless":
            items = items + [self.endless(n).pipe for n in range(max(low, total), low + size)]
        elif mode == "repeat-last" and not items and every:
            items = every[(total - 1) // size * size:]
        paging = {"has_more": low + size < total, "page_number": number, "page_size": size, "total_count": total,
                  "next_page_url": None, "x_cursor": {"has_more": "maybe"}}
        merge(paging, {"no-total": {"total_count": None}, "no-has-more": {"has_more": GONE},
                       "repeat-last": {"has_more": True, "total_count": None},
                       "endless": {"has_more": True, "total_count": None},
                       "null-items-when-empty": {"has_more": bool(items), "total_count": GONE}}.get(mode, {}))
        if mode == "null-items-when-empty" and not items:
            items = None
        data = {"items": items, "pagination": paging, "x_facets": {"items": [], "status": {"running": 1}}}
        return 200, merge(data, {"pagination": GONE}) if mode == "bare" else data

    def answer(self, method, endpoint, pid, query, key):
        standing = self.keys.get(key)
        if standing not in ("accepted", "read-only"):
            return 401, "missing, malformed, unknown or revoked credential"
        if method != "GET":
            return 405, "method not allowed"
        if endpoint is None:
            return 404, "no such path"
        if standing == "read-only":
            return 403, "a ServiceKey is required"
        if endpoint == "list":
            return self.page(query)
        if endpoint == "usage":
            return (404, "no such path") if self.usage == GONE else (200, self.usage)
        one = self.find(pid)
        if one is None or one.foreign:
            return (404, "pipeline not found") if one is None else (403, "this pipeline belongs to another group")
        if endpoint == "metrics":
            return 200, one.metrics_at(self.clock.now())
        if endpoint == "destination-health":
            return 200, one.health_at(self.clock.wall())
        logs = {"uid": "x", "pods": [{"pod": "p-0", "logs": canary("logs", pid) + "\nline"}]}
        return 200, {"status": one.status, "pipeline": one.pipe, "logs": logs}[endpoint]

    def shuffled(self, value):
        if isinstance(value, dict):
            return {k: self.shuffled(value[k]) for k in self.rng.sample(list(value), len(value))}
        return [self.shuffled(v) for v in value] if isinstance(value, list) else value

    def envelope(self, status, data):
        pick = self.rng.choice
        if status < 400:
            whole = {"data": data, "error": pick([False, False, None, GONE]), "error_message": pick([None, GONE]),
                     "error_code": pick([None, GONE])}
        else:
            whole = {"data": pick([None, GONE, {}]), "error": True, "error_message": pick([data, data, data, None, GONE]),
                     "error_code": pick([status, str(status), str(status), None, GONE])}
        whole["x_meta"] = {"error": True, "request": {"id": self.rng.randrange(10 ** 9), "took_ms": 1.5}}
        return self.shuffled(merge({}, whole))

    def whims(self):
        """How one answer is written; pinned with the control `style`."""
        roll = self.rng.random
        return {"json": self.rng.choice(["pretty", "ascii", "raw", "loose"]), "gzip": roll() < .4, "chunked": roll() < .4,
                "ctype": self.rng.choice(["application/json", "application/json; charset=UTF-8", "text/json"]),
                "lower": roll() < .3, "reason": roll() > .1, "close": roll() < .03, **self.style}


def encode(value, layout):
    text = json.dumps(value, ensure_ascii=layout in ("ascii", "loose"), indent=3 if layout == "pretty" else None,
                      separators=(" ,\t", " :  ") if layout == "loose" else None)
    return (f" \r\n{text}\n" if layout == "loose" else text).encode()


def chunks(body):
    """The body in uneven chunks (characters fall apart, some chunks have extensions), without the last one."""
    at = 0
    while at < len(body):
        size = random.choice([1, 7, 100, 1460, 9000])
        part = body[at:at + size]
        yield b"%X%s\r\n%s\r\n" % (len(part), random.choice([b"", b"", b";x=y"]), part)
        at += size


class Handler(BaseHTTPRequestHandler):
    protocol_version, disable_nagle_algorithm = "HTTP/1.1", True

    def __getattr__(self, name):    # every method, known or not, is served (and judged) in one place
        if name.startswith("do_"):
            return self.serve
        raise AttributeError(name)

    def log_message(self, *args):
        pass

    def take_body(self):
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not length.isdigit():
            self.close_connection = True
            return None
        return self.rfile.read(int(length))

    def serve(self):
        path, _, query = self.requestline.split()[1].partition("?")
        if path.rstrip("/") == "/__control":
            return self.serve_control(query)
        state, began = self.server.state, time.monotonic()
        body = self.take_body()
        with state.lock:
            self.inside, state.in_flight = 1, state.in_flight + 1
            state.max_in_flight = max(state.max_in_flight, state.in_flight)
            endpoint, pid = self.route(path, state.base)
            key = self.judge(state, path, query, endpoint, body, began)
            record = state.requests[-1]
            fault = next((f for f in state.faults if f.get("endpoint", "*") in ("*", endpoint)
                          and f.get("pipeline") in (None, pid)
                          and (f.get("times") is None or f["used"] < f["times"])), {})
            if fault:
                fault["used"] += 1
        try:
            self.play(state, record, fault, (self.command, endpoint, pid, query, key))
        except OSError:
            record["outcome"], self.close_connection = "client gone", True
        finally:
            self.leave()

    def leave(self):    # before the last bytes go out, so that a client's next request never counts with this one
        with self.server.state.lock:
            self.server.state.in_flight -= self.inside
            self.inside = 0

    @staticmethod
    def route(path, base):
        if path == re.sub(r"[^/]+/$", "usage/", base):
            return "usage", None
        parts = path[len(base):].split("/") if path.startswith(base) else [None]
        if parts == [""]:
            return "list", None
        if len(parts) == 2 and parts[0] and not parts[1]:
            return "pipeline", unquote(parts[0])    # documented, but nothing that an exporter polls
        if len(parts) == 3 and parts[0] and parts[1] in (*PROBES, "logs") and not parts[2]:
            return parts[1], unquote(parts[0])
        return None, None

    def judge(self, state, path, query, endpoint, body, began):
        """Records the request and what is wrong with it; gives the key, if there is a well-formed one."""
        given = self.headers.get_all("Authorization", [])
        match = re.fullmatch(r"Bearer ([!-~]+)", given[0]) if len(given) == 1 else None
        key = match[1] if match else None
        if key is not None and key not in state.keys:
            state.keys[key] = "unknown"
        elsewhere = [unquote(path + "?" + query), *(v for n, v in self.headers.items() if n.lower() != "authorization")]
        leaks = [k for k in state.keys if len(k) > 7 and any(k in text for text in elsewhere)]
        for k in leaks:
            path, query = path.replace(k, "<key>"), query.replace(k, "<key>")
        hosts, port = self.headers.get_all("Host", []), self.server.server_port
        wrong = {"method": self.command != "GET" and self.command, "path": endpoint not in POLLED and path,
                 "authorization": len(given) > 1 and f"{len(given)} headers", "body": body != b"" and "a request body",
                 "host": hosts not in ([f"127.0.0.1:{port}"], [f"localhost:{port}"]) and repr(hosts),
                 "query": endpoint == "usage" and query != "duration=1" and (query or "without a query"),
                 "key": leaks and "a key outside of the Authorization header"}
        n = len(state.requests)
        state.violations += [{"request": n, "kind": k, "detail": v} for k, v in wrong.items() if v]
        state.requests.append({"n": n, "method": self.command, "path": path, "query": query, "endpoint": endpoint,
                               "headers": list(self.headers.keys()), "authorizations": len(given),
                               "key": None if key is None else list(state.keys).index(key),
                               "at": round(began - state.epoch, 4), "connection": self.client_address[1],
                               "in_flight": state.in_flight, "status": None, "outcome": "pending"})
        return key

    def play(self, state, record, fault, request):
        time.sleep(fault.get("delay") or 0)
        if fault.get("reset"):
            record["outcome"], self.close_connection = "reset", True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return os.close(self.connection.detach())
        if fault.get("hang") and not fault.get("truncate"):
            return self.hang(record, fault)
        with state.lock:
            style, status = state.whims(), fault.get("status")
            if "body" in fault or "body_base64" in fault:
                body = base64.b64decode(fault["body_base64"]) if "body_base64" in fault else fault["body"].encode()
                body, own, status = body * fault.get("repeat", 1), False, status or 200
            elif status in (None, 200) or status >= 400:
                status, data = state.answer(*request) if status in (None, 200) else (status, "something went wrong")
                body, own = encode(state.envelope(status, data), style["json"]), True
            else:
                body, own = b"", False
        headers = {"Server": ["standin"], "Date": [formatdate(usegmt=True)], "Content-Type": [style["ctype"]]}
        accepted = re.search(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", self.headers.get("Accept-Encoding", ""))
        if own and style["gzip"] and accepted:
            body, headers["Content-Encoding"] = gzip.compress(body), ["gzip"]
        if status == 401:
            headers["WWW-Authenticate"] = ["Bearer"]
        if style["close"] or fault.get("truncate"):
            headers["Connection"], self.close_connection = ["close"], True
        for name, value in (fault.get("headers") or {}).items():
            for same in [h for h in headers if h.lower() == name.lower()]:
                del headers[same]
            value = [str(v) for v in (value if isinstance(value, list) else [value])]
            date = lambda match: formatdate(time.time() + int(match[1]), usegmt=True)
            headers[name] = [re.sub(r"\{http_date([+-]\d+)\}", date, v) for v in value]
        self.transmit(record, fault, status, headers, body, style, bool(fault.get("chunked") or (own and style["chunked"])))

    def transmit(self, record, fault, status, headers, body, style, chunked):
        empty = self.command == "HEAD" or status < 200 or status in (204, 304)
        chunked = chunked and not empty and self.request_version == "HTTP/1.1"
        if chunked:
            headers["Transfer-Encoding"] = ["chunked"]
        elif not empty and "content-length" not in (h.lower() for h in headers):
            headers["Content-Length"] = [str(max(len(body), 9) if fault.get("truncate") else len(body))]
        reason = HTTPStatus(status).phrase if style["reason"] and status in HTTPStatus._value2member_map_ else ""
        head = [f"HTTP/1.1 {status} {reason}"]
        head += [f"{n.lower() if style['lower'] else n}: {v}" for n, values in headers.items() for v in values]
        record["status"], record["outcome"] = status, "truncated" if fault.get("truncate") else "answered"
        if fault.get("truncate"):
            body = body[:len(body) // 2]
        parts = list(chunks(body)) if chunked else [] if empty else [body]
        parts += [b"0\r\n\r\n"] if chunked and not fault.get("truncate") else []
        parts.insert(0, "\r\n".join(head + ["", ""]).encode("latin-1") + (parts.pop(0) if parts else b""))
        for at in range(0, len(parts), 8):
            if at + 8 >= len(parts) and not fault.get("hang"):
                self.leave()
            self.wfile.write(b"".join(parts[at:at + 8]))
        if fault.get("truncate") and fault.get("hang"):
            self.hang(record, fault)

    def hang(self, record, fault):
        record["outcome"], self.close_connection = "hang", True
        while not fault["cleared"]:
            if select.select([self.connection], [], [], 0.05)[0]:
                if not self.connection.recv(1, socket.MSG_PEEK):
                    return
                time.sleep(0.05)

    def serve_control(self, query):
        state, body, status = self.server.state, self.take_body(), 200
        with state.lock:
            try:
                if self.command == "POST":
                    answer = state.control(json.loads(body))
                else:
                    answer = {"base_url": self.server.url, **state.report("truth" in parse_qs(query))}
            except (Bad, ValueError, KeyError, TypeError, AttributeError) as problem:
                status, answer = 400, {"ok": False, "problem": f"{type(problem).__name__}: {problem}"}
            text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


class Server(ThreadingHTTPServer):
    daemon_threads, request_queue_size = True, 256

    def __init__(self, args):
        super().__init__(("127.0.0.1", args.port), Handler)
        self.state = State(args)
        self.url = f"http://127.0.0.1:{self.server_port}{args.base_path}"

    def server_bind(self):    # as the base class does, but without asking a name server
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], OSError):    # clients may leave when they like
            super().handle_error(request, client_address)


def options(argv=None):
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--port", type=int, default=0, help="0: any free one")
    ask.add_argument("--key", default="standin-key-A", help="the ServiceKey that is accepted at first")
    ask.add_argument("--pipelines", type=int, default=7, help="how many of them (the first 8 are odd)")
    ask.add_argument("--list-mode", choices=LIST_MODES, default="normal", help="how the list is paged")
    ask.add_argument("--max-page-size", type=int, default=100, help="greater page sizes are clamped to this")
    ask.add_argument("--base-path", default="/some/other/base/path/", help="begins and ends in a slash")
    ask.add_argument("--seed", type=int, default=1, help="of the whims in how answers are written")
    ask.add_argument("--frozen", action="store_true", help="values stand still until control says freeze: false")
    ask.add_argument("--stdin-guard", action="store_true", help="end when standard input is closed")
    return ask.parse_args(argv)


def main():
    args = options()
    server = Server(args)
    print(f"listening on {server.url}", flush=True)
    if args.stdin_guard:
        def guard():
            try:
                while os.read(0, 4096):
                    pass
            finally:
                os._exit(0)
        threading.Thread(target=guard, daemon=True).start()
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
