//! Steps: a plan is a list of these. Data only; `exec` knows how, `--dry-run` prints them.

use std::fmt;
use std::path::PathBuf;

use crate::keep::{Pattern, Selection};
use crate::store::health_record::{HealthRecord, Rung};
use crate::store::records::{GenerationRecord, OutcomeRecord, RequestRecord, SnapshotRecord, StoreRecord};
use crate::sys::overlay::Overlay;

/// One thing to do. Each may be repeated after an interruption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Check the state filesystem.
    Fsck {
        /// Device node.
        device: PathBuf,
        /// Filesystem type.
        fstype: String,
        /// Even if it says that it is clean.
        force: bool,
    },
    /// Make the state filesystem.
    Format {
        /// Device node.
        device: PathBuf,
        /// Filesystem type.
        fstype: String,
    },
    /// Mount the state filesystem.
    MountState {
        /// Device node.
        device: PathBuf,
        /// Filesystem type.
        fstype: String,
        /// Comma-separated options.
        options: String,
    },
    /// Make the store.
    CreateStore(StoreRecord),
    /// Set ballast of so many bytes aside.
    FillReserve(u64),
    /// Give the ballast free.
    ReleaseReserve,
    /// Give the part of the ballast free that an ordinary boot or a request may use up.
    ReleaseSpare,
    /// Make the directories of an overlay.
    MakeOverlay(String),
    /// Make a generation with an empty upper.
    MakeGeneration(String, GenerationRecord),
    /// Put what a reset keeps into the empty upper of a new generation.
    KeepFiles {
        /// The overlay.
        overlay: String,
        /// The new generation.
        generation: u64,
        /// What is kept, and of which layers.
        kept: Selection,
    },
    /// Move the pointer of an overlay to a generation.
    PointCurrent(String, u64),
    /// Move the baseline to a snapshot, or to the bare image.
    PointBaseline(String, Option<u64>),
    /// Record that this number, and those below it, belong to snapshots.
    TakeSnapshotNumber(String, u64),
    /// Make the snapshot that a generation is to become: whole where the filesystem can copy it in constant time, else
    /// without the files.
    PrepareSeal(String, SnapshotRecord),
    /// Move the files of a generation to the snapshot that waits for them, unless it has them.
    SealFiles {
        /// The overlay.
        overlay: String,
        /// Where they lie.
        generation: u64,
        /// Where they go.
        snapshot: u64,
    },
    /// Remember which words and variables asked for a reset already: each a line, the newest last.
    RememberTriggers(Vec<String>),
    /// Write that one more boot of a generation began. What can not be written must not stop it.
    CountBoot(String, HealthRecord),
    /// Write a request.
    WriteRequest(String, RequestRecord),
    /// Write how a request ended.
    WriteOutcome(String, OutcomeRecord),
    /// Rename a directory of `generations/` into the trash.
    Discard(String, String),
    /// Rename a directory of `snapshots/` into the trash.
    DiscardSnapshot(String, String),
    /// Rename anything else into the trash.
    DiscardOther {
        /// The overlay whose trash it is.
        overlay: String,
        /// The path, in the directory of all overlays.
        path: PathBuf,
    },
    /// Remove the request.
    RemoveRequest(String),
    /// Rename an unreadable request out of the way.
    SetRequestAside(String),
    /// Make the base's superblock read-only.
    ProtectBase,
    /// Show the base, read-only, at this place.
    ExposeBase(PathBuf),
    /// Mount a RAM filesystem for a volatile upper, with so many bytes and inodes, at this place.
    MountVolatile {
        /// Mount point.
        at: PathBuf,
        /// Cap.
        bytes: u64,
        /// Cap.
        inodes: u64,
    },
    /// Mount the overlay, try it out, attach it over the base, and what was mounted below the base again in it.
    MountOverlay {
        /// What to mount.
        overlay: Overlay,
        /// Mount points below the base, relative to it.
        submounts: Vec<PathBuf>,
    },
    /// Show the store, alone of the state filesystem, at `/run/overlayd/store`.
    ExposeStore,
    /// Make the store's mount read-only for everyone but the daemon.
    GuardStore,
    /// Leave what the booted system needs: the shutdown step, the drop-in, the link to the base's device.
    PrepareHost,
}

impl Step {
    /// Whether it prepares what a running system has already: the base and its view, the store's place, the shutdown step.
    pub fn is_for_a_boot(&self) -> bool {
        matches!(
            self,
            Step::ProtectBase
                | Step::ExposeBase(_)
                | Step::ExposeStore
                | Step::GuardStore
                | Step::PrepareHost
        )
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Fsck { device, fstype, force } => {
                write!(f, "check {fstype} on {}{}", device.display(), if *force { " (forced)" } else { "" })
            }
            Step::Format { device, fstype } => write!(f, "make {fstype} on {}", device.display()),
            Step::MountState { device, fstype, options } => {
                write!(f, "mount {fstype} on {} with {options}", device.display())
            }
            Step::CreateStore(record) => write!(f, "create store {}", record.uuid),
            Step::FillReserve(bytes) => write!(f, "set {bytes} bytes aside for a reset on a full disk"),
            Step::ReleaseReserve => f.write_str("release what was set aside for a reset on a full disk"),
            Step::ReleaseSpare => f.write_str("release the spare part of what was set aside"),
            Step::MakeOverlay(overlay) => write!(f, "make the directories of {overlay}"),
            Step::MakeGeneration(overlay, record) => {
                write!(f, "make generation {} of {overlay} on ", record.number)?;
                record.snapshot.map_or(Ok(()), |id| write!(f, "snapshot {id} and "))?;
                f.write_str(&record.base)
            }
            Step::KeepFiles { overlay, generation, kept } => keeping(f, overlay, *generation, kept),
            Step::PointBaseline(overlay, Some(id)) => {
                write!(f, "make snapshot {id} of {overlay} the baseline")
            }
            Step::PointBaseline(overlay, None) => write!(f, "make the bare image the baseline of {overlay}"),
            Step::TakeSnapshotNumber(overlay, id) => {
                write!(f, "take number {id} for a snapshot of {overlay}")
            }
            Step::PrepareSeal(overlay, record) => write!(f, "prepare snapshot {} of {overlay}", record.id),
            Step::SealFiles { overlay, generation, snapshot } => {
                write!(f, "make the files of generation {generation} of {overlay} snapshot {snapshot}")
            }
            Step::DiscardSnapshot(overlay, name) => {
                write!(f, "move snapshot {name} of {overlay} to the trash")
            }
            Step::RememberTriggers(marks) => {
                write!(f, "remember what asked for a reset: {}", marks.join(" "))
            }
            Step::CountBoot(overlay, record) => counting(f, overlay, record),
            Step::PointCurrent(overlay, number) => {
                write!(f, "make generation {number} of {overlay} the live one")
            }
            Step::WriteRequest(overlay, record) => {
                let (word, by) = (record.action.word(), &record.requested_by);
                write!(f, "record the request to {word} {overlay}, by {by}")
            }
            Step::WriteOutcome(overlay, record) => ending(f, overlay, record),
            Step::Discard(overlay, name) => write!(f, "move generation {name} of {overlay} to the trash"),
            Step::DiscardOther { overlay, path } => {
                write!(f, "move {} to the trash of {overlay}", path.display())
            }
            Step::RemoveRequest(overlay) => write!(f, "remove the request for {overlay}"),
            Step::SetRequestAside(overlay) => write!(f, "set the unreadable request for {overlay} aside"),
            Step::ProtectBase => f.write_str("make the base's filesystem read-only"),
            Step::ExposeBase(at) => write!(f, "show the base at {}", at.display()),
            Step::MountVolatile { at, bytes, inodes } => {
                write!(f, "mount a RAM filesystem of {bytes} bytes and {inodes} inodes at {}", at.display())
            }
            Step::MountOverlay { overlay, submounts } => mounting(f, overlay, submounts),
            Step::ExposeStore => f.write_str("show the store"),
            Step::GuardStore => f.write_str("guard the store"),
            Step::PrepareHost => f.write_str("prepare the booted system"),
        }
    }
}

fn counting(f: &mut fmt::Formatter<'_>, overlay: &str, record: &HealthRecord) -> fmt::Result {
    let HealthRecord { generation, boots, .. } = record;
    write!(f, "count boot {boots} of generation {generation} of {overlay}")?;
    record.good.iter().try_for_each(|good| write!(f, ", good was {good}"))?;
    record.bad.keys().try_for_each(|bad| write!(f, ", bad is {bad}"))?;
    if record.rung == Rung::Start { Ok(()) } else { write!(f, ", back at {}", record.rung.word()) }
}

fn keeping(f: &mut fmt::Formatter<'_>, overlay: &str, generation: u64, kept: &Selection) -> fmt::Result {
    let from: Vec<String> = kept.from.iter().map(ToString::to_string).collect();
    let (count, bytes, from) = (kept.total.count, kept.total.bytes, from.join(" and "));
    write!(f, "put {count} entries, {bytes} bytes, of {from} of {overlay} into generation {generation}, ")?;
    let patterns: Vec<&str> = kept.patterns.iter().map(Pattern::text).collect();
    write!(f, "by the keep-list {}", patterns.join(" "))
}

fn ending(f: &mut fmt::Formatter<'_>, overlay: &str, record: &OutcomeRecord) -> fmt::Result {
    write!(f, "record that {} of {overlay} is {}", record.action.word(), record.result)?;
    record.erasure.iter().try_for_each(|erasure| write!(f, ", {erasure}"))?;
    record.kept_count.iter().try_for_each(|count| write!(f, ", {count} kept"))?;
    record.unmatched.iter().try_for_each(|pattern| write!(f, ", nothing by {pattern}"))
}

fn mounting(f: &mut fmt::Formatter<'_>, overlay: &Overlay, submounts: &[PathBuf]) -> fmt::Result {
    let Overlay { name, upper, lowers, options, .. } = overlay;
    let (upper, lowers) = (upper.display(), lowers.len());
    write!(f, "mount overlay {name} with upper {upper} over {lowers} lower, options {options}")?;
    submounts.iter().try_for_each(|path| write!(f, ", carrying {} over", path.display()))
}
