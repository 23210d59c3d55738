//! Before a soft-reboot: carries the pending request of the root out, and mounts what it makes at `/run/nextroot`, where
//! systemd goes on. What is mounted as `/` until then is never written to: a request makes another generation.
//!
//! As `mount.overlayd` does, it works in a mount namespace of its own and takes the finished mount over to the host's.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use super::boot::{self, want_cleanup};
use super::mount::refuse_second_mount;
use crate::config;
use crate::error::{Error, Kind, Result};
use crate::exec::mounts::{self, Places};
use crate::handoff::{self, Handoff};
use crate::keep;
use crate::observe;
use crate::plan::boot::{BootPlan, Facts};
use crate::plan::nextroot;
use crate::store::lock::StoreLock;
use crate::store::{Layout, StoreView, read};
use crate::sys::block::Paths;
use crate::sys::{mount, mountinfo};

/// Where systemd looks for the root to go on with (systemd-soft-reboot.service(8)).
const NEXTROOT: &str = "/run/nextroot";
/// The one filesystem below the root that systemd does not unmount.
const USR: &str = "/usr";
/// What is mounted below `/run` and has to go on. systemd takes `/run` itself over, and nothing that is mounted in it,
/// unless something is mounted on the next root's `/run` already (its switch-root.c).
const CARRIED: [&str; 3] = [handoff::RUN_STORE, "/run/overlayd/root/base", "/run/initramfs"];

/// Mounts the next root. After an error nothing is mounted there, and a soft-reboot restarts what is.
pub fn run() -> Result<()> {
    let path = Path::new(handoff::BOOT_TOML);
    let handoff = handoff::load(path)?.ok_or_else(|| {
        Error::new(Kind::Refused, "early boot mounted no root overlay: there is nothing to change")
    })?;
    let base_at = Path::new(handoff::RUN_DIR).join("root/base");
    let store = Path::new(handoff::RUN_STORE);
    let layout = Layout::new(store);
    let _lock = StoreLock::exclusive(&layout)?;
    let command_line = observe::kernel_command_line();
    let loaded = config::load(Path::new("/"), &command_line);
    if let Some(first) = loaded.problems.first() {
        return Err(Error::new(Kind::BadConfig, format!("the configuration is wrong: {first}")));
    }
    let facts = Facts {
        name: "root".to_owned(),
        base: observe::base(&base_at, &command_line, &Paths::default())?,
        ram: observe::ram(),
        now: observe::moment(),
        run: handoff::RUN_DIR.into(),
        new_uuid: String::new(),
        kept: None,
    };
    let places = Places {
        name: facts.name.clone(),
        sysroot: NEXTROOT.into(),
        run: "/run".into(),
        layout: Some(layout.clone()),
        base_device: None,
    };
    boot::make_run_dir(&places.sysroot)?;
    let planned = |view: &StoreView| {
        let kept = keep::select::pending(&layout, view, &facts.name, loaded.config.root()).transpose();
        let facts = Facts { kept, ..facts.clone() };
        nextroot::root(loaded.config.root(), &facts, view, &observe::space(store)?, &handoff)
    };
    // Asked before anything is touched, too: an error must leave no trace.
    planned(&read::load(&layout)?)?;
    let (plan, problems) = in_private(&places, &planned)?;
    let handoff = told(handoff, &facts, plan, problems);
    want_cleanup(&handoff);
    handoff::save(path, &handoff).unwrap_or_else(|e| tracing::error!("{e}"));
    boot::greet(&handoff);
    Ok(())
}

/// Executes the plan out of the host's sight, then attaches the new root in the host's namespace.
fn in_private(
    places: &Places,
    planned: &dyn Fn(&StoreView) -> Result<BootPlan>,
) -> Result<(BootPlan, Vec<String>)> {
    while mountinfo::at(&mountinfo::read()?, &places.sysroot).is_some() {
        mount::detach(&places.sysroot)?;
    }
    let host = mount::this_namespace()?;
    mount::private_namespace()?;
    // Before the store becomes writable here: a copy has the flags of what it is a copy of.
    let carried = carried()?;
    mount::restrict(Path::new(handoff::RUN_STORE), false)?;
    let plan = planned(&read::load(&Layout::new(handoff::RUN_STORE))?)?;
    refuse_second_mount(places, &plan)?;
    let problems = mounts::run(places, &plan.steps)?;
    for (path, tree) in carried {
        mount::attach(tree, &below(&places.sysroot, &path))?;
    }
    let root = mount::clone_whole_tree(&places.sysroot)?;
    mount::enter_namespace(&host)?;
    mount::attach(root, &places.sysroot)?;
    Ok((plan, problems))
}

/// Copies of `/usr`, `/run`, and what has to go on in the latter, as far as they are mounts.
fn carried() -> Result<Vec<(PathBuf, OwnedFd)>> {
    let mounts = mountinfo::read()?;
    let paths = [USR, "/run"].into_iter().chain(CARRIED).map(PathBuf::from);
    let mounted = paths.filter(|path| mountinfo::at(&mounts, path).is_some());
    mounted.map(|path| mount::clone_tree(&path).map(|tree| (path, tree))).collect()
}

fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// The handoff of the root that comes up.
fn told(mut handoff: Handoff, facts: &Facts, plan: BootPlan, problems: Vec<String>) -> Handoff {
    handoff.problems = [plan.problems, problems].concat();
    if let Some(root) = handoff.overlay.get_mut(&facts.name) {
        let snapshot = plan.snapshot.map(|id| format!("snapshot:{id}"));
        root.lowers = snapshot.into_iter().chain([facts.base.lower.clone()]).collect();
        root.generation = plan.generation;
        root.snapshot = plan.snapshot;
        root.options = plan.options;
        root.reason = plan.reason;
        root.executed = plan.executes;
    }
    handoff
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mode;
    use crate::handoff::{BootMode, HandoffOverlay};

    #[test]
    fn the_handoff_tells_of_the_new_root_and_keeps_the_rest() {
        let mut before = Handoff::new(BootMode::Initrd, "b".into());
        before.problems = vec!["of the boot".into()];
        let root = HandoffOverlay { generation: Some(1), base: "squashfs:1".into(), ..Default::default() };
        before.overlay.insert("root".into(), root);
        let facts = Facts {
            name: "root".into(),
            base: observe::Base { lower: "squashfs:/dev/x".into(), ..Default::default() },
            ram: 0,
            now: observe::Moment::default(),
            run: "/run/overlayd".into(),
            new_uuid: String::new(),
            kept: None,
        };
        let plan = BootPlan {
            mode: Mode::Persistent,
            reason: None,
            generation: Some(2),
            snapshot: Some(7),
            executes: Some("r".into()),
            options: "o".into(),
            problems: Vec::new(),
            steps: Vec::new(),
        };
        let after = told(before, &facts, plan, vec!["new".into()]);
        let root = &after.overlay["root"];
        assert_eq!((root.generation, root.snapshot, root.executed.as_deref()), (Some(2), Some(7), Some("r")));
        assert_eq!(root.lowers, ["snapshot:7", "squashfs:/dev/x"]);
        assert_eq!((root.base.as_str(), after.problems), ("squashfs:1", vec!["new".to_owned()]));
    }
}
