//! A store with something in each record, and what a boot would make of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use overlayd::config::load::load_at_boot;
use overlayd::layer::{self, Options, Stack};
use overlayd::observe::{Base, Moment};
use overlayd::operation::Asked;
use overlayd::operation::check::{self, Checked};
use overlayd::plan::Step;
use overlayd::plan::boot::{self, BootPlan, Disk, Facts};
use overlayd::store::records::{GenerationRecord, OutcomeRecord, RequestRecord, SnapshotRecord, StoreRecord};
use overlayd::store::{Layout, read, reserve, write};
use overlayd::sys::overlay::OPTIONS;
use overlayd::sys::space::Space;

const BASE: &str = "squashfs:b1";
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Where stores are made: in memory, if there is a place for it. Nothing here is about what a disk has of them.
fn place() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    if memory.is_dir() { memory } else { std::env::temp_dir() }
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// One generation, on the bare base, and nothing happened yet.
    Young,
    /// Generation 2 is live, on snapshot 1; an undo goes back to generation 1.
    Old,
    /// The same, and boot counting says that generation 1 came up well.
    Good,
    /// An old one, and a reset waits for the next boot.
    Waiting,
}

/// A store in a directory of its own.
pub(crate) struct Rig {
    dir: PathBuf,
    pub(crate) layout: Layout,
}

impl Drop for Rig {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.dir).unwrap();
    }
}

impl Rig {
    pub(crate) fn new(flavour: Flavour) -> Rig {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = place().join(format!("overlayd-store-{}-{number}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let rig = Rig { layout: Layout::new(dir.join("overlayd")), dir };
        rig.make(flavour);
        rig
    }

    /// A copy of this store, as `cp -a` makes one.
    pub(crate) fn copy(&self) -> Rig {
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = place().join(format!("overlayd-store-{}-{number}", std::process::id()));
        copy(&self.dir, &dir);
        Rig { layout: Layout::new(dir.join("overlayd")), dir }
    }

    fn make(&self, flavour: Flavour) {
        let layout = &self.layout;
        let record = StoreRecord { format: 1, uuid: "store-a".into(), created: 1, features: vec![] };
        write::create_store(layout, &record).unwrap();
        reserve::fill(layout, 1 << 16).unwrap();
        write::remember_triggers(layout, &["first".into(), "second".into()]).unwrap();
        self.generation(1, None);
        if flavour == Flavour::Young {
            return write::point_current(layout, "root", 1).unwrap();
        }
        self.snapshot(1);
        self.snapshot(2);
        self.generation(2, Some(1));
        write::point_current(layout, "root", 2).unwrap();
        write::point_baseline(layout, "root", Some(1)).unwrap();
        write::write_outcome(layout, "root", &outcome()).unwrap();
        let good = if flavour == Flavour::Good { "good = 1\n" } else { "" };
        write_private(&layout.health("root"), format!("version = 1\ngeneration = 2\nboots = 1\n{good}"));
        if flavour == Flavour::Waiting {
            write::write_request(layout, "root", &request()).unwrap();
        }
    }

    fn generation(&self, number: u64, snapshot: Option<u64>) {
        let (base, options) = (BASE.to_owned(), OPTIONS.to_owned());
        let record =
            GenerationRecord { version: 1, number, created: 1, base, options, request: None, snapshot };
        write::make_generation(&self.layout, "root", &record).unwrap();
        fs::write(self.layout.upper("root", number).join("data"), format!("data of generation {number}"))
            .unwrap();
    }

    fn snapshot(&self, id: u64) {
        let layout = &self.layout;
        write::take_snapshot_number(layout, "root", id).unwrap();
        let place = write::begin_snapshot(layout, "root", id).unwrap();
        let options =
            Options { index: Some(place.join("index")), source: "generation-1".into(), ..Options::default() };
        let stack = Stack { layers: vec![layout.upper("root", 1)], base: None };
        layer::build(&stack, &place.join("fs"), &options, &mut |_| std::ops::ControlFlow::Continue(()))
            .unwrap();
        fs::write(place.join("fs/data"), format!("data of snapshot {id}")).unwrap();
        let record = SnapshotRecord {
            version: 1,
            id,
            base: BASE.into(),
            options: OPTIONS.into(),
            strategy: "copy".into(),
            consistency: "per-file".into(),
            generation: Some(1),
            ..SnapshotRecord::default()
        };
        write::finish_snapshot(layout, "root", &record).unwrap();
    }

    /// A place in the store.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.layout.root().join(name)
    }

    /// What a boot plans.
    pub(crate) fn plan(&self) -> BootPlan {
        let facts = Facts {
            name: "root".into(),
            base: Base { identity: BASE.into(), ..Base::default() },
            ram: 1 << 30,
            now: Moment { unix: 2000, boot: "boot-b".into(), random: "request-r".into() },
            run: "/run/overlayd".into(),
            new_uuid: "store-new".into(),
            kept: None,
        };
        let space =
            Space { bytes_total: 1 << 20, bytes_free: 1 << 30, inodes_total: 1 << 16, inodes_free: 1 << 15 };
        let store = read::exists(&self.layout).unwrap().then(|| read::load(&self.layout));
        let disk = Disk::Mounted { layout: self.layout.clone(), store, space };
        let config = load_at_boot(&self.dir.join("none"), &self.dir.join("none"), "").config;
        boot::root(&config, &[], &facts, &disk).unwrap()
    }

    /// Carries out what a plan does to the store, up to the first step that fails.
    pub(crate) fn carry_out(&self, plan: &BootPlan) -> Option<String> {
        let fails = |step: &Step| match overlayd::exec::store::apply(&self.layout, step) {
            // Early boot goes on without.
            Err(_) if matches!(step, Step::FillReserve(_)) => None,
            applied => applied.err().map(|e| e.to_string()),
        };
        plan.steps.iter().find_map(fails)
    }

    /// Looks it through.
    pub(crate) fn check(&self) -> Checked {
        check::check(self.layout.root(), &Asked::default()).unwrap()
    }

    /// Repairs it.
    pub(crate) fn repair(&self) -> Checked {
        check::repair(self.layout.root(), &Asked::default()).unwrap()
    }

    /// The contents of all files that hold somebody's data, wherever they lie but in the trash, sorted.
    pub(crate) fn data(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(self.layout.root(), &mut |path| {
            let is_data = path.file_name().unwrap() == "data";
            if is_data && !path.components().any(|part| part.as_os_str() == "trash") {
                found.push(fs::read_to_string(path).unwrap());
            }
        });
        found.sort();
        found
    }

    /// Every name, its permissions and its content, but for the two files that locks are taken on.
    pub(crate) fn tree(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(self.layout.root(), &mut |path| {
            let content = match path.symlink_metadata().unwrap() {
                m if m.is_file() => fs::read(path).unwrap(),
                m => format!("{:?}", m.file_type()).into_bytes(),
            };
            found.push(format!("{} {content:?}", path.strip_prefix(&self.dir).unwrap().display()));
        });
        found.retain(|line| !line.starts_with("overlayd/job ") && !line.starts_with("overlayd/lock "));
        found.sort();
        found
    }
}

fn outcome() -> OutcomeRecord {
    OutcomeRecord {
        version: 1,
        request: "request-1".into(),
        result: "done".into(),
        executed_at: 1999,
        from_generation: Some(1),
        to_generation: 2,
        snapshot: Some(1),
        ..OutcomeRecord::default()
    }
}

fn request() -> RequestRecord {
    RequestRecord {
        version: 1,
        id: "request-2".into(),
        store: "store-a".into(),
        from: Some(2),
        ..RequestRecord::default()
    }
}

/// As `sys::atomic` leaves it.
pub(crate) fn write_private(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

fn collect(dir: &Path, each: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        match entry.symlink_metadata().unwrap().is_dir() {
            true => collect(&entry, each),
            false => each(&entry),
        }
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    fs::set_permissions(to, from.metadata().unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let (from, to, kind) = (entry.path(), to.join(entry.file_name()), entry.file_type().unwrap());
        if kind.is_dir() {
            copy(&from, &to);
        } else if kind.is_file() {
            fs::copy(from, to).unwrap();
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(from).unwrap(), to).unwrap();
        } else {
            nix::unistd::mkfifo(&to, nix::sys::stat::Mode::S_IRWXU).unwrap();
        }
    }
}
