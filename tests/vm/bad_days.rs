//! Bad days: whatever is broken, the machine comes up in the declared fallback, says why, and deletes nothing.

use crate::checks::{
    Marks, Verdict, assert_healthy, assert_marks, assert_no_failed_units, make_marks, status, status_of_root,
};
use crate::harness::Initramfs::Dracut;
use crate::harness::RootFs::Squashfs;
use crate::harness::StateFs::Ext4;
use crate::harness::{Guest, Machine, StateDrive, Suite};
use std::sync::OnceLock;

/// Seconds of waiting that `timeout = "10s"` may end in, with what an emulated machine needs for looking.
const WAIT_LIMIT_MS: i64 = 15_000;

/// The first few of many, each of which costs a boot: tests/mounts tries them all in seconds.
fn sample<T>(all: &[T], few: usize) -> &[T] {
    if cfg!(feature = "test-full") { all } else { &all[..few.min(all.len())] }
}

/// The usual machine after its first boot, which is one for all of them.
fn with_store(name: &str) -> Machine {
    static FIRST: OnceLock<Machine> = OnceLock::new();
    let first = FIRST.get_or_init(|| {
        let mut first = Machine::usual("bad-first");
        assert_eq!(Verdict::of(&mut first, &[]).mode(), "persistent");
        first
    });
    let mut machine = Machine::usual(name);
    machine.disk = first.disk.copy(machine.dir().join("state.img"));
    machine
}

#[test]
fn the_state_device_is_missing() {
    let mut machine = Machine::usual("bad-missing");
    machine.drive = StateDrive::Missing;
    let mut guest = boot_degraded(&mut machine, &[], "LABEL=overlayd");
    let waited = guest.succeed("sed -n 's/^waited-ms = //p' /run/overlayd/boot.toml");
    let waited: i64 = waited.trim().parse().unwrap_or(i64::MAX);
    assert!(waited <= WAIT_LIMIT_MS, "boot waited {waited} ms");
    let greeting = guest.succeed("cat /run/motd.d/overlayd");
    assert!(greeting.contains("/ is volatile") && greeting.contains("LABEL=overlayd"), "{greeting}");
    make_marks(&mut guest);
    let refused = guest.run("overlayctl reset --yes");
    assert!(refused.status != 0, "a reset without a store succeeded: {refused:?}");
    guest.poweroff();
}

#[test]
fn the_state_device_is_read_only() {
    let mut machine = with_store("bad-read-only");
    machine.drive = StateDrive::ReadOnly;
    let before = machine.disk.digest();
    let mut guest = boot_degraded(&mut machine, &[], "read-only");
    make_marks(&mut guest);
    guest.poweroff();
    assert_eq!(machine.disk.digest(), before);
}

#[test]
fn a_corrupt_superblock_is_not_formatted() {
    let mut machine = with_store("bad-superblock");
    let sound = machine.disk.copy(machine.dir().join("sound.img"));
    let eager = ["overlayd.device=/dev/vdb", "overlayd.fstype=ext4", "overlayd.format=if-blank"];
    for damage in sample(&["/dev/zero", "/dev/urandom"], 1) {
        machine.disk = sound.copy(machine.dir().join("state.img"));
        machine.disk.overwrite(damage, 0, 1);
        let before = machine.disk.digest();
        let verdict = Verdict::of(&mut machine, &eager);
        assert_eq!(verdict.mode(), "volatile", "superblock from {damage}: {verdict:#?}");
        assert_ne!(verdict.reason(), "", "superblock from {damage}: {verdict:#?}");
        assert_eq!(machine.disk.digest(), before, "superblock from {damage}: the disk was written to");
    }
}

#[test]
fn a_blank_device_is_formatted_only_where_the_configuration_says_so() {
    let mut machine = Machine::usual("bad-blank");
    machine.disk = machine.disk.blanked();
    let before = machine.disk.digest();
    let verdict = Verdict::of(&mut machine, &["overlayd.device=/dev/vdb"]);
    assert_eq!(verdict.mode(), "volatile", "{verdict:#?}");
    assert_eq!(machine.disk.digest(), before, "the disk was written to");
    let eager = ["overlayd.device=/dev/vdb", "overlayd.fstype=ext4", "overlayd.format=if-blank"];
    let verdict = Verdict::of(&mut machine, &eager);
    assert_eq!(verdict.mode(), "persistent", "{verdict:#?}");
}

#[test]
fn damaged_records_are_refused_by_name_and_kept() {
    let mut machine = with_store("bad-records");
    let sound = machine.disk.copy(machine.dir().join("sound.img"));
    let damages = [
        ("overlays/root/generations/1/generation.toml", "printf ''"),
        ("store.toml", "echo 'what is this'"),
        ("overlays/root/current", "echo 'what is this'"),
        ("overlays/root/current", "printf ''"),
        ("overlays/root/generations/1/generation.toml", "echo 'version = 99'"),
    ];
    for (file, damage) in sample(&damages, 2) {
        machine.disk = sound.copy(machine.dir().join("state.img"));
        machine.disk.inside(&format!(
            "{damage} >overlayd/{file}; echo mine >overlayd/overlays/root/generations/1/fs/f"
        ));
        let before = machine.disk.inside(LISTING);
        let verdict = Verdict::of(&mut machine, &[]);
        let what = format!("{file} after {damage}: {verdict:#?}");
        assert_eq!(verdict.mode(), "volatile", "{what}");
        assert!(verdict.reason().contains(file), "{what}");
        assert_eq!(verdict.mounted(), "overlay rw", "{what}");
        assert_eq!(machine.disk.inside(LISTING), before, "the store was changed: {what}");
    }
}

/// All files of the store with their content, and everything else by name.
const LISTING: &str = "cd overlayd; find . ! -path ./lock -printf '%p %y %m %s\\n' | sort; \
    find . -type f ! -path ./reserve -print0 | sort -z | xargs -0 sha256sum";

#[test]
fn a_record_is_damaged_and_the_running_system_says_so() {
    let mut machine = with_store("bad-record-status");
    machine.disk.inside("echo nonsense >overlayd/store.toml");
    let mut guest = boot_degraded(&mut machine, &[], "store.toml");
    let refused = guest.run("overlayctl reset --yes");
    assert!(refused.status == 4 || refused.status == 1, "a reset of a damaged store: {refused:?}");
    assert!(refused.err.contains("store.toml"), "the damaged file is not named: {refused:?}");
    guest.poweroff();
    assert_eq!(machine.disk.inside("cat overlayd/store.toml"), "nonsense\n");
}

#[test]
fn the_work_directory_is_unusable() {
    let mut machine = with_store("bad-work");
    let sound = machine.disk.copy(machine.dir().join("sound.img"));
    let damages = [
        "rm -r work; echo x >work",
        "rm -rf work; mkdir -p work/work; chattr +i work/work work",
        "chattr +i work",
    ];
    for damage in sample(&damages, 1) {
        machine.disk = sound.copy(machine.dir().join("state.img"));
        machine.disk.inside(&format!(
            "cd overlayd/overlays/root/generations/*/; echo precious >fs/srv-file; {damage}"
        ));
        let verdict = Verdict::of(&mut machine, &[]);
        let repaired = verdict.mode() == "persistent" && verdict.reason().is_empty();
        let fell_back = verdict.mode() == "volatile" && verdict.reason().contains("work");
        assert!(repaired || fell_back, "{damage}: {verdict:#?}");
        assert_eq!(verdict.mounted(), "overlay rw", "{damage}: {verdict:#?}");
        let kept = machine.disk.inside("cat overlayd/overlays/root/generations/*/fs/srv-file");
        assert_eq!(kept, "precious\n", "{damage}: data was lost");
    }
}

#[test]
fn a_reset_works_on_a_full_disk() {
    let mut machine = Machine::usual("bad-full");
    machine.disk.format(&["-N", "2048"]);
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    make_marks(&mut guest);
    guest.succeed(FILL);
    guest.reboot();
    machine.disk.assert_clean();

    // In whatever mode a full disk leaves it, the machine is up, and can be reset.
    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    assert_no_failed_units(&mut guest);
    guest.run(FILL);
    guest.reboot_by("overlayctl reset --yes --now=reboot");
    machine.disk.assert_clean();

    let mut guest = machine.boot(&[]);
    guest.wait_until_up();
    let root = assert_healthy(&mut guest, "persistent");
    assert_eq!(root["last"]["result"], "done", "{root:#}");
    assert_marks(&mut guest, Marks::None);
    guest.succeed("[ ! -e /var/full ]");
    guest.poweroff();
    machine.disk.assert_clean();
}

/// Not one inode and not one block is left.
const FILL: &str = "mkdir -p /var/full; cd /var/full
    while : >$RANDOM$RANDOM$RANDOM; do :; done 2>/dev/null
    file=$(ls | head -n 1)
    cat /dev/zero >>$file 2>/dev/null
    ! : >another && ! head -c 100000 /dev/zero >>$file";

#[test]
fn an_impossible_configuration_ends_in_the_fallback() {
    let mut machine = Machine::usual("bad-config");
    let mistakes = [("overlayd.mode=persitent", "persitent"), ("overlayd.devcie=LABEL=overlayd", "devcie")];
    for (words, named) in sample(&mistakes, 1) {
        let verdict = Verdict::of(&mut machine, &[words]);
        assert_eq!(verdict.mode(), "volatile", "{words}: {verdict:#?}");
        assert!(verdict.reason().contains(named), "{words}: {verdict:#?}");
    }
}

#[test]
fn the_state_device_by_uuid_and_by_path() {
    let mut machine = Machine::usual("device-names");
    machine.disk.format(&["-U", "0d4e7e52-6d1c-4f5e-9a53-0a5b6c7d8e9f"]);
    for device in ["UUID=0d4e7e52-6d1c-4f5e-9a53-0a5b6c7d8e9f", "/dev/vdb"] {
        let verdict = Verdict::of(&mut machine, &[&format!("overlayd.device={device}")]);
        assert_eq!(verdict.mode(), "persistent", "{device}: {verdict:#?}");
    }
}

#[test]
fn fallback_fail_stops_the_boot() {
    let mut machine = Machine::usual("bad-fail");
    machine.drive = StateDrive::Missing;
    let mut guest = machine.boot(&["overlayd.fallback=fail", "overlayd.timeout=1s"]);
    assert!(guest.wait_for_console("and fallback = \"fail\" is configured"));
    guest.cut_power();

    let mut machine = Machine::new("bad-fail-dracut", Suite::Trixie, Dracut, Squashfs, Ext4);
    machine.drive = StateDrive::Missing;
    let mut guest = machine.boot(&["overlayd.fallback=fail", "overlayd.timeout=1s"]);
    assert!(guest.wait_for_console("Entering emergency mode"));
    guest.cut_power();
}

/// Boots; the root is volatile in place of persistent, and the status says so and names `reason`.
fn boot_degraded(machine: &mut Machine, words: &[&str], reason: &str) -> Guest {
    let mut guest = machine.boot(words);
    guest.wait_until_up();
    assert_no_failed_units(&mut guest);
    let root = status_of_root(&mut guest);
    let named = root["degraded"].as_str().is_some_and(|text| text.contains(reason));
    if root["configured-mode"] != "persistent" || root["mode"] != "volatile" || !named {
        let status = status(&mut guest);
        guest.fail(&format!("expected a volatile root, because of {reason:?}: {status:#}"));
    }
    guest
}
