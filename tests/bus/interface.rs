//! The interfaces as they are introspected are the ones that docs/ describes.

use std::collections::BTreeSet;
use std::fs;

use crate::world::{JOB, MANAGER, OVERLAY, OVERLAY_ROOT, ROOT, SNAPSHOT, World, call, project, reset, until};

/// One line for each member of `interface` in some introspection XML: comparable whatever the order and the comments.
fn members(xml: &str, interface: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut inside = false;
    let mut member = String::new();
    for tag in tags(xml) {
        let get = |name: &str| attribute(&tag, name).unwrap_or_default();
        match tag.split_whitespace().next().unwrap_or_default() {
            "interface" => inside = get("name") == interface,
            "/interface" => inside = false,
            _ if !inside => {}
            kind @ ("method" | "signal") => {
                member = format!("{kind} {}", get("name"));
                if tag.ends_with('/') {
                    found.insert(std::mem::take(&mut member));
                }
            }
            "arg" => {
                let default = if member.starts_with("signal") { "out" } else { "in" };
                let direction = attribute(&tag, "direction").unwrap_or_else(|| default.to_owned());
                member += &format!(" {direction}:{}:{}", get("name"), get("type"));
            }
            "/method" | "/signal" => {
                found.insert(std::mem::take(&mut member));
            }
            "property" => {
                member = format!("property {}:{}:{}", get("name"), get("type"), get("access"));
                if tag.ends_with('/') {
                    found.insert(std::mem::take(&mut member));
                }
            }
            "annotation" => member += &format!(" {}={}", get("name"), get("value")),
            "/property" => {
                found.insert(std::mem::take(&mut member));
            }
            other => panic!("unexpected element {other}"),
        }
    }
    found
}

/// The insides of all tags, without comments and declarations.
fn tags(xml: &str) -> Vec<String> {
    let mut rest = xml;
    let mut tags = Vec::new();
    while let Some(start) = rest.find('<') {
        rest = &rest[start..];
        let (end, keep) = match rest.starts_with("<!--") {
            true => (rest.find("-->").expect("the comment ends") + 3, false),
            false => (
                rest.find('>').expect("the tag ends") + 1,
                !rest.starts_with("<!") && !rest.starts_with("<?"),
            ),
        };
        if keep {
            tags.push(rest[1..end - 1].trim().to_owned());
        }
        rest = &rest[end..];
    }
    tags
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, rest) = tag.split_once(&format!(" {name}=\""))?;
    rest.split_once('"').map(|(value, _)| value.to_owned())
}

/// `emits` without an annotation means the same as with `true`.
fn normalised(members: BTreeSet<String>) -> BTreeSet<String> {
    const EMITS: &str = " org.freedesktop.DBus.Property.EmitsChangedSignal=";
    let explicit = |m: String| match m.starts_with("property") && !m.contains(EMITS) {
        true => m + EMITS + "true",
        false => m,
    };
    members.into_iter().map(explicit).collect()
}

#[test]
fn introspection_is_what_the_documents_say() {
    let mut world = World::new();
    world.make_snapshot(3, "");
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let (_, job) = reset(&bus, 4).unwrap();
    let snapshot = "/org/overlayd1/overlay/root/snapshot/3";
    let objects = [(ROOT, MANAGER), (OVERLAY_ROOT, OVERLAY), (snapshot, SNAPSHOT), (job.as_str(), JOB)];
    for (path, interface) in objects {
        let live: String =
            call(&bus, path, "org.freedesktop.DBus.Introspectable", "Introspect", &()).unwrap();
        let file = project().join(format!("docs/{interface}.xml"));
        let documented = fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let (live, documented) =
            (normalised(members(&live, interface)), normalised(members(&documented, interface)));
        assert!(!live.is_empty(), "{interface} is not at {path}");
        let undocumented: Vec<_> = live.difference(&documented).collect();
        let missing: Vec<_> = documented.difference(&live).collect();
        assert!(
            undocumented.is_empty() && missing.is_empty(),
            "not in docs: {undocumented:#?}\nonly there: {missing:#?}"
        );
    }
}

#[test]
fn every_member_is_explained() {
    for interface in [MANAGER, OVERLAY, SNAPSHOT, JOB] {
        let xml = fs::read_to_string(project().join(format!("docs/{interface}.xml"))).unwrap();
        let mut explained = false;
        for line in xml.lines().map(str::trim) {
            let member = ["<method", "<signal", "<property"].iter().any(|m| line.starts_with(m));
            assert!(!member || explained, "{interface}: no comment before {line}");
            explained = line.ends_with("-->");
        }
    }
}

#[test]
fn log_control_is_where_systemctl_looks_for_it() {
    let world = World::with_daemon();
    let bus = world.connect();
    let (path, interface) = ("/org/freedesktop/LogControl1", "org.freedesktop.LogControl1");
    let level = || crate::world::property::<String>(&bus, path, interface, "LogLevel");
    assert_eq!(level(), "info");
    let set = |value: &str| {
        let body = (interface, "LogLevel", zbus::Variant::from(value));
        call::<_, ()>(&bus, path, "org.freedesktop.DBus.Properties", "Set", &body)
    };
    set("debug").unwrap();
    assert_eq!(level(), "debug");
    assert_eq!(crate::world::error_name(set("loud")), "org.freedesktop.DBus.Error.InvalidArgs");
    assert_eq!(crate::world::property::<String>(&bus, path, interface, "SyslogIdentifier"), "overlayd");
}

/// Another overlay in the store, as mount.overlayd leaves it.
fn make_another(world: &World) {
    let overlays = world.store().join("overlays");
    let var = overlays.join("var-lib/generations/1");
    fs::create_dir_all(var.join("fs")).unwrap();
    fs::create_dir_all(overlays.join("var-lib/trash")).unwrap();
    fs::copy(overlays.join("root/current"), overlays.join("var-lib/current")).unwrap();
    fs::copy(overlays.join("root/generations/1/generation.toml"), var.join("generation.toml")).unwrap();
}

#[test]
fn an_overlay_that_came_since_the_daemon_looked_is_found_at_once() {
    let world = World::with_daemon();
    let bus = world.connect();
    assert_eq!(crate::world::property::<u64>(&bus, OVERLAY_ROOT, OVERLAY, "Generation"), 1);
    let mut heard = crate::ear::signals(&bus);
    make_another(&world);
    let path: zbus::OwnedObjectPath = call(&bus, ROOT, MANAGER, "GetOverlay", &"var-lib").unwrap();
    assert_eq!(crate::world::property::<u64>(&bus, path.as_str(), OVERLAY, "Generation"), 1);
    let told = crate::ear::signal(&mut heard, "OverlayNew");
    let (name, at): (String, zbus::OwnedObjectPath) = told.body().deserialize().unwrap();
    assert_eq!((name.as_str(), at), ("var-lib", path));
}

#[test]
fn an_overlay_that_only_the_store_knows_is_there_too() {
    let mut world = World::new();
    make_another(&world);
    world.start_daemon(&["--idle-timeout", "0"]);
    let bus = world.connect();
    let path = "/org/overlayd1/overlay/var_2dlib";
    let get: zbus::OwnedObjectPath = call(&bus, ROOT, MANAGER, "GetOverlay", &"var-lib").unwrap();
    assert_eq!(get.as_str(), path);
    let properties = "org.freedesktop.DBus.Properties";
    until("it is announced", || {
        call::<_, zbus::OwnedVariant>(&bus, path, properties, "Get", &(OVERLAY, "Name")).is_ok()
    });
    assert_eq!(crate::world::property::<u64>(&bus, path, OVERLAY, "Generation"), 1);
}

#[test]
fn the_object_manager_has_everything() {
    let world = World::with_daemon();
    let bus = world.connect();
    let objects: zbus::fdo::ManagedObjects =
        call(&bus, ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &()).unwrap();
    let root = objects.iter().find(|(path, _)| path.as_str() == OVERLAY_ROOT).expect("the root overlay");
    let (_, properties) = root.1.iter().find(|(name, _)| name.as_str() == OVERLAY).unwrap();
    assert_eq!(properties["Generation"], zbus::OwnedVariant::from(1u64));
}
