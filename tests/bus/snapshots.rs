//! Snapshots, commit, restore and undo over the bus, on real filesystems.

use std::collections::HashMap;
use std::fs;

use zbus::fdo::ManagedObjects;
use zbus::{Connection, OwnedObjectPath, OwnedVariant};

use crate::ear::{Accepted, change, done, end, failed, signal, signals};
use crate::world::{
    JOB, MANAGER, OVERLAY, OVERLAY_ROOT, ROOT, SNAPSHOT, World, call, error_name, property, reset, until,
};

const FIRST: &str = "/org/overlayd1/overlay/root/snapshot/1";

fn create(bus: &Connection, description: &str, flags: u64) -> zbus::Result<Accepted> {
    let pairs = HashMap::from([("ticket", "4711")]);
    call(bus, OVERLAY_ROOT, OVERLAY, "CreateSnapshot", &(description, pairs, flags))
}

fn commit(bus: &Connection, description: &str, paths: &[&str], flags: u64) -> zbus::Result<Accepted> {
    let pairs = HashMap::<&str, &str>::new();
    call(bus, OVERLAY_ROOT, OVERLAY, "Commit", &(description, pairs, paths, flags))
}

fn restore(bus: &Connection, id: u64, paths: &[&str], flags: u64) -> zbus::Result<Accepted> {
    call(bus, OVERLAY_ROOT, OVERLAY, "Restore", &(id, paths, flags))
}

fn undo(bus: &Connection, flags: u64) -> zbus::Result<Accepted> {
    call(bus, OVERLAY_ROOT, OVERLAY, "Undo", &flags)
}

fn delete(bus: &Connection, path: &str) -> zbus::Result<Accepted> {
    call(bus, path, SNAPSHOT, "Delete", &0u64)
}

fn objects(bus: &Connection) -> ManagedObjects {
    call(bus, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &()).unwrap()
}

/// Interfaces with their properties, as ObjectManager tells them.
type Interfaces = HashMap<String, HashMap<String, OwnedVariant>>;

/// A snapshot from its making to its end, on one filesystem.
fn life(fstype: &str, mib: u64, strategies: &[&str], consistency: &str) {
    let mut world = World::on(fstype, mib);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let _: String = call(&bus, ROOT, MANAGER, "Describe", &0u64).unwrap();
    let mut told = signals(&bus);
    let made = done(&bus, create(&bus, "before the update", 0));
    assert_eq!((made.number("snapshot"), made.number("entries"), made.number("bytes")), (1, 1, 11));
    assert!(strategies.contains(&made.text("strategy").as_str()), "{made:?}");
    assert_eq!(made.text("consistency"), consistency);

    // Everybody hears of it before the job is said to be over.
    let added = loop {
        let added = signal(&mut told, "InterfacesAdded");
        let (path, interfaces): (OwnedObjectPath, Interfaces) = added.body().deserialize().unwrap();
        if path.as_str() == FIRST {
            assert_eq!(
                interfaces[SNAPSHOT]["Description"],
                OwnedVariant::from(zbus::Str::from("before the update"))
            );
            assert_eq!(interfaces[SNAPSHOT]["Entries"], OwnedVariant::from(1u64));
            break added;
        }
    };
    let removed = signal(&mut told, "JobRemoved");
    assert!(added.recv_position() < removed.recv_position());
    assert!(objects(&bus).keys().any(|path| path.as_str() == FIRST));
    let rows: Vec<(u64, String, OwnedObjectPath)> =
        call(&bus, OVERLAY_ROOT, OVERLAY, "ListSnapshots", &0u64).unwrap();
    assert_eq!(
        (rows.len(), rows[0].0, rows[0].1.as_str(), rows[0].2.as_str()),
        (1, 1, "before the update", FIRST)
    );
    let pairs = property::<HashMap<String, String>>(&bus, FIRST, SNAPSHOT, "Userdata");
    assert_eq!(pairs, HashMap::from([("ticket".to_owned(), "4711".to_owned())]));
    assert_eq!(property::<String>(&bus, FIRST, SNAPSHOT, "State"), "complete");
    assert_eq!(property::<String>(&bus, FIRST, SNAPSHOT, "BaseIdentity"), "squashfs:test");
    assert!(property::<u64>(&bus, FIRST, SNAPSHOT, "Created") > 1_700_000_000);
    let file = world.store().join("overlays/root/snapshots/1/fs/changed");
    assert_eq!(fs::read_to_string(file).unwrap(), "by the user");

    edit_and_delete(&world, &bus);
}

/// What can be said of a snapshot, and its end.
fn edit_and_delete(world: &World, bus: &Connection) {
    let mut told = signals(bus);
    let pairs = HashMap::from([("who", "alice")]);
    call::<_, ()>(bus, FIRST, SNAPSHOT, "SetMetadata", &("after all", pairs, 0u64)).unwrap();
    let values = change(&mut told, FIRST, "Description");
    assert!(values.contains_key("Userdata") && !values.contains_key("Protected"), "{values:?}");
    assert_eq!(property::<String>(bus, FIRST, SNAPSHOT, "Description"), "after all");
    call::<_, ()>(bus, FIRST, SNAPSHOT, "SetProtected", &(true, 0u64)).unwrap();
    assert_eq!(change(&mut told, FIRST, "Protected").len(), 1);
    assert_eq!(failed(bus, delete(bus, FIRST)), "org.overlayd1.Error.SnapshotProtected");
    call::<_, ()>(bus, FIRST, SNAPSHOT, "SetProtected", &(false, 0u64)).unwrap();
    let gone = done(bus, delete(bus, FIRST));
    assert_eq!(gone.number("snapshot"), 1);
    loop {
        let removed = signal(&mut told, "InterfacesRemoved");
        let (path, _): (OwnedObjectPath, Vec<String>) = removed.body().deserialize().unwrap();
        if path.as_str() == FIRST {
            break;
        }
    }
    assert!(!objects(bus).keys().any(|path| path.as_str() == FIRST));
    let trash = world.store().join("overlays/root/trash");
    until("the trash is emptied without being asked", || fs::read_dir(&trash).unwrap().next().is_none());
    let jobs: Vec<(u64, String, String, String, u32, OwnedObjectPath)> =
        call(bus, ROOT, MANAGER, "ListJobs", &0u64).unwrap();
    let types: Vec<&str> = jobs.iter().map(|j| j.1.as_str()).collect();
    assert!(types.starts_with(&["snapshot", "delete", "delete", "cleanup"]), "{types:?}");
    // Numbers are not used again.
    assert_eq!(done(bus, create(bus, "", 0)).number("snapshot"), 2);
}

#[test]
fn a_snapshot_lives_on_ext4() {
    life("ext4", 64, &["copy"], "per-file");
}

#[test]
fn a_snapshot_lives_on_xfs() {
    life("xfs", 320, &["reflink", "copy"], "per-file");
}

#[test]
fn a_snapshot_lives_on_btrfs() {
    life("btrfs", 256, &["subvolume"], "atomic");
}

#[test]
fn a_commit_moves_the_baseline_and_nothing_new_is_nothing_to_do() {
    let mut world = World::on("ext4", 64);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let _: String = call(&bus, ROOT, MANAGER, "Describe", &0u64).unwrap();
    fs::write(world.upper().join("other"), "x").unwrap();
    let seen = done(&bus, commit(&bus, "", &[], 4));
    let changes = seen.list("changes").join("\n");
    assert!(changes.contains("/changed") && changes.contains("/other"), "{changes}");
    assert_eq!(property::<u64>(&bus, OVERLAY_ROOT, OVERLAY, "Baseline"), 0);

    let mut told = signals(&bus);
    let one = done(&bus, commit(&bus, "only one", &["/changed"], 0)).number("snapshot");
    assert_eq!(change(&mut told, OVERLAY_ROOT, "Baseline").get("Baseline"), Some(&OwnedVariant::from(one)));
    let files = world.store().join(format!("overlays/root/snapshots/{one}/fs"));
    assert!(files.join("changed").exists() && !files.join("other").exists());
    let all = done(&bus, commit(&bus, "all", &[], 0)).number("snapshot");
    assert_eq!(property::<u64>(&bus, OVERLAY_ROOT, OVERLAY, "Baseline"), all);
    assert_eq!(failed(&bus, commit(&bus, "again", &[], 0)), "org.overlayd1.Error.NothingToDo");
    let path = format!("/org/overlayd1/overlay/root/snapshot/{all}");
    assert_eq!(failed(&bus, delete(&bus, &path)), "org.overlayd1.Error.SnapshotProtected");
    assert_eq!(failed(&bus, commit(&bus, "", &["/changed"], 1)), "org.freedesktop.DBus.Error.InvalidArgs");
}

#[test]
fn a_restore_waits_for_the_next_boot_and_can_be_taken_back_by_its_own_name_only() {
    let mut world = World::on("ext4", 64);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let id = done(&bus, create(&bus, "", 0)).number("snapshot");
    let plan = done(&bus, restore(&bus, id, &[], 4));
    assert!(!plan.list("now").is_empty() && !plan.list("at-boot").is_empty(), "{plan:?}");
    assert!(!world.request().exists());

    let mut told = signals(&bus);
    let asked = done(&bus, restore(&bus, id, &[], 0));
    assert_eq!(
        (asked.number("snapshot"), asked.text("requested-by").as_str()),
        (id, "root (uid 0) via D-Bus")
    );
    assert!(change(&mut told, OVERLAY_ROOT, "PendingAction").contains_key("PendingSince"));
    assert_eq!(property::<String>(&bus, OVERLAY_ROOT, OVERLAY, "PendingAction"), "restore");
    let again = done(&bus, restore(&bus, id, &[], 0));
    assert_eq!(again.details["was-pending"], OwnedVariant::from(true));
    assert_eq!(failed(&bus, undo(&bus, 0)), "org.overlayd1.Error.NothingToDo");
    // Somebody asked in vain; there is nothing for an administrator to look at.
    let log = std::fs::read_to_string(world.dir.join("daemon.log")).unwrap();
    assert!(log.contains("info: undo refused: ") && !log.contains("undo failed"), "{log}");
    // It is no factory reset.
    assert_eq!(property::<String>(&bus, ROOT, MANAGER, "FactoryResetState"), "off");
    let cancel = call::<_, ()>(&bus, ROOT, MANAGER, "CancelFactoryReset", &0u64);
    assert_eq!(error_name(cancel), "org.overlayd1.Error.NoPendingAction");
    assert!(world.request().exists());
    let path = format!("/org/overlayd1/overlay/root/snapshot/{id}");
    assert_eq!(failed(&bus, delete(&bus, &path)), "org.overlayd1.Error.SnapshotProtected");
    call::<_, ()>(&bus, OVERLAY_ROOT, OVERLAY, "CancelPending", &0u64).unwrap();
    assert!(!world.request().exists());
}

#[test]
fn a_quiesced_snapshot_is_made_by_the_next_boot() {
    let mut world = World::on("ext4", 64);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let asked = done(&bus, create(&bus, "at rest", 1));
    assert_eq!(asked.number("snapshot"), 1);
    assert_eq!(property::<String>(&bus, OVERLAY_ROOT, OVERLAY, "PendingAction"), "snapshot");
    let request = fs::read_to_string(world.request()).unwrap();
    assert!(request.contains("at rest") && request.contains("4711"), "{request}");
    assert_eq!(
        failed(&bus, call(&bus, OVERLAY_ROOT, OVERLAY, "Undo", &0u64)),
        "org.overlayd1.Error.NothingToDo"
    );
}

/// A generation before the live one, left by a reset.
fn make_past(world: &World) {
    let root = world.store().join("overlays/root");
    let two = root.join("generations/2");
    fs::create_dir_all(two.join("fs")).unwrap();
    fs::create_dir_all(two.join("work")).unwrap();
    let record = fs::read_to_string(root.join("generations/1/generation.toml")).unwrap();
    fs::write(two.join("generation.toml"), record.replace("number = 1", "number = 2")).unwrap();
    fs::write(root.join("current"), "2\n").unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let outcome = format!(
        "version = 1\nrequest = \"abc\"\naction = \"reset\"\nrequested-by = \"x\"\nrequested-at = {now}\n\
         executed-at = {now}\nboot = \"b\"\nresult = \"done\"\nfrom-generation = 1\nto-generation = 2\n"
    );
    fs::write(root.join("outcome.toml"), outcome).unwrap();
}

#[test]
fn an_undo_goes_back_to_the_generation_before() {
    let mut world = World::on("ext4", 64);
    make_past(&world);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let plan = done(&bus, undo(&bus, 4));
    assert!(!plan.list("at-boot").is_empty() && !world.request().exists(), "{plan:?}");
    let asked = done(&bus, undo(&bus, 0));
    assert_eq!(asked.number("generation"), 1);
    assert_eq!(property::<String>(&bus, OVERLAY_ROOT, OVERLAY, "PendingAction"), "undo");
    call::<_, ()>(&bus, OVERLAY_ROOT, OVERLAY, "CancelPending", &0u64).unwrap();
}

#[test]
fn single_paths_come_back_at_once_through_the_mounted_overlay() {
    let mut world = World::on("ext4", 64);
    world.boot();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let etc = world.dir.join("root/etc");
    fs::write(etc.join("mine"), "good").unwrap();
    let id = done(&bus, create(&bus, "", 0)).number("snapshot");
    fs::write(etc.join("mine"), "bad").unwrap();
    fs::write(etc.join("of-the-base"), "bad").unwrap();
    fs::remove_dir_all(etc.join("dir")).unwrap();

    let seen = done(&bus, restore(&bus, id, &["/etc/mine"], 4));
    assert!(seen.list("changes").iter().any(|line| line.contains("/etc/mine")), "{seen:?}");
    assert_eq!(fs::read_to_string(etc.join("mine")).unwrap(), "bad");
    let back = done(&bus, restore(&bus, id, &["/etc/mine"], 0));
    assert!(back.number("entries") > 0, "{back:?}");
    assert_eq!(fs::read_to_string(etc.join("mine")).unwrap(), "good");
    done(&bus, restore(&bus, 0, &["/etc/of-the-base", "/etc/dir"], 8));
    assert_eq!(fs::read_to_string(etc.join("of-the-base")).unwrap(), "base");
    assert_eq!(fs::read_to_string(etc.join("dir/file")).unwrap(), "base");
    assert_eq!(property::<String>(&bus, back.job.as_str(), JOB, "Type"), "paths");
    let missing = "org.overlayd1.Error.NoSuchSnapshot";
    assert_eq!(failed(&bus, restore(&bus, 99, &["/etc/mine"], 4)), missing);
    assert_eq!(failed(&bus, restore(&bus, 99, &["/etc/mine"], 0)), missing);
}

#[test]
fn a_commit_carries_what_is_in_ram_to_the_store() {
    let mut world = World::on("ext4", 64);
    world.hand_off("");
    let handoff = fs::read_to_string(world.handoff()).unwrap();
    fs::write(world.handoff(), handoff.replace("\"persistent\"", "\"volatile\"")).unwrap();
    let upper = world.dir.join("run/root/volatile/fs");
    fs::create_dir_all(&upper).unwrap();
    fs::write(upper.join("in-ram"), "x").unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let one = done(&bus, commit(&bus, "", &[], 0)).number("snapshot");
    assert!(world.store().join(format!("overlays/root/snapshots/{one}/fs/in-ram")).exists());
    fs::write(upper.join("more"), "x").unwrap();
    let two = done(&bus, commit(&bus, "", &[], 0)).number("snapshot");
    assert_eq!(property::<u64>(&bus, OVERLAY_ROOT, OVERLAY, "Baseline"), two);
    // Every boot starts from the baseline, so that is what a restore moves.
    done(&bus, restore(&bus, one, &[], 0));
    assert_eq!(property::<u64>(&bus, OVERLAY_ROOT, OVERLAY, "Baseline"), one);
    assert_eq!(failed(&bus, reset(&bus, 0)), "org.overlayd1.Error.Refused");
    // A reset to the image is another thing: the baseline goes, and the snapshots.
    let can: String = call(&bus, ROOT, MANAGER, "CanFactoryReset", &0u64).unwrap();
    assert_eq!(can, "yes");
    let factory = ("factory", &[""; 0][..], 4u64);
    let shown = done(&bus, call(&bus, OVERLAY_ROOT, OVERLAY, "Reset", &factory));
    assert_eq!((shown.list("given-up").len(), shown.number("lost-entries")), (2, 0), "{shown:?}");
    done(&bus, call(&bus, OVERLAY_ROOT, OVERLAY, "Reset", &("factory", &[""; 0][..], 0u64)));
    assert_eq!(property::<String>(&bus, ROOT, MANAGER, "FactoryResetState"), "pending");
}

#[test]
fn a_damaged_snapshot_is_shown_as_such_and_left_alone() {
    let mut world = World::on("ext4", 64);
    world.make_snapshot(1, "");
    let record = world.store().join("overlays/root/snapshots/1/snapshot.toml");
    fs::write(&record, "version = 1\nid = \n").unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    assert_eq!(property::<String>(&bus, FIRST, SNAPSHOT, "State"), "damaged");
    assert_eq!(property::<String>(&bus, FIRST, SNAPSHOT, "Description"), "");
    let error = end(&bus, restore(&bus, 1, &[], 0)).error;
    assert_eq!(error, "org.overlayd1.Error.SnapshotIncomplete");
    assert_eq!(fs::read_to_string(record).unwrap(), "version = 1\nid = \n");
}

#[test]
fn several_clients_at_once_end_with_what_the_store_holds() {
    let mut world = World::on("ext4", 128);
    world.start_daemon(&["--idle-timeout", "0"]);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            let bus = world.connect();
            scope.spawn(move || {
                for _ in 0..12 {
                    // Refused, or accepted and then perhaps overtaken: both are answers.
                    let Ok(accepted) = create(&bus, "one of many", 0) else { continue };
                    let made = end(&bus, Ok(accepted));
                    assert_eq!(made.result, "done", "{made:?}");
                    let path = format!("/org/overlayd1/overlay/root/snapshot/{}", made.number("snapshot"));
                    if made.number("snapshot").is_multiple_of(2)
                        && let Ok(accepted) = delete(&bus, &path)
                    {
                        end(&bus, Ok(accepted));
                    }
                }
            });
        }
    });
    let bus = world.connect();
    call::<_, ()>(&bus, ROOT, MANAGER, "Reload", &0u64).unwrap();
    let rows: Vec<(u64, String, OwnedObjectPath)> =
        call(&bus, OVERLAY_ROOT, OVERLAY, "ListSnapshots", &0u64).unwrap();
    let mut stored: Vec<u64> = fs::read_dir(world.store().join("overlays/root/snapshots"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().parse().unwrap())
        .collect();
    stored.sort_unstable();
    assert!(!stored.is_empty());
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), stored);
    let shown = || objects(&bus).keys().filter(|path| path.as_str().contains("/snapshot/")).count();
    until("the objects are those", || shown() == stored.len());
}
