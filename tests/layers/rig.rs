//! A filesystem on a loop device, and overlays mounted on directories of it.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::mount::{MntFlags, MsFlags};
use overlayd::layer::{self, Built, Options, Stack};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// How overlays are mounted everywhere in this project.
const OPTIONS: &str = "index=off,metacopy=off,redirect_dir=nofollow,xino=auto";

/// A fresh filesystem. The test's thread is in a mount namespace of its own.
pub(crate) struct Disk {
    dir: PathBuf,
    device: String,
    /// Where it is mounted.
    pub(crate) root: PathBuf,
    names: Cell<u32>,
}

impl Disk {
    /// A filesystem of this type, `mib` large.
    pub(crate) fn new(fstype: &str, mib: u64) -> Disk {
        Disk::with_options(fstype, mib, &[])
    }

    /// The same with more arguments for mkfs.
    pub(crate) fn with_options(fstype: &str, mib: u64, more: &[&str]) -> Disk {
        overlayd::sys::mount::private_namespace().expect("root is needed");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("overlayd-layers-{}-{number}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let root = dir.join("disk");
        fs::create_dir_all(&dir).unwrap();
        // In memory, so that a sync costs nothing.
        run("mount", &["-t", "tmpfs", "-o", "size=2g", "tmpfs", s(&dir)]);
        fs::create_dir_all(&root).unwrap();
        if fstype == "tmpfs" {
            run("mount", &["-t", "tmpfs", "-o", &format!("size={mib}m"), "tmpfs", s(&root)]);
            return Disk { dir, device: String::new(), root, names: Cell::new(0) };
        }
        let image = dir.join("image");
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let mkfs: &[&str] = match fstype {
            "ext4" => &["-q", "-F", "-E", "lazy_itable_init=1,nodiscard"],
            "xfs" => &["-q", "-f", "-K", "-m", "reflink=1"],
            _ => &["-q", "-f", "-K"],
        };
        run(&format!("mkfs.{fstype}"), &[mkfs, more, &[s(&image)]].concat());
        let device = text(&run("losetup", &["-f", "--show", s(&image)])).trim().to_owned();
        run("mount", &["-o", "noatime", &device, s(&root)]);
        Disk { dir, device, root, names: Cell::new(0) }
    }

    /// A new empty directory.
    pub(crate) fn directory(&self, name: &str) -> PathBuf {
        let path = self.fresh(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// A path that is not taken.
    pub(crate) fn fresh(&self, name: &str) -> PathBuf {
        self.names.set(self.names.get() + 1);
        self.root.join(format!("{name}-{}", self.names.get()))
    }

    /// A snapshot: its files and its index, beside each other.
    pub(crate) fn build(&self, stack: &Stack, options: &Options) -> (PathBuf, Built) {
        let into = self.fresh("layer");
        let options = Options { index: Some(index_of(&into)), ..options.clone() };
        let built = layer::build(stack, &into, &options, &mut |_| std::ops::ControlFlow::Continue(()));
        (into, built.unwrap())
    }
}

/// Where the index of a layer is.
pub(crate) fn index_of(layer: &Path) -> PathBuf {
    layer.with_extension("index")
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l", s(&self.root)]).output();
        if !self.device.is_empty() {
            let _ = Command::new("losetup").args(["-d", &self.device]).output();
        }
        let _ = Command::new("umount").args(["-l", s(&self.dir)]).output();
        let _ = fs::remove_dir(&self.dir);
    }
}

/// A mounted overlay.
pub(crate) struct Overlay {
    /// Where.
    pub(crate) root: PathBuf,
}

impl Overlay {
    /// With an upper: topmost lower first.
    pub(crate) fn writable(disk: &Disk, lowers: &[&Path], upper: &Path) -> Overlay {
        let work = disk.directory("work");
        let upper = format!("upperdir={},workdir={},", s(upper), s(&work));
        Overlay::mount(disk, lowers, &upper)
    }

    /// Without one.
    pub(crate) fn read_only(disk: &Disk, lowers: &[&Path]) -> Overlay {
        Overlay::mount(disk, lowers, "")
    }

    fn mount(disk: &Disk, lowers: &[&Path], upper: &str) -> Overlay {
        let root = disk.directory("merged");
        let lowers: Vec<&str> = lowers.iter().map(|path| s(path)).collect();
        let data = format!("{upper}lowerdir={},{OPTIONS}", lowers.join(":"));
        nix::mount::mount(Some("overlay"), &root, Some("overlay"), MsFlags::MS_NOATIME, Some(data.as_str()))
            .unwrap_or_else(|e| panic!("mount {data}: {e}"));
        Overlay { root }
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if let Err(e) = nix::mount::umount2(&self.root, MntFlags::MNT_DETACH)
            && !std::thread::panicking()
        {
            panic!("umount: {e}");
        }
    }
}

/// Runs a program and expects success.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Output {
    let output =
        Command::new(program).args(arguments).output().unwrap_or_else(|e| panic!("{program} is needed: {e}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", text(&output));
    output
}

/// Everything a program printed.
pub(crate) fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A path as an argument.
pub(crate) fn s(path: &Path) -> &str {
    path.to_str().unwrap()
}
