//! The state device: wait for it, check or make its filesystem, mount it, read the store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::wipe::{self, Ended, Wipe};
use crate::config::{Config, State};
use crate::error::{Error, Kind, Result};
use crate::exec::{self, luks};
use crate::handoff::HandoffState;
use crate::observe::{self, Base, Moment};
use crate::plan::boot::{BootPlan, Disk};
use crate::plan::lost::{self, Traces};
use crate::plan::state::check_own;
use crate::plan::{self, Step};
use crate::store::{Layout, read};
use crate::sys::block::{self, DeviceSpec, Paths, Search};
use crate::sys::mountinfo;
use crate::sys::superblock::FsType;

/// What came of it.
#[derive(Debug)]
pub struct Brought {
    /// The store, or why there is none.
    pub disk: Disk,
    /// For the handoff.
    pub state: Option<HandoffState>,
    /// How long the device was waited for.
    pub waited: Duration,
    /// What is not as it should be.
    pub problems: Vec<String>,
    /// Id of the request by which the device was wiped.
    pub wiped: Option<String>,
    /// What tells of a store that is gone.
    pub traces: Traces,
}

impl Brought {
    /// Why the boot is degraded by a loss, although it has its mode, or what is to be added to why it has not.
    pub fn loss(&self, plan: &BootPlan) -> Option<String> {
        let Disk::Mounted { store, .. } = &self.disk else { return None };
        lost::told(self.traces, store.as_ref(), &self.state.as_ref()?.device, plan)
    }
}

/// Whether the boot can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It is not looked for.
    Nothing,
    /// It is taken if it is there.
    Optional,
    /// It is waited for, and missed.
    Required,
}

/// What is done on the way to the store.
#[derive(Clone, Copy)]
struct Way<'a> {
    state: &'a State,
    spec: &'a DeviceSpec,
    base: &'a Base,
    /// Where the base is mounted.
    sysroot: &'a Path,
    at: &'a Path,
}

/// Brings the state filesystem up at `at`, in a system that runs. Never fails: the reason is part of the result.
pub fn bring_up(state: &State, need: Need, base: &Base, at: &Path, paths: &Paths) -> Brought {
    brought(state, need, base, Path::new("/"), at, paths, &mut |_, _| Ok(None))
}

/// The same in early boot, which also finishes a wipe of the device that was interrupted, and makes what is wanted on one that
/// is blank, so that a power cut meanwhile leaves something that the next boot finishes.
pub fn bring_up_at_boot(
    config: &Config,
    need: Need,
    base: &Base,
    sysroot: &Path,
    at: &Path,
    paths: &Paths,
) -> Brought {
    brought(&config.state, need, base, sysroot, at, paths, &mut |way, node| {
        let facts = observe::device(node, way.state, base)?;
        check_own(&facts)?;
        let wipe = wiping(config, way, node);
        let wiped = wipe.resume()?;
        if plan::state::wants_filesystem(way.state, &facts) {
            wipe.make_on_blank()?;
        }
        Ok(wiped)
    })
}

/// Carries a pending wipe out, for which the state filesystem goes and comes back. What can not be done is given up, with
/// an outcome that says why, and the store stays as it is.
pub fn wipe_if_asked(
    config: &Config,
    base: &Base,
    sysroot: &Path,
    at: &Path,
    now: &Moment,
    brought: &mut Brought,
) {
    let Disk::Mounted { layout, store: Some(Ok(view)), .. } = &brought.disk else { return };
    let (layout, view) = (layout.clone(), view.clone());
    let (Some(request), Some(spec)) = (wipe::pending(&view), &config.state.device) else { return };
    let Some(node) = brought.state.as_ref().map(|s| PathBuf::from(&s.device)) else { return };
    // The volume that is open on it comes and goes.
    let device = block::below(&node).unwrap_or_else(|| node.clone());
    let way = Way { state: &config.state, spec, base, sysroot, at };
    let ended = wiping(config, &way, &node).run(request, &layout, at);
    brought.disk = match &ended {
        Err(unfinished) => Disk::Unavailable(unfinished.clone()),
        Ok(_) if is_mounted(at) => brought.disk.clone(),
        Ok(_) => bring_back(&way, &device, brought).unwrap_or_else(Disk::Unavailable),
    };
    match ended {
        Ok(Ended::Done) => brought.wiped = Some(request.id.clone()),
        Ok(Ended::Refused(why)) => {
            brought.problems.push(format!("the wipe was not possible: {why}"));
            let given_up = wipe::give_up(&layout, &view, request, &why, now);
            given_up.unwrap_or_else(|e| brought.problems.push(e.to_string()));
            reload(&mut brought.disk);
        }
        Err(_) => {}
    }
}

fn wiping<'a>(config: &'a Config, way: &Way<'a>, node: &'a Path) -> Wipe<'a> {
    Wipe { config, spec: way.spec, node, sysroot: way.sysroot, workshop: way.at.with_file_name("wipe") }
}

fn brought(
    state: &State,
    need: Need,
    base: &Base,
    sysroot: &Path,
    at: &Path,
    paths: &Paths,
    before: &mut dyn FnMut(&Way<'_>, &Path) -> Result<Option<String>>,
) -> Brought {
    let mut brought = Brought {
        disk: Disk::NotWanted,
        state: None,
        waited: Duration::ZERO,
        problems: Vec::new(),
        wiped: None,
        traces: Traces::default(),
    };
    let Some(spec) = state.device.as_ref().filter(|_| need != Need::Nothing) else { return brought };
    let way = Way { state, spec, base, sysroot, at };
    let mut bring = || match wait(state, spec, need, paths, &mut brought.waited)? {
        Some(node) => {
            brought.wiped = before(&way, &node)?;
            bring_back(&way, &node, &mut brought)
        }
        None => Ok(Disk::NotWanted),
    };
    brought.disk = bring().unwrap_or_else(Disk::Unavailable);
    brought
}

/// The device's node; none if it is not there and that is well.
fn wait(
    config: &State,
    spec: &DeviceSpec,
    need: Need,
    paths: &Paths,
    waited: &mut Duration,
) -> Result<Option<PathBuf>> {
    let patience = if need == Need::Optional { Duration::ZERO } else { config.timeout };
    let found = block::wait_for(spec, paths, patience)?;
    *waited = found.waited;
    let unavailable = |message: String| Error::new(Kind::StoreUnavailable, message);
    match found.search {
        Search::Found(node) => Ok(Some(node)),
        Search::Missing if need == Need::Optional => Ok(None),
        Search::Missing => Err(unavailable(format!("no device {spec} came up within {:?}", config.timeout))),
        Search::Ambiguous(nodes) => {
            let nodes: Vec<String> = nodes.iter().map(|n| n.display().to_string()).collect();
            Err(unavailable(format!("{spec} is found on several devices: {}", nodes.join(", ")))
                .remedy("name one by UUID= or PARTUUID= in state.device"))
        }
    }
}

/// The volume on the device, if it is an encrypted one that is open, or that can be opened; else the device.
fn unlocked(way: &Way<'_>, device: &Path) -> Result<PathBuf> {
    if block::probe(device)?.is_none_or(|found| found.fstype != FsType::Luks) {
        return Ok(device.to_owned());
    }
    match (block::opened(device), &way.state.key_file) {
        (Some(volume), _) => Ok(volume),
        (None, Some(_)) => luks::open(device, &luks::key(way.state, way.sysroot)?, luks::NAME, None),
        (None, None) => Ok(device.to_owned()),
    }
}

fn bring_back(way: &Way<'_>, device: &Path, brought: &mut Brought) -> Result<Disk> {
    let Way { state, spec, base, at, .. } = *way;
    let node = unlocked(way, device)?;
    let facts = observe::device(&node, state, base)?;
    let steps = plan::state::prepare(state, &facts)?;
    let was_ours = observe::was_ours(&facts);
    brought.problems.extend(exec::disk::run(&steps, at, state.fsck_timeout)?);
    let fstype = steps.iter().find_map(|s| match s {
        Step::MountState { fstype, .. } => Some(fstype.clone()),
        _ => None,
    });
    brought.state = Some(HandoffState {
        wanted: spec.to_string(),
        device: node.display().to_string(),
        encrypted_on: block::below(&node).map(|device| device.display().to_string()),
        fstype: fstype.unwrap_or_default(),
        uuid: facts.found.map(|f| f.uuid).unwrap_or_default(),
        path: state.path.display().to_string(),
    });
    let layout = Layout::new(at.join(&state.path));
    let mut store = if read::exists(&layout)? { Some(read::load(&layout)) } else { None };
    brought.traces = observe::traces(at, &layout, was_ours);
    if let Some(lost) = lost::missing(brought.traces, store.as_ref(), &node.display().to_string()) {
        store = Some(Err(lost));
    }
    Ok(Disk::Mounted { space: observe::space(at)?, layout, store })
}

/// Reads the store again.
fn reload(disk: &mut Disk) {
    if let Disk::Mounted { layout, store, .. } = disk {
        *store = Some(read::load(layout));
    }
}

fn is_mounted(at: &Path) -> bool {
    mountinfo::at(&mountinfo::read().unwrap_or_default(), at).is_some()
}
