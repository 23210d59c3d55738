//! Snapshots make room for others, and those that are not finished leave nothing.

use std::fs;
use std::ops::ControlFlow;

use overlayd::error::Kind;
use overlayd::operation::snapshot::{self};

use crate::rig::{Rig, run, s};
use crate::snapshots::{asked, commit_all, create, ids, kind, layout, leftovers, live, named, on, request};

#[test]
fn the_oldest_go_when_there_are_too_many() {
    let mut rig = Rig::new("ext4", 200);
    rig.configure("[overlay.root.snapshots]\nlimit = 2\n");
    rig.boot();
    fs::write(rig.path("etc/one"), "1").unwrap();
    let baseline = commit_all(&rig).unwrap().id;
    let protected = create(&rig, "protected").id;
    snapshot::set_protected(&live(&rig), "root", protected, true).unwrap();
    let third = create(&rig, "3");
    assert_eq!(third.removed, Vec::<u64>::new(), "the baseline and the new one are two");
    let fourth = create(&rig, "4");
    assert_eq!(fourth.removed, [third.id], "the baseline stays, and so does the new one");
    assert_eq!(ids(), [baseline, protected, fourth.id]);
    assert_eq!(leftovers(), ["snapshot-3"]);
}

#[test]
fn the_oldest_go_when_space_is_short() {
    let mut rig = Rig::new("ext4", 200);
    rig.configure("[overlay.root.snapshots]\nmin-free = \"50%\"\n");
    rig.boot();
    fs::write(rig.path("big"), vec![1; 30 << 20]).unwrap();
    let first = create(&rig, "1");
    assert_eq!(first.removed, Vec::<u64>::new());
    fs::write(rig.path("big"), vec![2; 30 << 20]).unwrap();
    let second = create(&rig, "2");
    assert_eq!(second.removed, [first.id], "two of 30 MiB and the file itself are more than half");
    assert_eq!(ids(), [second.id]);
    assert_eq!(
        leftovers(),
        Vec::<String>::new(),
        "it is deleted at once: else nobody knows if that is enough"
    );
}

#[test]
fn what_does_not_fit_is_refused_with_figures() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    fs::write(rig.path("small"), vec![1; 10 << 20]).unwrap();
    create(&rig, "fits");
    fs::write(rig.path("big"), vec![1; 80 << 20]).unwrap();
    let error = snapshot::create(&live(&rig), "root", &named(""), &asked(), &mut on).unwrap_err();
    assert_eq!(error.kind(), Kind::InsufficientSpace, "{error}");
    let text = error.to_string();
    assert!(text.contains("MiB are needed") && text.contains("inodes"), "{text}");
    assert!(text.contains("delete snapshot 1 (up to 10.0 MiB)"), "{text}");
    assert_eq!((ids(), leftovers()), (vec![1], vec![]));
}

/// The estimate was right, but somebody else took the space meanwhile.
#[test]
fn running_out_of_space_leaves_nothing() {
    let rig = Rig::new("ext4", 200);
    rig.boot();
    for i in 0..6000 {
        fs::write(rig.path(&format!("file{i}")), vec![1; 9000]).unwrap();
    }
    let site = live(&rig);
    let mut taken = 0;
    let result = snapshot::create(&site, "root", &named(""), &asked(), &mut |progress| {
        if progress.total_bytes > 0 && taken == 0 {
            taken = overlayd::sys::space::of(&site.store).unwrap().bytes_free - (64 << 10);
            run("fallocate", &["-l", &taken.to_string(), s(&rig.path("greedy"))]);
        }
        ControlFlow::Continue(())
    });
    assert_eq!(kind(result), Kind::InsufficientSpace, "after {taken} bytes were taken");
    assert_eq!((ids(), leftovers()), (vec![], vec![]));
    fs::remove_file(rig.path("greedy")).unwrap();
    assert_eq!(create(&rig, "now").id, 2, "numbers are not used again");
}

#[test]
fn a_cancelled_one_leaves_nothing() {
    for fstype in ["ext4", "btrfs"] {
        let rig = Rig::new(fstype, 400);
        rig.boot();
        fs::write(rig.path("etc/one"), "1").unwrap();
        if fstype == "btrfs" {
            // On top of a snapshot it has to be copied there, too.
            create(&rig, "below");
            request(&rig, 1);
            rig.reboot();
        }
        for i in 0..3000 {
            fs::write(rig.path(&format!("file{i}")), vec![1; 9000]).unwrap();
        }
        let before = ids();
        let started = std::time::Instant::now();
        let result =
            snapshot::create(&live(&rig), "root", &named(""), &asked(), &mut |progress| match progress
                .total_entries
                > 0
            {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            });
        assert_eq!(kind(result), Kind::Canceled, "{fstype}");
        assert!(started.elapsed().as_secs() < 10);
        assert_eq!(ids(), before, "{fstype}");
        assert!(leftovers().iter().all(|name| name.starts_with("snapshot-")), "{:?}", leftovers());
    }
}

/// What was cut short goes, and its number is not used again.
#[test]
fn what_a_power_cut_left_is_removed_by_the_next_one() {
    for fstype in ["ext4", "btrfs"] {
        let rig = Rig::new(fstype, 400);
        rig.boot();
        fs::write(rig.path("etc/one"), "1").unwrap();
        live(&rig);
        let cut = layout().new_snapshot("root", 7);
        fs::create_dir_all(cut.join("fs/half")).unwrap();
        let id = create(&rig, "after").id;
        assert_eq!((id, ids()), (1, vec![1]));
        assert_eq!(leftovers(), ["snapshot-7.new"], "{fstype}");
    }
}
