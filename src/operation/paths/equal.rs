//! Making a tree equal to another: what is to be done at each name, and doing it.

use std::collections::{BTreeSet, HashMap};
use std::ffi::CString;
use std::io;
use std::ops::ControlFlow;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::copy::{self, Entry};
use super::{Mounted, at, joined, names, split};
use crate::error::{Error, Kind, Result};
use crate::layer::{OnProgress, Progress};
use crate::operation::compare;
use crate::operation::listing::{Lines, shown};
use crate::operation::restore::Restored;
use crate::sys::node::{self, Node, NodeKind};
use crate::sys::{content, tree};

/// What is compared at a time, in bytes.
const BUFFER: usize = 256 << 10;

/// One run over the paths.
pub(super) struct Equal<'a, 'p> {
    source: &'a OwnedFd,
    target: &'a OwnedFd,
    mounts: &'a Mounted,
    dry_run: bool,
    on_progress: &'a mut OnProgress<'p>,
    done: Restored,
    lines: Lines,
    progress: Progress,
    /// Where files with several names were put.
    groups: HashMap<((u32, u32), u64), Vec<u8>>,
}

/// What is still to be done.
enum Task {
    /// Make the name equal.
    Make(Vec<u8>),
    /// Give the directory its attributes: all in it is done.
    Dress(Vec<u8>),
}

/// A name in an open directory.
struct Place {
    dir: OwnedFd,
    name: CString,
    node: Node,
}

impl Place {
    fn entry(&self) -> Entry<'_> {
        Entry { dir: &self.dir, name: &self.name }
    }

    fn is_dir(&self) -> bool {
        self.node.kind == NodeKind::Directory
    }
}

impl<'a, 'p> Equal<'a, 'p> {
    pub(super) fn new(
        source: &'a OwnedFd,
        target: &'a OwnedFd,
        mounts: &'a Mounted,
        dry_run: bool,
        on_progress: &'a mut OnProgress<'p>,
    ) -> Self {
        Equal {
            source,
            target,
            mounts,
            dry_run,
            on_progress,
            done: Restored::default(),
            lines: Lines::default(),
            progress: Progress::default(),
            groups: HashMap::new(),
        }
    }

    /// Counts what there is, for the progress. A path that is nowhere is an error.
    pub(super) fn count(&mut self, paths: &[PathBuf]) -> Result<()> {
        for path in paths {
            let path = path.as_os_str().as_bytes().to_vec();
            if find(self.source, &path)?.is_none() && find(self.target, &path)?.is_none() {
                let text = format!("there is no {}, neither there nor here", at(&path).display());
                return Err(Error::new(Kind::InvalidArgs, text));
            }
            let mut pending = vec![path];
            while let Some(path) = pending.pop() {
                let Some(place) = find(self.source, &path)? else { continue };
                self.progress.total_entries += 1;
                if place.node.kind == NodeKind::File {
                    self.progress.total_bytes += place.node.size;
                }
                if place.is_dir() {
                    pending.extend(names(self.source, &path)?.iter().map(|name| joined(&path, name)));
                }
                self.tell(0)?;
            }
        }
        Ok(())
    }

    /// Makes one path equal, with all that is below it.
    pub(super) fn path(&mut self, path: &Path) -> Result<()> {
        let path = path.as_os_str().as_bytes().to_vec();
        if find(self.source, &path)?.is_some() {
            self.parents(split(&path).0)?;
        }
        let mut tasks = vec![Task::Make(path)];
        while let Some(task) = tasks.pop() {
            match task {
                Task::Make(path) => self.make(path, &mut tasks)?,
                Task::Dress(path) => self.dress(&path)?,
            }
        }
        Ok(())
    }

    /// What was done.
    pub(super) fn finish(self) -> Result<Restored> {
        if !self.dry_run && self.done.entries > 0 {
            content::sync_filesystem(self.target).map_err(|e| Error::io("sync", "the overlay", e))?;
        }
        Ok(Restored { lines: self.lines.lines, complete: !self.lines.more, ..self.done })
    }

    /// Directories that lead to the path, where they are missing.
    fn parents(&mut self, parent: &[u8]) -> Result<()> {
        let ends = (0..parent.len()).filter(|i| parent[*i] == b'/').chain([parent.len()]);
        for end in ends.filter(|end| *end > 0) {
            let path = &parent[..end];
            let (Some(theirs), mine) = (find(self.source, path)?, find(self.target, path)?) else { continue };
            if mine.as_ref().is_some_and(Place::is_dir) {
                continue;
            }
            if let Some(mine) = mine {
                return Err(Error::new(
                    Kind::Refused,
                    format!("{} is no directory now: nothing is restored in it", at(path).display()),
                )
                .remedy(format!("restore {} itself", at(path).display()))
                .detail(format_args!("it is a {:?}", mine.node.kind)));
            }
            self.make_directory(path)?;
            self.give(&theirs, path)?;
        }
        Ok(())
    }

    fn make(&mut self, path: Vec<u8>, tasks: &mut Vec<Task>) -> Result<()> {
        if self.mounts.is_at(&path) {
            self.lines.add(|| format!("kept {}: something is mounted there", shown(&relative(&path))));
            return Ok(());
        }
        let (theirs, mine) = (find(self.source, &path)?, find(self.target, &path)?);
        let Some(theirs) = theirs else {
            return mine.map_or(Ok(()), |mine| self.remove(&path, &mine));
        };
        self.progress.entries += 1;
        self.tell(0)?;
        if theirs.is_dir() {
            return self.enter(path, &theirs, mine, tasks);
        }
        if let Some(mine) = &mine {
            if mine.is_dir() {
                if self.mounts.touches(&path) {
                    let text =
                        format!("{} can not be replaced: something is mounted below it", at(&path).display());
                    return Err(Error::new(Kind::Refused, text));
                }
                self.remove(&path, mine)?;
            } else if self.is_same(&theirs, mine, &path)? {
                self.remember(&theirs, &path);
                return self.tell(theirs.node.size);
            }
        }
        self.put(&path, &theirs)
    }

    fn enter(
        &mut self,
        path: Vec<u8>,
        theirs: &Place,
        mine: Option<Place>,
        tasks: &mut Vec<Task>,
    ) -> Result<()> {
        let is_there = mine.as_ref().is_some_and(Place::is_dir);
        match mine {
            Some(mine) if is_there => {
                if !self.is_dressed(theirs, &mine).map_err(|e| Error::io("compare", at(&path), e))? {
                    self.note(&path, theirs);
                }
            }
            mine => {
                if let Some(mine) = mine {
                    self.remove(&path, &mine)?;
                }
                self.note(&path, theirs);
                self.make_directory(&path)?;
            }
        }
        let mut all: BTreeSet<CString> = names(self.source, &path)?.into_iter().collect();
        if is_there {
            self.allow_changes(&path)?;
            all.extend(names(self.target, &path)?);
        }
        tasks.push(Task::Dress(path.clone()));
        tasks.extend(all.iter().rev().map(|name| Task::Make(joined(&path, name))));
        Ok(())
    }

    fn dress(&mut self, path: &[u8]) -> Result<()> {
        let (Some(theirs), Some(mine)) = (find(self.source, path)?, find(self.target, path)?) else {
            return Ok(());
        };
        if !self.is_dressed(&theirs, &mine).map_err(|e| Error::io("compare", at(path), e))? {
            self.give(&theirs, path)?;
        }
        match self.dry_run {
            true => Ok(()),
            false => self.flag(path).map_err(|e| Error::io("set the flags of", at(path), e)),
        }
    }

    /// Takes from a directory what forbids changes in it; it comes back at the end, if it is to be.
    fn allow_changes(&self, path: &[u8]) -> Result<()> {
        if !self.dry_run {
            let dir = node::open_below(self.target, path).map_err(|e| Error::io("open", at(path), e))?;
            node::unflag(dir);
        }
        Ok(())
    }

    fn flag(&self, path: &[u8]) -> io::Result<()> {
        let flags = node::flags(node::open_below(self.source, path)?);
        if !flags.is_empty() {
            node::flag(node::open_below(self.target, path)?, flags);
        }
        Ok(())
    }

    /// Gives a directory its attributes.
    fn give(&self, theirs: &Place, path: &[u8]) -> Result<()> {
        let failed = |e| Error::io("set the attributes of", at(path), e);
        match find(self.target, path)? {
            Some(mine) if !self.dry_run => {
                copy::dress(theirs.entry(), &theirs.node, mine.entry()).map_err(failed)
            }
            _ => Ok(()),
        }
    }

    fn is_dressed(&self, theirs: &Place, mine: &Place) -> io::Result<bool> {
        let looks = |n: &Node| (n.mode, n.uid, n.gid, n.mtime);
        Ok(looks(&theirs.node) == looks(&mine.node)
            && compare::attributes(&theirs.dir, &theirs.name)? == compare::attributes(&mine.dir, &mine.name)?)
    }

    fn is_same(&self, theirs: &Place, mine: &Place, path: &[u8]) -> Result<bool> {
        let failed = |e| Error::io("compare", at(path), e);
        let looks = |n: &Node| (n.kind, n.rdev);
        if looks(&theirs.node) != looks(&mine.node) || !self.is_dressed(theirs, mine).map_err(failed)? {
            return Ok(false);
        }
        if let Some(first) = self.groups.get(&(theirs.node.dev, theirs.node.ino)) {
            let first = find(self.target, first)?.map(|place| (place.node.dev, place.node.ino));
            return Ok(first == Some((mine.node.dev, mine.node.ino)));
        }
        let same = match theirs.node.kind {
            NodeKind::File if theirs.node.size != mine.node.size => Ok(false),
            NodeKind::File => self.is_same_content(theirs, mine),
            NodeKind::Symlink => node::read_link(&theirs.dir, &theirs.name)
                .and_then(|a| node::read_link(&mine.dir, &mine.name).map(|b| a == b)),
            _ => Ok(true),
        };
        same.map_err(failed)
    }

    fn is_same_content(&self, theirs: &Place, mine: &Place) -> io::Result<bool> {
        let (a, b) = (node::open_file(&theirs.dir, &theirs.name)?, node::open_file(&mine.dir, &mine.name)?);
        Ok(node::flags(&a) == node::flags(&b)
            && content::same(a, b, mine.node.size, &mut vec![0; BUFFER], &mut || ControlFlow::Continue(()))?)
    }

    /// Puts a file in its place, or gives one that was put another name.
    fn put(&mut self, path: &[u8], theirs: &Place) -> Result<()> {
        self.note(path, theirs);
        if self.dry_run {
            return self.tell(theirs.node.size);
        }
        let failed = |e| Error::io("restore", at(path), e);
        let (parent, name) = split(path);
        let dir = node::open_below(self.target, parent).map_err(failed)?;
        let name = CString::new(name).map_err(|e| failed(e.into()))?;
        let to = Entry { dir: &dir, name: &name };
        if let Some(first) = self.groups.get(&(theirs.node.dev, theirs.node.ino))
            && let Some(first) = find(self.target, first)?
            && copy::link(first.entry(), to).is_ok()
        {
            return self.tell(theirs.node.size);
        }
        let (progress, on_progress) = (&mut self.progress, &mut *self.on_progress);
        let mut on_chunk = |bytes| {
            progress.bytes += bytes;
            on_progress(*progress)
        };
        let before = theirs.node.size;
        match copy::put(theirs.entry(), &theirs.node, to, &mut on_chunk).map_err(failed)? {
            Some(()) if theirs.node.kind == NodeKind::File => self.done.bytes += before,
            Some(()) => {}
            None => return Err(canceled()),
        }
        self.remember(theirs, path);
        Ok(())
    }

    fn remember(&mut self, theirs: &Place, path: &[u8]) {
        if theirs.node.kind == NodeKind::File && theirs.node.links > 1 {
            self.groups.entry((theirs.node.dev, theirs.node.ino)).or_insert_with(|| path.to_vec());
        }
    }

    fn remove(&mut self, path: &[u8], mine: &Place) -> Result<()> {
        if self.mounts.touches(path) {
            self.lines.add(|| format!("kept {}: something is mounted below it", shown(&relative(path))));
            return Ok(());
        }
        self.done.entries += 1;
        self.lines.add(|| format!("removed {}", shown(&relative(path))));
        if self.dry_run {
            return Ok(());
        }
        // The way through /proc leads to the very directory that was looked at.
        let dir = PathBuf::from(format!("/proc/self/fd/{}", mine.dir.as_raw_fd()));
        let name = std::ffi::OsStr::from_bytes(mine.name.to_bytes());
        let on_progress = &mut *self.on_progress;
        let progress = self.progress;
        match tree::remove(&dir.join(name), &mut |_| on_progress(progress))? {
            tree::Removed::All(_) => Ok(()),
            tree::Removed::Stopped(_) => Err(canceled()),
        }
    }

    fn make_directory(&self, path: &[u8]) -> Result<()> {
        if self.dry_run {
            return Ok(());
        }
        let (parent, name) = split(path);
        let made = node::open_below(self.target, parent)
            .and_then(|dir| node::create_directory(&dir, &CString::new(name)?, 0o700));
        made.map_err(|e| Error::io("make", at(path), e))
    }

    /// One more line.
    fn note(&mut self, path: &[u8], theirs: &Place) {
        self.done.entries += 1;
        let node = theirs.node;
        self.lines.add(|| {
            let shown = shown(&relative(path));
            match node.kind {
                NodeKind::Directory => format!("directory {shown}"),
                NodeKind::File => format!("file {shown}, {} bytes", node.size),
                NodeKind::Symlink => format!("symlink {shown}"),
                NodeKind::Fifo => format!("pipe {shown}"),
                NodeKind::Socket => format!("socket {shown}"),
                _ => format!("device {shown}"),
            }
        });
    }

    fn tell(&mut self, bytes: u64) -> Result<()> {
        self.progress.bytes += bytes;
        match (self.on_progress)(self.progress) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(canceled()),
        }
    }
}

fn canceled() -> Error {
    Error::new(Kind::Canceled, "canceled; what was restored stays so")
}

fn relative(path: &[u8]) -> PathBuf {
    PathBuf::from(std::ffi::OsStr::from_bytes(path))
}

/// What lies at a path of a tree.
fn find(top: &OwnedFd, path: &[u8]) -> Result<Option<Place>> {
    let (parent, name) = split(path);
    let looked = CString::new(name).map_err(io::Error::from).and_then(|name| {
        let dir = node::open_below(top, parent)?;
        let node = node::look(&dir, &name)?;
        Ok(Place { dir, name, node })
    });
    match looked {
        Ok(place) => Ok(Some(place)),
        Err(e) if node::is_gone(&e) => Ok(None),
        Err(e) => Err(Error::io("look at", at(path), e)),
    }
}
