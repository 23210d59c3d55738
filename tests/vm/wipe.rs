//! The wipe of a real machine's state disk: nothing of what was there is found on the raw disk, whenever the power goes.

use std::process::Command;

use crate::checks::{Marks, assert_healthy, assert_marks, make_marks, status_of_root};
use crate::harness::{Guest, Initramfs, Machine, RootFs, StateFs, Suite};
use crate::power::{cut_at_random, cuts, time_execution};

/// What must be found nowhere.
const SECRET: &str = "overlayd-vm-secret-51be09d4";
/// In a file, in a name, and in a file that was deleted again.
const HIDE: &str = "yes overlayd-vm-secret-51be09d4 | head -c 3000000 | tee /srv/deleted >/srv/secret
    touch /srv/overlayd-vm-secret-51be09d4; sync; rm /srv/deleted";
const WIPE: &str = "overlayctl reset --wipe --yes";

/// The whole way: asked of the daemon, carried out by the next boot, told by status.
fn wiped_by_a_reboot(state: StateFs, initramfs: Initramfs) {
    let name = format!("wipe-{}", state.word());
    let mut machine = Machine::new(&name, Suite::Trixie, initramfs, RootFs::Squashfs, state);
    let mut guest = lived(&mut machine);
    guest.succeed("overlayctl snapshot create");
    guest.reboot_by(&format!("{WIPE} && systemctl reboot"));
    let old = store_of(&machine);
    assert!(holds_secret(&machine), "the search works");

    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    assert_healthy(&mut guest, "persistent");
    assert_marks(&mut guest, Marks::None);
    let root = status_of_root(&mut guest);
    let outcome = &root["last"];
    let told = [&outcome["result"], &outcome["level"], &root["generation"]];
    if told != [&"done".into(), &"wipe".into(), &serde_json::Value::from(1)] {
        guest.fail(&format!("status does not tell of the wipe: {root:#}"));
    }
    let why = outcome["secure-why"].as_str().unwrap_or_default().to_owned();
    assert!(outcome["secure"] == "unknown" && why.contains("BLKDISCARD"), "{outcome:#}");
    guest.succeed("test -z \"$(overlayctl snapshot list | tail -n +2)\"");
    guest.poweroff();
    assert_gone(&machine, &old, "after a reboot");
    machine.disk.assert_clean();
}

#[test]
fn a_wipe_of_ext4_by_initramfs_tools_leaves_nothing() {
    wiped_by_a_reboot(StateFs::Ext4, Initramfs::InitramfsTools);
}

#[test]
fn a_wipe_of_xfs_by_dracut_leaves_nothing() {
    wiped_by_a_reboot(StateFs::Xfs, Initramfs::Dracut);
}

#[test]
fn power_cuts_while_a_wipe_is_executed_on_ext4() {
    cut(StateFs::Ext4, cuts(3, 14));
}

#[test]
fn power_cuts_while_a_wipe_is_executed_on_xfs() {
    cut(StateFs::Xfs, cuts(1, 8));
}

#[test]
fn power_cuts_while_a_wipe_is_executed_on_btrfs() {
    cut(StateFs::Btrfs, cuts(1, 8));
}

fn cut(state: StateFs, times: u32) {
    let name = format!("wipe-power-{}", state.word());
    let mut machine = Machine::new(&name, Suite::Trixie, Initramfs::InitramfsTools, RootFs::Squashfs, state);
    let mut guest = lived(&mut machine);
    guest.succeed(WIPE);
    guest.poweroff();
    let old = store_of(&machine);
    assert!(holds_secret(&machine), "the search works");
    let armed = machine.disk.copy(machine.dir().join("armed.img"));
    let window = time_execution(&mut machine);
    assert_gone(&machine, &old, "undisturbed");
    cut_at_random(&mut machine, &armed, window, times, &|machine, verdict, what| {
        let ended = (verdict.mode(), verdict.marks(), verdict.generation());
        assert_eq!(ended, ("persistent", "none", 1), "{what}");
        assert_gone(machine, &old, what);
    });
}

/// A machine with marks and secrets, up.
fn lived(machine: &mut Machine) -> Guest {
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    make_marks(&mut guest);
    guest.succeed(HIDE);
    guest
}

fn store_of(machine: &Machine) -> String {
    machine.disk.inside("grep ^uuid overlayd/store.toml")
}

/// A new store that says how it came about, and nothing of the old one on the whole disk.
fn assert_gone(machine: &Machine, old: &str, what: &str) {
    assert!(!holds_secret(machine), "the secret is on the raw disk: {what}");
    assert_ne!(store_of(machine), old, "{what}");
    let root = machine.disk.inside("cd overlayd/overlays/root; ls; cat outcome.toml");
    assert!(!root.contains("request.toml"), "a request is left: {what}: {root}");
    assert!(root.contains("result = \"done\"") && root.contains("level = \"wipe\""), "{what}: {root}");
}

fn holds_secret(machine: &Machine) -> bool {
    let output = Command::new("grep").args(["-c", "-a", "-F", SECRET]).arg(machine.disk.path()).output();
    let output = output.unwrap_or_else(|error| panic!("failed to run grep: {error}"));
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    output.status.success()
}
