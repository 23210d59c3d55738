//! Building one layer out of several, and counting beforehand what that takes.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use super::copy::Copier;
use super::count::Counter;
use super::crew::Crew;
use super::index::{Memory, Writer};
use super::merge::MOST_LAYERS;
use super::walk::{Maker, Walk};
use super::{Built, Estimate, OnProgress, Options, Progress, Stack};
use crate::error::{Error, Result};
use crate::sys::content;
use crate::sys::node::{self, Moment};

/// Counts what [`build`] will take.
///
/// The directory that `options.index` is in must exist: it tells which filesystem the copy will be on. Without it,
/// nothing counts as shared with the layers.
pub fn estimate(stack: &Stack, options: &Options, on_progress: &mut OnProgress<'_>) -> Result<Estimate> {
    let memory = options.previous.as_ref().and_then(|previous| Memory::of(previous, &options.source));
    let mut counter = Counter::new(memory.as_ref());
    if let Some(place) = options.index.as_ref().and_then(|index| index.parent()) {
        look_for_sharing(stack, place, &mut counter).map_err(|e| Error::io("examine", place, e))?;
    }
    let walk = Walk::new(stack, &options.exclude, Crew::new(), counter)?;
    run(&walk, &mut || {
        let counted = walk.maker.estimate();
        on_progress(Progress { entries: counted.entries, bytes: counted.bytes, ..Progress::default() })
    })?;
    Ok(walk.maker.estimate())
}

/// Finds out which layers share a filesystem with the copy, and whether it can share blocks.
fn look_for_sharing(stack: &Stack, place: &Path, counter: &mut Counter<'_>) -> io::Result<()> {
    let place = node::open_top(place)?;
    let dev = node::look_at(&place)?.dev;
    for (number, layer) in stack.layers.iter().take(MOST_LAYERS).enumerate() {
        let layer = node::open_top(layer)?;
        counter.linked[number] = number > 0 && node::look_at(&layer)?.dev == dev;
        counter.cloned[number] = content::can_clone(&layer, &place)?;
    }
    let linkable = |memory: &&Memory| node::look_at(&memory.files).is_ok_and(|files| files.dev == dev);
    counter.memory = counter.memory.filter(linkable);
    Ok(())
}

/// Builds in the new directory `into` one layer that, over the base, shows what the stack shows over it.
///
/// The topmost layer may be in use and change; those below it must not. After an error, `into` holds part of the
/// copy, for the caller to throw away. Nothing is synced.
pub fn build(
    stack: &Stack,
    into: &Path,
    options: &Options,
    on_progress: &mut OnProgress<'_>,
) -> Result<Built> {
    fs::DirBuilder::new().mode(0o700).create(into).map_err(|e| Error::io("create", into, e))?;
    let top = node::open_top(into).map_err(|e| Error::io("open", into, e))?;
    let memory = options.previous.as_ref().and_then(|previous| Memory::of(previous, &options.source));
    let (start, hides_changes) = start(stack)?;
    let writer = options
        .index
        .as_ref()
        .map(|path| Writer::create(path, &options.source, start).map_err(|e| Error::io("create", path, e)));
    let writer = writer.transpose()?;
    let crew = Crew::new();
    let copier = Copier::new(top, crew.stop_sign(), hides_changes, memory.as_ref(), writer.as_ref());
    let copier = copier.map_err(|e| Error::io("examine", into, e))?;
    let walk = Walk::new(stack, &options.exclude, crew, copier)?;
    let done = &walk.maker.done;
    let get = |n: &AtomicU64| n.load(Ordering::Relaxed);
    let mut report = || {
        let (entries, bytes) = (get(&done.entries), get(&done.moved));
        let (total_entries, total_bytes) = (options.estimate.entries, options.estimate.bytes);
        on_progress(Progress { entries, bytes, total_entries, total_bytes })
    };
    run(&walk, &mut report)?;
    walk.maker.finish()?;
    if let (Some(writer), Some(path)) = (&writer, &options.index) {
        writer.finish().map_err(|e| Error::io("write", path, e))?;
    }
    let _ = report();
    // The top is a thing, but no entry.
    let same = |memory: &Memory| [get(&done.entries) + 1, memory.index.things()] == [get(&done.same); 2];
    let mut unstable = done.unstable.lock().unwrap_or_else(PoisonError::into_inner).clone();
    unstable.sort();
    Ok(Built {
        entries: get(&done.entries),
        bytes: get(&done.bytes),
        reused: get(&done.reused),
        reflinked: done.reflinked.load(Ordering::Relaxed),
        changed: !memory.as_ref().is_some_and(same),
        unstable,
    })
}

/// When the copy starts, and whether the topmost layer changes in ways that its files' times do not show.
///
/// What was written through a mapping before is on disk then, and what is written later gets a later time.
fn start(stack: &Stack) -> Result<(Moment, bool)> {
    let Some(top) = stack.layers.first() else { return Ok((Moment::default(), true)) };
    let dir = node::open_top(top).map_err(|e| Error::io("open", top, e))?;
    content::sync_filesystem(&dir).map_err(|e| Error::io("sync", top, e))?;
    Ok((content::file_clock(), content::hides_mapped_writes(&dir)))
}

fn run<M: Maker>(walk: &Walk<'_, M>, on_tick: &mut dyn FnMut() -> std::ops::ControlFlow<()>) -> Result<()> {
    walk.crew.add([walk.top()]);
    walk.crew.run(|| walk.maker.local(), |task, local| walk.work(task, local), on_tick)
}
