//! Where the time goes: each machine tells at its end how long it was there, and how long each boot took.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The clock of a machine.
pub(super) struct Clock {
    start: Instant,
    boots: Boots,
}

/// How long the boots took that are over.
type Boots = Arc<Mutex<Vec<Duration>>>;

/// Runs while a machine is on.
pub(super) struct Running {
    start: Instant,
    boots: Boots,
}

impl Clock {
    pub(super) fn new() -> Clock {
        Clock { start: Instant::now(), boots: Boots::default() }
    }

    /// Starts with a boot, and stops when it is dropped.
    pub(super) fn boot(&self) -> Running {
        Running { start: Instant::now(), boots: Arc::clone(&self.boots) }
    }

    /// One line, past the test harness, which shows the output of failed tests alone.
    pub(super) fn tell(&self, name: &str) {
        let boots = self.boots.lock().unwrap_or_else(PoisonError::into_inner);
        let each: Vec<String> = boots.iter().map(|boot| boot.as_secs().to_string()).collect();
        let (all, count) = (self.start.elapsed().as_secs(), boots.len());
        let line = format!("vm: {all:4} s {name}: {count} boots: {} s\n", each.join(" "));
        let _ = std::io::stderr().write_all(line.as_bytes());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.boots.lock().unwrap_or_else(PoisonError::into_inner).push(self.start.elapsed());
    }
}
