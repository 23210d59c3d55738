//! What a reset would take and what it would keep, entry by entry: by the walk and the patterns that the boot uses. It
//! reads and changes nothing.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use super::listing::Lines;
use super::{Asked, Site, is_volatile, open, policy, preview_reset};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::keep::pattern::Reached;
use crate::keep::select::shown_in;
use crate::keep::{Found, Pattern, Patterns, Selection, Source, Visitor};
use crate::layer::{OnProgress, Progress};
use crate::plan::request::Resetting;
use crate::plan::{self, Step, execute, sweep};
use crate::store::records::{Level, RequestRecord};
use crate::store::{Layout, StoreView};
use crate::sys::node::NodeKind;
use crate::sys::tree;

/// Counting what goes as a whole, where no record says it, ends after this long in all, with lower bounds.
const COUNT_LIMIT: Duration = Duration::from_secs(2);

/// How early boot wipes.
const WIPING: [&str; 3] = [
    "erase the state device, all of it",
    "make its filesystem and the store anew",
    "record that the wipe is done, and what it is worth",
];

/// What a reset would do.
#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// Steps now, for people.
    pub now: Vec<String>,
    /// Steps of the boot that carries it out, for people.
    pub at_boot: Vec<String>,
    /// What of the live generation would be lost.
    pub lost: Listing,
    /// What would be kept.
    pub kept: Listing,
    /// What goes as a whole: `snapshot 2 "set up": 12 entries, 4096 bytes`.
    pub given_up: Vec<String>,
    /// Patterns of the keep-list that match nothing.
    pub unmatched: Vec<String>,
    /// What is not as one may think.
    pub warnings: Vec<String>,
}

/// Entries, in lines for people.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// How many.
    pub entries: u64,
    /// Bytes in regular files, hard links counted once.
    pub bytes: u64,
    /// A line for each, as far as there is room: `file /etc/hostname, 12 bytes`.
    pub lines: Vec<String>,
    /// Whether `lines` has all of them.
    pub complete: bool,
}

/// What a reset of `overlay` would take and keep. Changes nothing.
pub fn preview(
    site: &Site,
    overlay: &str,
    wanted: &Resetting,
    asked: &Asked,
    on_progress: &mut OnProgress<'_>,
) -> Result<Losses> {
    let preview = preview_reset(site, overlay, wanted, asked)?;
    let (view, layout) = (open(&site.store)?, Layout::new(&site.store));
    let from = left(site, &view, overlay)?;
    let selection = preview.kept.unwrap_or_default();
    let target = policy(site, overlay).target;
    let sorter = Sorter::new(&selection.patterns, &target, wanted.level, on_progress);
    let (lost, kept) = sorter.sort(&layout, overlay, from)?;
    let told = |steps: &[Step]| steps.iter().map(ToString::to_string).collect();
    let (gone, at_boot) = match wanted.level {
        Level::Wipe => (sweep::discards(&view, overlay, None), WIPING.map(str::to_owned).to_vec()),
        Level::Baseline | Level::Factory => (preview.at_boot.clone(), told(&preview.at_boot)),
    };
    Ok(Losses {
        given_up: given_up(&layout, &view, overlay, &gone),
        now: told(&preview.now),
        at_boot,
        lost,
        kept,
        unmatched: selection.unmatched,
        warnings: warnings(site, wanted, selection.lost),
    })
}

fn warnings(site: &Site, wanted: &Resetting, lost: Option<String>) -> Vec<String> {
    let lost = lost.map(|why| format!("nothing can be kept: {why}"));
    let elsewhere = (site.handoff.is_none() && !wanted.drop_kept && wanted.level != Level::Wipe).then(|| {
        "the configuration is this system's: what the image that the store belongs to keeps is not known here".to_owned()
    });
    lost.into_iter().chain(elsewhere).collect()
}

/// The layers that are left; none where they lie in memory, and are lost by every boot.
fn left(site: &Site, view: &StoreView, overlay: &str) -> Result<Vec<Source>> {
    match is_volatile(site, overlay)? {
        true => Ok(Vec::new()),
        false => execute::kept_from(plan::request::find(view, overlay)?, &RequestRecord::default()),
    }
}

/// Sorts what a walk finds.
struct Sorter<'s, 'p> {
    patterns: Patterns<'s>,
    target: &'s Path,
    /// Whether what lies in a snapshot below the upper is lost, too: it stays if that does.
    below: bool,
    folders: Vec<Folder>,
    lost: Sorted,
    kept: Sorted,
    on_progress: &'s mut OnProgress<'p>,
    seen: Progress,
}

/// A directory that was entered.
struct Folder {
    reached: Reached,
    layer: usize,
    /// It is kept, or something below it: then it will be there.
    stays: bool,
    /// Where its line stands if it is lost: before those of what is in it.
    at: usize,
    line: String,
}

#[derive(Default)]
struct Sorted {
    lines: Lines,
    entries: u64,
    bytes: u64,
    linked: BTreeSet<((u32, u32), u64)>,
}

impl<'s, 'p> Sorter<'s, 'p> {
    fn new(
        patterns: &'s [Pattern],
        target: &'s Path,
        level: Level,
        on_progress: &'s mut OnProgress<'p>,
    ) -> Self {
        Sorter {
            patterns: Patterns(patterns),
            target,
            below: level != Level::Baseline,
            folders: Vec::new(),
            lost: Sorted::default(),
            kept: Sorted::default(),
            on_progress,
            seen: Progress::default(),
        }
    }

    /// What is lost, and what is kept.
    fn sort(mut self, layout: &Layout, overlay: &str, from: Vec<Source>) -> Result<(Listing, Listing)> {
        let all = Pattern::parse("/**").map_err(|why| Error::new(Kind::Failed, why))?;
        let target = self.target.to_owned();
        let everything = Selection { from, target, patterns: vec![all], ..Selection::default() };
        everything.visit(layout, overlay, &mut self)?;
        Ok((self.lost.listing(), self.kept.listing()))
    }

    /// How far the patterns have matched at something that was found.
    fn reach(&self, found: &Found<'_>) -> Reached {
        match self.folders.last() {
            Some(folder) => self.patterns.enter(&folder.reached, found.name()),
            None => {
                let names = config::names_of(self.target);
                names.fold(self.patterns.top(), |reached, name| self.patterns.enter(&reached, name))
            }
        }
    }

    fn is_lost(&self, layer: usize) -> bool {
        self.below || layer == 0
    }

    fn go_on(&mut self, found: &Found<'_>) -> Result<()> {
        self.seen.entries += 1;
        self.seen.bytes += if found.node.kind == NodeKind::File { found.node.size } else { 0 };
        match (self.on_progress)(self.seen).is_break() {
            true => Err(Error::new(Kind::Canceled, "canceled")),
            false => Ok(()),
        }
    }
}

impl Visitor for Sorter<'_, '_> {
    fn enter(&mut self, dir: &Found<'_>, _kept: bool) -> Result<()> {
        self.go_on(dir)?;
        let reached = self.reach(dir);
        let is_top = self.folders.is_empty();
        let stays = self.patterns.keeps(&reached) && !is_top;
        let line = line(self.target, dir);
        if stays {
            self.kept.add(dir, || line.clone());
        }
        let at = self.lost.lines.len();
        // The top is the overlay itself: it is neither lost nor kept.
        self.folders.push(Folder { reached, layer: dir.layer, stays: stays || is_top, at, line });
        Ok(())
    }

    fn entry(&mut self, found: &Found<'_>) -> Result<()> {
        self.go_on(found)?;
        let reached = self.reach(found);
        let line = || line(self.target, found);
        if self.patterns.keeps(&reached) {
            self.kept.add(found, line);
            self.folders.iter_mut().for_each(|folder| folder.stays = true);
        } else if self.is_lost(found.layer) {
            self.lost.add(found, line);
        }
        Ok(())
    }

    fn leave(&mut self, _path: &[u8], _layer: usize) -> Result<()> {
        let Some(folder) = self.folders.pop() else { return Ok(()) };
        if !folder.stays && self.is_lost(folder.layer) {
            self.lost.entries += 1;
            self.lost.lines.insert(folder.at, folder.line);
        } else if folder.stays {
            self.folders.iter_mut().for_each(|above| above.stays = true);
        }
        Ok(())
    }
}

impl Sorted {
    fn add(&mut self, found: &Found<'_>, line: impl FnOnce() -> String) {
        let node = &found.node;
        self.entries += 1;
        if node.kind == NodeKind::File && (node.links < 2 || self.linked.insert((node.dev, node.ino))) {
            self.bytes += node.size;
        }
        self.lines.add(line);
    }

    fn listing(self) -> Listing {
        let Sorted { lines, entries, bytes, .. } = self;
        Listing { entries, bytes, complete: !lines.more, lines: lines.lines }
    }
}

fn line(target: &Path, found: &Found<'_>) -> String {
    let path = plain(&shown_in(target, found.path));
    match found.node.kind {
        NodeKind::Directory => format!("directory {path}"),
        NodeKind::File => format!("file {path}, {} bytes", found.node.size),
        NodeKind::Symlink => format!("symlink {path}"),
        NodeKind::Fifo => format!("pipe {path}"),
        NodeKind::Socket => format!("socket {path}"),
        NodeKind::CharDevice | NodeKind::BlockDevice | NodeKind::Unknown => format!("device {path}"),
    }
}

/// Without what no terminal should see.
fn plain(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

/// What the steps move to the trash as a whole, but for the generation whose entries are told.
fn given_up(layout: &Layout, view: &StoreView, overlay: &str, steps: &[Step]) -> Vec<String> {
    let live = view.overlays.get(overlay).and_then(|state| state.current.as_ref().ok().copied().flatten());
    let live = live.map(|number| number.to_string());
    let end = Instant::now() + COUNT_LIMIT;
    let of = |name: &String| if name == overlay { String::new() } else { format!(" of {name}") };
    let whole = |step: &Step| match step {
        Step::Discard(name, dir) if name == overlay && Some(dir) == live.as_ref() => None,
        Step::Discard(name, dir) => {
            let size = counted(&layout.generations(name).join(dir).join("fs"), end);
            Some(format!("generation {dir}{}{size}", of(name)))
        }
        Step::DiscardSnapshot(name, dir) => {
            Some(format!("snapshot {dir}{}{}", of(name), snapshot(layout, view, name, dir, end)))
        }
        Step::DiscardOther { path, .. } if sweep::is_bookkeeping(path) => None,
        Step::DiscardOther { path, .. } => {
            let what = layout.overlays().join(path);
            let size = if what.is_dir() { counted(&what, end) } else { String::new() };
            Some(plain(&format!("{}{size}", path.display())))
        }
        _ => None,
    };
    steps.iter().filter_map(whole).collect()
}

/// ` "set up": 12 entries, 4096 bytes`, as far as it is known.
fn snapshot(layout: &Layout, view: &StoreView, overlay: &str, dir: &str, end: Instant) -> String {
    let found = view.overlays.get(overlay).zip(dir.parse().ok());
    match found.and_then(|(state, id): (_, u64)| state.snapshots.get(&id)) {
        Some(Ok(record)) => {
            let title = match record.description.as_str() {
                "" => String::new(),
                text => format!(" \"{text}\""),
            };
            match record.entries {
                // Taken as a whole, it was never counted.
                0 => title + &counted(&layout.snapshots(overlay).join(dir).join("fs"), end),
                entries => format!("{title}: {entries} entries, {} bytes", record.bytes),
            }
        }
        _ => counted(&layout.snapshots(overlay).join(dir), end),
    }
}

/// `: 12 entries, 4096 bytes`; nothing if it can not be counted.
fn counted(path: &Path, end: Instant) -> String {
    let left = end.saturating_duration_since(Instant::now());
    match tree::usage(path, left) {
        Ok(found) => {
            let least = if found.complete { "" } else { "at least " };
            format!(": {least}{} entries, {} bytes", found.entries, found.bytes)
        }
        Err(_) => String::new(),
    }
}
