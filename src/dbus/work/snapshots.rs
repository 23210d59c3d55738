//! Jobs that make snapshots, delete them, and bring single paths back: those that take their time.

use std::path::PathBuf;

use super::{At, bounded};
use crate::dbus::flags::Effect;
use crate::dbus::jobs::Details;
use crate::error::Result;
use crate::logging::message_id;
use crate::operation::commit as commits;
use crate::operation::restore::{self, From};
use crate::operation::snapshot::{self, Made, Wanted};

pub(super) fn create(at: &At<'_>, wanted: &Wanted) -> Result<Details> {
    at.stage("estimating");
    let mut on_progress = at.on_progress("copying");
    let made = snapshot::create(at.site, at.overlay(), wanted, &at.asked(), &mut on_progress)?;
    tracing::info!(
        message_id = message_id::SNAPSHOT_CREATED,
        operation = "snapshot",
        overlay = at.overlay(),
        snapshot = made.id,
        entries = made.entries,
        bytes = made.bytes,
        strategy = %made.strategy,
        consistency = %made.consistency,
        by = at.by(),
        "snapshot created"
    );
    Ok(details(at, made))
}

pub(super) fn commit(at: &At<'_>, wanted: &Wanted, paths: &[PathBuf]) -> Result<Details> {
    at.stage("estimating");
    let mut on_progress = at.on_progress("copying");
    let made = commits::commit(at.site, at.overlay(), wanted, paths, &at.asked(), &mut on_progress)?;
    tracing::info!(
        message_id = message_id::COMMITTED,
        operation = "commit",
        overlay = at.overlay(),
        snapshot = made.id,
        entries = made.entries,
        bytes = made.bytes,
        strategy = %made.strategy,
        consistency = %made.consistency,
        by = at.by(),
        "committed"
    );
    Ok(details(at, made))
}

/// What is told of a new snapshot, and of those that had to go for it.
fn details(at: &At<'_>, made: Made) -> Details {
    for id in &made.removed {
        deleted(at, *id, "retention");
    }
    let (unstable, complete) = bounded(made.unstable, true);
    Details {
        flags: vec![("complete", complete)],
        numbers: vec![
            ("snapshot", made.id),
            ("entries", made.entries),
            ("bytes", made.bytes),
            ("reused", made.reused),
        ],
        texts: vec![("strategy", made.strategy), ("consistency", made.consistency)],
        lists: vec![("removed", made.removed.iter().map(u64::to_string).collect())],
        private: vec![("unstable", unstable)],
    }
}

pub(super) fn preview_commit(at: &At<'_>, paths: &[PathBuf]) -> Result<Details> {
    at.stage("comparing");
    let mut on_progress = at.on_progress("comparing");
    let preview = commits::preview(at.site, at.overlay(), paths, &mut on_progress)?;
    Ok(changes(preview.entries, preview.bytes, preview.lines, preview.complete))
}

pub(super) fn restore_paths(at: &At<'_>, from: From, paths: &[PathBuf], effect: Effect) -> Result<Details> {
    at.stage("comparing");
    let dry_run = effect == Effect::DryRun;
    let mut on_progress = at.on_progress(if dry_run { "comparing" } else { "restoring" });
    let asked = at.asked();
    let restored = restore::paths(at.site, at.overlay(), from, paths, dry_run, &asked, &mut on_progress)?;
    if !dry_run {
        tracing::info!(
            message_id = message_id::RESTORED_PATHS,
            operation = "paths",
            overlay = at.overlay(),
            from = %source(from),
            paths = paths.len(),
            entries = restored.entries,
            bytes = restored.bytes,
            by = at.by(),
            "paths restored"
        );
    }
    Ok(changes(restored.entries, restored.bytes, restored.lines, restored.complete))
}

fn source(from: From) -> String {
    match from {
        From::Snapshot(id) => format!("snapshot {id}"),
        From::Base => "the base".to_owned(),
    }
}

fn changes(entries: u64, bytes: u64, lines: Vec<String>, complete: bool) -> Details {
    let (lines, complete) = bounded(lines, complete);
    Details {
        flags: vec![("complete", complete)],
        numbers: vec![("entries", entries), ("bytes", bytes)],
        private: vec![("changes", lines)],
        ..Details::default()
    }
}

pub(super) fn delete(at: &At<'_>, id: u64) -> Result<Details> {
    at.stage("deleting");
    snapshot::delete(at.site, at.overlay(), id, &at.asked())?;
    deleted(at, id, at.by());
    Ok(Details { numbers: vec![("snapshot", id)], ..Details::default() })
}

fn deleted(at: &At<'_>, id: u64, by: &str) {
    tracing::info!(
        message_id = message_id::SNAPSHOT_DELETED,
        operation = "delete",
        overlay = at.overlay(),
        snapshot = id,
        by,
        "snapshot deleted"
    );
}
