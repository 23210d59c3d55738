//! `overlayctl reset` and `cancel`.

use std::collections::BTreeMap;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use super::args::{Arguments, Now, Reset};
use super::output::Output;
use super::report::now;
use super::source;
use super::status::{place, usage};
use crate::dbus::client::{JobDone, When};
use crate::error::{Error, Kind, Result};
use crate::operation::{self, Asked, Site};
use crate::status::OverlayStatus;
use crate::sys::user;

/// Asks for a reset, after a confirmation that names what will be lost.
pub(crate) fn reset(arguments: &Arguments, reset: &Reset, output: &Output) -> Result<u8> {
    if arguments.store.is_some() && reset.now.is_some() {
        return Err(Error::new(Kind::InvalidArgs, "--now needs the daemon, and --store works without it"));
    }
    if !reset.dry_run && !reset.yes {
        confirm(arguments, reset, output)?;
    }
    let done = match &arguments.store {
        Some(store) => offline(store, arguments.target(), reset.dry_run).map_err(read_only)?,
        None => {
            let (client, _agent) = source::daemon(arguments)?;
            client.reset(arguments.target(), effect(reset))?
        }
    };
    match reset.dry_run {
        true => tell_plan(&done, output)?,
        false => tell_done(arguments.target(), reset.now, &done, output)?,
    }
    Ok(0)
}

/// Takes the pending request back.
pub(crate) fn cancel(arguments: &Arguments, output: &Output) -> Result<u8> {
    let overlay = arguments.target();
    match &arguments.store {
        Some(store) => operation::cancel(store, overlay).map(drop).map_err(read_only)?,
        None => {
            let (client, _agent) = source::daemon(arguments)?;
            client.cancel(overlay)?;
        }
    }
    match output.is_json() {
        true => output.value(&BTreeMap::from([("overlay", overlay), ("result", "cancelled")]))?,
        false => {
            output.text(&format!("The request is taken back: the next boot leaves {overlay} as it is.\n"))?
        }
    }
    Ok(0)
}

fn effect(reset: &Reset) -> When {
    match (reset.dry_run, reset.now) {
        (true, _) => When::DryRun,
        (false, None) => When::NextBoot,
        (false, Some(Now::Reboot)) => When::Reboot,
        (false, Some(Now::SoftReboot)) => When::SoftReboot,
    }
}

/// The same without a daemon: the operation itself, on the store that was named.
fn offline(store: &Path, overlay: &str, dry_run: bool) -> Result<JobDone> {
    let asked = Asked { by: format!("{} via overlayctl --store", user::describe(user::own_uid())) };
    let mut done = JobDone::default();
    if dry_run {
        let preview = operation::preview_reset(&Site::offline(store), overlay, &asked)?;
        let lines = |steps: &[crate::plan::Step]| steps.iter().map(ToString::to_string).collect();
        done.lists.insert("now".into(), lines(&preview.now));
        done.lists.insert("at-boot".into(), lines(&preview.at_boot));
        return Ok(done);
    }
    let planned = operation::request_reset(&Site::offline(store), overlay, &asked)?;
    done.texts.insert("request".into(), planned.request.id);
    done.texts.insert("requested-by".into(), planned.request.requested_by);
    done.numbers.insert("requested-at".into(), planned.request.requested_at);
    done.flags.insert("was-pending".into(), planned.steps.is_empty());
    Ok(done)
}

/// The store of a running system is shown read-only: its daemon is the one to change it.
fn read_only(error: Error) -> Error {
    match error.errno() {
        Some(code) if code == nix::Error::EROFS as i32 => error
            .with_kind(Kind::Refused)
            .remedy("a running system's store is changed by its daemon: leave --store out"),
        _ => error,
    }
}

fn confirm(arguments: &Arguments, reset: &Reset, output: &Output) -> Result<()> {
    let status = source::select(source::status(arguments, output)?, Some(arguments.target()))?;
    let Some(overlay) = status.overlays.first() else { return Ok(()) };
    // There is nothing to lose; whoever is asked next says why.
    if status.store.is_none() {
        return Ok(());
    }
    if overlay.pending.as_ref().is_some_and(|p| p.action == "reset") && reset.now.is_none() {
        return Ok(());
    }
    output.note(&losses(overlay, reset));
    if !io::stdin().is_terminal() {
        return Err(Error::new(Kind::Refused, "nobody can be asked: standard input is no terminal")
            .remedy("add --yes if that is what you want"));
    }
    output.note("Reset it? [y/N]");
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer).map_err(|e| Error::io("read", "standard input", e))?;
    match matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        true => Ok(()),
        false => Err(Error::new(Kind::Refused, "not confirmed, nothing was changed")),
    }
}

/// What is lost, and when.
fn losses(overlay: &OverlayStatus, reset: &Reset) -> String {
    let moment = match reset.now {
        None => "at the next boot",
        Some(Now::Reboot) => "by a reboot, now",
        Some(Now::SoftReboot) => "by a soft-reboot, now",
    };
    let generation =
        overlay.generation.map_or_else(|| "the live generation".into(), |n| format!("generation {n}"));
    let made = overlay.generation_created.map(|t| format!(", made {}", super::format::ago(t, now())));
    let upper = overlay.upper.as_ref().map_or_else(|| "everything written since".into(), usage);
    let base = if overlay.base.is_empty() { "the base" } else { &overlay.base };
    format!(
        "The overlay \"{}\"{} goes back to {base} {moment}.\nLost: {generation}{}: {upper}.",
        overlay.name,
        place(" on ", overlay),
        made.unwrap_or_default()
    )
}

fn tell_plan(done: &JobDone, output: &Output) -> Result<()> {
    if output.is_json() {
        return output.value(&done.lists);
    }
    let mut text = String::new();
    for (title, key) in [("Now:", "now"), ("At the next boot:", "at-boot")] {
        text += &format!("{title}\n");
        let steps = done.lists.get(key).map(Vec::as_slice).unwrap_or_default();
        for step in steps {
            text += &format!("  {step}\n");
        }
        if steps.is_empty() {
            text += "  nothing: the same request is pending already\n";
        }
    }
    output.text(&text)
}

fn tell_done(overlay: &str, now: Option<Now>, done: &JobDone, output: &Output) -> Result<()> {
    let was_pending = done.flags.get("was-pending").is_some_and(|flag| *flag);
    let by = done.texts.get("requested-by").map_or("somebody", String::as_str);
    if output.is_json() {
        let result = if was_pending { "was-pending" } else { "requested" };
        let id = done.texts.get("request").map_or("", String::as_str);
        let fields = [("overlay", overlay), ("result", result), ("request", id), ("requested-by", by)];
        return output.value(&BTreeMap::from(fields));
    }
    let text = match was_pending {
        _ if now.is_some() => format!("{overlay} is reset by the boot that begins now.\n"),
        true => format!("A reset of {overlay} is pending already, asked by {by}.\n"),
        false => {
            format!("{overlay} is reset at the next boot. Until then `overlayctl cancel` takes it back.\n")
        }
    };
    output.text(&text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Usage;

    #[test]
    fn the_question_names_what_is_lost() {
        let overlay = OverlayStatus {
            name: "root".into(),
            mount_point: "/".into(),
            base: "squashfs:abc".into(),
            generation: Some(3),
            upper: Some(Usage { bytes: 1024, entries: 1, complete: false }),
            ..OverlayStatus::default()
        };
        let reset = Reset { now: Some(Now::Reboot), dry_run: false, yes: false };
        let expected = "The overlay \"root\" on / goes back to squashfs:abc by a reboot, now.\n\
                        Lost: generation 3: at least 1K in 1 entry.";
        assert_eq!(losses(&overlay, &reset), expected);
    }
}
