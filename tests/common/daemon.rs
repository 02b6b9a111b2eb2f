//! A program with an HTTP port and a directory of files, started by a test.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use super::tools::tool;
use super::{PATIENCE, request};

/// Ready once it responds at `/-/ready`. Dropping it kills it.
pub struct Daemon {
    child: Child,
    /// `127.0.0.1:port`
    pub address: String,
    folder: tempfile::TempDir,
}

impl Daemon {
    /// Starts a program that `tests/run` installs. `arguments` gets the directory, into which `files` have been
    /// written, and the address to listen on.
    pub fn start(program: &str, files: &[(&str, &str)], arguments: impl Fn(&Path, &str) -> Vec<String>) -> Self {
        // These programs do not report the port they got, so each gets one that was free a moment ago.
        let mut started = (0..10).map(|_| {
            let folder = tempfile::tempdir().unwrap();
            for (name, content) in files {
                std::fs::write(folder.path().join(name), content).unwrap();
            }
            let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
            let child = tool(program)
                .args(arguments(folder.path(), &address))
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            Self { child, address, folder }
        });
        started
            .find_map(|mut daemon| daemon.is_ready().then_some(daemon))
            .unwrap_or_else(|| panic!("{program} does not become ready"))
    }

    /// Overwrites one of its files.
    pub fn write(&self, name: &str, content: &str) {
        std::fs::write(self.folder.path().join(name), content).unwrap();
    }

    fn is_ready(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline && self.child.try_wait().unwrap().is_none() {
            if std::net::TcpStream::connect(&self.address).is_ok()
                && request(&self.address, "GET", "/-/ready", &[]).status == 200
            {
                return true;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        false
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
