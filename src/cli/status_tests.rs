//! What the status page says in the cases that matter.

use super::*;
use crate::status::{Memory, Snapshot, Undo};

const NOW: u64 = 1_778_311_773;

fn healthy() -> Status {
    let store = StoreStatus {
        uuid: "6f1c".into(),
        device: Some("/dev/vdb".into()),
        fstype: "ext4".into(),
        bytes_total: 1 << 30,
        bytes_free: 1 << 29,
        inodes_total: 1000,
        inodes_free: 990,
        reserve: true,
        ..StoreStatus::default()
    };
    let root = OverlayStatus {
        name: "root".into(),
        mount_point: "/".into(),
        configured_mode: "persistent".into(),
        mode: "persistent".into(),
        base: "squashfs:abc".into(),
        lowers: vec!["squashfs:/dev/vda".into()],
        generation: Some(3),
        generation_created: Some(NOW - 7200),
        upper: Some(Usage { bytes: 12_900_000, entries: 841, complete: true }),
        ..OverlayStatus::default()
    };
    Status { version: 1, store: Some(store), overlays: vec![root], ..Status::default() }
}

#[test]
fn a_healthy_overlay() {
    let text = render(&healthy(), NOW, Paint(false));
    let expected = "\
● root - writable layer of /
 Configured: persistent
     Actual: persistent
       Base: squashfs:abc
             └─ squashfs:/dev/vda
 Generation: 3, made 2026-05-09 05:29:33 UTC; 2h ago
      Upper: 12.3M in 841 entries
   Baseline: none, a reset goes back to the base
  Snapshots: 0
      Store: /dev/vdb (ext4), 6f1c
       Free: 512M of 1G (50%), 99% of the inodes
    Pending: nothing
       Last: nothing yet
";
    assert_eq!(text, expected);
    assert!(!text.contains('\x1b'));
    assert!(render(&healthy(), NOW, Paint(true)).contains("\x1b[0;1;32m●"));
}

#[test]
fn an_encrypted_store_names_the_device_below() {
    let mut status = healthy();
    let store = status.store.as_mut().unwrap();
    (store.device, store.encrypted_on) = (Some("/dev/dm-0".into()), Some("/dev/vdb".into()));
    let text = render(&status, NOW, Paint(false));
    assert!(text.contains("      Store: /dev/dm-0 (ext4, encrypted on /dev/vdb), "), "{text}");
}

#[test]
fn a_degraded_one_says_why_and_what_is_wrong() {
    let mut status = healthy();
    status.store = None;
    status.overlays[0].mode = "volatile".into();
    status.overlays[0].degraded = Some("LABEL=overlayd did not appear within 10s".into());
    status.problems = vec!["the state device is missing".into()];
    let text = render(&status, NOW, Paint(false));
    assert!(text.contains("     Actual: volatile: LABEL=overlayd did not appear within 10s\n"), "{text}");
    assert!(text.contains("      Store: none: nothing that is written here persists\n"), "{text}");
    assert!(text.ends_with("\nProblems:\n  - the state device is missing\n"), "{text}");
}

#[test]
fn a_layer_in_ram_tells_what_is_left_of_it() {
    let mut status = healthy();
    status.store = None;
    let memory =
        Memory { bytes_total: 16 << 20, bytes_free: 12 << 20, inodes_total: 4096, inodes_free: 1024 };
    status.overlays[0].memory = Some(memory);
    let text = render(&status, NOW, Paint(false));
    assert!(text.contains("   RAM free: 12M of 16M (75%), 25% of the inodes\n"), "{text}");
}

#[test]
fn a_pending_request_names_who_asked() {
    let mut status = healthy();
    status.overlays[0].pending = Some(Pending {
        action: "reset".into(),
        requested_by: "root (uid 0) via D-Bus".into(),
        requested_at: NOW - 180,
        this_boot: true,
        ..Pending::default()
    });
    let text = render(&status, NOW, Paint(false));
    assert!(text.contains("    Pending: reset at the next boot\n"), "{text}");
    assert!(text.contains("by root (uid 0) via D-Bus, 2026-05-09 07:26:33 UTC; 3min ago\n"), "{text}");
}

#[test]
fn the_last_reset_stays_on_record() {
    let mut status = healthy();
    status.overlays[0].last = Some(Outcome {
        action: "reset".into(),
        requested_by: "alice (uid 1000) via D-Bus".into(),
        executed_at: NOW - 60,
        result: "done".into(),
        from_generation: Some(2),
        to_generation: 3,
        ..Outcome::default()
    });
    status.overlays[0].trash = 1;
    let text = render(&status, NOW, Paint(false));
    let last = "Last: reset done 2026-05-09 07:28:33 UTC; 1min ago, from generation 2 to 3, asked by alice (uid 1000)";
    assert!(text.contains(last), "{text}");
    assert!(text.contains("Trash: 1 old layer being deleted"), "{text}");
}

#[test]
fn snapshots_the_baseline_and_the_undo_are_told() {
    let mut status = healthy();
    let snapshot = |id, description: &str, bytes| Snapshot {
        id,
        description: description.into(),
        bytes,
        ..Snapshot::default()
    };
    let overlay = &mut status.overlays[0];
    overlay.snapshots = vec![snapshot(2, "clean install", 3 << 20), snapshot(4, "", 1 << 20)];
    overlay.snapshots[1].damage = Some("garbage".into());
    (overlay.baseline, overlay.snapshot) = (Some(2), Some(4));
    overlay.undo = Some(Undo { generation: 2, until: Some(NOW + 400_000) });
    overlay.pending =
        Some(Pending { action: "restore".into(), snapshot: Some(2), this_boot: true, ..Pending::default() });
    let text = render(&status, NOW, Paint(false));
    for expected in [
        "   Snapshot: 4\n",
        "   Baseline: snapshot 2 \"clean install\"\n",
        "  Snapshots: 2, holding 4M, 1 damaged\n",
        "    Pending: restore of snapshot 2 \"clean install\" at the next boot\n",
        "       Undo: to generation 2, kept until 2026-05-13 22:36:13 UTC; in 4 days, or until space is needed\n",
    ] {
        assert!(text.contains(expected), "{expected:?} is not in\n{text}");
    }
    status.overlays[0].undo = Some(Undo { generation: 2, until: None });
    let text = render(&status, NOW, Paint(false));
    assert!(text.contains("       Undo: to generation 2, kept until space is needed\n"), "{text}");
}

#[test]
fn each_request_that_waits_is_named() {
    let mut status = healthy();
    let pending = Pending { snapshot: Some(5), ..Pending::default() };
    let cases = [
        (Pending { action: "snapshot".into(), ..pending.clone() }, "snapshot 5 is made at the next boot"),
        (
            Pending { action: "snapshot".into(), commit: true, ..pending },
            "commit as snapshot 5 at the next boot",
        ),
        (
            Pending { action: "undo".into(), generation: Some(2), ..Pending::default() },
            "undo, back to generation 2, at the next boot",
        ),
    ];
    for (pending, expected) in cases {
        status.overlays[0].pending = Some(pending);
        let text = render(&status, NOW, Paint(false));
        assert!(text.contains(&format!("    Pending: {expected}\n")), "{text}");
    }
}

#[test]
fn the_health_of_the_boots() {
    let health = |state: &str| Health { state: state.into(), boots: 2, tries: 3, ..Health::default() };
    let cases = [
        (health("good"), "good\n"),
        (health("pending"), "boot 2 of 3, not marked good yet\n"),
        (
            Health { next: Some("the bare image".into()), ..health("bad") },
            "bad: the next boot goes back to the bare image\n",
        ),
        (health("failed"), "boots do not come up, and there is nothing left to go back to\n"),
        (health("off"), "off: boots are not counted\n"),
        (
            Health { bad: [(2, "no\u{1b} sound".into())].into(), ..health("good") },
            "good\n             generation 2 is bad: no\\u{1b} sound\n",
        ),
    ];
    for (health, expected) in cases {
        let mut status = healthy();
        status.overlays[0].health = Some(health);
        let text = render(&status, NOW, Paint(false));
        assert!(text.contains(&format!("     Health: {expected}")), "{text}");
    }
}

#[test]
fn what_was_done_without_a_person_says_why() {
    let mut status = healthy();
    status.overlays[0].last = Some(Outcome {
        action: "restore".into(),
        requested_by: "overlayd".into(),
        via: Some("health".into()),
        executed_at: NOW,
        result: "done".into(),
        reason: Some("3 boots did not complete".into()),
        from_generation: Some(2),
        to_generation: 3,
        ..Outcome::default()
    });
    status.overlays[0].pending = Some(Pending { action: "restore".into(), ..Pending::default() });
    let text = render(&status, NOW, Paint(false));
    assert!(
        text.contains(", from generation 2 to 3, asked by overlayd, through health: 3 boots did"),
        "{text}"
    );
    assert!(text.contains("    Pending: restore of the bare image at the next boot\n"), "{text}");
}

#[test]
fn a_request_that_failed_says_why() {
    let mut status = healthy();
    status.overlays[0].last = Some(Outcome {
        action: "restore".into(),
        requested_by: "root (uid 0)".into(),
        executed_at: NOW,
        result: "failed".into(),
        message: Some("snapshot 3 is gone".into()),
        from_generation: Some(2),
        to_generation: 2,
        ..Outcome::default()
    });
    let text = render(&status, NOW, Paint(false));
    let last =
        "Last: restore failed 2026-05-09 07:29:33 UTC; just now, asked by root (uid 0): snapshot 3 is gone";
    assert!(text.contains(last), "{text}");
}

#[test]
fn a_pending_factory_reset_says_how_far_it_goes_and_what_it_keeps() {
    let mut status = healthy();
    status.overlays[0].pending = Some(Pending {
        action: "reset".into(),
        level: "factory".into(),
        requested_by: "root (uid 0) via D-Bus".into(),
        via: Some("factory-reset.target".into()),
        requested_at: NOW - 180,
        this_boot: true,
        keep: vec!["/etc/machine-id".into()],
        drop_kept: true,
        ..Pending::default()
    });
    let text = render(&status, NOW, Paint(false));
    let expected = "    Pending: factory reset at the next boot
             by root (uid 0) via D-Bus, through factory-reset.target, 2026-05-09 07:26:33 UTC; 3min ago
             keeps /etc/machine-id
             keeps nothing of what the configuration says
";
    assert!(text.contains(expected), "{text}");
    let pending = status.overlays[0].pending.as_mut().unwrap();
    (pending.level, pending.via) = ("wipe".into(), Some("D-Bus".into()));
    let text = render(&status, NOW, Paint(false));
    assert!(text.contains("    Pending: wipe at the next boot\n"), "{text}");
    assert!(text.contains("             by root (uid 0) via D-Bus, 2026-"), "{text}");
}

#[test]
fn what_a_factory_reset_kept_and_how_well_it_erased_stays_on_record() {
    let mut status = healthy();
    let reset = Outcome {
        action: "reset".into(),
        level: "factory".into(),
        requested_by: "the kernel command line".into(),
        via: Some("overlayd.reset=4711".into()),
        executed_at: NOW - 60,
        result: "done".into(),
        from_generation: Some(2),
        to_generation: 3,
        kept: (0..5).map(|n| format!("/etc/{n}")).collect(),
        kept_count: 12,
        unmatched: vec!["/etc/gone".into()],
        erasure: Some("erasing".into()),
        ..Outcome::default()
    };
    status.overlays[0].last = Some(reset.clone());
    let text = render(&status, NOW, Paint(false));
    let expected =
        "       Last: factory reset done 2026-05-09 07:28:33 UTC; 1min ago, from generation 2 to 3, \
                    asked by the kernel command line, through overlayd.reset=4711
             kept 12 paths: /etc/0, /etc/1, /etc/2, /etc/3 and 8 more
             nothing to keep matched /etc/gone
             erasing what was given up
";
    assert!(text.ends_with(expected), "{text}");
    let (erasure, secure) = (Some("complete".into()), Some("no".into()));
    let why = Some("the files were deleted".into());
    status.overlays[0].last = Some(Outcome { kept: vec![], erasure, secure, secure_why: why, ..reset });
    let text = render(&status, NOW, Paint(false));
    assert!(text.contains("             kept 12 paths\n"), "{text}");
    assert!(text.ends_with("             erased securely: no: the files were deleted\n"), "{text}");
}

#[test]
fn the_table_is_aligned() {
    let expected = "\
OVERLAY  MOUNT  MODE        GENERATION  PENDING
root     /      persistent  3           -
";
    assert_eq!(table(&healthy()), expected);
}
