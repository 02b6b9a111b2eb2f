//! The life of a ServiceKey: revoked, replaced, accepted again. What else goes wrong is in `goes_wrong.rs`.

use std::time::Duration;

use crate::common::{
    self, Api, Exporter, Exposition, FAST, KEY, Signal, all_succeed, environment, eventually, failures, make_pipe, run,
};
use goldrush_exporter::simulator::{Endpoint, Fault, FaultMatcher, Options, RequestRecord};

const UNAUTHORIZED: &str = "goldrush_auth_unauthorized{account=\"default\"}";
const UP: &str = "goldrush_up{account=\"default\"}";
const LOADED: &str = "goldrush_service_key_loaded_timestamp_seconds{account=\"default\"}";
const NEW_KEY: &str = "sk_test_canary_5d20ea7c91b3f648";

/// A mounted secret: the key's file, replaced as a whole as secret stores do.
struct Secret(tempfile::TempDir);

impl Secret {
    fn new() -> Self {
        let secret = Self(tempfile::tempdir().unwrap());
        secret.put(KEY);
        secret
    }

    fn path(&self) -> String {
        self.0.path().join("key").to_str().unwrap().to_owned()
    }

    fn put(&self, key: &str) {
        std::fs::write(self.0.path().join("next"), key).unwrap();
        std::fs::rename(self.0.path().join("next"), self.path()).unwrap();
    }

    /// Puts a pipe in its place.
    fn hang(&self) {
        let next = self.0.path().join("next");
        make_pipe(&next);
        std::fs::rename(next, self.path()).unwrap();
    }

    /// Polls with the key of this file.
    fn poll(&self, api: &Api, settings: &[(&str, &str)]) -> Exporter {
        let mut all = api.environment();
        all.retain(|(name, _)| name != "GOLDRUSH_SERVICE_KEY");
        all.extend(environment(&[("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_FILE", &self.path())]));
        all.extend(environment(settings));
        Exporter::start(&[], &all)
    }

    /// Polls with the key of this file, until every reading is there.
    fn settled(&self, api: &Api, pipelines: usize, settings: &[(&str, &str)]) -> Exporter {
        let exporter = self.poll(api, settings);
        exporter.until("all probes succeed", |exposition| all_succeed(exposition, pipelines));
        exporter
    }
}

/// The keys of a test, in the order in which the simulator got to know them.
const OLD: Option<usize> = Some(0);
const NEW: Option<usize> = Some(1);

fn refused(api: &Api) -> Vec<RequestRecord> {
    api.simulator.requests().into_iter().filter(|request| request.status == Some(401)).collect()
}

#[test]
fn of_all_probes_only_those_in_flight_meet_the_refusal() {
    let api = Api::healthy(30);
    let exporter = Exporter::of(&api);
    exporter.until("all probes succeed", |exposition| all_succeed(exposition, 30));
    api.simulator.revoke_key(KEY);
    exporter.until_value(UNAUTHORIZED, 1.0);
    let lists = || refused(&api).iter().filter(|request| request.endpoint == Some(Endpoint::List)).count();
    eventually("the list is asked again and again", || lists() >= 3);
    let probes = refused(&api).len() - lists();
    assert!(probes <= 8, "{probes} probes with a dead key, and poll.max_in_flight is 8");
}

#[test]
fn a_new_key_is_tried_at_once_on_the_request_that_was_refused() {
    let api = Api::healthy(3);
    let secret = Secret::new();
    // One request at a time, so that the order of requests is the order of decisions.
    let exporter = secret.settled(&api, 3, &[("GOLDRUSH_EXPORTER__POLL__MAX_IN_FLIGHT", "1")]);
    api.simulator.add_service_key(NEW_KEY, 0);
    secret.put(NEW_KEY);
    api.simulator.revoke_key(KEY);
    eventually("the new key is used", || api.simulator.requests().iter().any(|request| request.key == NEW));
    let requests = api.simulator.requests();
    let first = requests.iter().position(|request| request.key == NEW).unwrap();
    // The file may have been looked at between the two changes above: then nothing is refused at all.
    let last_of_old = &requests[first - 1];
    if last_of_old.status == Some(401) {
        assert_eq!(requests[first].path, last_of_old.path);
    }
    assert!(refused(&api).len() <= 1, "{:?}", refused(&api));
    exporter.until("probing resumes", |exposition| {
        exposition.value(UNAUTHORIZED) == Some(0.0) && all_succeed(exposition, 3)
    });
}

#[test]
fn a_key_that_is_replaced_after_its_refusal_is_taken_up() {
    let api = Api::healthy(3);
    let secret = Secret::new();
    let exporter = secret.settled(&api, 3, &[]);
    api.simulator.revoke_key(KEY);
    let loaded = exporter.until_value(UNAUTHORIZED, 1.0).value(LOADED);
    // A wrong key in between is no way out.
    secret.put("sk_nobody_knows");
    exporter.until("the wrong key is read", |exposition| exposition.value(LOADED) > loaded);
    eventually("the wrong key is refused", || refused(&api).iter().any(|request| request.key.is_none()));
    assert_eq!(exporter.scrape().value(UNAUTHORIZED), Some(1.0));
    let told = || exporter.stderr.text().matches("the API returned 401").count();
    eventually("the log tells of each refused key", || told() >= 2);
    api.simulator.add_service_key(NEW_KEY, 0);
    secret.put(NEW_KEY);
    exporter.until("probing resumes", |exposition| {
        exposition.value(UNAUTHORIZED) == Some(0.0) && all_succeed(exposition, 3)
    });
    assert!(refused(&api).iter().all(|request| request.key != NEW));
    assert_eq!(told(), 2, "once for each");
}

#[test]
fn under_load_a_rotation_costs_the_old_key_what_was_in_flight_and_the_new_key_nothing() {
    let api = Api::start(Options {
        pipelines: 100,
        groups: 1,
        latency: Duration::from_millis(50),
        service_key: KEY.to_owned(),
        ..Options::default()
    });
    let secret = Secret::new();
    let exporter = secret.settled(&api, 100, &[("GOLDRUSH_EXPORTER__POLL__MAX_IN_FLIGHT", "32")]);
    api.simulator.add_service_key(NEW_KEY, 0);
    secret.put(NEW_KEY);
    api.simulator.revoke_key(KEY);
    let by_new_key = || api.simulator.requests().iter().filter(|request| request.key == NEW).count();
    eventually("the new key does all the work", || by_new_key() > 500);
    let exposition = exporter.until("no failed probe remains", |exposition| all_succeed(exposition, 100));
    assert_eq!(exposition.value(UNAUTHORIZED), Some(0.0));
    let refused = refused(&api);
    assert!(refused.iter().all(|request| request.key == OLD), "the new key was refused");
    assert!(refused.len() <= 32, "{} refusals of what can only have been 32 in flight", refused.len());
    let counted: f64 = ["list", "status", "metrics", "destination_health"]
        .iter()
        .filter_map(|endpoint| exposition.value(&failures(endpoint, "unauthorized")))
        .sum();
    assert_eq!(counted, refused.len() as f64, "each counts as a failed request, whichever key was in use");
}

#[test]
fn a_secret_that_is_gone_or_empty_leaves_the_key_in_use() {
    let api = Api::healthy(2);
    let secret = Secret::new();
    let exporter = secret.settled(&api, 2, &[]);
    std::fs::remove_file(secret.path()).unwrap();
    exporter.stderr.line("cannot be read");
    secret.put("");
    exporter.stderr.line("is empty");
    let statuses = api.simulator.request_counts().status;
    eventually("polling goes on", || api.simulator.request_counts().status > statuses + 4);
    let exposition = exporter.scrape();
    assert!(all_succeed(&exposition, 2));
    assert_eq!(exposition.value(UNAUTHORIZED), Some(0.0));
}

#[test]
fn a_secret_that_hangs_holds_up_nothing_and_is_taken_up_when_it_can_be_read_again() {
    let api = Api::healthy(3);
    let secret = Secret::new();
    let exporter = secret.settled(&api, 3, &[]);
    let threads = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", exporter.pid())).unwrap();
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:")).unwrap();
        threads.trim().parse::<usize>().unwrap()
    };
    let before = threads();
    // Whoever opens it waits for a writer, as for a server that does not answer.
    secret.hang();
    exporter.stderr.line("timed out after 2s waiting for the file system");
    let requests = || api.simulator.requests().len();
    let asked = requests();
    eventually("polling goes on at its pace", || requests() > asked + 400);
    let exposition = exporter.scrape();
    assert!(all_succeed(&exposition, 3));
    let timeouts = exposition.values("goldrush_api_request_failures_total", &["reason=\"timeout\""]);
    assert_eq!(timeouts, [0.0; 4], "the API answers all the time");
    // One waits for the file, and one may write for a scraper.
    assert!(threads() <= before + 2, "{} threads, and {before} before", threads());
    assert_eq!(
        exporter.stderr.text().matches("timed out after 2s waiting for the file system").count(),
        1,
        "said once"
    );

    api.simulator.revoke_key(KEY);
    exporter.until_value(UNAUTHORIZED, 1.0);
    api.simulator.add_service_key(NEW_KEY, 0);
    secret.put(NEW_KEY);
    exporter.until("probing resumes", |exposition| {
        exposition.value(UNAUTHORIZED) == Some(0.0) && all_succeed(exposition, 3)
    });
    assert!(refused(&api).iter().all(|request| request.key != NEW));
}

#[test]
fn a_secret_may_come_through_a_pipe() {
    let api = Api::healthy(1);
    let secret = Secret::new();
    secret.hang();
    let path = secret.path();
    // Opening it waits for the reader.
    let writer = std::thread::spawn(move || std::fs::write(path, KEY).unwrap());
    secret.settled(&api, 1, &[]);
    writer.join().unwrap();
}

#[test]
fn what_is_larger_than_any_key_is_none() {
    let secret = Secret::new();
    let settings = environment(&[("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_FILE", &secret.path())]);
    secret.put(&"k".repeat(16 * 1024));
    assert_eq!(run(&["--config.check"], &settings).status, Some(0));
    secret.put(&"k".repeat(16 * 1024 + 1));
    let ended = run(&["--config.check"], &settings);
    assert_eq!(ended.status, Some(2));
    assert!(ended.stderr.contains("cannot be read: larger than 16384 bytes"), "{}", ended.stderr);
}

#[test]
fn a_refused_key_leaves_the_other_accounts_alone() {
    let api = Api::healthy(2);
    api.simulator.add_service_key(NEW_KEY, 0);
    let mut all = environment(FAST);
    let base_url = api.base_url();
    all.extend(environment(&[
        ("GOLDRUSH_EXPORTER__API__BASE_URL", &base_url),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__NAME", "old"),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_ENV", "OLD_KEY"),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__1__NAME", "new"),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__1__SERVICE_KEY_ENV", "NEW_KEY"),
        ("OLD_KEY", KEY),
        ("NEW_KEY", NEW_KEY),
    ]));
    let exporter = Exporter::start(&[], &all);
    exporter.until("both accounts", |exposition| all_succeed(exposition, 4));
    api.simulator.revoke_key(KEY);
    exporter.until_value("goldrush_auth_unauthorized{account=\"old\"}", 1.0);
    let by_new_key = || api.simulator.requests().iter().filter(|request| request.key == NEW).count();
    let before = by_new_key();
    eventually("the other account polls on", || by_new_key() > before + 20);
    let exposition = exporter.scrape();
    assert_eq!(exposition.value("goldrush_auth_unauthorized{account=\"new\"}"), Some(0.0));
    assert_eq!(exposition.values("goldrush_pipeline_probe_success", &["account=\"new\""]), [1.0; 6]);
}

#[test]
fn a_credential_that_becomes_a_service_key_after_all_is_taken_up() {
    let api = Api::healthy(2);
    api.simulator.add_read_only_key(NEW_KEY);
    let exporter = Exporter::with(&api, &[("GOLDRUSH_SERVICE_KEY", NEW_KEY)]);
    let exposition = exporter.until_value("goldrush_auth_forbidden{account=\"default\"}", 1.0);
    let counted = "goldrush_auth_failures_total{account=\"default\",code=\"403\"}";
    assert!(exposition.value(counted) >= Some(1.0));
    assert_eq!(exposition.value("goldrush_auth_failures_total{account=\"default\",code=\"401\"}"), Some(0.0));
    api.simulator.add_service_key(NEW_KEY, 0);
    exporter.until("polling begins", |exposition| {
        exposition.value("goldrush_auth_forbidden{account=\"default\"}") == Some(0.0) && all_succeed(exposition, 2)
    });
}

#[test]
fn a_key_that_replaces_one_that_was_no_service_key_is_tried_at_once() {
    const READ_ONLY: &str = "sk_test_canary_a_read_only_one";
    let api = Api::healthy(2);
    api.simulator.add_read_only_key(READ_ONLY);
    let secret = Secret::new();
    secret.put(READ_ONLY);
    let exporter = secret.poll(&api, &[]);
    // By now, the next try is four seconds away or more.
    let lists = || api.simulator.requests().into_iter().filter(|request| request.status == Some(403));
    eventually("four refusals", || lists().count() == 4);
    secret.put(KEY);
    exporter.until("polling begins", |exposition| all_succeed(exposition, 2));
    let first = api.simulator.requests().into_iter().find(|request| request.status == Some(200)).unwrap();
    let waited = first.at - lists().next_back().unwrap().at;
    assert!(waited < Duration::from_secs(4), "the new key was tried {waited:?} after the last refusal");
}

/// What people put in the place of a key, and what they are told.
const NOT_KEYS: [(&str, &str); 12] = [
    ("\"sk_canary\"", "begins or ends with a quotation mark: write the key without quotes"),
    ("'sk_canary'", "begins or ends with a quotation mark: write the key without quotes"),
    ("GOLDRUSH_SERVICE_KEY=sk_canary", "has the form NAME=value: write the value alone"),
    ("export GOLDRUSH_SERVICE_KEY=sk_canary", "has the form NAME=value: write the value alone"),
    ("sk_canary\\n", "ends with a literal \\n"),
    ("Bearer sk_canary", "begins like a header: write the key alone"),
    ("sk_canary sk_canary", "contains white space: write the key alone, on one line"),
    // Base64 of sk_canary.
    ("c2tfY2FuYXJ5", "is a key in base64: write the key itself"),
    ("c2tfY2FuYXJ5Cg==", "is a key in base64: write the key itself"),
    ("${SK_CANARY}", "is a placeholder that has not been filled in"),
    ("<sk_canary>", "is a placeholder that has not been filled in"),
    ("{\"key\":\"sk_canary\"}", "is JSON: write the key alone"),
];

/// Runs commands with the text as a key from each kind of source.
fn with_each_source(text: &str, check: impl Fn(&str, common::Ended)) {
    let secret = Secret::new();
    secret.put(&format!("{text}\n"));
    let sources = [
        environment(&[("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_FILE", &secret.path())]),
        environment(&[("GOLDRUSH_SERVICE_KEY", text)]),
        environment(&[("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_ENV", "PROD_KEY"), ("PROD_KEY", text)]),
    ];
    for source in sources {
        check(text, run(&["--config.check"], &source));
    }
}

#[test]
fn what_is_not_a_key_by_its_shape_is_refused_and_not_shown() {
    for (text, complaint) in NOT_KEYS {
        with_each_source(text, |text, ended| {
            assert_eq!(ended.status, Some(2), "{text}: {}", ended.stderr);
            assert!(ended.stderr.contains(complaint), "{text}: {}", ended.stderr);
            let said = format!("{}{}", ended.stdout, ended.stderr).to_lowercase();
            assert!(!said.contains("canary") && !said.contains("c2tf"), "{text}: {said}");
        });
    }
}

#[test]
fn what_is_probably_not_a_key_is_warned_of_and_not_shown() {
    for (text, warning) in [
        ("cqt_canary", "looks like a regular API key of GoldRush"),
        ("ckey_canary", "looks like a regular API key of GoldRush"),
        // Base64 of another-kind-of-canary.
        ("YW5vdGhlci1raW5kLW9mLWNhbmFyeQ==", "looks like base64 of a text"),
        ("/run/secrets/canary", "looks like the path of a file"),
    ] {
        with_each_source(text, |text, ended| {
            assert_eq!(ended.status, Some(0), "{text}: {}", ended.stderr);
            assert!(ended.stderr.contains(warning), "{text}: {}", ended.stderr);
            assert!(!format!("{}{}", ended.stdout, ended.stderr).to_lowercase().contains("canary"), "{}", ended.stderr);
            assert!(!ended.stderr.contains(text));
        });
    }
    with_each_source(KEY, |_, ended| assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), "")));
}

#[test]
fn a_byte_order_mark_in_front_of_a_key_is_not_part_of_it() {
    let api = Api::healthy(1);
    let secret = Secret::new();
    secret.put(&format!("\u{feff}{KEY}\r\n"));
    secret.settled(&api, 1, &[]);
}

#[test]
fn a_key_that_is_replaced_by_something_else_stays_in_use() {
    let api = Api::healthy(1);
    let secret = Secret::new();
    let exporter = secret.settled(&api, 1, &[]);
    secret.put("\"sk_canary\"");
    exporter.stderr.line("begins or ends with a quotation mark");
    secret.put("cqt_canary");
    exporter.stderr.line("looks like a regular API key of GoldRush");
    exporter.until_value("goldrush_auth_unauthorized{account=\"default\"}", 1.0);
    assert!(!exporter.stderr.text().contains("canary"));
}

/// Whatever asks for an hour's silence, and for which key.
fn silences() -> [Fault; 3] {
    let hour = || vec![("Retry-After".to_owned(), "3600".to_owned())];
    let answer = |status: u16, body: &str| Fault::Answer { status, headers: hour(), body: body.as_bytes().to_vec() };
    [answer(429, ""), answer(503, ""), answer(429, "<html>Too many requests</html>")]
}

#[test]
fn a_new_key_ends_an_hour_of_silence_that_was_the_old_keys() {
    for silence in silences() {
        let api = Api::healthy(3);
        let secret = Secret::new();
        let exporter = secret.settled(&api, 3, &[("GOLDRUSH_EXPORTER__POLL__STALE_AFTER", "2s")]);
        api.simulator.set_fault(FaultMatcher::default(), Some(silence.clone()));
        exporter.until("the pause", is_paused);
        exporter.until("nothing is known of the list", |exposition| exposition.value(UP) == Some(0.0));
        api.simulator.set_fault(FaultMatcher::default(), None);
        api.simulator.add_service_key(NEW_KEY, 0);
        secret.put(NEW_KEY);
        exporter.until("polling goes on", |exposition| {
            all_succeed(exposition, 3) && exposition.value(UP) == Some(1.0) && !is_paused(exposition)
        });
        let after = api.simulator.requests();
        assert!(after.iter().filter(|request| request.status == Some(200)).any(|request| request.key == NEW));
    }
}

/// As a deployment does it: both files are written, and the signal follows before the exporter has looked at the key.
#[test]
fn a_new_key_that_comes_with_a_new_configuration_ends_the_silence_as_well() {
    for key in [KEY, NEW_KEY] {
        let api = Api::healthy(3);
        let secret = Secret::new();
        let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
        let configure = |rate: u32| {
            let account = format!("{{name: default, service_key_file: {}}}", secret.path());
            std::fs::write(file.path(), format!("poll: {{requests_per_second: {rate}}}\naccounts: [{account}]\n"))
        };
        configure(50).unwrap();
        let mut environment = api.environment();
        environment.retain(|(name, _)| name != "GOLDRUSH_SERVICE_KEY" && !name.contains("REQUESTS_PER_SECOND"));
        let exporter = Exporter::start(&["--config.file", file.path().to_str().unwrap()], &environment);
        exporter.until("all probes succeed", |exposition| all_succeed(exposition, 3));
        api.simulator.set_fault(FaultMatcher::default(), silences().into_iter().next());
        exporter.until("the pause", is_paused);
        api.simulator.set_fault(FaultMatcher::default(), None);
        api.simulator.add_service_key(NEW_KEY, 0);
        configure(20).unwrap();
        secret.put(key);
        exporter.signal(Signal::HUP);
        let allowed = "goldrush_poll_allowed_requests_per_second{account=\"default\"}";
        let exposition = exporter.until_value(allowed, 20.0);
        if key == KEY {
            assert!(is_paused(&exposition), "the key is the same, and so is its pause");
        } else {
            exporter.until("polling goes on", |exposition| all_succeed(exposition, 3) && !is_paused(exposition));
        }
    }
}

fn is_paused(exposition: &Exposition) -> bool {
    exposition.value("goldrush_poll_paused_until_timestamp_seconds{account=\"default\"}") > Some(0.0)
}
