//! The daemon: command line, log, main loop.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use overlayd::config::values::parse_duration;
use overlayd::dbus::{Places, daemon};
use overlayd::{handoff, logging, motd, sys, watch};

/// Serves org.overlayd1 on the system bus; started by the bus when somebody calls.
#[derive(Debug, Parser)]
#[command(name = "overlayd", version)]
struct Arguments {
    /// The store, in place of the one that early boot mounted
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
    /// The boot handoff
    #[arg(long, value_name = "FILE", default_value = handoff::BOOT_TOML)]
    handoff: PathBuf,
    /// The root below which the configuration lies
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
    /// Exit after this long without calls and jobs: 30s, 500ms; 0 to stay
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = parse_duration)]
    idle_timeout: Duration,
    /// Look once whether the state filesystem is well, tell what is new, and exit
    #[arg(long)]
    watch: bool,
    /// The login message that --watch keeps
    #[arg(long, value_name = "FILE", default_value = motd::PATH)]
    motd: PathBuf,
    /// What --watch starts
    #[arg(long, num_args = 2, value_names = ["DIR", "LOCK"], hide = true)]
    try_store: Vec<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let log = logging::init_host();
    match run(arguments, log) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments, log: logging::LogHandle) -> overlayd::Result<()> {
    if let [store, lock] = &arguments.try_store[..] {
        return try_store(store, lock);
    }
    if arguments.watch {
        return watch_once(arguments);
    }
    let store = arguments.store.map_or_else(mounted_store, |store| Ok(Some(store)))?;
    let places = Places { store, handoff: arguments.handoff, root: arguments.root };
    let idle = Some(arguments.idle_timeout).filter(|time| !time.is_zero());
    daemon::run(daemon::Options { places, idle }, log)
}

fn watch_once(arguments: Arguments) -> overlayd::Result<()> {
    watch::run(&watch::Places {
        handoff: arguments.handoff,
        store: arguments.store.unwrap_or_else(|| handoff::RUN_STORE.into()),
        motd: arguments.motd,
        program: "/proc/self/exe".into(),
    })
}

/// The answer goes to whoever started it; so does an error, which is not for the journal.
fn try_store(store: &Path, lock: &Path) -> overlayd::Result<()> {
    let said = watch::try_store(store, lock).unwrap_or_else(|error| error.to_string());
    std::io::stdout().write_all(said.as_bytes()).map_err(|e| overlayd::Error::io("write", "the answer", e))
}

/// The store that early boot mounted, made writable in a mount namespace of this process's own: the unit gives it one,
/// and whoever starts it by hand must not change the host's.
fn mounted_store() -> overlayd::Result<Option<PathBuf>> {
    let store = PathBuf::from(handoff::RUN_STORE);
    if !store.exists() {
        return Ok(None);
    }
    sys::mount::follower_namespace()?;
    sys::remount_store_writable(&store)?;
    Ok(Some(store))
}
