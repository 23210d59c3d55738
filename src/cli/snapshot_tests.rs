//! What is said about snapshots.

use super::*;
use crate::cli::output::Paint;

const NOW: u64 = 1_778_311_773;

fn overlay() -> OverlayStatus {
    let clean = Snapshot {
        id: 2,
        created: NOW - 400_000,
        description: "clean install".into(),
        created_by: "root (uid 0) via D-Bus".into(),
        base: "squashfs:abc".into(),
        strategy: "reflink".into(),
        consistency: "per-file".into(),
        generation: Some(1),
        entries: 841,
        bytes: 12_900_000,
        state: "complete".into(),
        protected: true,
        baseline: true,
        live: true,
        in_use: Some("it is the baseline".into()),
        userdata: [("by".to_owned(), "ci".to_owned()), ("ticket".to_owned(), "7".to_owned())].into(),
        ..Snapshot::default()
    };
    let old = Snapshot {
        id: 10,
        created: NOW - 60,
        base: "squashfs:old".into(),
        entries: 1,
        bytes: 12,
        unstable: vec!["/var/log/busy".into()],
        ..clean.clone()
    };
    let old = Snapshot {
        description: String::new(),
        baseline: false,
        live: false,
        in_use: None,
        protected: false,
        ..old
    };
    let damage = Some("snapshot.toml:3: garbage".to_owned());
    let bad = Snapshot { id: 11, state: "damaged".into(), damage, ..Snapshot::default() };
    OverlayStatus {
        name: "root".into(),
        base: "squashfs:abc".into(),
        snapshots: vec![clean, old, bad],
        ..OverlayStatus::default()
    }
}

#[test]
fn a_table_of_snapshots() {
    let expected = "\
ID  CREATED                  SIZE   ENTRIES  FLAGS                    DESCRIPTION
2   2026-05-04 16:22:53 UTC  12.3M  841      baseline,live,protected  clean install
10  2026-05-09 07:28:33 UTC  12B    1        other-base
11  -                        -      -        damaged
";
    assert_eq!(table(&overlay()), expected);
    let none = OverlayStatus { name: "root".into(), ..OverlayStatus::default() };
    assert_eq!(table(&none), "There are no snapshots of root.\n");
}

#[test]
fn a_page_about_one() {
    let overlay = overlay();
    let expected = "\
● snapshot 2 of root - clean install
      Flags: baseline, live, protected
     In use: it is the baseline
    Created: 2026-05-04 16:22:53 UTC; 4 days ago
             by root (uid 0) via D-Bus
  Made from: generation 1
       Base: squashfs:abc
      Holds: 12.3M in 841 entries
   Strategy: reflink
Consistency: per-file: each file as it was at one instant
   Userdata: by=ci
             ticket=7
";
    assert_eq!(page(&overlay, &overlay.snapshots[0], NOW, Paint(false)), expected);
    let unstable = page(&overlay, &overlay.snapshots[1], NOW, Paint(false));
    let end = "   Unstable: these files changed each time they were copied:\n               /var/log/busy\n";
    assert!(unstable.ends_with(end), "{unstable}");
    let damaged = page(&overlay, &overlay.snapshots[2], NOW, Paint(false));
    let expected = "● snapshot 11 of root\n      Flags: damaged\n     Damage: snapshot.toml:3: garbage\n";
    assert_eq!(damaged, expected);
}

#[test]
fn what_was_made_is_said() {
    let taken = Taken {
        overlay: "root".into(),
        result: "done",
        snapshot: 4,
        entries: 841,
        bytes: 12_900_000,
        reused: 12,
        strategy: "copy".into(),
        consistency: "per-file".into(),
        unstable: vec!["/var/log/busy".into()],
        removed: vec![1, 2],
    };
    let expected = "\
Snapshot 4 of root: 12.3M in 841 entries, copied, 12 files shared with the last one.
These files changed each time they were copied, and may be inconsistent:
  /var/log/busy
Removed to keep the limits: 1, 2.
";
    assert_eq!(made(&taken), expected);
    let plain = Taken { reused: 0, strategy: "reflink".into(), unstable: vec![], removed: vec![], ..taken };
    assert_eq!(made(&plain), "Snapshot 4 of root: 12.3M in 841 entries, by reflink.\n");
}

#[test]
fn what_a_commit_would_hold() {
    let preview = Changes {
        overlay: "root".into(),
        result: "preview",
        entries: 2,
        bytes: 12,
        changes: vec!["file /etc/hostname, 12 bytes".into(), "removed /etc/motd".into()],
        complete: false,
    };
    let expected = "A commit of root would hold 12B in 2 entries:\n  file /etc/hostname, 12 bytes\n  removed /etc/motd\n  and more\n";
    assert_eq!(held(&preview), expected);
}

#[test]
fn an_unknown_number_says_where_to_look() {
    let error = find(&overlay(), 3).unwrap_err();
    assert_eq!(error.kind(), Kind::NoSuchSnapshot);
    assert_eq!(error.to_string(), "overlay root has no snapshot 3 (`overlayctl snapshot list` shows them)");
}
