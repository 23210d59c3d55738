//! A device that remembers: an image behind qemu's blklogwrites driver, which qemu-storage-daemon exports as a file by
//! FUSE, and a loop device on that file.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::system::{Loop, s, until};
use crate::writelog::WriteLog;

/// A device under record, in use by whoever looks for its label.
pub(crate) struct Recorder {
    daemon: Child,
    log: PathBuf,
    device: Option<Loop>,
}

impl Recorder {
    /// What is written to the device goes to `image`, and into a log beside it.
    pub(crate) fn start(image: &Path) -> Recorder {
        let (log, export) = (image.with_extension("log"), image.with_extension("export"));
        for file in [&log, &export] {
            let _ = fs::remove_file(file);
            File::create(file).unwrap();
        }
        let daemon = Command::new("qemu-storage-daemon")
            .args(["--blockdev", &format!("driver=file,node-name=image,filename={},discard=unmap", s(image))])
            .args(["--blockdev", &format!("driver=file,node-name=log,filename={}", s(&log))])
            .args([
                "--blockdev",
                "driver=blklogwrites,node-name=logged,file=image,log=log,log-sector-size=512",
            ])
            .args([
                "--export",
                &format!("type=fuse,id=export,node-name=logged,mountpoint={},writable=on", s(&export)),
            ])
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-storage-daemon is needed");
        let mut recorder = Recorder { daemon, log, device: None };
        until("the export is there", || {
            assert!(
                recorder.daemon.try_wait().unwrap().is_none(),
                "qemu-storage-daemon ended (is FUSE there?)"
            );
            fs::metadata(&export).is_ok_and(|m| m.len() > 0)
        });
        recorder.device = Some(Loop::attach(&export));
        recorder
    }

    /// How far the log is, in bytes: what is before that had happened.
    pub(crate) fn position(&self) -> u64 {
        fs::metadata(&self.log).unwrap().len()
    }

    /// The device's node.
    pub(crate) fn node(&self) -> PathBuf {
        self.device.as_ref().unwrap().node.clone()
    }

    /// Ends the record.
    pub(crate) fn finish(mut self) -> WriteLog {
        self.device = None;
        self.stop();
        WriteLog::read(&self.log)
    }

    /// Asks again and again: a signal that comes between qemu's look at it and its sleep is not heard.
    fn stop(&mut self) {
        until("qemu-storage-daemon has ended", || {
            let _ = kill(Pid::from_raw(self.daemon.id().cast_signed()), Signal::SIGTERM);
            !matches!(self.daemon.try_wait(), Ok(None))
        });
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.device = None;
        if let Ok(None) = self.daemon.try_wait() {
            self.stop();
        }
    }
}
