//! `overlayd-early factory-reset`: what `factory-reset.target` of systemd starts on the running system. Asks for the reset
//! that is configured, without a bus: the target can be started where there is none. Like `mount.overlayd`, it
//! writes in a mount namespace of its own.

use std::path::Path;

use crate::config::{self, Mode};
use crate::error::{Error, Kind, Result};
use crate::plan::trigger::{self, Scene, Source, Trigger};
use crate::store::lock::StoreLock;
use crate::store::records::Level;
use crate::store::{Layout, read};
use crate::sys::{mount, mountinfo};
use crate::{exec, handoff, observe};

/// Writes the request for the next boot; the same one twice is well. Says what stands afterwards.
pub fn run() -> Result<String> {
    let loaded = config::load(Path::new("/"), &observe::kernel_command_line());
    if let Some(first) = loaded.problems.first() {
        return Err(Error::new(Kind::BadConfig, format!("the configuration is wrong: {first}"))
            .remedy("`overlayctl config check` tells everything that is"));
    }
    let root = loaded.config.root();
    let store = Path::new(handoff::RUN_STORE);
    let has_store = mountinfo::at(&mountinfo::read()?, store).is_some();
    if root.mode == Mode::Volatile && (!has_store || root.level == Level::Baseline) {
        return Ok("the root is volatile: every boot is a reset".to_owned());
    }
    if !has_store {
        return Err(Error::new(Kind::StoreUnavailable, "there is no store that could be reset"));
    }
    mount::private_namespace()?;
    mount::make_store_writable(store)?;
    let layout = Layout::new(store);
    let _lock = StoreLock::exclusive(&layout)?;
    let view = read::load(&layout)?;
    let now = observe::moment();
    let scene = Scene { view: &view, marks: None, level: root.level, mode: root.mode, now: &now };
    let decision = trigger::decide(&[Trigger::plain(Source::Target)], &scene);
    if let Some(refusal) = trigger::refusal(&decision) {
        return Err(refusal);
    }
    exec::store::run(&layout, &decision.steps)?;
    Ok(match decision.steps.is_empty() {
        true => "the same reset waits for the next boot already".to_owned(),
        false => format!("the next boot resets the root (level {})", root.level.word()),
    })
}
