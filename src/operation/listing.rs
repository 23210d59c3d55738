//! What a commit would hold, in lines for people. It reads and changes nothing.

use std::collections::BTreeSet;
use std::collections::btree_set::IntoIter;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::commit::Preview;
use super::ground::{self, Ground, Seen};
use super::making::Scene;
use super::selection::Part;
use crate::error::{Error, Kind, Result};
use crate::layer::{self, OnProgress, Options, Progress, Stack};

/// What lies deeper is not told: no path leads there in one piece, in bytes.
const DEPTH_MAX: usize = 3500;
/// Lists are not longer.
pub(super) const LINES_MAX: usize = 1000;

/// Lines, as far as there is room.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) lines: Vec<String>,
    pub(super) more: bool,
}

impl Lines {
    /// Whether another one is told.
    fn has_room(&self) -> bool {
        self.lines.len() < LINES_MAX || !self.more
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Puts one before others, the last of which goes if there is no room.
    pub(super) fn insert(&mut self, at: usize, line: String) {
        self.lines.insert(at.min(self.lines.len()), line);
        self.more |= self.lines.len() > LINES_MAX;
        self.lines.truncate(LINES_MAX);
    }

    /// Adds one, if there is room.
    pub(super) fn add(&mut self, line: impl FnOnce() -> String) {
        match self.lines.len() < LINES_MAX {
            true => self.lines.push(line()),
            false => self.more = true,
        }
    }
}

/// `/etc/hostname`, with what no terminal should see written out.
pub(super) fn shown(path: &Path) -> String {
    format!("/{}", path.to_string_lossy().escape_debug())
}

/// What a commit of all, or of `paths`, would hold.
pub(super) fn of_commit(
    scene: &Scene<'_>,
    paths: &[PathBuf],
    on_progress: &mut OnProgress<'_>,
) -> Result<Preview> {
    let live = scene.live()?;
    let stack = live.stack(&scene.layout, scene.overlay);
    let mut preview = Preview::default();
    let mut lines = Lines::default();
    if paths.is_empty() {
        add(&mut preview, &stack, &Options::default(), on_progress)?;
        list(Ground::top(&stack), Path::new(""), &mut lines, on_progress)?;
    }
    let baseline = scene.usable_baseline()?;
    for path in paths {
        let part = Part::find(&stack, path)?;
        part.check_exists(baseline.as_deref())?;
        let (stack, options) = part.alone()?;
        add(&mut preview, &stack, &options, on_progress)?;
        part.list(&mut lines, on_progress)?;
    }
    preview.complete = !lines.more;
    preview.lines = lines.lines;
    Ok(preview)
}

fn add(
    preview: &mut Preview,
    stack: &Stack,
    options: &Options,
    on_progress: &mut OnProgress<'_>,
) -> Result<()> {
    if !stack.layers.is_empty() {
        let counted = layer::estimate(stack, options, on_progress)?;
        preview.entries += counted.entries;
        preview.bytes += counted.bytes;
    }
    Ok(())
}

impl Part<'_> {
    fn list(&self, lines: &mut Lines, on_progress: &mut OnProgress<'_>) -> Result<()> {
        match self.topmost {
            Seen::Missing if self.shows_base() => {
                lines.add(|| format!("as in the base {}", shown(self.path)));
                Ok(())
            }
            Seen::Missing => {
                lines.add(|| format!("removed {}", shown(self.path)));
                Ok(())
            }
            seen => match entry(&self.ground, seen, self.path, lines)? {
                Some(below) => list(below, self.path, lines, on_progress),
                None => Ok(()),
            },
        }
    }
}

/// One line for an entry of a directory; if it is one itself, what is below it.
fn entry(ground: &Ground, seen: Seen, path: &Path, lines: &mut Lines) -> Result<Option<Ground>> {
    let name = path.file_name().unwrap_or_default();
    match seen {
        Seen::Missing => {}
        Seen::Whiteout => lines.add(|| format!("removed {}", shown(path))),
        Seen::Other | Seen::Directory { .. } => {
            let mut places = ground.layers.iter().map(|layer| layer.join(name));
            let place = places.find(|at| fs::symlink_metadata(at).is_ok()).unwrap_or_default();
            lines.add(|| describe(&place, path));
        }
    }
    match seen {
        Seen::Directory { .. } => ground.clone().descend(Path::new(name)).map(Some),
        _ => Ok(None),
    }
}

/// A directory whose entries are being told, and those that are left.
struct Open {
    ground: Ground,
    path: PathBuf,
    names: IntoIter<OsString>,
}

impl Open {
    fn new(ground: Ground, path: &Path) -> Result<Open> {
        let mut names = BTreeSet::new();
        for layer in &ground.layers {
            let entries = fs::read_dir(layer).map_err(|e| Error::io("list", layer, e))?;
            names.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name())));
        }
        Ok(Open { ground, path: path.to_owned(), names: names.into_iter() })
    }

    /// Whether the base has nothing that a whiteout could hide.
    fn is_over_nothing(&self, name: &OsStr) -> Result<bool> {
        let below = self.ground.base.as_ref().map(|base| ground::see(&base.join(name))).transpose()?;
        Ok(self.ground.hidden || below == Some(Seen::Missing))
    }
}

/// A line for each entry below a directory, however deep.
fn list(ground: Ground, path: &Path, lines: &mut Lines, on_progress: &mut OnProgress<'_>) -> Result<()> {
    let mut stack = vec![Open::new(ground, path)?];
    while let Some(open) = stack.last_mut().filter(|_| lines.has_room()) {
        let Some(name) = open.names.next() else {
            stack.pop();
            continue;
        };
        if on_progress(Progress::default()).is_break() {
            return Err(Error::new(Kind::Canceled, "canceled"));
        }
        let seen = open.ground.topmost(&name)?;
        if seen == Seen::Whiteout && open.is_over_nothing(&name)? {
            continue;
        }
        let path = open.path.join(&name);
        if path.as_os_str().len() > DEPTH_MAX {
            lines.more = true;
            continue;
        }
        if let Some(below) = entry(&open.ground, seen, &path, lines)? {
            stack.push(Open::new(below, &path)?);
        }
    }
    Ok(())
}

fn describe(place: &Path, path: &Path) -> String {
    let shown = shown(path);
    let Ok(found) = fs::symlink_metadata(place) else { return format!("entry {shown}") };
    let kind = found.file_type();
    match () {
        () if kind.is_dir() => format!("directory {shown}"),
        () if kind.is_file() => format!("file {shown}, {} bytes", found.len()),
        () if kind.is_symlink() => format!("symlink {shown}"),
        () if kind.is_fifo() => format!("pipe {shown}"),
        () if kind.is_socket() => format!("socket {shown}"),
        () => format!("device {shown}"),
    }
}
