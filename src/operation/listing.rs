//! What a commit would hold, in lines for people. It reads and changes nothing.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::commit::Preview;
use super::ground::{self, Ground, Seen};
use super::making::Scene;
use super::selection::Part;
use crate::error::{Error, Kind, Result};
use crate::layer::{self, OnProgress, Options, Progress, Stack};

/// Lists are not longer.
pub(super) const LINES_MAX: usize = 1000;

/// Lines, as far as there is room.
#[derive(Debug, Default)]
pub(super) struct Lines {
    pub(super) lines: Vec<String>,
    pub(super) more: bool,
}

impl Lines {
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
    let baseline = scene.baseline()?.map(|id| scene.layout.snapshot_fs(scene.overlay, id));
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
            seen => entry(&self.ground, seen, self.path, lines, on_progress),
        }
    }
}

/// One entry of a directory, and what is below it.
fn entry(
    ground: &Ground,
    seen: Seen,
    path: &Path,
    lines: &mut Lines,
    on_progress: &mut OnProgress<'_>,
) -> Result<()> {
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
        Seen::Directory { .. } => list(ground.clone().descend(Path::new(name))?, path, lines, on_progress),
        _ => Ok(()),
    }
}

fn list(ground: Ground, path: &Path, lines: &mut Lines, on_progress: &mut OnProgress<'_>) -> Result<()> {
    let mut names = BTreeSet::new();
    for layer in &ground.layers {
        let entries = fs::read_dir(layer).map_err(|e| Error::io("list", layer, e))?;
        names.extend(entries.filter_map(|entry| entry.ok().map(|entry| entry.file_name())));
    }
    for name in names {
        if lines.more {
            return Ok(());
        }
        if on_progress(Progress::default()).is_break() {
            return Err(Error::new(Kind::Canceled, "canceled"));
        }
        let seen = ground.topmost(&name)?;
        let over_nothing = || -> Result<bool> {
            let below = ground.base.as_ref().map(|base| ground::see(&base.join(&name))).transpose()?;
            Ok(ground.hidden || below == Some(Seen::Missing))
        };
        if seen == Seen::Whiteout && over_nothing()? {
            continue;
        }
        entry(&ground, seen, &path.join(&name), lines, on_progress)?;
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
