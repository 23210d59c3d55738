//! Changing the store, one durable step a function. Each may be repeated after a power cut.

use std::fs::{self, DirBuilder};
use std::ops::ControlFlow;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;

use super::layout::Layout;
use super::records::{self, GenerationRecord, OutcomeRecord, RequestRecord, StoreRecord};
use super::reserve;
use crate::error::{Error, Kind, Result};
use crate::sys::{atomic, tree};

/// Makes the whole store beside its place and renames it there: it exists wholly or not at all.
pub fn create_store(layout: &Layout, record: &StoreRecord) -> Result<()> {
    let temporary = Layout::new(layout.root().with_extension("new"));
    tree::remove(temporary.root(), &mut |_| ControlFlow::Continue(()))?;
    make_dir(temporary.root(), 0o700)?;
    make_dir(&temporary.overlays(), 0o700)?;
    atomic::write(&temporary.record(), &records::render(&temporary.record(), record)?)?;
    atomic::write(&temporary.lock(), "")?;
    atomic::rename(temporary.root(), layout.root())
}

/// Makes a generation beside its place and renames it there.
pub fn make_generation(layout: &Layout, overlay: &str, record: &GenerationRecord) -> Result<()> {
    for directory in [layout.overlay(overlay), layout.generations(overlay), layout.trash(overlay)] {
        make_dir(&directory, 0o700)?;
    }
    let place = layout.generation(overlay, record.number);
    if place.exists() {
        return Ok(());
    }
    let temporary = place.with_extension("new");
    tree::remove(&temporary, &mut |_| ControlFlow::Continue(()))?;
    make_dir(&temporary, 0o700)?;
    // The upper's own mode is that of the merged root.
    make_dir(&temporary.join("fs"), 0o755)?;
    make_dir(&temporary.join("work"), 0o700)?;
    let path = temporary.join("generation.toml");
    atomic::write(&path, &records::render(&path, record)?)?;
    atomic::rename(&temporary, &place)?;
    atomic::sync_dir(&layout.overlay(overlay))
}

/// Moves the pointer: the one rename by which the overlay changes (invariant 2).
pub fn point_current(layout: &Layout, overlay: &str, number: u64) -> Result<()> {
    atomic::write(&layout.current(overlay), &format!("{number}\n"))
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

/// Renames `generations/<name>` into the trash, under a name that is free there.
pub fn discard(layout: &Layout, overlay: &str, name: &str) -> Result<()> {
    let from = layout.generations(overlay).join(name);
    if !from.exists() {
        return Ok(());
    }
    make_dir(&layout.trash(overlay), 0o700)?;
    let mut to = layout.trash(overlay).join(name);
    for i in 1.. {
        if !to.exists() {
            break;
        }
        to = layout.trash(overlay).join(format!("{name}.{i}"));
    }
    atomic::rename(&from, &to)
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
