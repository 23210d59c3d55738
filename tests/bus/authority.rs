//! Who may: root; others by polkit, asked about the message's sender; nobody else, and then nothing happened.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::ear::done;
use crate::world::{
    JOB, MANAGER, OVERLAY, OVERLAY_ROOT, ROOT, SNAPSHOT, World, call, property, reset, text, until,
};

/// A snapshot that is there from the start.
const FIRST: &str = "/org/overlayd1/overlay/root/snapshot/1";

/// Every method that changes or tells something that is not for everybody, as dbus-send writes it.
const MUTATING: &[(&str, &str, &[&str])] = &[
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Reset", &["string:", "array:string:", "uint64:0"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Reset", &["string:", "array:string:", "uint64:2"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Reset", &["string:", "array:string:", "uint64:4"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Reset", &["string:factory", "array:string:/etc", "uint64:8"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Reset", &["string:factory", "array:string:", "uint64:4"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Reset", &["string:wipe", "array:string:", "uint64:2"]),
    (
        OVERLAY_ROOT,
        "org.overlayd1.Overlay.ResetVia",
        &["string:", "array:string:", "string:a button", "uint64:0"],
    ),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.CreateSnapshot", &["string:x", "dict:string:string:", "uint64:0"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.CreateSnapshot", &["string:x", "dict:string:string:", "uint64:1"]),
    (
        OVERLAY_ROOT,
        "org.overlayd1.Overlay.Commit",
        &["string:x", "dict:string:string:", "array:string:", "uint64:0"],
    ),
    (
        OVERLAY_ROOT,
        "org.overlayd1.Overlay.Commit",
        &["string:x", "dict:string:string:", "array:string:/changed", "uint64:4"],
    ),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Restore", &["uint64:1", "array:string:", "uint64:0"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Restore", &["uint64:1", "array:string:", "uint64:4"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Restore", &["uint64:1", "array:string:/changed", "uint64:0"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Restore", &["uint64:0", "array:string:/changed", "uint64:12"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Undo", &["uint64:0"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.Undo", &["uint64:4"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.ListChanges", &["string:", "string:", "array:string:", "uint64:0"]),
    (FIRST, "org.overlayd1.Snapshot.Delete", &["uint64:0"]),
    (FIRST, "org.overlayd1.Snapshot.SetProtected", &["boolean:true", "uint64:0"]),
    (FIRST, "org.overlayd1.Snapshot.SetMetadata", &["string:x", "dict:string:string:", "uint64:0"]),
    (OVERLAY_ROOT, "org.overlayd1.Overlay.CancelPending", &["uint64:0"]),
    (
        "/org/overlayd1",
        "org.overlayd1.Manager.RequestFactoryReset",
        &["string:", "array:string:", "uint64:0"],
    ),
    ("/org/overlayd1", "org.overlayd1.Manager.CancelFactoryReset", &["uint64:0"]),
    ("/org/overlayd1", "org.overlayd1.Manager.MarkGood", &["uint64:0"]),
    ("/org/overlayd1", "org.overlayd1.Manager.MarkBad", &["string:x", "uint64:0"]),
    ("/org/overlayd1", "org.overlayd1.Manager.Reload", &["uint64:0"]),
    (
        "/org/freedesktop/LogControl1",
        "org.freedesktop.DBus.Properties.Set",
        &["string:org.freedesktop.LogControl1", "string:LogLevel", "variant:string:debug"],
    ),
];

/// Every file below a directory with its content.
fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            all.extend(files(&path));
        } else {
            all.insert(path.display().to_string(), fs::read(&path).unwrap());
        }
    }
    all
}

fn denied_everywhere(world: &World, names: &[&str]) {
    let before = files(&world.store());
    for (path, method, arguments) in MUTATING {
        let output = world.call_as_nobody(path, method, arguments);
        let said = text(&output);
        assert!(!output.status.success(), "{method}: {said}");
        assert!(names.iter().any(|n| said.contains(n)), "{method}: {said}");
    }
    let bus = world.connect();
    type Row = (u64, String, String, String, u32, zbus::OwnedObjectPath);
    let jobs: Vec<Row> = call(&bus, ROOT, MANAGER, "ListJobs", &0u64).unwrap();
    assert!(jobs.is_empty(), "{jobs:?}");
    assert_eq!(files(&world.store()), before, "the store changed");
}

fn with_snapshot() -> World {
    let mut world = World::new();
    world.make_snapshot(1, "unstable = [\"/etc/secret\"]\n");
    world.start_daemon(&["--idle-timeout", "0"]);
    world
}

#[test]
fn without_polkit_only_root_may() {
    let world = with_snapshot();
    denied_everywhere(&world, &["org.freedesktop.DBus.Error.AccessDenied"]);
}

#[test]
fn with_polkit_others_are_challenged_and_denied_before_any_effect() {
    let mut world = with_snapshot();
    world.start_polkit("");
    let names = [
        "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
        "org.freedesktop.DBus.Error.AccessDenied",
    ];
    denied_everywhere(&world, &names);
    let can = world.call_as_nobody(ROOT, "org.overlayd1.Manager.CanFactoryReset", &["uint64:0"]);
    assert!(text(&can).contains("\"challenge\""), "{}", text(&can));
    let tool = world.as_nobody("./overlayctl", &["reset", "--yes", "--no-ask-password"]);
    assert_eq!(tool.status.code(), Some(4), "{}", text(&tool));
}

#[test]
fn a_rule_of_the_administrator_is_asked_with_the_overlay_as_a_detail() {
    let mut world = World::with_daemon();
    world.start_polkit(
        "polkit.addRule(function(action, subject) {\n\
           if (action.id == 'org.overlayd1.reset' && action.lookup('overlay') == 'root' &&\n\
               action.lookup('level') == 'baseline' && subject.user == 'nobody') return polkit.Result.YES;\n\
         });\n",
    );
    let tool = world.as_nobody("./overlayctl", &["reset", "--yes"]);
    assert!(tool.status.success(), "{}", text(&tool));
    let request = fs::read_to_string(world.request()).unwrap();
    assert!(request.contains("nobody (uid 65534)"), "{request}");
    // Another action, although its effect is the same: one action a verb.
    let ask = |path: &str, method: &str, level: &str| {
        let arguments = [&format!("string:{level}"), "array:string:", "uint64:0"];
        let output = world.call_as_nobody(path, &format!("org.overlayd1.{method}"), &arguments);
        assert!(!output.status.success(), "{}", text(&output));
        text(&output)
    };
    let denied = ask(ROOT, "Manager.RequestFactoryReset", "");
    assert!(denied.contains("factory-reset"), "{denied}");
    // And another one for what can not be undone.
    for level in ["factory", "wipe"] {
        let denied = ask(OVERLAY_ROOT, "Overlay.Reset", level);
        assert!(denied.contains("factory-reset"), "{denied}");
    }
    assert_eq!(fs::read_to_string(world.request()).unwrap(), request);
}

#[test]
fn rules_know_the_snapshot_and_the_number_of_paths_and_one_action_is_no_other() {
    let mut world = with_snapshot();
    world.start_polkit(
        "polkit.addRule(function(action, subject) {\n\
           if (subject.user != 'nobody') return;\n\
           if (action.id == 'org.overlayd1.delete-snapshot' && action.lookup('snapshot') == '1')\n\
               return polkit.Result.YES;\n\
           if (action.id == 'org.overlayd1.read-changes' && action.lookup('paths') == '1')\n\
               return polkit.Result.YES;\n\
         });\n",
    );
    let ask = |path: &str, method: &str, arguments: &[&str]| {
        world.call_as_nobody(path, &format!("org.overlayd1.{method}"), arguments)
    };
    let allowed = ask(FIRST, "Snapshot.SetProtected", &["boolean:true", "uint64:0"]);
    assert!(allowed.status.success(), "{}", text(&allowed));
    let bus = world.connect();
    assert!(property::<bool>(&bus, FIRST, SNAPSHOT, "Protected"));
    let denied = ask(FIRST, "Snapshot.SetMetadata", &["string:x", "dict:string:string:", "uint64:0"]);
    assert!(!denied.status.success());
    // Looking at a commit takes less than making one.
    let commit = |paths: &str, flags: &str| {
        ask(OVERLAY_ROOT, "Overlay.Commit", &["string:x", "dict:string:string:", paths, flags])
    };
    assert!(!commit("array:string:/changed", "uint64:0").status.success());
    assert!(!commit("array:string:/changed,/other", "uint64:4").status.success());
    let seen = commit("array:string:/changed", "uint64:4");
    assert!(seen.status.success(), "{}", text(&seen));
    // Who asked for a job may read all of it, and stop it.
    let said = text(&seen);
    let (_, job) = said.split_once("object path \"").unwrap();
    let (job, _) = job.split_once('"').unwrap();
    until("the job is over", || property::<String>(&bus, job, JOB, "State") == "finished");
    let details = ask(job, "Job.GetDetails", &["uint64:0"]);
    assert!(text(&details).contains("/changed"), "{}", text(&details));
    let late = ask(job, "Job.Cancel", &["uint64:0"]);
    assert!(text(&late).contains("NoPendingAction"), "{}", text(&late));
    let other = done(&bus, reset(&bus, 4));
    let foreign = ask(&other.job, "Job.Cancel", &["uint64:0"]);
    assert!(!foreign.status.success() && !text(&foreign).contains("NoPendingAction"), "{}", text(&foreign));
}

#[test]
fn names_of_files_are_for_those_who_asked_for_them() {
    let world = with_snapshot();
    let bus = world.connect();
    let paths: &[&str] = &["/changed"];
    let pairs = BTreeMap::<String, String>::new();
    let end = done(&bus, call(&bus, OVERLAY_ROOT, OVERLAY, "Commit", &("", pairs, paths, 4u64)));
    let changes = end.list("changes").join("\n");
    assert!(changes.contains("/changed"), "{changes}");
    let property = ["string:org.overlayd1.Job", "string:Details"];
    let public = world.call_as_nobody(&end.job, "org.freedesktop.DBus.Properties.Get", &property);
    assert!(public.status.success() && !text(&public).contains("/changed"), "{}", text(&public));
    let details = world.call_as_nobody(&end.job, &format!("{JOB}.GetDetails"), &["uint64:0"]);
    assert!(text(&details).contains("AccessDenied"), "{}", text(&details));
    for (path, method) in [(ROOT, "Manager.Describe"), (OVERLAY_ROOT, "Overlay.Describe")] {
        let told = world.call_as_nobody(path, &format!("org.overlayd1.{method}"), &["uint64:0"]);
        let told = text(&told);
        assert!(told.contains("made by hand") && !told.contains("/etc/secret"), "{told}");
    }
    let json: String = call(&bus, ROOT, MANAGER, "Describe", &0u64).unwrap();
    assert!(json.contains("/etc/secret"), "{json}");
}

#[test]
fn everyone_may_look() {
    let world = with_snapshot();
    let status = world.as_nobody("./overlayctl", &["status"]);
    assert!(status.status.success(), "{}", text(&status));
    for (path, method, arguments) in [
        (ROOT, "org.overlayd1.Manager.ListOverlays", vec!["uint64:0"]),
        (OVERLAY_ROOT, "org.overlayd1.Overlay.ListSnapshots", vec!["uint64:0"]),
        (FIRST, "org.freedesktop.DBus.Properties.GetAll", vec!["string:org.overlayd1.Snapshot"]),
        (ROOT, "org.freedesktop.DBus.ObjectManager.GetManagedObjects", vec![]),
        (ROOT, "org.freedesktop.DBus.Introspectable.Introspect", vec![]),
        (ROOT, "org.freedesktop.DBus.Properties.GetAll", vec!["string:org.overlayd1.Manager"]),
    ] {
        let output = world.call_as_nobody(path, method, &arguments);
        assert!(output.status.success(), "{method}: {}", text(&output));
    }
}

#[test]
fn polkit_reads_the_shipped_actions() {
    let mut world = World::new();
    world.start_polkit("");
    for verb in [
        "reset",
        "factory-reset",
        "create-snapshot",
        "delete-snapshot",
        "commit",
        "restore",
        "repair-store",
        "read-changes",
    ] {
        let action = &format!("org.overlayd1.{verb}");
        let output = world.as_nobody("pkaction", &["--verbose", "--action-id", action]);
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        for who in ["implicit any", "implicit inactive", "implicit active"] {
            let line = said.lines().find(|l| l.trim_start().starts_with(who)).unwrap_or_default();
            let kept = verb == "create-snapshot" && who == "implicit active";
            let wanted = if kept { "auth_admin_keep" } else { "auth_admin" };
            assert_eq!(line.split_whitespace().last(), Some(wanted), "{action} {who}: {said}");
        }
    }
}
