//! Jobs that ask something of the next boot, and their previews.

use std::path::PathBuf;

use super::{At, bounded};
use crate::dbus::jobs::Details;
use crate::dbus::mount_unit::ServiceManager;
use crate::error::{Error, Kind, Result};
use crate::logging::message_id;
use crate::operation::snapshot::Wanted;
use crate::operation::{self, Asked, Planned, losing, restore, snapshot, switch};
use crate::plan::request::Resetting;

const STAGE: &str = "requesting";

pub(super) fn reset(at: &At<'_>, wanted: &Resetting, via: Option<&str>) -> Result<Details> {
    at.stage(STAGE);
    let asked = at.asked();
    let asked = Asked { via: via.map(str::to_owned).or(asked.via), ..asked };
    let planned = at.carry_out(&|| operation::request_reset(at.site, at.overlay(), wanted, &asked))?;
    tracing::info!(
        message_id = message_id::RESET_REQUESTED,
        operation = "reset",
        overlay = at.overlay(),
        request = %planned.request.id,
        by = %planned.request.requested_by,
        via = planned.request.via.as_deref().unwrap_or_default(),
        level = planned.request.level.word(),
        "reset requested"
    );
    Ok(written(at, planned))
}

pub(super) fn restore(at: &At<'_>, id: u64) -> Result<Details> {
    at.stage(STAGE);
    let planned = at.carry_out(&|| restore::request(at.site, at.overlay(), id, &at.asked()))?;
    tracing::info!(
        message_id = message_id::RESTORE_REQUESTED,
        operation = "restore",
        overlay = at.overlay(),
        snapshot = id,
        request = %planned.request.id,
        by = %planned.request.requested_by,
        "restore requested"
    );
    Ok(written(at, planned))
}

pub(super) fn undo(at: &At<'_>) -> Result<Details> {
    at.stage(STAGE);
    let planned = at.carry_out(&|| restore::request_undo(at.site, at.overlay(), &at.asked()))?;
    tracing::info!(
        message_id = message_id::UNDO_REQUESTED,
        operation = "undo",
        overlay = at.overlay(),
        generation = planned.request.generation.unwrap_or(0),
        request = %planned.request.id,
        by = %planned.request.requested_by,
        "undo requested"
    );
    Ok(written(at, planned))
}

pub(super) fn snapshot(at: &At<'_>, wanted: &Wanted) -> Result<Details> {
    seal(at, wanted, false)
}

pub(super) fn commit(at: &At<'_>, wanted: &Wanted, paths: &[PathBuf]) -> Result<Details> {
    match paths {
        [] => seal(at, wanted, true),
        _ => Err(Error::new(Kind::InvalidArgs, "a quiesced commit seals the whole layer, not single paths")
            .remedy("leave out --quiesced or the paths")),
    }
}

/// The next boot makes a snapshot of the layer as a whole, before anything runs.
fn seal(at: &At<'_>, wanted: &Wanted, commit: bool) -> Result<Details> {
    at.stage(STAGE);
    let planned = at.carry_out(&|| snapshot::request(at.site, at.overlay(), wanted, commit, &at.asked()))?;
    tracing::info!(
        message_id = message_id::SNAPSHOT_REQUESTED,
        operation = if commit { "commit" } else { "snapshot" },
        overlay = at.overlay(),
        snapshot = planned.request.snapshot.unwrap_or(0),
        request = %planned.request.id,
        by = %planned.request.requested_by,
        "snapshot requested"
    );
    Ok(written(at, planned))
}

impl At<'_> {
    fn carry_out(&self, ask: &dyn Fn() -> Result<Planned>) -> Result<Planned> {
        switch::carry_out(self.site, self.overlay(), &self.asked(), &ServiceManager, ask)
    }
}

/// What is told of a request that stands, or that was carried out at once.
fn written(at: &At<'_>, planned: Planned) -> Details {
    let request = planned.request;
    let named = [("snapshot", request.snapshot), ("generation", request.generation)];
    let named = named.into_iter().filter_map(|(name, number)| Some((name, number?)));
    Details {
        flags: vec![
            ("was-pending", planned.steps.is_empty()),
            ("at-once", switch::is_immediate(at.overlay())),
        ],
        numbers: [("requested-at", request.requested_at)].into_iter().chain(named).collect(),
        texts: vec![("request", request.id), ("requested-by", request.requested_by)],
        ..Details::default()
    }
}

pub(super) fn preview_reset(at: &At<'_>, wanted: &Resetting) -> Result<Details> {
    at.stage("comparing");
    let mut on_progress = at.on_progress("comparing");
    let losses = losing::preview(at.site, at.overlay(), wanted, &at.asked(), &mut on_progress)?;
    let mut details = plans(&losses.now, &losses.at_boot, losses.warnings);
    let (given_up, all) = bounded(losses.given_up, true);
    let (unmatched, _) = bounded(losses.unmatched, true);
    let complete = all && losses.lost.complete && losses.kept.complete;
    details.flags = vec![("complete", complete)];
    details.numbers = vec![
        ("lost-entries", losses.lost.entries),
        ("lost-bytes", losses.lost.bytes),
        ("kept-entries", losses.kept.entries),
        ("kept-bytes", losses.kept.bytes),
    ];
    // The steps name patterns of what is kept.
    details.private.append(&mut details.lists);
    details.lists.push(("given-up", given_up));
    let names = [("lost", losses.lost.lines), ("kept", losses.kept.lines), ("unmatched", unmatched)];
    details.private.extend(names);
    Ok(details)
}

pub(super) fn preview_restore(at: &At<'_>, id: u64) -> Result<Details> {
    let preview = restore::preview(at.site, at.overlay(), id, &at.asked())?;
    Ok(plans(&preview.now, &preview.at_boot, preview.warnings))
}

pub(super) fn preview_undo(at: &At<'_>) -> Result<Details> {
    let preview = restore::preview_undo(at.site, at.overlay(), &at.asked())?;
    Ok(plans(&preview.now, &preview.at_boot, preview.warnings))
}

fn plans<S: ToString>(now: &[S], at_boot: &[S], warnings: Vec<String>) -> Details {
    let lines = |steps: &[S]| steps.iter().map(ToString::to_string).collect();
    let (warnings, complete) = bounded(warnings, true);
    Details {
        flags: vec![("complete", complete)],
        lists: vec![("now", lines(now)), ("at-boot", lines(at_boot))],
        private: vec![("warnings", warnings)],
        ..Details::default()
    }
}
