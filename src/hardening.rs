//! Protects the memory of this process, which contains the ServiceKeys, from other processes on the machine.

use rustix::process::{Resource, Rlimit, setrlimit};
use tracing::warn;

/// Disables core files, and lets only root read this process's memory and its initial environment. Its own view of
/// `/proc/self` stays.
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
