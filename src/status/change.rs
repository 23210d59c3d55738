//! The lines of a diff, for the bus and `--json` alike. Documented in overlayctl(1); fields are only ever added.

use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::layer::diff::{Aspect, Change, Listener, Seen};
use crate::operation::diff::Diff;
use crate::sys::node::NodeKind;

/// One line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Line {
    /// One difference.
    Entry(Box<Entry>),
    /// The last line, whatever comes before it.
    End(End),
}

/// One difference.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// `added`, `removed`, `modified`, or `type`: something else is there.
    pub change: String,
    /// Where, absolute in the system; what is not UTF-8 in it is replaced.
    pub path: String,
    /// If it is not UTF-8: its bytes, in hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_hex: Option<String>,
    /// If it is modified: in what, as words.
    #[serde(default)]
    pub what: Vec<String>,
    /// Names of extended attributes that are not the same.
    #[serde(default)]
    pub xattrs: Vec<String>,
    /// What was there.
    #[serde(default)]
    pub from: Option<Thing>,
    /// What is there.
    #[serde(default)]
    pub to: Option<Thing>,
}

/// What one side has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
pub struct Thing {
    /// `file`, `directory`, `symlink`, `pipe`, `socket`, `character-device` or `block-device`.
    pub kind: String,
    /// Permissions in octal digits: `0644`.
    pub mode: String,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes in a file; of everything else 0.
    pub size: u64,
    /// When the content changed last, Unix time in seconds.
    pub mtime: i64,
    /// And nanoseconds.
    pub mtime_nsec: u32,
    /// Of a symlink: where it leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// If that is not UTF-8: its bytes, in hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_hex: Option<String>,
    /// Of a device: `8:1`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

/// How a diff ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct End {
    /// `complete` or `failed`.
    pub result: String,
    /// If it failed: the name of the error on the bus.
    #[serde(default)]
    pub error: String,
    /// And why.
    #[serde(default)]
    pub message: String,
    /// Entries that are there now.
    #[serde(default)]
    pub added: u64,
    /// Entries that are not there any more.
    #[serde(default)]
    pub removed: u64,
    /// Entries that are of the same type, and differ.
    #[serde(default)]
    pub modified: u64,
    /// Entries that are of another type.
    #[serde(default)]
    pub retyped: u64,
    /// Bytes in files that are new, or hold something else, as they are now; hard links by name.
    #[serde(default)]
    pub bytes_added: u64,
    /// The same, as they were.
    #[serde(default)]
    pub bytes_removed: u64,
    /// What is not as one may think.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Takes what a diff tells.
pub trait Sink {
    /// One more difference.
    fn entry(&mut self, entry: Entry) -> Result<()>;

    /// Asked now and then.
    fn go_on(&mut self) -> ControlFlow<()>;
}

/// Carries a diff out.
pub fn tell(diff: &Diff, sink: &mut dyn Sink) -> Result<End> {
    let end = End { notes: diff.notes.clone(), ..End::default() };
    let mut teller = Teller { target: &diff.target, sink, end };
    diff.run(&mut teller)?;
    Ok(End { result: "complete".to_owned(), ..teller.end })
}

struct Teller<'t> {
    target: &'t Path,
    sink: &'t mut dyn Sink,
    end: End,
}

impl Listener for Teller<'_> {
    fn change(&mut self, change: &Change) -> Result<()> {
        let entry = Entry::new(self.target, change);
        self.end.add(&entry);
        self.sink.entry(entry)
    }

    fn go_on(&mut self) -> ControlFlow<()> {
        self.sink.go_on()
    }
}

impl End {
    fn add(&mut self, entry: &Entry) {
        let count = match entry.change.as_str() {
            "added" => &mut self.added,
            "removed" => &mut self.removed,
            "modified" => &mut self.modified,
            _ => &mut self.retyped,
        };
        *count += 1;
        if entry.change != "modified" || entry.what.iter().any(|what| what == "content") {
            let size = |thing: &Option<Thing>| thing.as_ref().map_or(0, |thing| thing.size);
            self.bytes_added += size(&entry.to);
            self.bytes_removed += size(&entry.from);
        }
    }
}

impl Entry {
    fn new(target: &Path, change: &Change) -> Entry {
        let path = match change.path.as_slice() {
            [] => target.to_owned(),
            path => target.join(std::ffi::OsStr::from_bytes(path)),
        };
        let (path, path_hex) = text(path.as_os_str().as_bytes());
        let is_same_kind = |from: &Seen, to: &Seen| from.node.kind == to.node.kind;
        let word = match (&change.from, &change.to) {
            (None, _) => "added",
            (_, None) => "removed",
            (Some(from), Some(to)) if is_same_kind(from, to) => "modified",
            _ => "type",
        };
        Entry {
            change: word.to_owned(),
            path,
            path_hex,
            what: change.aspects.iter().map(|aspect| aspect_word(*aspect).to_owned()).collect(),
            xattrs: change.attributes.iter().map(|name| name.to_string_lossy().into_owned()).collect(),
            from: change.from.as_ref().map(Thing::new),
            to: change.to.as_ref().map(Thing::new),
        }
    }

    /// The path as it is.
    pub fn path_bytes(&self) -> Vec<u8> {
        bytes(&self.path, self.path_hex.as_deref())
    }
}

impl Thing {
    fn new(seen: &Seen) -> Thing {
        let node = &seen.node;
        let is_device = matches!(node.kind, NodeKind::CharDevice | NodeKind::BlockDevice);
        let target = seen.target.as_ref().map(|target| text(target.to_bytes()));
        let (target, target_hex) = target.map_or((None, None), |(text, hex)| (Some(text), hex));
        Thing {
            kind: kind_word(node.kind).to_owned(),
            mode: format!("{:04o}", node.mode),
            uid: node.uid,
            gid: node.gid,
            size: if node.kind == NodeKind::File { node.size } else { 0 },
            mtime: node.mtime.seconds,
            mtime_nsec: node.mtime.nanoseconds,
            target,
            target_hex,
            device: is_device.then(|| format!("{}:{}", node.rdev.0, node.rdev.1)),
        }
    }

    /// Where a symlink leads, as it is.
    pub fn target_bytes(&self) -> Vec<u8> {
        bytes(self.target.as_deref().unwrap_or_default(), self.target_hex.as_deref())
    }
}

fn aspect_word(aspect: Aspect) -> &'static str {
    match aspect {
        Aspect::Content => "content",
        Aspect::Mode => "mode",
        Aspect::Owner => "owner",
        Aspect::Group => "group",
        Aspect::Mtime => "mtime",
        Aspect::Attributes => "xattrs",
    }
}

fn kind_word(kind: NodeKind) -> &'static str {
    match kind {
        NodeKind::Directory => "directory",
        NodeKind::File => "file",
        NodeKind::Symlink => "symlink",
        NodeKind::Fifo => "pipe",
        NodeKind::Socket => "socket",
        NodeKind::BlockDevice => "block-device",
        NodeKind::CharDevice | NodeKind::Unknown => "character-device",
    }
}

/// Bytes as a text, and as digits if the text is not the whole truth.
fn text(bytes: &[u8]) -> (String, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (text.to_owned(), None),
        Err(_) => {
            let hex = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            (String::from_utf8_lossy(bytes).into_owned(), Some(hex))
        }
    }
}

fn bytes(text: &str, hex: Option<&str>) -> Vec<u8> {
    let Some(hex) = hex else { return text.as_bytes().to_vec() };
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap_or_default() as u8;
    hex.as_bytes().chunks(2).map(|pair| pair.iter().fold(0, |all, byte| all << 4 | digit(*byte))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_whatever_bytes_they_have() {
        for name in [&b"plain"[..], b"new\nline\x1b", b"\xff\xfe/x", "é\u{202e}".as_bytes(), b"\xc3"] {
            let (path, path_hex) = text(name);
            assert_eq!(path_hex.is_some(), std::str::from_utf8(name).is_err());
            let entry = Entry { change: "added".into(), path, path_hex, ..Entry::default() };
            let json = serde_json::to_string(&Line::Entry(Box::new(entry.clone()))).unwrap();
            assert!(!json.contains('\n'), "{json}");
            let Line::Entry(read) = serde_json::from_str(&json).unwrap() else { panic!("{json}") };
            assert_eq!((&*read, read.path_bytes()), (&entry, name.to_vec()));
        }
    }

    #[test]
    fn the_end_is_told_from_an_entry() {
        let end = End { result: "complete".into(), added: 3, ..End::default() };
        let json = serde_json::to_string(&Line::End(end.clone())).unwrap();
        assert_eq!(serde_json::from_str::<Line>(&json).unwrap(), Line::End(end));
        assert!(serde_json::from_str::<Line>("{}").is_err());
    }
}
