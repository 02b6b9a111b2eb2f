//! Commands, flags and exit statuses.

use std::io::Write as _;

use crate::common::{self, Api, Exporter, KEY, environment, run};
use goldrush_exporter::exposition::FAMILIES;
use goldrush_exporter::simulator::{Endpoint, Fault, FaultMatcher, Options};

fn list_fault(api: &Api, fault: Fault) {
    api.simulator.set_fault(FaultMatcher { endpoint: Some(Endpoint::List), pipeline: None }, Some(fault));
}

/// `check` and `once` end alike.
#[track_caller]
fn both_end_with(environment: &[(String, String)], status: i32, said: &str) {
    for command in ["check", "once"] {
        let ended = run(&[command], environment);
        assert_eq!(ended.status, Some(status), "{command}: {}{}", ended.stdout, ended.stderr);
        let text = format!("{}{}", ended.stdout, ended.stderr);
        assert!(text.contains(said), "{command}: {text}");
        assert!(!text.contains("canary"), "{command}: {text}");
    }
}

#[test]
fn fine_is_0_and_once_prints_every_pipeline() {
    let api = Api::healthy(120);
    let ended = run(&["check"], &api.environment());
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let said = "account \"default\": ok, 120 pipelines listed (key from environment variable GOLDRUSH_SERVICE_KEY)\n";
    assert_eq!(ended.stdout, said);
    let ended = run(&["once"], &api.environment());
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let exposition = common::Exposition(ended.stdout);
    for probe in ["status", "metrics", "destination_health"] {
        let successes = exposition.values("goldrush_pipeline_probe_success", &[&format!("probe=\"{probe}\"")]);
        assert_eq!(successes, [1.0; 120], "{probe}");
    }
    // node_exporter has metrics of its own process, and reports an error for a second set.
    for (name, _) in exposition.samples() {
        assert!(name.starts_with("goldrush_") && !name.starts_with("goldrush_exporter_"), "{name}");
    }
}

#[test]
fn usage_is_said_and_one_that_is_not_offered_changes_no_exit_status() {
    let api = Api::healthy(1);
    let mut environment = api.environment();
    environment.push(("GOLDRUSH_EXPORTER__POLL__USAGE".to_owned(), "15m".to_owned()));
    let both = || ["check", "once"].map(|command| run(&[command], &environment));
    let [check, once] = both();
    assert!(check.stdout.contains("ok, 1 pipelines listed, 1200"), "{}", check.stdout);
    assert!(check.stdout.contains(" of 350000 credits used (key from"), "{}", check.stdout);
    assert!(once.stdout.contains("goldrush_usage_credits_limit{account=\"default\"} 300000\n"), "{}", once.stdout);
    api.simulator.update_group(0, |group| group.offers_usage = false);
    let [check, once] = both();
    assert_eq!([check.status, once.status], [Some(0); 2]);
    let said = "ok, 1 pipelines listed, no usage of credits: the API returned 404: usage is not offered to this key";
    assert!(check.stdout.contains(said), "{}", check.stdout);
    assert!(once.stdout.contains("goldrush_usage_probe_success{account=\"default\"} 0\n"), "{}", once.stdout);
}

#[test]
fn once_replaces_a_file_as_a_whole() {
    use std::os::unix::fs::PermissionsExt as _;

    let api = Api::healthy(3);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("goldrush.prom");
    let once = |file: &std::path::Path| run(&["once", "--output", file.to_str().unwrap()], &api.environment());
    // Readers of the old content keep it: the file is not overwritten in place.
    std::fs::write(&file, "old\n").unwrap();
    let mut old = std::fs::File::open(&file).unwrap();
    let ended = once(&file);
    assert_eq!((ended.status, ended.stdout.as_str()), (Some(0), ""), "{}", ended.stderr);
    assert_eq!(std::io::read_to_string(&mut old).unwrap(), "old\n");
    let exposition = common::Exposition(std::fs::read_to_string(&file).unwrap());
    assert_eq!(exposition.values("goldrush_pipeline_probe_success", &[]), [1.0; 9]);
    assert!(exposition.0.ends_with('\n'));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);

    // What is known of an account that fails is written as well.
    api.simulator.revoke_key(KEY);
    assert_eq!(once(&file).status, Some(3));
    let exposition = common::Exposition(std::fs::read_to_string(&file).unwrap());
    assert_eq!(exposition.value("goldrush_auth_unauthorized{account=\"default\"}"), Some(1.0));

    for missing in [folder.path().join("no/such/folder.prom"), folder.path().to_owned()] {
        let ended = once(&missing);
        assert_eq!(ended.status, Some(1), "{}", ended.stderr);
        assert!(ended.stderr.contains(&format!("cannot write {} (--output): ", missing.display())), "{}", ended.stderr);
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["goldrush.prom"], "nothing is left behind");
}

#[test]
fn once_is_one_full_poll_whatever_becomes_of_the_list_meanwhile() {
    let api = Api::start(Options { pipelines: 60, groups: 1, service_key: KEY.to_owned(), ..Options::default() });
    let mut settings = api.environment();
    settings.extend(environment(&[
        ("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "100ms"),
        ("GOLDRUSH_EXPORTER__POLL__REQUESTS_PER_SECOND", "100"),
    ]));
    let once = std::thread::spawn(move || run(&["once"], &settings));
    common::eventually("the list", || api.simulator.request_counts().list > 0);
    list_fault(&api, Fault::Answer { status: 502, headers: vec![], body: Vec::new() });
    let ended = once.join().unwrap();
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    let exposition = common::Exposition(ended.stdout);
    assert_eq!(exposition.values("goldrush_pipeline_probe_success", &[]), [1.0; 180]);
}

#[test]
fn a_key_that_is_revoked_in_the_midst_of_once_is_3() {
    // Requests are still under way when the first pause after a refusal is over.
    let latency = std::time::Duration::from_millis(1_500);
    let service_key = KEY.to_owned();
    let api = Api::start(Options { pipelines: 20, groups: 1, latency, service_key, ..Options::default() });
    let mut settings = api.environment();
    settings.extend(environment(&[("GOLDRUSH_EXPORTER__POLL__REQUESTS_PER_SECOND", "4")]));
    let once = std::thread::spawn(move || run(&["once"], &settings));
    common::eventually("probes", || api.simulator.request_counts().status > 0);
    api.simulator.revoke_key(KEY);
    let ended = once.join().unwrap();
    assert_eq!(ended.status, Some(3), "{}", ended.stderr);
}

#[test]
fn no_key_and_wrong_configuration_are_2() {
    both_end_with(&[], 2, "environment variable GOLDRUSH_SERVICE_KEY is not set");
    let unknown = environment(&[("GOLDRUSH_EXPORTER__POLL__STATSU", "5s"), ("GOLDRUSH_SERVICE_KEY", KEY)]);
    both_end_with(&unknown, 2, "poll.statsu: unknown setting");
    let ended = run(&["--web.listen-address", "127.0.0.1:0"], &unknown);
    assert_eq!(ended.status, Some(2), "serving refuses it as well");
    assert_eq!(run(&["--no-such-flag"], &[]).status, Some(2));
    for address in ["nope", ":", "127.0.0.1:http"] {
        let ended =
            run(&["--config.check", "--web.listen-address", address], &environment(&[("GOLDRUSH_SERVICE_KEY", KEY)]));
        assert_eq!((ended.status, ended.stderr.contains("host:port")), (Some(2), true), "{address}: {}", ended.stderr);
    }
    let ended = run(&["demo", "--config.file", "/no/such/file.yml"], &[]);
    assert_eq!((ended.status, ended.stderr.contains("leave out --config.file")), (Some(2), true), "{}", ended.stderr);
    assert_eq!(run(&["--config.file", "/no/such/file.yml", "--config.check"], &[]).status, Some(2));
    let spaced = environment(&[("GOLDRUSH_SERVICE_KEY", "two canary-words")]);
    both_end_with(&spaced, 2, "contains white space");
    let ended = run(&["--web.listen-address", "127.0.0.1:0"], &spaced);
    assert_eq!(ended.status, Some(2));
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains("canary"));
}

#[test]
fn a_revoked_key_is_3() {
    let api = Api::healthy(2);
    api.simulator.revoke_key(KEY);
    both_end_with(&api.environment(), 3, "the API returned 401");
}

#[test]
fn an_api_key_that_is_no_service_key_is_4() {
    let api = Api::healthy(2);
    api.simulator.add_read_only_key("read_only");
    let mut settings = api.environment();
    settings.push(("GOLDRUSH_SERVICE_KEY".to_owned(), "read_only".to_owned()));
    both_end_with(&settings, 4, "replace it with a ServiceKey (error_message: This credential is not a ServiceKey)");
    list_fault(&api, Fault::Answer { status: 404, headers: vec![], body: Vec::new() });
    both_end_with(&settings, 6, "check api.base_url");
}

#[test]
fn an_api_that_cannot_be_reached_is_5() {
    let api = Api::healthy(1);
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut settings = api.environment();
    settings.push(("GOLDRUSH_EXPORTER__API__BASE_URL".to_owned(), format!("http://{free}/")));
    both_end_with(&settings, 5, "cannot connect to the host of api.base_url");
    let mut settings = api.environment();
    settings.push(("GOLDRUSH_EXPORTER__API__TIMEOUT".to_owned(), "300ms".to_owned()));
    list_fault(&api, Fault::Hang);
    both_end_with(&settings, 5, "timed out after 300ms (api.timeout)");
}

#[test]
fn an_unreadable_answer_is_6() {
    let api = Api::healthy(1);
    let html = b"<html>".to_vec();
    list_fault(&api, Fault::Answer { status: 200, headers: vec![], body: html.clone() });
    both_end_with(&api.environment(), 6, "something between the exporter and GoldRush responded 200");
    list_fault(&api, Fault::Answer { status: 200, headers: vec![], body: b"{}".to_vec() });
    both_end_with(&api.environment(), 6, "not what the API documents");
    list_fault(&api, Fault::Answer { status: 502, headers: vec![], body: html });
    both_end_with(&api.environment(), 6, "the API returned 502");
}

#[test]
fn the_lowest_status_of_several_accounts_counts() {
    let api = Api::healthy(1);
    api.simulator.add_read_only_key("read_only");
    let mut settings = api.environment();
    settings.extend(environment(&[
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__NAME", "a"),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_ENV", "KEY_A"),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__1__NAME", "b"),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__1__SERVICE_KEY_ENV", "KEY_B"),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__2__NAME", "c"),
        ("GOLDRUSH_EXPORTER__ACCOUNTS__2__SERVICE_KEY_ENV", "GOLDRUSH_SERVICE_KEY"),
        ("KEY_A", "read_only"),
        ("KEY_B", "no_such_key"),
    ]));
    both_end_with(&settings, 3, "account \"a\": the API returned 403");
}

#[test]
fn config_check_prints_the_settings_and_no_key() {
    let ended = run(&["--config.check"], &environment(&[("GOLDRUSH_SERVICE_KEY", KEY)]));
    assert_eq!(ended.status, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.contains("requests_per_second: 4\n") && ended.stdout.contains("GOLDRUSH_SERVICE_KEY"));
    assert!(!ended.stdout.contains(KEY));
    let ended = run(&["--config.check"], &[]);
    assert_eq!(ended.status, Some(2), "a key that is missing is an error of the configuration");
    assert!(ended.stderr.contains("GOLDRUSH_SERVICE_KEY is not set"), "{}", ended.stderr);
}

#[test]
fn a_byte_order_mark_does_not_matter() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, content: &str| {
        std::fs::write(folder.path().join(name), format!("\u{feff}{content}")).unwrap();
        folder.path().join(name).to_str().unwrap().to_owned()
    };
    let key = write("key", KEY);
    let web = write("web.yml", "rate_limit: {interval: 1s, burst: 5}\n");
    for (name, content) in [
        ("c.yml", format!("accounts: [{{service_key_file: '{key}'}}]\n")),
        ("c.toml", "max_pipelines = 7\n".to_owned()),
    ] {
        let config = write(name, &content);
        let arguments = ["--config.check", "--config.file", &config, "--web.config.file", &web];
        let ended = run(&arguments, &environment(&[("GOLDRUSH_SERVICE_KEY", KEY)]));
        assert_eq!((ended.status, ended.stderr.as_str()), (Some(0), ""), "{name}");
    }
}

#[test]
fn help_and_version_are_there() {
    let help = run(&["--help"], &[]).stdout;
    for flag in [
        "--config.file",
        "--config.check",
        "--web.listen-address",
        "--web.telemetry-path",
        "--web.enable-lifecycle",
        "--log.level",
        "--log.format",
    ] {
        assert!(help.contains(flag), "{flag}");
    }
    for command in ["serve", "check", "once", "simulate", "demo"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
    }
    assert!(run(&["--version"], &[]).stdout.contains("(revision: "));
}

#[test]
fn a_port_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = run(&["--web.listen-address", &address], &environment(&[("GOLDRUSH_SERVICE_KEY", KEY)]));
    assert_eq!(ended.status, Some(1));
    assert!(ended.stderr.contains(&format!("cannot listen on {address} (--web.listen-address)")), "{}", ended.stderr);
    let ended = run(&["simulate", "--simulator.listen-address", &address], &[]);
    let said = format!("cannot listen on {address} (--simulator.listen-address)");
    assert_eq!((ended.status, ended.stderr.contains(&said)), (Some(1), true), "{}", ended.stderr);
}

#[test]
fn the_demo_shows_every_family_and_says_where_to_look() {
    let exporter = Exporter::start(&["demo"], &[]);
    exporter.until("every family", |exposition| {
        let own =
            ["goldrush_exporter_build_info", "goldrush_exporter_render_duration_seconds", "process_cpu_seconds_total"];
        let names = FAMILIES.iter().map(|family| family.name).chain(own);
        names.into_iter().all(|name| exposition.0.contains(&format!("# TYPE {name} ")))
    });
    let exposition = exporter.scrape();
    assert_eq!(exposition.value("goldrush_auth_unauthorized{account=\"legacy\"}"), Some(1.0));
    assert!(exporter.get("/").text().contains("href=\"./metrics\""));
    exporter.stdout.line("scrape_configs:");
    exporter.stdout.line(&format!("http://{}/metrics", exporter.address));
}

#[test]
fn the_simulation_is_for_this_machine_only() {
    let ended = run(&["simulate", "--simulator.listen-address", "0.0.0.0:0"], &[]);
    assert_eq!(ended.status, Some(2));
    assert!(ended.stderr.contains("is not loopback"));
}

#[test]
fn the_simulation_says_how_to_poll_it() {
    let mut child = common::command(&["simulate", "--simulator.listen-address", "127.0.0.1:0"], &[]).spawn().unwrap();
    let output = common::Output::follow(child.stdout.take().unwrap());
    let line = output.line("GOLDRUSH_EXPORTER__API__BASE_URL=");
    let base_url = line.split("BASE_URL=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let key = output.line("GOLDRUSH_SERVICE_KEY=");
    let key = key.split("SERVICE_KEY=").nth(1).unwrap().split(' ').next().unwrap().to_owned();
    let settings =
        [("GOLDRUSH_EXPORTER__API__BASE_URL".to_owned(), base_url), ("GOLDRUSH_SERVICE_KEY".to_owned(), key)];
    let ended = run(&["check"], &settings);
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(ended.status, Some(0), "{}{}", ended.stdout, ended.stderr);
}

#[test]
fn a_configuration_file_and_two_accounts() {
    let api = Api::start(Options { pipelines: 3, groups: 2, service_key: KEY.to_owned(), ..Options::default() });
    api.simulator.add_service_key("sk_of_the_second_group", 1);
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "sk_of_the_second_group").unwrap();
    let mut file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    write!(
        file,
        "api: {{base_url: '{}'}}\naccounts:\n  - {{name: one, service_key_env: GOLDRUSH_SERVICE_KEY}}\n  \
         - {{name: two, service_key_file: '{}'}}\n",
        api.base_url(),
        key.display()
    )
    .unwrap();
    let exporter = Exporter::start(&["--config.file", file.path().to_str().unwrap()], &api.environment());
    exporter.until_value("goldrush_pipelines{account=\"one\"}", 3.0);
    exporter.until_value("goldrush_pipelines{account=\"two\"}", 3.0);
}
