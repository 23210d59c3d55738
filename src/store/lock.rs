//! The store's write lock.

use std::time::Duration;

use crate::error::Result;
use crate::store::Layout;
use crate::sys::lock::{FileLock, exclusive};

/// Every holder needs it for an instant only; long work does not hold it.
const PATIENCE: Duration = Duration::from_secs(5);

/// Held while the store is changed.
#[derive(Debug)]
pub struct StoreLock(#[expect(dead_code, reason = "held for its drop")] FileLock);

impl StoreLock {
    /// Waits a few seconds for other writers, then fails with `JobInProgress`.
    pub fn exclusive(layout: &Layout) -> Result<StoreLock> {
        exclusive(&layout.lock(), PATIENCE).map(StoreLock)
    }
}
