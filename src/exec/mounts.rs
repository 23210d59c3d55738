//! The steps that mount: the base's view, the volatile upper, the overlay, the store's guarded view.

use std::fs::{self, DirBuilder, Permissions};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::{host, store};
use crate::error::{Error, Kind, Result};
use crate::plan::Step;
use crate::store::Layout;
use crate::sys::mount::{self, FsContext};
use crate::sys::overlay::{self, Overlay};
use crate::sys::probe::{self, Verdict};
use crate::sys::{mountinfo, rootdir};

/// Where things are while a boot plan is executed.
#[derive(Clone, Debug)]
pub struct Places {
    /// The overlay's name.
    pub name: String,
    /// The base, over which the overlay goes.
    pub sysroot: PathBuf,
    /// `/run`.
    pub run: PathBuf,
    /// Where the store is mounted while early boot works on it.
    pub layout: Option<Layout>,
    /// Number of the base's block device, if it has one.
    pub base_device: Option<(u64, u64)>,
}

impl Places {
    /// `/run/overlayd`.
    pub fn overlayd(&self) -> PathBuf {
        self.run.join("overlayd")
    }

    /// `/run/overlayd/store`.
    fn store(&self) -> PathBuf {
        self.overlayd().join("store")
    }

    /// Directory for what is needed only while mounting.
    pub fn scratch(&self, name: &str) -> PathBuf {
        self.overlayd().join(&self.name).join(name)
    }
}

/// Executes a boot plan. Problems that do not stop it are returned.
pub fn run(places: &Places, steps: &[Step]) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    for step in steps {
        let of_store = match &places.layout {
            Some(layout) => match store::apply(layout, step) {
                // A boot that is not counted is better than none.
                Err(e) if matches!(step, Step::CountBoot(..)) => {
                    problems.push(e.context("this boot is not counted").to_string());
                    true
                }
                // What is set aside for a full disk is worth less than the overlay.
                Err(e) if matches!(step, Step::FillReserve(_)) => {
                    problems.push(e.to_string());
                    true
                }
                done => done?,
            },
            None => false,
        };
        if !of_store {
            problems.extend(apply(places, step)?);
        }
    }
    Ok(problems)
}

fn apply(places: &Places, step: &Step) -> Result<Option<String>> {
    match step {
        Step::ProtectBase => return protect_base(places),
        Step::ExposeBase(at) => expose_base(places, at)?,
        Step::MountVolatile { at, bytes, inodes } => mount_volatile(at, *bytes, *inodes)?,
        Step::MountOverlay { overlay, submounts } => return mount_overlay(places, overlay, submounts),
        Step::ExposeStore => expose_store(places)?,
        Step::GuardStore => guard_store(places)?,
        Step::PrepareHost => return host::prepare(places),
        _ => {}
    }
    Ok(None)
}

/// Invariant 11. A base that other mounts keep writable is reported, and does not stop the boot.
fn protect_base(places: &Places) -> Result<Option<String>> {
    let mounts = mountinfo::read()?;
    if mountinfo::at(&mounts, &places.sysroot).is_some_and(mountinfo::Mount::superblock_is_read_only) {
        return Ok(None);
    }
    Ok(mount::superblock_read_only(&places.sysroot).err().map(|e| format!("the base stays writable: {e}")))
}

fn expose_base(places: &Places, at: &Path) -> Result<()> {
    if mountinfo::at(&mountinfo::read()?, at).is_some() {
        return Ok(());
    }
    make_dir(at)?;
    mount::attach(mount::clone_tree(&places.sysroot)?, at)?;
    mount::make_private(at)?;
    mount::read_only_view(at)
}

fn mount_volatile(at: &Path, bytes: u64, inodes: u64) -> Result<()> {
    make_dir(at)?;
    let context = FsContext::new("tmpfs", "RAM filesystem for a volatile upper")?;
    context.string("source", "overlayd")?;
    context.string("size", bytes.to_string())?;
    context.string("nr_inodes", inodes.to_string())?;
    context.string("mode", "0700")?;
    let mounted = context.mount(mount::PRIVATE)?;
    mount::attach(&mounted, at)?;
    mount::restrict(at, false)?;
    make_dir(&at.join("fs"))?;
    make_dir(&at.join("work"))
}

fn mount_overlay(places: &Places, overlay: &Overlay, submounts: &[PathBuf]) -> Result<Option<String>> {
    let carried = submounts
        .iter()
        .map(|path| {
            mount::clone_tree(&places.sysroot.join(path)).map(|tree| (places.sysroot.join(path), tree))
        })
        .collect::<Result<Vec<(PathBuf, OwnedFd)>>>()?;
    let scratch = places.scratch("scratch");
    let (tried, renewed) = try_layers(places, overlay, &scratch)?;
    probe::clean(&overlay.upper)?;
    if let Some(base) = overlay.lowers.first() {
        rootdir::adopt(base, &overlay.upper)?;
    }
    let mounted = overlay::mount(overlay, &scratch)?;
    let times = rootdir::times(&mounted)?;
    let verdict = probe::merged(&mounted)?;
    rootdir::set_times(&mounted, times)?;
    mount::attach(&mounted, &places.sysroot)?;
    for (target, tree) in carried {
        mount::attach(tree, &target)?;
    }
    let full = tried == Verdict::Full || verdict == Verdict::Full;
    let full = full.then(|| "the state filesystem is full: nothing more can be written".to_owned());
    Ok(full.or(renewed))
}

/// Tries the layers; where they do not work, once more with a new work directory. Returns what was wrong with the old one.
fn try_layers(places: &Places, overlay: &Overlay, scratch: &Path) -> Result<(Verdict, Option<String>)> {
    let (lower, beside) = (places.scratch("probe"), overlay.upper.with_file_name("probe"));
    let layers = || probe::layers(&lower, &beside, &overlay.work, &overlay.options, scratch);
    let first = match layers() {
        Ok(verdict) => return Ok((verdict, None)),
        Err(e) if e.kind() == Kind::NotSupported => return Err(e),
        Err(first) => first,
    };
    match probe::renew_work(&overlay.work) {
        Ok(()) => {}
        Err(e) if e.kind() == Kind::StoreDamaged => return Err(e),
        Err(_) => return Err(first),
    }
    Ok((layers()?, Some(format!("the work directory was made anew: {first}"))))
}

/// The store alone becomes visible; the rest of the state filesystem does not.
fn expose_store(places: &Places) -> Result<()> {
    let Some(layout) = places.layout.as_ref().filter(|l| l.root().exists()) else { return Ok(()) };
    let at = places.store();
    if mountinfo::at(&mountinfo::read()?, &at).is_some() {
        return Ok(());
    }
    make_dir(&at)?;
    mount::attach(mount::clone_tree(layout.root())?, &at)?;
    mount::make_private(&at)?;
    mount::restrict(&at, false)
}

/// The overlay keeps a writable mount of its own; whoever comes by the visible one changes nothing by accident.
fn guard_store(places: &Places) -> Result<()> {
    let at = places.store();
    match mountinfo::at(&mountinfo::read()?, &at) {
        Some(_) => mount::restrict(&at, true),
        None => Ok(()),
    }
}

/// A directory for root alone, below `/run/overlayd/<overlay>`, which is open as its parent is.
fn make_dir(path: &Path) -> Result<()> {
    let parent = path.parent().unwrap_or(path);
    let parents = DirBuilder::new().mode(0o755).recursive(true).create(parent);
    let made = parents.and_then(|()| DirBuilder::new().mode(0o700).recursive(true).create(path));
    made.and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o700)))
        .map_err(|e| Error::io("make", path, e))
}
