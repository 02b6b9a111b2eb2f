//! Asks the file system beside the async tasks: one that hangs, as network mounts do, must not hang the exporter.
//!
//! A thread that hangs cannot be called off. It is one of a pool whose other threads write what scrapers read, so those
//! that wait for files are few: one for each file, and never more than a part of the pool.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// No file that is read here takes longer on a file system that works.
const LONGEST_READ: Duration = Duration::from_secs(2);

/// What is said of a file that takes longer.
const NO_ANSWER: &str = "no answer from the file system";

/// Threads that may wait for files, of the 512 that tokio has for whatever blocks.
static THREADS: Semaphore = Semaphore::const_new(128);

/// The place of the one thread that may wait for a file, for all files that were ever asked for.
static FILES: Mutex<BTreeMap<PathBuf, Arc<Semaphore>>> = Mutex::new(BTreeMap::new());

/// What `read` brings, if it comes in time. One after the other reads `file`: while a read hangs, there is no other.
///
/// # Errors
/// Why there is nothing. `read` may go on, and nobody waits for it any more.
pub async fn ask<T: Send + 'static>(file: &Path, read: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    let place = FILES.lock().unwrap_or_else(PoisonError::into_inner).entry(file.to_owned()).or_insert_with(one).clone();
    let answer = timeout(LONGEST_READ, async {
        // They are never closed.
        let places = (place.acquire_owned().await, THREADS.acquire().await);
        let read = move || {
            let _places = places;
            read()
        };
        spawn_blocking(read).await
    });
    answer.await.map_err(|_| NO_ANSWER.to_owned())?.map_err(|error| error.to_string())
}

fn one() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(1))
}

/// Some editors write it in front of UTF-8. It is not part of the text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads a whole file that has at most `largest` bytes, without a leading byte order mark.
///
/// A pipe is waited for as long as for any other file, and no longer: it may have been left where nobody writes to it.
///
/// # Errors
/// If it is larger, if nothing comes out of a pipe, or if it cannot be read.
pub fn read(file: &Path, largest: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // Not blocking concerns pipes alone: opening one would wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(file)?;
    let mut bytes = Zeroizing::new(Vec::new());
    InTime { file, until: Instant::now() + LONGEST_READ }.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {largest} bytes")));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

/// Waits for what can be read, until it is too late.
struct InTime {
    file: File,
    until: Instant,
}

impl Read for InTime {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&left))? {
            0 => Err(io::Error::new(io::ErrorKind::TimedOut, NO_ANSWER)),
            _ => self.file.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_file_that_hangs_holds_up_one_thread_and_no_other_file() {
        let (answer, answers) = mpsc::channel::<&str>();
        let answers = Arc::new(Mutex::new(answers));
        let begun = Arc::new(AtomicUsize::new(0));
        let ask_hanging = || {
            let (answers, begun) = (answers.clone(), begun.clone());
            ask(Path::new("/hangs"), move || {
                begun.fetch_add(1, Ordering::SeqCst);
                answers.lock().unwrap().recv().unwrap()
            })
        };
        let other = ask(Path::new("/other"), || "well");
        let (first, second, third, other) = tokio::join!(ask_hanging(), ask_hanging(), ask_hanging(), other);
        assert_eq!([first, second, third], [(); 3].map(|()| Err(NO_ANSWER.to_owned())));
        assert_eq!(other, Ok("well"));
        assert_eq!(begun.load(Ordering::SeqCst), 1);

        // The first answer is for the read that nobody waits for any more.
        answer.send("late").unwrap();
        answer.send("in time").unwrap();
        assert_eq!(ask_hanging().await, Ok("in time"));
        assert_eq!(begun.load(Ordering::SeqCst), 2);
    }
}
