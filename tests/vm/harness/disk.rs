//! The state disk: made, looked into and judged from the host, while no machine runs on it.

use super::host;
use std::path::{Path, PathBuf};

/// The filesystem of a state disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum StateFs {
    Ext4,
    Xfs,
    Btrfs,
}

impl StateFs {
    /// As mount(8) calls it.
    pub(crate) fn word(self) -> &'static str {
        match self {
            StateFs::Ext4 => "ext4",
            StateFs::Xfs => "xfs",
            StateFs::Btrfs => "btrfs",
        }
    }
}

/// A raw image file.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    path: PathBuf,
    fs: StateFs,
}

impl Disk {
    /// A new disk of 384 MiB with a filesystem labelled `overlayd`.
    pub(crate) fn new(path: PathBuf, fs: StateFs) -> Disk {
        let disk = Disk::blank(path, fs);
        disk.format(&[]);
        disk
    }

    /// A new disk of 384 MiB of zeros.
    pub(crate) fn blank(path: PathBuf, fs: StateFs) -> Disk {
        std::fs::File::create(&path)
            .and_then(|file| file.set_len(384 << 20))
            .unwrap_or_else(|error| panic!("failed to create {}: {error}", path.display()));
        Disk { path, fs }
    }

    /// Makes the filesystem, with further options for mkfs.
    pub(crate) fn format(&self, options: &[&str]) {
        let mut arguments = vec!["-q", "-L", "overlayd"];
        arguments.extend_from_slice(options);
        arguments.push(self.text());
        host(&format!("mkfs.{}", self.fs.word()), &arguments);
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A copy beside it, holes kept.
    pub(crate) fn copy(&self, path: PathBuf) -> Disk {
        let copy = Disk { path, fs: self.fs };
        host("cp", &["--sparse=always", self.text(), copy.text()]);
        copy
    }

    /// Runs a shell script in the root of the mounted filesystem, and gives back what it printed. The mount
    /// lives in a namespace of its own and ends with it.
    pub(crate) fn inside(&self, script: &str) -> String {
        let mounted = format!(
            "set -e; dir=$(mktemp -d); trap 'cd /; umount $dir; rmdir $dir' EXIT; mount -o loop,noatime \"$0\" $dir; \
             cd $dir; {script}"
        );
        host("unshare", &["--mount", "bash", "-c", &mounted, self.text()])
    }

    /// Fails if mounting the filesystem would have to recover anything, or if it is damaged.
    pub(crate) fn assert_clean(&self) {
        let (clean, report) = match self.fs {
            StateFs::Ext4 => {
                let header = host("dumpe2fs", &["-h", self.text()]);
                (
                    !header.contains("needs_recovery") && has_line(&header, "Filesystem state:", "clean"),
                    header,
                )
            }
            StateFs::Xfs => {
                let log = host("xfs_logprint", &["-t", self.text()]);
                (log.contains("<CLEAN>"), log)
            }
            StateFs::Btrfs => {
                let superblock = host("btrfs", &["inspect-internal", "dump-super", self.text()]);
                (has_line(&superblock, "log_root", "0"), superblock)
            }
        };
        assert!(clean, "the state filesystem was not unmounted cleanly:\n{report}");
        self.assert_intact();
    }

    /// Fails if the filesystem's own checker finds damage.
    fn assert_intact(&self) {
        match self.fs {
            StateFs::Ext4 => host("e2fsck", &["-f", "-n", self.text()]),
            StateFs::Xfs => host("xfs_repair", &["-n", "-f", self.text()]),
            StateFs::Btrfs => host("btrfs", &["check", "--readonly", self.text()]),
        };
    }

    /// SHA-256 of the whole disk.
    pub(crate) fn digest(&self) -> String {
        host("sha256sum", &[self.text()]).split_whitespace().next().unwrap_or_default().to_owned()
    }

    /// Overwrites `count` blocks of 4096 bytes, from block `first`, with bytes of the file `source`.
    pub(crate) fn overwrite(&self, source: &str, first: u32, count: u32) {
        let (source, target) = (format!("if={source}"), format!("of={}", self.text()));
        let (first, count) = (format!("seek={first}"), format!("count={count}"));
        host("dd", &["bs=4096", "conv=notrunc", "status=none", &source, &target, &first, &count]);
    }

    /// The same disk, all zeros.
    pub(crate) fn blanked(&self) -> Disk {
        Disk::blank(self.path.clone(), self.fs)
    }

    pub(super) fn text(&self) -> &str {
        self.path.to_str().unwrap_or_else(|| panic!("{} is not UTF-8", self.path.display()))
    }
}

fn has_line(text: &str, key: &str, value: &str) -> bool {
    text.lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.trim() == value))
}
