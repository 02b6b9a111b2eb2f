//! Ends processes and deletes folders when a signal ends the benchmark, since destructors do not run then.

use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::{Mutex, Once};

use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use tempfile::TempDir;
use tokio::signal::unix::{SignalKind, signal};

#[derive(PartialEq)]
enum Leftover {
    Process(Pid),
    Folder(PathBuf),
}

/// In the order in which they end: processes come before the folders that they write to.
static LEFTOVERS: Mutex<Vec<Leftover>> = Mutex::new(Vec::new());

fn register(leftover: Leftover) {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| drop(std::thread::spawn(watch)));
    let mut leftovers = LEFTOVERS.lock().unwrap();
    let index = if matches!(leftover, Leftover::Process(_)) { 0 } else { leftovers.len() };
    leftovers.insert(index, leftover);
}

fn forget(leftover: &Leftover) {
    LEFTOVERS.lock().unwrap().retain(|other| other != leftover);
}

fn watch() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let [mut interrupt, mut terminate] =
            [SignalKind::interrupt(), SignalKind::terminate()].map(|kind| signal(kind).unwrap());
        tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
    });
    // Kept locked: nothing is started any more.
    for leftover in LEFTOVERS.lock().unwrap().iter() {
        match leftover {
            Leftover::Process(id) => {
                let _ = kill_process(*id, Signal::KILL);
                let _ = waitpid(Some(*id), WaitOptions::empty());
            }
            Leftover::Folder(path) => drop(std::fs::remove_dir_all(path)),
        }
    }
    std::process::exit(130);
}

/// A process that is killed when dropped.
pub struct Process(pub Child);

impl Process {
    pub fn new(child: Child) -> Self {
        register(Leftover::Process(Pid::from_child(&child)));
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        forget(&Leftover::Process(Pid::from_child(&self.0)));
        let _ = self.0.wait();
    }
}

/// A folder that is deleted when dropped.
pub struct Folder(TempDir);

impl Folder {
    pub fn new() -> Self {
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        register(Leftover::Folder(folder.path().to_owned()));
        Self(folder)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        forget(&Leftover::Folder(self.0.path().to_owned()));
    }
}
