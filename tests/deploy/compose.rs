//! The Compose file: held against its schema, its mounts looked for, and what it mounts tried by the programs that read it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::common::{self, Api, Exporter, KEY};
use crate::tools::{ROOT, file, program, run, say, yaml};

fn compose() -> Value {
    yaml(&file("deploy/compose/compose.yml")).remove(0)
}

/// The files and folders that a service mounts: where they are here, and where in the container.
fn mounts(service: &Value) -> Vec<(PathBuf, String)> {
    let volumes = service["volumes"].as_array().into_iter().flatten();
    let binds = volumes.map(|volume| volume.as_str().unwrap()).filter(|volume| volume.starts_with('.'));
    binds
        .map(|volume| {
            let parts: Vec<&str> = volume.split(':').collect();
            assert_eq!((parts.len(), parts.get(2)), (3, Some(&"ro")), "{volume} is mounted read-only");
            (Path::new(ROOT).join("deploy/compose").join(parts[0]), parts[1].to_owned())
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
fn the_schema_accepts_it() {
    say("check-jsonschema", &["--builtin-schema", "vendor.compose-spec", "deploy/compose/compose.yml"]);
}

#[test]
fn everything_that_it_mounts_exists_and_everything_that_it_runs_is_pinned_and_confined() {
    let compose = compose();
    let services = compose["services"].as_object().unwrap();
    assert_eq!(services.keys().collect::<Vec<_>>(), ["alertmanager", "demo", "exporter", "grafana", "prometheus"]);
    for (name, service) in services {
        for (here, there) in mounts(service) {
            assert!(here.exists(), "{name} mounts {}, which does not exist, at {there}", here.display());
        }
        let image = service["image"].as_str().unwrap();
        let tag = image.rsplit_once(':').unwrap_or_else(|| panic!("{image} has no tag")).1;
        assert!(tag.trim_start_matches('v').starts_with(|first: char| first.is_ascii_digit()), "{image}");
        assert_eq!((&service["read_only"], &service["cap_drop"][0]), (&true.into(), &"ALL".into()), "{name}");
        for port in service["ports"].as_array().unwrap() {
            assert!(port.as_str().unwrap().starts_with("127.0.0.1:"), "{name} {port}");
        }
    }
    let (_, there) = mounts(&services["grafana"]).remove(1);
    let provider = yaml(&file("dashboards/provisioning/dashboards/goldrush.yml")).remove(0);
    assert_eq!(provider["providers"][0]["options"]["path"], there, "dashboards are where Grafana looks for them");
    let source = yaml(&file("dashboards/provisioning/datasources/prometheus.yml")).remove(0);
    assert_eq!(source["datasources"][0]["url"], "http://prometheus:9090");
}

#[test]
fn the_key_is_the_operators_file_and_stays_out_of_git() {
    let compose = compose();
    assert_eq!(compose["secrets"]["service-key"]["file"], "./service-key");
    assert_eq!(compose["services"]["exporter"]["secrets"][0], "service-key");
    assert!(compose["services"]["demo"]["secrets"].is_null());
    let ignored = run(program("git").args(["check-ignore", "deploy/compose/service-key"]));
    assert_eq!(ignored.stdout, "deploy/compose/service-key\n");
}

#[test]
fn the_override_in_the_readme_mounts_the_secrets_of_the_receivers_and_git_ignores_both() {
    let readme = file("deploy/README.md");
    let text = readme.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("compose.override.yml");
    std::fs::write(&path, text).unwrap();
    say("check-jsonschema", &["--builtin-schema", "vendor.compose-spec", path.to_str().unwrap()]);
    let compose = yaml(text).remove(0);
    let receivers = file("alerts/alertmanager.yml");
    let files = receivers.lines().filter_map(|line| line.split_once("_file: /run/secrets/"));
    let named: BTreeSet<&str> = files.map(|(_, name)| name).collect();
    let mounted = compose["services"]["alertmanager"]["secrets"].as_array().unwrap();
    assert_eq!(mounted.iter().map(|name| name.as_str().unwrap()).collect::<BTreeSet<_>>(), named);
    let secrets = compose["secrets"].as_object().unwrap();
    assert_eq!(secrets.keys().map(String::as_str).collect::<BTreeSet<_>>(), named);
    let sources = secrets.values().map(|secret| secret["file"].as_str().unwrap());
    for source in sources.chain(["./compose.override.yml"]) {
        say("git", &["check-ignore", &format!("deploy/compose/{source}")]);
    }
}

#[test]
fn one_of_live_and_demo_runs_under_the_name_that_prometheus_scrapes() {
    let compose = compose();
    let prometheus = yaml(&file("deploy/compose/prometheus.yml")).remove(0);
    let target = prometheus["scrape_configs"][0]["static_configs"][0]["targets"][0].as_str().unwrap();
    for (service, profile) in [("exporter", "live"), ("demo", "demo")] {
        let service = &compose["services"][service];
        assert_eq!(service["profiles"], serde_json::json!([profile]));
        let alias = service["networks"]["default"]["aliases"][0].as_str().unwrap();
        assert_eq!(target, format!("{alias}:9877"));
    }
    assert!(file("deploy/compose/.env").contains("\nCOMPOSE_PROFILES=live\n"));
    let alertmanager = &prometheus["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"][0];
    assert_eq!(alertmanager, "alertmanager:9093");
}

#[test]
fn prometheus_and_alertmanager_accept_what_is_mounted_into_them() {
    let compose = compose();
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

#[test]
fn the_exporters_of_both_profiles_run_with_their_command_lines() {
    let compose = compose();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let api = Api::healthy(3);
    let service = &compose["services"]["exporter"];
    lay_out(service, folder.path());
    let configuration = format!("{root}/etc/goldrush-exporter/goldrush-exporter.yml");
    let text = std::fs::read_to_string(&configuration).unwrap();
    // Compose mounts the secret there.
    assert_eq!(text.matches("/run/secrets/service-key").count(), 1);
    let key = format!("{root}/service-key");
    std::fs::write(&key, KEY).unwrap();
    std::fs::write(&configuration, text.replace("/run/secrets/service-key", &key)).unwrap();
    let flag = service["command"][0].as_str().unwrap().replace("/etc", &format!("{root}/etc"));
    let mut environment = common::environment(common::FAST);
    environment.push(("GOLDRUSH_EXPORTER__API__BASE_URL".to_owned(), api.base_url()));
    Exporter::start(&[&flag], &environment).until_value("goldrush_up{account=\"default\"}", 1.0);
    let demo = compose["services"]["demo"]["command"][0].as_str().unwrap();
    Exporter::start(&[demo], &[]).until_value("goldrush_up{account=\"prod\"}", 1.0);
}
