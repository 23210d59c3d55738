//! `overlayctl restore` and `undo`.

use std::path::PathBuf;

use super::answer::Changes;
use super::args::{Arguments, Restore, Undo};
use super::format::bytes;
use super::output::Output;
use super::request::{entries, listed, losses, named, tell_requested, tell_steps};
use super::worker::{Back, Worker};
use super::{ask, source};
use crate::error::{Error, Kind, Result};
use crate::operation::restore::From;

/// Asks for a new generation on a snapshot, or brings paths back at once.
pub(crate) fn restore(arguments: &Arguments, restore: &Restore, output: &Output) -> Result<u8> {
    source::no_boot_without_daemon(arguments, restore.now)?;
    match restore.id {
        Some(id) if restore.paths.is_empty() => whole(arguments, restore, id, output),
        id => paths(arguments, restore, id.map_or(From::Base, From::Snapshot), output),
    }
}

/// Asks for the generation before.
pub(crate) fn undo(arguments: &Arguments, undo: &Undo, output: &Output) -> Result<u8> {
    source::no_boot_without_daemon(arguments, undo.now)?;
    let worker = Worker::new(arguments, output)?;
    if undo.dry_run {
        return tell_steps(arguments.target(), &worker.preview(&Back::Undo)?, output);
    }
    if !undo.yes {
        let overlay = source::changeable(arguments, output)?;
        // Without something to go back to there is no question; the worker says why.
        if let Some(overlay) = overlay.filter(|o| o.undo.is_some()) {
            let steps = worker.preview(&Back::Undo)?;
            ask::confirm(output, &losses(&overlay, &Back::Undo, undo.now, &steps.warnings), "Undo it?")?;
        }
    }
    tell_requested(&worker.go(&Back::Undo, undo.now)?, &Back::Undo, undo.now, output)
}

fn whole(arguments: &Arguments, restore: &Restore, id: u64, output: &Output) -> Result<u8> {
    let (worker, back) = (Worker::new(arguments, output)?, Back::Restore(id));
    if restore.dry_run {
        return tell_steps(arguments.target(), &worker.preview(&back)?, output);
    }
    if !restore.yes {
        let steps = worker.preview(&back)?;
        if let Some(overlay) = source::changeable(arguments, output)? {
            let about = losses(&overlay, &back, restore.now, &steps.warnings);
            ask::confirm(output, &about, "Restore it?")?;
        }
    }
    tell_requested(&worker.go(&back, restore.now)?, &back, restore.now, output)
}

fn paths(arguments: &Arguments, restore: &Restore, from: From, output: &Output) -> Result<u8> {
    let paths = absolute(arguments, &restore.paths)?;
    let worker = Worker::new(arguments, output)?;
    if restore.dry_run || !restore.yes {
        let preview = worker.restore_paths(from, &paths, true)?;
        if restore.dry_run {
            return tell(&preview, output);
        }
        if preview.entries > 0 {
            let overlay = source::changeable(arguments, output)?.unwrap_or_default();
            let source = match from {
                From::Snapshot(id) => named(&overlay, id),
                From::Base => "the base".to_owned(),
            };
            let about = format!(
                "These become what they are in {source}, at once:\n{}What they hold now is lost.",
                listed(&preview.changes, preview.complete)
            );
            ask::confirm(output, &about, "Restore them?")?;
        }
    }
    let done = worker.restore_paths(from, &paths, false)?;
    tell(&done, output)
}

/// 3 if there is nothing to do.
fn tell(changes: &Changes, output: &Output) -> Result<u8> {
    match output.is_json() {
        true => output.value(changes)?,
        false => output.text(&render(changes))?,
    }
    Ok(if changes.entries == 0 { 3 } else { 0 })
}

fn render(changes: &Changes) -> String {
    if changes.entries == 0 {
        return "Nothing to do: they are the same already.\n".to_owned();
    }
    let mut size = entries(changes.entries);
    if changes.bytes > 0 {
        size += &format!(", {}", bytes(changes.bytes));
    }
    if changes.result == "done" {
        return format!("Restored: {size}.\n");
    }
    let lines: String = changes.changes.iter().map(|line| format!("  {line}\n")).collect();
    let more = if changes.complete { "" } else { "  and more\n" };
    format!("It would change {size}:\n{lines}{more}")
}

/// Paths as they are in the system, wherever the caller stands. A store by itself is nowhere.
pub(crate) fn absolute(arguments: &Arguments, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let invalid = |path: &PathBuf, why: &str| {
        Error::new(Kind::InvalidArgs, format!("{} is no path to go by: {why}", path.display()))
    };
    let absolute = |path: &PathBuf| match arguments.store.is_some() && path.is_relative() {
        true => Err(invalid(path, "with --store they begin at the root of the image, with a /")),
        false => std::path::absolute(path).map_err(|error| invalid(path, &error.to_string())),
    };
    paths.iter().map(absolute).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_paths() {
        let preview = Changes {
            overlay: "root".into(),
            result: "preview",
            entries: 2,
            bytes: 12,
            changes: vec!["file /etc/hostname, 12 bytes".into(), "removed /etc/motd".into()],
            complete: true,
        };
        let expected =
            "It would change 2 entries, 12B:\n  file /etc/hostname, 12 bytes\n  removed /etc/motd\n";
        assert_eq!(render(&preview), expected);
        let cut = Changes { complete: false, ..preview.clone() };
        assert!(render(&cut).ends_with("  removed /etc/motd\n  and more\n"));
        assert_eq!(render(&Changes { result: "done", ..preview.clone() }), "Restored: 2 entries, 12B.\n");
        assert_eq!(render(&Changes { entries: 0, ..preview }), "Nothing to do: they are the same already.\n");
    }
}
