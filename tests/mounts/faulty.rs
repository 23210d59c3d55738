//! A device with errors: an image behind qemu's blkdebug driver, which qemu-storage-daemon exports as a file by FUSE, and a
//! loop device on that file.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::rig::{run, s, text};

/// The device, as long as it lives.
pub(crate) struct Faulty {
    daemon: Child,
    /// Its node.
    pub(crate) device: String,
}

impl Faulty {
    /// A device that holds what `image` holds, and on which every `read` or every `write` is an I/O error.
    pub(crate) fn start(image: &Path, export: &Path, every: &str) -> Faulty {
        File::create(export).unwrap();
        // A loop device reads its first sectors when it is made: they may be well.
        let faults =
            format!("inject-error.0.event=none,inject-error.0.iotype={every},inject-error.0.errno=5");
        let mut daemon = Command::new("qemu-storage-daemon")
            .args(["--blockdev", &format!("driver=file,node-name=image,filename={},locking=off", s(image))])
            .args(["--blockdev", &format!("driver=blkdebug,node-name=faulty,image=image,{faults}")])
            .args([
                "--export",
                &format!("type=fuse,id=export,node-name=faulty,mountpoint={},writable=on", s(export)),
            ])
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-storage-daemon is needed");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !fs::metadata(export).is_ok_and(|m| m.len() > 0) {
            assert!(daemon.try_wait().unwrap().is_none(), "qemu-storage-daemon ended (is FUSE there?)");
            assert!(Instant::now() < deadline, "the export does not come");
            std::thread::sleep(Duration::from_millis(10));
        }
        let device = text(&run("losetup", &["-f", "--show", s(export)])).trim().to_owned();
        Faulty { daemon, device }
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["-d", &self.device]).output();
        // Again and again: a signal that comes between qemu's look at it and its sleep is not heard.
        while let Ok(None) = self.daemon.try_wait() {
            let _ = kill(Pid::from_raw(self.daemon.id().cast_signed()), Signal::SIGTERM);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
