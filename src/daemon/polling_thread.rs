//! The thread that polls: all pollers and their connections share one, so that a response wakes no other thread.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Runs until it is dropped.
pub struct PollingThread {
    handle: Handle,
    /// Closes when the thread is to end.
    _stop: oneshot::Sender<()>,
}

impl PollingThread {
    /// # Errors
    /// The operating system refuses a thread or what an async runtime needs.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("polling".to_owned()).spawn(move || {
            let _ = runtime.block_on(stopped);
            // A file system that hangs must not keep the process from ending.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _stop: stop })
    }

    /// Where to spawn what polls.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}
