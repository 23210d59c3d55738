//! What must not be found on a raw disk: put there in the guest, looked for from the host.

use std::process::Command;

use crate::harness::{Guest, Machine};

/// What must be found nowhere.
const SECRET: &str = "overlayd-vm-secret-51be09d4";
/// In a file, in a name, and in a file that was deleted again. Not where the marks are.
const HIDE: &str = "yes overlayd-vm-secret-51be09d4 | head -c 3000000 | tee /opt/deleted >/opt/secret
    touch /opt/overlayd-vm-secret-51be09d4; sync; rm /opt/deleted";

/// Puts it everywhere.
pub(crate) fn hide_secret(guest: &mut Guest) {
    guest.succeed(HIDE);
}

/// Whether it is anywhere on the machine's disk.
pub(crate) fn holds_secret(machine: &Machine) -> bool {
    let output = Command::new("grep").args(["-c", "-a", "-F", SECRET]).arg(machine.disk.path()).output();
    let output = output.unwrap_or_else(|error| panic!("failed to run grep: {error}"));
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    output.status.success()
}
