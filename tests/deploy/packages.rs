//! What packages hold beside the program: judged by the distributions' own tools. The Debian package's way through a system is
//! in `systemd`.

use std::collections::BTreeSet;
use std::path::Path;

use crate::tools::{ROOT, pages, program, released, run, say};

#[test]
#[ignore = "needs nfpm and lintian"]
fn the_debian_package_has_no_lint() {
    let deb = released("_amd64.deb");
    // It exits with 1 for errors only.
    let said = run(program("lintian").args(["--allow-root", "--fail-on=error,warning"]).arg(deb));
    assert!(said.success && said.stdout.is_empty(), "{}{}", said.stdout, said.stderr);
}

#[test]
#[ignore = "needs nfpm and rpm"]
fn the_rpm_can_be_installed_removed_and_keeps_the_configuration() {
    let rpm = released(".x86_64.rpm");
    let rpm = rpm.to_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    let installed = ["--root", root, "--nodeps", "--noscripts", "--ignorearch", "--install", rpm];
    say("rpm", &installed);
    let program = format!("{root}/usr/bin/goldrush-exporter");
    assert!(say(&program, &["--version"]).contains(env!("CARGO_PKG_VERSION")));
    for file in ["usr/lib/systemd/system/goldrush-exporter.service", "usr/share/man/man1/goldrush-exporter.1.gz"] {
        assert!(Path::new(root).join(file).exists(), "{file}");
    }
    for page in pages() {
        assert!(Path::new(root).join("usr/share/doc/goldrush-exporter").join(&page).exists(), "{page}");
    }
    let configurations = say("rpm", &["--query", "--package", "--configfiles", rpm]);
    let configurations: BTreeSet<&str> = configurations.lines().collect();
    let expected = ["/etc/default/goldrush-exporter", "/etc/goldrush-exporter/goldrush-exporter.yml"];
    assert_eq!(configurations, BTreeSet::from(expected));
    let requirements = say("rpm", &["--query", "--package", "--requires", rpm]);
    assert!(requirements.lines().any(|line| line == "ca-certificates"), "{requirements}");
    let scripts = say("rpm", &["--query", "--package", "--scripts", rpm]);
    for script in ["post", "preun", "postun"] {
        let path = format!("deploy/packages/rpm/{script}");
        say("sh", &["-n", &path]);
        let text = std::fs::read_to_string(Path::new(ROOT).join(&path)).unwrap();
        assert!(scripts.contains(text.trim_end()), "{script}: {scripts}");
    }
    let configuration = format!("{root}/etc/goldrush-exporter/goldrush-exporter.yml");
    std::fs::write(&configuration, "accounts: []\n").unwrap();
    say("rpm", &["--root", root, "--nodeps", "--noscripts", "--erase", "goldrush-exporter"]);
    assert!(!Path::new(&program).exists());
    assert!(Path::new(&format!("{configuration}.rpmsave")).exists(), "what the operator has written stays");
}

/// What apk computes before it installs: each file's digest, and that of all files together.
#[test]
#[ignore = "needs nfpm"]
fn the_digests_in_the_apk_are_those_of_its_files() {
    let script = r#"
import hashlib, io, sys, tarfile, zlib
packed, streams = open(sys.argv[1], "rb").read(), []
while packed:
    unpacker = zlib.decompressobj(31)
    unpacked = unpacker.decompress(packed) + unpacker.flush()
    streams.append((packed[: len(packed) - len(unpacker.unused_data)], unpacked))
    packed = unpacker.unused_data
(_, control), (data_packed, data) = streams
# Only the last archive has an end.
assert control[-1024:].strip(b"\0") and not data[-1024:].strip(b"\0")
control = tarfile.open(fileobj=io.BytesIO(control + bytes(1024))).extractfile(".PKGINFO").read().decode()
assert f"datahash = {hashlib.sha256(data_packed).hexdigest()}\n" in control, control
files = tarfile.open(fileobj=io.BytesIO(data))
regular = [file for file in files if file.isreg()]
for file in regular:
    digest = hashlib.sha1(files.extractfile(file).read()).hexdigest()
    assert file.pax_headers["APK-TOOLS.checksum.SHA1"] == digest, file.name
    assert (file.uid, file.gid) == (0, 0), file.name
print(len(regular))
"#;
    let apk = released("_x86_64.apk");
    let files: usize = say("python3", &["-c", script, apk.to_str().unwrap()]).trim().parse().unwrap();
    assert!(files > 10, "{files}");
}

#[test]
#[ignore = "needs nfpm"]
fn the_apk_holds_the_program_and_nothing_that_needs_systemd() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    // One archive after the other: signature or control, then the files.
    let apk = released("_x86_64.apk");
    say("tar", &["--ignore-zeros", "--warning=no-unknown-keyword", "-xzf", apk.to_str().unwrap(), "-C", root]);
    assert!(say(&format!("{root}/usr/bin/goldrush-exporter"), &["--version"]).contains(env!("CARGO_PKG_VERSION")));
    let control = std::fs::read_to_string(format!("{root}/.PKGINFO")).unwrap();
    for line in ["pkgname = goldrush-exporter", "arch = x86_64", "depend = ca-certificates"] {
        assert!(control.lines().any(|there| there == line), "{line}\n{control}");
    }
    assert!(!Path::new(root).join("usr/lib/systemd").exists() && Path::new(root).join("usr/share/man/man1").exists());
}

/// The manual names every flag, because it is made of them.
#[test]
#[ignore = "needs bash"]
fn the_manual_and_the_completions_are_those_of_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let documentation = format!("{}/documentation", folder.path().display());
    say("cargo", &["run", "--quiet", "--locked", "--example", "documentation", "--", &documentation]);
    let manual = std::fs::read_to_string(format!("{documentation}/goldrush-exporter.1")).unwrap().replace('\\', "");
    for flag in ["--config.file", "--web.listen-address", "--log.format"] {
        assert!(manual.contains(flag), "{flag}");
    }
    say("bash", &["-n", &format!("{documentation}/goldrush-exporter.bash")]);
}

/// `cargo install` builds from what is packaged, with nothing beside it.
#[test]
#[ignore = "needs git and tar, and builds the crate again"]
fn the_crate_builds_outside_of_the_repository() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().to_str().unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().to_str().unwrap();
    say("cargo", &["package", "--quiet", "--locked", "--allow-dirty", "--no-verify", "--target-dir", here]);
    let name = format!("goldrush-exporter-{}", env!("CARGO_PKG_VERSION"));
    // With the time of now: cargo would take what an earlier run has built for this one's.
    say("tar", &["-xmzf", &format!("{here}/package/{name}.crate"), "-C", here]);
    for page in pages() {
        assert!(Path::new(here).join(&name).join(&page).exists(), "{page} is not packaged");
    }
    // The library and an example: the program itself would take the place of the one that other tests run. What it depends on has
    // been built.
    let manifest = format!("{here}/{name}/Cargo.toml");
    let options = ["--quiet", "--locked", "--offline", "--target-dir", target, "--manifest-path", &manifest];
    let written = format!("{here}/written");
    say("cargo", &[&["run", "--example", "documentation"], &options[..], &["--", &written]].concat());
    let manual = std::fs::read_to_string(format!("{written}/goldrush-exporter.1")).unwrap().replace('\\', "");
    let commit = say("git", &["rev-parse", "--short=12", "HEAD"]);
    assert!(manual.contains(&format!("(revision: {}, ", commit.trim())), "{manual}");
}
