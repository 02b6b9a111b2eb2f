//! Trusted certificates that change while the exporter runs: `SSL_CERT_FILE` and `SSL_CERT_DIR`, then SIGHUP. The
//! settings do not change, so only the connections start over. `src/api/connections/tests.rs` tests what happens
//! without a signal.

use std::path::Path;
use std::process::Stdio;

use crate::common::{self, Exporter, Signal};
use crate::faults::well;
use crate::judge::Scrape;
use crate::raw_api::{BASE, Line, RawApi};
use crate::{Certificates, LONG, settings, until};

const RELOADED: &str = "goldrush_exporter_config_last_reload_successful";
const ACCOUNT: &str = "a0";

struct Scene {
    api: RawApi,
    exporter: Exporter,
}

impl Scene {
    /// A healthy exporter, whose trusted certificates this variable names.
    fn new(certificates: &Certificates, variable: &str, value: &Path) -> Self {
        Self::with(LONG, certificates, variable, value)
    }

    fn with(timeout: &str, certificates: &Certificates, variable: &str, value: &Path) -> Self {
        let api = RawApi::start(&Line::Served(Some(certificates.well())), well);
        let mut settings = settings(&format!("https://{}{BASE}", api.address()), &[ACCOUNT.to_owned()], timeout, None);
        settings.push((variable.to_owned(), value.to_str().unwrap().to_owned()));
        let scene = Self { exporter: Exporter::start(&[], &settings), api };
        scene.is_well("at the start");
        scene
    }

    #[track_caller]
    fn is_well(&self, when: &str) {
        until(&self.exporter, when, shows_the_pipelines, |scrape| {
            if scrape.is_well(ACCOUNT) { vec![] } else { vec![self.exporter.stderr.text()] }
        });
    }

    #[track_caller]
    fn is_not_trusted(&self) {
        until(&self.exporter, "a failed handshake", shows_the_pipelines, |scrape| {
            let fails = scrape.of_account("goldrush_up", ACCOUNT) == Some(0.0);
            if fails && self.exporter.stderr.text().contains("reason=tls") { vec![] } else { vec![String::new()] }
        });
    }
}

/// The list stays known throughout the test.
fn shows_the_pipelines(scrape: &Scrape) {
    let pipelines = scrape.of_account("goldrush_pipelines", ACCOUNT);
    assert!(matches!(pipelines, None | Some(2.0)), "{pipelines:?}");
}

#[test]
fn a_new_authority_is_trusted_from_a_signal_on() {
    for variable in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        let (old, new) = (Certificates::new(), Certificates::new());
        let folder = tempfile::tempdir().unwrap();
        // A directory of certificates contains them under hashed names.
        let put = |name: &str, certificates: &Certificates| {
            std::fs::write(folder.path().join(name), certificates.authority.pem()).unwrap();
        };
        put("0123abcd.0", &old);
        let file = folder.path().join("0123abcd.0");
        let mut scene = match variable {
            "SSL_CERT_DIR" => Scene::new(&old, variable, folder.path()),
            _ => Scene::new(&old, variable, &file),
        };
        scene.api.set_line(&Line::Served(Some(new.well())));
        scene.is_not_trusted();
        match variable {
            "SSL_CERT_DIR" => put("4567cdef.0", &new),
            _ => std::fs::write(&file, old.authority.pem() + &new.authority.pem()).unwrap(),
        }
        scene.exporter.signal(Signal::HUP);
        scene.exporter.stderr.line("the configuration has been loaded");
        scene.is_well(&format!("{variable} has a new authority"));
    }
}

#[test]
fn what_holds_no_certificates_is_named_in_words_and_the_old_ones_stay() {
    let certificates = Certificates::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trusted.pem");
    std::fs::write(&file, certificates.authority.pem()).unwrap();
    let scene = Scene::new(&certificates, "SSL_CERT_FILE", &file);
    for (change, said) in [
        ((|file| std::fs::write(file, "")) as fn(&Path) -> std::io::Result<()>, "is empty"),
        (|file| std::fs::write(file, "hello"), "holds no certificate (expects PEM)"),
        (|file| std::fs::remove_file(file), "No such file or directory"),
        (|file| std::fs::create_dir(file), "is a directory, not a PEM file"),
    ] {
        change(&file).unwrap();
        scene.exporter.signal(Signal::HUP);
        let line = scene.exporter.stderr.line(said);
        let complaint = format!("SSL_CERT_FILE ({}): ", file.display());
        assert!(line.contains(&complaint) && line.contains("the old one stays"), "{line}");
        until(&scene.exporter, said, shows_the_pipelines, |scrape| {
            if scrape.value(RELOADED) == Some(0.0) { vec![] } else { vec![said.to_owned()] }
        });
        scene.is_well(said);
    }
    std::fs::remove_dir(&file).unwrap();
    std::fs::write(&file, certificates.authority.pem()).unwrap();
    scene.exporter.signal(Signal::HUP);
    until(&scene.exporter, "a reload that succeeds", shows_the_pipelines, |scrape| {
        if scrape.value(RELOADED) == Some(1.0) { vec![] } else { vec![RELOADED.to_owned()] }
    });
}

#[test]
fn certificates_that_hang_delay_a_reload_and_the_start_by_no_more_than_the_timeout() {
    let certificates = Certificates::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trusted.pem");
    std::fs::write(&file, certificates.authority.pem()).unwrap();
    let scene = Scene::with("3s", &certificates, "SSL_CERT_FILE", &file);
    std::fs::remove_file(&file).unwrap();
    common::make_pipe(&file);
    scene.exporter.signal(Signal::HUP);
    let line = scene.exporter.stderr.line("reading the trusted certificates takes longer than api.timeout");
    assert!(line.contains("the old one stays"), "{line}");
    until(&scene.exporter, "a reload that fails", shows_the_pipelines, |scrape| {
        if scrape.value(RELOADED) == Some(0.0) { vec![] } else { vec![RELOADED.to_owned()] }
    });
    scene.is_well("the old certificates are known");

    // The same at the start, where nothing runs yet.
    let settings = settings("https://localhost/", &[ACCOUNT.to_owned()], "1s", file.to_str());
    let ended = common::run(&["--web.listen-address=127.0.0.1:0"], &settings);
    assert_eq!(ended.status, Some(1));
    assert!(
        ended.stderr.contains("reading the trusted certificates takes longer than api.timeout"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_signal_ends_a_start_that_waits_for_certificates() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trusted.pem");
    common::make_pipe(&file);
    let settings = settings("https://localhost/", &[ACCOUNT.to_owned()], "1h", file.to_str());
    let mut command = common::command(&["--web.listen-address=127.0.0.1:0"], &settings);
    let mut exporter = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    // Opens when the exporter reads at the other end.
    let _pipe = std::fs::File::options().write(true).open(&file).unwrap();
    common::send_signal(&exporter, Signal::TERM);
    assert_eq!(exporter.wait().unwrap().code(), Some(0));
}
