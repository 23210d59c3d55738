//! Soft-reboots: userspace alone starts again, in another generation, and nothing of the one before stays.

use serde_json::Value;

use crate::checks::{Marks, Verdict, assert_healthy, assert_marks, make_marks};
use crate::harness::{Guest, Initramfs, Machine, RootFs, StateFs, Suite};

/// Which processes still have a mount whose upper is that of the generation.
const STILL_MOUNTED: &str = "grep -ls 'upperdir=[^ ]*/generations/GENERATION/fs' /proc/[0-9]*/mountinfo";

/// The daemon deletes what a factory reset gave up, though nobody asks for it.
const COMPLETE: &str = "for second in $(seq 120); do
        overlayctl status --json | grep -q '\"erasure\": *\"complete\"' && exit 0
        sleep 1
    done
    overlayctl status; exit 1";

/// Restarts userspace by `script`; the kernel stays, and the root is healthy.
fn soft_reboot(guest: &mut Guest, script: &str) -> Value {
    let kernel = guest.succeed("cat /proc/sys/kernel/random/boot_id");
    guest.soft_reboot_by(script);
    guest.wait_until_running();
    let after = guest.succeed("cat /proc/sys/kernel/random/boot_id");
    assert_eq!(kernel, after, "the machine rebooted");
    assert_healthy(guest, "persistent")
}

fn assert_gone(guest: &mut Guest, generation: &Value) {
    let found = guest.run(&STILL_MOUNTED.replace("GENERATION", &generation.to_string())).out;
    if !found.is_empty() {
        guest.fail(&format!("generation {generation} is still mounted: {found}"));
    }
}

/// The whole story, on one machine: reset, undo, restore, and a soft-reboot that nobody asked anything of.
fn story(name: &str, suite: Suite, initramfs: Initramfs, state: StateFs) {
    let mut machine = Machine::new(name, suite, initramfs, RootFs::Squashfs, state);
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    let first = assert_healthy(&mut guest, "persistent");
    let capable = "busctl get-property org.overlayd1 /org/overlayd1/overlay/root org.overlayd1.Overlay SoftRebootCapable";
    assert_eq!(guest.succeed(capable).trim(), "b true");
    make_marks(&mut guest);
    guest.succeed("overlayctl snapshot create -m marks");

    let reset = soft_reboot(&mut guest, "overlayctl reset --yes --now=soft-reboot");
    assert_marks(&mut guest, Marks::None);
    assert_eq!(
        (&reset["last"]["action"], &reset["last"]["result"]),
        (&"reset".into(), &"done".into()),
        "{reset:#}"
    );
    assert_eq!(reset["last"]["from-generation"], first["generation"], "{reset:#}");
    assert_eq!(reset["generation"], reset["last"]["to-generation"], "{reset:#}");
    assert_gone(&mut guest, &first["generation"]);

    // Without logind systemd is asked, and everything is stopped in order all the same.
    guest.succeed("systemctl mask --runtime --now systemd-logind.service");
    let undone = soft_reboot(&mut guest, "overlayctl undo --yes --now=soft-reboot");
    guest.succeed("systemctl unmask --runtime systemd-logind.service");
    assert_marks(&mut guest, Marks::All);
    assert_eq!(undone["generation"], first["generation"], "{undone:#}");
    assert_gone(&mut guest, &reset["generation"]);
    guest.succeed("rm -rf /srv; echo new >/etc/new");

    let restored = soft_reboot(&mut guest, "overlayctl restore 1 --yes --now=soft-reboot");
    assert_marks(&mut guest, Marks::All);
    assert_eq!(restored["snapshot"], 1, "{restored:#}");
    guest.succeed("[ ! -e /etc/new ] && echo stays >/etc/stays");

    let same = soft_reboot(&mut guest, "systemctl soft-reboot");
    assert_eq!(same["generation"], restored["generation"], "{same:#}");
    guest.succeed("[ -e /etc/stays ] && overlayctl snapshot create");

    let factory =
        soft_reboot(&mut guest, "overlayctl reset --factory --keep /etc/stays --yes --now=soft-reboot");
    assert_marks(&mut guest, Marks::None);
    assert_eq!(
        (&factory["last"]["level"], &factory["snapshots"]),
        (&"factory".into(), &serde_json::json!([]))
    );
    guest.succeed("[ \"$(cat /etc/stays)\" = stays ]");
    assert_gone(&mut guest, &restored["generation"]);
    assert_eq!(guest.run("overlayctl undo --yes").status, 3, "there is no way back");
    guest.succeed(COMPLETE);
    // The daemon in its sandbox had the filesystem tell the device.
    let secure = assert_healthy(&mut guest, "persistent");
    assert_eq!(secure["last"]["secure"], "unknown", "{secure:#}");
    guest.reboot();
    machine.disk.assert_clean();

    let verdict = Verdict::of(&mut machine, &[]);
    assert_eq!(
        (verdict.mode(), verdict.reason(), verdict.marks()),
        ("persistent", "", "none"),
        "{verdict:#?}"
    );
}

#[test]
fn a_soft_reboot_goes_on_in_another_generation() {
    story("soft", Suite::Trixie, Initramfs::InitramfsTools, StateFs::Ext4);
}

#[cfg(feature = "test-full")]
#[test]
fn a_soft_reboot_on_debian_testing() {
    story("soft-testing", Suite::Forky, Initramfs::Dracut, StateFs::Btrfs);
}

/// systemd 252 can not: it says so before anything is written.
#[test]
fn debian_12_refuses_a_soft_reboot() {
    let mut machine =
        Machine::new("soft-12", Suite::Bookworm, Initramfs::InitramfsTools, RootFs::Squashfs, StateFs::Ext4);
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    let refused = guest.run("overlayctl reset --yes --now=soft-reboot");
    assert_eq!(refused.status, 4, "{refused:?}");
    assert!(refused.err.contains("systemd 252") && refused.err.contains("use a reboot"), "{refused:?}");
    let root = assert_healthy(&mut guest, "persistent");
    assert_eq!(root["pending"], Value::Null, "{root:#}");
    guest.poweroff();
    machine.disk.assert_clean();
}
