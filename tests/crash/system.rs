//! Programs, loop devices and mounts.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use nix::mount::{MntFlags, MsFlags, mount, umount2};

/// Generous: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

/// A loop device, gone at the latest when this process is.
pub(crate) struct Loop {
    pub(crate) node: PathBuf,
    _open: File,
}

impl Loop {
    pub(crate) fn attach(image: &Path) -> Loop {
        let output = run("losetup", &["-f", "--show", s(image)]);
        let node = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        let open = File::open(&node).unwrap();
        // Of a device in use this only asks the kernel to detach it at its last close.
        run("losetup", &["-d", s(&node)]);
        Loop { node, _open: open }
    }
}

/// mount(2).
pub(crate) fn attach(source: &Path, target: &Path, fstype: &str, flags: MsFlags) {
    mount(Some(source), target, Some(fstype), flags, None::<&str>)
        .unwrap_or_else(|e| panic!("mount {} at {}: {e}", source.display(), target.display()));
}

/// umount(2). Somebody who looks at it for a moment may keep it busy.
pub(crate) fn unmount(target: &Path) {
    until(&format!("{} is unmounted", target.display()), || umount2(target, MntFlags::empty()).is_ok());
}

/// Waits until `check` holds.
pub(crate) fn until(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !check() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(5));
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
