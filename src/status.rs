//! The one truth about overlayd, for D-Bus (`Describe`) and `overlayctl status --json` alike.
//!
//! Built from three things: the boot handoff, the configuration, and the store as it is now.
//! It reads, and never writes. What it tells, field by field: `view`.

pub mod change;
mod health;
pub mod report;
mod view;

use std::collections::BTreeSet;
use std::io::ErrorKind::NotFound;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{self, Config, Mode};
use crate::error::Result;
use crate::handoff::{self, BootMode, Handoff, HandoffOverlay};
use crate::motd;
use crate::observe;
use crate::plan::request::damaged_request;
use crate::plan::{execute, retain};
use crate::store::records::{Action, Level, OutcomeRecord, RequestRecord, SnapshotRecord};
use crate::store::{Layout, OverlayView, StoreView, read};
use crate::sys::{mountinfo, space, tree};
use crate::watch::{self, Watched};
pub use view::*;

/// Where to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// The store's directory; none if there is none to be had.
    pub store: Option<PathBuf>,
    /// `/run/overlayd/boot.toml`.
    pub handoff: PathBuf,
    /// Root of the running system.
    pub root: PathBuf,
    /// Whether to count what the uppers hold: the only part that is not constant time.
    pub count_upper: bool,
}

impl Sources {
    /// The running system.
    pub fn system() -> Sources {
        let store = PathBuf::from(handoff::RUN_STORE);
        Sources {
            // A filesystem that is shut down does not tell: that is a problem, and not that there is no store.
            store: store
                .symlink_metadata()
                .map_or_else(|e| e.kind() != NotFound, |m| m.is_dir())
                .then_some(store),
            handoff: handoff::BOOT_TOML.into(),
            root: "/".into(),
            count_upper: true,
        }
    }

    /// A store that no running system uses: rescue shell, image builder.
    pub fn store_only(store: &Path) -> Sources {
        Sources {
            store: Some(store.to_owned()),
            handoff: PathBuf::new(),
            root: "/".into(),
            count_upper: true,
        }
    }
}

/// The mode of an overlay that only the store knows.
const NOT_MOUNTED: &str = "not mounted";
/// Counting what an upper holds ends after this long, with a lower bound.
const COUNT_LIMIT: Duration = Duration::from_secs(2);

/// The truth. Never fails: what is wrong is part of it.
pub fn collect(sources: &Sources) -> Status {
    let mut status = Status { version: 1, boot_mode: BootMode::None.word().to_owned(), ..Status::default() };
    let handoff = handoff::load(&sources.handoff).unwrap_or_else(|e| {
        status.problems.push(e.to_string());
        None
    });
    let view = sources.store.as_ref().and_then(|dir| match read::load(&Layout::new(dir)) {
        Ok(view) => Some(view),
        Err(e) => {
            status.problems.push(e.to_string());
            None
        }
    });
    if let Some(handoff) = &handoff {
        status.boot_mode = handoff.boot_mode.word().to_owned();
        status.early_boot_ms = handoff.took_ms;
        status.problems.extend(handoff.problems.iter().cloned());
    }
    if let (Some(dir), Some(view)) = (&sources.store, &view) {
        status.store = Some(store_status(dir, view, handoff.as_ref()));
    }
    status.overlays = overlays(sources, view.as_ref(), handoff.as_ref());
    if handoff.is_some() {
        let watched = watch::load(&sources.handoff).unwrap_or_default();
        add_watched(&mut status, &watched);
    }
    status.problems.extend(damages(view.as_ref()));
    status.problems.extend(missing_handoff(sources, handoff.as_ref()));
    for overlay in &mut status.overlays {
        overlay.degraded = overlay.degraded.take().map(|why| motd::one_line(&why));
    }
    status.problems.iter_mut().for_each(|problem| *problem = motd::one_line(problem));
    let mut seen = BTreeSet::new();
    status.problems.retain(|p| seen.insert(p.clone()));
    status
}

fn store_status(dir: &Path, view: &StoreView, handoff: Option<&Handoff>) -> StoreStatus {
    let space = space::of(dir).unwrap_or_default();
    let mounts = mountinfo::read().unwrap_or_default();
    let mount = dir.ancestors().find_map(|d| mountinfo::at(&mounts, d));
    let state = handoff.and_then(|h| h.state.as_ref());
    StoreStatus {
        uuid: view.record.uuid.clone(),
        path: dir.display().to_string(),
        device: state.map(|s| s.device.clone()).or_else(|| mount.map(|m| m.source.clone())),
        encrypted_on: state.and_then(|s| s.encrypted_on.clone()),
        fstype: mount.map(|m| m.fstype.clone()).unwrap_or_default(),
        bytes_total: space.bytes_total,
        bytes_free: space.bytes_free,
        inodes_total: space.inodes_total,
        inodes_free: space.inodes_free,
        read_only: mount.is_some_and(mountinfo::Mount::superblock_is_read_only),
        reserve: view.reserve,
    }
}

/// What was noticed since the boot: of the state filesystem it concerns every overlay with something on it.
fn add_watched(status: &mut Status, watched: &Watched) {
    for overlay in status.overlays.iter_mut().filter(|o| o.mode != NOT_MOUNTED) {
        let persistent = overlay.mode == Mode::Persistent.word();
        if persistent || overlay.snapshot.is_some() {
            overlay.degraded = overlay.degraded.take().or(watched.trouble.clone());
        }
        let level = if persistent { watched.state() } else { watched.level(&overlay.name) };
        overlay.space = level.word().to_owned();
    }
    status.problems.extend(watched.shortages());
}

/// Overlays of the boot, then those that only the store knows.
fn overlays(sources: &Sources, view: Option<&StoreView>, handoff: Option<&Handoff>) -> Vec<OverlayStatus> {
    let config = config::load(&sources.root, &observe::kernel_command_line()).config;
    let booted = handoff.map(|h| &h.overlay).into_iter().flatten();
    let mut overlays: Vec<OverlayStatus> =
        booted.map(|(name, overlay)| from_handoff(name, overlay)).collect();
    for (name, state) in view.map(|v| &v.overlays).into_iter().flatten() {
        match overlays.iter_mut().find(|o| o.name == *name) {
            Some(overlay) => add_store(overlay, state, sources, &config),
            None => {
                let mut overlay = OverlayStatus {
                    name: name.clone(),
                    mode: NOT_MOUNTED.to_owned(),
                    ..OverlayStatus::default()
                };
                add_store(&mut overlay, state, sources, &config);
                overlays.push(overlay);
            }
        }
    }
    for overlay in overlays.iter_mut().filter(|o| o.mode == Mode::Volatile.word()) {
        let at = PathBuf::from(handoff::RUN_DIR).join(&overlay.name).join("volatile");
        overlay.memory = memory(&at);
        if sources.count_upper {
            overlay.upper = count(&at.join("fs"));
        }
    }
    overlays
}

fn from_handoff(name: &str, overlay: &HandoffOverlay) -> OverlayStatus {
    OverlayStatus {
        name: name.to_owned(),
        mount_point: overlay.target.clone(),
        configured_mode: overlay.configured.word().to_owned(),
        mode: overlay.mode.word().to_owned(),
        degraded: overlay.reason.clone(),
        lowers: overlay.lowers.clone(),
        base: overlay.base.clone(),
        generation: overlay.generation,
        snapshot: overlay.snapshot,
        ..OverlayStatus::default()
    }
}

fn add_store(overlay: &mut OverlayStatus, state: &OverlayView, sources: &Sources, config: &Config) {
    let live = overlay.generation.or(state.current.as_ref().ok().copied().flatten());
    let record = live.and_then(|n| state.generations.get(&n)).and_then(|g| g.record.as_ref().ok());
    if overlay.mode == NOT_MOUNTED {
        overlay.generation = live;
        overlay.snapshot = record.and_then(|r| r.snapshot);
        overlay.base = record.map(|r| r.base.clone()).unwrap_or_default();
    }
    overlay.generation_base = record.map(|r| r.base.clone());
    overlay.generation_created = record.map(|r| r.created);
    overlay.base_changed =
        overlay.mode == Mode::Persistent.word() && record.is_some_and(|r| r.base != overlay.base);
    overlay.baseline = state.baseline.as_ref().ok().copied().flatten();
    let shown = |(id, record): (&u64, &Result<SnapshotRecord>)| {
        snapshot(*id, record, overlay, retain::in_use(state, overlay.snapshot, *id))
    };
    overlay.snapshots = state.snapshots.iter().map(shown).collect();
    overlay.trash = u64::try_from(state.trash.len()).unwrap_or(u64::MAX);
    overlay.pending = state.request.as_ref().and_then(|r| r.as_ref().ok()).map(pending);
    overlay.undo = undo(state, config.overlays.get(&overlay.name).unwrap_or(config.root()).undo);
    if overlay.name == execute::ROOT {
        overlay.health = health::of(state, overlay, config.root());
    }
    overlay.last = state.outcome.as_ref().and_then(|o| o.as_ref().ok()).map(outcome);
    if let (Some(dir), Some(number), true) = (&sources.store, live, sources.count_upper) {
        overlay.upper = count(&Layout::new(dir).upper(&overlay.name, number));
    }
}

fn pending(request: &RequestRecord) -> Pending {
    Pending {
        id: request.id.clone(),
        action: request.action.word().to_owned(),
        requested_by: request.requested_by.clone(),
        requested_at: request.requested_at,
        this_boot: request.boot == observe::boot_id(),
        snapshot: request.snapshot,
        generation: request.generation,
        commit: request.commit,
        via: request.via.clone(),
        reason: request.reason.clone(),
        level: level(request.action, request.level),
        keep: request.keep.clone(),
        drop_kept: request.drop_kept,
    }
}

fn level(action: Action, level: Level) -> String {
    match action {
        Action::Reset => level.word().to_owned(),
        Action::Restore | Action::Undo | Action::Snapshot => String::new(),
    }
}

fn snapshot(
    id: u64,
    record: &Result<SnapshotRecord>,
    overlay: &OverlayStatus,
    in_use: Option<String>,
) -> Snapshot {
    let (baseline, live) = (overlay.baseline == Some(id), overlay.snapshot == Some(id));
    let record = match record {
        Ok(record) => record.clone(),
        Err(damage) => {
            let (state, damage) = ("damaged".to_owned(), Some(damage.to_string()));
            return Snapshot { id, state, damage, baseline, live, in_use, ..Snapshot::default() };
        }
    };
    Snapshot {
        id,
        created: record.created,
        description: record.description,
        created_by: record.created_by,
        userdata: record.userdata,
        base: record.base,
        strategy: record.strategy,
        consistency: record.consistency,
        generation: record.generation,
        entries: record.entries,
        bytes: record.bytes,
        state: "complete".to_owned(),
        damage: None,
        protected: record.protected,
        baseline,
        live,
        in_use,
        unstable: record.unstable,
    }
}

fn outcome(record: &OutcomeRecord) -> Outcome {
    Outcome {
        action: record.action.word().to_owned(),
        requested_by: record.requested_by.clone(),
        requested_at: record.requested_at,
        executed_at: record.executed_at,
        result: record.result.clone(),
        message: record.message.clone(),
        snapshot: record.snapshot,
        from_generation: record.from_generation,
        to_generation: record.to_generation,
        via: record.via.clone(),
        reason: record.reason.clone(),
        level: level(record.action, record.level),
        kept: record.kept.clone(),
        kept_count: record.kept_count.unwrap_or(0),
        unmatched: record.unmatched.clone(),
        erasure: record.erasure.clone(),
        secure: record.secure.clone(),
        secure_why: record.secure_why.clone(),
    }
}

/// What an undo would go back to now, and until when.
fn undo(state: &OverlayView, policy: config::Undo) -> Option<Undo> {
    let generation = retain::undo_target(state, policy, &observe::moment()).ok()?;
    let outcome = state.outcome.as_ref()?.as_ref().ok()?;
    let left = retain::left(outcome)?;
    let until = match retain::policy(Some(outcome), policy) {
        config::Undo::For(time) => Some(left.at.saturating_add(time.as_secs())),
        config::Undo::Always | config::Undo::Never => None,
    };
    Some(Undo { generation, until })
}

fn memory(at: &Path) -> Option<Memory> {
    let space = space::of(at).ok()?;
    Some(Memory {
        bytes_total: space.bytes_total,
        bytes_free: space.bytes_free,
        inodes_total: space.inodes_total,
        inodes_free: space.inodes_free,
    })
}

fn count(upper: &Path) -> Option<Usage> {
    let found = tree::usage(upper, COUNT_LIMIT).ok()?;
    Some(Usage { bytes: found.bytes, entries: found.entries, complete: found.complete })
}

/// Every record that can not be read, by name.
fn damages(view: Option<&StoreView>) -> Vec<String> {
    let mut found = Vec::new();
    for state in view.map(|v| v.overlays.values()).into_iter().flatten() {
        found.extend(state.current.as_ref().err().map(ToString::to_string));
        found.extend(state.baseline.as_ref().err().map(ToString::to_string));
        found.extend(state.snapshots.values().filter_map(|s| s.as_ref().err()).map(ToString::to_string));
        // What became a snapshot is no damage.
        let generations = state.generations.values().filter(|g| !g.husk);
        found.extend(generations.filter_map(|g| g.record.as_ref().err()).map(ToString::to_string));
        found.extend(
            state.request.iter().filter_map(|r| r.as_ref().err()).map(|e| damaged_request(e).to_string()),
        );
        found.extend(state.outcome.iter().filter_map(|o| o.as_ref().err()).map(ToString::to_string));
        found.extend(state.health.iter().filter_map(|h| h.as_ref().err()).map(ToString::to_string));
    }
    found
}

fn missing_handoff(sources: &Sources, handoff: Option<&Handoff>) -> Option<String> {
    let wanted = !sources.handoff.as_os_str().is_empty();
    (wanted && handoff.is_none()).then(|| {
        "overlayd-early did not run at this boot: is the initramfs made with overlayd's hook, and up to date?".to_owned()
    })
}
