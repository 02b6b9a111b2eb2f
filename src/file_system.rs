//! Reads files without blocking the async runtime: a file system that hangs, such as a network mount, must not block
//! the exporter.
//!
//! A thread that hangs in a read cannot be cancelled. It belongs to the pool whose other threads render responses, so
//! each file occupies at most one thread, and all files together only a part of the pool.
//!
//! One function writes a file: [`replace`].

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// A working file system responds faster to every file that the exporter reads.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Threads that may wait for files, out of the 512 that tokio has for blocking work.
const THREADS: usize = 128;

/// Some editors put it before UTF-8 text. It is not part of the content.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The files that threads are reading now.
static READING: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Wakes tasks that wait for a thread to finish.
static FINISHED: Notify = Notify::const_new();

/// Reads a whole file of at most `largest` bytes, without a leading byte order mark.
///
/// A pipe without a writer fails like a file system that hangs. While an earlier read of the same file hangs, no second
/// one starts.
///
/// # Errors
/// If the file is larger, cannot be read, or is not read within 2 seconds. A read that timed out may continue in its
/// thread.
pub async fn read(path: &Path, largest: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = path.to_owned();
    exclusively(path, move || read_blocking(&file, largest)).await?
}

/// Runs `work` on a thread once no other thread works on the same file.
async fn exclusively<T: Send + 'static>(path: &Path, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let result = timeout(TIMEOUT, async {
        let reading = Reading::begin(path).await;
        let work = move || {
            let _reading = reading;
            work()
        };
        spawn_blocking(work).await
    });
    result.await.map_err(|_| timed_out())?.map_err(io::Error::other)
}

/// An entry in [`READING`], removed on drop.
struct Reading(PathBuf);

impl Reading {
    async fn begin(path: &Path) -> Self {
        loop {
            // Registered before the set is checked, so that no wake-up is lost in between.
            let finished = FINISHED.notified();
            {
                let mut reading = reading();
                if reading.len() < THREADS && reading.insert(path.to_owned()) {
                    return Self(path.to_owned());
                }
            }
            finished.await;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        reading().remove(&self.0);
        FINISHED.notify_waiters();
    }
}

fn reading() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    READING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn timed_out() -> io::Error {
    let problem = format!("timed out after {}s waiting for the file system", TIMEOUT.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, problem)
}

/// [`read`], blocking.
fn read_blocking(path: &Path, largest: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // Non-blocking only affects pipes: opening one would wait for its writer.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let mut bytes = Zeroizing::new(Vec::new());
    InTime { file, deadline: Instant::now() + TIMEOUT }.take(largest + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > largest {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {largest} bytes")));
    }
    if bytes.starts_with(BYTE_ORDER_MARK) {
        // In place: a copy would leave a key behind in memory.
        bytes.drain(..BYTE_ORDER_MARK.len());
    }
    Ok(bytes)
}

/// Replaces a file atomically, readable by everyone: a reader sees either the old content or the new one.
///
/// # Errors
/// If a temporary file next to it cannot be written or renamed.
pub async fn replace(path: &Path, content: String) -> io::Result<()> {
    let path = path.to_owned();
    spawn_blocking(move || replace_blocking(&path, &content)).await?
}

fn replace_blocking(path: &Path, content: &str) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::IsADirectory)?.to_string_lossy();
    // The textfile collector ignores names that do not end in .prom.
    let new = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).open(&new)?;
        // Regardless of the umask.
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(content.as_bytes())?;
        std::fs::rename(&new, path)
    })();
    if written.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
        let _ = std::fs::remove_file(&new);
    }
    written
}

/// Reads, but waits for data only until the deadline.
struct InTime {
    file: File,
    deadline: Instant,
}

impl Read for InTime {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&self.file, PollFlags::IN)], Some(&left))? {
            0 => Err(timed_out()),
            _ => self.file.read(buffer),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn a_file_that_hangs_occupies_one_thread_and_blocks_no_other_file() {
        let (answer, answers) = mpsc::channel::<&str>();
        let answers = Arc::new(Mutex::new(answers));
        let started = Arc::new(AtomicUsize::new(0));
        let hang = || {
            let (answers, started) = (answers.clone(), started.clone());
            exclusively(Path::new("/hangs"), move || {
                started.fetch_add(1, Ordering::SeqCst);
                answers.lock().unwrap().recv().unwrap()
            })
        };
        let other = exclusively(Path::new("/other"), || "well");
        let (first, second, third, other) = tokio::join!(hang(), hang(), hang(), other);
        for result in [first, second, third] {
            assert_eq!(result.unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        assert_eq!(other.unwrap(), "well");
        assert_eq!(started.load(Ordering::SeqCst), 1);
        assert!(reading().contains(Path::new("/hangs")) && !reading().contains(Path::new("/other")));

        // The first response goes to the read that timed out.
        answer.send("late").unwrap();
        answer.send("in time").unwrap();
        assert_eq!(hang().await.unwrap(), "in time");
        assert_eq!(started.load(Ordering::SeqCst), 2);
        assert!(!reading().contains(Path::new("/hangs")), "a file that is read is forgotten");
    }

    #[tokio::test]
    async fn one_byte_order_mark_is_dropped_and_the_size_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for (content, expected) in [
            ("\u{feff}text", "text"),
            ("\u{feff}\u{feff}text", "\u{feff}text"),
            ("te\u{feff}xt", "te\u{feff}xt"),
            ("\u{feff}", ""),
            ("", ""),
        ] {
            std::fs::write(&path, content).unwrap();
            assert_eq!(read(&path, 100).await.unwrap().as_slice(), expected.as_bytes(), "{content:?}");
        }
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).await.unwrap().as_slice(), b"12345");
        assert_eq!(read(&path, 4).await.unwrap_err().to_string(), "larger than 4 bytes");
        assert_eq!(read(&folder.path().join("none"), 4).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[tokio::test]
    async fn a_pipe_without_a_writer_times_out() {
        use rustix::fs::{CWD, FileType, Mode, mknodat};
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        assert_eq!(read(&path, 4).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
