//! What a status tells. Its JSON is documented in overlayctl(1); fields are only ever added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Everything.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Status {
    /// Schema version, 1.
    pub version: u32,
    /// initrd, preinit, unit or none.
    pub boot_mode: String,
    /// Milliseconds of early boot; 0 if it did not run.
    pub early_boot_ms: u64,
    /// The store; none if there is no persistent state.
    pub store: Option<StoreStatus>,
    /// Every overlay.
    pub overlays: Vec<OverlayStatus>,
    /// Everything that is not as it should be, in words for people.
    pub problems: Vec<String>,
}

impl Status {
    /// Whether space is short on the state filesystem: then what is retained gives way.
    pub fn is_short(&self) -> bool {
        let short =
            |o: &OverlayStatus| o.mode == "persistent" && ["low", "critical"].contains(&o.space.as_str());
        self.overlays.iter().any(short)
    }
}

/// The store and the filesystem it lies on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct StoreStatus {
    /// UUID of the store; requests are bound to it.
    pub uuid: String,
    /// The directory through which it was read.
    pub path: String,
    /// Device node, if known.
    pub device: Option<String>,
    /// If that is an encrypted volume, the device that it is on.
    pub encrypted_on: Option<String>,
    /// Filesystem type.
    pub fstype: String,
    /// Size of the filesystem in bytes.
    pub bytes_total: u64,
    /// Free as df(1) shows it, in bytes.
    pub bytes_free: u64,
    /// Inodes in all; 0 where the filesystem makes them as needed.
    pub inodes_total: u64,
    /// Free inodes; 0 where the filesystem makes them as needed.
    pub inodes_free: u64,
    /// Whether the filesystem is mounted read-only (by itself, not by the store's guarded mount).
    pub read_only: bool,
    /// Whether the ballast that lets a reset work on a full disk is there.
    pub reserve: bool,
}

/// One overlay.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct OverlayStatus {
    /// Its name.
    pub name: String,
    /// Where it is mounted.
    pub mount_point: String,
    /// persistent, volatile, read-only or off: as configured.
    pub configured_mode: String,
    /// The same: as it is.
    pub mode: String,
    /// Why the two differ, or what else is wrong with it.
    pub degraded: Option<String>,
    /// Whether there is space for what is written: `enough`, `low`, `critical`; empty if it is not mounted.
    pub space: String,
    /// Read-only layers, highest first.
    pub lowers: Vec<String>,
    /// Identity of the base that is mounted.
    pub base: String,
    /// Identity of the base that the generation was made on.
    pub generation_base: Option<String>,
    /// Whether the two differ.
    pub base_changed: bool,
    /// The live generation.
    pub generation: Option<u64>,
    /// When it was made, Unix time in seconds.
    pub generation_created: Option<u64>,
    /// The snapshot that is mounted below the upper; none: the bare base.
    pub snapshot: Option<u64>,
    /// The snapshot that a reset goes back to; none: the bare base.
    pub baseline: Option<u64>,
    /// Every snapshot, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// What an undo would go back to; none: nothing.
    pub undo: Option<Undo>,
    /// What the upper holds.
    pub upper: Option<Usage>,
    /// What is left of the RAM that a volatile layer may take; none: it is not volatile.
    pub memory: Option<Memory>,
    /// The request that waits for the next boot.
    pub pending: Option<Pending>,
    /// How the last request ended.
    pub last: Option<Outcome>,
    /// Whether its boots come up; of the root alone.
    pub health: Option<Health>,
    /// Trees that wait to be deleted.
    pub trash: u64,
}

/// What a tree holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Usage {
    /// Allocated bytes.
    pub bytes: u64,
    /// Files, directories, whiteouts and everything else.
    pub entries: u64,
    /// False if counting was cut off by its time limit: then both are lower bounds.
    pub complete: bool,
}

/// The RAM that a volatile layer may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Memory {
    /// Its cap in bytes.
    pub bytes_total: u64,
    /// Free bytes.
    pub bytes_free: u64,
    /// Its cap of inodes.
    pub inodes_total: u64,
    /// Free inodes: each name takes one, a deleted name of the image as well.
    pub inodes_free: u64,
}

/// A request that waits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Pending {
    /// Its random id.
    pub id: String,
    /// `reset`, …
    pub action: String,
    /// Who asked.
    pub requested_by: String,
    /// Unix time in seconds.
    pub requested_at: u64,
    /// Whether it was asked in this boot.
    pub this_boot: bool,
    /// `restore`: the snapshot that the new generation stands on. `snapshot`: the number that it gets.
    pub snapshot: Option<u64>,
    /// `undo`: the generation to go back to.
    pub generation: Option<u64>,
    /// `snapshot`: whether it becomes the baseline.
    pub commit: bool,
    /// How it was asked, for people.
    pub via: Option<String>,
    /// Why, where no person asked.
    pub reason: Option<String>,
    /// `reset`: `baseline`, `factory` or `wipe`; empty for everything else.
    pub level: String,
    /// `reset`: what is kept, besides what the configuration says.
    pub keep: Vec<String>,
    /// `reset`: whether what the configuration says is kept is not.
    pub drop_kept: bool,
}

/// A request that was executed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Outcome {
    /// `reset`, …
    pub action: String,
    /// Who had asked.
    pub requested_by: String,
    /// Unix time in seconds.
    pub requested_at: u64,
    /// Unix time in seconds.
    pub executed_at: u64,
    /// `done` or `failed`.
    pub result: String,
    /// Why it failed.
    pub message: Option<String>,
    /// The snapshot that the new generation stands on.
    pub snapshot: Option<u64>,
    /// The generation that was left.
    pub from_generation: Option<u64>,
    /// The generation that was made.
    pub to_generation: u64,
    /// How it was asked, for people.
    pub via: Option<String>,
    /// Why, where no person asked.
    pub reason: Option<String>,
    /// Of a reset: `baseline`, `factory` or `wipe`; empty for everything else.
    pub level: String,
    /// Of a reset: what was kept, the first of them.
    pub kept: Vec<String>,
    /// How many were kept in all.
    pub kept_count: u64,
    /// Of a reset: patterns that matched nothing.
    pub unmatched: Vec<String>,
    /// Of a reset to the image: `erasing`, then `complete`.
    pub erasure: Option<String>,
    /// Of the same: whether what was given up is gone for good: `yes`, `no` or `unknown`.
    pub secure: Option<String>,
    /// Why.
    pub secure_why: Option<String>,
}

/// Whether the root's boots come up.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Health {
    /// `off`, `pending` (this boot was not marked yet), `good`, `bad` (the next boot goes back), or `failed` (boots do not
    /// come up, and there is nothing left to go back to).
    pub state: String,
    /// Boots of the live generation that began, and were not marked good since.
    pub boots: u64,
    /// After so many the next one goes back.
    pub tries: u64,
    /// So many are left.
    pub tries_left: u64,
    /// The generation that was marked good last.
    pub good: Option<u64>,
    /// Generations that are bad, by number, and why.
    pub bad: BTreeMap<u64, String>,
    /// How far going back has got: `start`, `good`, `baseline` or `bare`.
    pub rung: String,
    /// Where the next boot goes, if the state is `bad`.
    pub next: Option<String>,
    /// Who marked it last, or `overlayd` if it went back by itself.
    pub by: Option<String>,
    /// When, Unix time in seconds.
    pub at: Option<u64>,
}

/// One snapshot: what its record says, and what stands on it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Snapshot {
    /// Its number.
    pub id: u64,
    /// Unix time in seconds; 0 if the record can not be read.
    pub created: u64,
    /// For people.
    pub description: String,
    /// Who asked, for people.
    pub created_by: String,
    /// Free words of whoever made it.
    pub userdata: BTreeMap<String, String>,
    /// Identity of the base it was made on.
    pub base: String,
    /// `subvolume`, `reflink`, `copy` or `sealed`.
    pub strategy: String,
    /// `atomic` or `per-file`.
    pub consistency: String,
    /// The generation it was taken from; none for a volatile upper.
    pub generation: Option<u64>,
    /// Everything below the top directory.
    pub entries: u64,
    /// Bytes in its files.
    pub bytes: u64,
    /// `complete`, or `damaged`.
    pub state: String,
    /// What is wrong with a damaged one.
    pub damage: Option<String>,
    /// Whether it is kept until it is no longer protected.
    pub protected: bool,
    /// Whether a reset goes back to it.
    pub baseline: bool,
    /// Whether it is mounted.
    pub live: bool,
    /// What needs it, in words for people; none: it may be deleted, once it is not protected.
    pub in_use: Option<String>,
    /// Files that changed each time they were copied.
    pub unstable: Vec<String>,
}

/// What an undo goes back to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Undo {
    /// The generation before.
    pub generation: u64,
    /// Until when it is kept, Unix time in seconds; none: as long as there is space.
    pub until: Option<u64>,
}
