//! What asks for a reset without anybody at a prompt, found at boot: the request is written as if somebody had asked, and
//! everything behind it is the ordinary way. What is decided, `plan::trigger` says.
//!
//! Order: the request, durable; then what is remembered; then what asked is removed; and only then the boot is planned.

use std::fs;
use std::path::{Path, PathBuf};

use super::state::Brought;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::exec;
use crate::observe::{self, Moment};
use crate::plan::boot::Disk;
use crate::plan::efi;
use crate::plan::trigger::{self, Decision, Scene, Source, Trigger, Words};
use crate::store::lock::StoreLock;
use crate::store::{Layout, StoreView, read};
use crate::sys::block::{self, Paths};
use crate::sys::efi::{Esp, Variables, is_efi};
use crate::sys::{atomic, inroot};

/// The name of the file that asks for a reset, at the top of the state filesystem and of the ESP.
const FILE: &str = "overlayd-reset";
/// More than the longest word that means anything.
const FILE_MAX: u64 = 4096;
/// GPT type of an EFI system partition (UEFI 2.10, 5.3.3).
const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
/// systemd 258 and later.
const EFI_REQUEST: &str = "FactoryResetRequest-8cf2644b-4b0b-428f-9387-6d876050dc67";
/// systemd 257 and earlier.
const EFI_FLAG: &str = "FactoryReset-8cf2644b-4b0b-428f-9387-6d876050dc67";
/// The partition that the boot loader was started from (Boot Loader Interface).
const LOADER_PARTITION: &str = "LoaderDevicePartUUID-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";
/// systemd leaves this where it took its variable away.
const SYSTEMD_DONE: &str = "systemd/factory-reset-complete";
/// What takes the variable away in the booted system.
const SYSTEMD_TOOL: &str = "usr/lib/systemd/systemd-factory-reset";

/// Where to look, and what decides.
#[derive(Debug)]
pub struct Triggers<'a> {
    config: &'a Config,
    now: &'a Moment,
    words: Words,
    /// The mounted base.
    sysroot: &'a Path,
    /// `/run/overlayd`, and where the state filesystem is mounted in it.
    run: PathBuf,
    state: PathBuf,
    /// What systemd leaves behind.
    systemd_done: PathBuf,
}

impl<'a> Triggers<'a> {
    /// On the machine whose base is mounted at `sysroot`.
    pub fn new(
        config: &'a Config,
        command_line: &str,
        now: &'a Moment,
        sysroot: &'a Path,
        run: &Path,
    ) -> Triggers<'a> {
        Triggers {
            config,
            now,
            words: trigger::command_line(command_line),
            sysroot,
            run: run.join("overlayd"),
            state: run.join("overlayd/state"),
            systemd_done: run.join(SYSTEMD_DONE),
        }
    }

    /// Obeys what is found; the disk's view of the store is the one afterwards.
    pub fn obey(&self, brought: &mut Brought) -> Obeyed {
        let problems = &mut brought.problems;
        problems.extend(self.words.problems.iter().cloned());
        let mut wait = |why: &str| {
            let resets = self.words.triggers.iter().filter(|t| t.source != Source::Skip);
            problems.extend(resets.map(|t| format!("{} waits: {why}", t.source)));
            Obeyed::default()
        };
        let Disk::Mounted { layout, store, .. } = &mut brought.disk else {
            return wait("there is no store that could be reset");
        };
        let view = match store {
            Some(Ok(view)) if view.overlays.contains_key("root") => view,
            Some(Err(_)) => return wait("the store can not be read"),
            _ => return Obeyed { unsettled: true, ..Obeyed::default() },
        };
        let carried_out = Found::look(self).carry_out(layout, view, trigger::decide);
        let (told, skips) = carried_out.unwrap_or_else(|e| (vec![e.to_string()], false));
        problems.extend(told);
        *store = Some(read::load(layout));
        Obeyed { unsettled: false, skips }
    }

    /// Spends what is found, where the boot has just made the store. What could not be done is returned.
    pub fn settle(&self, layout: &Layout) -> Vec<String> {
        let settled = match read::exists(layout) {
            Ok(false) => Ok(Vec::new()),
            _ => read::load(layout)
                .and_then(|view| Found::look(self).carry_out(layout, &view, trigger::settle))
                .map(|(told, _)| told),
        };
        settled.unwrap_or_else(|e| vec![e.to_string()])
    }
}

/// What is left to be done about what was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Obeyed {
    /// The store is yet to be made: then [`Triggers::settle`] has to follow once it is.
    pub unsettled: bool,
    /// This boot goes without the upper.
    pub skips: bool,
}

/// What was found, and what is needed to take it away again.
struct Found<'a> {
    at: &'a Triggers<'a>,
    triggers: Vec<Trigger>,
    variables: Option<Variables>,
    esp: Option<PathBuf>,
    problems: Vec<String>,
}

impl<'a> Found<'a> {
    fn look(at: &'a Triggers<'a>) -> Found<'a> {
        let triggers = at.words.triggers.clone();
        let mut found = Found { at, triggers, variables: None, esp: None, problems: Vec::new() };
        found.file(&at.state.join(FILE), Source::StateFile);
        if is_efi() {
            match Variables::mount(&at.run.join("efivars")) {
                Ok(variables) => found.variables = Some(variables),
                Err(e) => found.problems.push(e.to_string()),
            }
            // As in systemd, the word on the command line has the last word.
            if at.words.systemd.is_none() {
                found.systemd_variables().unwrap_or_else(|e| found.problems.push(e.to_string()));
            }
            if at.config.root().esp {
                found.look_at_esp().unwrap_or_else(|e| found.problems.push(e.to_string()));
            }
        }
        let has_request = found.triggers.iter().any(|t| matches!(t.source, Source::EfiRequest(_)));
        if at.words.systemd.is_none() && !has_request && at.systemd_done.exists() {
            found.triggers.push(Trigger::plain(Source::SystemdDone));
        }
        found
    }

    /// Reads a file that asks for a reset, if it is there.
    fn file(&mut self, path: &Path, source: Source) {
        let Ok(metadata) = fs::symlink_metadata(path) else { return };
        let read = match metadata.is_file() && metadata.len() <= FILE_MAX {
            true => fs::read(path).map_err(|e| e.to_string()).and_then(|content| trigger::file(&content)),
            false => Err("it is not a small file".to_owned()),
        };
        match read {
            Ok(level) => self.triggers.push(Trigger { source, level }),
            Err(why) => self.problems.push(format!("{source} is not obeyed: {why}")),
        }
    }

    fn variable(&self, name: &str) -> Result<Option<String>> {
        let Some(variables) = &self.variables else { return Ok(None) };
        match variables.read(name)? {
            None => Ok(None),
            Some(content) => match efi::text(&content) {
                Some(text) => Ok(Some(text)),
                None => Err(Error::damaged(name, None, "not UTF-16 text")),
            },
        }
    }

    fn systemd_variables(&mut self) -> Result<()> {
        if let Some(text) = self.variable(EFI_FLAG)? {
            match trigger::boolean(&text) {
                Some(true) => self.triggers.push(Trigger::plain(Source::EfiFlag)),
                Some(false) => {}
                None => self.problems.push(format!("{EFI_FLAG} is not obeyed: it is neither yes nor no")),
            }
        }
        let Some(text) = self.variable(EFI_REQUEST)? else { return Ok(()) };
        match efi::request(&text, &observe::system(self.at.sysroot), &self.at.now.boot) {
            Ok(efi::Request::Ours(boot)) => self.triggers.push(Trigger::plain(Source::EfiRequest(boot))),
            Ok(other) => tracing::info!("{EFI_REQUEST} is left alone: {other:?}"),
            Err(why) => self.problems.push(format!("{EFI_REQUEST} is not obeyed: {why}")),
        }
        Ok(())
    }

    /// The ESP that was booted from; if that is not known, the only one on a disk that is not removable.
    fn look_at_esp(&mut self) -> Result<()> {
        let booted = self.variable(LOADER_PARTITION)?;
        let mut nodes = block::of_type(ESP, &Paths::default())?;
        match &booted {
            Some(uuid) => nodes.retain(|esp| esp.uuid.eq_ignore_ascii_case(uuid)),
            None => nodes.retain(|esp| !esp.removable),
        }
        let [esp] = &nodes[..] else { return Ok(()) };
        let at = self.at.run.join("esp");
        let mounted = Esp::mount(&esp.node, &at, true)?;
        self.file(&at.join(FILE), Source::EspFile);
        drop(mounted);
        self.esp = Some(esp.node.clone());
        Ok(())
    }

    /// Decides and carries it out; says what is not obeyed, and whether the boot goes without the upper. What can not be
    /// removed must not fire: it would do so at every boot.
    fn carry_out(
        mut self,
        layout: &Layout,
        view: &StoreView,
        decide: fn(&[Trigger], &Scene<'_>) -> Decision,
    ) -> Result<(Vec<String>, bool)> {
        let mut problems = std::mem::take(&mut self.problems);
        let read = atomic::read_optional(&layout.tokens()).map_err(|e| e.to_string());
        let marks = read.and_then(|text| trigger::marks(&text.unwrap_or_default()));
        if let Err(why) = &marks {
            problems.push(format!("{}: {why}", layout.tokens().display()));
        }
        let marks = marks.ok();
        let (root, now) = (self.at.config.root(), self.at.now);
        let (level, mode) = (root.level, root.mode);
        let decision = decide(&self.triggers, &Scene { view, marks: marks.as_deref(), level, mode, now });
        problems.extend(decision.problems.iter().cloned());
        if decision.steps.is_empty() && decision.spent.is_empty() {
            return Ok((problems, false));
        }
        let _lock = StoreLock::exclusive(layout)?;
        if let Err(e) = exec::store::run(layout, &decision.steps) {
            exec::store::run(layout, &decision.withdraw)?;
            return Err(e.context("what was asked for is not carried out"));
        }
        for source in &decision.spent {
            if let Err(e) = self.remove(source) {
                problems.push(format!("{source} is not obeyed, because it can not be removed: {e}"));
                if decision.fires.as_ref() == Some(source) {
                    exec::store::run(layout, &decision.withdraw)?;
                }
            }
        }
        if let Some(source) = &decision.fires {
            tracing::info!("a reset was asked for by {source}");
        }
        Ok((problems, decision.skips))
    }

    /// Removes what asked, durably, where it does not stay as a word that is remembered.
    fn remove(&self, source: &Source) -> Result<()> {
        match (source, &self.variables, &self.esp) {
            (Source::StateFile, ..) => atomic::remove(&self.at.state.join(FILE)),
            (Source::EspFile, _, Some(node)) => {
                let at = self.at.run.join("esp");
                let _mounted = Esp::mount(node, &at, false)?;
                atomic::remove(&at.join(FILE))?;
                crate::store::reserve::sync_filesystem(&at)
            }
            (Source::EfiFlag, Some(variables), _) => variables.remove(EFI_FLAG),
            // What else hooks into systemd's factory reset waits for the variable in the booted system, and systemd
            // takes it away there; it is remembered until then. Without systemd nobody would.
            (Source::EfiRequest(_), Some(variables), _) if !self.has_systemd_tool() => {
                variables.remove(EFI_REQUEST)
            }
            _ => Ok(()),
        }
    }

    fn has_systemd_tool(&self) -> bool {
        inroot::exists(self.at.sysroot, Path::new(SYSTEMD_TOOL))
    }
}
