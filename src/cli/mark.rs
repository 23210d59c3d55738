//! `overlayctl mark`: whether the booted root is good.

use std::path::Path;

use super::answer::Marks;
use super::args::{Arguments, MarkCommand};
use super::output::Output;
use super::worker::Worker;
use crate::error::{Error, Kind, Result};
use crate::handoff::RUN_STORE;
use crate::operation::Asked;
use crate::operation::health::{self, Mark};
use crate::plan::execute::ROOT;
use crate::sys::user;

/// Marks it, and says what follows.
pub(crate) fn mark(arguments: &Arguments, command: &MarkCommand, output: &Output) -> Result<u8> {
    if arguments.target() != ROOT {
        return Err(Error::new(Kind::InvalidArgs, "only the boots of the overlay \"root\" are counted"));
    }
    let mark = match command {
        MarkCommand::Good { forget } => Mark::Good { forget: *forget },
        MarkCommand::Bad { reason } => Mark::Bad { reason: reason.clone().unwrap_or_default() },
    };
    let marks = match Worker::new(arguments, output) {
        Ok(worker) => worker.mark(&mark)?,
        Err(unreachable) => alone(&mark, unreachable, output)?,
    };
    match output.is_json() {
        true => output.value(&marks)?,
        false => output.text(&told(&mark, &marks))?,
    }
    Ok(0)
}

/// Without the daemon: a boot has come up, whether or not there is a bus to say so.
fn alone(mark: &Mark, unreachable: Error, output: &Output) -> Result<Marks> {
    if user::own_uid() != 0 || !Path::new(RUN_STORE).is_dir() {
        return Err(unreachable);
    }
    output.note(&format!("overlayctl: {}; the store is changed without it", unreachable.message()));
    let by = format!("{} via overlayctl", user::describe(user::own_uid()));
    let asked = Asked { by, via: Some("overlayctl".to_owned()) };
    let marked = health::mark_without_daemon(mark, &asked)?;
    Ok(Marks::new(mark, marked.generation, marked.next))
}

fn told(mark: &Mark, marks: &Marks) -> String {
    let generation = marks.generation;
    match (mark, &marks.next) {
        (Mark::Good { .. }, _) => format!("generation {generation} is good\n"),
        (Mark::Bad { .. }, Some(next)) => {
            format!("generation {generation} is bad: the next boot goes back to {next}\n")
        }
        (Mark::Bad { .. }, None) => {
            format!("generation {generation} is bad, but there is nothing left to go back to\n")
        }
    }
}
