//! The command line of `overlayctl`.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Where help lists what every command takes.
const EVERYWHERE: &str = "Options of every command";

/// Show and control the writable layers of read-only root images
#[derive(Debug, Parser)]
#[command(name = "overlayctl", version, after_help = "See overlayctl(1) for the exit codes and the JSON.")]
pub(crate) struct Arguments {
    /// Which overlay [default: all for status and list, root otherwise]
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "NAME")]
    pub(crate) overlay: Option<String>,
    /// Work on the store in this directory, without the daemon
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) store: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) json: bool,
    /// Never ask for a password
    #[arg(long, global = true, help_heading = EVERYWHERE)]
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
    /// Make, list, show, delete, protect or describe snapshots
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Make a snapshot and let it be the baseline: what a reset goes back to
    Commit(Commit),
    /// Tell what differs between the image, snapshots, generations and what is live
    Diff(Diff),
    /// Discard every change and go back to the baseline or to the image, at the next boot
    Reset(Reset),
    /// Go back to a snapshot at the next boot, or bring single paths back at once
    Restore(Restore),
    /// Go back to the generation before the last reset or restore, at the next boot
    Undo(Undo),
    /// Take the pending request back
    Cancel,
    /// Look the store through and repair it
    #[command(subcommand)]
    Store(StoreCommand),
    /// Say that the booted root came up well, or that the next boot shall go back
    #[command(subcommand)]
    Mark(MarkCommand),
    /// Show or check the configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Follow what happens, until interrupted
    Monitor,
}

/// Commands about snapshots.
#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Make a snapshot of all that was changed, now
    Create(Create),
    /// List the snapshots, oldest first
    List,
    /// Show all that is known about a snapshot
    Show {
        /// Its number
        id: u64,
    },
    /// Delete snapshots for good
    Delete {
        /// Their numbers
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Keep snapshots until they are no longer protected
    Protect {
        /// Their numbers
        #[arg(required = true, value_name = "ID")]
        ids: Vec<u64>,
        /// Protect them no longer
        #[arg(long)]
        off: bool,
    },
    /// Change a snapshot's description and words
    Describe(Describe),
}

/// What a new snapshot's record shall say.
#[derive(Args, Debug, Default)]
pub(crate) struct Words {
    /// What it is for; everybody can read it: at most 128 bytes
    #[arg(short, long, value_name = "TEXT")]
    pub(crate) message: Option<String>,
    /// A word of your own about it, up to 16 times
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) userdata: Vec<(String, String)>,
}

/// Arguments of `snapshot create`.
#[derive(Args, Debug)]
pub(crate) struct Create {
    #[command(flatten)]
    pub(crate) words: Words,
    /// At the next boot, before anything runs: consistent as a whole, and at constant cost
    #[arg(long)]
    pub(crate) quiesced: bool,
}

/// Arguments of `snapshot describe`.
#[derive(Args, Debug)]
pub(crate) struct Describe {
    /// Its number
    pub(crate) id: u64,
    /// What it is for, in place of what it says: at most 128 bytes
    #[arg(short, long, value_name = "TEXT", required_unless_present = "userdata")]
    pub(crate) message: Option<String>,
    /// Set a word of your own; KEY= takes it away
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(crate) userdata: Vec<(String, String)>,
}

/// Arguments of `commit`.
#[derive(Args, Debug)]
pub(crate) struct Commit {
    #[command(flatten)]
    pub(crate) words: Words,
    /// Only print what it would hold
    #[arg(long, conflicts_with = "quiesced")]
    pub(crate) dry_run: bool,
    /// At the next boot, before anything runs: consistent as a whole, and at constant cost
    #[arg(long, conflicts_with = "paths")]
    pub(crate) quiesced: bool,
    /// Commit these alone, on top of the present baseline
    #[arg(last = true, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
}

/// Arguments of `diff`.
#[derive(Args, Debug)]
pub(crate) struct Diff {
    /// What was: base, baseline, snapshot:ID, generation:NUMBER or live [default: base]
    pub(crate) from: Option<String>,
    /// What is, in the same words [default: live]
    pub(crate) to: Option<String>,
    /// Only print how much differs
    #[arg(long)]
    pub(crate) stat: bool,
    /// With --store: where the image is mounted
    #[arg(long, value_name = "DIR", value_hint = clap::ValueHint::DirPath)]
    pub(crate) base: Option<PathBuf>,
    /// Compare these alone: files, or whole directories
    #[arg(last = true, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
}

/// Arguments of `restore`.
#[derive(Args, Debug)]
pub(crate) struct Restore {
    /// The number of the snapshot
    #[arg(required_unless_present = "from", conflicts_with = "from")]
    pub(crate) id: Option<u64>,
    /// Where paths come from, in place of a snapshot: the read-only image
    #[arg(long, value_name = "WHERE", requires = "paths")]
    pub(crate) from: Option<Source>,
    /// Do not wait for the next boot: boot now
    #[arg(long, value_name = "HOW", require_equals = true, conflicts_with = "paths")]
    pub(crate) now: Option<Now>,
    /// Only print what would happen, and what it would bring back
    #[arg(long, conflicts_with = "now")]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Bring these alone back, at once: files, or whole directories
    #[arg(last = true, value_name = "PATH", value_hint = clap::ValueHint::AnyPath)]
    pub(crate) paths: Vec<PathBuf>,
}

/// Where paths come from, besides a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Source {
    // The read-only image.
    Base,
}

/// Arguments of `undo`.
#[derive(Args, Debug)]
pub(crate) struct Undo {
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

/// Arguments of `reset`.
#[derive(Args, Debug)]
pub(crate) struct Reset {
    /// To the image as it was built: snapshots, the baseline and everything else is deleted, and there is no undo
    #[arg(long, conflicts_with = "wipe")]
    pub(crate) factory: bool,
    /// The same, by erasing the state device and making it anew; nothing can be kept
    #[arg(long)]
    pub(crate) wipe: bool,
    /// Keep what matches, besides what the configuration keeps
    #[arg(long, value_name = "GLOB")]
    pub(crate) keep: Vec<String>,
    /// Keep nothing of what the configuration keeps
    #[arg(long)]
    pub(crate) drop_kept: bool,
    /// Do not wait for the next boot: boot now
    #[arg(long, value_name = "HOW", require_equals = true)]
    pub(crate) now: Option<Now>,
    /// Only print what would be lost and kept, and the steps, now and at the next boot
    #[arg(long, conflicts_with = "now")]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// What asks, for the record; for programs that ask on behalf of something else
    #[arg(long, value_name = "TEXT")]
    pub(crate) via: Option<String>,
}

/// How to boot now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Now {
    // The whole machine.
    Reboot,
    // Userspace only.
    SoftReboot,
}

/// Commands about the store.
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Find what is damaged, missing or in the way, and say what can be done about it
    Check(CheckStore),
}

/// Arguments of `store check`.
#[derive(Args, Debug)]
pub(crate) struct CheckStore {
    /// Repair what can be proved; nothing is deleted
    #[arg(long)]
    pub(crate) repair: bool,
    /// With --repair: only say what it would do
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Look at every file of every layer, too, for marks that make it depend on another; they are only told
    #[arg(long)]
    pub(crate) layers: bool,
}

/// How the booted root is marked.
#[derive(Debug, Subcommand)]
pub(crate) enum MarkCommand {
    /// It came up well: what counts its boots begins anew
    Good {
        /// Delete what was bad before, and is kept for a look at it
        #[arg(long)]
        forget: bool,
    },
    /// It is bad: the next boot goes back to what was good, to the baseline or to the image
    Bad {
        /// Why, for the record; everybody can read it: at most 128 bytes
        reason: Option<String>,
    },
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

/// `KEY=VALUE`; which keys and values are good is the operation's to say.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("there is no \"=\" in it".to_owned()),
    }
}
