//! Real mounts: the shipped `overlayd-early` over real images, on loop devices, in a mount namespace of its own.
//!
//! Needs root, loop devices, and mkfs for ext4, xfs, btrfs, squashfs and erofs. Nothing is skipped: what is
//! missing is a failure. Each test has a private mount namespace, so nothing leaks and tests run in parallel.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod bad_days;
mod commits;
mod crash;
mod factory;
mod faults;
mod faulty;
mod flavours;
mod hanging;
mod health;
mod in_the_way;
mod keep;
mod lost;
mod modes;
mod no_attributes;
mod odd_layers;
#[path = "../layers/manifest.rs"]
#[allow(dead_code, reason = "the tests of layers look at holes too")]
mod oracle;
mod other;
mod other_base;
mod paths;
mod preview;
mod reset;
mod restore;
mod rig;
mod room;
mod snapshots;
mod subvolumes;
mod switching;
mod triggers;
mod volatile;
mod watch;
mod wipe;
mod wipe_asked;
mod wipe_cuts;
