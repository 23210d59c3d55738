//! What the unit allows is enough: the daemon under the unit's capabilities, with the root read-only and /home hidden.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::process::Command;

use crate::ear::{Accepted, done};
use crate::world::{OVERLAY, OVERLAY_ROOT, World, call, project};

/// A setting of the unit.
fn setting(name: &str) -> String {
    let unit = fs::read_to_string(project().join("units/overlayd.service")).unwrap();
    let line = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    line.unwrap_or_else(|| panic!("{name} is not in the unit")).to_owned()
}

/// The daemon as the unit starts it, as far as that can be had without systemd.
fn start(world: &mut World) {
    // systemd hides a directory by an empty one of its own on /run.
    let script = format!(
        "mount --make-rslave /; mount -t tmpfs none {dir}/empty; mkdir -p {dir}/empty/systemd/inaccessible/dir\n\
         mount --bind {dir}/empty/systemd/inaccessible/dir {dir}/root/home\n\
         mount -o remount,bind,ro {dir}/root; exec \"$@\"",
        dir = world.dir.display()
    );
    fs::create_dir(world.dir.join("empty")).unwrap();
    let capabilities: Vec<String> = setting("CapabilityBoundingSet")
        .split_whitespace()
        .map(|c| format!("+{}", c.strip_prefix("CAP_").unwrap().to_lowercase()))
        .collect();
    let bounds = format!("--bounding-set=-all,{}", capabilities.join(","));
    let mut sandbox = Command::new("unshare");
    sandbox.args(["-m", "sh", "-ec", &script, "sh"]);
    sandbox.args(["setpriv", "--no-new-privs", "--inh-caps=-all", &bounds]);
    let mut command = world.daemon_command_in(sandbox);
    command.args(["--idle-timeout", "0"]);
    world.spawn_daemon(command);
}

fn must(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", crate::world::text(&output));
}

#[test]
fn the_unit_lets_the_daemon_copy_and_restore_everything_a_layer_may_hold() {
    let mut world = World::on("ext4", 128);
    world.boot();
    let root = world.dir.join("root");
    let at = |name: &str| root.join(name).display().to_string();
    fs::create_dir(root.join("home")).unwrap();
    fs::write(root.join("home/letter"), "dear").unwrap();
    fs::create_dir(root.join("odd")).unwrap();
    must("mknod", &[&at("odd/char"), "c", "10", "200"]);
    must("mknod", &[&at("odd/block"), "b", "7", "99"]);
    fs::write(root.join("odd/capable"), "x").unwrap();
    must("setcap", &["cap_net_raw+ep", &at("odd/capable")]);
    must("setfattr", &["-n", "trusted.mine", "-v", "1", &at("odd/capable")]);
    fs::write(root.join("odd/setuid"), "x").unwrap();
    must("chown", &["1234:5678", &at("odd/setuid")]);
    fs::set_permissions(root.join("odd/setuid"), fs::Permissions::from_mode(0o6755)).unwrap();
    // A whiteout, and an opaque directory.
    fs::remove_file(root.join("etc/of-the-base")).unwrap();
    fs::remove_dir_all(root.join("etc/dir")).unwrap();
    fs::create_dir(root.join("etc/dir")).unwrap();

    start(&mut world);
    let bus = world.connect();
    let none = HashMap::<&str, &str>::new();
    let made = done(&bus, call(&bus, OVERLAY_ROOT, OVERLAY, "CreateSnapshot", &("", none, 0u64)));
    let files = world.store().join(format!("overlays/root/snapshots/{}/fs", made.number("snapshot")));
    check_odd(&files.join("odd"));
    let whiteout = fs::symlink_metadata(files.join("etc/of-the-base")).unwrap();
    assert!(whiteout.file_type().is_char_device() && whiteout.rdev() == 0);
    must("getfattr", &["-n", "trusted.overlay.opaque", &files.join("etc/dir").display().to_string()]);

    fs::remove_dir_all(root.join("odd")).unwrap();
    fs::write(root.join("home/letter"), "scribble").unwrap();
    fs::write(root.join("etc/of-the-base"), "back again").unwrap();
    let paths = &["/odd", "/home/letter", "/etc/of-the-base"][..];
    let back: zbus::Result<Accepted> =
        call(&bus, OVERLAY_ROOT, OVERLAY, "Restore", &(made.number("snapshot"), paths, 0u64));
    done(&bus, back);
    check_odd(&root.join("odd"));
    assert_eq!(fs::read_to_string(root.join("home/letter")).unwrap(), "dear");
    assert!(!root.join("etc/of-the-base").exists());
}

#[test]
fn the_unit_lets_the_daemon_compare_what_is_live_with_the_base() {
    let mut world = World::on("ext4", 128);
    world.boot();
    let root = world.dir.join("root");
    // Hidden from the daemon, but not in the layer.
    fs::create_dir(root.join("home")).unwrap();
    fs::set_permissions(root.join("home"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(root.join("home/secret"), "x").unwrap();
    fs::set_permissions(root.join("home/secret"), fs::Permissions::from_mode(0o000)).unwrap();
    std::os::unix::fs::chown(root.join("home"), Some(1234), Some(1234)).unwrap();
    fs::remove_file(root.join("etc/of-the-base")).unwrap();
    start(&mut world);
    let said = world.tool(&["diff"]);
    let expected = "+ file /changed, 11 bytes\n- file /etc/of-the-base, 4 bytes\n+ directory /home\n\
                    + file /home/secret, 1 bytes\n";
    assert_eq!(crate::world::text(&said), expected);
}

fn check_odd(dir: &std::path::Path) {
    let look = |name: &str| fs::symlink_metadata(dir.join(name)).unwrap();
    assert!(look("char").file_type().is_char_device());
    assert_eq!(look("char").rdev(), nix::sys::stat::makedev(10, 200));
    assert!(look("block").file_type().is_block_device());
    assert_eq!(look("block").rdev(), nix::sys::stat::makedev(7, 99));
    let setuid = look("setuid");
    assert_eq!((setuid.uid(), setuid.gid(), setuid.mode() & 0o7777), (1234, 5678, 0o6755));
    let capable = dir.join("capable").display().to_string();
    must("getfattr", &["-n", "security.capability", &capable]);
    must("getfattr", &["-n", "trusted.mine", &capable]);
}
