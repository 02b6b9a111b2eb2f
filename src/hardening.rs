//! Keeps the memory of this process, and with it the ServiceKeys, from others of the same machine.

use rustix::process::{Resource, Rlimit, setrlimit};
use tracing::warn;

/// From now on there is no core file, and only root can look into this process: not at its memory, not at the
/// environment that it was started with. Its own view of `/proc/self` stays.
pub fn hide_memory() {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, none) {
        warn!(%error, "cannot disable core files: one would contain the ServiceKeys");
    }
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable) {
        warn!(%error, "cannot hide the process from other processes of its user: they can read the ServiceKeys");
    }
}
