//! Crashes: a power cut after any write, and a kill at any system call, of everything that changes a store.
//!
//! Needs root, loop devices, FUSE, qemu-storage-daemon, strace, and mkfs for ext4, xfs, btrfs and squashfs. Each test is
//! in a mount namespace of its own and works on a tmpfs. `make test` tries a sample, `make test-crash` thousands:
//!
//!   OVERLAYD_CRASH_STATES   how many power cuts in all, of every scenario on each filesystem; by default 120, of each
//!                           scenario on one of them, in turn
//!   OVERLAYD_CRASH_ONLY     one scenario, by its name
//!   OVERLAYD_CRASH_KILLS    `all`: a kill at every call, not at some of each kind
//!   OVERLAYD_CRASH_SEED     which; a run prints its own, and the same seed makes the same choices

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::print_stderr, reason = "a test says what it tried")]

mod chance;
mod judge;
mod kills;
mod machine;
mod manifest;
mod recorder;
mod replay;
mod scenarios;
mod states;
mod system;
mod writelog;
