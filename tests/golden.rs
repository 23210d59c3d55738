//! Golden plans: a directory a case, `tests/cases/NN-name/`, compared with what the planner says.
//!
//! | file | what it is |
//! | --- | --- |
//! | `base/` | the base image: its `etc/overlayd`, `usr/lib/overlayd` |
//! | `cmdline` | the kernel command line |
//! | `facts.toml` | RAM, the base's identity, whether the disk came up, free space |
//! | `store/` | the store as it stands before the boot; no directory: none yet |
//! | `expected` | what is asked for before it is planned, the mode, the reason, the problems and the steps |
//!
//! `OVERLAYD_BLESS=1 cargo test --test golden` writes `expected` anew; read the diff before you commit it.
//! No root is needed: planning is pure.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use overlayd::config::Config;
use overlayd::config::load::load_at_boot;
use overlayd::error::{Error, Kind};
use overlayd::exec;
use overlayd::keep;
use overlayd::observe::{Base, Moment};
use overlayd::plan::boot::{self, Disk, Facts};
use overlayd::plan::{Step, health, other_base};
use overlayd::store::{Layout, read};
use overlayd::sys::space::Space;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Given {
    /// "mounted", "unavailable: REASON" or "not wanted".
    disk: String,
    #[serde(default = "base")]
    base: String,
    #[serde(default = "plenty")]
    bytes_free: u64,
    #[serde(default = "plenty")]
    inodes_free: u64,
    #[serde(default)]
    submounts: Vec<PathBuf>,
}

fn base() -> String {
    "squashfs:b1 IMAGE_VERSION=1".to_owned()
}

fn plenty() -> u64 {
    1 << 30
}

#[test]
fn every_case_gives_its_plan() {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let mut names: Vec<PathBuf> = fs::read_dir(&cases).unwrap().map(|e| e.unwrap().path()).collect();
    names.sort();
    assert!(names.len() >= 20, "cases are missing: {}", names.len());
    // Documents name a case by its number.
    let number =
        |case: &PathBuf| case.file_name().unwrap().to_string_lossy().split('-').next().map(str::to_owned);
    let twice = names.iter().zip(names.iter().skip(1)).find(|(a, b)| number(a) == number(b));
    assert_eq!(twice, None, "two cases have the same number");
    let wrong: Vec<String> = names.iter().filter_map(|case| compare(case)).collect();
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// The difference between what is planned and what is expected, if there is one.
fn compare(case: &Path) -> Option<String> {
    let planned = plan(case);
    let path = case.join("expected");
    if std::env::var_os("OVERLAYD_BLESS").is_some() {
        fs::write(&path, &planned).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    let name = case.file_name().unwrap().to_string_lossy();
    (planned != expected).then(|| format!("{name}:\n--- expected\n{expected}\n--- planned\n{planned}"))
}

fn plan(case: &Path) -> String {
    let given: Given = toml::from_str(&fs::read_to_string(case.join("facts.toml")).unwrap()).unwrap();
    let cmdline = fs::read_to_string(case.join("cmdline")).unwrap_or_default();
    let loaded = load_at_boot(&case.join("initramfs"), &case.join("base"), &cmdline);
    let problems: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    let mut facts = Facts {
        name: "root".to_owned(),
        base: Base { identity: given.base.clone(), submounts: given.submounts.clone(), ..Base::default() },
        ram: 1 << 30,
        now: Moment { unix: 1000, boot: "boot-b".into(), random: "request-r".into() },
        run: "/run/overlayd".into(),
        new_uuid: "store-new".into(),
        kept: None,
    };
    let scratch = Scratch::new(case);
    let mut disk = disk(&scratch.0, &given);
    let asked = ask_for_this_base(&loaded.config, &facts, &mut disk);
    let asked = asked + &go_back(&loaded.config, &problems, &facts, &mut disk);
    if let Disk::Mounted { layout, store: Some(Ok(view)), .. } = &disk {
        facts.kept = keep::select::pending(layout, view, "root", loaded.config.root()).transpose();
    }
    let planned = match boot::root(&loaded.config, &problems, &facts, &disk) {
        Ok(plan) => describe(&plan),
        Err(e) => format!("boot fails: {e}\n"),
    };
    let text = asked + &planned;
    text.replace(&scratch.0.display().to_string(), "STATE")
}

/// What the boot asks for by itself, as the store then has it.
fn ask_for_this_base(config: &Config, facts: &Facts, disk: &mut Disk) -> String {
    let Disk::Mounted { store: Some(Ok(view)), .. } = disk else { return String::new() };
    let asked = other_base::decide(view, "root", config.root(), &facts.base, &facts.now).unwrap();
    let mut text = String::new();
    for step in asked {
        writeln!(text, "by itself: {step}").unwrap();
        let state = view.overlays.get_mut("root").unwrap();
        match step {
            Step::WriteRequest(_, request) => state.request = Some(Ok(request)),
            Step::RemoveRequest(_) => state.request = None,
            other => panic!("it asks by {other}"),
        }
    }
    text
}

/// The same, of boots that did not come up.
fn go_back(config: &Config, problems: &[String], facts: &Facts, disk: &mut Disk) -> String {
    let Disk::Mounted { layout, store: store @ Some(Ok(_)), .. } = disk else { return String::new() };
    let steps = match store {
        Some(Ok(view)) if problems.is_empty() => health::decide(view, config.root(), &facts.now),
        _ => Vec::new(),
    };
    if !steps.is_empty() {
        exec::store::run(layout, &steps).unwrap();
        *store = Some(read::load(layout));
    }
    steps.iter().map(|step| format!("by itself: {step}\n")).collect()
}

/// A copy of the case's store without the `.keep` files, which git needs for empty directories.
struct Scratch(PathBuf);

impl Scratch {
    fn new(case: &Path) -> Scratch {
        let name = case.file_name().unwrap().to_string_lossy().into_owned();
        let scratch =
            Scratch(std::env::temp_dir().join(format!("overlayd-golden-{}-{name}", std::process::id())));
        fs::create_dir_all(&scratch.0).unwrap();
        if case.join("store").exists() {
            copy(&case.join("store"), &scratch.0.join("store"));
        }
        scratch
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_name().to_str().unwrap() {
            ".keep" => {}
            name if entry.path().is_dir() => copy(&entry.path(), &to.join(name)),
            name => drop(fs::copy(entry.path(), to.join(name)).unwrap()),
        }
    }
}

fn disk(state: &Path, given: &Given) -> Disk {
    let layout = Layout::new(state.join("store"));
    match given.disk.strip_prefix("unavailable: ") {
        Some(reason) => Disk::Unavailable(Error::new(Kind::StoreUnavailable, reason)),
        None if given.disk == "not wanted" => Disk::NotWanted,
        None => Disk::Mounted {
            store: read::exists(&layout).unwrap().then(|| read::load(&layout)),
            space: Space {
                bytes_total: 1 << 30,
                bytes_free: given.bytes_free,
                inodes_total: 1 << 16,
                inodes_free: given.inodes_free,
            },
            layout,
        },
    }
}

fn describe(plan: &boot::BootPlan) -> String {
    let mut text = format!("mode: {}\n", plan.mode.word());
    let mut line = |what: &str, value: Option<String>| {
        if let Some(value) = value {
            writeln!(text, "{what}: {value}").unwrap();
        }
    };
    line("reason", plan.reason.clone());
    line("generation", plan.generation.map(|n| n.to_string()));
    line("executes", plan.executes.clone());
    plan.problems.iter().for_each(|p| line("problem", Some(p.clone())));
    plan.steps.iter().for_each(|s| line("step", Some(s.to_string())));
    text
}
