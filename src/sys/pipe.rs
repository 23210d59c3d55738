//! A pipe to somebody who may stop reading: whoever writes to it never waits longer than it wants to.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::fs::OFlags;

/// The end that is read, and the one that is written to without waiting.
pub fn new() -> io::Result<(PipeReader, OwnedFd)> {
    let (reader, writer) = std::io::pipe()?;
    let flags = rustix::fs::fcntl_getfl(&writer)?;
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK)?;
    Ok((reader, writer.into()))
}

/// Waits until there is room, or nobody reads any more, or the time is over. False: nobody reads any more.
pub fn wait(writer: impl AsFd, limit: Duration) -> bool {
    let timeout = PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX);
    let mut polled = [PollFd::new(writer.as_fd(), PollFlags::POLLOUT)];
    // An interruption is no harm: the caller looks and waits again.
    let _ = poll(&mut polled, timeout);
    !polled[0].revents().is_some_and(|found| found.contains(PollFlags::POLLERR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::{ErrorKind, Write};

    #[test]
    fn whoever_writes_does_not_wait_for_a_reader() {
        let (reader, writer) = new().unwrap();
        let mut file = File::from(writer.try_clone().unwrap());
        assert!(wait(&writer, Duration::ZERO));
        while file.write(&[0; 4096]).is_ok() {}
        assert_eq!(file.write(&[0; 4096]).unwrap_err().kind(), ErrorKind::WouldBlock);
        assert!(wait(&writer, Duration::from_millis(1)), "full, and there is still a reader");
        drop(reader);
        assert!(!wait(&writer, Duration::from_secs(60)));
    }
}
