//! Who may: root; others by polkit, asked about the message's sender; nobody else, and then nothing happened.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::world::{MANAGER, ROOT, World, call, text};

/// Every mutating method, as dbus-send writes it.
const MUTATING: &[(&str, &str, &[&str])] = &[
    ("/org/overlayd1/overlay/root", "org.overlayd1.Overlay.Reset", &["string:", "array:string:", "uint64:0"]),
    ("/org/overlayd1/overlay/root", "org.overlayd1.Overlay.Reset", &["string:", "array:string:", "uint64:2"]),
    ("/org/overlayd1/overlay/root", "org.overlayd1.Overlay.Reset", &["string:", "array:string:", "uint64:4"]),
    ("/org/overlayd1/overlay/root", "org.overlayd1.Overlay.CancelPending", &["uint64:0"]),
    (
        "/org/overlayd1",
        "org.overlayd1.Manager.RequestFactoryReset",
        &["string:", "array:string:", "uint64:0"],
    ),
    ("/org/overlayd1", "org.overlayd1.Manager.CancelFactoryReset", &["uint64:0"]),
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

#[test]
fn without_polkit_only_root_may() {
    let world = World::with_daemon();
    denied_everywhere(&world, &["org.freedesktop.DBus.Error.AccessDenied"]);
}

#[test]
fn with_polkit_others_are_challenged_and_denied_before_any_effect() {
    let mut world = World::with_daemon();
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
               action.lookup('level') == 'reset' && subject.user == 'nobody') return polkit.Result.YES;\n\
         });\n",
    );
    let tool = world.as_nobody("./overlayctl", &["reset", "--yes"]);
    assert!(tool.status.success(), "{}", text(&tool));
    let request = fs::read_to_string(world.request()).unwrap();
    assert!(request.contains("nobody (uid 65534)"), "{request}");
    // Another action, although its effect is the same: one action a verb.
    let arguments = ["string:", "array:string:", "uint64:0"];
    let other = world.call_as_nobody(ROOT, "org.overlayd1.Manager.RequestFactoryReset", &arguments);
    assert!(!other.status.success(), "{}", text(&other));
}

#[test]
fn everyone_may_look() {
    let world = World::with_daemon();
    let status = world.as_nobody("./overlayctl", &["status"]);
    assert!(status.status.success(), "{}", text(&status));
    for (path, method, arguments) in [
        (ROOT, "org.overlayd1.Manager.ListOverlays", vec!["uint64:0"]),
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
    for action in ["org.overlayd1.reset", "org.overlayd1.factory-reset"] {
        let output = world.as_nobody("pkaction", &["--verbose", "--action-id", action]);
        let said = text(&output);
        assert!(output.status.success(), "{said}");
        for who in ["implicit any", "implicit inactive", "implicit active"] {
            let line = said.lines().find(|l| l.trim_start().starts_with(who)).unwrap_or_default();
            assert_eq!(line.split_whitespace().last(), Some("auth_admin"), "{action} {who}: {said}");
        }
    }
}
