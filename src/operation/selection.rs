//! Committing some paths only: the present baseline without them, and then each of them as it is live.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::ops::ControlFlow;
use std::path::{Component, Path, PathBuf};

use super::draft::Draft;
use super::ground::{self, Ground, Seen};
use super::making::{Order, Scene, Whole, nothing_to_commit};
use super::{Site, compare, mounted};
use crate::error::{Error, Kind, Result};
use crate::layer::{self, Built, Estimate, OnProgress, Options, Progress, Stack};
use crate::sys::{node, rootdir, tree};
use crate::{config, observe};

/// Paths of the merged tree as paths below the overlay's top, each once and none below another. The top itself is all
/// there is, and so no path.
pub(super) fn parse(site: &Site, overlay: &str, paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let target = target(site, overlay)?;
    let mut below = BTreeSet::new();
    for path in paths {
        let relative = path.strip_prefix(&target).ok().filter(|_| path.is_absolute()).ok_or_else(|| {
            let text = format!("{} is no absolute path below {}", path.display(), target.display());
            Error::new(Kind::InvalidArgs, text)
        })?;
        let normal = path.components().all(|c| matches!(c, Component::RootDir | Component::Normal(_)));
        // `components` passes over dots and slashes that mean nothing; so it is put together again.
        if !normal || path.as_os_str().as_encoded_bytes().contains(&0) {
            let text = format!("{} contains \"..\" or a zero byte", path.display());
            return Err(Error::new(Kind::InvalidArgs, text));
        }
        below.insert(relative.components().collect::<PathBuf>());
    }
    if below.contains(Path::new("")) {
        return Ok(Vec::new());
    }
    let outermost = |path: &&PathBuf| !path.ancestors().skip(1).any(|above| below.contains(above));
    Ok(below.iter().filter(outermost).cloned().collect())
}

/// Where the overlay is, or would be, mounted.
pub(super) fn target(site: &Site, overlay: &str) -> Result<PathBuf> {
    if let Some((_, mount)) = mounted(site, overlay)? {
        return Ok(mount.target.into());
    }
    let config = config::load(&site.root, &observe::kernel_command_line()).config;
    Ok(config.overlays.get(overlay).map_or_else(|| "/".into(), |o| o.target.clone()))
}

/// One path as it is live.
pub(super) struct Part<'p> {
    pub(super) path: &'p Path,
    name: &'p OsStr,
    parent: &'p Path,
    pub(super) ground: Ground,
    /// What the layers have there.
    pub(super) topmost: Seen,
    /// Whether the base has it; none: the base is not at hand.
    in_base: Option<bool>,
}

/// Makes a snapshot that holds the baseline, with the paths as they are live.
pub(super) fn make<'s>(
    order: &Order<'_, 's>,
    paths: &[PathBuf],
    on_progress: &mut OnProgress<'_>,
) -> Result<Whole<'s>> {
    let (scene, live) = (order.scene, order.live);
    let stack = live.stack(&scene.layout, scene.overlay);
    let baseline = scene.usable_baseline()?;
    let parts: Vec<Part<'_>> = paths.iter().map(|path| Part::find(&stack, path)).collect::<Result<_>>()?;
    for part in &parts {
        part.check_exists(baseline.as_deref())?;
    }
    scene.check_space(&Estimate::default())?;
    let draft = Draft::begin(&scene.layout, scene.overlay)?;
    let mut work = Work { draft: &draft, stack: &stack, total: Estimate::default(), on_progress };
    let built = match work.build(scene, baseline.as_deref(), paths, &parts) {
        Err(e) if e.kind() == Kind::Canceled => {
            draft.cancel()?;
            return Err(e);
        }
        built => built.map_err(|e| scene.with_remedy(e))?,
    };
    if !built.changed {
        return Err(nothing_to_commit());
    }
    let record = order.built(draft.id(), &built);
    Ok(Whole { draft, record, reused: built.reused })
}

impl<'p> Part<'p> {
    pub(super) fn find(stack: &Stack, path: &'p Path) -> Result<Part<'p>> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(Error::new(Kind::InvalidArgs, format!("/{} has no name", path.display())));
        };
        let ground = Ground::top(stack).descend(parent)?;
        let in_base = match &ground.base {
            Some(base) => Some(ground::see(&base.join(name))? != Seen::Missing),
            None => stack.base.is_some().then_some(false),
        };
        Ok(Part { path, name, parent, topmost: ground.topmost(name)?, ground, in_base })
    }

    /// A path that nothing has ever had is a mistake.
    pub(super) fn check_exists(&self, baseline: Option<&Path>) -> Result<()> {
        let committed = match baseline {
            Some(fs) => Ground { layers: vec![fs.to_owned()], ..Ground::default() }
                .descend(self.parent)
                .and_then(|ground| ground.topmost(self.name))
                .is_ok_and(|seen| seen != Seen::Missing),
            None => false,
        };
        if committed || self.in_base == Some(true) || self.topmost != Seen::Missing {
            return Ok(());
        }
        let place = match self.in_base {
            Some(_) => "the overlay, its base and its baseline",
            None => "the overlay and its baseline",
        };
        Err(Error::new(Kind::InvalidArgs, format!("there is no /{} in {place}", self.path.display())))
    }

    /// Whether the base's version is what shows.
    pub(super) fn shows_base(&self) -> bool {
        !self.ground.hidden && self.topmost == Seen::Missing
    }

    /// What [`layer::estimate`] takes for it alone.
    pub(super) fn alone(&self) -> Result<(Stack, Options)> {
        let stack = self.stack(false);
        let exclude = others(&stack.layers, self.name)?;
        Ok((stack, Options { exclude, ..Options::default() }))
    }

    /// The layers of its directory. `apart` from the base: with all that the base shows there.
    fn stack(&self, apart: bool) -> Stack {
        let base = self.ground.base.clone().filter(|_| !self.ground.hidden);
        let mut layers = self.ground.layers.clone();
        match apart {
            true => {
                layers.extend(base);
                Stack { layers, base: None }
            }
            false => Stack { layers, base },
        }
    }
}

/// All names of the directories but one.
fn others(layers: &[PathBuf], name: &OsStr) -> Result<Vec<PathBuf>> {
    let mut others = BTreeSet::new();
    for layer in layers {
        for entry in fs::read_dir(layer).map_err(|e| Error::io("list", layer, e))? {
            others.insert(entry.map_err(|e| Error::io("list", layer, e))?.file_name());
        }
    }
    others.remove(name);
    Ok(others.into_iter().map(PathBuf::from).collect())
}

/// The building of one selection.
struct Work<'w, 'a, 'p> {
    draft: &'w Draft<'a>,
    stack: &'w Stack,
    total: Estimate,
    on_progress: &'w mut OnProgress<'p>,
}

impl Work<'_, '_, '_> {
    fn build(
        &mut self,
        scene: &Scene<'_>,
        baseline: Option<&Path>,
        paths: &[PathBuf],
        parts: &[Part<'_>],
    ) -> Result<Built> {
        let floor = self.floor(baseline)?;
        let options = |exclude| Options { exclude, index: Some(self.draft.index()), ..Options::default() };
        let without = options(paths.to_vec());
        let mut pieces = Vec::new();
        for part in parts {
            let apart = self.hides_base(baseline, part.parent)?;
            let stack = part.stack(apart);
            let options = options(others(&stack.layers, part.name)?);
            pieces.push((part, apart, stack, options));
        }
        self.count(&floor, &without)?;
        for (_, _, stack, options) in &pieces {
            self.count(stack, options)?;
        }
        scene.check_space(&self.total)?;
        let mut sum = self.layer(&floor, &self.draft.fs(), without, Built::default())?;
        remove(&self.draft.dir().join("top"))?;
        for (part, apart, stack, options) in pieces {
            let staging = self.draft.dir().join("part");
            if !stack.layers.is_empty() {
                let before = sum.unstable.len();
                sum = self.layer(&stack, &staging, options, sum)?;
                sum.unstable[before..].iter_mut().for_each(|path| *path = part.parent.join(&*path));
            }
            self.install(part, apart, &staging.join(part.name))?;
            remove(&staging)?;
            sum.changed |= self.differs(baseline, part.path)?;
        }
        Ok(sum)
    }

    /// The baseline below a top that is nobody's upper: so its files can be taken over as they are.
    fn floor(&self, baseline: Option<&Path>) -> Result<Stack> {
        let top = self.draft.dir().join("top");
        fs::create_dir(&top).map_err(|e| Error::io("make", &top, e))?;
        let like =
            baseline.or(self.stack.base.as_deref()).or(self.stack.layers.first().map(PathBuf::as_path));
        if let Some(like) = like {
            rootdir::adopt(like, &top)?;
        }
        let layers = [top].into_iter().chain(baseline.map(Path::to_owned)).collect();
        Ok(Stack { layers, base: self.stack.base.clone() })
    }

    /// Whether the base is hidden in this directory of the baseline, or will be once it is one.
    fn hides_base(&self, baseline: Option<&Path>, parent: &Path) -> Result<bool> {
        let Some(mut at) = baseline.map(Path::to_owned) else { return Ok(false) };
        for name in parent.components() {
            at.push(name);
            match ground::see(&at)? {
                Seen::Directory { opaque: false } => {}
                Seen::Missing => return Ok(false),
                Seen::Directory { opaque: true } | Seen::Whiteout | Seen::Other => return Ok(true),
            }
        }
        Ok(false)
    }

    fn count(&mut self, stack: &Stack, options: &Options) -> Result<()> {
        if stack.layers.is_empty() {
            return Ok(());
        }
        let one = layer::estimate(stack, options, self.on_progress)?;
        self.total.entries += one.entries;
        self.total.bytes += one.bytes;
        self.total.new_inodes += one.new_inodes;
        self.total.new_bytes += one.new_bytes;
        Ok(())
    }

    /// Builds one piece, and tells its progress as part of the whole.
    fn layer(&mut self, stack: &Stack, into: &Path, options: Options, sum: Built) -> Result<Built> {
        let (total, on_progress) = (self.total, &mut *self.on_progress);
        let mut report = |p: Progress| {
            on_progress(Progress {
                entries: sum.entries + p.entries,
                bytes: sum.bytes + p.bytes,
                total_entries: total.entries,
                total_bytes: total.bytes,
            })
        };
        let one = layer::build(stack, into, &Options { index: None, ..options }, &mut report)?;
        Ok(Built {
            entries: sum.entries + one.entries,
            bytes: sum.bytes + one.bytes,
            reused: sum.reused + one.reused,
            reflinked: sum.reflinked || one.reflinked,
            changed: sum.changed,
            unstable: [sum.unstable, one.unstable].concat(),
        })
    }

    /// Puts one path into the new tree, as it is live. `apart`: nothing of the base shows there.
    fn install(&self, part: &Part<'_>, apart: bool, made: &Path) -> Result<()> {
        let place = self.draft.fs().join(part.path);
        let base_would_show = !apart && part.in_base != Some(false);
        match ground::see(made)? {
            Seen::Missing if part.shows_base() || !base_would_show => Ok(()),
            Seen::Missing => {
                let dir = self.parents(part.parent)?;
                keeping_times(&dir, || ground::make_whiteout(&place))
            }
            Seen::Whiteout if !base_would_show => Ok(()),
            seen => {
                let dir = self.parents(part.parent)?;
                keeping_times(&dir, || {
                    fs::rename(made, &place).map_err(|e| Error::io("rename to", &place, e))
                })?;
                match seen {
                    Seen::Directory { .. } if part.ground.hidden && base_would_show => {
                        ground::make_opaque(&place)
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Makes the directories that lead to a path, as they are live; what is no directory there gives way.
    fn parents(&self, parent: &Path) -> Result<PathBuf> {
        let mut at = self.draft.fs();
        let mut live = Ground::top(self.stack);
        for component in parent.components() {
            let above = at.clone();
            let walked = Path::new(&component).to_owned();
            live = live.descend(&walked)?;
            at.push(&walked);
            let found = ground::see(&at)?;
            if matches!(found, Seen::Directory { .. }) {
                continue;
            }
            keeping_times(&above, || {
                if found != Seen::Missing {
                    fs::remove_file(&at).map_err(|e| Error::io("remove", &at, e))?;
                }
                fs::create_dir(&at).map_err(|e| Error::io("make", &at, e))
            })?;
            if let Some(like) = live.layers.first().or(live.base.as_ref()) {
                rootdir::adopt(like, &at)?;
            }
            if found != Seen::Missing {
                ground::make_opaque(&at)?;
            }
        }
        Ok(at)
    }

    fn differs(&mut self, baseline: Option<&Path>, path: &Path) -> Result<bool> {
        let new = self.draft.fs().join(path);
        match baseline {
            None => Ok(ground::see(&new)? != Seen::Missing),
            Some(old) => compare::same(&old.join(path), &new, self.on_progress).map(|same| !same),
        }
    }
}

/// Changes a directory, and leaves its times as they were.
fn keeping_times(dir: &Path, change: impl FnOnce() -> Result<()>) -> Result<()> {
    let failed = |e| Error::io("keep the times of", dir, e);
    let open = node::open_top(dir).map_err(failed)?;
    let before = node::look_at(&open).map_err(failed)?;
    change()?;
    node::date(&open, before.atime, before.mtime).map_err(failed)
}

fn remove(path: &Path) -> Result<()> {
    tree::remove(path, &mut |_| ControlFlow::Continue(())).map(drop)
}
