//! Standard error and standard output that nothing reads, or that are closed.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, ChildStderr, ExitStatus};
use std::time::{Duration, Instant};

use crate::common::{Api, Exposition, PATIENCE, Signal, command, eventually, request, send_signal};

const DROPPED: &str = "goldrush_exporter_log_lines_dropped_total";

/// An exporter whose standard error is read up to the line that says where it listens.
struct Unread {
    child: Child,
    stderr: BufReader<ChildStderr>,
    address: String,
}

impl Unread {
    fn start(api: &Api, format: &str) -> Self {
        let arguments = ["--web.listen-address", "127.0.0.1:0", "--log.level", "debug", "--log.format", format];
        let mut child = command(&arguments, &api.environment()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "it ends before it listens");
        }
        let port = line.split("127.0.0.1:").nth(1).unwrap();
        let port: String = port.chars().take_while(char::is_ascii_digit).collect();
        Self { child, stderr, address: format!("127.0.0.1:{port}") }
    }

    fn dropped(&self) -> f64 {
        let answer = request(&self.address, "GET", "/metrics", &[]);
        assert_eq!(answer.status, 200);
        Exposition(answer.text()).value(DROPPED).unwrap()
    }

    /// Sends SIGTERM, and returns how it ended and how long that took.
    fn terminate(&mut self) -> (ExitStatus, Duration) {
        let begin = Instant::now();
        send_signal(&self.child, Signal::TERM);
        let status = ended(&mut self.child);
        (status, begin.elapsed())
    }
}

impl Drop for Unread {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn ended(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < deadline, "the process continues");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_log_that_nothing_reads_stops_neither_polling_nor_serving_nor_the_end() {
    for format in ["logfmt", "json"] {
        let api = Api::healthy(100);
        let mut exporter = Unread::start(&api, format);
        eventually("the pipe and the queue are full", || exporter.dropped() > 0.0);
        let (dropped, asked) = (exporter.dropped(), api.simulator.request_counts().total());
        eventually("polling continues", || api.simulator.request_counts().total() > asked + 500);
        assert!(exporter.dropped() > dropped);
        assert_eq!(request(&exporter.address, "GET", "/-/healthy", &[]).status, 200);
        let (status, duration) = exporter.terminate();
        assert_eq!(status.code(), Some(0), "{format}");
        assert!(duration < Duration::from_secs(5), "{format}: it took {duration:?}");
    }
}

#[test]
fn a_log_that_is_read_again_goes_on_with_whole_lines_and_ends_with_the_last() {
    let api = Api::healthy(100);
    let mut exporter = Unread::start(&api, "json");
    eventually("the pipe and the queue are full", || exporter.dropped() > 0.0);
    send_signal(&exporter.child, Signal::TERM);
    let mut log = String::new();
    exporter.stderr.read_to_string(&mut log).unwrap();
    assert_eq!(ended(&mut exporter.child).code(), Some(0));
    for line in log.lines() {
        assert!(line.starts_with("{\"timestamp\"") && line.ends_with('}'), "torn: {line}");
    }

    let mut exporter = Unread::start(&api, "logfmt");
    send_signal(&exporter.child, Signal::TERM);
    let mut log = String::new();
    exporter.stderr.read_to_string(&mut log).unwrap();
    assert_eq!(ended(&mut exporter.child).code(), Some(0));
    assert!(log.contains("stopping"), "{log}");
}

#[test]
fn a_closed_log_does_not_matter() {
    let api = Api::healthy(3);
    let arguments = ["--web.listen-address", "127.0.0.1:0"];
    let mut child = command(&arguments, &api.environment()).spawn().unwrap();
    drop(child.stderr.take());
    eventually("polling", || api.simulator.request_counts().total() > 20);
    send_signal(&child, Signal::TERM);
    assert_eq!(ended(&mut child).code(), Some(0));
}

#[test]
fn once_ends_when_its_output_is_closed_and_can_be_stopped_while_nothing_reads_it() {
    let api = Api::healthy(300);
    let settings = api.environment();
    let mut child = command(&["once"], &settings).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(ended(&mut child).code(), Some(0), "the reader wanted no more");

    let mut child = command(&["once"], &settings).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // More is to come, and no more is read.
    stdout.read_exact(&mut [0]).unwrap();
    assert!(child.try_wait().unwrap().is_none());
    send_signal(&child, Signal::TERM);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&ended(&mut child)), Some(15));
}

#[test]
fn once_fails_when_its_output_is_full() {
    let api = Api::healthy(3);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = command(&["once"], &api.environment()).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("cannot write to standard output: No space left on device"), "{stderr}");
}
