//! Everything about a store that a check needs to know and a boot does not: what kind of thing lies at each place, whose
//! it is, what nobody knows. Changes nothing, and reads on where a boot gives up.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::codec::{self, Fields, Record, small};
use super::layout::Layout;
use super::read::{self, StoreView};
use super::records::{FORMAT, RECORD_VERSION, StoreRecord};
use super::reserve::{self, Ballast};
use crate::error::{Error, Result};
use crate::layer;
use crate::plan::trigger;
use crate::sys::atomic;
use crate::sys::node::{self, Flags, Node};
use crate::sys::space::Space;
use crate::sys::xattr::{Bearer, Reader};

/// What makes a layer depend on another one, or show what it must not (invariant 9).
const FORGEABLE: [&[u8]; 2] = [b"trusted.overlay.redirect", b"trusted.overlay.metacopy"];

/// A store, looked at closely. All paths are relative to its directory; the empty one is the directory itself.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Its directory.
    pub root: PathBuf,
    /// `store.toml`.
    pub record: Result<StoreRecord>,
    /// The rest, read as a boot reads it. An error: the directory of all overlays can not be listed.
    pub view: Result<StoreView>,
    /// What lies at each place that has a meaning; what is missing is not in here.
    pub places: BTreeMap<PathBuf, Node>,
    /// Which of these can not be changed (`chattr +i`, `+a`).
    pub fixed: BTreeSet<PathBuf>,
    /// Records that a later overlayd wrote.
    pub later: BTreeSet<PathBuf>,
    /// What is wrong with the file of used tokens.
    pub tokens: Option<String>,
    /// `last-snapshot` of each overlay, or what is wrong with it.
    pub last_snapshots: BTreeMap<String, Result<Option<u64>>>,
    /// Indexes of snapshots that are no indexes.
    pub broken_indexes: BTreeSet<PathBuf>,
    /// Files at the top of layers that bear marks which the default options do not obey.
    pub marked: BTreeMap<PathBuf, String>,
    /// The ballast.
    pub ballast: Ballast,
    /// How many bytes it has to have; none: there is no room for it.
    pub ballast_bytes: Option<u64>,
    /// Names in the store's directory that nobody knows, and temporary files.
    pub strange: BTreeSet<PathBuf>,
    /// Whose the store has to be.
    pub owner: u32,
}

/// Looks at the store. `owner` is whose it has to be; `space` is what its filesystem has.
pub fn inspect(layout: &Layout, owner: u32, space: &Space) -> Result<Inspection> {
    let record = read::load_store_record(layout);
    let known = record.clone().unwrap_or_default();
    let mut found = Inspection {
        root: layout.root().to_owned(),
        record,
        view: read::load_rest(layout, known),
        places: BTreeMap::new(),
        fixed: BTreeSet::new(),
        later: BTreeSet::new(),
        tokens: tokens(layout),
        last_snapshots: BTreeMap::new(),
        broken_indexes: BTreeSet::new(),
        marked: BTreeMap::new(),
        ballast: reserve::ballast(layout),
        ballast_bytes: reserve::fits(space).then(|| reserve::bytes_for(space)),
        strange: strange(layout.root())?,
        owner,
    };
    Look { layout, found: &mut found }.at_everything()?;
    Ok(found)
}

/// Every name that the store's directory has.
const KNOWN: [&str; 6] = ["store.toml", "lock", "job", "tokens", "reserve", "overlays"];
/// Files of an overlay.
pub const FILES: [&str; 6] =
    ["current", "request.toml", "outcome.toml", "baseline", "last-snapshot", "health.toml"];
/// Its directories.
pub const DIRECTORIES: [&str; 3] = ["generations", "snapshots", "trash"];

fn strange(root: &Path) -> Result<BTreeSet<PathBuf>> {
    let failed = |e| Error::io("read", root, e);
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(root).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        if !KNOWN.iter().any(|known| name == *known) {
            found.insert(PathBuf::from(name));
        }
    }
    Ok(found)
}

fn tokens(layout: &Layout) -> Option<String> {
    match atomic::read_optional(&layout.tokens()) {
        Ok(text) => trigger::marks(&text.unwrap_or_default()).err(),
        Err(e) => Some(e.to_string()),
    }
}

struct Look<'a> {
    layout: &'a Layout,
    found: &'a mut Inspection,
}

impl Look<'_> {
    fn at_everything(&mut self) -> Result<()> {
        let root = Path::new("");
        self.at(root)?;
        for name in KNOWN {
            self.at(Path::new(name))?;
        }
        self.version(Path::new("store.toml"), "format", FORMAT);
        let overlays: Vec<(String, Vec<u64>, Vec<u64>)> = match &self.found.view {
            Ok(view) => view
                .overlays
                .iter()
                .map(|(name, o)| {
                    (
                        name.clone(),
                        o.generations.keys().copied().collect(),
                        o.snapshots.keys().copied().collect(),
                    )
                })
                .collect(),
            Err(_) => Vec::new(),
        };
        for (name, generations, snapshots) in overlays {
            self.at_overlay(&name, &generations, &snapshots)?;
        }
        Ok(())
    }

    fn at_overlay(&mut self, name: &str, generations: &[u64], snapshots: &[u64]) -> Result<()> {
        let place = Path::new("overlays").join(name);
        self.at(&place)?;
        for name in FILES.iter().chain(&DIRECTORIES) {
            self.at(&place.join(name))?;
        }
        for name in ["request.toml", "outcome.toml", "health.toml"] {
            self.version(&place.join(name), "version", RECORD_VERSION);
        }
        let last = read::load_pointer(&self.layout.last_snapshot(name), "a snapshot");
        self.found.last_snapshots.insert(name.to_owned(), last);
        for number in generations {
            self.at_layer(&place.join("generations").join(number.to_string()), "generation.toml")?;
        }
        for id in snapshots {
            let snapshot = place.join("snapshots").join(id.to_string());
            self.at_layer(&snapshot, "snapshot.toml")?;
            let index = snapshot.join("index");
            if self.absolute(&index).symlink_metadata().is_ok()
                && !layer::index::is_whole(&self.absolute(&index))
            {
                self.found.broken_indexes.insert(index);
            }
        }
        Ok(())
    }

    fn at_layer(&mut self, place: &Path, record: &str) -> Result<()> {
        self.at(place)?;
        for name in [record, "fs", "work", "work/work"] {
            self.at(&place.join(name))?;
        }
        self.version(&place.join(record), "version", RECORD_VERSION);
        self.at_top(&place.join("fs"))
    }

    fn absolute(&self, path: &Path) -> PathBuf {
        // Joining nothing would add a slash.
        if path.as_os_str().is_empty() {
            self.layout.root().to_owned()
        } else {
            self.layout.root().join(path)
        }
    }

    /// Notes what lies at a place, if anything does.
    fn at(&mut self, path: &Path) -> Result<()> {
        let absolute = self.absolute(path);
        let node = match node::look_path(&absolute) {
            Ok(node) => node,
            Err(e) if node::is_gone(&e) || e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(Error::io("examine", &absolute, e)),
        };
        if node.kind == node::NodeKind::Directory {
            let open = node::open_top(&absolute).map_err(|e| Error::io("open", &absolute, e))?;
            let fixed = node::flags(&open).only(Flags::IMMUTABLE.with(Flags::APPEND));
            if !fixed.is_empty() {
                self.found.fixed.insert(path.to_owned());
            }
        }
        self.found.places.insert(path.to_owned(), node);
        Ok(())
    }

    /// Looks for marks on the top directory of a layer and on what lies in it.
    fn at_top(&mut self, path: &Path) -> Result<()> {
        let absolute = self.absolute(path);
        let Ok(top) = node::open_top(&absolute) else { return Ok(()) };
        let mut reader = Reader::default();
        self.marks(path.to_owned(), reader.list(Bearer::Open(top.as_fd())));
        let mut names = Vec::new();
        node::list(&top, |listed| names.push(listed.name.to_owned()))
            .map_err(|e| Error::io("list", &absolute, e))?;
        for name in names {
            let below = path.join(OsStr::from_bytes(name.to_bytes()));
            self.marks(below, reader.list(Bearer::Named(top.as_fd(), &name)));
        }
        Ok(())
    }

    fn marks(&mut self, path: PathBuf, names: std::io::Result<&[u8]>) {
        let names = names.unwrap_or_default();
        let mark = names.split(|&b| b == 0).find(|name| FORGEABLE.contains(name));
        if let Some(mark) = mark {
            self.found.marked.insert(path, String::from_utf8_lossy(mark).into_owned());
        }
    }

    /// Notes a record whose version is higher than any that is known here.
    fn version(&mut self, path: &Path, key: &'static str, known: u32) {
        let absolute = self.absolute(path);
        let Ok(Some(text)) = atomic::read_optional(&absolute) else { return };
        let said = match key {
            "format" => codec::parse::<Format>(&absolute, &text).map(|found| found.0),
            _ => codec::parse::<Version>(&absolute, &text).map(|found| found.0),
        };
        if said.is_ok_and(|version| version > known) {
            self.found.later.insert(path.to_owned());
        }
    }
}

/// The version of a record, and nothing else of it.
#[derive(Clone, Debug, Default)]
struct Version(u32);

impl Record for Version {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        small(io, "version", &mut self.0)
    }
}

/// The same of `store.toml`.
#[derive(Clone, Debug, Default)]
struct Format(u32);

impl Record for Format {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        small(io, "format", &mut self.0)
    }
}
