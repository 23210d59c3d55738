//! A state device that does not answer: jobs wait for it in the kernel, and nobody else does. Clients are answered, and
//! the watchdog is fed.

use std::collections::HashMap;
use std::fs;
use std::os::fd::AsFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use zbus::{Connection, OwnedObjectPath};

use crate::ear::{Accepted, end};
use crate::faulty::Faulty;
use crate::world::{
    JOB, MANAGER, NAME, OVERLAY, OVERLAY_ROOT, ROOT, World, call, error_name, has_owner, property, until,
};

/// Longer than any of these tests needs it; it ends by itself, because others may wait for the loop driver.
const HANGS: Duration = Duration::from_secs(40);
/// What systemd allows here, in microseconds.
const WATCHDOG: &str = "2000000";

/// How often the watchdog was fed.
struct Fed(Arc<AtomicUsize>);

impl Fed {
    /// Reads what the daemon tells there; who does not read makes it wait.
    fn listen(path: &Path) -> Fed {
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let count = Arc::new(AtomicUsize::new(0));
        let (counts, mut buffer) = (Arc::downgrade(&count), [0; 256]);
        std::thread::spawn(move || {
            while let Some(count) = counts.upgrade() {
                if socket.recv(&mut buffer).is_ok_and(|length| buffer[..length].starts_with(b"WATCHDOG=1")) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Fed(count)
    }

    fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A directory that goes once nothing is mounted in it.
struct Place(PathBuf);

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A device that can be made to hang, in a directory of its own.
struct Fragile {
    faulty: Faulty,
    _place: Place,
}

/// A world on a device that can be made to hang, and its daemon. The device goes last.
fn world() -> (Fragile, World, Fed) {
    overlayd::sys::mount::private_namespace().unwrap();
    let world = World::empty();
    let image = world.make_image("ext4", 128);
    let place = Place(world.dir.with_extension("device"));
    fs::create_dir(&place.0).unwrap();
    let faulty = Faulty::start(&image, &place.0.join("export"), None);
    let mut world = world.on_device("ext4", &[], Path::new(&faulty.device));
    fs::write(world.upper().join("big"), vec![b'x'; 8 << 20]).unwrap();
    nix::unistd::sync();
    let path = world.dir.join("notify");
    let fed = Fed::listen(&path);
    let mut command = world.daemon_command();
    command.args(["--idle-timeout", "0"]).env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", WATCHDOG);
    world.spawn_daemon(command);
    (Fragile { faulty, _place: place }, world, fed)
}

fn create(bus: &Connection) -> zbus::Result<Accepted> {
    call(bus, OVERLAY_ROOT, OVERLAY, "CreateSnapshot", &("", HashMap::<&str, &str>::new(), 0u64))
}

fn describe(bus: &Connection) -> serde_json::Value {
    let json: String = call(bus, ROOT, MANAGER, "Describe", &0u64).unwrap();
    serde_json::from_str(&json).unwrap()
}

fn answers(told: &serde_json::Value) -> bool {
    !told["problems"].to_string().contains("does not answer")
}

/// The kernel does not have them in memory any more.
fn forget(dir: &Path) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            forget(&entry.path());
        } else if kind.is_file() {
            let file = fs::File::open(entry.path()).unwrap();
            posix_fadvise(file.as_fd(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
        }
    }
}

#[test]
fn a_job_that_hangs_keeps_nobody_and_goes_on_when_the_device_answers() {
    let (fragile, world, fed) = world();
    let bus = world.connect();
    describe(&bus);
    let stopped = fragile.faulty.stop_for(HANGS);
    let (id, job) = create(&bus).unwrap();
    let get = |name: &str| property::<String>(&bus, job.as_str(), JOB, name);
    until("it runs", || get("State") == "running");
    let before = fed.count();
    std::thread::sleep(Duration::from_secs(6));
    let count = fed.count() - before;
    assert!(count >= 4, "the watchdog was fed {count} times in 6 s of a limit of 2 s");
    let started = Instant::now();
    assert_eq!(get("State"), "running", "it was too quick to hang");
    assert_eq!(property::<OwnedObjectPath>(&bus, OVERLAY_ROOT, OVERLAY, "ActiveJob"), job);
    assert_eq!(error_name(create(&bus)), "org.overlayd1.Error.JobInProgress");
    call::<_, ()>(&bus, job.as_str(), JOB, "Cancel", &0u64).unwrap();
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    stopped.end();
    let end = end(&bus, Ok((id, job.clone())));
    assert!(["canceled", "done"].contains(&end.result.as_str()), "{end:?}");
    let whole = world.snapshots();
    assert_eq!(whole.len(), usize::from(end.result == "done"), "{whole:?}");
}

#[test]
fn who_asks_how_it_is_while_the_device_hangs_is_told_that_and_does_not_wait_for_long() {
    let (fragile, world, fed) = world();
    let bus = world.connect();
    assert!(answers(&describe(&bus)));
    // What was seen a moment ago would be told.
    std::thread::sleep(Duration::from_secs(4));
    forget(&world.store());
    let stopped = fragile.faulty.stop_for(HANGS);
    let (started, before) = (Instant::now(), fed.count());
    let told = describe(&bus);
    let (took, count) = (started.elapsed(), fed.count() - before);
    assert!(took > Duration::from_secs(1), "it did not hang: {took:?}");
    assert!(took < Duration::from_secs(25), "{took:?}");
    assert!(!answers(&told), "{told}");
    assert_eq!(told["overlays"][0]["name"], "root", "what was known is told");
    assert!(count > usize::try_from(took.as_secs()).unwrap() / 2, "fed {count} times in {took:?}");
    stopped.end();
    until("it answers again", || answers(&describe(&bus)));
}

#[test]
fn sigterm_gives_the_name_back_although_a_job_hangs() {
    let (fragile, mut world, _fed) = world();
    let bus = world.connect();
    describe(&bus);
    let stopped = fragile.faulty.stop_for(HANGS);
    let (_, job) = create(&bus).unwrap();
    until("it runs", || property::<String>(&bus, job.as_str(), JOB, "State") == "running");
    std::thread::sleep(Duration::from_secs(1));
    let asked = Instant::now();
    kill(Pid::from_raw(world.daemon.as_ref().unwrap().id().cast_signed()), Signal::SIGTERM).unwrap();
    until("it has given its name back", || !has_owner(&bus, NAME));
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    // The kernel lets no process go that waits for a write.
    std::thread::sleep(Duration::from_secs(12).saturating_sub(asked.elapsed()));
    stopped.end();
    let status = world.daemon.take().unwrap().wait().unwrap();
    assert_eq!(status.code(), Some(0));
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    assert_eq!(end(&bus, create(&bus)).result, "done");
    until("nothing half-made is left", || {
        world.trash().is_empty() && world.snapshots().iter().all(|name| name.parse::<u64>().is_ok())
    });
}
