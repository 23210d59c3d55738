//! What the daemon tells the journal about the boot, once.

use std::fs;

use crate::world::{BOOT, OVERLAY, OVERLAY_ROOT, World, property, text as printed, until};

/// Starts the daemon after a boot that executed something, and returns what it logged.
fn told(action: &str, rest: &str) -> String {
    let mut world = World::new();
    world.hand_off("generation = 2\n");
    let outcome = format!(
        "version = 1\nrequest = \"abc\"\naction = \"{action}\"\nrequested-by = \"alice (uid 1000)\"\n\
         requested-at = 1\nexecuted-at = 2\nboot = \"{BOOT}\"\n{rest}from-generation = 1\nto-generation = 2\n"
    );
    fs::write(world.store().join("overlays/root/outcome.toml"), outcome).unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let log = || fs::read_to_string(world.dir.join("daemon.log")).unwrap();
    until("it tells", || log().contains("abc"));
    log()
}

#[test]
fn what_a_boot_executed_is_told_by_its_own_message() {
    for (action, id, more) in [
        ("reset", "d6247bd12cb5e53193a5bf1af83ceed6", ""),
        ("restore", overlayd::logging::message_id::RESTORE_EXECUTED, "snapshot = 5\n"),
        ("undo", overlayd::logging::message_id::UNDO_EXECUTED, ""),
        ("snapshot", overlayd::logging::message_id::SNAPSHOT_SEALED, "snapshot = 6\n"),
    ] {
        let log = told(action, &format!("result = \"done\"\n{more}"));
        assert!(log.contains(&format!("{action} executed at boot")) && log.contains(id), "{log}");
        assert!(log.contains("alice (uid 1000)"), "{log}");
        assert_eq!(log.contains("snapshot="), !more.is_empty(), "{log}");
    }
}

#[test]
fn going_back_by_itself_is_told_with_the_reason() {
    let log = told("undo", "result = \"done\"\nvia = \"health\"\nreason = \"3 boots did not complete\"\n");
    assert!(log.contains(overlayd::logging::message_id::WENT_BACK), "{log}");
    assert!(log.contains("reason=\"3 boots did not complete\""), "{log}");
    let other = told("undo", "result = \"done\"\nvia = \"base-changed\"\nreason = \"another base\"\n");
    assert!(other.contains(overlayd::logging::message_id::UNDO_EXECUTED), "{other}");
}

#[test]
fn a_request_that_was_given_up_is_told_with_the_reason() {
    let log = told("restore", "result = \"failed\"\nmessage = \"snapshot 5 is damaged\"\n");
    assert!(log.contains("restore could not be executed at boot: snapshot 5 is damaged"), "{log}");
    assert!(log.contains(overlayd::logging::message_id::REQUEST_FAILED), "{log}");
    assert!(log.contains("snapshot 5 is damaged") && !log.contains("executed at boot generation"), "{log}");
}

#[test]
fn an_outcome_of_another_boot_is_not_told_again() {
    let mut world = World::new();
    world.hand_off("generation = 1\n");
    let outcome = "version = 1\nrequest = \"abc\"\naction = \"reset\"\nrequested-by = \"x\"\nrequested-at = 1\n\
                   executed-at = 2\nboot = \"another\"\nresult = \"done\"\nto-generation = 1\n";
    fs::write(world.store().join("overlays/root/outcome.toml"), outcome).unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    until("the boot is told about", || world.handoff().with_file_name("reported").exists());
    assert!(world.tool(&["status"]).status.success());
    assert!(!fs::read_to_string(world.dir.join("daemon.log")).unwrap().contains("abc"));
}

#[test]
fn a_reset_tells_how_far_it_went_how_it_was_asked_and_what_it_kept() {
    let log = told(
        "reset",
        "result = \"done\"\nlevel = \"factory\"\nvia = \"a button\"\nkept = [\"/etc/machine-id\"]\nkept-count = 1\n\
         unmatched = [\"/etc/gone\"]\nerasure = \"complete\"\n",
    );
    for part in
        ["level=\"factory\"", "via=\"a button\"", "kept=\"/etc/machine-id\"", "unmatched=\"/etc/gone\""]
    {
        assert!(log.contains(part), "{part} is not in\n{log}");
    }
    assert!(log.contains(overlayd::logging::message_id::RESET_KEPT), "{log}");
    let failed = told("reset", "result = \"failed\"\nlevel = \"factory\"\nmessage = \"no space\"\n");
    assert!(failed.contains(overlayd::logging::message_id::RESET_FAILED), "{failed}");
    assert!(failed.contains("reason=\"no space\""), "{failed}");
}

#[test]
fn files_that_are_lost_are_told_by_a_message_of_their_own() {
    let mut world = World::new();
    world.hand_off("generation = 1\nreason = \"the files of generation 1 are lost\"\n");
    world.start_daemon(&["--idle-timeout", "0"]);
    let log = || fs::read_to_string(world.dir.join("daemon.log")).unwrap();
    until("it tells", || log().contains("the files of generation 1 are lost"));
    assert!(log().contains(overlayd::logging::message_id::LAYER_LOST), "{}", log());
    let bus = world.connect();
    assert!(property::<bool>(&bus, OVERLAY_ROOT, OVERLAY, "Degraded"));
    let why: String = property(&bus, OVERLAY_ROOT, OVERLAY, "DegradedReason");
    assert_eq!(why, "the files of generation 1 are lost");
    let page = crate::world::text(&world.tool(&["status"]));
    assert!(page.contains("persistent: the files of generation 1 are lost"), "{page}");
}

#[test]
fn another_base_is_told_with_both_identities() {
    let mut world = World::new();
    world.hand_off("generation = 1\n");
    let record = world.store().join("overlays/root/generations/1/generation.toml");
    let text = fs::read_to_string(&record).unwrap();
    fs::write(&record, text.replace("squashfs:test", "squashfs:before")).unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    assert!(property::<bool>(&bus, OVERLAY_ROOT, OVERLAY, "BaseChanged"));
    assert_eq!(property::<String>(&bus, OVERLAY_ROOT, OVERLAY, "BaseIdentity"), "squashfs:test");
    assert!(!property::<bool>(&bus, OVERLAY_ROOT, OVERLAY, "Degraded"), "it is mounted as configured");
    let page = printed(&world.tool(&["status"]));
    assert!(page.contains("Base: squashfs:test\n"), "{page}");
    assert!(page.contains("changed: the generation was made on squashfs:before\n"), "{page}");
    let status: serde_json::Value =
        serde_json::from_str(&printed(&world.tool(&["status", "--json"]))).unwrap();
    let root = &status["overlays"][0];
    assert_eq!(root["base-changed"], true);
    assert_eq!(
        (&root["base"], &root["generation-base"]),
        (&"squashfs:test".into(), &"squashfs:before".into())
    );
}

#[test]
fn a_reason_of_several_lines_is_told_as_one() {
    let mut world = World::new();
    world.hand_off("reason = \"mkfs failed:\\ntoo small\\tfor it\"\n");
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let reason = "mkfs failed: too small for it";
    assert_eq!(property::<String>(&bus, OVERLAY_ROOT, OVERLAY, "DegradedReason"), reason);
    let page = printed(&world.tool(&["status"]));
    assert!(page.contains(&format!("Actual: persistent: {reason}\n")), "{page}");
}
