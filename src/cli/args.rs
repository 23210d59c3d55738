//! The command line of `overlayctl`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Show and control the writable layers of read-only root images
#[derive(Debug, Parser)]
#[command(name = "overlayctl", version, after_help = "See overlayctl(1) for the exit codes and the JSON.")]
pub(crate) struct Arguments {
    /// Which overlay [default: all for status and list, root otherwise]
    #[arg(long, global = true, value_name = "NAME")]
    pub(crate) overlay: Option<String>,
    /// Work on the store in this directory, without the daemon
    #[arg(long, global = true, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) store: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Never ask for a password
    #[arg(long, global = true)]
    pub(crate) no_ask_password: bool,
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

impl Arguments {
    /// The overlay that a change is about.
    pub(crate) fn target(&self) -> &str {
        self.overlay.as_deref().unwrap_or("root")
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show how everything is, and why
    Status,
    /// List the overlays
    List,
    /// Discard every change and go back to the base, at the next boot
    Reset(Reset),
    /// Take the pending request back
    Cancel,
    /// Show or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Follow what happens, until interrupted
    Monitor,
}

/// Arguments of `reset`.
#[derive(Args, Debug)]
pub(crate) struct Reset {
    /// Do not wait for the next boot: boot now
    #[arg(long, value_name = "HOW", require_equals = true)]
    pub(crate) now: Option<Now>,
    /// Only print the steps, now and at the next boot
    #[arg(long, conflicts_with = "now")]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
}

/// How to boot now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Now {
    /// The whole machine
    Reboot,
    /// Userspace only
    SoftReboot,
}

/// Commands about the configuration.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print each value in force and where it was set
    Show {
        /// The system whose configuration it is
        #[arg(long, value_name = "DIR", default_value = "/", value_hint = clap::ValueHint::DirPath)]
        root: PathBuf,
    },
    /// Find what is wrong before a boot does
    Check {
        /// The system whose configuration it is
        #[arg(long, value_name = "DIR", default_value = "/", value_hint = clap::ValueHint::DirPath)]
        root: PathBuf,
    },
}
