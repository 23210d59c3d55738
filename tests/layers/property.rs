//! Random edits through a real overlay; a snapshot shows, mounted over the base, what the overlay showed.

use std::path::Path;

use std::ops::ControlFlow;

use overlayd::layer::{self, Options, Previous, Stack};

use crate::edits::{Random, edit};
use crate::manifest::{Manifest, record};
use crate::rig::{Disk, Overlay, index_of};

/// Cases for each filesystem; each compares nine snapshots.
pub(crate) fn cases() -> u64 {
    let default = if cfg!(feature = "test-full") { 1500 } else { 150 };
    std::env::var("OVERLAYD_CASES").map_or(default, |text| text.parse().unwrap())
}

/// The same cases each time, so that a failure is of the change at hand; other ones each time in the long tier.
pub(crate) fn seed() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let default = if cfg!(feature = "test-full") { now.as_nanos() as u64 } else { 1_795_301_061_128_917_325 };
    std::env::var("OVERLAYD_SEED").map_or(default, |text| text.parse().unwrap())
}

fn many(fstype: &str) {
    let first = seed();
    let mut disk = Disk::new(fstype, 512);
    for number in 0..cases() {
        if number % 100 == 99 {
            drop(disk);
            disk = Disk::new(fstype, 512);
        }
        let seed = first.wrapping_add(number);
        Case { disk: &disk, seed }.play();
    }
}

struct Case<'a> {
    disk: &'a Disk,
    seed: u64,
}

impl Case<'_> {
    fn play(&self) {
        let random = &mut Random::new(self.seed);
        let base = self.disk.directory("base");
        edit(&base, random, 30);
        let first = self.generation(&base, None, random);
        // Twice on top of what was restored.
        let second = self.generation(&base, Some(&first), random);
        self.generation(&base, Some(&second), random);
    }

    /// A new upper on a snapshot or the bare base: two snapshots of it with edits between. Returns one of them.
    fn generation(&self, base: &Path, on: Option<&Path>, random: &mut Random) -> std::path::PathBuf {
        let upper = self.disk.directory("upper");
        let lowers: Vec<&Path> = on.into_iter().chain([base]).collect();
        let overlay = Overlay::writable(self.disk, &lowers, &upper);
        let stack = Stack {
            layers: [upper.clone()].into_iter().chain(on.map(Path::to_owned)).collect(),
            base: (!random.one_in(4)).then(|| base.to_owned()),
        };
        let mut options = Options { source: "generation-1".to_owned(), ..Options::default() };
        let (count, again) = (random.below(25), random.below(12));
        edit(&overlay.root, random, count);
        drop(overlay);
        // What the next mount shows is the truth. A mount that was edited may show the immutable flag on one name of
        // a file and not on another: overlayfs keeps two inodes for them, and reads the flag when it makes one.
        let overlay = Overlay::writable(self.disk, &lowers, &upper);
        let before = record(&overlay.root);
        let (one, built) = self.disk.build(&stack, &options);
        let counted = layer::estimate(&stack, &options, &mut |_| ControlFlow::Continue(())).unwrap();
        assert_eq!((counted.entries, counted.bytes), (built.entries, built.bytes), "seed {}", self.seed);
        options.previous = Some(Previous { files: one.clone(), index: index_of(&one) });
        edit(&overlay.root, random, again);
        drop(overlay);
        let overlay = Overlay::writable(self.disk, &lowers, &upper);
        let after = record(&overlay.root);
        let (other, built) = self.disk.build(&stack, &options);
        let (third, again) = self.disk.build(
            &stack,
            &Options {
                previous: Some(Previous { files: other.clone(), index: index_of(&other) }),
                ..options
            },
        );
        assert_eq!((built.entries, built.bytes), (again.entries, again.bytes), "seed {}", self.seed);
        if before != after {
            assert!(built.changed, "seed {}: changed", self.seed);
        }
        drop(overlay);
        self.compare(&before, &one, base, "first");
        self.compare(&after, &other, base, "second");
        self.compare(&after, &third, base, "third");
        if random.one_in(2) { one } else { other }
    }

    fn compare(&self, wanted: &Manifest, layer: &Path, base: &Path, which: &str) {
        let overlay = Overlay::read_only(self.disk, &[layer, base]);
        let context = format!("OVERLAYD_SEED={} OVERLAYD_CASES=1, the {which} snapshot", self.seed);
        wanted.assert_same(&record(&overlay.root), &context);
    }
}

#[test]
fn snapshots_show_what_was_on_ext4() {
    many("ext4");
}

#[test]
fn snapshots_show_what_was_on_xfs() {
    many("xfs");
}

#[test]
fn snapshots_show_what_was_on_btrfs() {
    many("btrfs");
}
