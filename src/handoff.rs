//! `/run/overlayd/boot.toml`: what early boot was asked for, what it did, and why they differ.
//!
//! Written once by `overlayd-early`, read by the daemon, the tool and anyone else. Documented in
//! overlayd-boot.toml(5); fields are only ever added.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Mode;
use crate::error::Result;
use crate::store::records;
use crate::sys::{atomic, mountinfo};

/// Where everything of a running overlayd lies. 0755, its contents guard themselves.
pub const RUN_DIR: &str = "/run/overlayd";
/// The handoff file.
pub const BOOT_TOML: &str = "/run/overlayd/boot.toml";
/// The store, mounted read-only in the host's view, in a writable private mount for the daemon.
pub const RUN_STORE: &str = "/run/overlayd/store";
/// There if trees wait in `trash/`: the cleanup unit's condition.
pub const CLEANUP_WANTED: &str = "/run/overlayd/cleanup-wanted";

/// The whole file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Handoff {
    /// 1.
    pub version: u32,
    /// Kernel boot id of the boot that wrote it.
    pub boot_id: String,
    /// How overlayd-early was run.
    pub boot_mode: BootMode,
    /// Milliseconds that overlayd-early needed, without what it waited for the device.
    pub took_ms: u64,
    /// Milliseconds that it waited for the state device.
    pub waited_ms: u64,
    /// Everything that was not as it should be, in words for people.
    #[serde(default)]
    pub problems: Vec<String>,
    /// The state filesystem; none if nothing persistent is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<HandoffState>,
    /// One table per overlay.
    #[serde(default)]
    pub overlay: BTreeMap<String, HandoffOverlay>,
}

impl Handoff {
    /// One in which nothing is mounted.
    pub fn new(boot_mode: BootMode, boot_id: String) -> Handoff {
        Handoff {
            version: 1,
            boot_id,
            boot_mode,
            took_ms: 0,
            waited_ms: 0,
            problems: Vec::new(),
            state: None,
            overlay: BTreeMap::new(),
        }
    }
}

/// What the kernel shows as the source of an overlay's mount.
pub fn source_of(overlay: &str) -> String {
    format!("overlayd:{overlay}")
}

/// How overlayd-early was run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BootMode {
    /// In an initramfs.
    Initrd,
    /// As PID 1, before the real init.
    Preinit,
    /// From a systemd unit.
    Unit,
    /// Not at all.
    #[default]
    None,
}

impl BootMode {
    /// The word on the bus.
    pub fn word(self) -> &'static str {
        match self {
            BootMode::Initrd => "initrd",
            BootMode::Preinit => "preinit",
            BootMode::Unit => "unit",
            BootMode::None => "none",
        }
    }
}

/// The state filesystem as it was mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HandoffState {
    /// What the configuration said: `LABEL=overlayd`.
    pub wanted: String,
    /// The device node that was found.
    pub device: String,
    /// ext4, xfs, btrfs, …
    pub fstype: String,
    /// UUID of the filesystem.
    pub uuid: String,
    /// Directory of the store on it.
    pub path: String,
}

/// One overlay as it was mounted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct HandoffOverlay {
    /// Mount point in the booted system.
    pub target: String,
    /// What the configuration asked for.
    pub configured: Mode,
    /// What is mounted.
    pub mode: Mode,
    /// Why the two differ.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Read-only layers, highest first: `snapshot:3`, then the base as `fstype:device`.
    pub lowers: Vec<String>,
    /// Identity of the base.
    pub base: String,
    /// The live generation, if there is a persistent upper.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
    /// The snapshot that is mounted between the upper and the base.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<u64>,
    /// Overlayfs options in use.
    #[serde(default)]
    pub options: String,
    /// Id of the request that this boot executed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub executed: Option<String>,
}

/// Reads the handoff; `Ok(None)` if early boot did not run. An overlay other than the root that was unmounted since is
/// left out.
pub fn load(path: &Path) -> Result<Option<Handoff>> {
    let Some(text) = atomic::read_optional(path)? else { return Ok(None) };
    let mut handoff: Handoff = records::parse(path, &text)?;
    if handoff.overlay.keys().any(|name| name != "root") {
        let mounts = mountinfo::read()?;
        let mounted = |name: &str, target: &str| {
            mountinfo::at(&mounts, Path::new(target)).is_some_and(|m| m.source == source_of(name))
        };
        handoff.overlay.retain(|name, overlay| name == "root" || mounted(name, &overlay.target));
    }
    Ok(Some(handoff))
}

/// Writes the handoff, readable for everyone: it holds no secret.
pub fn save(path: &Path, handoff: &Handoff) -> Result<()> {
    atomic::write_public(path, &records::render(path, handoff)?)
}
