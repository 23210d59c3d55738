//! What is cut, and where: the command itself, the shutdown after it, or the boot that carries it out.

use serde_json::Value;

/// What changes a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Operation {
    /// Files, each with fsync(2).
    Write,
    Snapshot,
    Delete,
    Commit,
    /// A snapshot that the next boot makes.
    Quiesced,
    Reset,
    Factory,
    Restore,
    Undo,
    MarkBad,
    /// Going back after boots that did not come up.
    FailedBoots,
    /// The trash of a factory reset, which the daemon deletes.
    Cleanup,
    /// A reboot, and nothing else.
    Shutdown,
    /// A device that is all zeros.
    FirstBoot,
}

/// Where the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Moment {
    /// While it is done, or asked for, on the running system.
    Command,
    /// In the shutdown after that.
    Shutdown,
    /// In the initramfs of the next boot.
    Executor,
}

/// More than so many snapshots, and one is deleted next: few enough that none goes by itself.
const MANY: usize = 4;

pub(super) const ALL: [Operation; 14] = [
    Operation::Write,
    Operation::Snapshot,
    Operation::Delete,
    Operation::Commit,
    Operation::Quiesced,
    Operation::Reset,
    Operation::Factory,
    Operation::Restore,
    Operation::Undo,
    Operation::MarkBad,
    Operation::FailedBoots,
    Operation::Cleanup,
    Operation::Shutdown,
    Operation::FirstBoot,
];

impl Operation {
    /// Where it can be cut.
    pub(super) fn moments(self) -> &'static [Moment] {
        use Moment::{Command, Executor, Shutdown};
        match self {
            Operation::Write | Operation::Snapshot | Operation::Delete | Operation::Commit => &[Command],
            Operation::Cleanup => &[Command],
            Operation::Shutdown => &[Shutdown],
            Operation::FailedBoots | Operation::FirstBoot => &[Executor],
            _ => &[Command, Shutdown, Executor],
        }
    }

    /// Whether it can be done with a root whose status is this.
    pub(super) fn fits(self, root: &Value) -> bool {
        let is_null = |key: &str| root[key].is_null();
        let crowded = snapshots(root).count() > MANY && deletable(root).is_some();
        match self {
            Operation::Delete => deletable(root).is_some(),
            _ if crowded => false,
            Operation::Quiesced => is_null("snapshot"),
            Operation::Restore => snapshots(root).next().is_some(),
            Operation::Undo => !is_null("undo"),
            _ => true,
        }
    }

    /// The command, on a root whose status is this; empty where there is none.
    pub(super) fn script(self, root: &Value) -> String {
        let oldest = snapshots(root).next().map_or(0, |one| one["id"].as_u64().unwrap_or(0));
        match self {
            Operation::Snapshot => "overlayctl snapshot create".to_owned(),
            Operation::Delete => {
                format!("overlayctl snapshot delete {} --yes", deletable(root).unwrap_or_default())
            }
            Operation::Commit => "overlayctl commit".to_owned(),
            Operation::Quiesced => "overlayctl snapshot create --quiesced".to_owned(),
            Operation::Reset => "overlayctl reset --yes --keep '/var/kept/**'".to_owned(),
            Operation::Factory | Operation::Cleanup => {
                "overlayctl reset --factory --yes --keep '/var/kept/**'".to_owned()
            }
            Operation::Restore => format!("overlayctl restore {oldest} --yes"),
            Operation::Undo => "overlayctl undo --yes".to_owned(),
            Operation::MarkBad => "overlayctl mark bad".to_owned(),
            Operation::Write | Operation::FailedBoots | Operation::Shutdown | Operation::FirstBoot => {
                String::new()
            }
        }
    }
}

/// The oldest snapshot that nothing needs.
pub(super) fn deletable(root: &Value) -> Option<u64> {
    snapshots(root).find(|one| one["in-use"].is_null())?["id"].as_u64()
}

pub(super) fn snapshots(root: &Value) -> impl Iterator<Item = &Value> {
    root["snapshots"].as_array().into_iter().flatten()
}
