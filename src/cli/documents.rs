//! The shell completions are generated from the command line; the man pages and the catalog leave nothing out.
//! `OVERLAYD_BLESS=1 cargo test --lib documents` writes the completions anew.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};

use super::answer::{Changes, Losses, Marks, Requested, Steps, Taken, Touched};
use super::args::Arguments;
use crate::status::change::{Entry, Thing};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

#[test]
fn completions_fit_the_command_line() {
    let files =
        [(Shell::Bash, "overlayctl.bash"), (Shell::Zsh, "_overlayctl"), (Shell::Fish, "overlayctl.fish")];
    for (shell, name) in files {
        let mut script = Vec::new();
        generate(shell, &mut Arguments::command(), "overlayctl", &mut script);
        let path = docs().join("completions").join(name);
        if std::env::var_os("OVERLAYD_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, &script).unwrap();
        }
        let kept = std::fs::read(&path).unwrap_or_default();
        assert!(kept == script, "{} is not up to date: see the head of src/cli/documents.rs", path.display());
    }
}

#[test]
fn the_man_page_names_every_command_and_option() {
    let page = page("overlayctl.1");
    let mut missing = Vec::new();
    collect(&Arguments::command(), &mut |word| {
        if !page.contains(&word) {
            missing.push(word);
        }
    });
    assert!(missing.is_empty(), "overlayctl.1 does not mention {missing:?}");
}

/// A man page without its escapes.
fn page(name: &str) -> String {
    let path = docs().join("man").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())).replace("\\-", "-")
}

#[test]
fn the_man_page_explains_every_key() {
    let page = page("overlayd.toml.5");
    for key in crate::config::keys::KEYS {
        let name = key.name.rsplit('.').next().unwrap();
        assert!(page.contains(&format!("\n.B {name}\n")), "overlayd.toml.5 does not explain {name}");
        assert!(key.word.is_empty() || page.contains(&format!("overlayd.{}=", key.word)), "{}", key.word);
    }
}

#[test]
fn the_man_page_explains_the_json() {
    use crate::status::change::End;
    use crate::status::report::{Found, StoreReport};
    use crate::status::{
        Health, Memory, Outcome, OverlayStatus, Pending, Snapshot, Status, StoreStatus, Undo, Usage,
    };
    let overlay = OverlayStatus {
        snapshots: vec![Snapshot::default()],
        undo: Some(Undo::default()),
        upper: Some(Usage::default()),
        memory: Some(Memory::default()),
        pending: Some(Pending::default()),
        last: Some(Outcome::default()),
        health: Some(Health::default()),
        ..OverlayStatus::default()
    };
    let status = Status { store: Some(StoreStatus::default()), overlays: vec![overlay], ..Status::default() };
    let page = page("overlayctl.1");
    let words: Vec<&str> = page.split(|c: char| c.is_whitespace() || ",".contains(c)).collect();
    let answers = [
        serde_json::to_value(&status),
        serde_json::to_value(Requested::default()),
        serde_json::to_value(Steps::default()),
        serde_json::to_value(Losses::default()),
        serde_json::to_value(Taken::default()),
        serde_json::to_value(Changes::default()),
        serde_json::to_value(Touched::default()),
        serde_json::to_value(StoreReport { findings: vec![Found::default()], ..StoreReport::default() }),
        serde_json::to_value(Marks::default()),
        serde_json::to_value(difference()),
        serde_json::to_value(End::default()),
    ];
    for answer in answers {
        names(&answer.unwrap(), &mut |name| {
            assert!(words.contains(&name), "overlayctl.1 does not explain {name}");
        });
    }
}

/// With every field that may be left out.
fn difference() -> Entry {
    let text = || Some(String::new());
    let thing = Thing { target: text(), target_hex: text(), device: text(), ..Thing::default() };
    Entry { path_hex: text(), from: Some(thing), ..Entry::default() }
}

fn names(value: &serde_json::Value, found: &mut dyn FnMut(&str)) {
    for (name, value) in value.as_object().into_iter().flatten() {
        found(name);
        names(value, found);
    }
    for value in value.as_array().into_iter().flatten() {
        names(value, found);
    }
}

#[test]
fn the_catalog_explains_every_message_and_nothing_else() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/catalog/overlayd.catalog");
    let catalog = std::fs::read_to_string(path).unwrap();
    let explained: Vec<&str> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    let page = page("overlayd.8");
    // From the source: what is added there must not be forgotten here.
    let source = include_str!("../logging.rs");
    let quoted = source.lines().filter_map(|line| line.trim().strip_prefix("pub const "));
    let ids: Vec<&str> = quoted.filter_map(|line| line.split('"').nth(1)).collect();
    assert!(ids.contains(&crate::logging::message_id::RESET_REQUESTED) && ids.len() >= 30, "{ids:?}");
    for id in &ids {
        assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        assert_eq!(ids.iter().filter(|other| *other == id).count(), 1, "{id} means two things");
        assert!(explained.contains(id), "{id} is not in the catalog");
        assert!(page.contains(id), "overlayd.8 does not list {id}");
    }
    let mut unknown = explained.iter().filter(|id| !ids.contains(id));
    assert_eq!(unknown.next(), None, "nothing logs this");
    assert_eq!(explained.len(), ids.len(), "an id is explained twice");
}

fn collect(command: &Command, found: &mut dyn FnMut(String)) {
    for argument in command.get_arguments() {
        if let Some(long) = argument.get_long() {
            found(format!("--{long}"));
        }
    }
    for sub in command.get_subcommands() {
        found(sub.get_name().to_owned());
        collect(sub, found);
    }
}

#[test]
fn the_command_line_is_sound() {
    Arguments::command().debug_assert();
}
