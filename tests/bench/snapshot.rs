//! Snapshots side by side with the programs that people copy trees with: a first one, and another after one file of a
//! hundred changed. Each round has a fresh copy of a prepared filesystem, in which all of them run in turn.
//!
//! The filesystems lie in memory: what is compared is the work of the programs, not the disk's.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::mount::MsFlags;

use crate::figures::{Report, Samples};
use crate::job;
use crate::machine::timed;
use crate::system::{Loop, attach, run, s, unmount, unmount_all};
use crate::upper;

/// Entries in the upper, and rounds. Odd, so that the median is one of them.
pub(crate) const SIZES: [(usize, usize); 3] = [(500, 11), (20_000, 7), (200_000, 5)];
/// Of the limits: only from here on is a snapshot more work than the start of a program.
const MANY: usize = 20_000;
const TOOL: &str = env!("CARGO_BIN_EXE_overlayctl");
const OURS: &str = "overlayctl snapshot create";
const BY_BUS: &str = "… from the D-Bus call to the job's result";
const CP: &str = "cp -a --reflink=auto";
const RSYNC: &str = "rsync -aHAX";
const LINK: &str = "rsync -aHAX --link-dest";
const SUBVOLUME: &str = "btrfs subvolume snapshot";
const SNAPPER: &str = "snapper create";

/// A filesystem, and how a generation lies in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    Ext4,
    Xfs,
    /// A generation is a subvolume, as they are made.
    Btrfs,
    /// A generation is a plain directory, as before there were snapshots.
    BtrfsPlain,
}

const FLAVOURS: [Flavour; 4] = [Flavour::Ext4, Flavour::Xfs, Flavour::Btrfs, Flavour::BtrfsPlain];

impl Flavour {
    fn fs(self) -> &'static str {
        match self {
            Flavour::Ext4 => "ext4",
            Flavour::Xfs => "xfs",
            Flavour::Btrfs | Flavour::BtrfsPlain => "btrfs",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Flavour::BtrfsPlain => "btrfs-plain",
            other => other.fs(),
        }
    }

    fn copies(self) -> bool {
        self != Flavour::Btrfs
    }
}

/// Filesystems in memory, copies of which cost nothing.
pub(crate) struct Rack {
    dir: PathBuf,
    _pool: Loop,
}

impl Rack {
    /// In `dir`, which lies in memory.
    pub(crate) fn new(dir: &Path) -> Rack {
        let (image, pool) = (dir.join("pool.img"), dir.join("pool"));
        fs::create_dir_all(&pool).unwrap();
        File::create(&image).unwrap().set_len(64 << 30).unwrap();
        run("mkfs.xfs", &["-q", "-m", "reflink=1", s(&image)]);
        let device = Loop::attach(&image);
        attach(s(&device.node), &pool, "xfs", MsFlags::MS_NOATIME);
        Rack { dir: dir.to_owned(), _pool: device }
    }

    /// A filesystem with a store in it whose live upper has so many entries.
    pub(crate) fn prepare(&self, flavour: Flavour, entries: usize) -> Prepared {
        let image =
            self.dir.join("pool").join(format!("{}-{entries}.img", flavour.title().replace(' ', "-")));
        File::create(&image).unwrap().set_len(if entries > MANY { 12 << 30 } else { 3 << 30 }).unwrap();
        match flavour.fs() {
            "ext4" => {
                let inodes = (entries * 8 + 50_000).to_string();
                let whole = "lazy_itable_init=0,lazy_journal_init=0";
                run("mkfs.ext4", &["-q", "-F", "-N", &inodes, "-E", whole, s(&image)]);
            }
            fs => run(&format!("mkfs.{fs}"), &["-q", "-f", s(&image)]),
        }
        let prepared = Prepared { image, flavour, entries };
        self.with(&prepared, |place| {
            make_store(place, flavour);
            upper::fill(&place.upper(), entries);
        });
        // A copy is to be made of what lies on the disk.
        self.with(&prepared, |_| {});
        prepared
    }

    /// Lets `work` run in a filesystem.
    pub(crate) fn with<T>(&self, prepared: &Prepared, work: impl FnOnce(&Place) -> T) -> T {
        self.mounted(&prepared.image, prepared.flavour, work)
    }

    /// Lets `work` run in a copy of it, with the upper in the page cache and nothing left to be written.
    pub(crate) fn with_copy<T>(&self, prepared: &Prepared, work: impl FnOnce(&Place) -> T) -> T {
        let copy = prepared.image.with_extension("copy");
        let _ = fs::remove_file(&copy);
        run("cp", &["--reflink=always", s(&prepared.image), s(&copy)]);
        let result = self.mounted(&copy, prepared.flavour, |place| {
            assert!(upper::warm(&place.upper()) >= prepared.entries);
            sync(&place.top);
            work(place)
        });
        fs::remove_file(&copy).unwrap();
        result
    }

    fn mounted<T>(&self, image: &Path, flavour: Flavour, work: impl FnOnce(&Place) -> T) -> T {
        let top = self.dir.join("mount");
        fs::create_dir_all(&top).unwrap();
        let device = Loop::attach(image);
        attach(s(&device.node), &top, flavour.fs(), MsFlags::MS_NOATIME);
        let result = work(&Place { top: top.clone() });
        unmount(&top);
        result
    }
}

impl Drop for Rack {
    fn drop(&mut self) {
        unmount_all(&[s(&self.dir.join("pool"))]);
        let _ = fs::remove_file(self.dir.join("pool.img"));
    }
}

/// A prepared filesystem.
pub(crate) struct Prepared {
    image: PathBuf,
    flavour: Flavour,
    pub(crate) entries: usize,
}

/// A mounted filesystem with a store in it.
pub(crate) struct Place {
    pub(crate) top: PathBuf,
}

impl Place {
    pub(crate) fn store(&self) -> PathBuf {
        self.top.join("overlayd")
    }

    fn overlay(&self) -> PathBuf {
        self.store().join("overlays/root")
    }

    pub(crate) fn generation(&self) -> PathBuf {
        self.overlay().join("generations/1")
    }

    pub(crate) fn upper(&self) -> PathBuf {
        self.generation().join("fs")
    }

    fn snapshot(&self, id: u64) -> PathBuf {
        self.overlay().join(format!("snapshots/{id}/fs"))
    }
}

/// All flavours and all sizes, or those that are among the words.
pub(crate) fn measure(report: &mut Report, rack: &Rack, words: &[String]) {
    let chosen = |mine: &str, all: &[&str]| {
        words.iter().any(|word| word == mine) || !words.iter().any(|word| all.contains(&word.as_str()))
    };
    let titles = FLAVOURS.map(Flavour::title);
    let numbers = SIZES.map(|(entries, _)| entries.to_string());
    let numbers = numbers.each_ref().map(String::as_str);
    for flavour in FLAVOURS.into_iter().filter(|flavour| chosen(flavour.title(), &titles)) {
        for (entries, rounds) in SIZES.into_iter().filter(|(n, _)| chosen(&n.to_string(), &numbers)) {
            let prepared = rack.prepare(flavour, entries);
            compare(report, rack, &prepared, rounds);
            fs::remove_file(&prepared.image).unwrap();
        }
    }
}

/// Names with what each took, round by round.
#[derive(Default)]
struct Taken(Vec<(&'static str, Vec<f64>)>);

impl Taken {
    fn note(&mut self, name: &'static str, took: Duration) {
        let milliseconds = took.as_secs_f64() * 1000.0;
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) => values.push(milliseconds),
            None => self.0.push((name, vec![milliseconds])),
        }
    }

    /// A table against ours, and the limits.
    fn tell(self, report: &mut Report, section: &str, limits: &[(&str, f64)]) {
        let measured: Vec<(String, Samples)> =
            self.0.into_iter().map(|(name, values)| (name.to_owned(), Samples::new(values))).collect();
        let median = |name: &str| measured.iter().find(|(known, _)| known == name).map(|(_, v)| v.median());
        let ratios: Vec<(&str, f64, f64)> = limits
            .iter()
            .map(|(name, limit)| (*name, median(OURS).unwrap() / median(name).unwrap(), *limit))
            .collect();
        report.compare(section, "ms", measured.clone(), OURS);
        for (name, ratio, limit) in ratios {
            report.add_limited(section, &format!("ours to {name}"), "×", ratio, limit);
        }
    }
}

fn compare(report: &mut Report, rack: &Rack, prepared: &Prepared, rounds: usize) {
    let (mut first, mut second) = (Taken::default(), Taken::default());
    for round in 0..rounds {
        rack.with_copy(prepared, |place| {
            in_turn(round, &firsts(place, prepared.flavour), place, &mut first);
            assert_eq!(upper::warm(&place.snapshot(1)), upper::warm(&place.upper()), "entries are missing");
            upper::change(&place.upper());
            sync(&place.top);
            in_turn(round, &seconds(place, prepared.flavour), place, &mut second);
            assert!(place.snapshot(2).exists());
        });
        // On a fresh one: it would find everything in the last snapshot.
        first.note(BY_BUS, rack.with_copy(prepared, job::create));
    }
    if prepared.entries > MANY {
        cancel(report, rack, prepared, rounds);
    }
    let section =
        |which: &str| format!("{which} snapshot, {} entries, {}", prepared.entries, prepared.flavour.title());
    let limited = prepared.flavour.copies() && prepared.entries >= MANY;
    let (one, two): (&[_], &[_]) = match limited {
        true => (&[(CP, 1.0 / 1.7), (RSYNC, 1.0 / 3.0)], &[(CP, 1.0 / 3.0), (LINK, 1.0 / 5.0)]),
        false => (&[], &[]),
    };
    first.tell(report, &section("First"), one);
    second.tell(report, &section("Second"), two);
}

/// Cancels a snapshot at other moments.
fn cancel(report: &mut Report, rack: &Rack, prepared: &Prepared, rounds: usize) {
    let moments = (1..=rounds).map(|n| Duration::from_millis(200 * u64::try_from(n).unwrap()));
    let took: Vec<f64> = moments
        .filter_map(|after| rack.with_copy(prepared, |place| job::cancel(place, after)))
        .map(|took| took.as_secs_f64() * 1000.0)
        .collect();
    let Some(slowest) = took.iter().copied().max_by(f64::total_cmp) else { return };
    let section = format!("Cancel, {} entries, {}", prepared.entries, prepared.flavour.title());
    report.add(&section, "from Cancel to the job's end", "ms", Samples::new(took));
    report.add_limited(&section, "the slowest", "ms", slowest, 1000.0);
}

/// A program that runs to its end.
type Run = (&'static str, Command);

fn in_turn(round: usize, contenders: &[fn(&Place) -> Option<Run>], place: &Place, taken: &mut Taken) {
    for i in 0..contenders.len() {
        let Some((name, mut command)) = contenders[(round + i) % contenders.len()](place) else { continue };
        let start = Instant::now();
        timed(&mut command);
        sync(&place.top);
        taken.note(name, start.elapsed());
    }
}

fn ours(place: &Place) -> Option<Run> {
    Some((OURS, command(TOOL, &["--store", s(&place.store()), "snapshot", "create"])))
}

fn cp(place: &Place, to: &str) -> Option<Run> {
    Some((CP, command("cp", &["-a", "--reflink=auto", s(&place.upper()), s(&place.top.join(to))])))
}

fn rsync(place: &Place, to: &str) -> Option<Run> {
    let from = format!("{}/", place.upper().display());
    Some((RSYNC, command("rsync", &["-aHAX", &from, s(&place.top.join(to))])))
}

fn rsync_link(place: &Place) -> Option<Run> {
    let (from, last) = (format!("{}/", place.upper().display()), place.top.join("rsync-1"));
    let link = format!("--link-dest={}", last.display());
    Some((LINK, command("rsync", &["-aHAX", &link, &from, s(&place.top.join("rsync-2"))])))
}

fn subvolume(place: &Place, to: &str) -> Option<Run> {
    let (from, to) = (place.generation(), place.top.join(to));
    Some((SUBVOLUME, command("btrfs", &["subvolume", "snapshot", "-r", s(&from), s(&to)])))
}

fn snapper(_: &Place) -> Option<Run> {
    Some((SNAPPER, command("snapper", &["--no-dbus", "-c", "bench", "create", "-d", "bench"])))
}

fn firsts(place: &Place, flavour: Flavour) -> Vec<fn(&Place) -> Option<Run>> {
    let mut all: Vec<fn(&Place) -> Option<Run>> =
        vec![ours, |place| cp(place, "cp-1"), |place| rsync(place, "rsync-1")];
    if flavour == Flavour::Btrfs {
        configure_snapper(place);
        all.extend([(|place| subvolume(place, "sub-1")) as fn(&Place) -> Option<Run>, snapper]);
    }
    all
}

fn seconds(_: &Place, flavour: Flavour) -> Vec<fn(&Place) -> Option<Run>> {
    let mut all: Vec<fn(&Place) -> Option<Run>> = vec![ours, |place| cp(place, "cp-2"), rsync_link];
    if flavour == Flavour::Btrfs {
        all.extend([(|place| subvolume(place, "sub-2")) as fn(&Place) -> Option<Run>, snapper]);
    }
    all
}

/// The machine's own configuration of snapper is hidden in this namespace.
fn configure_snapper(place: &Place) {
    let hidden = Path::new("/etc/snapper");
    let mounts = overlayd::sys::mountinfo::read().unwrap();
    if mounts.iter().all(|m| m.target != hidden) {
        for dir in ["/etc/snapper", "/var/log"] {
            attach("tmpfs", Path::new(dir), "tmpfs", MsFlags::empty());
        }
        fs::create_dir(hidden.join("configs")).unwrap();
        let default = hidden.join("default");
        fs::write(&default, "SNAPPER_CONFIGS=\"\"\n").unwrap();
        attach(s(&default), Path::new("/etc/default/snapper"), "none", MsFlags::MS_BIND);
    }
    let _ = fs::remove_file(hidden.join("configs/bench"));
    fs::write("/etc/default/snapper", "SNAPPER_CONFIGS=\"\"\n").unwrap();
    run("snapper", &["--no-dbus", "-c", "bench", "create-config", s(&place.generation())]);
}

fn make_store(place: &Place, flavour: Flavour) {
    fs::create_dir_all(place.overlay().join("generations")).unwrap();
    fs::set_permissions(place.store(), fs::Permissions::from_mode(0o700)).unwrap();
    match flavour {
        Flavour::Btrfs => run("btrfs", &["-q", "subvolume", "create", s(&place.generation())]),
        _ => fs::create_dir(place.generation()).unwrap(),
    }
    for dir in ["generations/1/fs", "generations/1/work", "trash", "snapshots"] {
        fs::create_dir_all(place.overlay().join(dir)).unwrap();
    }
    let write = |name: &str, text: &str| fs::write(place.store().join(name), text).unwrap();
    write(
        "store.toml",
        "format = 1\nuuid = \"6f1c0a52-93a5-4b0e-9a77-0123456789ab\"\ncreated = 1700000000\nfeatures = []\n",
    );
    write("overlays/root/current", "1\n");
    write(
        "overlays/root/generations/1/generation.toml",
        "version = 1\nnumber = 1\ncreated = 1700000000\nbase = \"squashfs:test\"\n\
         options = \"index=off,metacopy=off,redirect_dir=nofollow,xino=auto\"\n",
    );
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

/// syncfs(2).
pub(crate) fn sync(top: &Path) {
    nix::unistd::syncfs(File::open(top).unwrap()).unwrap();
}
