//! The Compose files: held against their schema, read by Compose, their mounts looked for, and what they mount tried by the
//! programs that read it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{self, Api, Exporter, KEY};
use crate::tools::{ROOT, TOOLS, file, say, yaml};

/// What Compose makes of compose.yml and, where there is one, an override: paths are absolute, volumes in their long form.
fn compose(live: Option<&str>) -> Value {
    let overriding = tempfile::NamedTempFile::new().unwrap();
    let mut arguments = vec!["--project-directory", "deploy/compose", "--file", "deploy/compose/compose.yml"];
    if let Some(text) = live {
        std::fs::write(overriding.path(), text).unwrap();
        arguments.extend(["--file", overriding.path().to_str().unwrap()]);
    }
    arguments.extend(["config", "--format", "json"]);
    serde_json::from_str(&say(&format!("{ROOT}/{TOOLS}/compose/usr/bin/docker-compose"), &arguments)).unwrap()
}

fn live() -> String {
    file("deploy/compose/compose.live.yml")
}

/// With the receivers of alerts.
fn live_with_receivers() -> String {
    live().lines().map(|line| format!("{}\n", if line.starts_with("#  ") { &line[1..] } else { line })).collect()
}

/// The files and folders that a service mounts: where they are here, and where in the container.
fn mounts(service: &Value) -> Vec<(PathBuf, String)> {
    let volumes = service["volumes"].as_array().into_iter().flatten();
    let binds = volumes.filter(|volume| volume["type"] == "bind");
    binds
        .map(|volume| {
            assert_eq!(volume["read_only"], true, "{volume}");
            let [source, target] = ["source", "target"].map(|end| volume[end].as_str().unwrap());
            (PathBuf::from(source), target.to_owned())
        })
        .collect()
}

/// Lays the mounts of a service below a folder, as they would lie in its container.
fn lay_out(service: &Value, root: &Path) {
    for (here, there) in mounts(service) {
        let target = root.join(there.trim_start_matches('/'));
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        say("cp", &["-r", here.to_str().unwrap(), target.to_str().unwrap()]);
    }
}

#[test]
#[ignore = "needs check-jsonschema"]
fn the_schema_accepts_it() {
    for name in ["compose.yml", "compose.live.yml"] {
        let path = format!("deploy/compose/{name}");
        say("check-jsonschema", &["--builtin-schema", "vendor.compose-spec", &path]);
    }
}

#[test]
#[ignore = "needs docker-compose"]
fn everything_that_it_mounts_exists_and_everything_that_it_runs_is_pinned_and_confined() {
    for live in [None, Some(live()), Some(live_with_receivers())] {
        let compose = compose(live.as_deref());
        let services = compose["services"].as_object().unwrap();
        assert_eq!(services.keys().collect::<Vec<_>>(), ["alertmanager", "exporter", "grafana", "prometheus"]);
        for (name, service) in services {
            for (here, there) in mounts(service) {
                assert!(here.exists(), "{name} mounts {}, which does not exist, at {there}", here.display());
            }
            let image = service["image"].as_str().unwrap();
            let tag = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag")).1;
            assert!(tag.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit()), "{image}");
            assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&true.into(), &"ALL".into()), "{name}");
            for port in service["ports"].as_array().unwrap() {
                assert_eq!(port["host_ip"], "127.0.0.1", "{name} {port}");
            }
        }
        let mounted = mounts(&services["grafana"]);
        let provider = yaml(&file("dashboards/provisioning/dashboards/goldrush.yml")).remove(0);
        let folder = provider["providers"][0]["options"]["path"].as_str().unwrap();
        assert!(mounted.iter().any(|(_, there)| there == folder), "dashboards are where Grafana looks for them");
        let source = yaml(&file("dashboards/provisioning/datasources/prometheus.yml")).remove(0);
        assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
    }
}

/// A newcomer has no key, and no receivers of alerts.
#[test]
#[ignore = "needs docker-compose"]
fn without_a_key_there_is_something_to_see() {
    let compose = compose(None);
    assert_eq!(compose["services"]["exporter"]["command"], serde_json::json!(["demo"]));
    assert!(compose["secrets"].is_null(), "nothing has to be laid ready");
    let (mounted, _) = mounts(&compose["services"]["alertmanager"]).remove(0);
    let alertmanager = std::fs::read_to_string(mounted).unwrap();
    assert!(!alertmanager.contains("/run/secrets"), "it needs no secret either");
}

#[test]
#[ignore = "needs docker-compose"]
fn the_key_is_the_operators_file_and_stays_out_of_git() {
    let compose = compose(Some(&live()));
    let secrets = compose["secrets"].as_object().unwrap();
    assert_eq!(secrets.keys().collect::<Vec<_>>(), ["service-key"]);
    let source = secrets["service-key"]["file"].as_str().unwrap();
    assert_eq!(compose["services"]["exporter"]["secrets"][0]["source"], "service-key");
    for (ignored, path) in [(source, "service-key"), ("deploy/compose/compose.override.yml", "compose.override.yml")] {
        assert!(ignored.ends_with(path), "{ignored}");
        say("git", &["check-ignore", ignored]);
    }
    for line in live().lines().filter_map(|line| line.strip_prefix("# $ cp ")) {
        assert_eq!(line, "compose.live.yml compose.override.yml");
    }
}

#[test]
#[ignore = "needs docker-compose"]
fn the_secrets_of_the_receivers_are_those_that_alertmanager_names() {
    let compose = compose(Some(&live_with_receivers()));
    let receivers = file("alerts/alertmanager.yml");
    let files = receivers.lines().filter_map(|line| line.split_once("_file: /run/secrets/"));
    let named: BTreeSet<&str> = files.map(|(_, name)| name).collect();
    let service = &compose["services"]["alertmanager"];
    let mounted = service["secrets"].as_array().unwrap().iter().map(|secret| secret["source"].as_str().unwrap());
    assert_eq!(mounted.collect::<BTreeSet<_>>(), named);
    for name in named {
        say("git", &["check-ignore", compose["secrets"][name]["file"].as_str().unwrap()]);
    }
    let configuration = Path::new(ROOT).join("alerts/alertmanager.yml");
    assert_eq!(mounts(service), [(configuration, "/etc/alertmanager/alertmanager.yml".to_owned())]);
}

/// One service, so that one takes the place of the other.
#[test]
#[ignore = "needs docker-compose"]
fn the_demo_and_the_live_exporter_run_under_the_name_that_prometheus_scrapes() {
    let prometheus = yaml(&file("deploy/compose/prometheus.yml")).remove(0);
    let target = prometheus["scrape_configs"][0]["static_configs"][0]["targets"][0].as_str().unwrap();
    for live in [None, Some(live())] {
        let compose = compose(live.as_deref());
        let alias = compose["services"]["exporter"]["networks"]["default"]["aliases"][0].as_str().unwrap();
        assert_eq!(target, format!("{alias}:9877"));
    }
    let alertmanager = &prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0];
    assert_eq!(alertmanager, "alertmanager:9093");
}

#[test]
#[ignore = "needs docker-compose, promtool and amtool"]
fn prometheus_and_alertmanager_accept_what_is_mounted_into_them() {
    for live in [None, Some(live_with_receivers())] {
        let compose = compose(live.as_deref());
        let folder = tempfile::tempdir().unwrap();
        for (service, tool, command) in
            [("prometheus", "promtool", &["check", "config"][..]), ("alertmanager", "amtool", &["check-config"])]
        {
            let service = &compose["services"][service];
            lay_out(service, folder.path());
            let flag = service["command"][0].as_str().unwrap().strip_prefix("--config.file=/").unwrap();
            let configuration = folder.path().join(flag);
            let said = say(tool, &[command, &[configuration.to_str().unwrap()]].concat());
            assert!(said.contains("SUCCESS"), "{said}");
        }
    }
}

#[test]
#[ignore = "needs docker-compose"]
fn the_exporters_run_with_their_command_lines() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let api = Api::healthy(3);
    let service = &compose(Some(&live()))["services"]["exporter"];
    lay_out(service, folder.path());
    let configuration = format!("{root}/etc/goldrush-exporter/goldrush-exporter.yml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    // Compose mounts the secret there.
    let secret = service["secrets"][0]["target"].as_str().unwrap();
    assert_eq!(text.matches(secret).count(), 1, "{secret}");
    let key = format!("{root}/service-key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::write(&configuration, text.replace(secret, &key)).unwrap();
    let flag = service["command"][0].as_str().unwrap().replace("/etc", &format!("{root}/etc"));
    let mut environment = common::environment(common::FAST);
    environment.push(("GOLDRUSH_EXPORTER__API__BASE_URL".to_owned(), api.base_url()));
    Exporter::start(&[&flag], &environment).until_value("goldrush_up{account=\"default\"}", 1.0);
    let demo = &compose(None)["services"]["exporter"]["command"][0];
    Exporter::start(&[demo.as_str().unwrap()], &[]).until_value("goldrush_up{account=\"prod\"}", 1.0);
}
