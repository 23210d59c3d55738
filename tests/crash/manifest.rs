//! Everything that can be seen of a tree, entry by entry: made without the engine that is under test.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// A line for each entry, by its path below the top; the top is `.`.
pub(crate) type Manifest = BTreeMap<String, String>;

/// What a layer has for overlayfs alone, and what need not be the same in two layers that show the same.
const PRIVATE: [&str; 4] =
    ["trusted.overlay.origin", "trusted.overlay.impure", "trusted.overlay.nlink", "trusted.overlay.uuid"];

/// Of everything below `top` on its filesystem.
pub(crate) fn manifest(top: &Path) -> Manifest {
    let mut walk = Walk { top, device: fs::symlink_metadata(top).unwrap().dev(), ..Walk::default() };
    walk.visit(top);
    walk.tell_links();
    walk.lines
}

/// What two of them differ in, for messages; at most some lines.
pub(crate) fn differences(expected: &Manifest, found: &Manifest) -> String {
    let mut lines = Vec::new();
    for path in expected.keys().chain(found.keys().filter(|p| !expected.contains_key(*p))) {
        let (one, other) = (expected.get(path), found.get(path));
        if one != other {
            lines.push(format!("{path}:\n  expected {one:?}\n  found    {other:?}"));
        }
    }
    lines.truncate(8);
    lines.join("\n")
}

struct Walk<'a> {
    top: &'a Path,
    device: u64,
    lines: Manifest,
    /// The names of each file.
    linked: BTreeMap<u64, Vec<String>>,
}

impl Default for Walk<'_> {
    fn default() -> Self {
        Walk { top: Path::new("/"), device: 0, lines: Manifest::new(), linked: BTreeMap::new() }
    }
}

impl Walk<'_> {
    fn visit(&mut self, path: &Path) {
        let about = fs::symlink_metadata(path).unwrap();
        let name = match path.strip_prefix(self.top).unwrap() {
            below if below.as_os_str().is_empty() => ".".to_owned(),
            below => below.as_os_str().as_bytes().escape_ascii().to_string(),
        };
        let line = self.line(path, &name, &about);
        self.lines.insert(name, line);
        if about.is_dir() && about.dev() == self.device {
            let mut names: Vec<PathBuf> = fs::read_dir(path).unwrap().map(|e| e.unwrap().path()).collect();
            names.sort();
            names.iter().for_each(|name| self.visit(name));
        }
    }

    fn line(&mut self, path: &Path, name: &str, about: &Metadata) -> String {
        let kind = about.file_type();
        if kind.is_char_device() && about.rdev() == 0 {
            // Nothing but the name counts.
            return "whiteout".to_owned();
        }
        let content = if kind.is_file() {
            let mut hasher = DefaultHasher::new();
            fs::read(path).unwrap().hash(&mut hasher);
            format!("{} bytes, {:016x}", about.len(), hasher.finish())
        } else if kind.is_symlink() {
            format!("to {:?}", fs::read_link(path).unwrap())
        } else if kind.is_block_device() || kind.is_char_device() {
            format!("device {:x}", about.rdev())
        } else {
            String::new()
        };
        if !kind.is_dir() {
            self.linked.entry(about.ino()).or_default().push(name.to_owned());
        }
        format!(
            "{:o} {}:{} {}.{:09} {content} {:?}",
            about.mode(),
            about.uid(),
            about.gid(),
            about.mtime(),
            about.mtime_nsec(),
            attributes(path)
        )
    }

    /// Names of one file, within this tree: a snapshot shares files with the one before.
    fn tell_links(&mut self) {
        for names in self.linked.values().filter(|names| names.len() > 1) {
            for name in names {
                if let Some(line) = self.lines.get_mut(name).filter(|line| *line != "whiteout") {
                    *line += &format!(" is {names:?}");
                }
            }
        }
    }
}

/// Extended attributes with their values.
fn attributes(path: &Path) -> Vec<String> {
    let mut names = vec![0u8; 65536];
    let length = match rustix::fs::llistxattr(path, names.as_mut_slice()) {
        // A base without any says so.
        Err(rustix::io::Errno::OPNOTSUPP) => 0,
        length => length.unwrap(),
    };
    let mut all = Vec::new();
    for name in names[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        if PRIVATE.contains(&name.as_str()) {
            continue;
        }
        let mut value = vec![0u8; 65536];
        let length = rustix::fs::lgetxattr(path, name.as_str(), value.as_mut_slice()).unwrap();
        all.push(format!("{name}={}", value[..length].escape_ascii()));
    }
    all.sort();
    all
}
