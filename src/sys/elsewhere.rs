//! Which part of a filesystem lies on another device, as its superblock says. It opens nothing.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::superblock::{FsType, le32};

/// A part of a filesystem that lies on another device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The journal of ext3 and ext4.
    Journal,
    /// The log of XFS.
    Log,
    /// The realtime section of XFS, which holds contents of files.
    Realtime,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Part::Journal => "the journal",
            Part::Log => "the log",
            Part::Realtime => "the realtime section",
        })
    }
}

/// The first such part of the filesystem of this type on `device`. How many devices a btrfs spans is not told here.
pub fn part(device: &File, fstype: FsType) -> io::Result<Option<Part>> {
    match fstype {
        FsType::Ext3 | FsType::Ext4 => ext(device),
        FsType::Xfs => xfs(device),
        _ => Ok(None),
    }
}

/// `s_feature_compat`, `s_journal_inum` and `s_journal_dev` of struct ext4_super_block in fs/ext4/ext4.h, at 1024. The
/// number of the device may be out of date, but an inode there is only for a journal inside.
fn ext(device: &File) -> io::Result<Option<Part>> {
    const HAS_JOURNAL: u32 = 0x4;
    let mut sb = [0; 0xe8];
    device.read_exact_at(&mut sb, 0x400)?;
    let (inode, other) = (le32(&sb, 0xe0), le32(&sb, 0xe4));
    let is_outside = le32(&sb, 0x5c) & HAS_JOURNAL != 0 && (inode == 0 || other != 0);
    Ok(is_outside.then_some(Part::Journal))
}

/// `sb_rblocks` and `sb_logstart` of struct xfs_dsb in fs/xfs/libxfs/xfs_format.h: blocks of the realtime section, and
/// where the log begins if it is inside.
fn xfs(device: &File) -> io::Result<Option<Part>> {
    let mut sb = [0; 56];
    device.read_exact_at(&mut sb, 0)?;
    Ok(match (&sb[48..56], &sb[16..24]) {
        ([0, 0, 0, 0, 0, 0, 0, 0], _) => Some(Part::Log),
        (_, [0, 0, 0, 0, 0, 0, 0, 0]) => None,
        _ => Some(Part::Realtime),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::process;
    use std::path::{Path, PathBuf};
    use std::time::Duration;

    /// Sparse image files in a directory that goes away.
    struct Images(PathBuf);

    impl Images {
        fn new(name: &str) -> Images {
            let path = std::env::temp_dir().join(format!("overlayd-elsewhere-{}-{name}", std::process::id()));
            std::fs::create_dir(&path).unwrap();
            Images(path)
        }

        fn file(&self, name: &str, mib: u64) -> String {
            let path = self.0.join(name);
            File::create(&path).unwrap().set_len(mib << 20).unwrap();
            path.to_str().unwrap().to_owned()
        }
    }

    impl Drop for Images {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn made(program: &str, words: &[&str], image: &str, fstype: FsType) -> Option<Part> {
        let program = process::find_program(program).expect("it is needed");
        let exit = process::run(&program, &[words, &[image]].concat(), Duration::from_secs(60)).unwrap();
        assert_eq!(exit.code, Some(0), "{}", exit.output);
        part(&File::open(Path::new(image)).unwrap(), fstype).unwrap()
    }

    #[test]
    fn what_lies_within_is_not_elsewhere() {
        let images = Images::new("within");
        let [small, large] = [images.file("small", 64), images.file("large", 320)];
        assert_eq!(made("mkfs.ext4", &["-q", "-F"], &small, FsType::Ext4), None);
        assert_eq!(made("mkfs.ext4", &["-q", "-F", "-O", "^has_journal"], &small, FsType::Ext4), None);
        assert_eq!(made("mkfs.ext3", &["-q", "-F"], &small, FsType::Ext3), None);
        assert_eq!(made("mkfs.xfs", &["-q", "-f"], &large, FsType::Xfs), None);
        assert_eq!(made("mkfs.btrfs", &["-q", "-f"], &large, FsType::Btrfs), None);
    }

    #[test]
    fn the_log_and_the_realtime_section_of_xfs_are_found() {
        let images = Images::new("xfs");
        let [data, other] = [images.file("data", 320), images.file("other", 320)];
        let log = format!("logdev={other},size=64m");
        assert_eq!(made("mkfs.xfs", &["-q", "-f", "-l", &log], &data, FsType::Xfs), Some(Part::Log));
        let realtime = format!("rtdev={other}");
        assert_eq!(
            made("mkfs.xfs", &["-q", "-f", "-r", &realtime], &data, FsType::Xfs),
            Some(Part::Realtime)
        );
    }
}
