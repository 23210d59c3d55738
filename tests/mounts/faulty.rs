//! A device with errors: an image behind qemu's blkdebug driver, which qemu-storage-daemon exports as a file by FUSE, and a
//! loop device on that file.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// The device, as long as it lives.
pub(crate) struct Faulty {
    daemon: Child,
    /// Where it takes commands.
    control: PathBuf,
    /// Its node.
    pub(crate) device: String,
}

impl Faulty {
    /// A device that holds what `image` holds, and on which every `read` or every `write` is an I/O error, or none.
    pub(crate) fn start(image: &Path, export: &Path, every: Option<&str>) -> Faulty {
        File::create(export).unwrap();
        let control = export.with_extension("socket");
        let errors = |iotype: &str| {
            format!(
                "driver=blkdebug,node-name={iotype},image=image,inject-error.0.event=none,\
                 inject-error.0.iotype={iotype},inject-error.0.errno=5"
            )
        };
        let mut daemon = Command::new("qemu-storage-daemon")
            .args([
                "--blockdev",
                &format!("driver=file,node-name=image,filename={},locking=off", image.display()),
            ])
            .args(["--blockdev", &errors("read")])
            .args(["--blockdev", &errors("write")])
            .args(["--blockdev", &format!("driver=raw,node-name=top,file={}", every.unwrap_or("image"))])
            .args([
                "--export",
                &format!("type=fuse,id=export,node-name=top,mountpoint={},writable=on", export.display()),
            ])
            .args(["--chardev", &format!("socket,id=control,path={},server=on,wait=off", control.display())])
            .args(["--monitor", "chardev=control"])
            .stdin(Stdio::null())
            .spawn()
            .expect("qemu-storage-daemon is needed");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !fs::metadata(export).is_ok_and(|m| m.len() > 0) {
            assert!(daemon.try_wait().unwrap().is_none(), "qemu-storage-daemon ended (is FUSE there?)");
            assert!(Instant::now() < deadline, "the export does not come");
            std::thread::sleep(Duration::from_millis(10));
        }
        let attached = Command::new("losetup").args(["-f", "--show"]).arg(export).output().unwrap();
        assert!(attached.status.success(), "losetup: {}", String::from_utf8_lossy(&attached.stderr));
        let device = String::from_utf8(attached.stdout).unwrap().trim().to_owned();
        Faulty { daemon, control, device }
    }

    /// From now on, every `read` or every `write` fails, or none.
    pub(crate) fn fail(&self, every: Option<&str>) {
        let file = every.unwrap_or("image");
        let options = format!(r#"{{"driver":"raw","node-name":"top","file":"{file}"}}"#);
        let reopen = format!(r#"{{"execute":"blockdev-reopen","arguments":{{"options":[{options}]}}}}"#);
        let mut control = BufReader::new(UnixStream::connect(&self.control).unwrap());
        for command in [r#"{"execute":"qmp_capabilities"}"#, &reopen] {
            control.get_mut().write_all(command.as_bytes()).unwrap();
            let mut answer = String::new();
            while !answer.contains("\"return\"") {
                answer.clear();
                assert!(
                    control.read_line(&mut answer).unwrap() > 0 && !answer.contains("\"error\""),
                    "{answer}"
                );
            }
        }
    }

    /// Nothing answers for the device for so long, or until it is ended before.
    pub(crate) fn stop_for(&self, limit: Duration) -> Stopped {
        let pid = Pid::from_raw(self.daemon.id().cast_signed());
        kill(pid, Signal::SIGSTOP).unwrap();
        let (end, ended) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            let _ = ended.recv_timeout(limit);
            kill(pid, Signal::SIGCONT).unwrap();
        });
        Stopped { end, thread }
    }
}

/// A device that does not answer.
pub(crate) struct Stopped {
    end: Sender<()>,
    thread: JoinHandle<()>,
}

impl Stopped {
    /// It answers again.
    pub(crate) fn end(self) {
        drop(self.end);
        self.thread.join().unwrap();
    }
}

impl Drop for Faulty {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.daemon.id().cast_signed()), Signal::SIGCONT);
        let _ = Command::new("losetup").args(["-d", &self.device]).output();
        // Again and again: a signal that comes between qemu's look at it and its sleep is not heard.
        while let Ok(None) = self.daemon.try_wait() {
            let _ = kill(Pid::from_raw(self.daemon.id().cast_signed()), Signal::SIGTERM);
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
