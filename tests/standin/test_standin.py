"""The stand-in's own tests: python3 -m unittest discover tests/standin"""
import gzip, http.client, json, os, socket, subprocess, sys, threading, time, unittest
from urllib.parse import urlsplit

HERE = os.path.dirname(os.path.abspath(__file__))
KEY = "standin-key-A"


class Standin:
    def __init__(self, *options):
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "pipeline_api.py"), "--stdin-guard", *options],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        assert line.startswith("listening on http://127.0.0.1:"), line
        self.url = urlsplit(line.split()[-1])

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()    # the guard ends it
        self.process.wait(5)
        self.process.stdout.close()

    def raw(self, method, path, headers=(), body=None, timeout=5):
        link = http.client.HTTPConnection(self.url.hostname, self.url.port, timeout=timeout)
        try:
            link.putrequest(method, path, skip_accept_encoding=True)
            for name, value in headers:
                link.putheader(name, value)
            if body is not None:
                link.putheader("Content-Length", str(len(body)))
            link.endheaders(body)
            answer = link.getresponse()
            return answer, answer.read()
        finally:
            link.close()

    def get(self, path="", key=KEY, method="GET", extra=(), timeout=5):
        headers = [("Authorization", f"Bearer {key}")] if key else []
        answer, body = self.raw(method, self.url.path + path, [*headers, ("Accept-Encoding", "gzip"), *extra],
                                timeout=timeout)
        if answer.getheader("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.last = answer
        return answer.status, json.loads(body) if body else None

    def control(self, **command):
        if command:
            answer, body = self.raw("POST", "/__control", body=json.dumps(command).encode())
        else:
            answer, body = self.raw("GET", "/__control?truth=1")
        return json.loads(body) if answer.status == 200 else answer.status

    def pages(self, size, count):
        return [self.get(f"?page_number={n}&page_size={size}")[1]["data"] for n in range(1, count + 1)]


def ids(page):
    return [item["id"] for item in page["items"]]


class Tests(unittest.TestCase):
    def test_list_modes(self):
        for mode in ("normal", "clamped", "no-total", "no-has-more", "bare", "repeat-last", "endless", "shifting",
                     "null-items-when-empty"):
            with self.subTest(mode), Standin("--list-mode", mode) as api:
                own = api.control()["ids"]
                pages = api.pages(5, 4)
                lengths = [None if p["items"] is None else len(p["items"]) for p in pages]
                paging = [p.get("pagination") for p in pages]
                self.assertEqual(lengths, {"clamped": [3, 3, 1, 0], "repeat-last": [5, 2, 2, 2], "endless": [5] * 4,
                                           "null-items-when-empty": [5, 2, None, None]}.get(mode, [5, 2, 0, 0]))
                if mode in ("normal", "no-total", "shifting", "clamped"):
                    last = 2 if mode == "clamped" else 1
                    self.assertEqual([p["has_more"] for p in paging], [n < last for n in range(4)])
                self.assertEqual([p and p.get("total_count") for p in paging],
                                 [None if mode in ("no-total", "bare", "repeat-last", "endless", "null-items-when-empty")
                                  else 7] * 4)
                if mode == "bare":
                    self.assertNotIn("pagination", pages[0])
                if mode == "no-has-more":
                    self.assertNotIn("has_more", paging[0])
                if mode in ("repeat-last", "endless"):
                    self.assertTrue(all(p["has_more"] for p in paging))
                if mode == "shifting":
                    self.assertEqual((ids(pages[0]), ids(pages[1])), (own[:5], [own[6], own[0]]))
                elif mode == "endless":
                    every = sum(map(ids, pages), [])
                    self.assertEqual(len(set(every)), 20)
                    self.assertEqual(api.get(every[-1] + "/metrics/")[0], 200)
                elif mode == "normal":
                    self.assertEqual(sum(map(ids, pages), []), own)
                self.assertEqual(api.control()["violations"], [])

    def test_keys(self):
        with Standin() as api:
            state = api.control()
            one, foreign = state["ids"][0], state["foreign_ids"][0]
            self.assertEqual([api.get(key=None)[0], api.get(key="nope")[0]], [401, 401])
            self.assertEqual([api.get(foreign + "/status/")[0], api.get("pipe_x/status/")[0]], [403, 404])
            api.control(read_only="B")
            self.assertEqual([api.get(key="B")[0], api.get(one + "/metrics/", key="B")[0]], [403, 403])
            api.control(accept="C")
            self.assertEqual([api.get(key="C")[0], api.get()[0]], [200, 200])
            api.control(revoke=KEY)
            self.assertEqual([api.get(key="C")[0], api.get()[0]], [200, 401])
            api.control(delete=one)
            self.assertEqual(api.get(one + "/status/", key="C")[0], 404)
            api.control(foreign={"id": state["ids"][1], "listed": True})
            self.assertEqual(api.get(state["ids"][1] + "/status/", key="C")[0], 403)
            self.assertIn(state["ids"][1], ids(api.get("?page_size=50", key="C")[1]["data"]))
            self.assertEqual([r["key"] for r in api.control()["requests"]][:6], [None, 1, 0, 0, 2, 2])
            self.assertNotIn(KEY, json.dumps(api.control()))
            self.assertEqual(api.control()["violations"], [])

    def test_violations(self):
        with Standin() as api:
            base, auth = api.url.path, ("Authorization", "Bearer " + KEY)
            one = api.control()["ids"][0]
            for method, path, headers, body, kinds in [
                    ("POST", base, [auth], None, ["method"]), ("FROB", base, [auth], None, ["method"]),
                    ("GET", base + one + "/", [auth], None, ["path"]),
                    ("GET", base + one + "/logs/", [auth], None, ["path"]),
                    ("GET", base + one + "/status", [auth], None, ["path"]), ("GET", "/", [auth], None, ["path"]),
                    ("GET", base[:-1], [auth], None, ["path"]), ("GET", base + "/status/", [auth], None, ["path"]),
                    ("GET", base, [auth, auth], None, ["authorization"]), ("GET", base, [auth], b"{}", ["body"]),
                    ("GET", base + "?key=" + KEY, [auth], None, ["key"]), ("GET", base, [auth], b"", []),
                    ("GET", base, [auth, ("X", KEY)], None, ["key"]),
                    ("GET", base, [auth, ("Host", "evil")], None, ["host"])]:
                with self.subTest(method + path):
                    api.control(reset_recording=True)
                    answer, _ = api.raw(method, path, headers, body)
                    seen = api.control()
                    self.assertEqual([v["kind"] for v in seen["violations"]], kinds)
                    self.assertEqual(seen["requests"][0]["status"], answer.status)
                    self.assertNotIn(KEY, json.dumps(seen))

    def test_faults(self):
        with Standin() as api:
            one, two = api.control()["ids"][:2]
            fault = lambda **f: api.control(clear_faults=True) and api.control(fault=f)
            fault(endpoint="status", pipeline=one, status=503, headers={"Retry-After": "{http_date+60}"}, times=2)
            self.assertEqual([api.get(one + "/status/")[0], api.get(two + "/status/")[0]], [503, 200])
            self.assertEqual(api.get(one + "/metrics/")[0], 200)
            self.assertEqual(api.get(one + "/status/")[0], 503)
            self.assertRegex(api.last.getheader("Retry-After"), r" GMT$")
            self.assertEqual(api.get(one + "/status/")[0], 200)
            fault(endpoint="*", status=302, headers={"Location": "http://127.0.0.1:1/"})
            self.assertEqual((api.get()[0], api.last.getheader("Location")), (302, "http://127.0.0.1:1/"))
            fault(endpoint="list", body='{"error": true}', headers={"content-type": "text/html"}, chunked=True)
            self.assertEqual((api.get(), api.last.getheader("Content-Type")), ((200, {"error": True}), "text/html"))
            fault(endpoint="list", body="ab", repeat=3, status=200)
            self.assertEqual(api.raw("GET", api.url.path)[1], b"ababab")
            fault(endpoint="list", body_base64="/w==")
            self.assertEqual(api.raw("GET", api.url.path)[1], b"\xff")
            for chunked in (False, True):
                fault(endpoint="list", truncate=True, chunked=chunked)
                self.assertRaises(http.client.IncompleteRead, api.get)
                self.assertEqual(api.control()["requests"][-1]["outcome"], "truncated")
            fault(endpoint="list", reset=True, times=1)
            self.assertRaises(ConnectionResetError, api.get)
            self.assertEqual(api.get()[0], 200)
            fault(endpoint="list", delay=0.4)
            began = time.monotonic()
            self.assertEqual(api.get()[0], 200)
            self.assertGreaterEqual(time.monotonic() - began, 0.4)
            fault(endpoint="list", hang=True)
            self.assertRaises(socket.timeout, api.get, timeout=0.3)
            threading.Timer(0.3, api.control, kwargs={"clear_faults": True}).start()
            self.assertRaises(http.client.RemoteDisconnected, api.get)
            fault(endpoint="list", hang=True, truncate=True)
            self.assertRaises(socket.timeout, api.get, timeout=0.3)
            time.sleep(0.3)
            self.assertEqual(api.control()["in_flight"], 0)
            self.assertEqual(api.control(fault={"endpoint": "nope"}), 400)
            self.assertEqual(api.control(frobnicate=1), 400)

    def test_values(self):
        with Standin("--frozen") as api:
            state = api.control()
            zero, huge, paused, stopped, failed = state["ids"][:5]
            read = lambda pid, what: api.get(f"{pid}/{what}/")[1]["data"]
            self.assertEqual(read(huge, "metrics")["records_consumed"], 2 ** 53 + 1)
            self.assertIsNone(read(stopped, "metrics"))
            self.assertIn("s3cr3t-pw", read(failed, "destination-health")["last_error"])
            self.assertEqual(len(api.get(f"{stopped}/")[1]["data"]["name"]), 10_000)
            self.assertEqual(read(zero, "metrics"), read(zero, "metrics"))
            api.control(advance=10)
            self.assertEqual(read(zero, "metrics")["records_consumed"], 2000.5)
            self.assertEqual(read(huge, "metrics")["last_block_height"], 2 ** 53 + 3 + 5)
            api.control(freeze=False)
            before = read(huge, "metrics")["last_offset"]
            time.sleep(0.2)
            self.assertGreater(read(huge, "metrics")["last_offset"], before)
            api.control(metrics={"id": huge, "last_offset": 5, "pending_records": "__missing__"},
                        status={"id": huge, "status": "FAILED"}, health={"id": huge, "healthy": None},
                        pipeline={"id": huge, "group": {"is_over_limit": True}})
            time.sleep(0.1)
            self.assertEqual(read(huge, "metrics")["last_offset"], 5)
            self.assertNotIn("pending_records", read(huge, "metrics"))
            self.assertEqual(read(huge, "status")["status"], "FAILED")
            self.assertIsNone(read(huge, "destination-health")["healthy"])
            self.assertIs(api.get(f"{huge}/")[1]["data"]["group"]["is_over_limit"], True)
            api.control(metrics={"id": huge, "data": None}, status={"id": huge, "data": []})
            self.assertEqual([read(huge, "metrics"), read(huge, "status")], [None, []])
            new = api.control(add={"name": "new", "_metrics": {"last_offset": 9}, "_status": None})["added"][0]
            self.assertEqual((read(new, "metrics")["last_offset"], read(new, "status")), (9, None))
            api.control(add_raw={"id": None})
            self.assertEqual(api.get("?page_size=99")[1]["data"]["items"][-2:][0]["name"], "new")
            self.assertEqual(api.get("?page_size=99")[1]["data"]["items"][-1], {"id": None})
            pipes = json.dumps([p for p in api.control()["truth"].values()], ensure_ascii=False)
            pipes += json.dumps(api.control()["usage"])
            self.assertEqual([c for c in state["canaries"] if c not in pipes and "://" not in c and c[-1] not in "46"], [])

    def test_usage(self):
        with Standin("--base-path", "/x/pipeline-api/") as api:
            own, api.url = api.url, urlsplit(api.url.geturl().replace("pipeline-api", "usage"))
            status, whole = api.get("?duration=1")
            self.assertEqual((status, whole["data"]["aggregate"]["max_credits"]), (200, 300000))
            self.assertIn(whole["data"]["by_api_key"][0]["apikey"], api.control()["canaries"])
            self.assertEqual(api.control()["violations"], [])
            api.get("?duration=3")
            self.assertEqual([v["kind"] for v in api.control()["violations"]], ["query"])
            api.control(usage="__missing__")
            self.assertEqual(api.get("?duration=1")[0], 404)
            api.url = own
            self.assertEqual(api.get()[0], 200)

    def test_whims_of_writing(self):
        with Standin("--pipelines", "3") as api:
            seen, orders, envelopes = set(), set(), set()
            for _ in range(120):
                status, whole = api.get()
                self.assertEqual((status, len(whole["data"]["items"])), (200, 3))
                head = {k.lower(): v for k, v in api.last.getheaders()}
                seen |= {head["content-type"], head.get("content-encoding"), head.get("transfer-encoding"), api.last.reason}
                orders.add(tuple(whole))
                envelopes.add((whole.get("error", "gone"), whole.get("error_code", "gone")))
            self.assertLessEqual({"application/json", "application/json; charset=UTF-8", "text/json", "gzip", "chunked", "",
                                  "OK", None}, seen)
            self.assertGreater(len(orders), 20)
            self.assertEqual(len(envelopes), 6)
            codes = {repr(api.get(key="bad")[1].get("error_code", "gone")) for _ in range(60)}
            self.assertEqual(codes, {"401", "'401'", "None", "'gone'"})
            api.control(style={"gzip": False, "chunked": False, "close": False})
            link = http.client.HTTPConnection(api.url.hostname, api.url.port)
            for _ in range(5):
                link.request("GET", api.url.path, headers={"Authorization": "Bearer " + KEY})
                link.getresponse().read()
            link.close()
            self.assertEqual(len({r["connection"] for r in api.control()["requests"][-5:]}), 1)

    def test_the_guard(self):
        api = Standin()
        api.process.stdin.close()
        self.assertEqual(api.process.wait(5), 0)
        api.process.stdout.close()


if __name__ == "__main__":
    unittest.main()
