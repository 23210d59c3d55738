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
use super::merge::MOST_LAYERS;
use super::walk::{Maker, Walk};
use super::{Built, Estimate, OnProgress, Options, Progress, Stack};
use crate::error::{Error, Result};
use crate::sys::{content, node};

/// Counts what [`build`] will take.
///
/// The directory that `options.index` is in must exist: it tells which filesystem the copy will be on. Without it,
/// nothing counts as shared with the layers.
pub fn estimate(stack: &Stack, options: &Options, on_progress: &mut OnProgress<'_>) -> Result<Estimate> {
    let mut counter = Counter::default();
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
fn look_for_sharing(stack: &Stack, place: &Path, counter: &mut Counter) -> io::Result<()> {
    let place = node::open_top(place)?;
    let dev = node::look_at(&place)?.dev;
    for (number, layer) in stack.layers.iter().take(MOST_LAYERS).enumerate() {
        let layer = node::open_top(layer)?;
        counter.linked[number] = number > 0 && node::look_at(&layer)?.dev == dev;
        counter.cloned[number] = content::can_clone(&layer, &place)?;
    }
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
    let crew = Crew::new();
    let copier = Copier::new(top, crew.stop_sign(), stack.layers.len());
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
    let _ = report();
    let mut unstable = done.unstable.lock().unwrap_or_else(PoisonError::into_inner).clone();
    unstable.sort();
    Ok(Built {
        entries: get(&done.entries),
        bytes: get(&done.bytes),
        reused: get(&done.reused),
        reflinked: done.reflinked.load(Ordering::Relaxed),
        changed: true,
        unstable,
    })
}

fn run<M: Maker>(walk: &Walk<'_, M>, on_tick: &mut dyn FnMut() -> std::ops::ControlFlow<()>) -> Result<()> {
    walk.crew.add([walk.top()]);
    walk.crew.run(|| walk.maker.local(), |task, local| walk.work(task, local), on_tick)
}
