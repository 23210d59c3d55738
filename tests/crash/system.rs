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
    image: PathBuf,
    open: Option<File>,
}

impl Loop {
    pub(crate) fn attach(image: &Path) -> Loop {
        let output = run("losetup", &["-f", "--show", s(image)]);
        let node = PathBuf::from(String::from_utf8(output.stdout).unwrap().trim());
        let open = File::open(&node).unwrap();
        // Of a device in use this only asks the kernel to detach it at its last close.
        run("losetup", &["-d", s(&node)]);
        Loop { node, image: image.to_owned(), open: Some(open) }
    }
}

impl Drop for Loop {
    /// Waits until it is gone: another test may be between fork and exec, and hold our descriptors for that instant, and
    /// two devices with one label are one too many.
    fn drop(&mut self) {
        self.open = None;
        let name = self.node.file_name().unwrap_or_default();
        let backing = Path::new("/sys/block").join(name).join("loop/backing_file");
        let deadline = Instant::now() + Duration::from_secs(5);
        let ours = |text: String| text.trim_end().trim_end_matches(" (deleted)") == s(&self.image);
        while std::fs::read_to_string(&backing).is_ok_and(ours) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
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
