//! Where each thing of the store lies. Paths only, no I/O.

use std::path::{Path, PathBuf};

/// The longest name an overlay may have, in bytes.
pub const NAME_MAX: usize = 32;

/// Paths below one store directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The layout of the store in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Layout { root: root.into() }
    }

    /// The store directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// `store.toml`.
    pub fn record(&self) -> PathBuf {
        self.root.join("store.toml")
    }

    /// The file that writers lock.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// The ballast directory.
    pub fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    /// What on the kernel command line, or in EFI variables, asked for a reset already: a line each.
    pub fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    /// The directory of all overlays.
    pub fn overlays(&self) -> PathBuf {
        self.root.join("overlays")
    }

    /// The file that long work locks, and in which it says who is at what.
    pub fn job(&self) -> PathBuf {
        self.root.join("job")
    }

    /// One overlay's directory.
    pub fn overlay(&self, name: &str) -> PathBuf {
        self.overlays().join(name)
    }

    /// The pointer to the live generation.
    pub fn current(&self, name: &str) -> PathBuf {
        self.overlay(name).join("current")
    }

    /// The pending request.
    pub fn request(&self, name: &str) -> PathBuf {
        self.overlay(name).join("request.toml")
    }

    /// The outcome of the last request.
    pub fn outcome(&self, name: &str) -> PathBuf {
        self.overlay(name).join("outcome.toml")
    }

    /// Boots that did not come up, and what was good and bad.
    pub fn health(&self, name: &str) -> PathBuf {
        self.overlay(name).join("health.toml")
    }

    /// The directory of generations.
    pub fn generations(&self, name: &str) -> PathBuf {
        self.overlay(name).join("generations")
    }

    /// One generation's directory.
    pub fn generation(&self, name: &str, number: u64) -> PathBuf {
        self.generations(name).join(number.to_string())
    }

    /// One generation's record.
    pub fn generation_record(&self, name: &str, number: u64) -> PathBuf {
        self.generation(name, number).join("generation.toml")
    }

    /// One generation's upperdir.
    pub fn upper(&self, name: &str, number: u64) -> PathBuf {
        self.generation(name, number).join("fs")
    }

    /// One generation's workdir.
    pub fn work(&self, name: &str, number: u64) -> PathBuf {
        self.generation(name, number).join("work")
    }

    /// The pointer to the baseline snapshot; missing: the bare image.
    pub fn baseline(&self, name: &str) -> PathBuf {
        self.overlay(name).join("baseline")
    }

    /// The directory of snapshots.
    pub fn snapshots(&self, name: &str) -> PathBuf {
        self.overlay(name).join("snapshots")
    }

    /// The highest number that a snapshot ever had: numbers are not used again.
    pub fn last_snapshot(&self, name: &str) -> PathBuf {
        self.overlay(name).join("last-snapshot")
    }

    /// One snapshot's directory.
    pub fn snapshot(&self, name: &str, id: u64) -> PathBuf {
        self.snapshots(name).join(id.to_string())
    }

    /// Where a snapshot is made before it exists.
    pub fn new_snapshot(&self, name: &str, id: u64) -> PathBuf {
        self.snapshots(name).join(format!("{id}.new"))
    }

    /// One snapshot's record.
    pub fn snapshot_record(&self, name: &str, id: u64) -> PathBuf {
        self.snapshot(name, id).join("snapshot.toml")
    }

    /// One snapshot's files, in overlayfs upper format.
    pub fn snapshot_fs(&self, name: &str, id: u64) -> PathBuf {
        self.snapshot(name, id).join("fs")
    }

    /// What the copied files were at the time, so that the next snapshot knows which are unchanged (`layer::index`).
    pub fn snapshot_index(&self, name: &str, id: u64) -> PathBuf {
        self.snapshot(name, id).join("index")
    }

    /// Every name that an overlay's directory has.
    pub const KNOWN: [&str; 9] = [
        "current",
        "request.toml",
        "outcome.toml",
        "health.toml",
        "generations",
        "baseline",
        "last-snapshot",
        "snapshots",
        "trash",
    ];

    /// Trees on their way out.
    pub fn trash(&self, name: &str) -> PathBuf {
        self.overlay(name).join("trash")
    }
}

/// Whether `name` may name an overlay: `[a-z0-9][a-z0-9-]{0,31}`.
pub fn is_overlay_name(name: &str) -> bool {
    let ok = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    (1..=NAME_MAX).contains(&bytes.len()) && ok(bytes[0]) && bytes.iter().all(|&b| ok(b) || b == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(is_overlay_name("root"));
        assert!(is_overlay_name("a-1"));
        for bad in ["", "-a", "A", "a/b", "..", "a.b", &"a".repeat(33)] {
            assert!(!is_overlay_name(bad), "{bad}");
        }
    }
}
