//! Marking the booted root good and bad over the bus, and what is told of it.

use std::collections::HashMap;
use std::fs;

use overlayd::logging::message_id;
use overlayd::plan::health::NOTHING_BELOW;
use serde_json::Value;
use zbus::Connection;

use crate::ear::{signal, signals};
use crate::world::{MANAGER, ROOT, World, call, error_name, property, text};

fn mark_good(bus: &Connection, flags: u64) -> zbus::Result<()> {
    call(bus, ROOT, MANAGER, "MarkGood", &flags)
}

fn mark_bad(bus: &Connection, reason: &str) -> zbus::Result<()> {
    call(bus, ROOT, MANAGER, "MarkBad", &(reason, 0u64))
}

fn state(bus: &Connection) -> (String, u64) {
    (property(bus, ROOT, MANAGER, "HealthState"), property(bus, ROOT, MANAGER, "TriesLeft"))
}

fn record(world: &World) -> String {
    fs::read_to_string(world.store().join("overlays/root/health.toml")).unwrap_or_default()
}

/// As early boot leaves it: this is the second boot that was not marked.
fn counted(world: &World) {
    let text = "version = 1\ngeneration = 1\nboots = 2\n";
    fs::write(world.store().join("overlays/root/health.toml"), text).unwrap();
}

/// A daemon, and the handoff of a boot that mounted generation 1.
fn mounted() -> World {
    let mut world = World::new();
    world.hand_off("generation = 1\n");
    world.start_daemon(&["--idle-timeout", "0"]);
    world
}

fn health(bus: &Connection) -> Value {
    let json: String = call(bus, ROOT, MANAGER, "Describe", &0u64).unwrap();
    let status: Value = serde_json::from_str(&json).unwrap();
    status["overlays"][0]["health"].clone()
}

#[test]
fn a_boot_is_marked_good_and_that_is_told() {
    let mut world = World::new();
    world.hand_off("generation = 1\n");
    counted(&world);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    assert_eq!(state(&bus), ("pending".to_owned(), 1));
    let mut told = signals(&bus);
    mark_good(&bus, 0).unwrap();
    loop {
        let message = signal(&mut told, "PropertiesChanged");
        type Told = (String, HashMap<String, zbus::OwnedVariant>, Vec<String>);
        let (interface, values, _): Told = message.body().deserialize().unwrap();
        if interface == MANAGER {
            let good = zbus::OwnedVariant::try_from(zbus::Variant::from("good")).unwrap();
            assert_eq!(values["HealthState"], good);
            assert!(values.contains_key("TriesLeft"), "{values:?}");
            break;
        }
    }
    assert_eq!(state(&bus), ("good".to_owned(), 3));
    let written = record(&world);
    for line in ["boots = 0", "good = 1", "by = \"root (uid 0) via D-Bus\""] {
        assert!(written.contains(line), "{line} is not in\n{written}");
    }
    mark_good(&bus, 0).unwrap();
    assert_eq!(record(&world), written, "the same twice is well");
    assert_eq!(error_name(mark_good(&bus, 2)), "org.freedesktop.DBus.Error.InvalidArgs");
}

#[test]
fn a_boot_is_marked_bad_and_the_mark_can_be_taken_back() {
    let world = mounted();
    let bus = world.connect();
    assert_eq!(error_name(mark_bad(&bus, "two\nlines")), "org.freedesktop.DBus.Error.InvalidArgs");
    assert_eq!(error_name(mark_bad(&bus, &"x".repeat(129))), "org.freedesktop.DBus.Error.InvalidArgs");
    assert_eq!(record(&world), "");
    mark_bad(&bus, "the screen is black").unwrap();
    assert_eq!(state(&bus), ("bad".to_owned(), 0));
    let told = health(&bus);
    assert_eq!(told["next"], "the bare image");
    assert_eq!(told["bad"]["1"], "marked bad by root (uid 0) via D-Bus: the screen is black");
    mark_good(&bus, 1).unwrap();
    assert_eq!(state(&bus), ("good".to_owned(), 3));
    assert_eq!(health(&bus)["bad"], serde_json::json!({}));
}

#[test]
fn the_tool_marks_and_says_what_follows() {
    let world = mounted();
    let bad = world.tool(&["mark", "bad", "no sound"]);
    assert!(text(&bad).contains("the next boot goes back to the bare image"), "{}", text(&bad));
    assert!(record(&world).contains("no sound"), "{}", record(&world));
    let page = text(&world.tool(&["status"]));
    assert!(page.contains("Health: bad: the next boot goes back to the bare image"), "{page}");
    let good = world.tool(&["mark", "good", "--json"]);
    let answer: Value = serde_json::from_slice(&good.stdout).unwrap();
    assert_eq!((&answer["result"], &answer["generation"]), (&"good".into(), &1.into()));
    let other = world.tool(&["--overlay", "data", "mark", "good"]);
    assert_eq!(other.status.code(), Some(2), "{}", text(&other));
    // On a store that no running system uses.
    let store = world.store().display().to_string();
    let bad = world.tool(&["--store", &store, "mark", "bad"]);
    assert!(bad.status.success(), "{}", text(&bad));
    assert!(record(&world).contains("1 = \"marked bad by "), "{}", record(&world));
}

#[test]
fn a_machine_that_went_back_all_the_way_and_fails_is_told_of() {
    let mut world = World::new();
    world.hand_off("generation = 1\n");
    let handoff = fs::read_to_string(world.handoff()).unwrap();
    let problem = format!("problems = [\"no boot completed, and {}\"]\n[overlay.root]", NOTHING_BELOW);
    fs::write(world.handoff(), handoff.replace("[overlay.root]", &problem)).unwrap();
    let text = "version = 1\ngeneration = 1\nboots = 4\nrung = \"bare\"\n";
    fs::write(world.store().join("overlays/root/health.toml"), text).unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    assert_eq!(state(&bus), ("failed".to_owned(), 0));
    assert_eq!(health(&bus)["rung"], "bare");
    let log = || fs::read_to_string(world.dir.join("daemon.log")).unwrap();
    crate::world::until("it is told", || log().contains(message_id::NOTHING_BELOW));
    mark_good(&bus, 0).unwrap();
    assert_eq!(state(&bus), ("good".to_owned(), 3));
}

#[test]
fn where_nothing_is_counted_there_is_nothing_to_do() {
    let mut world = World::new();
    world.hand_off("generation = 1\n");
    fs::create_dir_all(world.dir.join("root/etc/overlayd")).unwrap();
    let off = "[overlay.root.health]\ntries = 0\n";
    fs::write(world.dir.join("root/etc/overlayd/overlayd.toml"), off).unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    assert_eq!(state(&bus), ("off".to_owned(), 0));
    assert_eq!(error_name(mark_good(&bus, 0)), "org.overlayd1.Error.NothingToDo");
    let tool = world.tool(&["mark", "good"]);
    assert_eq!(tool.status.code(), Some(3), "{}", text(&tool));
    assert_eq!(record(&world), "");
}

#[test]
fn a_rule_of_the_administrator_lets_somebody_mark() {
    let mut world = mounted();
    world.start_polkit(
        "polkit.addRule(function(action, subject) {\n\
           if (action.id == 'org.overlayd1.mark-boot' && action.lookup('mark') == 'good' &&\n\
               subject.user == 'nobody') return polkit.Result.YES;\n\
         });\n",
    );
    let good = world.as_nobody("./overlayctl", &["mark", "good"]);
    assert!(good.status.success(), "{}", text(&good));
    assert!(record(&world).contains("by = \"nobody (uid 65534) via D-Bus\""), "{}", record(&world));
    let bad = world.as_nobody("./overlayctl", &["mark", "bad", "--no-ask-password"]);
    assert_eq!(bad.status.code(), Some(4), "{}", text(&bad));
    assert!(!record(&world).contains("[bad]"), "{}", record(&world));
}

/// overlayd-good.service must not fail because of a store that the boot has already told of.
#[test]
fn a_boot_that_fell_back_from_a_damaged_store_has_nothing_to_mark() {
    let mut world = World::new();
    world.hand_off("reason = \"store.toml is damaged\"\n");
    let handoff = fs::read_to_string(world.handoff()).unwrap();
    fs::write(
        world.handoff(),
        handoff.replace("mode = \"persistent\"\nlowers", "mode = \"volatile\"\nlowers"),
    )
    .unwrap();
    fs::write(world.store().join("store.toml"), "nonsense\n").unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let good = world.tool(&["mark", "good"]);
    assert_eq!(good.status.code(), Some(3), "{}", text(&good));
    assert!(text(&good).contains("store.toml is damaged"), "{}", text(&good));
    // There is no pointer to be read that could be marked bad.
    let bad = world.tool(&["mark", "bad"]);
    assert_eq!(bad.status.code(), Some(4), "{}", text(&bad));
}
