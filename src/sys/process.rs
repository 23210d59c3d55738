//! Child processes with a time limit, priorities, random numbers.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::process::{PidfdFlags, pidfd_open};

use crate::error::{Error, Kind, Result};

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// The last lines of what it printed.
    pub output: String,
}

/// Where programs are looked for: an initramfs may start us without `PATH`.
const PROGRAM_DIRS: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const OUTPUT_MAX: usize = 2048;
/// How long a program may take to end when it is asked to; half of that when it is made to.
pub const PATIENCE: Duration = Duration::from_secs(2);

/// The path of `program`, if it is installed.
pub fn find_program(program: &str) -> Option<PathBuf> {
    PROGRAM_DIRS.iter().map(|d| Path::new(d).join(program)).find(|p| p.exists())
}

/// Runs `program`; past `limit` it is asked to end, and an error says so.
pub fn run(program: &Path, arguments: &[&str], limit: Duration) -> Result<Exit> {
    run_with(program, arguments, &[], limit)
}

/// The same, with more in its environment.
pub fn run_with(
    program: &Path,
    arguments: &[&str],
    environment: &[(&str, &str)],
    limit: Duration,
) -> Result<Exit> {
    let output = memfd_create("output", MFdFlags::MFD_CLOEXEC)
        .map(File::from)
        .map_err(|e| Error::io("make", "a memfd", e))?;
    let stream = || output.try_clone().map(Stdio::from).map_err(|e| Error::io("share", "a memfd", e));
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(stream()?)
        .stderr(stream()?)
        .spawn()
        .map_err(|e| Error::io("start", program, e))?;
    let status = wait(&mut child, program, limit)?;
    Ok(Exit { code: status.code().or(status.signal().map(|s| 128 + s)), output: tail(output) })
}

/// `N` random bytes as lower-case hexadecimal digits.
pub fn random_hex<const N: usize>() -> Result<String> {
    let mut bytes = [0u8; N];
    let path = "/dev/urandom";
    File::open(path).and_then(|mut f| f.read_exact(&mut bytes)).map_err(|e| Error::io("read", path, e))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

/// A random UUID (version 4, RFC 9562).
pub fn random_uuid() -> Result<String> {
    let mut hex = random_hex::<16>()?;
    hex.replace_range(12..13, "4");
    let variant = ["8", "9", "a", "b"][usize::from(hex.as_bytes()[16] % 4)];
    hex.replace_range(16..17, variant);
    Ok([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// Gives this thread the lowest CPU and I/O priority. Failing changes nothing but the speed.
pub fn set_idle_priority() {
    const IOPRIO_WHO_PROCESS: i32 = 1;
    const IOPRIO_CLASS_IDLE: i32 = 3 << 13; // linux/ioprio.h
    #[allow(unsafe_code)]
    // SAFETY: both calls take plain numbers; 0 is the calling thread.
    unsafe {
        nix::libc::syscall(nix::libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_CLASS_IDLE);
        nix::libc::setpriority(nix::libc::PRIO_PROCESS, 0, 19);
    }
}

/// Waits on a pidfd: a poll with pauses notices a check of a few milliseconds too late (Linux 5.3; nix lacks it).
fn wait(child: &mut Child, program: &Path, limit: Duration) -> Result<ExitStatus> {
    let fail = |e: std::io::Error| Error::io("wait for", program, e);
    let pid = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().map_err(fail)? {
            return Ok(status);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(stop(child, program, limit));
        }
        pause(pidfd.as_ref(), left);
    }
}

/// Until the process ends or the time is over; without a pidfd only for a moment.
fn pause(pidfd: Option<&OwnedFd>, left: Duration) {
    let Some(pidfd) = pidfd else { return std::thread::sleep(left.min(Duration::from_millis(1))) };
    let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
    // An interruption is no harm: the caller looks and waits again.
    let _ = poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
}

/// SIGTERM first: a checker then leaves the filesystem in order. What is stuck in the kernel ends by no signal, and is left
/// to itself: nobody waits for a device that hangs.
fn stop(child: &mut Child, program: &Path, limit: Duration) -> Error {
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or(i32::MAX));
    let _ = kill(pid, Signal::SIGTERM);
    let mut how = "did not end";
    if !ends(child, PATIENCE) {
        let _ = child.kill();
        if !ends(child, PATIENCE / 2) {
            how = "hangs in the kernel, and did not end";
        }
    }
    Error::new(Kind::Failed, format!("{} {how} within {} s", program.display(), limit.as_secs()))
}

fn ends(child: &mut Child, limit: Duration) -> bool {
    let started = Instant::now();
    while started.elapsed() < limit {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

/// The last lines of what was printed; what can not be read is not worth another error.
fn tail(mut output: File) -> String {
    let mut all = Vec::new();
    let _ = output.rewind().and_then(|()| output.read_to_end(&mut all));
    String::from_utf8_lossy(&all[all.len().saturating_sub(OUTPUT_MAX)..]).trim().to_owned()
}

/// A fresh directory for a test.
#[cfg(test)]
pub fn test_dir(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("overlayd-{name}-{}", random_hex::<6>().unwrap()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_hangs_is_ended() {
        let sleep = find_program("sleep").unwrap();
        let error = run(&sleep, &["60"], Duration::from_millis(50)).unwrap_err();
        assert!(error.to_string().contains("did not end"), "{error}");
    }

    #[test]
    fn output_and_code_come_back() {
        let exit =
            run(&find_program("sh").unwrap(), &["-c", "echo hi; exit 3"], Duration::from_secs(9)).unwrap();
        assert_eq!(exit, Exit { code: Some(3), output: "hi".into() });
    }

    #[test]
    fn uuids_have_version_and_variant() {
        let uuid = random_uuid().unwrap();
        assert_eq!(uuid.len(), 36);
        assert_eq!(&uuid[14..15], "4");
        assert!("89ab".contains(&uuid[19..20]), "{uuid}");
    }
}
