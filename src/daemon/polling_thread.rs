//! The thread that polls: all pollers and their connections share it, so that a response wakes no other thread.

use std::io;
use std::thread;

use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// Runs until this is dropped.
pub struct PollingThread {
    handle: Handle,
    /// Closing it stops the thread.
    _stop: oneshot::Sender<()>,
}

impl PollingThread {
    /// # Errors
    /// The operating system refuses a thread or the resources of an async runtime.
    pub fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel::<()>();
        thread::Builder::new().name("polling".to_owned()).spawn(move || {
            let _ = runtime.block_on(stopped);
            // A file system that hangs must not keep the process from exiting.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _stop: stop })
    }

    /// Where to spawn pollers.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}
