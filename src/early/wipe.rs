//! The wipe: the state device is erased and made anew, before anything of it is used.
//!
//! 1. A new filesystem is made in memory, as a trial: what can not be made is refused while the old one is whole.
//! 2. The mark is written to the first sector of the device, in one piece. Before it the old system is whole; after it
//!    every boot that finds it begins here.
//! 3. Everything behind it is erased.
//! 4. A new filesystem is made in memory, with a store in it that says how the wipe went, and copied to the device. The
//!    first sector comes last, and ends the wipe.
//!
//! Of an encrypted volume (LUKS2) the device below it is wiped. Its mapping is closed before the mark, the key slots go
//! first, the new filesystem is made in a new volume whose header is in memory, and it is the header that comes last.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::config::{Config, State};
use crate::error::{Error, Kind, Result};
use crate::exec::wipe::{self, Contents, Ground, Workshop};
use crate::exec::{luks, store};
use crate::observe::{self, Moment, erasing};
use crate::plan::erasure::Erased;
use crate::plan::wipe::{self as plan, FRONT, Making, Target};
use crate::plan::{Step, execute};
use crate::store::lock::StoreLock;
use crate::store::records::{FORMAT, Level, RequestRecord, StoreRecord};
use crate::store::wipe_record::{Luks, WipeRecord};
use crate::store::{Layout, StoreView};
use crate::sys::block::{self, DeviceSpec, Paths, Search};
use crate::sys::discard::Device;
use crate::sys::superblock::FsType;
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
    /// The device that it names, or the volume that is open on it.
    pub node: &'a Path,
    /// Where the base is mounted, which may hold the key of an encrypted volume.
    pub sysroot: &'a Path,
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
    /// Finishes a wipe that was interrupted, or what was being made on a blank device. Returns the id of the wipe's request;
    /// none: the device bears no mark, or that of no request.
    pub fn resume(&self) -> Result<Option<String>> {
        let Some(mark) = erasing::mark(self.node)? else { return Ok(None) };
        let record = WipeRecord::parse(self.node, &mark.text)?;
        let target = erasing::marked(self.node, &mark, &record)?;
        plan::check_resumed(&record, &target)?;
        tracing::warn!("going on with what was interrupted on {}", self.node.display());
        self.finish(Device::open(self.node)?, &target, &record).map_err(|e| self.unfinished(&e))?;
        Ok(Some(record.request).filter(|id| !id.is_empty()))
    }

    /// Makes a filesystem with a store in it on a device that is blank, in an encrypted volume where there is a key. mkfs on the
    /// device itself, cut short, would leave one that is neither blank nor a filesystem, which no boot may touch; it is left to
    /// that where this can not be done in memory.
    pub fn make_on_blank(&self) -> Result<()> {
        let State { key_file, fstype, .. } = &self.config.state;
        let luks = key_file.as_ref().map(|_| luks::new_volume()).transpose()?;
        let fstype = fstype.clone().unwrap_or_default();
        let target = Target { luks, fstype, label: "overlayd".to_owned(), ..erasing::blank(self.node)? };
        let mark = plan::first_sector(&target, &observe::moment(), observe::boot_id())?;
        let record = WipeRecord::parse(self.node, &mark.text)?;
        if let Err(why) = self.try_out(&target, &record) {
            if target.luks.is_some() {
                return Err(why);
            }
            // Memory may not be enough, where mkfs on the device itself needs little.
            tracing::warn!("{} is not made in memory first: {why}", self.node.display());
            return Ok(());
        }
        let what = if target.luks.is_some() { "an encrypted volume" } else { &target.fstype };
        tracing::warn!("making {what} on {}, which is blank", self.node.display());
        let device = Device::open(self.node)?;
        wipe::write_mark(&device, target.sector, &mark)?;
        if target.luks.is_none() {
            wipe::discard(&device, target.sector);
        }
        self.finish(device, &target, &record)
    }

    /// Carries `request` out, which was read from the store at `layout`, in the filesystem that is mounted at `at` and is
    /// unmounted for it. An error: the device is marked, and the next boot goes on.
    pub fn run(&self, request: &RequestRecord, layout: &Layout, at: &Path) -> Result<Ended> {
        let ready = self.prepare(request, layout).and_then(|ready| {
            mount::unmount(at).map_err(|e| Error::io("unmount", at, e))?;
            if let Some(luks) = &ready.target.luks {
                luks::close(&luks.name)?;
            }
            Ok((self.open(&ready.target)?, ready))
        });
        let (device, Ready { target, mark, record }) = match ready {
            Ok(ready) => ready,
            Err(why) => return Ok(Ended::Refused(why)),
        };
        tracing::warn!("wiping {}, as {} asked", target.node.display(), record.by);
        // If the write fails, it may have been done nevertheless: the next boot sees.
        wipe::write_mark(&device, target.sector, &mark)
            .and_then(|()| self.finish(device, &target, &record))
            .map_err(|e| self.unfinished(&e))?;
        Ok(Ended::Done)
    }

    /// Finds out whether it can be done, while the filesystem is mounted; nothing on it is changed.
    fn prepare(&self, request: &RequestRecord, layout: &Layout) -> Result<Ready> {
        let found = erasing::target(self.node)?;
        let target = Target { findable: self.is_findable(&found)?, ..found };
        plan::check(self.config, request, &target)?;
        let tokens = plan::live_tokens(&erasing::tokens(layout)?, &observe::kernel_command_line());
        let mark = plan::sector(request, tokens, &target)?;
        let record = WipeRecord::parse(self.node, &mark.text)?;
        self.try_out(&target, &record)?;
        Ok(Ready { target, mark, record })
    }

    /// Labels and UUIDs stand in the mark; everything else must name the device itself.
    fn is_findable(&self, target: &Target) -> Result<bool> {
        Ok(match self.spec {
            DeviceSpec::Label(_) | DeviceSpec::Uuid(_) => true,
            spec => match block::find(spec, &Paths::default())? {
                Search::Found(node) => fs::canonicalize(&node).is_ok_and(|node| node == target.node),
                Search::Missing | Search::Ambiguous(_) => false,
            },
        })
    }

    /// Whether what is to be made can be made.
    fn try_out(&self, target: &Target, record: &WipeRecord) -> Result<()> {
        let workshop = Workshop::open(self.workshop.clone())?;
        // mkfs.btrfs takes no UUID that a device has already.
        let uuid = plan::lasting_uuid(self.spec).map(|_| process::random_uuid()).transpose()?;
        // As if it were overwritten: the texts for the other ways differ by some bytes.
        self.make(&workshop, target, record, Erased::Overwritten, uuid.as_deref(), None)?;
        if let Some(luks) = &target.luks {
            let key = luks::key(&self.config.state, self.sysroot)?;
            luks::make_header(&workshop.path("header"), &workshop.path("disk"), target, luks, &key)?;
        }
        Ok(())
    }

    /// For nobody else, and the very device whose store was read: its filesystem, or the volume, is still the same.
    fn open(&self, target: &Target) -> Result<Device> {
        let device = Device::open(&target.node)?;
        let found = block::probe(&target.node)?.map(|s| (s.fstype.name().to_owned(), s.uuid));
        let wanted = match &target.luks {
            Some(luks) => (FsType::Luks.name().to_owned(), luks.uuid.clone()),
            None => (target.fstype.clone(), target.uuid.clone()),
        };
        if found != Some(wanted) || device.size() != target.size {
            let node = target.node.display();
            let what = format!("{node} is not the device any more that the request was read from");
            return Err(Error::new(Kind::Refused, what));
        }
        Ok(device)
    }

    fn finish(&self, device: Device, target: &Target, record: &WipeRecord) -> Result<()> {
        if let Some(luks) = &target.luks {
            wipe::destroy_keys(&device, luks.header)?;
        }
        let (done, ground) = match record.request.is_empty() {
            true => (Erased::Nothing, Ground::Unknown),
            false => (wipe::erase(&device, target.sector)?, Ground::Erased),
        };
        let workshop = Workshop::open(self.workshop.clone())?;
        match &target.luks {
            None => {
                let uuid = plan::lasting_uuid(self.spec);
                self.make(&workshop, target, record, done, uuid.as_deref(), None)?;
                let image = open_file(&workshop.path("image"))?;
                wipe::copy(&image, &device, target.sector, FRONT, ground)?;
            }
            Some(luks) => {
                // While it is held for wiping, no mapping can lie on it.
                drop(device);
                self.make_volume(&workshop, target, luks, record, done)?;
            }
        }
        tracing::warn!("{} is made anew", target.node.display());
        Ok(())
    }

    /// The filesystem in the volume first, its header last; and opens it under its name.
    fn make_volume(
        &self,
        workshop: &Workshop,
        target: &Target,
        luks: &Luks,
        record: &WipeRecord,
        done: Erased,
    ) -> Result<()> {
        let key = luks::key(&self.config.state, self.sysroot)?;
        let header = workshop.path("header");
        luks::make_header(&header, &workshop.path("disk"), target, luks, &key)?;
        let volume = luks::open(&target.node, &key, luks::FILLING, Some(&header))?;
        let uuid = plan::lasting_uuid(self.spec);
        let made = self
            .make(workshop, target, record, done, uuid.as_deref(), Some(&volume))
            .and_then(|()| open_file(&volume)?.sync_all().map_err(|e| Error::io("sync", &volume, e)));
        luks::close(luks::FILLING)?;
        made?;
        let device = Device::open(&target.node)?;
        wipe::copy(&open_file(&header)?, &device, target.sector, luks::KEY_SLOTS, Ground::Erased)?;
        drop(device);
        luks::open(&target.node, &key, &luks.name, None).map(drop)
    }

    /// Makes the filesystem in the workshop's file `image`, or in `volume`.
    fn make(
        &self,
        workshop: &Workshop,
        target: &Target,
        record: &WipeRecord,
        done: Erased,
        uuid: Option<&str>,
        volume: Option<&Path>,
    ) -> Result<()> {
        let now = observe::moment();
        let store = StoreRecord {
            format: FORMAT,
            uuid: process::random_uuid()?,
            created: now.unix,
            features: Vec::new(),
        };
        let outcome = plan::outcome(record, done, target.rotational, &now);
        let [image, tree, prototype] = ["image", "tree", "prototype"].map(|name| workshop.path(name));
        let image = volume.unwrap_or(&image);
        let making = Making { target, uuid, image, tree: &tree, prototype: &prototype };
        let State { path, .. } = &self.config.state;
        let outcome = Some(&outcome).filter(|_| !record.request.is_empty());
        let contents = Contents { path, store: &store, outcome, tokens: &record.tokens };
        match volume {
            Some(_) => wipe::make_filesystem(&making, &contents),
            None => wipe::make_image(&making, &contents),
        }
    }

    fn unfinished(&self, error: &Error) -> Error {
        error
            .clone()
            .with_kind(Kind::StoreUnavailable)
            .context(format!("what was begun on {} is not finished", self.node.display()))
            .remedy("every boot goes on with it")
    }
}

fn open_file(path: &Path) -> Result<File> {
    File::open(path).map_err(|e| Error::io("open", path, e))
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
