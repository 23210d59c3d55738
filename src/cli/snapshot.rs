//! `overlayctl snapshot …` and `commit`.

use std::collections::BTreeMap;

use super::answer::{Changes, Taken, Touched};
use super::args::{Arguments, Commit, Create, Describe, SnapshotCommand, Words};
use super::format::bytes;
use super::output::Output;
use super::request::{entries, named};
use super::restore::absolute;
use super::snapshots::{holds, page, table};
use super::worker::Worker;
use super::{ask, report, source};
use crate::error::{Error, Kind, Result};
use crate::operation::snapshot::Wanted;
use crate::status::{OverlayStatus, Snapshot};

/// Does what the command says.
pub(crate) fn snapshot(arguments: &Arguments, command: &SnapshotCommand, output: &Output) -> Result<u8> {
    match command {
        SnapshotCommand::Create(create) => make(arguments, create, output),
        SnapshotCommand::List => list(arguments, output),
        SnapshotCommand::Show { id } => show(arguments, *id, output),
        SnapshotCommand::Delete { ids, yes } => delete(arguments, ids, *yes, output),
        SnapshotCommand::Protect { ids, off } => protect(arguments, ids, !*off, output),
        SnapshotCommand::Describe(describe) => set_words(arguments, describe, output),
    }
}

/// Makes a snapshot that becomes the baseline, or tells what it would hold.
pub(crate) fn commit(arguments: &Arguments, commit: &Commit, output: &Output) -> Result<u8> {
    let paths = absolute(arguments, &commit.paths)?;
    let worker = Worker::new(arguments, output)?;
    if commit.dry_run {
        let preview = worker.preview_commit(&paths)?;
        match output.is_json() {
            true => output.value(&preview)?,
            false => output.text(&held(&preview))?,
        }
        return Ok(0);
    }
    let wanted = wanted(&commit.words);
    if commit.quiesced {
        return at_boot(&worker, &wanted, true, output);
    }
    let taken = worker.commit(&wanted, &paths)?;
    match output.is_json() {
        true => output.value(&taken)?,
        false => output.text(&(made(&taken) + "A reset goes back to it.\n"))?,
    }
    Ok(0)
}

fn make(arguments: &Arguments, create: &Create, output: &Output) -> Result<u8> {
    let worker = Worker::new(arguments, output)?;
    let wanted = wanted(&create.words);
    if create.quiesced {
        return at_boot(&worker, &wanted, false, output);
    }
    let taken = worker.create(&wanted)?;
    match output.is_json() {
        true => output.value(&taken)?,
        false => output.text(&made(&taken))?,
    }
    Ok(0)
}

fn at_boot(worker: &Worker<'_>, wanted: &Wanted, commit: bool, output: &Output) -> Result<u8> {
    let done = worker.create_at_boot(wanted, commit)?;
    if output.is_json() {
        output.value(&done)?;
        return Ok(0);
    }
    let number = done.snapshot.map_or_else(String::new, |id| format!(" {id}"));
    let baseline = if commit { " and becomes the baseline" } else { "" };
    let overlay = &done.overlay;
    output.text(&match done.result {
        "was-pending" => {
            format!("That snapshot of {overlay} is pending already, asked by {}.\n", done.requested_by)
        }
        "done" => format!("Snapshot{number} of {overlay} is made{baseline}: done.\n"),
        _ => format!(
            "Snapshot{number} of {overlay} is made at the next boot{baseline}. Until then `overlayctl cancel` takes \
             it back.\n"
        ),
    })?;
    Ok(0)
}

fn list(arguments: &Arguments, output: &Output) -> Result<u8> {
    let overlay = source::overlay(arguments, output)?;
    match output.is_json() {
        true => output.value(&overlay.snapshots)?,
        false => output.text(&table(&overlay))?,
    }
    Ok(0)
}

fn show(arguments: &Arguments, id: u64, output: &Output) -> Result<u8> {
    let overlay = source::overlay(arguments, output)?;
    let snapshot = find(&overlay, id)?;
    match output.is_json() {
        true => output.value(snapshot)?,
        false => output.text(&page(&overlay, snapshot, report::now(), output.paint()))?,
    }
    Ok(0)
}

fn delete(arguments: &Arguments, ids: &[u64], yes: bool, output: &Output) -> Result<u8> {
    let overlay = source::overlay(arguments, output)?;
    let lost: Vec<&Snapshot> = ids.iter().map(|id| find(&overlay, *id)).collect::<Result<_>>()?;
    if !yes {
        let line = |s: &&Snapshot| format!("  {}: {}\n", named(&overlay, s.id), holds(s));
        let lines: String = lost.iter().map(line).collect();
        ask::confirm(output, &format!("Lost for good:\n{}", lines.trim_end()), "Delete it?")?;
    }
    let worker = Worker::new(arguments, output)?;
    let mut touched = Touched::new(arguments.target(), "deleted");
    let done = ids.iter().try_for_each(|id| {
        worker.delete(*id)?;
        touched.snapshots.push(*id);
        Ok(())
    });
    worker.clean()?;
    finish(&touched, done, output)
}

fn protect(arguments: &Arguments, ids: &[u64], protected: bool, output: &Output) -> Result<u8> {
    let worker = Worker::new(arguments, output)?;
    let result = if protected { "protected" } else { "unprotected" };
    let mut touched = Touched::new(arguments.target(), result);
    let done = ids.iter().try_for_each(|id| {
        worker.protect(*id, protected)?;
        touched.snapshots.push(*id);
        Ok(())
    });
    finish(&touched, done, output)
}

fn set_words(arguments: &Arguments, change: &Describe, output: &Output) -> Result<u8> {
    let overlay = source::overlay(arguments, output)?;
    let snapshot = find(&overlay, change.id)?;
    let mut wanted =
        Wanted { description: snapshot.description.clone(), userdata: snapshot.userdata.clone() };
    if let Some(text) = &change.message {
        wanted.description.clone_from(text);
    }
    for (key, value) in &change.userdata {
        match value.is_empty() {
            true => drop(wanted.userdata.remove(key)),
            false => drop(wanted.userdata.insert(key.clone(), value.clone())),
        }
    }
    let done = Worker::new(arguments, output)?.describe(change.id, &wanted);
    let mut touched = Touched::new(arguments.target(), "described");
    touched.snapshots.extend(done.is_ok().then_some(change.id));
    finish(&touched, done, output)
}

/// Tells what was done, whatever became of the rest.
fn finish(touched: &Touched, done: Result<()>, output: &Output) -> Result<u8> {
    match output.is_json() {
        true if done.is_ok() || !touched.snapshots.is_empty() => output.value(touched)?,
        true => {}
        false => {
            let line = |id: &u64| format!("Snapshot {id} of {} is {}.\n", touched.overlay, touched.result);
            output.text(&touched.snapshots.iter().map(line).collect::<String>())?;
        }
    }
    done.map(|()| 0)
}

fn find(overlay: &OverlayStatus, id: u64) -> Result<&Snapshot> {
    overlay.snapshots.iter().find(|s| s.id == id).ok_or_else(|| {
        Error::new(Kind::NoSuchSnapshot, format!("overlay {} has no snapshot {id}", overlay.name))
            .remedy("`overlayctl snapshot list` shows them")
    })
}

fn wanted(words: &Words) -> Wanted {
    let userdata: BTreeMap<String, String> = words.userdata.iter().cloned().collect();
    Wanted { description: words.message.clone().unwrap_or_default(), userdata }
}

/// `Snapshot 4 of root: 12.3M in 841 entries, by reflink, 12 files shared with the last one.`
fn made(taken: &Taken) -> String {
    let how = match taken.strategy.as_str() {
        "" => String::new(),
        "copy" => ", copied".to_owned(),
        strategy => format!(", by {strategy}"),
    };
    let shared = match taken.reused {
        0 => String::new(),
        1 => ", 1 file shared with the last one".to_owned(),
        files => format!(", {files} files shared with the last one"),
    };
    // What is made in constant time may be too large to be counted.
    let size = match (taken.strategy.as_str(), taken.entries) {
        ("subvolume", 0) => "all of it".to_owned(),
        _ => format!("{} in {}", bytes(taken.bytes), entries(taken.entries)),
    };
    let mut text = format!("Snapshot {} of {}: {size}{how}{shared}.\n", taken.snapshot, taken.overlay);
    if !taken.unstable.is_empty() {
        text += "These files changed each time they were copied, and may be inconsistent:\n";
        text += &super::request::listed(&taken.unstable, true);
    }
    if !taken.removed.is_empty() {
        let ids: Vec<String> = taken.removed.iter().map(ToString::to_string).collect();
        text += &format!("Removed to keep the limits: {}.\n", ids.join(", "));
    }
    text
}

fn held(preview: &Changes) -> String {
    let lines: String = preview.changes.iter().map(|line| format!("  {line}\n")).collect();
    let more = if preview.complete { "" } else { "  and more\n" };
    let size = format!("{} in {}", bytes(preview.bytes), entries(preview.entries));
    format!("A commit of {} would hold {size}:\n{lines}{more}", preview.overlay)
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
