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

/// Brings the state filesystem up at `at`. Never fails: the reason is part of the result.
pub fn bring_up(config: &State, base: &Base, at: &Path, paths: &Paths) -> Brought {
    let mut brought =
        Brought { disk: Disk::NotWanted, state: None, waited: Duration::ZERO, problems: Vec::new() };
    let Some(spec) = &config.device else { return brought };
    brought.disk = match wait(config, spec, paths, &mut brought.waited) {
        Ok(node) => match mount(config, spec, &node, base, at, &mut brought) {
            Ok(disk) => disk,
            Err(e) => Disk::Unavailable(e),
        },
        Err(e) => Disk::Unavailable(e),
    };
    brought
}

fn wait(config: &State, spec: &DeviceSpec, paths: &Paths, waited: &mut Duration) -> Result<PathBuf> {
    let found = block::wait_for(spec, paths, config.timeout)?;
    *waited = found.waited;
    let unavailable = |message: String| Error::new(Kind::StoreUnavailable, message);
    match found.search {
        Search::Found(node) => Ok(node),
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
