//! A device that answers no more: whoever needs it waits in the kernel, and no signal ends that. Nobody else may wait.
//!
//! The state device is a file of a filesystem that is frozen: what is written to it waits until that is thawed.

use std::fs;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use overlayd::sys::mountinfo;

use crate::rig::{Rig, run, s};

/// A machine whose state device can be made to hang.
struct Fragile {
    rig: Rig,
    below: PathBuf,
}

impl Fragile {
    fn new() -> Fragile {
        // Its own state device stays blank.
        let mut rig = Rig::without_filesystem(16);
        rig.configure("");
        let (below, image) = (rig.beside("below"), rig.beside("below.img"));
        fs::create_dir_all(&below).unwrap();
        fs::File::create(&image).unwrap().set_len(128 << 20).unwrap();
        let device = rig.attach(&image);
        run("mkfs.ext4", &["-q", "-F", &device]);
        run("mount", &[&device, s(&below)]);
        let image = below.join("state.img");
        fs::File::create(&image).unwrap().set_len(64 << 20).unwrap();
        rig.device = rig.attach(&image);
        rig.mkfs("ext4");
        Fragile { rig, below }
    }

    fn hang(&self) {
        run("fsfreeze", &["-f", s(&self.below)]);
    }

    fn go_on(&self) {
        let _ = Command::new("fsfreeze").args(["-u", s(&self.below)]).output();
    }
}

impl Drop for Fragile {
    fn drop(&mut self) {
        self.go_on();
    }
}

/// What the kernel's log gets from now on.
struct Log(fs::File);

impl Log {
    fn open() -> Log {
        use std::io::{Seek, SeekFrom};
        let mut file =
            fs::OpenOptions::new().read(true).custom_flags(nix::libc::O_NONBLOCK).open("/dev/kmsg");
        file.as_mut().unwrap().seek(SeekFrom::End(0)).unwrap();
        Log(file.unwrap())
    }

    /// Waits for a line with this in it.
    fn wait_for(&mut self, text: &str, limit: Duration) -> bool {
        let started = Instant::now();
        let mut line = [0; 8192];
        while started.elapsed() < limit {
            match self.0.read(&mut line) {
                Ok(length) if String::from_utf8_lossy(&line[..length]).contains(text) => return true,
                // EPIPE: lines were lost to newer ones.
                Ok(_) => {}
                Err(e) if e.raw_os_error() == Some(nix::libc::EPIPE) => {}
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
        false
    }
}

/// The shutdown step as PID 1 of a PID namespace: there it ends itself in place of the machine.
fn shut_down() -> Child {
    let early = env!("CARGO_BIN_EXE_overlayd-early");
    Command::new("unshare").args(["--pid", "--fork", early, "shutdown", "poweroff"]).spawn().unwrap()
}

/// As systemd-shutdown leaves it: the old root still mounted, somewhere in the new one.
fn leave_the_root(rig: &Rig) -> PathBuf {
    let old = PathBuf::from("/run/overlayd/oldroot");
    fs::create_dir_all(&old).unwrap();
    run("mount", &["--move", s(&rig.sysroot), s(&old)]);
    old
}

fn is_mounted(below: &str) -> bool {
    mountinfo::read().unwrap().iter().any(|mount| mount.target.starts_with(below))
}

#[test]
fn a_shutdown_unmounts_all_and_is_quick() {
    let machine = Fragile::new();
    machine.rig.boot();
    fs::write(machine.rig.path("etc/new"), "new").unwrap();
    leave_the_root(&machine.rig);
    let started = Instant::now();
    shut_down().wait().unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "it took {:?}", started.elapsed());
    assert!(!is_mounted("/run/overlayd"));
    let superblock = run("dumpe2fs", &["-h", &machine.rig.device]);
    assert!(!String::from_utf8_lossy(&superblock.stdout).contains("needs_recovery"));
}

#[test]
fn a_shutdown_does_not_wait_for_a_device_that_hangs() {
    let machine = Fragile::new();
    machine.rig.boot();
    fs::write(machine.rig.path("etc/new"), vec![7; 1 << 20]).unwrap();
    leave_the_root(&machine.rig);
    let mut log = Log::open();
    machine.hang();
    let started = Instant::now();
    let mut child = shut_down();
    // Its last word comes before it ends the machine. Here that must wait for its process that hangs: what ends a PID
    // namespace waits for all in it.
    let told = log.wait_for("stayed mounted: its filesystem may need recovery", Duration::from_secs(30));
    let took = started.elapsed();
    let named = log.wait_for("hangs in the kernel", Duration::from_secs(5));
    machine.go_on();
    child.wait().unwrap();
    assert!(told, "nothing was said");
    assert!(took < Duration::from_secs(13), "it took {took:?}");
    assert!(named, "who hangs was not said");
}

#[test]
fn a_program_that_hangs_in_the_kernel_is_left_behind() {
    let machine = Fragile::new();
    let at = machine.rig.beside("mounted");
    fs::create_dir_all(&at).unwrap();
    run("mount", &[&machine.rig.device, s(&at)]);
    fs::write(at.join("file"), vec![7; 1 << 20]).unwrap();
    machine.hang();
    let started = Instant::now();
    let sync = overlayd::sys::process::find_program("sync").unwrap();
    let ended = overlayd::sys::process::run(&sync, &["-f", s(&at)], Duration::from_secs(1));
    let took = started.elapsed();
    machine.go_on();
    let error = ended.unwrap_err().to_string();
    assert!(error.contains("hangs in the kernel"), "{error}");
    assert!(took < Duration::from_secs(8), "it took {took:?}");
}
