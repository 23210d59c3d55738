//! The factory reset as the bus shows it: levels, what is kept, who asks, and where it stands.

use std::collections::HashMap;
use std::fs;

use serde_json::Value;
use zbus::Connection;

use crate::ear::{Accepted, done, signal, signals};
use crate::world::{MANAGER, OVERLAY, OVERLAY_ROOT, ROOT, World, call, error_name, property};

/// `Overlay.Reset`.
fn reset(bus: &Connection, level: &str, keep: &[&str], flags: u64) -> zbus::Result<Accepted> {
    call(bus, OVERLAY_ROOT, OVERLAY, "Reset", &(level, keep, flags))
}

fn state(bus: &Connection) -> String {
    property(bus, ROOT, MANAGER, "FactoryResetState")
}

fn described(bus: &Connection) -> Value {
    let json: String = call(bus, OVERLAY_ROOT, OVERLAY, "Describe", &0u64).unwrap();
    serde_json::from_str(&json).unwrap()
}

/// An outcome of a reset, with more lines.
fn write_outcome(world: &World, more: &str) {
    let text = format!(
        "version = 1\nrequest = \"f00\"\naction = \"reset\"\nrequested-by = \"a test\"\nrequested-at = 1\n\
         executed-at = 2\nboot = \"b\"\nfrom-generation = 1\nto-generation = 1\n{more}"
    );
    fs::write(world.store().join("overlays/root/outcome.toml"), text).unwrap();
}

#[test]
fn a_request_says_how_far_it_goes_what_it_keeps_and_how_it_was_asked() {
    let world = World::with_daemon();
    let bus = world.connect();
    done(&bus, reset(&bus, "factory", &["/etc/machine-id", "!/etc/ssh/**"], 8));
    let request = fs::read_to_string(world.request()).unwrap();
    for line in
        ["level = \"factory\"", "drop-kept = true", "via = \"D-Bus\"", "/etc/machine-id", "!/etc/ssh/**"]
    {
        assert!(request.contains(line), "{line} is not in\n{request}");
    }
    let pending = &described(&bus)["pending"];
    assert_eq!((&pending["level"], &pending["drop-kept"]), (&"factory".into(), &true.into()), "{pending}");
    assert_eq!(pending["keep"], serde_json::json!(["/etc/machine-id", "!/etc/ssh/**"]));
    assert_eq!(state(&bus), "pending");
    // The same is no step; what goes less far does not take its place.
    let again = done(&bus, reset(&bus, "factory", &["/etc/machine-id", "!/etc/ssh/**"], 8));
    assert!(again.flag("was-pending"));
    let milder = reset(&bus, "", &[], 0);
    assert_eq!(crate::ear::failed(&bus, milder), "org.overlayd1.Error.RebootPending");
    call::<_, ()>(&bus, ROOT, MANAGER, "CancelFactoryReset", &0u64).unwrap();
    assert_eq!(state(&bus), "off");
}

#[test]
fn what_goes_further_takes_the_place_of_a_milder_reset() {
    let world = World::with_daemon();
    let bus = world.connect();
    done(&bus, reset(&bus, "baseline", &[], 0));
    assert!(!fs::read_to_string(world.request()).unwrap().contains("level"));
    call::<_, ()>(&bus, ROOT, MANAGER, "RequestFactoryReset", &("factory", &[""; 0][..], 0u64)).unwrap();
    crate::world::until("it took its place", || {
        fs::read_to_string(world.request()).is_ok_and(|text| text.contains("level = \"factory\""))
    });
}

#[test]
fn what_asks_is_on_record_if_root_says_so() {
    let world = World::with_daemon();
    let bus = world.connect();
    let ask = |via: &str| {
        call::<_, Accepted>(&bus, OVERLAY_ROOT, OVERLAY, "ResetVia", &("", &[""; 0][..], via, 0u64))
    };
    assert_eq!(error_name(ask("two\nlines")), "org.freedesktop.DBus.Error.InvalidArgs");
    done(&bus, ask("factory-reset.target"));
    let pending = &described(&bus)["pending"];
    assert_eq!(pending["via"], "factory-reset.target");
    assert_eq!(pending["requested-by"], "root (uid 0) via D-Bus");
}

#[test]
fn the_state_goes_with_the_record_and_is_told() {
    let world = World::with_daemon();
    let bus = world.connect();
    assert_eq!(state(&bus), "off");
    assert_eq!(property::<String>(&bus, ROOT, MANAGER, "ResetIsSecure"), "unknown");
    let reload = || call::<_, ()>(&bus, ROOT, MANAGER, "Reload", &0u64).unwrap();
    let mut told = signals(&bus);
    write_outcome(
        &world,
        "result = \"done\"\nlevel = \"factory\"\nerasure = \"complete\"\nsecure = \"no\"\nsecure-why = \"deleted\"\n\
         kept = [\"/etc/machine-id\"]\nkept-count = 1\nunmatched = [\"/etc/gone\"]\nvia = \"a button\"\n",
    );
    reload();
    loop {
        let message = signal(&mut told, "PropertiesChanged");
        type Told = (String, HashMap<String, zbus::OwnedVariant>, Vec<String>);
        let (interface, values, _): Told = message.body().deserialize().unwrap();
        if interface == MANAGER {
            assert_eq!(
                values["FactoryResetState"],
                zbus::OwnedVariant::try_from(zbus::Variant::from("complete")).unwrap()
            );
            assert!(values.contains_key("ResetIsSecure"), "{values:?}");
            break;
        }
    }
    let last = &described(&bus)["last"];
    assert_eq!((&last["level"], &last["via"]), (&"factory".into(), &"a button".into()));
    assert_eq!((&last["kept"][0], &last["unmatched"][0]), (&"/etc/machine-id".into(), &"/etc/gone".into()));
    assert_eq!((&last["secure"], &last["secure-why"]), (&"no".into(), &"deleted".into()));
    write_outcome(&world, "result = \"failed\"\nmessage = \"no space\"\n");
    reload();
    assert_eq!(state(&bus), "failed");
    // Names of files are for root.
    write_outcome(&world, "result = \"done\"\nkept = [\"/home/secret\"]\nkept-count = 1\n");
    reload();
    let public = world.call_as_nobody(ROOT, "org.overlayd1.Manager.Describe", &["uint64:0"]);
    let public = crate::world::text(&public);
    assert!(public.contains("kept-count") && !public.contains("/home/secret"), "{public}");
}

#[test]
fn a_dry_run_names_what_is_lost_and_kept_to_those_who_may_know() {
    let mut world = World::new();
    world.make_snapshot(1, "");
    for (name, content) in [("etc/machine-id", "4711\n"), ("etc/other", "x"), ("root/\u{1b}[2J", "odd")] {
        let path = world.upper().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let lists = world.dir.join("root/usr/lib/overlayd/keep.d");
    fs::create_dir_all(&lists).unwrap();
    fs::write(lists.join("10-id.conf"), "/etc/machine-id\n").unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let end = done(&bus, reset(&bus, "factory", &["/etc/gone"], 4));
    assert_eq!(end.list("kept"), ["file /etc/machine-id, 5 bytes"]);
    let lost = end.list("lost");
    for line in ["file /changed, 11 bytes", "file /etc/other, 1 bytes", "directory /root"] {
        assert!(lost.iter().any(|l| l == line), "{line} is not in {lost:?}");
    }
    assert!(!lost.iter().any(|line| line.contains('\u{1b}') || line == "directory /etc"), "{lost:?}");
    assert_eq!(end.list("unmatched"), ["/etc/gone"]);
    let given_up = end.list("given-up");
    assert!(given_up.len() == 1 && given_up[0].starts_with("snapshot 1 \"made by hand\""), "{given_up:?}");
    assert_eq!((end.number("kept-entries"), end.number("kept-bytes"), end.number("lost-entries")), (1, 5, 4));
    assert!(end.flag("complete"));
    assert!(end.list("at-boot").len() > 4 && !world.request().exists());
    // Names of files are not for everybody.
    let property = ["string:org.overlayd1.Job", "string:Details"];
    let public = world.call_as_nobody(&end.job, "org.freedesktop.DBus.Properties.Get", &property);
    let public = crate::world::text(&public);
    assert!(
        public.contains("given-up") && !public.contains("machine-id") && !public.contains("/changed"),
        "{public}"
    );
    // What is configured can be dropped.
    let dropped = done(&bus, reset(&bus, "factory", &[], 12));
    assert_eq!((dropped.number("kept-entries"), dropped.number("lost-entries")), (0, 6));
    let page = crate::world::text(&world.tool(&["reset", "--factory", "--keep", "/etc/gone", "--dry-run"]));
    let head = "Kept: 1 entry, 5B\n  file /etc/machine-id, 5 bytes\nNothing matches\n  /etc/gone\nLost: 4 entries, 15B\n";
    assert!(page.starts_with(head), "{page}");
    assert!(page.contains("Lost as a whole\n  snapshot 1") && page.contains("At the next boot:\n"), "{page}");
    let json = world.tool(&["--json", "reset", "--factory", "--keep", "/etc/gone", "--dry-run"]);
    let json: Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json["kept-entries"], &json["unmatched"][0]), (&1.into(), &"/etc/gone".into()), "{json}");
    assert!(json["now"].is_array() && json["lost"].as_array().is_some_and(|l| l.len() == 4), "{json}");
}

#[test]
fn a_wipe_keeps_nothing_and_says_so_before() {
    let world = World::with_daemon();
    let bus = world.connect();
    let refused = "org.overlayd1.Error.Refused";
    assert_eq!(crate::ear::failed(&bus, reset(&bus, "wipe", &["/etc/machine-id"], 0)), refused);
    assert!(!world.request().exists());
    let tool = world.tool(&["reset", "--wipe", "--keep", "/etc/machine-id", "--yes"]);
    assert_eq!(tool.status.code(), Some(4), "{}", crate::world::text(&tool));
    assert!(crate::world::text(&tool).contains("--factory"), "{}", crate::world::text(&tool));
}

#[test]
fn a_wipe_that_the_boot_would_refuse_is_refused_at_once_and_in_a_dry_run() {
    let mut world = World::new();
    world.hand_off(
        "generation = 1\n[state]\nwanted = \"LABEL=overlayd\"\ndevice = \"/dev/nowhere\"\n\
         fstype = \"xfs\"\nuuid = \"none\"\npath = \"overlayd\"\n",
    );
    let config = world.dir.join("root/usr/lib/overlayd/overlayd.toml");
    fs::write(config, "[state]\noptions = \"logdev=/dev/other\"\n").unwrap();
    world.start_daemon(&["--idle-timeout", "0"]);
    for last in ["--yes", "--dry-run"] {
        let tool = world.tool(&["reset", "--wipe", "--drop-kept", last]);
        let said = crate::world::text(&tool);
        assert_eq!(tool.status.code(), Some(4), "{said}");
        assert!(said.contains("lies on another device (logdev=/dev/other)"), "{said}");
    }
    assert!(!world.request().exists());
}
