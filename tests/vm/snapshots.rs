//! Snapshots in the life of a machine: break it and get it back, commit and reset, undo, all by the tool, with the
//! daemon in its sandbox.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::checks::{Marks, assert_healthy, assert_marks, make_marks};
use crate::harness::{Guest, Initramfs, Machine, RootFs, StateFs, Suite};

/// Everything about the parts of the root that no service changes by itself, one line an entry.
const MANIFEST: &str = r#"
    cd / || exit
    sync
    find etc usr srv -xdev \( -type d -printf '%p %y %m %U:%G %T@\n' \) -o -printf '%p %y %m %U:%G %T@ %s %l\n'
    find etc usr/bin usr/sbin srv -xdev -type f -print0 | xargs -0 sha256sum
    getfattr --absolute-names --no-dereference --recursive --dump --match=- etc srv 2>/dev/null
    true
"#;

/// `cap_net_raw+ep`, as the kernel stores it (struct vfs_cap_data, version 2).
const NET_RAW: &str = "0x0100000200200000000000000000000000000000";

fn manifest(guest: &mut Guest) -> BTreeSet<String> {
    let lines = guest.succeed(MANIFEST);
    assert!(lines.lines().count() > 1000, "too little: {lines}");
    lines.lines().map(str::to_owned).collect()
}

fn assert_same(guest: &Guest, before: &BTreeSet<String>, after: &BTreeSet<String>) {
    let gone: Vec<&String> = before.difference(after).take(20).collect();
    let new: Vec<&String> = after.difference(before).take(20).collect();
    if !gone.is_empty() || !new.is_empty() {
        guest.fail(&format!("the root is not as it was\nbefore: {gone:#?}\nafter: {new:#?}"));
    }
}

fn boot(machine: &mut Machine, mode: &str, words: &[&str]) -> (Guest, Value) {
    let mut guest = machine.boot(words);
    guest.wait_until_up();
    let root = assert_healthy(&mut guest, mode);
    (guest, root)
}

/// snapshot → single paths back → `rm -rf /etc` and worse → restore → whole → commit → reset → the commit is there →
/// undo → everything is back.
#[test]
fn a_broken_system_is_restored_a_commit_survives_a_reset_and_an_undo_brings_everything_back() {
    let mut machine = Machine::usual("snapshots");
    let (mut guest, _) = boot(&mut machine, "persistent", &[]);
    make_marks(&mut guest);
    guest.succeed(&format!("setfattr -n security.capability -v {NET_RAW} /srv/deep/er/file"));
    guest.succeed("setfacl -m u:1000:rw /srv/deep/er/file && ln /etc/shells /etc/shells.link");
    guest.succeed("overlayctl snapshot create -m 'before the storm' --userdata ticket=7");
    let before = manifest(&mut guest);
    let list = guest.succeed("overlayctl snapshot list");
    assert!(list.contains("before the storm") && list.lines().count() == 2, "{list}");

    // Single paths, at once, by the daemon in its sandbox.
    guest.succeed("echo wrecked >/etc/hostname; rm /etc/shells; rm -r /srv/deep; echo new >/etc/skel/new; mkdir -p /home/x");
    guest.succeed("overlayctl restore 1 --yes -- /etc/hostname /etc/shells /srv /etc/skel");
    guest.succeed("[ \"$(cat /etc/hostname)\" = appliance ] && [ ! -e /etc/skel/new ]");
    guest.succeed("getfattr -m security.capability /srv/deep/er/file | grep -q capability");
    guest.succeed("getfacl -n /srv/deep/er/file | grep -q user:1000:rw-");
    assert_marks(&mut guest, Marks::All);
    guest.succeed(
        "overlayctl restore --from base --yes -- /etc/debian_version && ! grep changed /etc/debian_version",
    );
    let refused = guest.run("overlayctl restore 1 --yes -- /run/motd");
    assert_ne!(refused.status, 0, "another mount: {refused:?}");

    // Not what the tool, the bus and systemd themselves are made of: nobody could call for help then.
    guest.succeed("rm -rf /etc /usr/sbin /usr/share/perl5 /usr/share/debconf /var/lib /usr/lib/modules /srv");
    guest.reboot_by("overlayctl restore 1 --yes --now=reboot");
    machine.disk.assert_clean();

    let (mut guest, root) = boot(&mut machine, "persistent", &[]);
    let after = manifest(&mut guest);
    assert_same(&guest, &before, &after);
    assert_eq!((&root["snapshot"], &root["last"]["action"]), (&1.into(), &"restore".into()), "{root:#}");
    // On top of the restored one: the commit holds both.
    guest.succeed("echo two >/srv/two; rm /srv/deep/er/file; overlayctl commit -m 'the new normal'");
    assert_eq!(guest.run("overlayctl commit").status, 3, "there is nothing more to commit");
    let sealed = guest.run("overlayctl snapshot create --quiesced");
    assert_eq!(sealed.status, 4, "it can not be sealed at constant cost: {sealed:?}");
    guest.succeed("echo three >/srv/three");
    guest.reboot_by("overlayctl reset --yes --now=reboot");
    machine.disk.assert_clean();

    let (mut guest, root) = boot(&mut machine, "persistent", &[]);
    guest.succeed("[ \"$(cat /srv/two)\" = two ] && [ ! -e /srv/three ] && [ ! -e /srv/deep/er/file ] && [ -d /srv/deep/er ]");
    assert_eq!((&root["snapshot"], &root["baseline"]), (&2.into(), &2.into()), "{root:#}");
    assert_eq!(guest.run("overlayctl snapshot delete 2 --yes").status, 4, "the baseline is in use");
    guest.reboot_by("overlayctl undo --yes --now=reboot");
    machine.disk.assert_clean();

    let (mut guest, root) = boot(&mut machine, "persistent", &[]);
    guest.succeed("[ \"$(cat /srv/two)\" = two ] && [ \"$(cat /srv/three)\" = three ]");
    assert_eq!((&root["snapshot"], &root["last"]["action"]), (&1.into(), &"undo".into()), "{root:#}");
    guest.poweroff();
    machine.disk.assert_clean();
}

/// On btrfs: a subvolume from the sandbox, and one sealed at the next boot.
#[test]
fn a_quiesced_snapshot_is_made_by_the_boot() {
    let (trixie, initramfs) = (Suite::Trixie, Initramfs::Dracut);
    let mut machine = Machine::new("snapshots-btrfs", trixie, initramfs, RootFs::Erofs, StateFs::Btrfs);
    let (mut guest, _) = boot(&mut machine, "persistent", &[]);
    make_marks(&mut guest);
    guest.succeed("overlayctl snapshot create -m live && overlayctl snapshot create --quiesced -m sealed");
    let show = guest.succeed("overlayctl snapshot show 1");
    assert!(show.contains("subvolume") && show.contains("atomic"), "{show}");
    guest.reboot();
    machine.disk.assert_clean();

    let (mut guest, root) = boot(&mut machine, "persistent", &[]);
    assert_marks(&mut guest, Marks::All);
    assert_eq!(root["snapshot"], 2, "{root:#}");
    let show = guest.succeed("overlayctl snapshot show 2");
    assert!(show.contains("sealed") && show.contains("atomic"), "{show}");
    guest.succeed("rm -rf /etc/skel /srv/deep; overlayctl snapshot delete 1 --yes");
    guest.reboot_by("overlayctl restore 2 --yes --now=reboot");
    machine.disk.assert_clean();

    let (mut guest, _) = boot(&mut machine, "persistent", &[]);
    assert_marks(&mut guest, Marks::All);
    guest.poweroff();
    machine.disk.assert_clean();
}

/// A root in RAM: what is committed is there at every later boot, the rest is gone.
#[test]
fn a_volatile_root_keeps_what_is_committed() {
    let words = ["overlayd.mode=volatile", "overlayd.device=LABEL=overlayd"];
    let mut machine = Machine::usual("snapshots-volatile");
    let (mut guest, _) = boot(&mut machine, "volatile", &words);
    make_marks(&mut guest);
    guest.succeed("overlayctl commit -m first; echo lost >/srv/lost");
    guest.reboot();
    machine.disk.assert_clean();

    let (mut guest, root) = boot(&mut machine, "volatile", &words);
    assert_marks(&mut guest, Marks::All);
    assert_eq!((&root["snapshot"], &root["baseline"]), (&1.into(), &1.into()), "{root:#}");
    guest.succeed("[ ! -e /srv/lost ]; echo more >/var/more; rm /etc/shells; overlayctl commit -- /var/more");
    guest.reboot();
    machine.disk.assert_clean();

    let (mut guest, _) = boot(&mut machine, "volatile", &words);
    assert_marks(&mut guest, Marks::All);
    guest.succeed("[ \"$(cat /var/more)\" = more ]");
    guest.poweroff();
    machine.disk.assert_clean();
}

/// The power goes while a live snapshot is made: it is there as a whole, or not at all; and the root is as it was.
#[test]
fn a_power_cut_during_a_snapshot_leaves_all_of_it_or_nothing() {
    let mut machine = Machine::new(
        "snapshots-cut",
        Suite::Trixie,
        Initramfs::InitramfsTools,
        RootFs::Squashfs,
        StateFs::Xfs,
    );
    let (mut guest, _) = boot(&mut machine, "persistent", &[]);
    make_marks(&mut guest);
    guest.succeed("mkdir /var/many; cd /var/many; for i in $(seq 1500); do echo $i >$i; done; sync");
    let started = Instant::now();
    guest.succeed("overlayctl snapshot create -m whole");
    let takes = started.elapsed();
    let entries = machine_entries(&mut guest);
    let parts: &[u32] = if cfg!(feature = "test-full") { &[1, 2, 3] } else { &[1, 3] };
    for part in parts {
        guest.succeed("rm -f /var/many/7; echo new >/var/many/7");
        guest.succeed("systemd-run --quiet --collect overlayctl snapshot create -m cut");
        std::thread::sleep(takes.mul_f64(f64::from(*part) / 4.0).min(Duration::from_secs(20)));
        guest.cut_power();
        let (booted, root) = boot(&mut machine, "persistent", &[]);
        guest = booted;
        assert_marks(&mut guest, Marks::All);
        for snapshot in root["snapshots"].as_array().into_iter().flatten() {
            assert_eq!(snapshot["state"], "complete", "{root:#}");
            assert!(snapshot["entries"].as_u64().is_some_and(|n| n + 50 > entries), "{root:#}");
        }
        let left =
            guest.succeed("find /run/overlayd/store/overlays/root/snapshots -maxdepth 1 -name '*.new'");
        assert_eq!(left, "", "half of one is left");
        guest.succeed("overlayctl snapshot create -m again");
    }
    guest.poweroff();
    machine.disk.assert_clean();
}

fn machine_entries(guest: &mut Guest) -> u64 {
    let text = guest.succeed("overlayctl --json snapshot show 1");
    let shown: Value = serde_json::from_str(&text).unwrap_or_default();
    shown["entries"].as_u64().unwrap_or_else(|| guest.fail(&format!("no entries: {text}")))
}
