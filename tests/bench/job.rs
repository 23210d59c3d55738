//! A snapshot through the daemon: from the call to the job's result, and from `Cancel` to the job's end.

use std::time::{Duration, Instant};

use nix::mount::MsFlags;
use zbus::{Connection, MessageStream};

use crate::ear::{Accepted, signal, signals};
use crate::snapshot::{Place, sync};
use crate::system::{attach, s, unmount};
use crate::world::{JOB, OVERLAY, OVERLAY_ROOT, World, call};

/// From the call of `CreateSnapshot` to `JobRemoved`, and what was written is on the disk.
pub(crate) fn create(place: &Place) -> Duration {
    with_daemon(place, |bus, told| {
        let start = Instant::now();
        let (id, _) = ask(bus);
        let result = end(told, id);
        sync(&place.top);
        let took = start.elapsed();
        assert_eq!(result, "done");
        took
    })
}

/// From the call of `Cancel`, that long after the snapshot began, to the end of the job; none if it had ended by then.
pub(crate) fn cancel(place: &Place, after: Duration) -> Option<Duration> {
    with_daemon(place, |bus, told| {
        let (id, job) = ask(bus);
        std::thread::sleep(after);
        let start = Instant::now();
        let canceled: zbus::Result<()> = call(bus, job.as_str(), JOB, "Cancel", &0u64);
        let result = end(told, id);
        let took = start.elapsed();
        (canceled.is_ok() && result == "canceled").then_some(took)
    })
}

/// A daemon on a bus of its own, whose store this is.
fn with_daemon<T>(place: &Place, work: impl FnOnce(&Connection, &mut MessageStream) -> T) -> T {
    let mut world = World::new();
    attach(s(&place.store()), &world.store(), "none", MsFlags::MS_BIND);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let mut told = signals(&bus);
    let result = work(&bus, &mut told);
    if let Some(mut daemon) = world.daemon.take() {
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }
    unmount(&world.store());
    result
}

fn ask(bus: &Connection) -> Accepted {
    let userdata: std::collections::HashMap<&str, &str> = std::collections::HashMap::new();
    call(bus, OVERLAY_ROOT, OVERLAY, "CreateSnapshot", &("bench", userdata, 0u64)).unwrap()
}

/// How this job ended.
fn end(told: &mut MessageStream, job: u64) -> String {
    loop {
        let (id, _, _, result, _, _): (u64, zbus::OwnedObjectPath, String, String, String, String) =
            signal(told, "JobRemoved").body().deserialize().unwrap();
        if id == job {
            return result;
        }
    }
}
