//! No call is lost around the idle exit: a bus that starts the daemon on demand, and calls at the worst moments.

use std::collections::HashSet;
use std::fs;
use std::time::Duration;

use zbus::Connection;

use crate::world::{MANAGER, NAME, ROOT, SNAPSHOT, World, call, property};

const CALLS: u64 = 150;
const IDLE_MS: u64 = 60;

#[test]
fn every_call_is_answered_although_the_daemon_comes_and_goes() {
    let mut world = World::new();
    let services = world.dir.join("services");
    fs::create_dir(&services).unwrap();
    let options = world.places().join(" ");
    let exec = format!("{} {options} --idle-timeout {IDLE_MS}ms", env!("CARGO_BIN_EXE_overlayd"));
    let service = format!("[D-BUS Service]\nName=org.overlayd1\nExec={exec}\n");
    fs::write(services.join("org.overlayd1.service"), service).unwrap();
    world.restart_bus("session", &format!("<servicedir>{}</servicedir>", services.display()));
    world.make_snapshot(7, "");
    let bus = world.connect();
    let mut daemons = HashSet::new();
    for n in 0..CALLS {
        if n % 2 == 0 {
            let json: zbus::Result<String> = call(&bus, ROOT, MANAGER, "Describe", &0u64);
            assert!(json.is_ok(), "call {n}: {json:?}");
        } else {
            // An object that only the store knows of.
            let path = "/org/overlayd1/overlay/root/snapshot/7";
            assert_eq!(property::<String>(&bus, path, SNAPSHOT, "Description"), "made by hand", "call {n}");
        }
        daemons.extend(owner(&bus));
        // Around the moment at which the daemon gives its name back: it looks once more for 20 ms before it does.
        std::thread::sleep(Duration::from_millis(IDLE_MS + 10 + n % 30));
    }
    assert!(daemons.len() > 10, "it exited only {} times: the test shows nothing", daemons.len());
}

/// The unique name behind ours, if the daemon is not gone already.
fn owner(bus: &Connection) -> Option<String> {
    let driver = Some("org.freedesktop.DBus");
    let call = bus.call_method(driver, "/org/freedesktop/DBus", driver, "GetNameOwner", &NAME);
    zbus::block_on(call).ok()?.body().deserialize().ok()
}
