//! The queue of lines for standard error. A thread writes them, so that a pipe without a reader blocks only that
//! thread.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

/// Maximum bytes that wait: some thousand lines.
const CAPACITY: usize = 256 * 1024;

/// A bounded queue of lines. When it is full, lines are dropped and counted.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    dropped: AtomicU64,
}

struct State {
    waiting: Vec<u8>,
    /// Whether lines that were taken from the queue are being written.
    writing: bool,
}

impl Queue {
    pub const fn new() -> Self {
        let state = State { waiting: Vec::new(), writing: false };
        Self { state: Mutex::new(state), changed: Condvar::new(), dropped: AtomicU64::new(0) }
    }

    /// Adds a line, or drops it. Never blocks.
    pub fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.waiting.len() + line.len() > CAPACITY {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else {
            state.waiting.extend_from_slice(line);
            self.changed.notify_all();
        }
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until every line is written, but at most for `patience`.
    pub fn flush(&self, patience: Duration) {
        let unfinished = |state: &mut State| state.writing || !state.waiting.is_empty();
        let _ = self.changed.wait_timeout_while(self.state(), patience, unfinished);
    }

    /// Writes lines as they arrive, forever.
    pub fn drain(&self, stream: impl AsFd) -> ! {
        let mut lines = Vec::new();
        loop {
            {
                let nothing = |state: &mut State| state.waiting.is_empty();
                let state = self.changed.wait_while(self.state(), nothing);
                let mut state = state.unwrap_or_else(PoisonError::into_inner);
                std::mem::swap(&mut state.waiting, &mut lines);
                state.writing = true;
            }
            if let Err(unwritten) = write(&stream, &lines) {
                let unwritten = unwritten.iter().filter(|byte| **byte == b'\n').count();
                self.dropped.fetch_add(unwritten as u64, Ordering::Relaxed);
            }
            lines.clear();
            self.state().writing = false;
            self.changed.notify_all();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes all bytes. Returns those that cannot be written.
fn write(stream: impl AsFd, mut bytes: &[u8]) -> Result<(), &[u8]> {
    while !bytes.is_empty() {
        match rustix::io::write(&stream, bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            // Another process that shares the stream has made it non-blocking.
            Err(Errno::AGAIN) => {
                let _ = poll(&mut [PollFd::new(&stream, PollFlags::OUT)], None);
            }
            Err(_) => return Err(bytes),
        }
    }
    Ok(())
}

/// `tracing_subscriber` calls `write_all` once per line.
pub(super) struct Line(pub &'static Queue);

impl io::Write for Line {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::sync::Arc;

    use super::*;

    const FOREVER: Duration = Duration::from_secs(3600);

    fn drained() -> (Arc<Queue>, io::PipeReader) {
        let (reader, writer) = io::pipe().unwrap();
        let queue = Arc::new(Queue::new());
        let drained = queue.clone();
        std::thread::spawn(move || drained.drain(writer));
        (queue, reader)
    }

    #[test]
    fn lines_are_written_in_order_and_flushed() {
        let (queue, reader) = drained();
        (0..100).for_each(|number| queue.push(format!("{number}\n").as_bytes()));
        queue.flush(FOREVER);
        let lines: Vec<String> = BufReader::new(reader).lines().take(100).map(Result::unwrap).collect();
        assert_eq!(lines, (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
        assert_eq!(queue.dropped(), 0);
    }

    #[test]
    fn a_blocked_stream_costs_lines_and_no_time() {
        let (queue, reader) = drained();
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        // More than the pipe and the queue hold together.
        let pushed = 1000;
        (0..pushed).for_each(|_| queue.push(&line));
        let dropped = queue.dropped();
        assert!(dropped > 0 && dropped < pushed, "{dropped}");
        queue.flush(Duration::from_millis(1));
        let mut lines = BufReader::new(reader).lines().map(Result::unwrap);
        let written = lines.by_ref().take((pushed - dropped) as usize);
        assert!(written.map(|line| line.len()).all(|length| length == 1023), "no line is torn");
        queue.flush(FOREVER);
        queue.push(b"next\n");
        assert_eq!(lines.next().as_deref(), Some("next"), "there is room again");
        assert_eq!(queue.dropped(), dropped);
    }

    #[test]
    fn lines_for_a_closed_stream_are_dropped_and_counted() {
        let (queue, reader) = drained();
        drop(reader);
        queue.push(b"one\n");
        queue.push(b"two\n");
        queue.flush(FOREVER);
        assert_eq!(queue.dropped(), 2);
    }
}
