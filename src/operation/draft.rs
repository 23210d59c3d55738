//! A snapshot before it exists: `snapshots/<id>.new`. It becomes one by a rename, or goes to the trash. The caller holds
//! the job lock for all of its life.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::store::lock::StoreLock;
use crate::store::records::SnapshotRecord;
use crate::store::{Layout, OverlayView, read, trash, write};
use crate::sys::btrfs;

/// Whoever cancels does not wait longer than this for what was copied to be deleted; the rest stays in the trash.
const PATIENCE: Duration = Duration::from_millis(400);

/// A snapshot that is being made. Dropped before it is published, it is thrown away.
#[derive(Debug)]
pub(super) struct Draft<'a> {
    layout: &'a Layout,
    overlay: &'a str,
    id: u64,
    over: bool,
}

impl<'a> Draft<'a> {
    /// An empty one.
    pub(super) fn begin(layout: &'a Layout, overlay: &'a str) -> Result<Draft<'a>> {
        let id = take_number(layout, overlay)?;
        let draft = Draft { layout, overlay, id, over: false };
        write::begin_snapshot(layout, overlay, id)?;
        Ok(draft)
    }

    /// A copy of a generation's subvolume as it is at this instant; none if it is no subvolume, or has others in it,
    /// which such a copy does not hold.
    pub(super) fn of_subvolume(
        layout: &'a Layout,
        overlay: &'a str,
        generation: u64,
    ) -> Result<Option<Draft<'a>>> {
        let source = layout.generation(overlay, generation);
        if !btrfs::is_subvolume(&source) || !btrfs::nested(&source)?.is_empty() {
            return Ok(None);
        }
        let id = take_number(layout, overlay)?;
        let mut draft = Draft { layout, overlay, id, over: false };
        if btrfs::copy(&source, &draft.dir())? {
            return Ok(Some(draft));
        }
        draft.over = true;
        Ok(None)
    }

    /// Its number.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// `snapshots/<id>.new`.
    pub(super) fn dir(&self) -> PathBuf {
        self.layout.new_snapshot(self.overlay, self.id)
    }

    /// Where its files go.
    pub(super) fn fs(&self) -> PathBuf {
        self.dir().join("fs")
    }

    /// Where its index goes.
    pub(super) fn index(&self) -> PathBuf {
        self.dir().join("index")
    }

    /// Makes it a snapshot: everything durable, then the one rename.
    pub(super) fn publish(mut self, record: &SnapshotRecord) -> Result<()> {
        write::finish_snapshot(self.layout, self.overlay, record)?;
        self.over = true;
        Ok(())
    }

    /// Throws it away after a cancellation: at once, but what takes long to delete stays in the trash.
    pub(super) fn cancel(mut self) -> Result<()> {
        self.over = true;
        self.throw_away(Some(PATIENCE))
    }

    fn throw_away(&self, limit: Option<Duration>) -> Result<()> {
        let name = format!("{}.new", self.id);
        write::discard_snapshot(self.layout, self.overlay, &name)?;
        let start = Instant::now();
        for entry in read::trash_entries(self.layout, self.overlay)? {
            if entry.starts_with(&format!("snapshot-{name}")) {
                trash::remove(&self.layout.trash(self.overlay).join(entry), &mut |_| match limit
                    .is_some_and(|limit| start.elapsed() > limit)
                {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })?;
            }
        }
        Ok(())
    }
}

impl Drop for Draft<'_> {
    fn drop(&mut self) {
        if !self.over {
            // What made it fail is the error to tell; what is left is garbage that the next one removes.
            let _ = self.throw_away(None);
        }
    }
}

/// The next number, which is nobody else's from here on. What was cut short before goes to the trash.
fn take_number(layout: &Layout, overlay: &str) -> Result<u64> {
    let _lock = StoreLock::exclusive(layout)?;
    write::make_overlay(layout, overlay)?;
    let view = read::load(layout)?;
    let absent = OverlayView::absent();
    let state = view.overlays.get(overlay).unwrap_or(&absent);
    for name in state.unfinished_snapshots.iter().filter(|name| name.ends_with(".new")) {
        write::discard_snapshot(layout, overlay, name)?;
    }
    let id = state.next_snapshot();
    write::take_snapshot_number(layout, overlay, id)?;
    Ok(id)
}

/// Makes snapshot `id` the baseline. It exists already: if this fails, nothing but the pointer is missing.
pub(super) fn make_baseline(layout: &Layout, overlay: &str, id: u64) -> Result<()> {
    let _lock = StoreLock::exclusive(layout)?;
    write::point_baseline(layout, overlay, Some(id))
        .map_err(|e| e.context(format_args!("snapshot {id} was made, but it is not the baseline")))
}
