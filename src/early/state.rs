//! The state device: wait for it, check or make its filesystem, mount it, read the store.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::State;
use crate::error::{Error, Kind, Result};
use crate::exec;
use crate::handoff::HandoffState;
use crate::observe::{self, Base};
use crate::plan::boot::Disk;
use crate::plan::{self, Step};
use crate::store::{Layout, read};
use crate::sys::block::{self, DeviceSpec, Paths, Search};

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

/// Brings the state filesystem up at `at`. Never fails: the reason is part of the result.
pub fn bring_up(config: &State, need: Need, base: &Base, at: &Path, paths: &Paths) -> Brought {
    let mut brought =
        Brought { disk: Disk::NotWanted, state: None, waited: Duration::ZERO, problems: Vec::new() };
    let Some(spec) = config.device.as_ref().filter(|_| need != Need::Nothing) else { return brought };
    let mut bring = || match wait(config, spec, need, paths, &mut brought.waited)? {
        Some(node) => mount(config, spec, &node, base, at, &mut brought),
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

fn mount(
    config: &State,
    spec: &DeviceSpec,
    node: &Path,
    base: &Base,
    at: &Path,
    brought: &mut Brought,
) -> Result<Disk> {
    let facts = observe::device(node, config, base)?;
    let steps = plan::state::prepare(config, &facts)?;
    brought.problems = exec::disk::run(&steps, at, config.fsck_timeout)?;
    let fstype = steps.iter().find_map(|s| match s {
        Step::MountState { fstype, .. } => Some(fstype.clone()),
        _ => None,
    });
    brought.state = Some(HandoffState {
        wanted: spec.to_string(),
        device: node.display().to_string(),
        fstype: fstype.unwrap_or_default(),
        uuid: facts.found.map(|f| f.uuid).unwrap_or_default(),
        path: config.path.display().to_string(),
    });
    let layout = Layout::new(at.join(&config.path));
    let store = if read::exists(&layout)? { Some(read::load(&layout)) } else { None };
    Ok(Disk::Mounted { space: observe::space(at)?, layout, store })
}
