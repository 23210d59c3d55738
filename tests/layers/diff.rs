//! A diff of two stacks, and the difference of what the kernel shows of them, compared entry by entry.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use overlayd::error::Result;
use overlayd::layer::diff::{Aspect, Change, Layer, Listener, Seen, diff};
use overlayd::layer::{Options, Stack};
use overlayd::sys::node::NodeKind;

use crate::edits::{Random, edit};
use crate::manifest::{attributes, content};
use crate::oddities::{set, whiteout};
use crate::property::{cases, seed};
use crate::rig::{Disk, Overlay};

/// All that a mounted tree shows, by path; the top is empty.
type View = BTreeMap<OsString, Entry>;

/// What it shows at a path.
#[derive(PartialEq, Eq)]
struct Entry {
    kind: &'static str,
    content: String,
    size: u64,
    mode: u32,
    owner: u32,
    group: u32,
    mtime: (i64, i64),
    attributes: String,
}

/// Adds what is at a path and below it.
fn look(root: &Path, path: &Path, found: &mut View) {
    let at = if path.as_os_str().is_empty() { root.to_owned() } else { root.join(path) };
    // The kernel lists some whiteouts that it does not find.
    let Ok(meta) = fs::symlink_metadata(&at) else { return };
    let kind = meta.file_type();
    let (kind, what) = match () {
        () if kind.is_dir() => ("dir", String::new()),
        () if kind.is_file() => ("file", content(&at)),
        () if kind.is_symlink() => ("link", format!("{:?}", fs::read_link(&at).unwrap())),
        () if kind.is_fifo() => ("fifo", String::new()),
        () if kind.is_socket() => ("socket", String::new()),
        () if kind.is_block_device() => ("block", meta.rdev().to_string()),
        () => ("char", meta.rdev().to_string()),
    };
    let is_dir = kind == "dir";
    let entry = Entry {
        kind,
        content: what,
        size: if kind == "file" { meta.len() } else { 0 },
        mode: if kind == "link" { 0 } else { meta.mode() & 0o7777 },
        owner: meta.uid(),
        group: meta.gid(),
        mtime: if is_dir { (0, 0) } else { (meta.mtime(), meta.mtime_nsec()) },
        attributes: attributes(&at),
    };
    found.insert(path.into(), entry);
    if is_dir {
        for name in fs::read_dir(&at).unwrap().map(|entry| entry.unwrap().file_name()) {
            look(root, &path.join(name), found);
        }
    }
}

fn view(root: &Path) -> View {
    let mut found = View::new();
    look(root, Path::new(""), &mut found);
    found
}

/// What a diff has to say, by the plainest comparison there is.
fn expected(from: &View, to: &View) -> Vec<String> {
    let paths: BTreeSet<&OsString> = from.keys().chain(to.keys()).collect();
    let line = |path: &&OsString| match (from.get(*path), to.get(*path)) {
        (None, Some(new)) => Some(format!("{path:?} + {} {}", new.kind, new.size)),
        (Some(old), None) => Some(format!("{path:?} - {} {}", old.kind, old.size)),
        (Some(old), Some(new)) if old.kind != new.kind => {
            Some(format!("{path:?} {} to {}", old.kind, new.kind))
        }
        (Some(old), Some(new)) if old != new => {
            let aspects = [
                (old.content != new.content, "Content"),
                (old.mode != new.mode, "Mode"),
                (old.owner != new.owner, "Owner"),
                (old.group != new.group, "Group"),
                (old.mtime != new.mtime, "Mtime"),
                (old.attributes != new.attributes, "Attributes"),
            ];
            let aspects: Vec<&str> = aspects.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
            Some(format!("{path:?} {} {} to {} {aspects:?}", new.kind, old.size, new.size))
        }
        _ => None,
    };
    paths.iter().filter_map(line).collect()
}

/// What a diff says.
#[derive(Default)]
struct Told(Vec<String>);

fn kind(seen: &Seen) -> &'static str {
    match seen.node.kind {
        NodeKind::Directory => "dir",
        NodeKind::File => "file",
        NodeKind::Symlink => "link",
        NodeKind::Fifo => "fifo",
        NodeKind::Socket => "socket",
        NodeKind::BlockDevice => "block",
        NodeKind::CharDevice | NodeKind::Unknown => "char",
    }
}

fn size(seen: &Seen) -> u64 {
    if seen.node.kind == NodeKind::File { seen.node.size } else { 0 }
}

impl Listener for Told {
    fn change(&mut self, change: &Change) -> Result<()> {
        let path = OsStr::from_bytes(&change.path);
        self.0.push(match (&change.from, &change.to) {
            (None, Some(new)) => format!("{path:?} + {} {}", kind(new), size(new)),
            (Some(old), None) => format!("{path:?} - {} {}", kind(old), size(old)),
            (Some(old), Some(new)) if old.node.kind != new.node.kind => {
                format!("{path:?} {} to {}", kind(old), kind(new))
            }
            (Some(old), Some(new)) => {
                let aspects: Vec<String> = change.aspects.iter().map(|a: &Aspect| format!("{a:?}")).collect();
                format!("{path:?} {} {} to {} {aspects:?}", kind(new), size(old), size(new))
            }
            (None, None) => panic!("{path:?}: nothing became nothing"),
        });
        Ok(())
    }

    fn go_on(&mut self) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }
}

/// Some stacks over one base, and what the kernel shows of each.
struct Sides {
    stacks: Vec<(Vec<Arc<Layer>>, View)>,
}

impl Sides {
    fn new(disk: &Disk, layers: &[Vec<&Path>]) -> Sides {
        let stack = |layers: &Vec<&Path>| {
            // One layer alone is no overlay.
            let shown = match layers[..] {
                [base] => view(base),
                _ => view(&Overlay::read_only(disk, layers).root),
            };
            (Sides::open(layers), shown)
        };
        Sides { stacks: layers.iter().map(stack).collect() }
    }

    /// The last one is the base.
    fn open(layers: &[&Path]) -> Vec<Arc<Layer>> {
        let (base, uppers) = layers.split_last().unwrap();
        let uppers = uppers.iter().map(|path| Layer::upper(path).unwrap());
        uppers.chain([Layer::base(base).unwrap()]).collect()
    }

    /// All pairs, in both directions.
    fn compare(&self, context: &str) {
        for (number, (from, before)) in self.stacks.iter().enumerate() {
            for (other, (to, after)) in self.stacks.iter().enumerate() {
                let mut told = Told::default();
                diff(from, to, &[], &mut told).unwrap();
                let sorted = expected(before, after);
                let all = |lines: &[String]| lines.iter().cloned().collect::<BTreeSet<String>>();
                let (said, wanted) = (all(&told.0), all(&sorted));
                let missing: Vec<_> = wanted.difference(&said).collect();
                let too_many: Vec<_> = said.difference(&wanted).collect();
                assert!(
                    missing.is_empty() && too_many.is_empty(),
                    "{context}: from {number} to {other}:\nmissing: {missing:#?}\ntoo many: {too_many:#?}"
                );
                // The map is sorted by bytes, and so is what is told.
                assert_eq!(told.0, sorted, "{context}: from {number} to {other}: the order");
            }
        }
    }
}

/// An upper that was written through a real overlay.
fn written(disk: &Disk, lowers: &[&Path], random: &mut Random, most: u64) -> PathBuf {
    let upper = disk.directory("upper");
    let count = random.below(most);
    edit(&Overlay::writable(disk, lowers, &upper).root, random, count);
    upper
}

fn directories(layer: &Path) -> Vec<PathBuf> {
    let (mut all, mut at) = (vec![layer.to_owned()], 0);
    while at < all.len() {
        let inside = fs::read_dir(&all[at]).unwrap().map(|entry| entry.unwrap());
        let inside = inside.filter(|entry| entry.file_type().unwrap().is_dir());
        let mut inside: Vec<PathBuf> = inside.map(|entry| entry.path()).collect();
        inside.sort();
        all.extend(inside);
        at += 1;
    }
    all
}

/// What no writing through an overlay leaves: whiteouts over nothing, marks where nothing is hidden, whiteouts in the
/// form of attributes.
fn spoil(layer: &Path, random: &mut Random) {
    const OPAQUE: &str = "trusted.overlay.opaque";
    for dir in directories(layer) {
        let free = |name: &str| Some(dir.join(name)).filter(|path| fs::symlink_metadata(path).is_err());
        match random.below(8) {
            0 => free(["a", "b", "etc", "never"][random.below(4) as usize])
                .iter()
                .for_each(|path| whiteout(path)),
            1 => set(&dir, OPAQUE, b"y"),
            2 if dir != layer => {
                if let Some(path) = free(["a", "c", "etc"][random.below(3) as usize]) {
                    fs::write(&path, "").unwrap();
                    set(&path, "trusted.overlay.whiteout", b"");
                    set(&dir, OPAQUE, b"x");
                }
            }
            _ => {}
        }
    }
}

fn play(disk: &Disk, seed: u64) {
    let random = &mut Random::new(seed);
    let base = disk.directory("base");
    edit(&base, random, 30);
    let first = written(disk, &[&base], random, 25);
    let stack = Stack { layers: vec![first.clone()], base: random.one_in(2).then(|| base.clone()) };
    let snapshot = disk.build(&stack, &Options::default()).0;
    let second = written(disk, &[&snapshot, &base], random, 25);
    let other = written(disk, &[&base], random, 25);
    if random.one_in(2) {
        spoil(&other, random);
        spoil(&second, random);
    }
    let base = base.as_path();
    let sides = [
        vec![base],
        vec![&first, base],
        vec![&snapshot, base],
        vec![&second, &snapshot, base],
        vec![&other, base],
        vec![&other, &snapshot, base],
    ];
    Sides::new(disk, &sides).compare(&format!("OVERLAYD_SEED={seed} OVERLAYD_CASES=1"));
}

fn many(fstype: &str) {
    let first = seed();
    let mut disk = Disk::new(fstype, 512);
    for number in 0..cases().div_ceil(4) {
        if number % 100 == 99 {
            drop(disk);
            disk = Disk::new(fstype, 512);
        }
        play(&disk, first.wrapping_add(number));
    }
}

#[test]
fn a_diff_says_what_the_kernel_shows_on_ext4() {
    many("ext4");
}

#[test]
fn a_diff_says_what_the_kernel_shows_on_xfs() {
    many("xfs");
}

#[test]
fn a_diff_says_what_the_kernel_shows_on_btrfs() {
    many("btrfs");
}

#[test]
fn a_diff_while_the_system_writes_is_no_error() {
    for fstype in ["ext4", "xfs", "btrfs"] {
        let disk = Disk::new(fstype, 512);
        let random = &mut Random::new(seed());
        let base = disk.directory("base");
        edit(&base, random, 100);
        let upper = disk.directory("upper");
        let overlay = Overlay::writable(&disk, &[&base], &upper);
        let stacks = Sides::open(&[&upper, &base]);
        let only_base = Sides::open(&[&base]);
        let writing = AtomicBool::new(true);
        let diffs = std::thread::scope(|scope| {
            scope.spawn(|| {
                edit(&overlay.root, random, 500);
                writing.store(false, Ordering::Release);
            });
            let mut diffs = 0;
            while writing.load(Ordering::Acquire) {
                diff(&only_base, &stacks, &[], &mut Told::default()).unwrap();
                diff(&stacks, &only_base, &[], &mut Told::default()).unwrap();
                diffs += 2;
            }
            diffs
        });
        assert!(diffs > 4, "{fstype}: {diffs}");
    }
}
