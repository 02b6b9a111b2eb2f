//! Writes to standard output, which may be a pipe that nothing reads.

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::task::spawn_blocking;

/// After this long without reading, a reader will not read any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// A ready pipe accepts this many bytes without blocking (POSIX: `PIPE_BUF`).
const CHUNK: usize = 4096;

/// Prints to standard output. A reader that has closed it wants no more: that is not an error.
///
/// # Errors
/// If standard output cannot be written, or nothing reads it.
pub async fn print(text: String) -> io::Result<()> {
    let printed = spawn_blocking(move || write(io::stdout(), text.as_bytes(), PATIENCE));
    match printed.await.map_err(io::Error::other)? {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(io::Error::new(error.kind(), format!("cannot write to standard output: {error}"))),
        Ok(()) => Ok(()),
    }
}

/// Bypasses the buffer of `std`, whose larger writes may block.
fn write(stream: impl AsFd, mut bytes: &[u8], patience: Duration) -> io::Result<()> {
    let timeout = Timespec::try_from(patience).map_err(io::Error::other)?;
    while !bytes.is_empty() {
        if poll(&mut [PollFd::new(&stream, PollFlags::OUT)], Some(&timeout))? == 0 {
            let problem = format!("nothing has read it for {}s", patience.as_secs());
            return Err(io::Error::new(io::ErrorKind::TimedOut, problem));
        }
        match rustix::io::write(&stream, &bytes[..bytes.len().min(CHUNK)]) {
            Ok(written) => bytes = &bytes[written..],
            Err(rustix::io::Errno::INTR | rustix::io::Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn a_pipe_that_nothing_reads_is_given_up_and_one_that_is_read_is_written_whole() {
        let text = "x".repeat(300_000);
        let (_unread, writer) = io::pipe().unwrap();
        let error = write(&writer, text.as_bytes(), Duration::from_millis(10)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);

        let (mut reader, writer) = io::pipe().unwrap();
        let expected = text.len();
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).unwrap();
            text.len()
        });
        write(&writer, text.as_bytes(), PATIENCE).unwrap();
        drop(writer);
        assert_eq!(read.join().unwrap(), expected);
    }

    #[test]
    fn a_closed_pipe_is_a_broken_pipe() {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        assert_eq!(write(&writer, b"x", PATIENCE).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
