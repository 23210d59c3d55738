//! Overlays that are not the root change at once: one that is mounted is unmounted and mounted again, and that mount
//! executes the request; of one that is not, the request is executed here. Whoever is in the way is named, and then
//! nothing is changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Asked, Planned, Site, open, policy};
use crate::error::{Error, Kind, Result};
use crate::exec;
use crate::handoff;
use crate::keep;
use crate::observe::{self, Base};
use crate::plan::boot::Facts;
use crate::plan::{self, Step};
use crate::store::job::JobLock;
use crate::store::lock::StoreLock;
use crate::store::records::{Action, OutcomeRecord, RequestRecord};
use crate::store::{Layout, StoreView, read};
use crate::sys::{mount, mountinfo, probe, process, users};

/// As many of those who are in the way are named.
const NAMED: usize = 10;
/// A check of the state filesystem may be part of a mount.
const MOUNT_LIMIT: Duration = Duration::from_secs(120);
/// A descriptor that is being closed keeps a mount busy for an instant.
const TRIES: u32 = 5;

/// How a mounted overlay is mounted again: by the service manager, or by hand.
pub trait Remount {
    /// In whose mount namespace it does that: a directory of `/proc`.
    fn whose(&self) -> &'static str {
        users::HERE
    }
    /// Unmounts the overlay and mounts it again. An error may leave it mounted as it was, or not mounted.
    fn remount(&self, overlay: &str, target: &Path) -> Result<()>;
    /// Mounts it, after a failure left it unmounted.
    fn mount(&self, overlay: &str, target: &Path) -> Result<()>;
}

/// Without a service manager: umount2(2), and `mount.overlayd`.
#[derive(Clone, Debug)]
pub struct ByHand {
    /// The program, and what comes before the overlay's name.
    pub command: Vec<String>,
}

impl Default for ByHand {
    fn default() -> Self {
        let installed =
            process::find_program("mount.overlayd").unwrap_or_else(|| "/usr/sbin/mount.overlayd".into());
        ByHand { command: vec![installed.display().to_string()] }
    }
}

impl Remount for ByHand {
    fn remount(&self, overlay: &str, target: &Path) -> Result<()> {
        for left in (0..TRIES).rev() {
            match mount::unmount(target) {
                Ok(()) => break,
                Err(_) if left > 0 => std::thread::sleep(Duration::from_millis(50)),
                Err(e) => return Err(Error::io("unmount", target, e)),
            }
        }
        self.mount(overlay, target)
    }

    fn mount(&self, overlay: &str, target: &Path) -> Result<()> {
        let target = target.display().to_string();
        let (program, before) =
            self.command.split_first().ok_or_else(|| Error::new(Kind::Failed, "no program to mount with"))?;
        let arguments: Vec<&str> = before.iter().map(String::as_str).chain([overlay, &target]).collect();
        let exit = process::run(Path::new(program), &arguments, MOUNT_LIMIT)?;
        match exit.code {
            Some(0) => Ok(()),
            _ => Err(Error::new(Kind::Failed, format!("{program} failed: {}", exit.output))),
        }
    }
}

/// Whether a request for the overlay is carried out at once: only the root waits for the next boot.
pub fn is_immediate(overlay: &str) -> bool {
    overlay != "root"
}

/// Asks for something: of the next boot, or, where that has not to be waited for, at once.
pub fn carry_out(
    site: &Site,
    overlay: &str,
    asked: &Asked,
    by: &dyn Remount,
    ask: &dyn Fn() -> Result<Planned>,
) -> Result<Planned> {
    match is_immediate(overlay) {
        true => at_once(site, overlay, asked, by, ask),
        false => ask(),
    }
}

/// Carries out at once what `ask` writes down as a request for `overlay`. An error leaves what was there, mounted if it
/// was, and no request.
pub fn at_once(
    site: &Site,
    overlay: &str,
    asked: &Asked,
    by: &dyn Remount,
    ask: &dyn Fn() -> Result<Planned>,
) -> Result<Planned> {
    let layout = Layout::new(&site.store);
    let _job = JobLock::take(&layout, &asked.by, &format!("change of {overlay}"))?;
    let target = mounted(site, overlay)?;
    if let Some(target) = &target {
        let in_the_way = users::in_the_way(target, by.whose())?;
        if !in_the_way.is_empty() {
            return Err(busy(overlay, target, &in_the_way));
        }
    }
    let before = open(&site.store)?.overlays.get(overlay).and_then(|o| o.current.clone().ok().flatten());
    let planned = ask()?;
    let carried_out = match &target {
        Some(target) => by.remount(overlay, target),
        None => execute(site, overlay, &planned.request.id),
    };
    if let Err(why) = carried_out {
        return Err(go_back(site, overlay, &planned, before, target.as_deref(), by, why));
    }
    match outcome(&layout, overlay, &planned.request) {
        Some(outcome) if outcome.result == "done" => Ok(planned),
        Some(outcome) => Err(Error::new(Kind::Failed, outcome.message.unwrap_or(outcome.result))),
        None => Err(Error::new(
            Kind::Failed,
            format!("{overlay} was mounted again, but the request was not executed"),
        )
        .remedy("`overlayctl status` tells why; the request stands")),
    }
}

/// Where the overlay of this store is mounted on this machine.
fn mounted(site: &Site, overlay: &str) -> Result<Option<PathBuf>> {
    let mounts = mountinfo::read()?;
    let ours = handoff::source_of(overlay);
    let own = |m: &mountinfo::Mount| m.target.starts_with(handoff::RUN_DIR);
    let found = mounts.iter().rev().find(|m| m.fstype == "overlay" && m.source == ours && !own(m));
    Ok(found.filter(|_| is_live(site)).map(|m| m.target.clone()))
}

/// Whether the store is the one that this machine runs on, by whatever path it is seen.
fn is_live(site: &Site) -> bool {
    let live = read::load(&Layout::new(handoff::RUN_STORE)).map(|view| view.record.uuid);
    let named = read::load(&Layout::new(&site.store)).map(|view| view.record.uuid);
    matches!((live, named), (Ok(live), Ok(named)) if live == named)
}

/// Executes the request of an overlay that is not mounted.
fn execute(site: &Site, overlay: &str, request: &str) -> Result<()> {
    let layout = Layout::new(&site.store);
    let _lock = StoreLock::exclusive(&layout)?;
    let view = open(&site.store)?;
    if is_live(site) {
        refuse_lingering(&layout, &view, overlay)?;
    }
    let policy = policy(site, overlay);
    let facts = Facts {
        name: overlay.to_owned(),
        base: Base { identity: base_of(&view, overlay), ..Base::default() },
        ram: 0,
        now: observe::moment(),
        run: handoff::RUN_DIR.into(),
        new_uuid: String::new(),
        kept: keep::select::pending(&layout, &view, overlay, &policy).transpose(),
    };
    let plan = plan::mount::request(&policy, &facts, &view, &observe::space(&site.store)?)?;
    if plan.executes.as_deref() != Some(request) && plan.problems.is_empty() {
        return Err(Error::new(Kind::Failed, format!("the request for {overlay} is gone")));
    }
    exec::store::run(&layout, &plan.steps)
}

/// Invariant 3: one that was unmounted lazily, or lives on in another mount namespace, still writes to its layers.
fn refuse_lingering(layout: &Layout, view: &StoreView, overlay: &str) -> Result<()> {
    let Some(Ok(Some(live))) = view.overlays.get(overlay).map(|o| o.current.clone()) else { return Ok(()) };
    let (work, own) = (layout.work(overlay, live), Path::new(handoff::RUN_DIR).join(overlay));
    let beside = layout.generation(overlay, live).join("probe");
    if work.is_dir() && probe::in_use(&own.join("probe"), &beside, &work, &own.join("scratch"))? {
        return Err(Error::new(
            Kind::OverlayBusy,
            format!("{overlay} is not mounted, but somebody still uses it"),
        )
        .remedy("it was unmounted lazily, or lives on in a mount namespace: end who still uses it"));
    }
    Ok(())
}

/// The base is not looked at: it is taken to be the one that the live generation was made on.
fn base_of(view: &StoreView, overlay: &str) -> String {
    let state = view.overlays.get(overlay);
    let live = state.and_then(|o| o.generations.get(&o.current.as_ref().ok().copied().flatten()?));
    let record = live.and_then(|g| g.record.as_ref().ok());
    record.map_or_else(|| observe::unknown_base().identity, |r| r.base.clone())
}

fn outcome(layout: &Layout, overlay: &str, request: &RequestRecord) -> Option<OutcomeRecord> {
    read::outcome(layout, overlay).filter(|outcome| outcome.request == request.id)
}

/// After a failure: the request goes, the pointer is where it was, and what was mounted is mounted again.
fn go_back(
    site: &Site,
    overlay: &str,
    planned: &Planned,
    before: Option<u64>,
    target: Option<&Path>,
    by: &dyn Remount,
    why: Error,
) -> Error {
    let taken_back = take_back(site, overlay, planned, before, &why);
    let Some(target) = target else { return with(why, "", taken_back) };
    if matches!(mounted(site, overlay), Ok(Some(_))) {
        let in_the_way = users::in_the_way(target, by.whose()).unwrap_or_default();
        let named = if in_the_way.is_empty() { vec![why.message().to_owned()] } else { in_the_way };
        return with(busy(overlay, target, &named), "", taken_back);
    }
    let failed = why.context(format!("{overlay} was unmounted, but could not be mounted again as asked"));
    match by.mount(overlay, target) {
        Ok(()) => with(failed, "; it is mounted as it was", taken_back),
        Err(second) => with(
            failed,
            &format!("; and neither could what was mounted before: {}", second.message()),
            taken_back,
        )
        .remedy(format!("mount it by hand: mount -t overlayd {overlay} {}", target.display())),
    }
}

fn with(error: Error, more: &str, taken_back: Result<()>) -> Error {
    let left = taken_back
        .err()
        .map(|e| format!("; the request stands, and could not be taken back: {}", e.message()));
    error.append(&format!("{more}{}", left.unwrap_or_default()))
}

/// Nothing of the request stays: it did not work. One that sealed its generation can not go back, and stands.
fn take_back(site: &Site, overlay: &str, planned: &Planned, before: Option<u64>, why: &Error) -> Result<()> {
    let layout = Layout::new(&site.store);
    let _lock = StoreLock::exclusive(&layout)?;
    let view = open(&site.store)?;
    let Some(state) = view.overlays.get(overlay) else { return Ok(()) };
    let pending = matches!(&state.request, Some(Ok(request)) if request.id == planned.request.id);
    let moved = state.current.as_ref().is_ok_and(|now| *now != before);
    if !pending || (moved && planned.request.action == Action::Snapshot) {
        return Ok(());
    }
    if moved && before.is_some_and(|before| !state.generations.contains_key(&before)) {
        // A reset to the image has given it up: the next mount ends it.
        return Ok(());
    }
    let mut steps = Vec::new();
    match before.filter(|_| moved) {
        None => steps.push(Step::RemoveRequest(overlay.to_owned())),
        Some(before) => {
            steps.push(Step::PointCurrent(overlay.to_owned(), before));
            let now = observe::moment();
            steps.extend(plan::execute::failure(overlay, state, &planned.request, before, why, &now));
        }
    }
    exec::store::run(&layout, &steps)
}

fn busy(overlay: &str, target: &Path, in_the_way: &[String]) -> Error {
    let more = match in_the_way.len().saturating_sub(NAMED) {
        0 => String::new(),
        n => format!(" and {n} more"),
    };
    let named: Vec<&str> = in_the_way.iter().take(NAMED).map(String::as_str).collect();
    Error::new(
        Kind::OverlayBusy,
        format!(
            "the overlay \"{overlay}\" on {} is in use by {}{more}; nothing was changed",
            target.display(),
            named.join(", ")
        ),
    )
    .remedy("stop what uses it, and ask again")
}
