//! Being asked to stop: the first signal is remembered, a second one ends the process at once.

use std::sync::atomic::{AtomicI32, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::error::{Error, Result};

/// The number of the signal that came; 0 as long as none did.
static CAUGHT: AtomicI32 = AtomicI32::new(0);

const STOP: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// As long as it lives, SIGINT, SIGTERM and SIGHUP do not end the process the first time: [`caught`] tells that one came.
#[derive(Debug)]
pub struct Caught(());

impl Caught {
    /// From here on.
    pub fn start() -> Result<Caught> {
        let flags = SaFlags::SA_RESTART | SaFlags::SA_RESETHAND;
        set(&SigAction::new(SigHandler::Handler(remember), flags, SigSet::empty()))?;
        Ok(Caught(()))
    }
}

impl Drop for Caught {
    fn drop(&mut self) {
        // What could be set can be set back.
        let _ = set(&SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty()));
    }
}

fn set(action: &SigAction) -> Result<()> {
    for signal in STOP {
        // SAFETY: the only handler stores to an atomic, which is safe in a signal handler.
        #[expect(unsafe_code, reason = "a signal handler")]
        unsafe { sigaction(signal, action) }.map_err(|e| Error::io("catch", signal.as_str(), e))?;
    }
    Ok(())
}

/// The number of the signal that came, if one did.
pub fn caught() -> Option<i32> {
    Some(CAUGHT.load(Ordering::Relaxed)).filter(|number| *number != 0)
}

extern "C" fn remember(number: i32) {
    CAUGHT.store(number, Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_one_is_remembered() {
        let _guard = Caught::start().unwrap();
        nix::sys::signal::raise(Signal::SIGHUP).unwrap();
        assert_eq!(caught(), Some(Signal::SIGHUP as i32));
    }
}
