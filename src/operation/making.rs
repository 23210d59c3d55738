//! Making a snapshot of everything that is live: by the cheapest way that this filesystem has, found out by trying.
//! What it is for, and what becomes of older ones, is decided by the callers.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::compare;
use super::draft::Draft;
use super::live::{self, Live};
use super::snapshot::{Made, Wanted};
use super::{Asked, Site, space};
use crate::error::{Error, Kind, Result};
use crate::layer::{self, Built, Estimate, OnProgress, Options, Previous, Progress, Stack};
use crate::observe;
use crate::plan::{execute, retain};
use crate::store::records::{RECORD_VERSION, SnapshotRecord};
use crate::store::{Layout, OverlayView, StoreView};
use crate::sys::{atomic, tree};

/// A record names so many files that changed while they were copied.
const UNSTABLE_MAX: usize = 100;
/// What was made in constant time is counted for at most so long.
const COUNT_LIMIT: Duration = Duration::from_millis(10);

/// What is known before a snapshot is made.
#[derive(Debug)]
pub(super) struct Scene<'a> {
    pub(super) layout: Layout,
    pub(super) overlay: &'a str,
    pub(super) view: StoreView,
    pub(super) state: OverlayView,
    /// What is live, or why nothing is.
    pub(super) live: Result<Live>,
    mounted: Option<u64>,
}

impl<'a> Scene<'a> {
    /// Looks at the store and at what is mounted.
    pub(super) fn look(site: &Site, overlay: &'a str) -> Result<Scene<'a>> {
        let view = super::open(&site.store)?;
        let state = live::state(site, &view, overlay)?;
        let live = live::find(site, &state, overlay);
        let mounted = super::mounted(site, overlay)?.and_then(|(_, mount)| mount.snapshot);
        Ok(Scene { layout: Layout::new(&site.store), overlay, view, state, live, mounted })
    }

    /// The snapshot that is mounted.
    pub(super) fn mounted_snapshot(&self) -> Option<u64> {
        self.mounted
    }

    /// What is live.
    pub(super) fn live(&self) -> Result<&Live> {
        self.live.as_ref().map_err(Clone::clone)
    }

    /// The baseline; damage is an error.
    fn baseline(&self) -> Result<Option<u64>> {
        self.state.baseline.clone()
    }

    /// The files of the baseline, if there is one; damage is an error.
    pub(super) fn usable_baseline(&self) -> Result<Option<PathBuf>> {
        let Some(id) = self.baseline()? else { return Ok(None) };
        execute::usable(&self.state, id)?;
        Ok(Some(self.layout.snapshot_fs(self.overlay, id)))
    }

    /// The newest snapshot whose files may be taken over: it was copied from the same upper, and tells what the files were.
    fn previous(&self, live: &Live) -> Option<u64> {
        self.state.snapshots.keys().rev().copied().find(|id| self.is_of(*id, live))
    }

    /// Whether snapshot `id` was copied from the same upper. The index itself says so too, for a volatile one by its boot.
    fn is_of(&self, id: u64, live: &Live) -> bool {
        let record = self.state.snapshots.get(&id).and_then(|record| record.as_ref().ok());
        record.is_some_and(|record| record.generation == live.generation)
            && self.layout.snapshot_index(self.overlay, id).is_file()
    }

    fn files_of(&self, id: u64) -> Previous {
        Previous {
            files: self.layout.snapshot_fs(self.overlay, id),
            index: self.layout.snapshot_index(self.overlay, id),
        }
    }

    /// Says what could go, if space ran out although it had been enough.
    pub(super) fn with_remedy(&self, error: Error) -> Error {
        match error.kind() {
            Kind::InsufficientSpace => error.remedy(space::remedy(&self.removable())),
            _ => error,
        }
    }

    /// Refuses what does not fit, and says what could go.
    pub(super) fn check_space(&self, estimate: &Estimate) -> Result<()> {
        let free = observe::space(self.layout.root())?;
        let need = space::Need::of(estimate, &free, self.view.reserve);
        space::check(need, &free, &self.removable())
    }

    fn removable(&self) -> Vec<String> {
        let mut ways: Vec<String> = retain::expendable(&self.state, self.mounted)
            .into_iter()
            .filter_map(|id| Some((id, self.state.snapshots.get(&id)?.as_ref().ok()?)))
            .map(|(id, record)| format!("delete snapshot {id} (up to {})", space::size(record.bytes)))
            .collect();
        if !self.state.trash.is_empty() {
            ways.insert(0, "wait until the trash is emptied".to_owned());
        }
        ways
    }
}

/// What the snapshot is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For its own sake: it is made even if nothing changed.
    Snapshot,
    /// To become the baseline: an unchanged one is not made.
    Commit,
}

/// A snapshot that is complete but for its name.
#[derive(Debug)]
pub(super) struct Whole<'a> {
    pub(super) draft: Draft<'a>,
    pub(super) record: SnapshotRecord,
    /// Files shared with an older one.
    pub(super) reused: u64,
}

impl Whole<'_> {
    /// Lets it exist.
    pub(super) fn publish(self) -> Result<Made> {
        let Whole { draft, record, reused } = self;
        draft.publish(&record)?;
        Ok(Made {
            id: record.id,
            entries: record.entries,
            bytes: record.bytes,
            reused,
            strategy: record.strategy,
            consistency: record.consistency,
            unstable: record.unstable,
            removed: Vec::new(),
        })
    }
}

/// What one is made from, and what its record shall say.
pub(super) struct Order<'a, 's> {
    pub(super) scene: &'s Scene<'a>,
    pub(super) live: &'s Live,
    pub(super) wanted: &'s Wanted,
    pub(super) asked: &'s Asked,
}

impl<'s> Order<'_, 's> {
    /// Copies all that is live into a draft.
    pub(super) fn whole(&self, purpose: Purpose, on_progress: &mut OnProgress<'_>) -> Result<Whole<'s>> {
        let (scene, live) = (self.scene, self.live);
        if purpose == Purpose::Commit && self.nothing_was_written()? {
            return Err(nothing_to_commit());
        }
        let own = live.generation.filter(|_| live.snapshot.is_none());
        let copied =
            own.map(|number| Draft::of_subvolume(&scene.layout, scene.overlay, number)).transpose()?;
        match copied.flatten() {
            Some(draft) => self.finish_subvolume(draft, purpose, on_progress),
            None => self.copy(purpose, on_progress),
        }
    }

    /// Whether the upper is empty and stands on the baseline.
    fn nothing_was_written(&self) -> Result<bool> {
        let mut entries =
            fs::read_dir(&self.live.upper).map_err(|e| Error::io("read", &self.live.upper, e))?;
        Ok(entries.next().is_none() && self.scene.baseline().is_ok_and(|id| id == self.live.snapshot))
    }

    /// One ioctl has made it, all at the same instant. It is counted if that is quickly done.
    fn finish_subvolume(
        &self,
        draft: Draft<'s>,
        purpose: Purpose,
        on_progress: &mut OnProgress<'_>,
    ) -> Result<Whole<'s>> {
        for leftover in ["work", "probe"] {
            tree::remove(&draft.dir().join(leftover), &mut |_| ControlFlow::Continue(()))?;
        }
        for leftover in [draft.dir().join("generation.toml"), draft.fs().join(".overlayd-probe")] {
            atomic::remove(&leftover)?;
        }
        // A baseline that can not be read is no reason not to make a new one.
        let baseline = self.scene.baseline().ok().flatten();
        if let Some(baseline) = baseline.filter(|_| purpose == Purpose::Commit) {
            let before = self.scene.layout.snapshot_fs(self.scene.overlay, baseline);
            if compare::same_inodes(&draft.fs(), &before, on_progress)? {
                return Err(nothing_to_commit());
            }
        }
        let counted = count(&draft.fs(), on_progress)?;
        let mut record = self.record(draft.id(), "subvolume", "atomic");
        (record.entries, record.bytes) = (counted.entries, counted.bytes);
        Ok(Whole { draft, record, reused: 0 })
    }

    fn copy(&self, purpose: Purpose, on_progress: &mut OnProgress<'_>) -> Result<Whole<'s>> {
        let (scene, live) = (self.scene, self.live);
        let stack = live.stack(&scene.layout, scene.overlay);
        // A commit is compared with the baseline, and with the last snapshot only if the baseline is no help.
        let baseline = scene.baseline().ok().flatten();
        let baseline = baseline.filter(|id| purpose == Purpose::Commit && scene.is_of(*id, live));
        let previous = baseline.or_else(|| scene.previous(live));
        let mut options = Options {
            previous: previous.map(|id| scene.files_of(id)),
            source: live.source.clone(),
            ..Options::default()
        };
        scene.check_space(&Estimate::default())?;
        let draft = Draft::begin(&scene.layout, scene.overlay)?;
        options.index = Some(draft.index());
        options.estimate = layer::estimate(&stack, &options, on_progress)?;
        scene.check_space(&options.estimate)?;
        let built = match layer::build(&stack, &draft.fs(), &options, on_progress) {
            Err(e) if e.kind() == Kind::Canceled => {
                draft.cancel()?;
                return Err(e);
            }
            built => built.map_err(|e| scene.with_remedy(e))?,
        };
        if baseline.is_some() && !built.changed {
            return Err(nothing_to_commit());
        }
        let record = self.built(draft.id(), &built);
        Ok(Whole { draft, record, reused: built.reused })
    }

    /// The record of what was copied file by file.
    pub(super) fn built(&self, id: u64, built: &Built) -> SnapshotRecord {
        let strategy = if built.reflinked { "reflink" } else { "copy" };
        let unstable =
            built.unstable.iter().take(UNSTABLE_MAX).map(|p| format!("/{}", p.display())).collect();
        let record = self.record(id, strategy, "per-file");
        SnapshotRecord { entries: built.entries, bytes: built.bytes, unstable, ..record }
    }

    pub(super) fn record(&self, id: u64, strategy: &str, consistency: &str) -> SnapshotRecord {
        SnapshotRecord {
            version: RECORD_VERSION,
            id,
            created: observe::moment().unix,
            description: self.wanted.description.clone(),
            created_by: self.asked.by.clone(),
            base: self.live.base.clone(),
            options: self.live.options.clone(),
            strategy: strategy.to_owned(),
            consistency: consistency.to_owned(),
            generation: self.live.generation,
            userdata: self.wanted.userdata.clone(),
            ..SnapshotRecord::default()
        }
    }
}

/// Entries and bytes of what was made in constant time; zeros if it is too large for that.
fn count(files: &Path, on_progress: &mut OnProgress<'_>) -> Result<Estimate> {
    let stack = Stack { layers: vec![files.to_owned()], base: None };
    let start = Instant::now();
    let mut canceled = false;
    let counted = layer::estimate(&stack, &Options::default(), &mut |progress: Progress| {
        canceled = on_progress(progress).is_break();
        match canceled || start.elapsed() > COUNT_LIMIT {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    });
    match counted {
        Err(e) if e.kind() == Kind::Canceled && !canceled => Ok(Estimate::default()),
        other => other,
    }
}

pub(super) fn nothing_to_commit() -> Error {
    Error::new(Kind::NothingToDo, "nothing to commit: the baseline holds what is live")
}
