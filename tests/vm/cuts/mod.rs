//! Power cuts at random moments of everything that changes a store, one after the other on the same machine: each boot judges
//! the cut before it, and begins what the next one cuts. Which, when and with which seed: OVERLAYD_CUTS_SEED is one, and with
//! it the same is tried in the same order. OVERLAYD_CUTS is how often.

mod campaign;
mod expected;
mod judge;
mod ledger;
mod operation;

use crate::harness::StateFs;
use campaign::Campaign;

/// So many cuts of each campaign: with six of them at least 200.
const CUTS: u32 = 35;

fn cut(name: &str, fs: StateFs) {
    let times = std::env::var("OVERLAYD_CUTS").ok();
    let times = times.map_or(CUTS, |text| text.parse().expect("OVERLAYD_CUTS is a number"));
    Campaign::new(name, fs).run(times);
}

#[test]
fn everything_on_ext4() {
    cut("cuts-ext4", StateFs::Ext4);
}

#[test]
fn everything_on_ext4_once_more() {
    cut("cuts-ext4-more", StateFs::Ext4);
}

#[test]
fn everything_on_xfs() {
    cut("cuts-xfs", StateFs::Xfs);
}

#[test]
fn everything_on_xfs_once_more() {
    cut("cuts-xfs-more", StateFs::Xfs);
}

#[test]
fn everything_on_btrfs() {
    cut("cuts-btrfs", StateFs::Btrfs);
}

#[test]
fn everything_on_btrfs_once_more() {
    cut("cuts-btrfs-more", StateFs::Btrfs);
}
