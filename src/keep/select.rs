//! What a keep-list chooses of a generation that is left: read before planning, so that a plan says what is kept.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::pattern::Pattern;
use super::walk::{Found, Visitor, Walk};
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::plan;
use crate::store::records::{Action, KEPT_MAX, RequestRecord};
use crate::store::{Layout, OverlayView, StoreView};
use crate::sys::node::NodeKind;

/// Whose files a layer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The upper of this generation.
    Generation(u64),
    /// The files of this snapshot.
    Snapshot(u64),
}

impl Source {
    /// Where they lie.
    pub fn path(self, layout: &Layout, overlay: &str) -> PathBuf {
        match self {
            Source::Generation(number) => layout.upper(overlay, number),
            Source::Snapshot(id) => layout.snapshot_fs(overlay, id),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Generation(number) => write!(f, "generation {number}"),
            Source::Snapshot(id) => write!(f, "snapshot {id}"),
        }
    }
}

/// What a reset keeps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// The layers that it is chosen from, the topmost first.
    pub from: Vec<Source>,
    /// Where the overlay is mounted, in the paths that the patterns speak of.
    pub target: PathBuf,
    /// The keep-list.
    pub patterns: Vec<Pattern>,
    /// How much is kept.
    pub total: Total,
    /// Patterns that keep nothing.
    pub unmatched: Vec<String>,
    /// Why nothing can be kept, if that is so.
    pub lost: Option<String>,
}

/// How much is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Total {
    /// Entries.
    pub count: u64,
    /// Bytes in regular files, hard links counted once.
    pub bytes: u64,
    /// The first [`KEPT_MAX`] paths, as they are in the booted system.
    pub paths: Vec<String>,
}

/// The patterns that count for a reset: what the configuration says, then what was asked for.
pub fn patterns(request: &RequestRecord, configured: &[Pattern]) -> Result<Vec<Pattern>> {
    let configured = configured.iter().filter(|_| !request.drop_kept).cloned().map(Ok);
    let wrong = |why| Error::new(Kind::InvalidArgs, format!("what is to be kept: {why}"));
    configured.chain(request.keep.iter().map(|text| Pattern::parse(text).map_err(wrong))).collect()
}

/// What the pending reset of `overlay` keeps; none: nothing is to be kept, or there is no such request.
pub fn pending(
    layout: &Layout,
    view: &StoreView,
    overlay: &str,
    config: &config::Overlay,
) -> Result<Option<Selection>> {
    let state = view.overlays.get(overlay);
    let request = state.and_then(|state| Some((state, state.request.as_ref()?.as_ref().ok()?)));
    match request.filter(|(_, request)| request.store == view.record.uuid) {
        Some((state, request)) => of_request(layout, overlay, state, request, config),
        None => Ok(None),
    }
}

/// What this request would keep, were it carried out now.
pub fn of_request(
    layout: &Layout,
    overlay: &str,
    state: &OverlayView,
    request: &RequestRecord,
    config: &config::Overlay,
) -> Result<Option<Selection>> {
    if request.action != Action::Reset {
        return Ok(None);
    }
    let patterns = patterns(request, &config.keep)?;
    if patterns.is_empty() {
        return Ok(None);
    }
    let selection = Selection { patterns, target: config.target.clone(), ..Selection::default() };
    match plan::execute::kept_from(state, request) {
        Ok(from) => choose(layout, overlay, Selection { from, ..selection }).map(Some),
        Err(why) => Ok(Some(Selection { lost: Some(why.message().to_owned()), ..selection })),
    }
}

fn choose(layout: &Layout, overlay: &str, selection: Selection) -> Result<Selection> {
    let layers = selection.layers(layout, overlay);
    let mut count = Count { target: &selection.target, total: Total::default(), linked: BTreeSet::new() };
    let mut walk = Walk::new(&layers, &selection.patterns)?;
    walk.run(&selection.target, &mut count)?;
    let total = count.total;
    let unmatched = selection.patterns.iter().zip(&walk.matched);
    let unmatched = unmatched.filter(|(pattern, matched)| !**matched && !pattern.is_exception());
    let unmatched = unmatched.map(|(pattern, _)| pattern.to_string()).collect();
    Ok(Selection { total, unmatched, ..selection })
}

impl Selection {
    /// The layers' directories, the topmost first.
    pub fn layers(&self, layout: &Layout, overlay: &str) -> Vec<PathBuf> {
        self.from.iter().map(|source| source.path(layout, overlay)).collect()
    }

    /// Goes through all that is kept, and the directories that lead there.
    pub fn visit(&self, layout: &Layout, overlay: &str, visitor: &mut dyn Visitor) -> Result<()> {
        let layers = self.layers(layout, overlay);
        Walk::new(&layers, &self.patterns)?.run(&self.target, visitor)
    }
}

/// Counts what is kept.
struct Count<'c> {
    target: &'c Path,
    total: Total,
    linked: BTreeSet<((u32, u32), u64)>,
}

impl Count<'_> {
    fn add(&mut self, found: &Found<'_>) {
        self.total.count += 1;
        if self.total.paths.len() < KEPT_MAX {
            self.total.paths.push(shown_in(self.target, found.path));
        }
        let node = &found.node;
        if node.kind == NodeKind::File && (node.links < 2 || self.linked.insert((node.dev, node.ino))) {
            self.total.bytes += node.size;
        }
    }
}

impl Visitor for Count<'_> {
    fn enter(&mut self, dir: &Found<'_>, kept: bool) -> Result<()> {
        if kept {
            self.add(dir);
        }
        Ok(())
    }

    fn entry(&mut self, found: &Found<'_>) -> Result<()> {
        self.add(found);
        Ok(())
    }

    fn leave(&mut self, _path: &[u8], _layer: usize) -> Result<()> {
        Ok(())
    }
}

/// A path of a layer as one of the booted system, for people: bytes that are no text as `\xff`.
pub fn shown_in(target: &Path, path: &[u8]) -> String {
    let mut text = String::new();
    for chunk in target.join(shown(path)).as_os_str().as_bytes().utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // A String takes everything that is written to it.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

/// The path as one of the standard library's.
pub(super) fn shown(path: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(path))
}
