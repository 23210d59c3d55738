//! One function for each thing an administrator can ask for: lock, read, plan, execute.
//!
//! The daemon and `overlayctl --store` both call these; they hold no policy of their own.

#[cfg(feature = "host")]
pub mod check;
#[cfg(feature = "host")]
pub mod commit;
#[cfg(feature = "host")]
mod compare;
#[cfg(feature = "host")]
pub mod diff;
#[cfg(feature = "host")]
mod draft;
#[cfg(feature = "host")]
pub mod erase;
#[cfg(feature = "host")]
mod ground;
#[cfg(feature = "host")]
pub mod health;
#[cfg(feature = "host")]
mod listing;
#[cfg(feature = "host")]
pub mod live;
#[cfg(feature = "host")]
pub mod losing;
#[cfg(feature = "host")]
mod making;
#[cfg(feature = "host")]
mod paths;
#[cfg(feature = "host")]
pub mod restore;
#[cfg(feature = "host")]
mod retention;
#[cfg(feature = "host")]
pub mod room;
#[cfg(feature = "host")]
mod selection;
#[cfg(feature = "host")]
pub mod snapshot;
#[cfg(feature = "host")]
mod space;
#[cfg(feature = "host")]
pub mod switch;
#[cfg(feature = "host")]
mod warnings;

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{self, Mode};
use crate::error::{Error, Kind, Result};
use crate::handoff::{self, Handoff, HandoffOverlay};
use crate::keep::{self, Selection};
use crate::plan::request::Resetting;
use crate::plan::{self, Step};
use crate::store::records::{Level, RequestRecord};
use crate::store::{Layout, StoreView, lock::StoreLock, read, trash};
use crate::sys::btrfs;
use crate::{exec, observe};

/// Who asks, and from where: goes into the record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// For people: `root (uid 0) via D-Bus`, `root (uid 0) via overlayctl --store`.
    pub by: String,
    /// What asked, where it was no person: `factory-reset.target`, `the kernel command line`.
    pub via: Option<String>,
}

/// Where an operation finds things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The store's directory.
    pub store: PathBuf,
    /// The boot handoff, which says what is mounted; none: no overlay of this store is.
    pub handoff: Option<PathBuf>,
    /// The root of the running system.
    pub root: PathBuf,
}

impl Site {
    /// A store that no running system uses.
    pub fn offline(store: &Path) -> Site {
        Site { store: store.to_owned(), handoff: None, root: "/".into() }
    }
}

/// A plan that was not carried out, or one that was.
#[derive(Clone, Debug)]
pub struct Planned {
    /// The request that stands afterwards, or stood before (for a cancellation).
    pub request: RequestRecord,
    /// The steps that lead there; none if the same request stood already.
    pub steps: Vec<Step>,
}

/// What a reset of `overlay` would write now, and what the next boot would do. Changes nothing.
pub fn preview_reset(site: &Site, overlay: &str, wanted: &Resetting, asked: &Asked) -> Result<Preview> {
    refuse_reset(site, overlay, wanted)?;
    let view = open(&site.store)?;
    let now = observe::moment();
    let Planned { request, steps } = plan::request::reset(&view, overlay, wanted, asked, &now)?;
    check_wipe(site, &request)?;
    let (base, policy) = (observe::unknown_base(), policy(site, overlay));
    let kept = keep::select::of_request(
        &Layout::new(&site.store),
        overlay,
        plan::request::find(&view, overlay)?,
        &request,
        &policy,
    )?;
    let scene = plan::execute::Scene {
        base: &base,
        now: &now,
        keeping: plan::retain::Keeping::of(&policy),
        scarce: false,
        kept: kept.as_ref().map(Ok),
    };
    let at_boot = if wanted.level == Level::Wipe {
        // Before the store is used, by no steps: what is erased is the device.
        Vec::new()
    } else if is_volatile(site, overlay)? {
        plan::execute::in_memory(&view, overlay, &request, &scene)?
    } else {
        let execution = plan::execute::execution(&view, overlay, &request, &scene)?;
        [execution.before, execution.after].concat()
    };
    Ok(Preview { now: steps, at_boot, kept })
}

/// What would happen, for `--dry-run`.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Steps executed by the request itself.
    pub now: Vec<Step>,
    /// Steps executed by the next boot; none of a wipe, which is carried out before there is a store.
    pub at_boot: Vec<Step>,
    /// Of a reset: what it keeps; none if there is no keep-list. [`Selection::visit`] goes through all of it.
    pub kept: Option<Selection>,
}

/// Asks for a reset of `overlay` at the next boot. Asking twice succeeds and changes nothing.
pub fn request_reset(site: &Site, overlay: &str, wanted: &Resetting, asked: &Asked) -> Result<Planned> {
    refuse_reset(site, overlay, wanted)?;
    let layout = Layout::new(&site.store);
    let _lock = StoreLock::exclusive(&layout)?;
    let view = open(&site.store)?;
    let planned = plan::request::reset(&view, overlay, wanted, asked, &observe::moment())?;
    check_wipe(site, &planned.request)?;
    exec::store::run(&layout, &planned.steps)?;
    Ok(planned)
}

/// The overlay as the boot mounted it; none if no overlay of this store is mounted.
fn mounted(site: &Site, overlay: &str) -> Result<Option<(Handoff, HandoffOverlay)>> {
    let Some(path) = &site.handoff else { return Ok(None) };
    let handoff = handoff::load(path)?;
    Ok(handoff.and_then(|h| h.overlay.get(overlay).cloned().map(|o| (h, o))))
}

/// Whether the upper of `overlay` is in RAM because it is configured so: no request changes what the next boot mounts.
fn is_volatile(site: &Site, overlay: &str) -> Result<bool> {
    Ok(mounted(site, overlay)?.is_some_and(|(_, o)| o.configured == Mode::Volatile))
}

/// What the configuration says of `overlay`. A store that no running system uses may belong to another one, whose
/// configuration is not at hand: then what is there can be gone back to, however long it was kept.
fn policy(site: &Site, overlay: &str) -> config::Overlay {
    let config = config::load(&site.root, &observe::kernel_command_line()).config;
    let found = config.overlays.get(overlay).unwrap_or_else(|| config.root()).clone();
    match site.handoff {
        Some(_) => found,
        None => config::Overlay { undo: config::Undo::Always, ..found },
    }
}

/// What can not be carried out as it was asked for is refused at once, not at the next boot.
fn refuse_reset(site: &Site, overlay: &str, wanted: &Resetting) -> Result<()> {
    let volatile = is_volatile(site, overlay)?;
    let configured = !wanted.drop_kept && !policy(site, overlay).keep.is_empty();
    let keeps = configured || !wanted.keep.is_empty();
    match wanted.level {
        Level::Baseline => refuse_in_memory(site, overlay, "reset"),
        Level::Wipe if overlay != plan::execute::ROOT => Err(Error::new(
            Kind::Refused,
            format!("a wipe erases the whole state device, not {overlay} alone"),
        )
        .remedy(format!("wipe the overlay \"root\", or reset {overlay} with --factory"))),
        Level::Wipe if keeps => Err(Error::new(
            Kind::Refused,
            "a wipe keeps nothing: while the device is erased, what is kept would lie in memory alone, and a power cut \
             would lose it",
        )
        .remedy("give up what the keep-list names with --drop-kept, or reset with --factory")),
        Level::Factory if volatile && keeps => {
            Err(Error::new(Kind::Refused, plan::execute::NOT_KEPT_IN_MEMORY.replace("was", "is"))
                .remedy("give up what the keep-list names with --drop-kept"))
        }
        Level::Factory | Level::Wipe => Ok(()),
    }
}

/// Refuses a wipe that the boot would refuse, as far as that can be told before: of the running system's device alone,
/// and without reading it, which the daemon may not.
fn check_wipe(site: &Site, request: &RequestRecord) -> Result<()> {
    let Some(path) = site.handoff.as_ref().filter(|_| request.level == Level::Wipe) else { return Ok(()) };
    let Some(state) = handoff::load(path)?.and_then(|handoff| handoff.state) else { return Ok(()) };
    let config = config::load(&site.root, &observe::kernel_command_line()).config;
    Ok(plan::wipe::check(&config, request, &observe::erasing::mounted(&state))?)
}

fn refuse_in_memory(site: &Site, overlay: &str, verb: &str) -> Result<()> {
    match is_volatile(site, overlay)? {
        false => Ok(()),
        true => Err(Error::new(
            Kind::Refused,
            format!(
                "there is nothing to {verb}: {overlay} is volatile, and each boot begins on the baseline"
            ),
        )
        .remedy("a reboot drops what was written since; `overlayctl restore ID` moves the baseline")),
    }
}

/// Takes the pending request of `overlay` back. A damaged one is set aside, not read.
pub fn cancel(store: &Path, overlay: &str) -> Result<Vec<Step>> {
    let _lock = StoreLock::exclusive(&Layout::new(store))?;
    let steps = plan::request::cancel(&open(store)?, overlay)?;
    exec::store::run(&Layout::new(store), &steps)?;
    Ok(steps)
}

/// Deletes what lies in every overlay's trash, then fills the reserve again. Long; `on_progress` may stop it,
/// and stopping or losing power leaves nothing that cannot be continued.
pub fn empty_trash(store: &Path, on_progress: &mut trash::OnProgress<'_>) -> Result<trash::Deleted> {
    let layout = Layout::new(store);
    let deleted = trash::empty(&layout, on_progress)?;
    set_aside_again(&layout)?;
    Ok(deleted)
}

/// Fills the reserve, as soon as there is space for it.
fn set_aside_again(layout: &Layout) -> Result<()> {
    // XFS frees the space of removed files in the background; btrfs that of a subvolume too, once told.
    for _ in 0..10 {
        btrfs::free_deleted(layout.root())?;
        if refill(layout)? {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

/// Fills the reserve if it is missing and fits; false if there is not enough space for it.
fn refill(layout: &Layout) -> Result<bool> {
    let _lock = StoreLock::exclusive(layout)?;
    let view = open(layout.root())?;
    let steps = plan::state::refill(&view, &observe::space(layout.root())?);
    exec::store::run(layout, &steps)?;
    Ok(view.reserve || !steps.is_empty())
}

fn open(store: &Path) -> Result<StoreView> {
    read::load(&Layout::new(store))
}
