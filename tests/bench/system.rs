//! Programs, loop devices and mounts: what the machine under measurement is made of.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, SFlag, mknod};

/// A loop device that is gone at the latest when this process is.
pub(crate) struct Loop {
    pub(crate) node: PathBuf,
    numbers: u64,
    _open: File,
}

impl Loop {
    /// Attaches an image.
    pub(crate) fn attach(image: &Path) -> Loop {
        let node = PathBuf::from(output("losetup", &["-f", "--show", s(image)]).trim());
        let open = File::open(&node).unwrap();
        // Of a device in use this only asks the kernel to detach it at its last close.
        run("losetup", &["-d", s(&node)]);
        Loop { numbers: open.metadata().unwrap().rdev(), node, _open: open }
    }

    /// A node of the kernel's name for it in another `/dev`.
    pub(crate) fn make_node(&self, dev: &Path) {
        make_node(&dev.join(self.node.file_name().unwrap()), SFlag::S_IFBLK, self.numbers);
    }
}

/// A sparse file with an ext4 filesystem.
pub(crate) fn ext4(image: &Path, mib: u64, inodes: u64, label: &str) {
    File::create(image).unwrap().set_len(mib << 20).unwrap();
    // Nothing is left to be initialised in the background while something is measured.
    let whole = "lazy_itable_init=0,lazy_journal_init=0";
    run("mkfs.ext4", &["-q", "-F", "-L", label, "-N", &inodes.to_string(), "-E", whole, s(image)]);
}

pub(crate) fn make_node(path: &Path, kind: SFlag, numbers: u64) {
    mknod(path, kind, Mode::from_bits_retain(0o666), numbers).unwrap();
}

/// mount(2), for the parts that are not measured.
pub(crate) fn attach(source: &str, target: &Path, fstype: &str, flags: MsFlags) {
    mount(Some(source), target, Some(fstype), flags, None::<&str>)
        .unwrap_or_else(|e| panic!("mount {source} at {}: {e}", target.display()));
}

/// Unmounts everything that lies at or below one of `places`: the deepest first, as mounts may have been moved, and of
/// those at one place the uppermost.
pub(crate) fn unmount_all(places: &[&str]) {
    let mounts = overlayd::sys::mountinfo::read().unwrap();
    let ours = |t: &Path| places.iter().any(|place| t.starts_with(place));
    let mut targets: Vec<PathBuf> = mounts.into_iter().map(|m| m.target).filter(|t| ours(t)).collect();
    targets.sort_by_key(|target| std::cmp::Reverse(target.components().count()));
    targets.iter().for_each(|target| unmount(target));
}

/// Unmounts one. Somebody who looks at it for a moment may keep it busy.
pub(crate) fn unmount(target: &Path) {
    for _ in 0..100 {
        if umount2(target, MntFlags::empty()).is_ok() {
            return;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("{} stays mounted: {:?}", target.display(), umount2(target, MntFlags::empty()));
}

/// Makes `count` empty files, a thousand a directory.
pub(crate) fn fill(upper: &Path, count: usize) {
    for n in 0..count {
        let dir = upper.join(format!("d{:03}", n / 1000));
        if n % 1000 == 0 {
            fs::create_dir_all(&dir).unwrap();
        }
        File::create(dir.join(format!("f{:03}", n % 1000))).unwrap();
    }
}

/// Runs a program and expects success.
pub(crate) fn run(program: &str, arguments: &[&str]) {
    output(program, arguments);
}

/// What a program that succeeds prints.
pub(crate) fn output(program: &str, arguments: &[&str]) -> String {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

/// A path as an argument.
pub(crate) fn s(path: &Path) -> &str {
    path.to_str().unwrap()
}
