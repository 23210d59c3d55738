//! Copying one regular file: its content, cloned where that can be, then all that belongs to it; again if it changed
//! meanwhile.

use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError};

use super::folder::FORBIDDING;
use super::{Copier, Known, Local};
use crate::error::{Error, Result};
use crate::layer::index::Thing;
use crate::layer::links::First;
use crate::layer::merge::Entry;
use crate::layer::walk::{Folder, Made, joined, shown};
use crate::sys::content::{self, Cloned, CopyError};
use crate::sys::node::{self, Flags, Moment, Node};
use crate::sys::xattr::Bearer;

/// Why a file was not copied.
pub(super) enum Trouble {
    /// Reading failed: perhaps it is another file by now.
    Source(&'static str, io::Error),
    /// For good.
    Failed(Error),
    /// Somebody stopped it.
    Stopped,
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Trouble::Failed(error)
    }
}

impl Copier<'_> {
    pub(super) fn copy_file(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Known<'_>,
        last: bool,
        local: &mut Local,
    ) -> Result<Made> {
        settle(found.node.ctime, &self.stop);
        let copied = self.try_file(folder, entry, found, local);
        let stable = match copied {
            Ok(stable) => stable,
            Err(Trouble::Failed(error)) => return Err(error),
            // It does not matter: all is thrown away.
            Err(Trouble::Stopped) => return Ok(Made::Done),
            Err(Trouble::Source(verb, cause)) => {
                // Gone, or something else by now: then it is looked at again.
                let now = node::look(folder.layer(entry.layer)?, found.name);
                if last || now.is_ok_and(|now| is_same(&now, &found.node)) {
                    return Err(folder.failed(verb, found.name, cause));
                }
                false
            }
        };
        if stable {
            return Ok(Made::Done);
        }
        if last {
            let path = shown(&joined(&folder.opened.path, found.name));
            self.done.unstable.lock().unwrap_or_else(PoisonError::into_inner).push(path);
            return Ok(Made::Unstable);
        }
        match node::unlink(&folder.place.dir, found.name) {
            Err(e) if !node::is_gone(&e) => Err(folder.failed("remove", found.name, e)),
            _ => Ok(Made::Changed),
        }
    }

    /// Copies once; false if the file changed meanwhile.
    fn try_file(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Known<'_>,
        local: &mut Local,
    ) -> Result<bool, Trouble> {
        let (node, name) = (&found.node, found.name);
        let source =
            node::open_file(folder.layer(entry.layer)?, name).map_err(|e| Trouble::Source("open", e))?;
        let chown = (node.uid, node.gid) != self.owner;
        let mode = if local.exact_modes && !chown { node.mode } else { 0o600 };
        let target =
            node::create_file(&folder.place.dir, name, mode).map_err(|e| folder.failed("create", name, e))?;
        let flags = node::flags(&source);
        let in_place = flags.only(Flags::NOCOW);
        if !in_place.is_empty() {
            node::flag(&target, in_place);
        }
        if node.size > 0 {
            self.copy_content(folder, entry, found, (&source, &target), local)?;
        }
        if chown {
            node::own(&target, node.uid, node.gid)
                .map_err(|e| folder.failed("change the owner of", name, e))?;
        }
        if mode != node.mode || node.mode & 0o7000 != 0 {
            node::permit(&target, node.mode).map_err(|e| folder.failed("change the mode of", name, e))?;
        }
        let bearers = (Bearer::Open(source.as_fd()), Bearer::Open(target.as_fd()));
        let protected = self.copy_attributes(folder, name, bearers, &mut local.reader)?;
        node::date(&target, node.atime, node.mtime)
            .map_err(|e| folder.failed("set the times of", name, e))?;
        let flags = flags.with(protected);
        if !flags.is_empty() {
            self.flag(folder, found, &target, flags);
        }
        let after = node::look_at(&source).map_err(|e| Trouble::Source("examine", e))?;
        Ok(is_same(&after, node))
    }

    fn flag(&self, folder: &Folder<Self>, found: &Known<'_>, target: &OwnedFd, flags: Flags) {
        if found.node.links < 2 || flags.only(FORBIDDING).is_empty() {
            node::flag(target, flags);
        } else {
            let first = First {
                dir: Arc::clone(&folder.opened.path),
                name: found.name.to_owned(),
                thing: Thing::default(),
            };
            self.done.flags.lock().unwrap_or_else(PoisonError::into_inner).push((first, flags));
        }
    }

    fn copy_content(
        &self,
        folder: &Folder<Self>,
        entry: &Entry,
        found: &Known<'_>,
        (source, target): (&OwnedFd, &OwnedFd),
        local: &mut Local,
    ) -> Result<(), Trouble> {
        let node = &found.node;
        let uncloneable = &self.uncloneable[usize::from(entry.layer)];
        if !uncloneable.load(Ordering::Relaxed) {
            match content::clone(source, target) {
                Cloned::Yes => {
                    self.done.moved.fetch_add(node.size, Ordering::Relaxed);
                    self.done.reflinked.store(true, Ordering::Relaxed);
                    return Ok(());
                }
                Cloned::No => (),
                Cloned::Never => uncloneable.store(true, Ordering::Relaxed),
            }
        }
        let mut on_chunk = |bytes| {
            self.done.moved.fetch_add(bytes, Ordering::Relaxed);
            if self.is_stopping() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let holes = node.size > 4096 || node.allocated < node.size;
        match content::copy(source, target, node.size, holes, &mut local.buffer, &mut on_chunk) {
            Ok(_) => Ok(()),
            Err(CopyError::Stopped) => Err(Trouble::Stopped),
            Err(CopyError::Read(e)) => Err(Trouble::Source("read", e)),
            Err(CopyError::Write(e)) => Err(folder.failed("write", found.name, e).into()),
        }
    }
}

/// Whether it is the same file, unchanged.
fn is_same(now: &Node, before: &Node) -> bool {
    (now.ino, now.dev, now.ctime) == (before.ino, before.dev, before.ctime)
}

/// Waits until a change that comes now would show in the change time: file times step with the kernel's tick, or, in
/// inodes without room for more, with the second.
fn settle(ctime: Moment, stop: &AtomicBool) {
    loop {
        let now = content::file_clock();
        let recent = if ctime.nanoseconds == 0 { ctime.seconds == now.seconds } else { ctime >= now };
        // A time from the future will not be given again.
        if !recent || ctime.seconds > now.seconds + 1 || stop.load(Ordering::Relaxed) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
}
