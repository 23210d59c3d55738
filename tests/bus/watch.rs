//! What is noticed while the system runs reaches clients, although the daemon does not run until then.

use std::fs;
use std::process::Command;

use crate::ear::{change, signals};
use crate::world::{OVERLAY, OVERLAY_ROOT, World, property, text, until};

/// A world on a filesystem, after a boot, with a bus that starts the daemon.
fn world(fstype: &str, mib: u64) -> World {
    let mut world = World::on(fstype, mib);
    let state = "[state]\nwanted = \"x\"\ndevice = \"/dev/null\"\nfstype = \"x\"\nuuid = \"x\"\npath = \"overlayd\"\n";
    world.hand_off(&format!("generation = 1\n{state}"));
    let services = world.dir.join("services");
    fs::create_dir(&services).unwrap();
    let options = world.places().join(" ");
    let exec = format!("{} {options} --idle-timeout 500ms", env!("CARGO_BIN_EXE_overlayd"));
    let service = format!("[D-BUS Service]\nName=org.overlayd1\nExec={exec}\n");
    fs::write(services.join("org.overlayd1.service"), service).unwrap();
    world.restart_bus("session", &format!("<servicedir>{}</servicedir>", services.display()));
    world
}

/// One look, as the timer has it; gives back what it logged.
fn look(world: &World) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_overlayd"));
    command.arg("--watch").args(world.places()).arg("--motd").arg(world.dir.join("motd"));
    let output = world.run(&mut command);
    assert!(output.status.success(), "{}", text(&output));
    text(&output)
}

fn remount(world: &World, how: &str) {
    let at = world.dir.join("state");
    let output = world.run(Command::new("mount").args(["-o", &format!("remount,{how}")]).arg(at));
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn a_filesystem_that_became_read_only_is_told_on_the_bus() {
    let world = world("ext4", 32);
    let bus = world.connect();
    let mut heard = signals(&bus);
    assert_eq!(look(&world), "");
    remount(&world, "ro");
    assert!(look(&world).contains("became read-only"));
    let changed = change(&mut heard, OVERLAY_ROOT, "Degraded");
    assert!(bool::try_from(&changed["Degraded"]).unwrap());
    assert!(<&str>::try_from(&changed["DegradedReason"]).unwrap().contains("became read-only"));
    let page = text(&world.tool(&["status"]));
    assert!(page.contains("persistent: the state filesystem on /dev/null became read-only"), "{page}");
    assert_eq!(text(&world.tool(&["list"])).matches("(degraded)").count(), 1);
    remount(&world, "rw");
    assert!(look(&world).contains("well again"));
    let changed = change(&mut heard, OVERLAY_ROOT, "Degraded");
    assert!(!bool::try_from(&changed["Degraded"]).unwrap());
}

#[test]
fn where_space_is_short_what_is_retained_gives_way() {
    let world = world("ext4", 64);
    let config = world.dir.join("root/usr/lib/overlayd/overlayd.toml");
    fs::write(config, "[overlay.root.snapshots]\nmin-free = \"10%\"\n").unwrap();
    for id in 1..=3 {
        world.make_snapshot(id, if id == 2 { "protected = true\n" } else { "" });
    }
    let snapshot = |id: u64| world.store().join(format!("overlays/root/snapshots/{id}"));
    // The oldest one is what the space is needed for.
    fs::write(snapshot(1).join("fs/large"), vec![1; 6 << 20]).unwrap();
    let free = overlayd::observe::space(&world.store()).unwrap();
    let rest = free.bytes_free - free.bytes_total * 7 / 100;
    let output =
        world.run(Command::new("fallocate").args(["-l", &rest.to_string()]).arg(world.upper().join("large")));
    assert!(output.status.success(), "{}", text(&output));
    let bus = world.connect();
    assert_eq!(property::<String>(&bus, OVERLAY_ROOT, OVERLAY, "Space"), "enough");
    let mut heard = signals(&bus);
    assert!(look(&world).contains("space is low on the state filesystem"));
    let changed = change(&mut heard, OVERLAY_ROOT, "Space");
    assert_eq!(<&str>::try_from(&changed["Space"]).unwrap(), "low");
    until("the oldest snapshot is gone", || !snapshot(1).exists());
    let mut told = String::new();
    until("there is space again", || {
        told += &look(&world);
        told.contains("there is space again")
    });
    assert!(snapshot(2).exists() && snapshot(3).exists(), "one was enough");
}
