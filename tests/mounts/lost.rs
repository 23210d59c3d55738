//! What fsck took away: it is reported as lost, never taken for a reset or for a new device, and nothing is deleted.

use std::fs;
use std::path::Path;
use std::process::Command;

use overlayd::config::Mode;

use crate::bad_days::falls_back;
use crate::faults::{ext4_block, is_used, number, overwrite, with_data};
use crate::rig::{Rig, run, s, text};

fn fsck_by_hand(rig: &Rig) {
    let output = Command::new("e2fsck").args(["-fy", &rig.device]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

/// Everything that is on the filesystem, by content.
fn contents(rig: &Rig) -> String {
    rig.offline(|layout| {
        let script = "find . -type f -size -64k -exec sha256sum {} + | cut -c1-64 | sort";
        text(
            &Command::new("sh")
                .args(["-c", script])
                .current_dir(layout.root().parent().unwrap())
                .output()
                .unwrap(),
        )
    })
}

/// What an entry of lost+found was called, by what is in it: so an administrator finds out.
fn name_of(entry: &Path) -> &'static str {
    let holds = |name: &str| entry.join(name).exists();
    match fs::read_to_string(entry) {
        Ok(text) if text.contains("format = 1") => "store.toml",
        Ok(_) => "lock",
        Err(_) if holds("generations") => "root",
        Err(_) if holds("root") => "overlays",
        Err(_) => "reserve",
    }
}

#[test]
fn a_store_that_fsck_took_apart_is_lost_and_not_made_anew() {
    for name in ["overlayd", "overlayd/overlays"] {
        let rig = with_data("ext4");
        run("debugfs", &["-w", "-R", &format!("clri {name}"), &rig.device]);
        fsck_by_hand(&rig);
        let before = contents(&rig);
        for _ in 0..2 {
            falls_back(&rig, &["lost", "lost+found"]);
            rig.shutdown();
        }
        assert_eq!(contents(&rig), before, "nothing is deleted, and nothing is made: {name}");
        // What was told helps: what is missing is moved back.
        rig.offline(|layout| {
            let found = layout.root().with_file_name("lost+found");
            let target = layout.root().with_file_name(name);
            fs::create_dir(&target).unwrap();
            for entry in fs::read_dir(&found).unwrap() {
                let entry = entry.unwrap().path();
                fs::rename(&entry, target.join(name_of(&entry))).unwrap();
            }
        });
        is_used(&rig);
    }
}

#[test]
fn a_layer_that_fsck_emptied_is_lost_and_not_taken_for_a_reset() {
    let rig = with_data("ext4");
    let upper = ext4_block(&rig, "overlayd/overlays/root/generations/1/fs 0");
    overwrite(&rig, upper, &[0; 1024]);
    fsck_by_hand(&rig);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    let reason = root.reason.clone().unwrap_or_default();
    assert_eq!((root.mode, root.generation), (Mode::Persistent, Some(1)), "{handoff:?}");
    assert!(
        reason.contains("the files of generation 1 are lost") && reason.contains("lost+found"),
        "{reason}"
    );
    assert!(fs::read_to_string(overlayd::motd::PATH).unwrap().contains("are lost"));
    rig.shutdown();
    rig.offline(|layout| {
        let found = run("find", &[s(&layout.root().with_file_name("lost+found")), "-name", "precious"]);
        assert!(!found.stdout.is_empty(), "what fsck found is there still");
    });
}

#[test]
fn an_inode_table_of_zeros_is_a_loss_and_no_new_device() {
    let rig = with_data("ext4");
    let size = number("dumpe2fs", &["-h", &rig.device], "Block size:");
    let said = text(&run("dumpe2fs", &[&rig.device]));
    for line in said.lines().filter_map(|l| l.trim().strip_prefix("Inode table at ")) {
        let (first, last) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
        overwrite(&rig, first * size, &vec![0; usize::try_from((last - first + 1) * size).unwrap()]);
    }
    fsck_by_hand(&rig);
    let handoff = rig.boot();
    let root = &handoff.overlay["root"];
    assert_eq!(root.mode, Mode::Persistent, "{handoff:?}");
    assert!(root.reason.as_ref().is_some_and(|r| r.contains("is lost")), "{handoff:?}");
    let next = rig.reboot();
    assert_eq!(next.overlay["root"].reason, None, "it is said once: {next:?}");
}
