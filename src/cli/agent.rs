//! polkit's agent for the terminal, as `systemctl` starts it: it asks for the password of an administrator.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};

/// A running agent; it ends with the value.
#[derive(Debug)]
pub(crate) struct Agent(Child);

impl Agent {
    /// Starts it and waits until it listens. None where there is none: then polkit denies, and says so.
    pub(crate) fn start() -> Option<Agent> {
        let (mut ready, notify) = std::io::pipe().ok()?;
        fcntl(&notify, FcntlArg::F_SETFD(FdFlag::empty())).ok()?;
        let child = Command::new("pkttyagent")
            .args(["--fallback", "--notify-fd", &notify.as_raw_fd().to_string()])
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        drop(notify);
        // It closes its end once it listens, or when it dies.
        let _ = ready.read(&mut [0]);
        Some(Agent(child))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
