//! Which configurations are valid, and the messages for those that are not.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::api::PipelineId;
use crate::service_key::KeySource;
use crate::thresholds::{Threshold, Thresholds};

/// The example from the documentation.
const YAML: &str = r#"
api:
  base_url: https://api.covalenthq.com/platform/pipeline-api/   # plain http is refused
  timeout: 10s
  max_response_bytes: 8388608
poll:
  discovery: 60s
  status: 15s
  metrics: 30s
  destination_health: 30s
  transitional: 5s
  stale_after: 5m
  requests_per_second: 4
  max_in_flight: 8
accounts:
  - name: prod
    service_key_file: /run/secrets/goldrush-prod
    projects: {include: ["analytics-.*"], exclude: []}
    expect: [pipe_3e8678c5fc9e48a7bf9879ca729]
shard: {index: 0, total: 1}
max_pipelines: 20000
"#;

const TOML: &str = r#"
max_pipelines = 20000
shard = { index = 0, total = 1 }

[api]
base_url = "https://api.covalenthq.com/platform/pipeline-api/"
timeout = "10s"
max_response_bytes = 8388608

[poll]
discovery = "60s"
status = "15s"
metrics = "30s"
destination_health = "30s"
transitional = "5s"
stale_after = "5m"
requests_per_second = 4
max_in_flight = 8

[[accounts]]
name = "prod"
service_key_file = "/run/secrets/goldrush-prod"
projects = { include = ["analytics-.*"], exclude = [] }
expect = ["pipe_3e8678c5fc9e48a7bf9879ca729"]
"#;

fn environment(env: &[(&str, &str)]) -> Vec<(String, String)> {
    env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// Adds the prefix to the variables' names.
fn prefixed(env: &[(&str, &str)]) -> Vec<(String, String)> {
    env.iter().map(|(name, value)| (format!("GOLDRUSH_EXPORTER__{name}"), (*value).to_owned())).collect()
}

/// Loads a file with this name.
fn load(name: &str, text: &str, env: &[(String, String)]) -> Result<Config, String> {
    let file = ConfigFile { path: name.into(), text: text.to_owned() };
    Config::load(Some(&file), env).map_err(|error| error.to_string())
}

fn yaml(text: &str) -> Config {
    load("c.yaml", text, &[]).unwrap()
}

fn defaults() -> Config {
    Config::load(None, &[]).unwrap()
}

#[test]
fn nothing_at_all_is_a_configuration() {
    let config = defaults();
    assert_eq!(config.accounts.len(), 1);
    assert_eq!(config.accounts[0].name, "default");
    assert_eq!(config.accounts[0].key, KeySource::Env("GOLDRUSH_SERVICE_KEY".to_owned()));
    assert_eq!(config.warnings(), Vec::<String>::new());
    for (name, text) in [
        ("c.yaml", ""),
        ("c.yml", "---\n"),
        ("c.yaml", "# nothing\n"),
        ("c.yaml", "{}"),
        ("c.toml", ""),
        ("c.yaml", "api:\npoll:\naccounts:\nshard:\n"),
        ("c.yaml", "accounts: []"),
        ("c.yaml", "accounts: [{projects: , expect: , pipelines: {include: }}]"),
    ] {
        assert_eq!(load(name, text, &[]), Ok(defaults()), "{text:?}");
    }
}

#[test]
fn the_documented_example_loads_and_shows_the_defaults() {
    let config = yaml(YAML);
    assert_eq!(load("c.toml", TOML, &[]), Ok(config.clone()));
    assert_eq!((&config.api, &config.poll), (&defaults().api, &defaults().poll));
    assert_eq!((config.shard, config.max_pipelines), (Shard { index: 0, total: 1 }, 20_000));
    assert_eq!(config.api.base_url.to_string(), "https://api.covalenthq.com/platform/pipeline-api/");
    assert_eq!((config.api.timeout, config.api.max_response_bytes), (Duration::from_secs(10), 8_388_608));
    assert_eq!(config.api.max_connections, config.poll.max_in_flight);
    assert_eq!(config.poll.stale_after, Duration::from_secs(300));
    let [account] = config.accounts.as_slice() else { panic!("one account") };
    assert_eq!(account.name, "prod");
    assert_eq!(account.key, KeySource::File(PathBuf::from("/run/secrets/goldrush-prod")));
    assert!(account.projects.matches("analytics-eu") && !account.projects.matches("x-analytics-eu"));
    assert!(account.pipelines.matches("anything") && account.pipeline_ids.matches(""));
    assert_eq!(account.expect, [PipelineId::new("pipe_3e8678c5fc9e48a7bf9879ca729").unwrap()]);
}

#[test]
fn json_is_yaml() {
    let config = yaml(r#"{"poll": {"status": "5s"}, "accounts": [{"name": "a\/b", "service_key_env": "K"}]}"#);
    assert_eq!(config.poll.status, Duration::from_secs(5));
    assert_eq!(config.accounts[0].name, "a/b");
}

#[test]
fn everything_can_be_set_by_variables_alone() {
    let env = prefixed(&[
        ("API__BASE_URL", "http://stub.example/api"),
        ("API__ALLOW_HTTP", "true"),
        ("API__TIMEOUT", "1500ms"),
        ("API__MAX_RESPONSE_BYTES", "4096"),
        ("POLL__REQUESTS_PER_SECOND", "0.5"),
        ("POLL__MAX_IN_FLIGHT", "2"),
        ("ACCOUNTS__0__NAME", "007"),
        ("ACCOUNTS__0__SERVICE_KEY_ENV", "PROD_KEY"),
        ("ACCOUNTS__0__PROJECTS__INCLUDE__0", "a.*"),
        ("ACCOUNTS__0__PROJECTS__INCLUDE__1", "b.*"),
        ("ACCOUNTS__0__EXPECT__0", "pipe_1"),
        ("SHARD__INDEX", "1"),
        ("SHARD__TOTAL", "2"),
        ("MAX_PIPELINES", "10"),
    ]);
    let text = "
api: {base_url: http://stub.example/api, allow_http: true, timeout: 1500ms, max_response_bytes: 4096}
poll: {requests_per_second: 0.5, max_in_flight: 2}
accounts: [{name: '007', service_key_env: PROD_KEY, projects: {include: [a.*, b.*]}, expect: [pipe_1]}]
shard: {index: 1, total: 2}
max_pipelines: 10";
    assert_eq!(Config::load(None, &env).unwrap(), yaml(text));
}

#[test]
fn variables_win_over_the_file_element_by_element() {
    let text = "
poll: {status: 20s, metrics: 40s}
accounts:
  - {name: a, service_key_env: A, projects: {include: [x, y]}}
  - {name: b, service_key_env: B}";
    let env = prefixed(&[
        ("POLL__STATUS", "10s"),
        ("ACCOUNTS__0__PROJECTS__INCLUDE__1", "z"),
        ("ACCOUNTS__0__PROJECTS__INCLUDE__2", "zz"),
        ("ACCOUNTS__1__NAME", "bb"),
        // Beyond the end: appended in the order of the numbers.
        ("ACCOUNTS__10__NAME", "d"),
        ("ACCOUNTS__10__SERVICE_KEY_ENV", "D"),
        ("ACCOUNTS__9__SERVICE_KEY_ENV", "C"),
        ("ACCOUNTS__9__NAME", "c"),
    ]);
    let expected = "
poll: {status: 10s, metrics: 40s}
accounts:
  - {name: a, service_key_env: A, projects: {include: [x, z, zz]}}
  - {name: bb, service_key_env: B}
  - {name: c, service_key_env: C}
  - {name: d, service_key_env: D}";
    assert_eq!(load("c.yaml", text, &env), Ok(yaml(expected)));
}

#[test]
fn an_empty_variable_turns_off_what_the_file_turns_on() {
    assert_eq!(load("c.yaml", "poll: {usage: 15m}", &prefixed(&[("POLL__USAGE", "")])), Ok(defaults()));
    assert!(load("c.yaml", "", &prefixed(&[("POLL__STATUS", "")])).is_err(), "a status is always polled");
}

#[test]
fn a_setting_that_is_not_a_text_is_refused() {
    use std::os::unix::ffi::OsStringExt as _;
    let read = |name: &str| source::texts(std::iter::once((name.into(), OsString::from_vec(vec![0xff]))));
    assert_eq!(read("OTHER"), Ok(Vec::new()));
    let error = read("GOLDRUSH_EXPORTER__ACCOUNTS__0__NAME").unwrap_err().to_string();
    assert_eq!(error, "GOLDRUSH_EXPORTER__ACCOUNTS__0__NAME: not UTF-8");
}

#[test]
fn other_variables_are_ignored() {
    let env = environment(&[
        ("GOLDRUSH_EXPORTER_SERVICE_HOST", "10.0.0.1"),
        ("GOLDRUSH_EXPORTER_SERVICE_PORT_METRICS", "9877"),
        ("GOLDRUSH_EXPORTER_PORT", "tcp://10.0.0.1:9877"),
        ("GOLDRUSH_EXPORTER_PORT_9877_TCP", "tcp://10.0.0.1:9877"),
        ("GOLDRUSH_EXPORTER_PORT_9877_TCP_ADDR", "10.0.0.1"),
        ("GOLDRUSH_SERVICE_KEY", "secret"),
        ("PATH", "/bin"),
    ]);
    assert_eq!(Config::load(None, &env), Ok(defaults()));
}

#[test]
fn an_invalid_file_is_rejected() {
    const SECRET: &str = "sk_do_not_show";
    for (name, text, message) in [
        ("c.json", "{}", "c.json: expected a file name that ends in .yaml, .yml or .toml"),
        ("c", "", "c: expected a file name that ends in .yaml, .yml or .toml"),
        (
            "c.yaml",
            "poll:\n  status: [15s\n",
            "c.yaml: cannot be read as YAML: while parsing a flow sequence, expected ',' or ']' at line 3, column 1",
        ),
        (
            "c.yaml",
            "poll: {status: 15s}\npoll: {status: 15s}\n",
            "c.yaml: cannot be read as YAML: duplicate key \"poll\" at line 2, column 19",
        ),
        ("c.yaml", "a: 1\n---\nb: 2\n", "c.yaml: cannot be read as YAML: expected one document, found 2"),
        ("c.yaml", SECRET, "c.yaml: cannot be read as YAML: expected sections of settings"),
        ("c.yaml", "- sk_do_not_show", "c.yaml: cannot be read as YAML: expected sections of settings"),
        (
            "c.yaml",
            "{service_key: {{ sk_do_not_show }}}",
            "c.yaml: cannot be read as YAML: a key is not text, or a number is malformed",
        ),
        (
            "c.toml",
            "service_key = sk_do_not_show",
            "c.toml: cannot be read as TOML: string values must be quoted, expected literal string at line 1, column 15",
        ),
        (
            "c.toml",
            "[poll]\nstatus = '1s'\nstatus = '2s'",
            "c.toml: cannot be read as TOML: duplicate key at line 3, column 1",
        ),
    ] {
        let error = load(name, text, &[]).unwrap_err();
        assert!(!error.contains(SECRET), "{error}");
        assert_eq!(error, message, "{text:?}");
    }
}

#[tokio::test]
async fn a_file_is_read_with_or_without_a_byte_order_mark_or_named_in_the_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.yaml");
    let load = async || ConfigSource::FileAndEnvironment(Some(path.clone())).load().await;
    let error = load().await.unwrap_err().to_string();
    assert_eq!(error, format!("{}: cannot be read: No such file or directory (os error 2)", path.display()));
    std::fs::write(&path, [0xff, 0xfe]).unwrap();
    let error = load().await.unwrap_err().to_string();
    assert_eq!(error, format!("{}: cannot be read: not UTF-8", path.display()));
    for text in ["api: {timeout: 3s}", "\u{feff}api: {timeout: 3s}"] {
        std::fs::write(&path, text).unwrap();
        assert_eq!(load().await.unwrap().api.timeout, Duration::from_secs(3), "{text:?}");
    }
}

#[test]
fn what_is_wrong_in_a_file_is_named() {
    const SECRET: &str = "sk_do_not_show";
    for (text, message) in [
        (
            "max_pipeline: 1",
            "max_pipeline: unknown setting (expected api, poll, accounts, policies, metrics, shard, max_pipelines)",
        ),
        (
            "poll: {statsu: 5s}",
            "poll.statsu: unknown setting (expected discovery, status, metrics, destination_health, transitional, idle, usage, stale_after, requests_per_second, max_in_flight)",
        ),
        (
            "poll: {statsu: }",
            "poll.statsu: unknown setting (expected discovery, status, metrics, destination_health, transitional, idle, usage, stale_after, requests_per_second, max_in_flight)",
        ),
        (
            "poll.status: 5s",
            "poll.status: unknown setting (expected api, poll, accounts, policies, metrics, shard, max_pipelines)",
        ),
        (
            "accounts[99999999999]: x",
            "accounts[99999999999]: unknown setting (expected api, poll, accounts, policies, metrics, shard, max_pipelines)",
        ),
        (
            "accounts: [{naem: prod}]",
            "accounts[0].naem: unknown setting (expected name, service_key_file, service_key_env, projects, pipelines, pipeline_ids, expect, credits_run_out)",
        ),
        (
            "accounts: [{projects: {includes: [a]}}]",
            "accounts[0].projects.includes: unknown setting (expected include, exclude)",
        ),
        (
            "accounts: [{name: prod, service_key: sk_do_not_show}]",
            "accounts[0].service_key: a ServiceKey does not belong in the configuration; set service_key_file to the path of a file that holds it, or service_key_env to the name of an environment variable",
        ),
        (
            "accounts: [{name: prod, service_key:sk_do_not_show}]",
            "accounts[0].service_key: a ServiceKey does not belong in the configuration; set service_key_file to the path of a file that holds it, or service_key_env to the name of an environment variable",
        ),
        (
            "{service_key=sk_do_not_show}",
            "service_key: a ServiceKey does not belong in the configuration; set service_key_file to the path of a file that holds it, or service_key_env to the name of an environment variable",
        ),
        (
            "accounts: [{sk_do_not_show: }]",
            "accounts[0]: unknown setting (expected name, service_key_file, service_key_env, projects, pipelines, pipeline_ids, expect, credits_run_out)",
        ),
        (
            "{sk_do_not_show}",
            "the file: unknown setting (expected api, poll, accounts, policies, metrics, shard, max_pipelines)",
        ),
        (
            "service_key: sk_do_not_show",
            "service_key: a ServiceKey does not belong in the configuration; set service_key_file to the path of a file that holds it, or service_key_env to the name of an environment variable",
        ),
        (
            "accounts: [{service_key_env: sk_do_not_show}]",
            "accounts[0].service_key_env: expected the name of an environment variable (A-Z, 0-9 and _), not the ServiceKey itself",
        ),
        ("accounts: [sk_do_not_show]", "accounts[0]: expected a section of settings"),
        (
            "accounts: {service_key: sk_do_not_show}",
            "accounts: expected a list (in environment variables, one for each element: …__0, …__1)",
        ),
        (
            "accounts: [{service_key_file: [sk_do_not_show]}]",
            "accounts[0].service_key_file: expected text, in quotes if it looks like a number",
        ),
        (
            "accounts: [{service_key_file: sk_do_not_show}]",
            "accounts[0].service_key_file: looks like a ServiceKey; expected the path of a file that holds it (./NAME for a file in the working directory)",
        ),
        ("accounts: [{service_key_file: ''}]", "accounts[0].service_key_file: expected the path of a file"),
        ("poll: [60s]", "poll: expected a section of settings"),
        ("poll: 5", "poll: expected a section of settings"),
        ("poll: {status: 5 parsecs}", "poll.status: expected a duration such as 15s or 5m, found \"5 parsecs\""),
        ("poll: {status: 15}", "poll.status: 15 has no unit (expected a duration such as 15s or 5m)"),
        ("poll: {status: '15'}", "poll.status: \"15\" has no unit (expected a duration such as 15s or 5m)"),
        ("poll: {stale_after: 0s}", "poll.stale_after: must be greater than zero (a duration such as 15s or 5m)"),
        ("poll: {status: 1ns}", "poll.status: must be at least 10ms, found \"1ns\""),
        ("api: {timeout: 9ms}", "api.timeout: must be at least 10ms, found \"9ms\""),
        ("poll: {stale_after: 400days}", "poll.stale_after: must be at most 365days, found \"400days\""),
        ("poll: {status: [5s]}", "poll.status: expected a duration such as 15s or 5m, found a list"),
        ("poll: {status: }", "poll.status: expected a duration such as 15s or 5m, found nothing"),
        ("api: {timeout: -1s}", "api.timeout: expected a duration such as 15s or 5m, found \"-1s\""),
        ("poll: {requests_per_second: 0}", "poll.requests_per_second: expected a number from 0.01 to 1000000, found 0"),
        (
            "poll: {requests_per_second: 0.009}",
            "poll.requests_per_second: expected a number from 0.01 to 1000000, found 0.009",
        ),
        (
            "poll: {requests_per_second: many}",
            "poll.requests_per_second: expected a number from 0.01 to 1000000, found \"many\"",
        ),
        ("poll: {max_in_flight: 0}", "poll.max_in_flight: expected a whole number from 1 to 4294967295, found 0"),
        ("poll: {max_in_flight: 2.7}", "poll.max_in_flight: expected a whole number from 1 to 4294967295, found 2.7"),
        ("poll: {max_in_flight: on}", "poll.max_in_flight: expected a whole number from 1 to 4294967295, found \"on\""),
        (
            "api: {max_response_bytes: 1023}",
            "api.max_response_bytes: expected a whole number from 1024 to 4294967295, found 1023",
        ),
        ("max_pipelines: 0", "max_pipelines: expected a whole number from 1 to 4294967295, found 0"),
        (
            "max_pipelines: 99999999999999999999",
            "max_pipelines: expected a whole number from 1 to 4294967295, found 100000000000000000000",
        ),
        ("api: {allow_http: 1}", "api.allow_http: expected true or false, found 1"),
        ("shard: {total: 0}", "shard.total: expected a whole number from 1 to 4294967295, found 0"),
        ("shard: {index: 2, total: 2}", "shard.index: must be below shard.total (2): expected 0 to 1, found 2"),
        (
            "accounts: [{projects: {exclude: [a, '(']}}]",
            "accounts[0].projects.exclude[1]: \"(\" is not a regular expression such as analytics-.*: unclosed group",
        ),
        (
            "accounts: [{projects: {exclude: ['a)|(b']}}]",
            "accounts[0].projects.exclude[0]: \"a)|(b\" is not a regular expression such as analytics-.*: unopened group",
        ),
        (
            "accounts: [{projects: {include: [5]}}]",
            "accounts[0].projects.include[0]: expected text, in quotes if it looks like a number",
        ),
        (
            "accounts: [{projects: {include: a}}]",
            "accounts[0].projects.include: expected a list (in environment variables, one for each element: …__0, …__1)",
        ),
        (
            "api: {base_url: http://api.example/}",
            "api.base_url is plain http to a host that is not loopback, which would show the ServiceKey to the network; use https, or set api.allow_http to true if something else protects the connection",
        ),
        (
            "api: {base_url: api.example}",
            "api.base_url is not a URL (relative URL without a base); expects one such as https://api.covalenthq.com/platform/pipeline-api/",
        ),
        (
            "accounts: [{name: ''}]",
            "accounts[0].name: expected 1 to 100 characters, not only spaces and without control characters",
        ),
        ("accounts: [{name: 5}]", "accounts[0].name: expected text, in quotes if it looks like a number"),
        (
            "accounts: [{name: \"a\\nb\"}]",
            "accounts[0].name: expected 1 to 100 characters, not only spaces and without control characters",
        ),
        (
            "accounts: [{name: \"a\\u2028b\"}]",
            "accounts[0].name: expected 1 to 100 characters, not only spaces and without control characters",
        ),
        (
            "accounts: [{name: prod, service_key_env: A}, {name: prod, service_key_env: B}]",
            "accounts[1].name: duplicate account name \"prod\" (also accounts[0].name); give each account a different name",
        ),
        (
            "accounts: [{name: prod, service_key_env: A, service_key_file: b}]",
            "accounts[0]: \"prod\" has both service_key_file and service_key_env; remove one of them",
        ),
        (
            "accounts: [{name: a, service_key_env: A}, {name: b}]",
            "accounts[1]: \"b\" has no ServiceKey; with several accounts, each needs service_key_file or service_key_env",
        ),
        (
            "accounts: [{name: a, service_key_env: A}, {service_key_env: B}]",
            "accounts[1]: no name; with several accounts, each needs one",
        ),
        ("accounts: [{expect: [a, b, a]}]", "accounts[0].expect[2]: duplicate pipeline id \"a\""),
        (
            "accounts: [{projects: 5}]",
            "accounts[0].projects: expected a list of regular expressions, or a section with include and exclude",
        ),
        (
            "policies: [{delya: 5m}]",
            "policies[0].delya: unknown setting (expected team, projects, pipelines, pipeline_ids, delay, delay_critical, backlog, stalled, no_progress, destination_check_age, dropped_share, unprocessed_share, deployment, restarts, destination_changes)",
        ),
        (
            "policies: {delay: 5m}",
            "policies: expected a list (in environment variables, one for each element: …__0, …__1)",
        ),
        ("policies: [[5m]]", "policies[0]: expected a section of settings"),
        ("policies: [{delay: 5}]", "policies[0].delay: 5 has no unit (expected a duration such as 15s or 5m)"),
        ("policies: [{stalled: 0s}]", "policies[0].stalled: must be greater than zero (a duration such as 15s or 5m)"),
        ("policies: [{backlog: -1}]", "policies[0].backlog: expected a number from 0 to 1000000000000000, found -1"),
        ("policies: [{dropped_share: 2}]", "policies[0].dropped_share: expected a number from 0 to 1, found 2"),
        ("policies: [{team: 5}]", "policies[0].team: expected text, in quotes if it looks like a number"),
        (
            "policies: [{team: ' '}]",
            "policies[0].team: expected 1 to 100 characters, not only spaces and without control characters",
        ),
        (
            "policies: [{projects: ['(']}]",
            "policies[0].projects[0]: \"(\" is not a regular expression such as analytics-.*: unclosed group",
        ),
        (
            "policies: [{projects: [a]}, {delay: 5m}, {projects: [b]}]",
            "policies[2]: unreachable: policies[1] has no matcher and applies to every pipeline; move it to the end",
        ),
        (
            "{api: {base_url: 'https://proxy.example/goldrush/'}, poll: {usage: 15m}}",
            "poll.usage: cannot derive the address of the usage from api.base_url (https://proxy.example/goldrush/): expected a path that ends in /pipeline-api/; correct the path, or remove poll.usage",
        ),
        ("poll: {usage: 15}", "poll.usage: 15 has no unit (expected a duration such as 15s or 5m)"),
        (
            "accounts: [{credits_run_out: 0s}]",
            "accounts[0].credits_run_out: must be greater than zero (a duration such as 15s or 5m)",
        ),
        ("accounts: [{expect: [a, ..]}]", "accounts[0].expect[1]: expected a pipeline id of 1 to 256 bytes"),
    ] {
        let error = load("c.yaml", text, &[]).unwrap_err();
        assert!(!error.contains(SECRET), "{error}");
        assert_eq!(error, format!("c.yaml: {message}"), "{text:?}");
    }
    let long = format!("accounts: [{{name: {}}}]", "é".repeat(100));
    assert!(load("c.yaml", &long, &[]).is_ok());
    assert!(load("c.yaml", &long.replace("}]", "é}]"), &[]).is_err());
}

#[test]
fn no_stretching_that_can_be_configured_overflows_a_clock() {
    // More pipelines than fit into memory. Each needs three probes, and in the worst case a page of the list.
    let pipelines = 5e6;
    let required = 3.0 * pipelines / quantities::SHORTEST.as_secs_f64() + pipelines / LONGEST.as_secs_f64();
    let stretch = required / quantities::RATES.start();
    assert!(Instant::now().checked_add(LONGEST.mul_f64(stretch)).is_some(), "{stretch}");
}

#[test]
fn what_is_wrong_in_the_environment_is_named() {
    let text = "poll: {status: 15s}\naccounts: [{name: a, service_key_env: A}]";
    for (env, message) in [
        (
            &[("POLL__STATSU", "5s")][..],
            "POLL__STATSU: poll.statsu: unknown setting (expected discovery, status, metrics, destination_health, transitional, idle, usage, stale_after, requests_per_second, max_in_flight)",
        ),
        (
            &[("POLLS__STATUS", "5s")],
            "POLLS__STATUS: polls: unknown setting (expected api, poll, accounts, policies, metrics, shard, max_pipelines)",
        ),
        (
            &[("POLL___STATUS", "5s")],
            "POLL___STATUS: poll._status: unknown setting (expected discovery, status, metrics, destination_health, transitional, idle, usage, stale_after, requests_per_second, max_in_flight)",
        ),
        (
            &[("POLL_STATUS", "5s")],
            "POLL_STATUS: poll_status: unknown setting (expected api, poll, accounts, policies, metrics, shard, max_pipelines)",
        ),
        (
            &[("POLL__STATUS", "soon")],
            "POLL__STATUS: poll.status: expected a duration such as 15s or 5m, found \"soon\"",
        ),
        (
            &[("POLL__STATUS", "15")],
            "POLL__STATUS: poll.status: \"15\" has no unit (expected a duration such as 15s or 5m)",
        ),
        (
            &[("POLL__STATUS__MAX", "15s")],
            "POLL__STATUS__MAX: poll.status is a single value and has no settings below it",
        ),
        (&[("POLL", "15s")], "POLL: poll: expected a section of settings"),
        (
            &[("POLL__0", "15s")],
            "POLL__0: poll.0: unknown setting (expected discovery, status, metrics, destination_health, transitional, idle, usage, stale_after, requests_per_second, max_in_flight)",
        ),
        (
            &[("MAX_PIPELINES", "ten")],
            "MAX_PIPELINES: max_pipelines: expected a whole number from 1 to 4294967295, found \"ten\"",
        ),
        (
            &[("SHARD__INDEX", "1")],
            "SHARD__INDEX: shard.index: must be below shard.total (1): expected 0 to 0, found 1",
        ),
        (
            &[("ACCOUNTS", "a")],
            "ACCOUNTS: accounts: expected a list (in environment variables, one for each element: …__0, …__1)",
        ),
        (&[("ACCOUNTS__NAME", "a")], "ACCOUNTS__NAME: accounts is a list; name an element by its index, as in …__0"),
        (
            &[("ACCOUNTS__1__NAME", "a"), ("ACCOUNTS__1__SERVICE_KEY_ENV", "B")],
            "ACCOUNTS__1__NAME: accounts[1].name: duplicate account name \"a\" (also accounts[0].name); give each account a different name",
        ),
        (
            &[("ACCOUNTS__1__NAME", "b")],
            "ACCOUNTS__1__NAME: accounts[1]: \"b\" has no ServiceKey; with several accounts, each needs service_key_file or service_key_env",
        ),
        (
            &[("ACCOUNTS__0__SERVICE_KEY", "sk_do_not_show")],
            "ACCOUNTS__0__SERVICE_KEY: accounts[0].service_key: a ServiceKey does not belong in the configuration; set service_key_file to the path of a file that holds it, or service_key_env to the name of an environment variable",
        ),
        (
            &[("ACCOUNTS__0__EXPECT__0", "")],
            "ACCOUNTS__0__EXPECT__0: accounts[0].expect[0]: expected a pipeline id of 1 to 256 bytes",
        ),
        (
            &[("POLL__STATUS", "5s"), ("poll__status", "6s")],
            "poll__status: sets the same as GOLDRUSH_EXPORTER__POLL__STATUS; remove one of them",
        ),
    ] {
        assert_eq!(load("c.yaml", text, &prefixed(env)), Err(format!("GOLDRUSH_EXPORTER__{message}")), "{env:?}");
    }
    // The file stays the origin of its settings, whatever the environment sets next to them.
    let error = load("c.yaml", "poll: {status: 1}", &prefixed(&[("POLL__METRICS", "5s")])).unwrap_err();
    assert!(error.starts_with("c.yaml: poll.status: "), "{error}");
}

#[test]
fn what_is_shown_can_be_loaded_again() {
    let odd = r##"
api: {base_url: "http://api.example/x/pipeline-api", allow_http: true, timeout: 1s 500ms}
poll: {requests_per_second: 0.01, stale_after: 365days, status: 61s, usage: 15m}
accounts:
  - name: "a: \"quoted\" # name é \\ 'x'"
    service_key_file: "relative path/with {odd} characters"
    projects: {include: ["a\\d+", "[x]{2}", "'\"#"], exclude: ["(?i)b.*"]}
    pipelines: {exclude: [""]}
    pipeline_ids: {include: [pipe_.*]}
    expect: ["yes", "1.10", "null"]
    credits_run_out: 3days
  - {name: "2", service_key_env: TWO}
policies:
  - {team: "on: call", projects: [a.*], pipeline_ids: {exclude: ["]"]}, delay: 1m 1ms, dropped_share: 0.5, backlog: 7}
  - {}
shard: {index: 2, total: 7}
max_pipelines: 3"##;
    let unused = "api: {allow_http: true}";
    assert!(yaml(unused).to_yaml().contains("allow_http: true\n"), "although no address needs it");
    for config in [defaults(), yaml(YAML), yaml(odd), yaml(unused)] {
        assert_eq!(yaml(&config.to_yaml()), config, "{}", config.to_yaml());
    }
    assert_eq!(
        defaults().to_yaml(),
        r#"api:
  base_url: "https://api.covalenthq.com/platform/pipeline-api/"
  allow_http: false
  timeout: "10s"
  max_response_bytes: 8388608
poll:
  discovery: "1m"
  status: "15s"
  metrics: "30s"
  destination_health: "30s"
  transitional: "5s"
  idle: "2m"
  usage: null
  stale_after: "5m"
  requests_per_second: 4
  max_in_flight: 8
accounts:
  - name: "default"
    service_key_env: "GOLDRUSH_SERVICE_KEY"
    projects: {include: [], exclude: []}
    pipelines: {include: [], exclude: []}
    pipeline_ids: {include: [], exclude: []}
    expect: []
    credits_run_out: "7days"
policies: []
metrics:
  profile: "full"
  include: []
  exclude: []
  states: "all"
shard:
  index: 0
  total: 1
max_pipelines: 20000
"#
    );
}

#[test]
fn a_filter_must_match_the_whole_text() {
    let filter = |text: &str| yaml(&format!("accounts: [{{projects: {text}}}]")).accounts[0].projects.clone();
    for (lists, wanted, unwanted) in [
        ("{}", &["", "a"][..], &[][..]),
        ("[a]", &["a"], &["ab", ""]),
        ("[]", &["", "a"], &[]),
        ("{include: [a]}", &["a"], &["ab", "ba", "A", "a\n", "\na", ""]),
        ("{include: ['a|ab']}", &["a", "ab"], &["b", "abb"]),
        ("{include: ['(?i)a', 'b.*']}", &["A", "a", "bcd"], &["B", "B.b", "cb"]),
        ("{include: ['(?x) a | ab # either']}", &["a", "ab"], &["b", "abb"]),
        ("{include: ['(?m)a$', '^b']}", &["a", "b"], &["a\nb", "b\na"]),
        ("{exclude: [b.*]}", &["", "ab"], &["b", "bc"]),
        ("{include: ['.*'], exclude: [b]}", &["", "bb"], &["b"]),
    ] {
        let filter = filter(lists);
        assert!(wanted.iter().all(|text| filter.matches(text)), "{lists}");
        assert!(!unwanted.iter().any(|text| filter.matches(text)), "{lists}");
    }
    assert_ne!(filter("{include: [a]}"), filter("{include: [b]}"));
}

#[test]
fn odd_values_cause_warnings() {
    let text = "
api: {base_url: http://api.example/, allow_http: true}
poll: {stale_after: 30s, status: 31s, transitional: 1m, discovery: 29s}";
    assert_eq!(
        yaml(text).warnings(),
        [
            "api.base_url (http://api.example/) is plain http: the network can read the ServiceKey",
            "poll.stale_after (30s) is not longer than poll.status (31s): its readings will come and go",
            "poll.stale_after (30s) is not longer than poll.metrics (30s): its readings will come and go",
            "poll.stale_after (30s) is not longer than poll.destination_health (30s): its readings will come and go",
            "poll.transitional (1m) is longer than poll.status (31s): \
             a pipeline that is DEPLOYING or STOPPING will be polled less often than others",
        ]
    );
}

#[test]
fn the_first_policy_that_matches_applies() {
    let text = "
policies:
  - {projects: [analytics-.*], team: data, delay: 10m, dropped_share: 0}
  - {pipelines: {exclude: [test .*]}, pipeline_ids: [pipe_1], backlog: 5}
  - {stalled: 1h, deployment: }";
    // An empty setting is not a value.
    assert!(load("c.yaml", text, &[]).unwrap_err().ends_with("found nothing"));
    let policies = yaml(&text.replace(", deployment: ", "")).policies;
    let first = |project: &str, pipeline: &str, id: &str| {
        let id = PipelineId::new(id).unwrap();
        policies.iter().position(|policy| policy.matches(project, pipeline, &id))
    };
    assert_eq!(first("analytics-eu", "p", "pipe_1"), Some(0));
    assert_eq!(first("other", "p", "pipe_1"), Some(1));
    assert_eq!(first("other", "test p", "pipe_1"), Some(2));
    assert_eq!(first("other", "p", "pipe_2"), Some(2));
    assert_eq!(policies[0].team.as_deref(), Some("data"));
    let defaults = Thresholds::default();
    let changed = |index: usize| {
        let thresholds = policies[index].effective_thresholds();
        let all = Threshold::ALL.iter().filter(|threshold| thresholds[**threshold] != defaults[**threshold]);
        all.map(|threshold| (*threshold, thresholds[*threshold])).collect::<Vec<_>>()
    };
    assert_eq!(changed(0), [(Threshold::Delay, 600.0), (Threshold::DroppedShare, 0.0)]);
    assert_eq!(changed(1), [(Threshold::Backlog, 5.0)]);
    assert_eq!(changed(2), [(Threshold::Stalled, 3600.0)]);
    // The documented defaults.
    let seconds = [Threshold::Delay, Threshold::DelayCritical, Threshold::Stalled, Threshold::NoProgress];
    assert_eq!(seconds.map(|threshold| defaults[threshold]), [300.0, 1800.0, 600.0, 1800.0]);
    let others = [Threshold::DestinationCheckAge, Threshold::Deployment, Threshold::Backlog, Threshold::DroppedShare];
    assert_eq!(others.map(|threshold| defaults[threshold]), [900.0, 900.0, 25_000.0, 0.001]);
}

#[test]
fn policies_can_be_set_by_variables() {
    let env = prefixed(&[
        ("POLICIES__0__PROJECTS__0", "a.*"),
        ("POLICIES__0__TEAM", "data"),
        ("POLICIES__0__DELAY", "10m"),
        ("POLICIES__1__BACKLOG", "5"),
    ]);
    let text = "policies: [{projects: [a.*], team: data, delay: 10m}, {backlog: 5}]";
    assert_eq!(Config::load(None, &env).unwrap(), yaml(text));
}

#[test]
fn a_critical_delay_below_the_delay_causes_a_warning() {
    assert_eq!(
        yaml("policies: [{delay: 1h}]").warnings(),
        ["policies[0]: delay_critical (1800s) is shorter than delay (3600s): a pipeline that lags is critical at once"]
    );
    assert_eq!(yaml("policies: [{delay: 1h, delay_critical: 1h}]").warnings(), Vec::<String>::new());
}

proptest! {
    #[test]
    fn any_text_is_printed_such_that_it_loads_again(
        text in "([\\PC]|[-:{}\\[\\]#&*!|>'\"%@`, 0-9eExon.~_+]|true|null|\\.inf){1,20}",
        seconds in 1..10_000_000_u32,
        nanos in 0..1_000_000_000_u32,
        number in 0.0..1.0,
    ) {
        prop_assume!(account::check_label(&text).is_ok());
        let mut config = defaults();
        config.accounts[0].name = text.clone();
        // With a folder: a bare name may look like a ServiceKey, which is refused.
        config.accounts[0].key = KeySource::File(format!("./{text}").into());
        config.poll.requests_per_second = number + 0.01;
        config.poll.stale_after = Duration::new(seconds.into(), nanos);
        let thresholds = [
            (Threshold::Delay, config.poll.stale_after.as_secs_f64()),
            (Threshold::DroppedShare, number),
        ];
        config.policies = vec![Policy { team: Some(text), thresholds: thresholds.into(), ..Policy::default() }];
        let printed = config.to_yaml();
        prop_assert_eq!(load("c.yaml", &printed, &[]), Ok(config), "{}", printed);
    }
}
