//! Real machines for tests: images, disks, QEMU, and an agent in the guest.
//!
//! Nothing here knows what overlayd promises; that stands in the tests. A missing prerequisite is a failure.

mod agent;
mod base64;
mod clock;
mod disk;
mod firmware;
mod guest;
mod image;
mod luks;
mod machine;
#[cfg(feature = "test-full")]
mod monitor;

pub(crate) use disk::{Disk, StateFs};
pub(crate) use guest::Guest;
pub(crate) use image::{Encryption, Initramfs, RootFs, Suite};
pub(crate) use luks::KEY_FILE;
pub(crate) use machine::{Machine, StateDrive};

use std::process::Command;

/// Runs a program of the host, and gives back what it printed. Panics if it fails.
pub(crate) fn host(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("failed to run {program}: {error} (tests/packages install test)"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{program} {arguments:?}: {}\n{out}{err}", output.status);
    out.into_owned()
}
