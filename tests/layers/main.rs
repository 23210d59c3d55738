//! Snapshots on real filesystems: what the kernel's overlay wrote is copied, mounted again and compared.
//!
//! Needs root, loop devices, and mkfs for ext4, xfs and btrfs. Each test is in a mount namespace of its own. Nothing is
//! skipped: what is missing is a failure.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod diff;
mod edits;
mod manifest;
mod merging;
mod oddities;
mod property;
mod reuse;
mod rig;
mod running;
