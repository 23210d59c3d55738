//! overlayctl on the snapshots of a store, without a daemon: what it says, how it ends, and what is there afterwards.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::world::{World, text};

/// A store and the tool.
struct Store(World);

impl Store {
    fn new() -> Store {
        Store(World::new())
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let store = self.0.store().display().to_string();
        self.0.tool(&[&["--store", store.as_str()], arguments].concat())
    }

    /// Standard output, after a good end with nothing to complain of.
    fn says(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output));
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.says(&[&["--json"], arguments].concat())).unwrap()
    }

    /// Standard error, after this end.
    fn ends(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", text(&output));
        String::from_utf8(output.stderr).unwrap()
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.store().join("overlays/root").join(path)
    }

    fn change(&self, name: &str, content: &str) {
        fs::write(self.path("generations/1/fs").join(name), content).unwrap();
    }

    fn trash_is_empty(&self) -> bool {
        fs::read_dir(self.path("trash")).unwrap().next().is_none()
    }
}

/// Dates differ from run to run, and how files are copied from filesystem to filesystem.
fn steady(text: &str) -> String {
    let mut steady = String::new();
    for line in text.lines() {
        let line = line.replace(", by reflink", ", copied");
        let words: Vec<&str> = line.split(' ').map(|w| if is_time(w) { "#" } else { w }).collect();
        steady += &words.join(" ");
        steady.push('\n');
    }
    steady
}

/// `2026-05-09` or `07:29:33`.
fn is_time(word: &str) -> bool {
    let separator = |c: char| c == '-' || c == ':';
    word.len() >= 8
        && word.split(separator).count() == 3
        && word.chars().all(|c| c.is_ascii_digit() || separator(c))
}

#[test]
fn a_snapshot_is_made_listed_shown_and_described() {
    let store = Store::new();
    assert_eq!(store.says(&["snapshot", "list"]), "There are no snapshots of root.\n");
    let made = store.says(&["snapshot", "create", "-m", "clean", "--userdata", "by=ci"]);
    assert_eq!(steady(&made), "Snapshot 1 of root: 11B in 1 entry, copied.\n");
    assert_eq!(fs::read_to_string(store.path("snapshots/1/fs/changed")).unwrap(), "by the user");
    let expected = "\
ID  CREATED                  SIZE  ENTRIES  FLAGS  DESCRIPTION
1   # # UTC  11B   1        -      clean
";
    assert_eq!(steady(&store.says(&["snapshot", "list"])), expected);
    let list = store.json(&["snapshot", "list"]);
    assert_eq!(list[0]["id"], 1);
    assert_eq!(list[0]["state"], "complete");
    assert_eq!(list[0]["userdata"]["by"], "ci");
    let page = store.says(&["snapshot", "show", "1"]);
    for line in ["● snapshot 1 of root - clean\n", "  Made from: generation 1\n", "   Userdata: by=ci\n"] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    assert!(page.contains("by root (uid 0) via overlayctl --store\n"), "{page}");
    let described =
        store.says(&["snapshot", "describe", "1", "-m", "cleaner", "--userdata", "by=", "--userdata", "a=b"]);
    assert_eq!(described, "Snapshot 1 of root is described.\n");
    let shown = store.json(&["snapshot", "show", "1"]);
    assert_eq!(shown["description"], "cleaner");
    assert_eq!(shown["userdata"], serde_json::json!({"a": "b"}));
    let status = store.says(&["status"]);
    assert!(status.contains("  Snapshots: 1, holding 11B\n"), "{status}");
}

#[test]
fn what_a_record_may_not_say_is_a_usage_error() {
    let store = Store::new();
    assert!(store.ends(2, &["snapshot", "create", "-m", &"x".repeat(129)]).contains("at most 128"));
    assert!(store.ends(2, &["snapshot", "create", "--userdata", "Key=v"]).contains("Key"));
    assert!(store.ends(2, &["snapshot", "create", "--userdata", "key"]).contains("\"=\""));
    assert!(store.ends(1, &["snapshot", "show", "7"]).contains("`overlayctl snapshot list` shows them"));
    assert!(!store.path("snapshots/1").exists());
}

#[test]
fn a_commit_moves_the_baseline_and_the_same_again_is_nothing_to_do() {
    let store = Store::new();
    let preview = store.json(&["commit", "--dry-run"]);
    assert_eq!(preview["result"], "preview");
    assert_eq!(preview["entries"], 1);
    assert!(preview["changes"][0].as_str().unwrap().contains("changed"), "{preview}");
    assert!(!store.path("baseline").exists());
    let part = store.json(&["commit", "--dry-run", "--", "/changed"]);
    assert_eq!(part["changes"], preview["changes"]);
    assert!(store.ends(2, &["commit", "--dry-run", "--", "changed"]).contains("with a /"));
    let done = store.json(&["commit", "-m", "set up"]);
    assert_eq!((&done["snapshot"], &done["entries"]), (&1.into(), &1.into()));
    assert_eq!(fs::read_to_string(store.path("baseline")).unwrap(), "1\n");
    let again = store.run(&["commit"]);
    assert_eq!(again.status.code(), Some(3), "{}", text(&again));
    store.change("more", "x");
    let said = steady(&store.says(&["commit"]));
    let baseline = fs::read_to_string(store.path("baseline")).unwrap();
    let baseline = baseline.trim_end();
    let expected = format!(
        "Snapshot {baseline} of root: 12B in 2 entries, copied, 1 file shared with the last one.\nA reset goes back to it.\n"
    );
    assert_eq!(said, expected);
    let status = store.says(&["status"]);
    assert!(status.contains(&format!("   Baseline: snapshot {baseline}\n")), "{status}");
}

#[test]
fn what_is_in_use_or_protected_is_not_deleted() {
    let store = Store::new();
    store.says(&["commit", "-m", "set up"]);
    store.says(&["snapshot", "create", "-m", "later"]);
    let asked = store.ends(4, &["snapshot", "delete", "2"]);
    assert!(asked.contains("Lost for good:\n  snapshot 2 \"later\" of "), "{asked}");
    assert!(asked.contains("11B in 1 entry") && asked.contains("--yes"), "{asked}");
    assert!(store.ends(4, &["snapshot", "delete", "1", "--yes"]).contains("baseline"));
    assert_eq!(store.says(&["snapshot", "protect", "2"]), "Snapshot 2 of root is protected.\n");
    assert!(store.ends(4, &["snapshot", "delete", "2", "-y"]).contains("snapshot protect --off"));
    assert_eq!(store.says(&["snapshot", "protect", "2", "--off"]), "Snapshot 2 of root is unprotected.\n");
    assert_eq!(store.json(&["snapshot", "delete", "2", "-y"])["snapshots"], serde_json::json!([2]));
    assert!(!store.path("snapshots/2").exists() && store.trash_is_empty());
    assert!(store.ends(1, &["snapshot", "delete", "2", "-y"]).contains("snapshot list"));
    // A number is never used again.
    assert_eq!(store.json(&["snapshot", "create"])["snapshot"], 3);
}

#[test]
fn several_are_deleted_up_to_the_first_that_is_refused() {
    let store = Store::new();
    store.says(&["snapshot", "create"]);
    store.says(&["commit"]);
    store.says(&["snapshot", "create"]);
    let output = store.run(&["snapshot", "delete", "1", "2", "3", "-y"]);
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "Snapshot 1 of root is deleted.\n");
    assert!(store.path("snapshots/3").exists() && store.trash_is_empty());
}

#[test]
fn a_restore_asks_and_waits_for_the_next_boot() {
    let store = Store::new();
    store.says(&["snapshot", "create", "-m", "clean"]);
    assert!(store.ends(1, &["restore", "9", "-y"]).contains("snapshot list"));
    let asked = store.ends(4, &["restore", "1"]);
    assert!(asked.contains("goes back to snapshot 1 \"clean\" of "), "{asked}");
    assert!(asked.contains("at the next boot.\nLost: generation 1"), "{asked}");
    assert!(!store.0.request().exists());
    let steps = store.says(&["restore", "1", "--dry-run"]);
    assert!(steps.starts_with("Now:\n  ") && steps.contains("At the next boot:\n  "), "{steps}");
    assert!(!store.0.request().exists());
    let done = store.json(&["restore", "1", "--yes"]);
    assert_eq!((&done["result"], &done["snapshot"]), (&"requested".into(), &1.into()));
    let again = store.json(&["restore", "1", "--yes"]);
    assert_eq!((&again["result"], &again["request"]), (&"was-pending".into(), &done["request"]));
    let status = store.says(&["status"]);
    assert!(status.contains("    Pending: restore of snapshot 1 \"clean\" at the next boot\n"), "{status}");
    // It stands in the way of another request, and the snapshot is in use.
    assert!(store.ends(4, &["reset", "-y"]).contains("overlayctl cancel"));
    assert_eq!(store.run(&["snapshot", "delete", "1", "-y"]).status.code(), Some(4));
    store.says(&["cancel"]);
    assert_eq!(store.run(&["restore", "1", "-y", "--now=reboot"]).status.code(), Some(2));
}

#[test]
fn a_quiesced_snapshot_waits_for_the_next_boot() {
    let store = Store::new();
    let said = store.says(&["snapshot", "create", "--quiesced", "-m", "sealed"]);
    let expected =
        "Snapshot 1 of root is made at the next boot. Until then `overlayctl cancel` takes it back.\n";
    assert_eq!(said, expected);
    let request = fs::read_to_string(store.0.request()).unwrap();
    assert!(request.contains("action = \"snapshot\"") && request.contains("\"sealed\""), "{request}");
    store.says(&["cancel"]);
    assert_eq!(store.json(&["commit", "--quiesced"])["result"], "requested");
    assert!(fs::read_to_string(store.0.request()).unwrap().contains("commit = true"));
}

#[test]
fn an_undo_needs_something_to_go_back_to() {
    let store = Store::new();
    assert_eq!(store.run(&["undo", "-y"]).status.code(), Some(3));
    // As a reset leaves it.
    let status = Command::new("cp")
        .arg("-a")
        .args([store.path("generations/1"), store.path("generations/2")])
        .status();
    assert!(status.unwrap().success());
    let record = store.path("generations/2/generation.toml");
    let second = fs::read_to_string(&record).unwrap().replace("number = 1", "number = 2");
    fs::write(&record, second).unwrap();
    fs::write(store.path("current"), "2\n").unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let outcome = format!(
        "version = 1\nrequest = \"f00\"\naction = \"reset\"\nrequested-by = \"a test\"\nrequested-at = {now}\n\
         executed-at = {now}\nboot = \"b\"\nresult = \"done\"\nfrom-generation = 1\nto-generation = 2\n"
    );
    fs::write(store.path("outcome.toml"), outcome).unwrap();
    let status = store.says(&["status"]);
    assert!(status.contains("       Undo: to generation 1, kept "), "{status}");
    let asked = store.ends(4, &["undo"]);
    assert!(asked.contains("goes back to generation 1 at the next boot.\nLost: generation 2"), "{asked}");
    assert!(store.says(&["undo", "--dry-run"]).contains("At the next boot:\n  "));
    assert!(!store.0.request().exists());
    let done = store.json(&["undo", "-y"]);
    assert_eq!((&done["result"], &done["generation"]), (&"requested".into(), &1.into()));
}
