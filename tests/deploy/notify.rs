//! What systemd is told. The socket is the test's, in systemd's place.

use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use goldrush_exporter::simulator::Scenario;

use crate::common::{self, Api, Exporter, PATIENCE, Signal};

/// The service manager's end of the socket.
struct Manager {
    socket: UnixDatagram,
    path: String,
    _folder: tempfile::TempDir,
}

impl Manager {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        Self { socket, path: path.to_str().unwrap().to_owned(), _folder: folder }
    }

    /// The environment of a service with a watchdog that wants to be fed every 100 ms.
    fn environment(&self, api: &Api) -> Vec<(String, String)> {
        let mut environment = api.environment();
        environment.extend(common::environment(&[("NOTIFY_SOCKET", &self.path), ("WATCHDOG_USEC", "100000")]));
        environment
    }

    /// The next message, which must come.
    #[track_caller]
    fn message(&self, deadline: Instant) -> String {
        let left = deadline.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no such message");
        self.socket.set_read_timeout(Some(left)).unwrap();
        let mut bytes = [0; 4096];
        let length = self.socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    /// The next message that begins like this; those before it are dropped.
    #[track_caller]
    fn until(&self, begin: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let message = self.message(deadline);
            if message.starts_with(begin) {
                return message;
            }
        }
    }

    /// Everything that has been told so far is forgotten: what comes now is about now.
    fn forget(&self) {
        self.socket.set_nonblocking(true).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok() {}
        self.socket.set_nonblocking(false).unwrap();
    }
}

#[test]
fn ready_comes_when_it_listens_then_reloads_and_the_stop_are_told() {
    let (api, manager) = (Api::healthy(3), Manager::new());
    let mut exporter = Exporter::start(&[], &manager.environment(&api));
    let deadline = Instant::now() + PATIENCE;
    assert_eq!(manager.message(deadline), "READY=1\nSTATUS=Polling 1 account\n", "the first thing that is told");
    assert_eq!(exporter.get("/-/healthy").status, 200);

    exporter.signal(Signal::HUP);
    let reloading = manager.until("RELOADING=1");
    let time = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
    assert!(time.parse::<u64>().unwrap() > 0, "{reloading}");
    assert_eq!(manager.until("READY=1"), "READY=1\nSTATUS=Polling 1 account\n");

    exporter.signal(Signal::TERM);
    manager.until("STOPPING=1");
    assert!(exporter.ended().success());
}

#[test]
fn a_reload_that_fails_shows_in_the_status() {
    let (api, manager) = (Api::healthy(3), Manager::new());
    let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
    let path = file.path().to_str().unwrap();
    let exporter = Exporter::start(&["--config.file", path], &manager.environment(&api));
    manager.until("READY=1");
    std::fs::write(path, "poll: {stale_after: never}\n").unwrap();
    exporter.signal(Signal::HUP);
    manager.until("RELOADING=1");
    let ready = manager.until("READY=1");
    let status = "READY=1\nSTATUS=The configuration cannot be loaded, the old one stays: ";
    assert!(ready.starts_with(status) && ready.contains("poll.stale_after"), "{ready}");
}

#[test]
fn the_watchdog_is_fed_while_the_api_is_well_silent_down_or_refuses_the_key() {
    let (api, manager) = (Api::healthy(3), Manager::new());
    let exporter = Exporter::start(&[], &manager.environment(&api));
    let fed = || {
        manager.forget();
        for _ in 0..3 {
            assert_eq!(manager.until("WATCHDOG=1"), "WATCHDOG=1\n");
        }
    };
    fed();
    for (scenario, sample, value) in [
        (Scenario::RevokedKey, "goldrush_auth_unauthorized{account=\"default\"}", 1.0),
        (Scenario::Healthy, "goldrush_up{account=\"default\"}", 1.0),
        (Scenario::ServerErrors, "goldrush_up{account=\"default\"}", 0.0),
    ] {
        api.simulator.set_scenario(scenario);
        exporter.until_value(sample, value);
        fed();
    }
    api.simulator.set_scenario(Scenario::RateLimited);
    exporter.until("a pause after a 429", |exposition| {
        exposition.value("goldrush_poll_paused_until_timestamp_seconds{account=\"default\"}") > Some(0.0)
    });
    fed();
}

#[test]
fn a_watchdog_of_another_process_is_not_fed() {
    let (api, manager) = (Api::healthy(3), Manager::new());
    let mut environment = manager.environment(&api);
    environment.extend(common::environment(&[("WATCHDOG_PID", "1")]));
    let mut exporter = Exporter::start(&[], &environment);
    manager.until("READY=1");
    exporter.until_value("goldrush_up{account=\"default\"}", 1.0);
    exporter.signal(Signal::TERM);
    assert_eq!(manager.message(Instant::now() + PATIENCE), "STOPPING=1\n", "nothing in between");
    assert!(exporter.ended().success());
}
