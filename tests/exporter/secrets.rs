//! Every byte that the process writes is searched for what must not be in it.

use crate::common::{self, Api, Exporter, KEY, request};
use goldrush_exporter::simulator::{Endpoint, Fault, FaultMatcher, Options, PRIVATE_STRINGS, Scenario};

/// All that can be seen of an exporter from outside.
fn everything(exporter: &Exporter) -> String {
    let openmetrics = request(&exporter.address, "GET", "/metrics", &[("Accept", "application/openmetrics-text")]);
    let paths = ["/", "/api/v1/pipelines", "/metrics", "/-/ready", "/-/healthy", "/nothing"];
    let mut text: String = paths.iter().map(|path| exporter.get(path).text()).collect();
    text.push_str(&openmetrics.text());
    text.push_str(&exporter.stdout.text());
    text.push_str(&exporter.stderr.text());
    text
}

#[track_caller]
fn assert_clean(text: &str) {
    for canary in PRIVATE_STRINGS.iter().copied().chain([KEY, &KEY[..20], "@"]) {
        assert!(!text.contains(canary), "`{canary}` in {}", text.lines().find(|line| line.contains(canary)).unwrap());
    }
}

#[test]
fn nothing_private_gets_out_at_any_log_level_whatever_happens() {
    for format in ["logfmt", "json"] {
        let api = Api::start(Options { pipelines: 6, groups: 1, service_key: KEY.to_owned(), ..Options::default() });
        let mut environment = api.environment();
        environment.push(("GOLDRUSH_EXPORTER__POLL__USAGE".to_owned(), "100ms".to_owned()));
        let exporter = Exporter::start(&["--log.level", "trace", "--log.format", format], &environment);
        exporter.until_value("goldrush_usage_probe_success{account=\"default\"}", 1.0);
        let up = "goldrush_up{account=\"default\"}";
        exporter.until_value(up, 1.0);
        api.simulator.set_scenario(Scenario::DestinationDown);
        exporter
            .until("a destination error", |exposition| exposition.0.contains("goldrush_pipeline_destination_error{"));
        api.simulator.set_scenario(Scenario::FailedPipeline);
        exporter.until("a failed pipeline", |exposition| {
            exposition.values("goldrush_pipeline_phase", &["phase=\"FAILED\""]).contains(&1.0)
        });
        // Bodies that quote what they should not: in an error, in a wrong type, in no JSON at all.
        for (status, body) in [
            (500, format!("<html>{KEY} {}", PRIVATE_STRINGS.join(" "))),
            (200, format!("{{\"data\":{{\"pending_records\":\"{KEY} {}\"}}}}", PRIVATE_STRINGS.join(" "))),
            (
                200,
                format!(
                    "{{\"data\":{{\"by_api_key\":[{{\"apikey\":\"{KEY} {0}\"}}],\"aggregate\":{{\"max_credits\":\"{0}\"}}}}}}",
                    PRIVATE_STRINGS.join(" ")
                ),
            ),
            (
                200,
                format!("{{\"data\":null,\"error\":true,\"error_message\":\"{KEY} {}\"}}", PRIVATE_STRINGS.join(" ")),
            ),
        ] {
            for endpoint in [Endpoint::Metrics, Endpoint::List, Endpoint::Usage] {
                let matcher = || FaultMatcher { endpoint: Some(endpoint), pipeline: None };
                let seen = api.simulator.request_counts().total();
                let fault = Fault::Answer { status, headers: vec![], body: body.clone().into_bytes() };
                api.simulator.set_fault(matcher(), Some(fault));
                exporter.until("failures", |_| api.simulator.request_counts().total() > seen + 100);
                api.simulator.set_fault(matcher(), None);
            }
        }
        exporter.until_value(up, 1.0);
        api.simulator.revoke_key(KEY);
        exporter.until_value("goldrush_auth_unauthorized{account=\"default\"}", 1.0);
        let text = everything(&exporter);
        assert!(text.contains("goldrush_exporter::poller"), "the most talkative level talks");
        assert_clean(&text);
    }
}

#[test]
fn a_key_from_a_file_is_neither_in_the_command_line_nor_in_the_environment() {
    let api = Api::healthy(1);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    std::fs::write(&file, KEY).unwrap();
    let mut environment = api.environment();
    environment.retain(|(name, _)| name != "GOLDRUSH_SERVICE_KEY");
    let name = "GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_FILE".to_owned();
    environment.push((name, file.to_str().unwrap().to_owned()));
    let exporter = Exporter::start(&[], &environment);
    exporter.until_value("goldrush_up{account=\"default\"}", 1.0);
    for place in ["cmdline", "environ"] {
        // Only root may see the environment at all.
        let hidden =
            |error: &std::io::Error| place == "environ" && error.kind() == std::io::ErrorKind::PermissionDenied;
        let bytes = match std::fs::read(format!("/proc/{}/{place}", exporter.pid())) {
            Err(error) if hidden(&error) => continue,
            read => read.unwrap(),
        };
        assert!(!String::from_utf8_lossy(&bytes).contains(KEY), "{place}");
    }
}

#[test]
fn the_process_is_hidden_from_its_own_user_and_leaves_no_core_and_still_sees_itself() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;

    const NOBODY: u32 = 65534;
    let api = Api::healthy(1);
    // Where nobody can execute it.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let program = folder.path().join("goldrush-exporter");
    std::fs::copy(env!("CARGO_BIN_EXE_goldrush-exporter"), &program).unwrap();
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -S -c $(ulimit -H -c); exec \"$0\" \"$@\""]).arg(&program);
    if std::fs::metadata("/proc/self").unwrap().uid() == 0 {
        // What is root's is root's in any case.
        command.uid(NOBODY).gid(NOBODY);
    }
    command.env_clear().env("PATH", "/usr/bin:/bin").envs(api.environment());
    let exporter = Exporter::spawn(command);
    let exposition = exporter.until_value("goldrush_up{account=\"default\"}", 1.0);
    for family in ["process_open_fds", "process_resident_memory_bytes", "process_cpu_seconds_total", "process_max_fds"]
    {
        assert!(exposition.value(family) > Some(0.0), "{family} in\n{}", exposition.0);
    }
    let of_process = |file: &str| format!("/proc/{}/{file}", exporter.pid());
    assert_eq!(std::fs::metadata(of_process("environ")).unwrap().uid(), 0, "the environment is for root only");
    assert_eq!(std::fs::metadata(of_process("mem")).unwrap().uid(), 0, "the memory is for root only");
    let limits = std::fs::read_to_string(of_process("limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().skip(4).collect::<Vec<_>>(), ["0", "0", "bytes"]);
}

#[test]
fn a_key_in_the_wrong_setting_is_refused_and_not_shown() {
    for name in [
        "GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY",
        "GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_ENV",
        "GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_FILE",
        "GOLDRUSH_EXPORTER__SERVICE_KEY",
    ] {
        let ended = common::run(&["--config.check"], &common::environment(&[(name, KEY)]));
        assert_eq!(ended.status, Some(2), "{name}");
        assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(KEY), "{name}: {}", ended.stderr);
    }
}
