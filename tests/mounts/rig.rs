//! The rig: a base image, a state device, a private `/run`, and overlayd-early run on them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use overlayd::handoff::{self, Handoff};
use overlayd::observe::{self, Moment};
use overlayd::operation::Planned;
use overlayd::plan::request::{self, Resetting};
use overlayd::store::records::{Level, SnapshotRecord};
use overlayd::store::{Layout, StoreView, read, write};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// One machine, as far as early boot is concerned. The test's thread is in a mount namespace of its own.
pub(crate) struct Rig {
    dir: PathBuf,
    /// Where the base is mounted, and then the overlay.
    pub(crate) sysroot: PathBuf,
    loops: Vec<String>,
    /// The state device.
    pub(crate) device: String,
    label: String,
}

impl Rig {
    /// A squashfs base and a state device with a fresh filesystem of this type, `mib` large.
    pub(crate) fn new(fstype: &str, mib: u64) -> Rig {
        let mut rig = Rig::without_filesystem(mib);
        rig.mkfs(fstype);
        rig.configure("");
        rig
    }

    /// The same with a blank state device.
    pub(crate) fn without_filesystem(mib: u64) -> Rig {
        overlayd::sys::mount::private_namespace().expect("root is needed");
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let label = format!("ov{}x{number}", std::process::id() % 100_000);
        let dir = std::env::temp_dir().join(format!("overlayd-mounts-{label}"));
        fs::create_dir_all(dir.join("sysroot")).unwrap();
        run("mount", &["-t", "tmpfs", "-o", "nosuid,nodev,noexec", "tmpfs", "/run"]);
        let mut rig =
            Rig { sysroot: dir.join("sysroot"), dir, loops: Vec::new(), device: String::new(), label };
        rig.make_base();
        let image = rig.dir.join("state.img");
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        rig.device = rig.attach(&image);
        rig
    }

    /// The `[state]` table's lines, and a whole overlay table if wanted, besides the device.
    pub(crate) fn configure(&mut self, more: &str) {
        // Nobody marks these boots good; what comes of that is the business of the tests of health.
        self.configure_counting(&format!("{more}\n[overlay.root.health]\ntries = 0"));
    }

    /// The same, and boots are counted.
    pub(crate) fn configure_counting(&mut self, more: &str) {
        let units = self.dir.join("base/usr/lib/systemd/system");
        fs::create_dir_all(&units).unwrap();
        fs::copy("units/overlayd-good.service", units.join("overlayd-good.service")).unwrap();
        let text = format!("[state]\ndevice = \"LABEL={}\"\ntimeout = \"300ms\"\n{more}\n", self.label);
        self.configure_whole(&text);
    }

    /// The whole configuration file of the base.
    pub(crate) fn configure_whole(&mut self, text: &str) {
        fs::write(self.dir.join("base/etc/overlayd/overlayd.toml"), text).unwrap();
        self.rebuild();
    }

    /// Makes the base an image again, with what was changed beside it.
    pub(crate) fn rebuild(&mut self) {
        self.unmount_base();
        self.build("squashfs");
    }

    /// Makes the base an image of this type.
    pub(crate) fn build(&mut self, fstype: &str) {
        let (tree, image) = (self.dir.join("base"), self.dir.join("base.img"));
        let _ = fs::remove_file(&image);
        match fstype {
            "squashfs" => {
                run("mksquashfs", &[s(&tree), s(&image), "-quiet", "-no-progress", "-all-time", "1000000000"])
            }
            "erofs" => run("mkfs.erofs", &["--quiet", "-T1000000000", s(&image), s(&tree)]),
            _ => run("mkfs.ext4", &["-q", "-d", s(&tree), s(&image), "16M"]),
        };
        let device = self.attach(&image);
        run("mount", &["-o", "ro", &device, s(&self.sysroot)]);
    }

    /// Makes a second image, of another version, and returns its device. The machine still boots the first.
    pub(crate) fn another_base(&mut self, version: &str) -> String {
        let (tree, image) = (self.dir.join("base"), self.dir.join(format!("base-{version}.img")));
        let release = tree.join("etc/os-release");
        let first = fs::read_to_string(&release).unwrap();
        fs::write(&release, format!("ID=test\nIMAGE_VERSION={version}\n")).unwrap();
        run("mksquashfs", &[s(&tree), s(&image), "-quiet", "-no-progress", "-all-time", "1000000000"]);
        fs::write(&release, first).unwrap();
        let (device, booted) = (self.attach(&image), self.loops.len() - 2);
        self.loops.swap(booted, booted + 1);
        device
    }

    /// The device of the base that is booted.
    pub(crate) fn base_device(&self) -> String {
        self.loops.last().unwrap().clone()
    }

    /// Takes the machine down; the next boot finds this base.
    pub(crate) fn change_base(&mut self, device: &str) {
        self.shutdown();
        run("umount", &[s(&self.sysroot)]);
        let at = self.loops.iter().position(|known| known == device).unwrap();
        let found = self.loops.remove(at);
        self.loops.push(found);
        run("mount", &["-o", "ro", device, s(&self.sysroot)]);
    }

    /// Makes the state filesystem anew.
    pub(crate) fn mkfs(&self, fstype: &str) {
        let quiet: &[&str] = match fstype {
            "vfat" => return drop(run("mkfs.vfat", &["-n", "OTHER", &self.device])),
            "ext4" => &["-q", "-F"],
            "xfs" => &["-q", "-f"],
            _ => &["-q", "-f"],
        };
        run(&format!("mkfs.{fstype}"), &[quiet, &["-L", &self.label, &self.device]].concat());
    }

    /// Boots, and expects success.
    pub(crate) fn boot(&self) -> Handoff {
        let output = self.try_boot();
        assert!(output.status.success(), "{}", text(&output));
        self.handoff()
    }

    /// Boots.
    pub(crate) fn try_boot(&self) -> Output {
        self.early().output().unwrap()
    }

    /// The command that boots.
    pub(crate) fn early(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_overlayd-early"));
        command.args(["boot", "--sysroot", s(&self.sysroot)]);
        command
    }

    /// What the boot left in `/run/overlayd/boot.toml`.
    pub(crate) fn handoff(&self) -> Handoff {
        handoff::load(Path::new(handoff::BOOT_TOML)).unwrap().expect("boot.toml is missing")
    }

    /// Takes everything down as a power-off does, up to and including `/run`, and mounts the bare base again.
    pub(crate) fn shutdown(&self) {
        let mounts = overlayd::sys::mountinfo::read().unwrap();
        let run_dir = Path::new("/run");
        let ours = |t: &Path| t.starts_with(&self.sysroot) || (t.starts_with(run_dir) && t != run_dir);
        for mount in mounts.iter().rev().filter(|m| ours(&m.target)) {
            let _ = Command::new("umount").arg(&mount.target).output();
        }
        run("umount", &["-l", "/run"]);
        run("mount", &["-t", "tmpfs", "-o", "nosuid,nodev,noexec", "tmpfs", "/run"]);
        let base = self.loops.last().unwrap();
        run("mount", &["-o", "ro", base, s(&self.sysroot)]);
    }

    /// Boots again.
    pub(crate) fn reboot(&self) -> Handoff {
        self.shutdown();
        self.boot()
    }

    /// Works on the store while no overlay is mounted.
    pub(crate) fn offline<T>(&self, work: impl FnOnce(&Layout) -> T) -> T {
        let at = self.dir.join("state");
        fs::create_dir_all(&at).unwrap();
        run("mount", &[&self.device, s(&at)]);
        let result = work(&Layout::new(at.join("overlayd")));
        // Another test's thread may be between fork and exec, and hold our descriptors for that instant.
        for _ in 0..50 {
            if Command::new("umount").arg(&at).output().unwrap().status.success() {
                return result;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        run("umount", &[s(&at)]);
        result
    }

    /// Asks for a reset, offline.
    pub(crate) fn request_reset(&self) {
        self.request(Level::Baseline, &[]);
    }

    /// Asks for a reset that goes so far, and keeps this.
    pub(crate) fn request(&self, level: Level, keep: &[&str]) {
        let keep = keep.iter().map(ToString::to_string).collect();
        let wanted = Resetting { level, keep, drop_kept: false };
        self.ask(|view, now| request::reset(view, "root", &wanted, &crate::snapshots::asked(), now));
    }

    /// Asks for something at the next boot, offline.
    pub(crate) fn ask(&self, plan: impl FnOnce(&StoreView, &Moment) -> overlayd::Result<Planned>) {
        self.offline(|layout| {
            let planned = plan(&read::load(layout).unwrap(), &observe::moment()).unwrap();
            overlayd::exec::store::run(layout, &planned.steps).unwrap();
        });
    }

    /// Makes a snapshot of the live upper, which stands on the bare base, by nothing but `cp`; returns its number.
    pub(crate) fn copy_to_snapshot(&self) -> u64 {
        self.offline(|layout| {
            let view = read::load(layout).unwrap();
            let state = &view.overlays["root"];
            let (id, live) = (state.next_snapshot(), state.current.clone().unwrap().unwrap());
            let generation = state.generations[&live].record.clone().unwrap();
            assert_eq!(generation.snapshot, None, "this would have to be merged");
            write::take_snapshot_number(layout, "root", id).unwrap();
            let place = write::begin_snapshot(layout, "root", id).unwrap();
            run("cp", &["-a", s(&layout.upper("root", live)), s(&place.join("fs"))]);
            let record = SnapshotRecord {
                version: 1,
                id,
                base: generation.base,
                options: generation.options,
                strategy: "copy".into(),
                consistency: "atomic".into(),
                generation: Some(live),
                ..SnapshotRecord::default()
            };
            write::finish_snapshot(layout, "root", &record).unwrap();
            id
        })
    }

    /// A file in the merged tree.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.sysroot.join(name)
    }

    /// A file beside the images.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The label of the state filesystem.
    pub(crate) fn label(&self) -> String {
        self.label.clone()
    }

    /// Takes another loop device, made elsewhere, down with the rig.
    pub(crate) fn adopt(&mut self, device: String) {
        self.loops.insert(0, device);
    }

    /// Takes the state device away.
    pub(crate) fn unplug(&self) {
        run("losetup", &["-d", &self.device]);
    }

    /// Brings it back.
    pub(crate) fn plug(&mut self) {
        let gone = self.loops.iter().position(|device| *device == self.device).unwrap();
        let output = run("losetup", &["-f", "--show", s(&self.dir.join("state.img"))]);
        self.device = text(&output).trim().to_owned();
        self.loops[gone] = self.device.clone();
    }

    /// Another loop device, taken down with the rig.
    pub(crate) fn attach(&mut self, image: &Path) -> String {
        let output = run("losetup", &["-f", "--show", s(image)]);
        let device = String::from_utf8(output.stdout).unwrap().trim().to_owned();
        self.loops.push(device.clone());
        device
    }

    fn make_base(&self) {
        let base = self.dir.join("base");
        for dir in ["etc/overlayd", "usr/lib", "var/lib/.hidden", "tmp", "proc"] {
            fs::create_dir_all(base.join(dir)).unwrap();
        }
        fs::write(base.join("etc/hostname"), "image\n").unwrap();
        fs::write(base.join("etc/os-release"), "ID=test\nIMAGE_VERSION=1\n").unwrap();
        fs::write(base.join("var/lib/.hidden/odd\nname"), "x").unwrap();
        fs::set_permissions(base.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::set_permissions(&base, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn unmount_base(&mut self) {
        if self.loops.len() > 1 {
            run("umount", &[s(&self.sysroot)]);
            let device = self.loops.pop().unwrap();
            run("losetup", &["-d", &device]);
        }
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let mounts = overlayd::sys::mountinfo::read().unwrap_or_default();
        let ours = |t: &Path| t.starts_with(&self.dir) || t.starts_with("/run");
        for mount in mounts.iter().rev().filter(|m| ours(&m.target)) {
            let _ = Command::new("umount").arg("-l").arg(&mount.target).output();
        }
        for device in &self.loops {
            let _ = Command::new("losetup").args(["-d", device]).output();
        }
        let _ = fs::remove_dir_all(&self.dir);
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

/// Everything about every entry of a tree that a reset must bring back, one line an entry, sorted.
pub(crate) fn manifest(root: &Path) -> String {
    let script = "find . -xdev -printf '%y %m %U:%G %s %T@ %l %P\\0' | sort -z | tr '\\0\\n' '\\n?'; \
                  find . -xdev -type f -print0 | sort -z | xargs -0r sha256sum";
    // Directory sizes are the filesystem's own affair.
    let output = Command::new("sh").args(["-c", script]).current_dir(root).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let mut lines: Vec<String> =
        String::from_utf8(output.stdout).unwrap().lines().map(without_directory_size).collect();
    lines.sort();
    lines.join("\n")
}

fn without_directory_size(line: &str) -> String {
    let mut words: Vec<&str> = line.split(' ').collect();
    if words.first() == Some(&"d") && words.len() > 3 {
        words[3] = "-";
    }
    words.join(" ")
}
