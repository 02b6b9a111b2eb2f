//! The release: what is in the archive, that it runs anywhere, and that it says what it is made of.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use crate::tools::{ROOT, TARGET, dead_links, file, pages, program, release, released, run, say, yaml};

#[test]
#[ignore = "needs the tools of a release"]
fn the_archive_holds_a_static_program_that_names_its_revision() {
    let archive = released(&format!("{TARGET}.tar.gz"));
    let folder = tempfile::tempdir().unwrap();
    say("tar", &["-xzf", archive.to_str().unwrap(), "-C", folder.path().to_str().unwrap()]);
    let top = folder.path().join(format!("goldrush-exporter-{}-{TARGET}", env!("CARGO_PKG_VERSION")));
    for name in ["LICENSE", "README.md", "CHANGELOG.md", "alerts/goldrush.rules.yml", "deploy/compose/compose.yml"] {
        assert!(top.join(name).exists(), "{name}");
    }
    let program = top.join("goldrush-exporter");
    let program = program.to_str().unwrap();
    let segments = say("readelf", &["--program-headers", "--wide", program]);
    assert!(segments.contains("LOAD") && !segments.contains("INTERP"), "{segments}");
    let head = say("git", &["rev-parse", "--short=12", "HEAD"]);
    let version = format!("goldrush-exporter {} (revision: {}, rustc: ", env!("CARGO_PKG_VERSION"), head.trim());
    let said = say(program, &["--version"]);
    assert!(said.starts_with(&version), "{said}");
    let bytes = std::fs::read(program).unwrap();
    let home = std::env::var("CARGO_HOME").unwrap_or_else(|_| format!("{}/.cargo", std::env::var("HOME").unwrap()));
    for path in [env!("CARGO_MANIFEST_DIR"), &home] {
        let found = bytes.windows(path.len()).any(|window| window == path.as_bytes());
        assert!(!found, "{path} is in the program: another machine would build another one");
    }
}

#[test]
#[ignore = "needs git and tar"]
fn the_archive_holds_what_is_committed_and_no_file_that_lies_around() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let clone = path("clone");
    say("git", &["clone", "--quiet", ROOT, &clone]);
    say("cp", &["deploy/release/archive", &format!("{clone}/deploy/release/archive")]);
    // Where deploy/README.md tells to put the key, and where an editor may leave something.
    for planted in ["deploy/compose/service-key", "alerts/goldrush.rules.yml.orig", "key"] {
        std::fs::write(format!("{clone}/{planted}"), "sk_of_an_operator").unwrap();
    }
    std::fs::write(path("goldrush-exporter"), "the program").unwrap();
    say(&format!("{clone}/deploy/release/archive"), &[&path("goldrush-exporter"), "release", &path("")]);
    say("tar", &["-xzf", &path("release.tar.gz"), "-C", &path("")]);
    let there = say("sh", &["-c", &format!("cd '{}' && find * .[a-z]* -type f", path("release"))]);
    let there: BTreeSet<&str> = there.lines().collect();
    let committed = say("git", &["-C", &clone, "ls-files"]);
    assert_eq!(there, committed.lines().chain(["goldrush-exporter"]).collect());
    // The README's links lead somewhere in it.
    let readmes = ["README.md", "deploy/README.md", "dashboards/README.md", ".github/SECURITY.md"].map(str::to_owned);
    for page in readmes.into_iter().chain(pages()) {
        assert_eq!(dead_links(Path::new(&path("release")), &page), Vec::<String>::new(), "{page}");
    }
}

/// The package and the program are made from the tree: receivers that somebody has put into alerts/alertmanager.yml would be
/// published with it.
#[test]
#[ignore = "needs git"]
fn nothing_is_released_that_is_not_committed() {
    let folder = tempfile::tempdir().unwrap();
    let clone = folder.path().join("clone").to_str().unwrap().to_owned();
    say("git", &["clone", "--quiet", ROOT, &clone]);
    say("cp", &["deploy/release/release", &format!("{clone}/deploy/release/release")]);
    let receivers = format!("{clone}/alerts/alertmanager.yml");
    std::fs::write(&receivers, std::fs::read_to_string(&receivers).unwrap() + "# routing_key: of_an_operator\n")
        .unwrap();
    let said = run(program(&format!("{clone}/deploy/release/release")).env_remove("CARGO_TARGET_DIR"));
    assert!(!said.success && said.stderr.contains(" M alerts/alertmanager.yml\n"), "{}", said.stderr);
    assert!(!Path::new(&clone).join("target").exists());
}

#[test]
#[ignore = "needs the tools of a release"]
fn the_archive_does_not_depend_on_who_makes_it() {
    let archive = released(&format!("{TARGET}.tar.gz"));
    let listed = say("tar", &["--numeric-owner", "--full-time", "-tvzf", archive.to_str().unwrap()]);
    let lines: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    let names: Vec<&str> = lines.iter().map(|line| line[5]).collect();
    assert!(lines.len() > 50 && lines.iter().all(|line| line[1] == "0/0"), "{listed}");
    let times: BTreeSet<(&str, &str)> = lines.iter().map(|line| (line[3], line[4])).collect();
    assert_eq!(times.len(), 1, "{times:?}");
    assert!(names.iter().all(|name| !name.contains("service-key") && !name.contains("__pycache__")), "{listed}");
}

#[test]
#[ignore = "needs the tools of a release"]
fn the_checksums_are_those_of_the_files() {
    let sums = std::fs::read_to_string(release().join("SHA256SUMS")).unwrap();
    let names: Vec<&str> = sums.lines().map(|line| line.split_once("  ").unwrap().1).collect();
    let version = env!("CARGO_PKG_VERSION");
    let archive = format!("goldrush-exporter-{version}-{TARGET}");
    let mut all = [
        format!("{archive}.tar.gz"),
        format!("{archive}.cdx.json"),
        format!("{archive}.spdx.json"),
        format!("goldrush-exporter_{version}-1_amd64.deb"),
        format!("goldrush-exporter-{version}-1.x86_64.rpm"),
        format!("goldrush-exporter_{version}-r1_x86_64.apk"),
        format!(
            "goldrush-exporter-{}.tgz",
            yaml(&file("deploy/helm/goldrush-exporter/Chart.yaml"))[0]["version"].as_str().unwrap()
        ),
    ];
    all.sort_unstable();
    assert_eq!(names.iter().copied().collect::<BTreeSet<_>>(), all.iter().map(String::as_str).collect());
    say("sh", &["-c", &format!("cd '{}' && sha256sum --check --strict SHA256SUMS", release().display())]);
}

#[test]
#[ignore = "needs the tools of a release"]
fn the_bill_of_materials_names_what_is_built_in() {
    let bill: Value = serde_json::from_slice(&std::fs::read(released(".cdx.json")).unwrap()).unwrap();
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let component = |part: &Value| format!("{} {}", part["name"].as_str().unwrap(), part["version"].as_str().unwrap());
    let named: BTreeSet<String> = bill["components"].as_array().unwrap().iter().map(component).collect();
    // What cargo says that it links.
    let tree = ["tree", "--locked", "--offline", "--edges=normal", "--target", TARGET, "--prefix=none", "--format={p}"];
    let tree = say("cargo", &tree);
    let linked = tree.lines().map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ").replacen(" v", " ", 1));
    let linked: BTreeSet<String> = linked.filter(|part| !part.starts_with("goldrush-exporter ")).collect();
    let missing: Vec<&String> = linked.difference(&named).collect();
    assert!(linked.len() > 50 && missing.is_empty(), "missing: {missing:?}");
    assert!(!bill.to_string().contains(env!("CARGO_MANIFEST_DIR")));
}

#[test]
#[ignore = "needs the tools of a release"]
fn the_bill_of_materials_is_the_same_in_spdx() {
    let cyclonedx: Value = serde_json::from_slice(&std::fs::read(released(".cdx.json")).unwrap()).unwrap();
    let spdx = released(".spdx.json");
    say("pyspdxtools", &["--infile", spdx.to_str().unwrap()]);
    let spdx: Value = serde_json::from_slice(&std::fs::read(spdx).unwrap()).unwrap();
    let names = |parts: &Value, version: &str| -> BTreeSet<String> {
        let parts = parts.as_array().unwrap().iter();
        parts.map(|part| format!("{} {}", part["name"].as_str().unwrap(), part[version].as_str().unwrap())).collect()
    };
    let mut parts = names(&cyclonedx["components"], "version");
    parts.insert(format!("goldrush-exporter {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(names(&spdx["packages"], "versionInfo"), parts);
}

#[test]
#[ignore = "needs minisign"]
fn the_signature_holds_for_the_checksums_and_for_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    say("minisign", &["-G", "-W", "-p", &path("public"), "-s", &path("secret")]);
    std::fs::write(path("file"), "of the release").unwrap();
    let sum = |folder: &str| say("sh", &["-c", &format!("cd '{folder}' && sha256sum file >SHA256SUMS")]);
    sum(folder.path().to_str().unwrap());
    let sign = |public: &str| run(program("deploy/release/sign").args([path(""), path("secret"), path(public)]));
    let refused = sign("not-published");
    assert!(!refused.success && refused.stderr.contains("no user could verify"), "{}", refused.stderr);
    say("minisign", &["-G", "-W", "-p", &path("foreign"), "-s", &path("foreign-secret")]);
    assert!(!sign("foreign").success && !Path::new(&path("SHA256SUMS.minisig")).exists());
    let signed = sign("public");
    let key = std::fs::read_to_string(path("public")).unwrap();
    assert!(signed.success && signed.stdout.contains(key.lines().last().unwrap()), "{}", signed.stderr);
    let verify = || run(program("minisign").args(["-V", "-p", &path("public"), "-m", &path("SHA256SUMS")]));
    let verified = verify();
    assert!(verified.success, "{}", verified.stderr);
    let comment = format!("Trusted comment: goldrush-exporter {}", env!("CARGO_PKG_VERSION"));
    assert!((verified.stdout + &verified.stderr).contains(&comment));
    std::fs::write(path("file"), "of somebody else").unwrap();
    assert!(!sign("public").success, "what does not match its checksum is not signed");
    sum(folder.path().to_str().unwrap());
    assert!(!verify().success, "other checksums have another signature");
}

#[test]
#[ignore = "needs python3"]
fn each_file_that_names_the_version_names_that_of_the_manifest() {
    say("deploy/release/version", &["--check"]);
}

#[test]
#[ignore = "needs git and python3"]
fn a_new_version_reaches_each_file_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let clone = folder.path().join("clone").to_str().unwrap().to_owned();
    say("git", &["clone", "--quiet", ROOT, &clone]);
    say("cp", &["deploy/release/version", &format!("{clone}/deploy/release/version")]);
    let of = |path: &str| std::fs::read_to_string(format!("{clone}/{path}")).unwrap();
    let chart = |text: &str| yaml(text).remove(0)["version"].as_str().unwrap().to_owned();
    let before = chart(&of("deploy/helm/goldrush-exporter/Chart.yaml"));
    let script = format!("{clone}/deploy/release/version");

    // Before the copies are written, they are wrong.
    let manifest = of("Cargo.toml");
    let version = format!("version = \"{}\"", env!("CARGO_PKG_VERSION"));
    std::fs::write(format!("{clone}/Cargo.toml"), manifest.replacen(&version, "version = \"98.7.6\"", 1)).unwrap();
    let wrong = run(program(&script).arg("--check"));
    assert!(!wrong.success && wrong.stderr.contains("deploy/compose/compose.yml"), "{}", wrong.stderr);
    std::fs::write(format!("{clone}/Cargo.toml"), manifest).unwrap();

    say(&script, &["98.7.6"]);
    say(&script, &["--check"]);
    // Nothing else names the version of today as the exporter's, except what happened in it; cargo accepts the lock file.
    let old = env!("CARGO_PKG_VERSION").replace('.', "\\.");
    let left = run(program("git").args([
        "-C",
        &clone,
        "grep",
        "-nE",
        &format!("(exporter[-_:]|Tag: |ersion: ){old}"),
        "--",
        ".",
        ":!CHANGELOG.md",
    ]));
    assert_eq!(left.stdout, "");
    let metadata = ["metadata", "--locked", "--offline", "--no-deps", "--format-version=1", "--manifest-path"];
    assert!(say("cargo", &[&metadata[..], &[&format!("{clone}/Cargo.toml")]].concat()).contains("98.7.6"));
    say("cargo", &["tree", "--locked", "--offline", "--manifest-path", &format!("{clone}/Cargo.toml")]);
    assert!(of("CHANGELOG.md").contains("## Unreleased\n\n## 98.7.6 ("));
    assert_ne!(
        chart(&of("deploy/helm/goldrush-exporter/Chart.yaml")),
        before,
        "a chart with other contents has another version"
    );
}

#[test]
#[ignore = "needs python3"]
fn what_is_ignored_of_advisories_is_explained_in_openvex() {
    let folder = tempfile::tempdir().unwrap();
    let vex = |ignore: &str| {
        let deny = folder.path().join("deny.toml");
        std::fs::write(&deny, format!("[advisories]\nignore = [{ignore}]\n")).unwrap();
        run(program("deploy/release/vex").arg(deny).args(["0.1.0", "1700000000"]))
    };
    assert_eq!(vex("").stdout, "", "without a statement, it would not be valid");
    for unexplained in ["\"RUSTSEC-2026-0001\"", "{ id = \"RUSTSEC-2026-0001\", reason = \"we do not care\" }"] {
        let said = vex(unexplained);
        assert!(!said.success && said.stderr.contains("RUSTSEC-2026-0001 needs a reason"), "{}", said.stderr);
    }
    let explained = "{ id = \"RUSTSEC-2026-0001\", reason = \"vulnerable_code_not_present: the feature is off\" }";
    let document: Value = serde_json::from_str(&vex(explained).stdout).unwrap();
    let statement = &document["statements"][0];
    assert_eq!(document["timestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(statement["vulnerability"]["name"], "RUSTSEC-2026-0001");
    assert_eq!(
        statement["products"][0]["@id"], "pkg:cargo/goldrush-exporter@0.1.0",
        "as the bill of materials names it"
    );
    assert_eq!(statement["justification"], "vulnerable_code_not_present");
    // Ours can be explained, too.
    say("deploy/release/vex", &["deny.toml", env!("CARGO_PKG_VERSION"), "1700000000"]);
}
