//! `/proc/thread-self/mountinfo`: parsing is pure, `read` reads.

use std::ffi::OsString;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Kind, Result};
use crate::sys::order;

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Number of the mount, unique over all mount namespaces.
    pub id: u64,
    /// Device number of the superblock.
    pub major: u64,
    /// Device number of the superblock.
    pub minor: u64,
    /// Which directory of the filesystem is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub target: PathBuf,
    /// Per-mount options: `ro,nosuid`.
    pub options: String,
    /// What it has to do with mounts of other namespaces: `shared:1 master:2`; empty for a private one.
    pub tags: String,
    /// Filesystem type.
    pub fstype: String,
    /// Source: a device node or a word.
    pub source: String,
    /// Options of the superblock: `rw,lowerdir=…`.
    pub super_options: String,
}

impl Mount {
    /// Whether the superblock is read-only.
    pub fn superblock_is_read_only(&self) -> bool {
        self.super_options.split(',').any(|o| o == "ro")
    }
}

/// All mounts, in the kernel's order: what is mounted over another comes later.
pub fn read() -> Result<Vec<Mount>> {
    // A thread may be in a mount namespace of its own; /proc/self is the main thread's.
    let path = "/proc/thread-self/mountinfo";
    let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, e))?;
    Ok(parse(&bytes))
}

/// Parses the file (proc_pid_mountinfo(5)). Lines that do not fit are left out.
pub fn parse(bytes: &[u8]) -> Vec<Mount> {
    bytes.split(|&b| b == b'\n').filter_map(parse_line).collect()
}

/// The uppermost mount at exactly `target`.
pub fn at<'a>(mounts: &'a [Mount], target: &Path) -> Option<&'a Mount> {
    mounts.iter().rev().find(|m| m.target == target)
}

/// The mount that holds the directory `path`, whatever else lies over it or beside it.
pub fn holding(mounts: &[Mount], path: &Path) -> Result<Mount> {
    let fail = |e| Error::io("look at", path, e);
    let directory = std::fs::File::open(path).map_err(fail)?;
    let info = std::fs::read_to_string(format!("/proc/thread-self/fdinfo/{}", directory.as_raw_fd()))
        .map_err(fail)?;
    let id: Option<u64> = info.lines().find_map(|l| l.strip_prefix("mnt_id:")?.trim().parse().ok());
    let found = mounts.iter().find(|m| Some(m.id) == id).cloned();
    found.ok_or_else(|| Error::new(Kind::Failed, format!("no mount is known that holds {}", path.display())))
}

/// Mount points strictly below `target`, outermost first, each once.
pub fn below(mounts: &[Mount], target: &Path) -> Vec<PathBuf> {
    let inside = mounts.iter().map(|m| &m.target).filter(|t| *t != target && t.starts_with(target));
    order::sorted(inside.map(PathBuf::as_path))
}

fn parse_line(line: &[u8]) -> Option<Mount> {
    let fields: Vec<&[u8]> = line.split(|&b| b == b' ').collect();
    let dash = fields.iter().position(|f| *f == b"-").filter(|dash| *dash >= 6)?;
    let text = |i: usize| fields.get(i).map(|f| String::from_utf8_lossy(f).into_owned());
    let (major, minor) = text(2)?.split_once(':').map(|(a, b)| (a.parse(), b.parse()))?;
    Some(Mount {
        id: text(0)?.parse().ok()?,
        tags: String::from_utf8_lossy(&fields[6..dash].join(&b' ')).into_owned(),
        major: major.ok()?,
        minor: minor.ok()?,
        root: unescape(fields.get(3)?),
        target: unescape(fields.get(4)?),
        options: text(5)?,
        fstype: text(dash + 1)?,
        source: unescape(fields.get(dash + 2)?).to_string_lossy().into_owned(),
        super_options: text(dash + 3)?,
    })
}

/// The kernel writes blank, tab, newline and backslash as `\ooo`.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = tail.get(..3).filter(|o| first == b'\\' && o.iter().all(|b| (b'0'..=b'7').contains(b)));
        if let Some(o) = octal {
            bytes.push(o.iter().fold(0u8, |n, b| n.wrapping_mul(8).wrapping_add(b - b'0')));
            rest = &tail[3..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    PathBuf::from(OsString::from_vec(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = b"24 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda ro,errors=remount-ro\n\
        25 24 0:22 / /a\\040b rw - tmpfs tmpfs rw,size=4k\nnonsense\n\
        26 24 254:0 /sub /a\\040b/c ro,nosuid shared:3 master:1 - ext4 /dev/vda rw\n";

    #[test]
    fn the_mount_that_holds_a_directory_is_found() {
        let mounts = read().unwrap();
        let proc = holding(&mounts, Path::new("/proc/self")).unwrap();
        assert_eq!((proc.fstype.as_str(), proc.target.as_path()), ("proc", Path::new("/proc")));
    }

    #[test]
    fn fields_and_escapes() {
        let mounts = parse(TEXT);
        assert_eq!(mounts.len(), 3);
        assert_eq!((mounts[0].id, mounts[0].major, mounts[0].minor), (24, 254, 0));
        assert_eq!(
            [&*mounts[0].tags, &*mounts[1].tags, &*mounts[2].tags],
            ["shared:1", "", "shared:3 master:1"]
        );
        assert!(mounts[0].superblock_is_read_only());
        assert_eq!(mounts[1].target, Path::new("/a b"));
        assert_eq!(mounts[2].root, Path::new("/sub"));
        assert!(!mounts[2].superblock_is_read_only());
        assert_eq!(below(&mounts, Path::new("/a b")), [Path::new("/a b/c")]);
        assert_eq!(at(&mounts, Path::new("/")).unwrap().fstype, "ext4");
    }
}
