//! One machine as far as early boot is concerned: a thread in a mount namespace and a root directory of its own,
//! with an initramfs, a squashfs base, state devices, and a `/dev` that shows these devices only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use nix::sys::stat::{SFlag, makedev};
use overlayd::sys::mountinfo;

use crate::initramfs::{self, BARE, EARLY, OVERLAYROOT};
use crate::system::{Loop, attach, make_node, run, s, unmount, unmount_all};

/// Where initramfs-tools mounts the base.
pub(crate) const ROOT: &str = "/root";
/// Where a state filesystem is mounted between boots.
pub(crate) const STATE: &str = "/mnt";
/// Everything is at its own default but what names the device.
const NO_OVERLAYROOT: &str = "overlayroot=disabled\n";

/// The machine, seen from inside.
pub(crate) struct Machine {
    base: PathBuf,
}

impl Machine {
    /// Lets `work` run inside a machine that is made of these devices.
    pub(crate) fn with<T: Send>(
        initramfs: &Path,
        base: &Loop,
        states: &[&Loop],
        work: impl FnOnce(&Machine) -> T + Send,
    ) -> T {
        let inside = || {
            overlayd::sys::mount::private_namespace().expect("root is needed");
            mount_kernel(initramfs);
            for device in states.iter().chain([&base]) {
                device.make_node(&initramfs.join("dev"));
            }
            nix::unistd::chroot(initramfs).unwrap();
            std::env::set_current_dir("/").unwrap();
            let result = work(&Machine { base: base.node.clone() });
            unmount_all(&["/dev", "/proc/cmdline", "/sys"]);
            result
        };
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|e| std::panic::resume_unwind(e))
    }

    /// The configuration that the initramfs carries for overlayd.
    pub(crate) fn configure(&self, text: &str) {
        fs::write("/etc/overlayd/overlayd.toml", text).unwrap();
    }

    /// The configuration that the initramfs carries for overlayroot.
    pub(crate) fn configure_overlayroot(&self, word: &str) {
        fs::write("/conf/conf.d/overlayroot", format!("overlayroot={word}\n")).unwrap();
    }

    /// Boots: the base and a fresh `/run` are mounted, and then the program runs, which alone is timed. `check` looks
    /// at the result, then everything is taken down as a clean power-off does.
    pub(crate) fn boot(&self, command: &mut Command, check: impl FnOnce()) -> Duration {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
        attach("tmpfs", Path::new("/run"), "tmpfs", flags);
        attach(s(&self.base), Path::new(ROOT), "squashfs", MsFlags::MS_RDONLY);
        let took = timed(command);
        let mounts = mountinfo::read().unwrap();
        let root = mountinfo::at(&mounts, Path::new(ROOT)).expect("a root is mounted");
        assert!(root.fstype == "overlay" && !root.superblock_is_read_only(), "{command:?}: {root:?}");
        check();
        unmount_all(&[ROOT, "/run", "/media"]);
        took
    }

    /// Works on a state filesystem while nothing else does.
    pub(crate) fn offline<T>(&self, device: &Loop, work: impl FnOnce(&Path) -> T) -> T {
        let at = Path::new(STATE);
        attach(s(&device.node), at, "ext4", MsFlags::MS_NOATIME);
        let result = work(at);
        unmount(at);
        result
    }
}

/// A program with nothing of this process's environment, which has a search path for libraries.
pub(crate) fn plain(program: &str) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/sbin:/usr/sbin:/bin:/usr/bin");
    command
}

/// `overlayd-early`, as its script in the initramfs starts it.
pub(crate) fn early() -> Command {
    let mut command = plain(EARLY);
    command.args(["boot", "--sysroot", ROOT]);
    command
}

/// The floor.
pub(crate) fn bare(device: &Loop) -> Command {
    let mut command = plain(BARE);
    command.args([s(&device.node), "ext4", "/run/bare", ROOT]);
    command
}

/// overlayroot's script with the environment that initramfs-tools' `init` gives it, quiet as on most machines.
pub(crate) fn overlayroot() -> Command {
    let mut command = plain(OVERLAYROOT);
    command.env("quiet", "y").env("rootmnt", ROOT);
    for empty in ["ROOT", "panic", "debug", "ROOTFLAGS", "ROOTFSTYPE", "DPKG_ARCH"] {
        command.env(empty, "");
    }
    command
}

/// The time from the start of a program to its end.
pub(crate) fn timed(command: &mut Command) -> Duration {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let start = Instant::now();
    let status = command.status();
    let took = start.elapsed();
    assert!(status.as_ref().is_ok_and(std::process::ExitStatus::success), "{command:?}: {status:?}");
    took
}

/// The base: what early boot reads of an image, and some megabytes that it does not.
pub(crate) fn base(dir: &Path) -> Loop {
    let (tree, image) = (dir.join("base"), dir.join("base.img"));
    for path in ["etc/overlayd", "usr/lib", "media", "run", "tmp", "var"] {
        fs::create_dir_all(tree.join(path)).unwrap();
    }
    fs::write(tree.join("etc/os-release"), "ID=debian\nIMAGE_ID=bench\nIMAGE_VERSION=1\n").unwrap();
    let fstab = "# <file system> <mount point> <type> <options> <dump> <pass>\n\
                 /dev/root / squashfs ro 0 1\nproc /proc proc defaults 0 0\ntmpfs /tmp tmpfs nosuid,nodev 0 0\n";
    fs::write(tree.join("etc/fstab"), fstab).unwrap();
    fs::copy(env!("CARGO_BIN_EXE_overlayd"), tree.join("usr/lib/program")).unwrap();
    run("mksquashfs", &[s(&tree), s(&image), "-quiet", "-no-progress"]);
    Loop::attach(&image)
}

/// An initramfs on a RAM filesystem, as the kernel unpacks one.
pub(crate) fn initramfs(dir: &Path) -> PathBuf {
    let root = dir.join("initramfs");
    fs::create_dir_all(&root).unwrap();
    attach("tmpfs", &root, "tmpfs", MsFlags::empty());
    initramfs::build(&root);
    fs::write(root.join("conf/conf.d/overlayroot"), NO_OVERLAYROOT).unwrap();
    root
}

/// `/dev`, `/proc` and `/sys`. The kernel's command line here is not that of the machine that measures.
fn mount_kernel(root: &Path) {
    attach("proc", &root.join("proc"), "proc", MsFlags::empty());
    attach("sysfs", &root.join("sys"), "sysfs", MsFlags::empty());
    let dev = root.join("dev");
    attach("tmpfs", &dev, "tmpfs", MsFlags::empty());
    let characters = [("null", 1, 3), ("zero", 1, 5), ("random", 1, 8), ("urandom", 1, 9), ("kmsg", 1, 11)];
    for (name, major, minor) in characters {
        make_node(&dev.join(name), SFlag::S_IFCHR, makedev(major, minor));
    }
    let line = root.join("conf/cmdline");
    fs::write(&line, "quiet\n").unwrap();
    attach(s(&line), &root.join("proc/cmdline"), "none", MsFlags::MS_BIND);
}
