//! The oracle: everything about every entry of a tree, as seen through a mount. Knows nothing of layers.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CString, OsStr, OsString};
use std::fmt::Write;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use rustix::fs::{Mode, OFlags, SeekFrom};

/// One entry, in words that a failed test can show.
pub(crate) type Facts = String;

/// All entries by their path from the top, which is itself `.`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manifest(pub(crate) BTreeMap<OsString, Facts>);

/// Records a tree.
pub(crate) fn record(root: &Path) -> Manifest {
    let mut recorder = Recorder::default();
    recorder.visit(root, Path::new("."));
    // What is linked within the tree: a lower may have more names elsewhere.
    for paths in recorder.links.values().filter(|paths| paths.len() > 1) {
        for path in paths {
            let facts = recorder.manifest.0.get_mut(path).unwrap();
            write!(facts, " linked to {:?}", paths[0]).unwrap();
        }
    }
    recorder.manifest
}

impl Manifest {
    /// Panics, showing what differs, unless both are the same.
    pub(crate) fn assert_same(&self, other: &Manifest, context: &str) {
        let mut differences = String::new();
        for (path, facts) in &self.0 {
            match other.0.get(path) {
                None => writeln!(differences, "missing: {path:?}: {facts}").unwrap(),
                Some(now) if now != facts => {
                    writeln!(differences, "differs: {path:?}\n  was {facts}\n  now {now}").unwrap();
                }
                Some(_) => (),
            }
        }
        for (path, facts) in other.0.iter().filter(|(path, _)| !self.0.contains_key(*path)) {
            writeln!(differences, "too many: {path:?}: {facts}").unwrap();
        }
        assert!(differences.is_empty(), "{context}:\n{differences}");
    }
}

#[derive(Default)]
struct Recorder {
    manifest: Manifest,
    /// By device and inode: the paths.
    links: HashMap<(u64, u64), Vec<OsString>>,
}

impl Recorder {
    fn visit(&mut self, root: &Path, path: &Path) {
        let at = root.join(path);
        let meta = fs::symlink_metadata(&at).unwrap_or_else(|e| panic!("{at:?}: {e}"));
        let kind = meta.file_type();
        let mut facts = format!(
            "{} {:o} {}:{} mtime {}.{:09} atime {}.{:09}",
            if kind.is_dir() {
                "dir"
            } else if kind.is_file() {
                "file"
            } else if kind.is_symlink() {
                "link"
            } else if kind.is_fifo() {
                "fifo"
            } else if kind.is_socket() {
                "socket"
            } else if kind.is_block_device() {
                "block"
            } else {
                "char"
            },
            meta.mode() & 0o7777,
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec(),
            meta.atime(),
            meta.atime_nsec(),
        );
        if kind.is_block_device() || kind.is_char_device() {
            write!(facts, " rdev {:x}", meta.rdev()).unwrap();
        }
        if kind.is_symlink() {
            write!(facts, " to {:?}", fs::read_link(&at).unwrap()).unwrap();
        }
        if kind.is_file() {
            write!(facts, " {}", content(&at)).unwrap();
        }
        if !kind.is_dir() && meta.nlink() > 1 {
            self.links.entry((meta.dev(), meta.ino())).or_default().push(path.into());
        }
        if kind.is_file() || kind.is_dir() {
            let file = rustix::fs::open(&at, OFlags::RDONLY | OFlags::NOFOLLOW, Mode::empty()).unwrap();
            // FS_NODUMP_FL, FS_NOATIME_FL, FS_IMMUTABLE_FL, FS_APPEND_FL, FS_SYNC_FL
            let flags = rustix::fs::ioctl_getflags(&file).map_or(0, |flags| flags.bits() & 0xf8);
            write!(facts, " flags {flags:x}").unwrap();
        }
        facts.push_str(&attributes(&at));
        self.manifest.0.insert(path.into(), facts);
        if kind.is_dir() {
            let mut names: Vec<OsString> =
                fs::read_dir(&at).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            for name in names {
                self.visit(root, &path.join(name));
            }
        }
    }
}

/// Where a file has data, and where holes are. Only once it is written: before that a filesystem may call data what
/// will be a hole, which is why the manifest does without.
pub(crate) fn data_ranges(path: &Path) -> Vec<(u64, u64)> {
    let file = fs::File::open(path).unwrap();
    let (mut ranges, mut at) = (Vec::new(), 0);
    while let Ok(data) = rustix::fs::seek(&file, SeekFrom::Data(at)) {
        at = rustix::fs::seek(&file, SeekFrom::Hole(data)).unwrap();
        ranges.push((data, at));
    }
    ranges
}

/// A file's length, and its bytes: in full if they are few.
pub(crate) fn content(path: &Path) -> String {
    let bytes = fs::read(path).unwrap();
    let shown = if bytes.len() <= 64 {
        format!("{:?}", OsStr::from_bytes(&bytes))
    } else {
        // FNV-1a; the test is no target of attacks.
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &b| {
            (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        format!("hash {hash:016x}")
    };
    format!("size {} {shown}", bytes.len())
}

/// All attributes with their values.
pub(crate) fn attributes(path: &Path) -> String {
    let path = CString::new(path.as_os_str().as_bytes()).unwrap();
    let mut list = vec![0; 65536];
    let length = rustix::fs::llistxattr(&path, &mut list[..]).unwrap_or(0);
    let mut all: Vec<String> = list[..length]
        .split(|&b| b == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let length = rustix::fs::lgetxattr(&path, name, &mut value[..]).unwrap();
            let name = OsString::from_vec(name.to_vec());
            format!(" {name:?}={:?}", OsStr::from_bytes(&value[..length]))
        })
        .collect();
    all.sort();
    all.concat()
}
