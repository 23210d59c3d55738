//! `overlayctl`: the command line, and what people see of it. Nothing here mounts or deletes: a command asks the
//! daemon, or calls one operation on a store.

mod agent;
mod answer;
mod args;
mod ask;
mod configure;
mod diff;
mod format;
mod loss;
mod mark;
mod monitor;
mod output;
mod page;
mod progress;
mod report;
mod request;
mod reset;
mod restore;
mod snapshot;
mod snapshots;
mod source;
mod status;
mod store;
mod worker;

use std::process::ExitCode;

use clap::Parser;

use args::{Arguments, Command, ConfigCommand};
use output::Output;

use crate::error::{Error, Kind};
use crate::sys::signal;

/// Reads the command line, does what it says, and tells how it went.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    let done = run(&arguments, &output);
    match done {
        Ok(code) => ExitCode::from(code),
        Err(_) if output.is_broken() => ExitCode::SUCCESS,
        Err(error) => {
            output.complain(&error);
            let code = signal::caught().filter(|_| error.kind() == Kind::Canceled).map(stopped);
            ExitCode::from(code.unwrap_or_else(|| exit_code(&error)))
        }
    }
}

fn run(arguments: &Arguments, output: &Output) -> crate::Result<u8> {
    match &arguments.command {
        Command::Status => report::status(arguments, output),
        Command::List => report::list(arguments, output),
        Command::Snapshot(command) => snapshot::snapshot(arguments, command, output),
        Command::Commit(commit) => snapshot::commit(arguments, commit, output),
        Command::Diff(diff) => diff::diff(arguments, diff, output),
        Command::Restore(restore) => restore::restore(arguments, restore, output),
        Command::Undo(undo) => restore::undo(arguments, undo, output),
        Command::Reset(reset) => reset::reset(arguments, reset, output),
        Command::Cancel => reset::cancel(arguments, output),
        Command::Store(command) => store::store(arguments, command, output),
        Command::Mark(command) => mark::mark(arguments, command, output),
        Command::Config(ConfigCommand::Show { root }) => configure::show(root, output),
        Command::Config(ConfigCommand::Check { root }) => configure::check(root, output),
        Command::Monitor => monitor::monitor(output),
    }
}

/// What a shell says of a program that a signal ended.
fn stopped(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(1)
}

/// 1 failed, 2 usage, 3 nothing to do, 4 refused.
fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        Kind::Failed
        | Kind::InsufficientSpace
        | Kind::NoSuchOverlay
        | Kind::NoSuchSnapshot
        | Kind::NoSuchJob
        | Kind::Canceled => 1,
        Kind::InvalidArgs => 2,
        Kind::NoPendingAction | Kind::NothingToDo => 3,
        Kind::BadConfig
        | Kind::JobInProgress
        | Kind::RebootPending
        | Kind::OverlayBusy
        | Kind::BaseMismatch
        | Kind::SnapshotProtected
        | Kind::SnapshotIncomplete
        | Kind::StoreUnavailable
        | Kind::StoreDamaged
        | Kind::NotSupported
        | Kind::AccessDenied
        | Kind::Refused => 4,
    }
}

#[cfg(test)]
mod documents;
