//! An flock held on a file for as long as the value lives. The kernel drops it when the process dies.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use crate::error::{Error, Kind, Result};

/// A held lock.
#[derive(Debug)]
pub struct FileLock(Flock<File>);

impl FileLock {
    /// Makes `line` the file's only line.
    pub fn note(&mut self, line: &str) -> std::io::Result<()> {
        self.0.set_len(0)?;
        self.0.write_all_at(format!("{line}\n").as_bytes(), 0)
    }
}

/// Locks `path` exclusively, making the file if needed; `None` if somebody else holds it.
pub fn attempt(path: &Path) -> Result<Option<FileLock>> {
    match Flock::lock(open(path)?, FlockArg::LockExclusiveNonblock) {
        Ok(lock) => Ok(Some(FileLock(lock))),
        Err((_, Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, e)) => Err(Error::io("lock", path, e)),
    }
}

/// Locks `path` exclusively, making the file if needed. Waits up to `patience`, then says that it is busy.
pub fn exclusive(path: &Path, patience: Duration) -> Result<FileLock> {
    let mut file = open(path)?;
    let deadline = Instant::now() + patience;
    loop {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(FileLock(lock)),
            Err((back, Errno::EWOULDBLOCK | Errno::EINTR)) if Instant::now() < deadline => file = back,
            Err((_, Errno::EWOULDBLOCK)) => return Err(busy(path)),
            Err((_, e)) => return Err(Error::io("lock", path, e)),
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
        .or_else(|e| match e.kind() {
            // The store as the host sees it: the lock itself writes nothing.
            std::io::ErrorKind::ReadOnlyFilesystem => File::open(path).map_err(|_| e),
            _ => Err(e),
        })
        .map_err(|e| Error::io("open", path, e))
}

fn busy(path: &Path) -> Error {
    Error::new(
        Kind::JobInProgress,
        format!("another process works on the store (it holds {})", path.display()),
    )
    .remedy("try again in a moment; `fuser -v` on that file names the process")
}
