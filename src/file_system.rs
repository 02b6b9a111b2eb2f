//! Asks the file system beside the async tasks: one that hangs, as network mounts do, must not hang the exporter.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// No file that is read here takes longer on a file system that works.
const LONGEST_READ: Duration = Duration::from_secs(2);

/// What `read` brings, if it comes in time.
///
/// # Errors
/// Why there is nothing. `read` may go on, and nobody waits for it any more.
pub async fn ask<T: Send + 'static>(read: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let answer = timeout(LONGEST_READ, spawn_blocking(read)).await;
    answer.map_err(|_| "no answer from the file system".to_owned())?.map_err(|error| error.to_string())
}

/// Reads a whole file that has at most `largest` bytes.
///
/// # Errors
/// If it is larger, or cannot be read.
pub fn read(file: &Path, largest: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    File::open(file)?.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {largest} bytes")));
    }
    Ok(bytes)
}
