//! One machine as far as the store is concerned: a squashfs base, images of state disks, a private `/run`.
//!
//! Everything lies on a tmpfs. Disks lie in an XFS filesystem on it, so that a copy of one costs nothing.

use std::cell::Cell;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use overlayd::handoff::{self, Handoff};
use overlayd::store::Layout;

use crate::judge::merged;
use crate::manifest::Manifest;
use crate::system::{Loop, attach, run, s, text, unmount, until};

static COUNT: AtomicU32 = AtomicU32::new(0);
/// Sparse, as the disks are.
const POOL_MIB: u64 = 8192;

/// The filesystem of the state disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fs {
    Ext4,
    Xfs,
    Btrfs,
}

impl Fs {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Fs::Ext4 => "ext4",
            Fs::Xfs => "xfs",
            Fs::Btrfs => "btrfs",
        }
    }

    fn mib(self) -> u64 {
        match self {
            Fs::Ext4 => 64,
            Fs::Xfs => 320,
            Fs::Btrfs => 256,
        }
    }

    /// Nothing is left to be initialised in the background.
    fn options(self) -> &'static [&'static str] {
        match self {
            Fs::Ext4 => &["-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0"],
            Fs::Xfs => &["-q", "-f", "-m", "reflink=1"],
            Fs::Btrfs => &["-q", "-f"],
        }
    }
}

/// The machine. The test's thread is in a mount namespace of its own.
pub(crate) struct Machine {
    dir: PathBuf,
    /// Where the base is mounted, and then the overlay.
    pub(crate) sysroot: PathBuf,
    pub(crate) fs: Fs,
    /// Two, of which one is booted.
    bases: [Loop; 2],
    booted: Cell<usize>,
    label: String,
    /// Whether it has another overlay, mounted in each boot.
    has_other: bool,
    _pool: Loop,
}

impl Machine {
    /// A machine whose base carries further lines of configuration.
    pub(crate) fn new(fs: Fs, configuration: &str) -> Machine {
        overlayd::sys::mount::private_namespace().expect("root is needed");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let label = format!("cr{}x{number}", std::process::id() % 100_000);
        let dir = std::env::temp_dir().join(format!("overlayd-crash-{label}"));
        fs::create_dir_all(&dir).unwrap();
        let tmpfs = Path::new("tmpfs");
        attach(tmpfs, &dir, "tmpfs", MsFlags::empty());
        attach(tmpfs, Path::new("/run"), "tmpfs", MsFlags::empty());
        let (sysroot, pool) = (dir.join("sysroot"), dir.join("pool"));
        [&sysroot, &pool].into_iter().for_each(|place| fs::create_dir(place).unwrap());
        let image = dir.join("pool.img");
        File::create(&image).unwrap().set_len(POOL_MIB << 20).unwrap();
        run("mkfs.xfs", &["-q", "-m", "reflink=1", s(&image)]);
        let pool_device = Loop::attach(&image);
        attach(&pool_device.node, &pool, "xfs", MsFlags::MS_NOATIME);
        let bases = make_bases(&dir, &label, &configuration.replace("@SYSROOT@", s(&sysroot)));
        let has_other = configuration.contains("[overlay.data]");
        let booted = Cell::new(0);
        let machine = Machine { dir, sysroot, fs, bases, booted, label, has_other, _pool: pool_device };
        machine.mount_base();
        machine
    }

    /// An image of this name, with an empty filesystem.
    pub(crate) fn disk(&self, name: &str) -> PathBuf {
        let image = self.image(name);
        File::create(&image).unwrap().set_len(self.fs.mib() << 20).unwrap();
        let options = [self.fs.options(), &["-L", &self.label, s(&image)]].concat();
        run(&format!("mkfs.{}", self.fs.word()), &options);
        image
    }

    /// Where an image of this name lies.
    pub(crate) fn image(&self, name: &str) -> PathBuf {
        self.dir.join("pool").join(name)
    }

    /// Boots. What is wrong afterwards is the error.
    pub(crate) fn boot(&self) -> Result<Handoff, String> {
        let output = self.run_early(&["boot", "--sysroot", s(&self.sysroot)]);
        if self.has_other && output.status.success() {
            self.early(&["mount", "data", s(&self.other())])?;
        }
        let told = handoff::load(Path::new(handoff::BOOT_TOML)).map_err(|e| e.to_string())?;
        let root = told.as_ref().and_then(|told| told.overlay.get("root"));
        let problems = told.as_ref().map(|told| &told.problems);
        let wrong = |what: &str| format!("the boot {what}: {root:?} {problems:?}\n{}", text(&output));
        match root {
            _ if !output.status.success() => Err(wrong("failed")),
            Some(root) if root.reason.is_none() && problems.is_some_and(Vec::is_empty) => Ok(told.unwrap()),
            _ => Err(wrong("complained")),
        }
    }

    /// Runs the executor on the booted machine; what it says is the error.
    pub(crate) fn early(&self, arguments: &[&str]) -> Result<(), String> {
        let output = self.run_early(arguments);
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("{arguments:?} failed: {}", text(&output))),
        }
    }

    fn run_early(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_overlayd-early")).args(arguments).output().unwrap()
    }

    /// Where the other overlay is mounted.
    pub(crate) fn other(&self) -> PathBuf {
        self.sysroot.join("srv")
    }

    /// The next boot finds this base; the machine is off.
    pub(crate) fn change_base(&self, number: usize) {
        unmount(&self.sysroot);
        self.booted.set(number);
        self.mount_base();
    }

    /// From here on these words are on the kernel command line.
    pub(crate) fn set_words(&self, words: &str) {
        let file = self.dir.join("cmdline");
        fs::write(&file, format!("{words}\n")).unwrap();
        mount(Some(&file), "/proc/cmdline", None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }

    /// What a booted machine would show with this layer over its base, and an empty upper.
    pub(crate) fn merged_over_base(&self, layer: &Path) -> Manifest {
        let at = self.dir.join("shown");
        fs::create_dir_all(&at).unwrap();
        let layers = format!("lowerdir={}:/run/overlayd/root/base", s(layer));
        let overlay = Some("overlay");
        mount(overlay, &at, overlay, MsFlags::MS_RDONLY, Some(layers.as_str())).unwrap();
        let found = merged(&at);
        unmount(&at);
        found
    }

    /// Takes everything down as a power-off does, `/run` too, and mounts the bare base again.
    pub(crate) fn shutdown(&self) {
        self.unmount_all(&[&self.sysroot]);
        attach(Path::new("tmpfs"), Path::new("/run"), "tmpfs", MsFlags::empty());
        self.mount_base();
    }

    /// Works on the store while nothing of it is mounted; the error is that of the mount.
    pub(crate) fn offline<T>(&self, device: &Path, work: impl FnOnce(&Layout) -> T) -> Result<T, String> {
        let at = self.dir.join("state");
        fs::create_dir_all(&at).unwrap();
        mount(Some(device), &at, Some(self.fs.word()), MsFlags::MS_NOATIME, None::<&str>)
            .map_err(|e| format!("the state filesystem does not mount: {e}"))?;
        let result = work(&Layout::new(at.join("overlayd")));
        unmount(&at);
        Ok(result)
    }

    fn mount_base(&self) {
        attach(&self.bases[self.booted.get()].node, &self.sysroot, "squashfs", MsFlags::MS_RDONLY);
    }

    /// The last mount first; those of this machine only.
    fn unmount_all(&self, places: &[&Path]) {
        let run_dir = Path::new("/run");
        let ours = |t: &Path| places.iter().any(|place| t.starts_with(place)) || t.starts_with(run_dir);
        // Only the innermost of several at one place is the private one of /run.
        let mounts = overlayd::sys::mountinfo::read().unwrap();
        let outer = mounts.iter().position(|m| m.target == run_dir);
        let mut left: Vec<&Path> =
            mounts.iter().map(|m| m.target.as_path()).filter(|target| ours(target)).collect();
        if outer.is_some_and(|_| mounts.iter().filter(|m| m.target == run_dir).count() > 1) {
            let first = left.iter().position(|target| *target == run_dir).unwrap();
            left.remove(first);
        }
        left.sort_by_key(|target| target.components().count());
        until("everything is unmounted", || {
            left = left.iter().rev().copied().filter(|t| umount2(*t, MntFlags::empty()).is_err()).collect();
            left.reverse();
            left.is_empty()
        });
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // In the order of mountinfo: what lies on another mount comes after it.
        let mounts = overlayd::sys::mountinfo::read().unwrap_or_default();
        for mount in mounts.iter().rev().filter(|m| m.target.starts_with(&self.dir)) {
            let _ = umount2(&mount.target, MntFlags::MNT_DETACH);
        }
        let _ = umount2("/run", MntFlags::MNT_DETACH);
        let _ = umount2("/proc/cmdline", MntFlags::MNT_DETACH);
        let _ = fs::remove_dir(&self.dir);
    }
}

/// A copy of an image that shares its blocks.
pub(crate) fn clone(from: &Path, to: &Path) {
    let _ = fs::remove_file(to);
    run("cp", &["--reflink=always", "--sparse=auto", s(from), s(to)]);
}

/// Two versions of the base: something to change, to delete and to replace.
fn make_bases(dir: &Path, label: &str, configuration: &str) -> [Loop; 2] {
    let tree = dir.join("base");
    let units = "usr/lib/systemd/system";
    for directory in ["etc/overlayd", "etc/skel", units, "var/lib/.hidden", "srv", "run", "tmp", "proc"] {
        fs::create_dir_all(tree.join(directory)).unwrap();
    }
    let mut more = format!("[state]\ndevice = \"LABEL={label}\"\ntimeout = \"5s\"\n{configuration}");
    if !configuration.contains("[overlay.root.health]") {
        // Boots are counted, and nobody marks them good: so many that none is one too many here.
        more += "\n[overlay.root.health]\ntries = 1000\n";
    }
    for (file, content) in [
        ("etc/overlayd/overlayd.toml", more.as_str()),
        ("etc/hostname", "image\n"),
        ("etc/skel/profile", "of the image\n"),
        ("etc/skel/rc", "of the image\n"),
        ("srv/given", "of the image\n"),
        ("var/lib/.hidden/odd\nname", "x"),
    ] {
        fs::write(tree.join(file), content).unwrap();
    }
    fs::copy("units/overlayd-good.service", tree.join(units).join("overlayd-good.service")).unwrap();
    fs::set_permissions(tree.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    [1, 2].map(|version| {
        fs::write(tree.join("etc/os-release"), format!("ID=test\nIMAGE_VERSION={version}\n")).unwrap();
        let image = dir.join(format!("base-{version}.img"));
        run("mksquashfs", &[s(&tree), s(&image), "-quiet", "-no-progress", "-all-time", "1000000000"]);
        Loop::attach(&image)
    })
}
