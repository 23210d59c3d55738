//! Changing the store, one durable step a function. Each may be repeated after a power cut.

use std::fs::{self, DirBuilder};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::health_record::HealthRecord;
use super::layout::Layout;
use super::records::{self, GenerationRecord, OutcomeRecord, RequestRecord, SnapshotRecord, StoreRecord};
use super::{reserve, trash};
use crate::error::{Error, Kind, Result};
use crate::keep::{self, Selection};
use crate::sys::{atomic, btrfs};

/// Makes the whole store beside its place and renames it there: it exists wholly or not at all.
pub fn create_store(layout: &Layout, record: &StoreRecord) -> Result<()> {
    let temporary = Layout::new(layout.root().with_extension("new"));
    trash::remove(temporary.root(), &mut |_| ControlFlow::Continue(()))?;
    make_dir(temporary.root(), 0o700)?;
    make_dir(&temporary.overlays(), 0o700)?;
    atomic::write(&temporary.record(), &records::render(&temporary.record(), record)?)?;
    atomic::write(&temporary.lock(), "")?;
    atomic::rename(temporary.root(), layout.root())
}

/// Makes an overlay's directories.
pub fn make_overlay(layout: &Layout, overlay: &str) -> Result<()> {
    for directory in [
        layout.overlay(overlay),
        layout.generations(overlay),
        layout.snapshots(overlay),
        layout.trash(overlay),
    ] {
        make_dir(&directory, 0o700)?;
    }
    atomic::sync_dir(&layout.overlay(overlay))?;
    atomic::sync_dir(&layout.overlays())
}

/// Makes a generation beside its place and renames it there; on btrfs it is a subvolume.
pub fn make_generation(layout: &Layout, overlay: &str, record: &GenerationRecord) -> Result<()> {
    make_overlay(layout, overlay)?;
    let place = layout.generation(overlay, record.number);
    if place.exists() {
        return Ok(());
    }
    let temporary = place.with_extension("new");
    make_volume(&temporary)?;
    // The upper's own mode is that of the merged root.
    make_dir(&temporary.join("fs"), 0o755)?;
    make_dir(&temporary.join("work"), 0o700)?;
    let path = temporary.join("generation.toml");
    atomic::write(&path, &records::render(&path, record)?)?;
    atomic::sync_dir(&temporary)?;
    atomic::rename(&temporary, &place)
}

/// Fills the upper of a generation that is not pointed at with what is kept, from scratch, and makes it durable. On a
/// failure it is empty again: what did not fit must not keep the rest from working.
pub fn keep_files(layout: &Layout, overlay: &str, generation: u64, kept: &Selection) -> Result<()> {
    let upper = layout.upper(overlay, generation);
    clear(&upper)?;
    let copied = keep::copy::copy(layout, overlay, kept, &upper);
    let copied = copied.and_then(|()| reserve::sync_filesystem(&upper));
    if copied.is_err() {
        clear(&upper)?;
        reserve::sync_filesystem(&upper)?;
    }
    copied
}

/// Removes everything in a directory.
fn clear(directory: &Path) -> Result<()> {
    let failed = |e| Error::io("list", directory, e);
    for entry in fs::read_dir(directory).map_err(failed)? {
        remove_all(&entry.map_err(failed)?.path())?;
    }
    Ok(())
}

/// Moves the pointer: the one rename by which the overlay changes (invariant 2).
pub fn point_current(layout: &Layout, overlay: &str, number: u64) -> Result<()> {
    atomic::write(&layout.current(overlay), &format!("{number}\n"))
}

/// Moves the baseline; none is the bare image.
pub fn point_baseline(layout: &Layout, overlay: &str, snapshot: Option<u64>) -> Result<()> {
    match snapshot {
        Some(id) => atomic::write(&layout.baseline(overlay), &format!("{id}\n")),
        None => atomic::remove(&layout.baseline(overlay)),
    }
}

/// Records that the numbers up to `id` were given to snapshots: none is used again.
pub fn take_snapshot_number(layout: &Layout, overlay: &str, id: u64) -> Result<()> {
    atomic::write(&layout.last_snapshot(overlay), &format!("{id}\n"))
}

/// Makes `snapshots/<id>.new`, empty, in place of what may have been left there; on btrfs a subvolume.
pub fn begin_snapshot(layout: &Layout, overlay: &str, id: u64) -> Result<PathBuf> {
    make_overlay(layout, overlay)?;
    let temporary = layout.new_snapshot(overlay, id);
    make_volume(&temporary)?;
    Ok(temporary)
}

/// Puts the record into `snapshots/<id>.new`, and renames that to its place once all of it is durable.
pub fn finish_snapshot(layout: &Layout, overlay: &str, record: &SnapshotRecord) -> Result<()> {
    let temporary = layout.new_snapshot(overlay, record.id);
    let path = temporary.join("snapshot.toml");
    atomic::write(&path, &records::render(&path, record)?)?;
    reserve::sync_filesystem(&temporary)?;
    atomic::rename(&temporary, &layout.snapshot(overlay, record.id))
}

/// Replaces the record of a snapshot.
pub fn write_snapshot_record(layout: &Layout, overlay: &str, record: &SnapshotRecord) -> Result<()> {
    let path = layout.snapshot_record(overlay, record.id);
    atomic::write(&path, &records::render(&path, record)?)
}

/// Makes the snapshot that generation `record.generation` is to become. Where that is a subvolume, a copy of it is
/// whole at once; elsewhere the snapshot waits, without its files, for [`seal_files`].
pub fn prepare_seal(layout: &Layout, overlay: &str, record: &SnapshotRecord) -> Result<()> {
    if layout.snapshot(overlay, record.id).exists() {
        return Ok(());
    }
    make_overlay(layout, overlay)?;
    let temporary = layout.new_snapshot(overlay, record.id);
    let generation = record.generation.unwrap_or_default();
    check_seal(layout, overlay, generation)?;
    let from = layout.generation(overlay, generation);
    remove_all(&temporary)?;
    if btrfs::copy(&from, &temporary)? {
        atomic::remove(&temporary.join("generation.toml"))?;
        remove_all(&temporary.join("work"))?;
    } else {
        // No subvolume, even if it could be one: the files come by a rename, which does not cross subvolumes.
        make_dir(&temporary, 0o700)?;
    }
    finish_snapshot(layout, overlay, record)
}

/// Refuses to seal a generation with subvolumes in it that somebody made by hand: a copy of its own does not hold them.
pub fn check_seal(layout: &Layout, overlay: &str, generation: u64) -> Result<()> {
    let found = btrfs::nested(&layout.generation(overlay, generation))?;
    if found.is_empty() {
        return Ok(());
    }
    let shown = |path: &PathBuf| format!("/{}", path.strip_prefix("fs").unwrap_or(path).display());
    let names: Vec<String> = found.iter().map(shown).collect();
    let what = format!("a snapshot at boot would not hold the subvolumes in it: {}", names.join(", "));
    Err(Error::new(Kind::Refused, what)
        .remedy("take it now, without --quiesced: that copies what is in them"))
}

/// Moves the files of a generation to the snapshot that waits for them.
pub fn seal_files(layout: &Layout, overlay: &str, generation: u64, snapshot: u64) -> Result<()> {
    let files = layout.snapshot_fs(overlay, snapshot);
    match files.exists() {
        true => Ok(()),
        false => atomic::rename(&layout.upper(overlay, generation), &files),
    }
}

/// Writes the request; on a full disk into the block and inode that the reserve holds for it.
pub fn write_request(layout: &Layout, overlay: &str, record: &RequestRecord) -> Result<()> {
    let path = layout.request(overlay);
    let text = records::render(&path, record)?;
    match atomic::write(&path, &text) {
        Err(e) if e.kind() == Kind::InsufficientSpace => {}
        other => return other,
    }
    match atomic::write_through_slot(&reserve::request_slot(layout), &path, &text) {
        Err(e) if e.kind() == Kind::InsufficientSpace => {
            reserve::release_spare(layout)?;
            atomic::write(&path, &text)
        }
        other => other,
    }
}

/// Writes which words and variables asked for a reset already; on a full disk into what the reserve spares.
pub fn remember_triggers(layout: &Layout, marks: &[String]) -> Result<()> {
    let path = layout.tokens();
    let text: String = marks.iter().flat_map(|mark| [mark, "\n"]).collect();
    match atomic::write(&path, &text) {
        Err(e) if e.kind() == Kind::InsufficientSpace => {
            reserve::release_spare(layout)?;
            atomic::write(&path, &text)
        }
        other => other,
    }
}

/// Writes which boots came up; on a full disk into what the reserve spares.
pub fn write_health(layout: &Layout, overlay: &str, record: &HealthRecord) -> Result<()> {
    let path = layout.health(overlay);
    let text = records::render(&path, record)?;
    match atomic::write(&path, &text) {
        Err(e) if e.kind() == Kind::InsufficientSpace => {
            reserve::release_spare(layout)?;
            atomic::write(&path, &text)
        }
        other => other,
    }
}

/// Renames a health record that can not be read out of the way, for whoever wants to look at it.
#[cfg(feature = "host")]
pub fn set_health_aside(layout: &Layout, overlay: &str) -> Result<()> {
    atomic::rename(&layout.health(overlay), &layout.overlay(overlay).join("health.toml.damaged"))
}

/// Writes how a request ended.
pub fn write_outcome(layout: &Layout, overlay: &str, record: &OutcomeRecord) -> Result<()> {
    let path = layout.outcome(overlay);
    atomic::write(&path, &records::render(&path, record)?)
}

/// Removes the request.
pub fn remove_request(layout: &Layout, overlay: &str) -> Result<()> {
    atomic::remove(&layout.request(overlay))
}

/// Renames a request that can not be read out of the way, for whoever wants to look at it.
pub fn set_request_aside(layout: &Layout, overlay: &str) -> Result<()> {
    atomic::rename(&layout.request(overlay), &layout.overlay(overlay).join("request.toml.damaged"))
}

/// Renames `generations/<name>` into the trash.
pub fn discard(layout: &Layout, overlay: &str, name: &str) -> Result<()> {
    throw_away(layout, overlay, &layout.generations(overlay).join(name), name)
}

/// Renames `snapshots/<name>` into the trash.
pub fn discard_snapshot(layout: &Layout, overlay: &str, name: &str) -> Result<()> {
    throw_away(layout, overlay, &layout.snapshots(overlay).join(name), &format!("snapshot-{name}"))
}

/// Renames what lies at `path` in the directory of all overlays into the trash of `overlay`.
pub fn discard_other(layout: &Layout, overlay: &str, path: &Path) -> Result<()> {
    // Not its own name, which may be no text, hidden, or too long already.
    throw_away(layout, overlay, &layout.overlays().join(path), "other")
}

/// Renames `from` into the trash, under a name that is free there.
fn throw_away(layout: &Layout, overlay: &str, from: &Path, name: &str) -> Result<()> {
    // A link that leads nowhere is there.
    let is_there = |path: &Path| path.symlink_metadata().is_ok();
    if !is_there(from) {
        return Ok(());
    }
    // Somebody may have put a read-only subvolume here, or in the place of an overlay.
    for place in [&*layout.overlay(overlay), from].into_iter().filter(|place| btrfs::is_subvolume(place)) {
        fs::File::open(place).map_err(|e| Error::io("open", place, e)).map(btrfs::make_writable)?;
    }
    make_dir(&layout.trash(overlay), 0o700)?;
    let mut to = layout.trash(overlay).join(name);
    for i in 1.. {
        if !is_there(&to) {
            break;
        }
        to = layout.trash(overlay).join(format!("{name}.{i}"));
    }
    atomic::rename(from, &to)
}

/// A private directory, empty, in place of whatever was there; on btrfs a subvolume, so that it can be copied and
/// deleted as a whole. Where one can not be made, a directory does as well, only slower.
fn make_volume(path: &Path) -> Result<()> {
    remove_all(path)?;
    match btrfs::create(path) {
        Ok(true) => fs::set_permissions(path, fs::Permissions::from_mode(0o700))
            .map_err(|e| Error::io("set the mode of", path, e)),
        Ok(false) => make_dir(path, 0o700),
        Err(e) if e.kind() == Kind::InsufficientSpace => make_dir(path, 0o700),
        Err(e) => Err(e),
    }
}

fn remove_all(path: &Path) -> Result<()> {
    trash::remove(path, &mut |_| ControlFlow::Continue(())).map(drop)
}

/// A directory of exactly this mode; an existing one is left as it is.
fn make_dir(path: &Path, mode: u32) -> Result<()> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        made => made.map_err(|e| Error::io("make", path, e))?,
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .map_err(|e| Error::io("set the mode of", path, e))
}
