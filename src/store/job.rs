//! The lock of long work on the store: copying, deleting, restoring paths. One at a time; a second one is told who is at
//! what. The kernel drops it when its holder dies. It does not guard records: that is `store::lock`.

use crate::error::{Error, Kind, Result};
use crate::store::Layout;
use crate::sys::atomic;
use crate::sys::lock::{self, FileLock};

/// Held while long work is done.
#[derive(Debug)]
pub struct JobLock(#[expect(dead_code, reason = "held for its drop")] FileLock);

impl JobLock {
    /// Takes the lock for `who`, who does `what` (`snapshot of root`), or says who holds it.
    pub fn take(layout: &Layout, who: &str, what: &str) -> Result<JobLock> {
        let path = layout.job();
        let Some(mut held) = lock::attempt(&path)? else {
            let holder = atomic::read_optional(&path)?.unwrap_or_default();
            return Err(in_progress(holder.trim()));
        };
        // A full disk has no block for the note, and must not stop what would make room.
        let _ = held.note(&format!("{who}, {what}"));
        Ok(JobLock(held))
    }
}

fn in_progress(holder: &str) -> Error {
    let message = match holder {
        "" => "another operation works on the store".to_owned(),
        line => format!("another operation works on the store: {line}"),
    };
    Error::new(Kind::JobInProgress, message).remedy("wait for it, or cancel it")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_one_is_told_who_is_at_what() {
        let dir = crate::sys::process::test_dir("job");
        let layout = Layout::new(&dir);
        let first = JobLock::take(&layout, "root (uid 0) via D-Bus", "snapshot of root").unwrap();
        let error = JobLock::take(&layout, "somebody", "commit of root").unwrap_err();
        assert_eq!(error.kind(), Kind::JobInProgress);
        assert!(error.message().ends_with(": root (uid 0) via D-Bus, snapshot of root"), "{error}");
        drop(first);
        drop(JobLock::take(&layout, "x", "y").unwrap());
        std::fs::remove_dir_all(dir).unwrap();
    }
}
