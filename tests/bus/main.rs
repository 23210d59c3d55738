//! The real daemon on a private bus with the shipped policy. Needs root, dbus-daemon, polkitd, setpriv,
//! strace and qemu-storage-daemon: a test that misses one of them fails.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that can not go on fails, and tells why"
)]

mod authority;
mod check;
mod diff;
mod ear;
mod erase;
mod errors;
#[path = "../mounts/faulty.rs"]
#[allow(dead_code, reason = "here devices hang, and do not fail")]
mod faulty;
mod health;
mod hung;
mod interface;
mod jobs;
mod killed;
mod life;
mod long;
mod lost;
mod report;
mod reset;
mod sandbox;
mod snapshots;
mod tool;
mod tool_jobs;
mod tool_reset;
mod tool_store;
mod watch;
mod world;
