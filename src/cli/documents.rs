//! The shell completions are generated from the command line, and the man page names all of it.
//! `OVERLAYD_BLESS=1 cargo test --lib documents` writes the completions anew.

use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate};

use super::args::Arguments;

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
    let page = std::fs::read_to_string(docs().join("man/overlayctl.1")).unwrap().replace("\\-", "-");
    let mut missing = Vec::new();
    collect(&Arguments::command(), &mut |word| {
        if !page.contains(&word) {
            missing.push(word);
        }
    });
    assert!(missing.is_empty(), "overlayctl.1 does not mention {missing:?}");
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
