//! The wipe: the state device is erased and made anew, before anything of it is used.
//!
//! 1. A new filesystem is made in memory, as a trial: what can not be made is refused while the old one is whole.
//! 2. The mark is written to the first sector of the device, in one piece. Before it the old system is whole; after it
//!    every boot that finds it begins here.
//! 3. Everything behind it is erased.
//! 4. A new filesystem is made in memory, with a store in it that says how the wipe went, and copied to the device. The
//!    first sector comes last, and ends the wipe.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::config::{Config, State};
use crate::error::{Error, Kind, Result};
use crate::exec::store;
use crate::exec::wipe::{self, Contents, Workshop};
use crate::observe::{self, Moment, erasing};
use crate::plan::erasure::Erased;
use crate::plan::wipe::{self as plan, Making, Target};
use crate::plan::{Step, execute};
use crate::store::lock::StoreLock;
use crate::store::records::{FORMAT, Level, RequestRecord, StoreRecord};
use crate::store::wipe_record::WipeRecord;
use crate::store::{Layout, StoreView};
use crate::sys::block::{self, DeviceSpec};
use crate::sys::discard::Device;
use crate::sys::wipe_sector::WipeSector;
use crate::sys::{mount, process};

/// The overlay that a wipe is asked of.
const ROOT: &str = "root";

/// The state device that is wiped.
#[derive(Clone, Debug)]
pub struct Wipe<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// How it names the device.
    pub spec: &'a DeviceSpec,
    /// The device.
    pub node: &'a Path,
    /// Where memory is mounted for the new filesystem; nothing is there.
    pub workshop: PathBuf,
}

/// The request for a wipe that is pending in this store, and meant for it.
pub fn pending(view: &StoreView) -> Option<&RequestRecord> {
    let request = view.overlays.get(ROOT)?.request.as_ref()?.as_ref().ok()?;
    (request.level == Level::Wipe && request.store == view.record.uuid).then_some(request)
}

/// How a wipe that was asked for ended.
#[derive(Debug)]
pub enum Ended {
    /// The device is erased, and there is a new store on it.
    Done,
    /// Nothing on the device was changed, and this is why.
    Refused(Error),
}

/// What may be wiped, and what marks it then.
struct Ready {
    target: Target,
    mark: WipeSector,
    record: WipeRecord,
}

impl Wipe<'_> {
    /// Finishes a wipe that was interrupted. Returns the id of its request; none: the device bears no mark.
    pub fn resume(&self) -> Result<Option<String>> {
        let Some(mark) = erasing::mark(self.node)? else { return Ok(None) };
        let record = WipeRecord::parse(self.node, &mark.text)?;
        let target = erasing::target(self.node)?;
        plan::check_resumed(&record, &target)?;
        tracing::warn!("going on with the interrupted wipe of {}", self.node.display());
        self.finish(&Device::open(self.node)?, &target, &record).map_err(|e| self.unfinished(&e))?;
        Ok(Some(record.request))
    }

    /// Carries `request` out, which was read from the store at `layout`, in the filesystem that is mounted at `at` and is
    /// unmounted for it. An error: the device is marked, and the next boot goes on.
    pub fn run(&self, request: &RequestRecord, layout: &Layout, at: &Path) -> Result<Ended> {
        let ready = self.prepare(request, layout).and_then(|ready| {
            mount::unmount(at).map_err(|e| Error::io("unmount", at, e))?;
            Ok((self.open(&ready.target)?, ready))
        });
        let (device, Ready { target, mark, record }) = match ready {
            Ok(ready) => ready,
            Err(why) => return Ok(Ended::Refused(why)),
        };
        tracing::warn!("wiping {}, as {} asked", self.node.display(), record.by);
        // If the write fails, it may have been done nevertheless: the next boot sees.
        wipe::write_mark(&device, target.sector, &mark)
            .and_then(|()| self.finish(&device, &target, &record))
            .map_err(|e| self.unfinished(&e))?;
        Ok(Ended::Done)
    }

    /// Finds out whether it can be done, while the filesystem is mounted; nothing on it is changed.
    fn prepare(&self, request: &RequestRecord, layout: &Layout) -> Result<Ready> {
        let target = erasing::target(self.node)?;
        plan::check(self.config, request, &target)?;
        let tokens = plan::live_tokens(&erasing::tokens(layout)?, &observe::kernel_command_line());
        let mark = plan::sector(request, tokens, &target)?;
        let record = WipeRecord::parse(self.node, &mark.text)?;
        // As if it were overwritten: the texts for the other ways differ by some bytes. mkfs.btrfs takes no UUID that a
        // device has already.
        let uuid = plan::lasting_uuid(self.spec).map(|_| process::random_uuid()).transpose()?;
        let workshop = Workshop::open(self.workshop.clone())?;
        self.make(&workshop, &target, &record, Erased::Overwritten, uuid.as_deref())?;
        Ok(Ready { target, mark, record })
    }

    /// For nobody else, and the very device whose store was read: its filesystem is still the same.
    fn open(&self, target: &Target) -> Result<Device> {
        let device = Device::open(self.node)?;
        let found = block::probe(self.node)?.map(|s| (s.fstype.name().to_owned(), s.uuid, s.label));
        let wanted = (target.fstype.clone(), target.uuid.clone(), target.label.clone());
        if found != Some(wanted) || device.size() != target.size {
            let what =
                format!("{} is not the device any more that the request was read from", self.node.display());
            return Err(Error::new(Kind::Refused, what));
        }
        Ok(device)
    }

    fn finish(&self, device: &Device, target: &Target, record: &WipeRecord) -> Result<()> {
        let done = wipe::erase(device, target.sector)?;
        let workshop = Workshop::open(self.workshop.clone())?;
        let image = self.make(&workshop, target, record, done, plan::lasting_uuid(self.spec).as_deref())?;
        wipe::copy(&image, device, target.sector)?;
        tracing::warn!("{} is wiped, and made anew", self.node.display());
        Ok(())
    }

    fn make(
        &self,
        workshop: &Workshop,
        target: &Target,
        record: &WipeRecord,
        done: Erased,
        uuid: Option<&str>,
    ) -> Result<File> {
        let now = observe::moment();
        let store = StoreRecord {
            format: FORMAT,
            uuid: process::random_uuid()?,
            created: now.unix,
            features: Vec::new(),
        };
        let outcome = plan::outcome(record, done, target.rotational, &now);
        let [image, tree, prototype] = ["image", "tree", "prototype"].map(|name| workshop.path(name));
        let making = Making { target, uuid, image: &image, tree: &tree, prototype: &prototype };
        let State { path, .. } = &self.config.state;
        wipe::make_image(
            &making,
            &Contents { path, store: &store, outcome: &outcome, tokens: &record.tokens },
        )
    }

    fn unfinished(&self, error: &Error) -> Error {
        error
            .clone()
            .with_kind(Kind::StoreUnavailable)
            .context(format!("the wipe of {} is not finished", self.node.display()))
            .remedy("every boot goes on with it")
    }
}

/// Gives the request up, with an outcome that says why.
pub fn give_up(
    layout: &Layout,
    view: &StoreView,
    request: &RequestRecord,
    why: &Error,
    now: &Moment,
) -> Result<()> {
    let Some(state) = view.overlays.get(ROOT) else { return Ok(()) };
    let live = state.current.as_ref().ok().copied().flatten().unwrap_or_default();
    let steps = execute::failure(ROOT, state, request, live, why, now);
    let _lock = StoreLock::exclusive(layout)?;
    match store::run(layout, &steps) {
        Err(e) if e.kind() == Kind::InsufficientSpace => {
            store::run(layout, &[Step::ReleaseSpare]).and_then(|()| store::run(layout, &steps))
        }
        done => done,
    }
}
