//! The unit in systemd's own hands, and the Debian package that brings it.

use std::path::Path;
use std::process::Command;

use crate::common::{Api, Exporter, KEY};
use crate::tools::{ROOT, dead_links, file, pages, program, released, run, say};

const UNIT: &str = "deploy/systemd/goldrush-exporter.service";

#[test]
#[ignore = "needs systemd"]
fn systemd_finds_nothing_wrong_with_the_unit() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("goldrush-exporter.service");
    // The program is at another place here; that it is there is part of the check.
    let text = std::fs::read_to_string(Path::new(ROOT).join(UNIT)).unwrap();
    assert_eq!(text.matches("/usr/bin/goldrush-exporter ").count(), 1);
    let text = text.replace("/usr/bin/goldrush-exporter ", concat!(env!("CARGO_BIN_EXE_goldrush-exporter"), " "));
    std::fs::write(&unit, text).unwrap();
    let said = run(program("systemd-analyze").args(["verify", "--man=no", unit.to_str().unwrap()]));
    // A key that systemd does not know is only printed.
    let ours: Vec<&str> = said.stderr.lines().filter(|line| line.contains("goldrush")).collect();
    assert!(said.success && ours.is_empty(), "{}", said.stderr);
}

#[test]
#[ignore = "needs systemd"]
fn the_unit_leaves_little_to_whoever_breaks_in() {
    let said = say("systemd-analyze", &["security", "--offline=true", "--no-pager", UNIT]);
    let line = said.lines().find(|line| line.contains("Overall exposure level")).unwrap();
    let level: f64 = line.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(level <= 1.5, "{line}");
}

#[test]
#[ignore = "needs systemd"]
fn the_unit_hands_over_the_key_and_waits_for_the_exporter() {
    let unit = std::fs::read_to_string(Path::new(ROOT).join(UNIT)).unwrap();
    let configuration = std::fs::read_to_string(Path::new(ROOT).join("deploy/systemd/goldrush-exporter.yml")).unwrap();
    for line in [
        "Type=notify",
        "LoadCredential=service-key:/etc/goldrush-exporter/service-key",
        "DynamicUser=yes",
        "AssertPathExists=/etc/goldrush-exporter/service-key",
        "WatchdogSec=30s",
        "Restart=always",
    ] {
        assert!(unit.lines().any(|there| there == line), "{line}");
    }
    // Where systemd puts it.
    let file = "service_key_file: /run/credentials/goldrush-exporter.service/service-key";
    assert!(configuration.contains(file));
}

#[test]
#[ignore = "needs systemd"]
fn a_new_key_can_be_checked_before_the_service_has_it() {
    let readme = file("deploy/README.md");
    let line = readme.lines().find_map(|line| line.strip_prefix("sudo env ")).unwrap();
    // What it names lies elsewhere here.
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("service-key");
    let line = line.replace("=/etc/goldrush-exporter/service-key", &format!("={}", key.display()));
    let line = line.replace("/etc/goldrush-exporter/goldrush-exporter.yml", "deploy/systemd/goldrush-exporter.yml");
    let line = line.replace(" goldrush-exporter ", concat!(" ", env!("CARGO_BIN_EXE_goldrush-exporter"), " "));
    let api = Api::healthy(3);
    let check = |content: &str| {
        std::fs::write(&key, content).unwrap();
        let mut command = program("env");
        command.args(line.split(' ')).env("GOLDRUSH_EXPORTER__API__BASE_URL", api.base_url());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (status, said) = check(KEY);
    assert!(status == Some(0) && said.contains("3 pipelines"), "{status:?} {said}");
    let (status, said) = check("sk_revoked");
    assert!(status == Some(3), "{status:?} {said}");
}

#[test]
#[ignore = "needs systemd"]
fn the_package_holds_program_unit_configuration_and_licence() {
    let deb = released("_amd64.deb");
    let deb = deb.to_str().unwrap();
    let listed = say("dpkg-deb", &["--contents", deb]);
    let contents: Vec<(&str, &str)> = listed
        .lines()
        .map(|line| (line.split(' ').next().unwrap(), line.split(" ./").nth(1).unwrap_or_default()))
        .collect();
    for file in [
        ("-rwxr-xr-x", "usr/bin/goldrush-exporter"),
        ("-rw-r--r--", "usr/lib/systemd/system/goldrush-exporter.service"),
        ("-rw-r--r--", "etc/goldrush-exporter/goldrush-exporter.yml"),
        ("-rw-r--r--", "etc/default/goldrush-exporter"),
        ("-rw-r--r--", "usr/share/doc/goldrush-exporter/copyright"),
        ("-rw-r--r--", "usr/share/doc/goldrush-exporter/README.md"),
        ("-rw-r--r--", "usr/share/man/man1/goldrush-exporter.1.gz"),
        ("-rw-r--r--", "usr/share/man/man1/goldrush-exporter-check.1.gz"),
        ("-rw-r--r--", "usr/share/bash-completion/completions/goldrush-exporter"),
        ("-rw-r--r--", "usr/share/doc/goldrush-exporter/examples/alerts/goldrush.rules.yml"),
        ("-rw-r--r--", "usr/share/doc/goldrush-exporter/examples/dashboards/provisioning/dashboards/goldrush.yml"),
        ("lrwxrwxrwx", "usr/share/doc/goldrush-exporter/alerts -> examples/alerts"),
    ] {
        assert!(contents.contains(&file), "{file:?} in\n{listed}");
    }
    let version = env!("CARGO_PKG_VERSION");
    let field = |name: &str| say("dpkg-deb", &["--field", deb, name]).trim().to_owned();
    assert_eq!((field("Package").as_str(), field("Architecture").as_str()), ("goldrush-exporter", "amd64"));
    assert!(field("Version").starts_with(version), "{}", field("Version"));
    assert_eq!(field("Depends"), "ca-certificates", "the program is static");
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().to_str().unwrap();
    say("dpkg-deb", &["--control", deb, control]);
    let conffiles = std::fs::read_to_string(folder.path().join("conffiles")).unwrap();
    let mut conffiles: Vec<&str> = conffiles.lines().collect();
    conffiles.sort_unstable();
    assert_eq!(conffiles, ["/etc/default/goldrush-exporter", "/etc/goldrush-exporter/goldrush-exporter.yml"]);
    for script in ["postinst", "prerm", "postrm"] {
        say("sh", &["-n", &format!("{control}/{script}")]);
    }
}

#[test]
#[ignore = "needs systemd"]
fn a_service_that_does_not_start_does_not_stop_dpkg() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    // A system with systemd, on which every command fails; as dpkg sees it.
    std::fs::create_dir_all(root.join("run/systemd/system")).unwrap();
    for name in ["systemctl", "deb-systemd-invoke"] {
        let path = root.join(name);
        std::fs::write(&path, format!("#!/bin/sh\necho {name} \"$@\" >>'{}/calls'\nexit 1\n", root.display())).unwrap();
        say("chmod", &["755", path.to_str().unwrap()]);
    }
    let calls = |script: &str, arguments: &[&str]| {
        let _ = std::fs::remove_file(root.join("calls"));
        let mut command = Command::new("/bin/sh");
        command.arg(format!("{ROOT}/deploy/packages/deb/{script}")).args(arguments);
        let said = run(command.env("PATH", root).env("DPKG_ROOT", root));
        assert!(said.success, "{script} {arguments:?}: {}", said.stderr);
        std::fs::read_to_string(root.join("calls")).unwrap_or_default()
    };
    let restart = "deb-systemd-invoke try-restart goldrush-exporter.service\n";
    assert_eq!(calls("postinst", &["configure", "0.0.9-1"]), format!("systemctl --system daemon-reload\n{restart}"));
    // It has no ServiceKey yet.
    assert_eq!(calls("postinst", &["configure", ""]), "systemctl --system daemon-reload\n");
    assert_eq!(calls("prerm", &["remove"]), "deb-systemd-invoke stop goldrush-exporter.service\n");
    assert_eq!(calls("prerm", &["upgrade", "0.2.0-1"]), "");
    assert_eq!(calls("postrm", &["remove"]), "systemctl --system daemon-reload\n");
}

/// It takes about a minute the first time, half of it to lay out a Debian.
#[test]
#[ignore = "needs systemd"]
fn the_package_works_under_a_systemd_that_is_pid_1() {
    let said = run(program("tests/deploy/boot").arg(released("_amd64.deb")));
    assert!(said.success && said.stdout.ends_with("boot: done\n"), "{}{}", said.stdout, said.stderr);
}

#[test]
#[ignore = "needs systemd"]
fn the_package_can_be_installed_removed_and_its_program_runs() {
    let deb = released("_amd64.deb");
    let root = tempfile::tempdir().unwrap();
    let root = root.path().to_str().unwrap();
    // dpkg into an empty system. Its scripts are run outside of it and look below DPKG_ROOT: they find no systemd there.
    let admin = format!("{root}/var/lib/dpkg");
    for folder in ["updates", "info", "triggers"] {
        std::fs::create_dir_all(format!("{admin}/{folder}")).unwrap();
    }
    for file in ["status", "available"] {
        std::fs::write(format!("{admin}/{file}"), "").unwrap();
    }
    let dpkg = |arguments: &[&str]| {
        let options = ["--root", root, "--force-not-root,script-chrootless,architecture,depends", "--log=/dev/null"];
        let said = run(program("dpkg").args(options).args(arguments));
        assert!(said.success, "{arguments:?}: {}{}", said.stdout, said.stderr);
    };
    dpkg(&["--install", deb.to_str().unwrap()]);
    let documentation = format!("{root}/usr/share/doc/goldrush-exporter");
    for page in ["README.md", "dashboards/README.md"].map(str::to_owned).into_iter().chain(pages()) {
        assert_eq!(dead_links(Path::new(&documentation), &page), Vec::<String>::new(), "{page}");
    }
    // The folders beside it are not in the package, and it says so.
    let folders = [
        "docker",
        "compose",
        "systemd",
        "packages",
        "kubernetes",
        "helm/goldrush-exporter",
        "release",
        "helm/goldrush-exporter/README.md",
        "../.github/SECURITY.md",
    ];
    assert_eq!(dead_links(Path::new(&documentation), "deploy/README.md"), folders);
    let program = format!("{root}/usr/bin/goldrush-exporter");
    let mut command = Command::new(&program);
    command.arg("demo").env_clear().stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    Exporter::spawn(command).until("the demo's pipelines", |exposition| {
        !exposition.values("goldrush_pipeline_phase", &["account=\"prod\""]).is_empty()
    });
    // The example configuration is accepted, up to the key that is not there yet.
    let configuration = format!("{root}/etc/goldrush-exporter/goldrush-exporter.yml");
    let checked = run(Command::new(&program).args(["--config.check", "--config.file", &configuration]).env_clear());
    let missing = "no ServiceKey: file /run/credentials/goldrush-exporter.service/service-key cannot be read: \
                   No such file or directory (os error 2); it exists only while systemd runs the service";
    assert!(checked.stderr.contains(missing), "{}", checked.stderr);
    dpkg(&["--remove", "goldrush-exporter"]);
    assert!(!Path::new(&program).exists() && Path::new(&configuration).exists(), "removed, but not its configuration");
    dpkg(&["--purge", "goldrush-exporter"]);
    assert!(!Path::new(&configuration).exists());
}
