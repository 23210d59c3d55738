//! `/run/overlayd/boot.toml`: what early boot was asked for, what it did, and why they differ.
//!
//! Written once by `overlayd-early`, read by the daemon, the tool and anyone else. Documented in
//! overlayd-boot.toml(5); fields are only ever added.

use std::collections::BTreeMap;
use std::path::Path;

use crate::config::Mode;
use crate::error::Result;
use crate::store::codec::{Fields, Record, maybe_number, maybe_table, maybe_text, maybe_texts, tables, word};
use crate::store::records::{self, version};
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    pub problems: Vec<String>,
    /// The state filesystem; none if nothing persistent is mounted.
    pub state: Option<HandoffState>,
    /// One table per overlay.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandoffState {
    /// What the configuration said: `LABEL=overlayd`.
    pub wanted: String,
    /// The device node that was found, or that of the volume on it.
    pub device: String,
    /// The device that the volume is on, if it is an encrypted one.
    pub encrypted_on: Option<String>,
    /// ext4, xfs, btrfs, …
    pub fstype: String,
    /// UUID of the filesystem.
    pub uuid: String,
    /// Directory of the store on it.
    pub path: String,
}

/// One overlay as it was mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandoffOverlay {
    /// Mount point in the booted system.
    pub target: String,
    /// What the configuration asked for.
    pub configured: Mode,
    /// What is mounted.
    pub mode: Mode,
    /// Why the two differ.
    pub reason: Option<String>,
    /// Read-only layers, highest first: `snapshot:3`, then the base as `fstype:device`.
    pub lowers: Vec<String>,
    /// Identity of the base.
    pub base: String,
    /// The live generation, if there is a persistent upper.
    pub generation: Option<u64>,
    /// The snapshot that is mounted between the upper and the base.
    pub snapshot: Option<u64>,
    /// Overlayfs options in use.
    pub options: String,
    /// Id of the request that this boot executed.
    pub executed: Option<String>,
}

impl Record for Handoff {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        version(io, &mut self.version)?;
        io.text("boot-id", &mut self.boot_id)?;
        let all = [BootMode::Initrd, BootMode::Preinit, BootMode::Unit, BootMode::None];
        word(io, "boot-mode", &mut self.boot_mode, &all, BootMode::word)?;
        io.number("took-ms", &mut self.took_ms)?;
        io.number("waited-ms", &mut self.waited_ms)?;
        maybe_texts(io, "problems", &mut self.problems)?;
        maybe_table(io, "state", &mut self.state)?;
        tables(io, "overlay", &mut self.overlay)
    }
}

impl Record for HandoffState {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        io.text("wanted", &mut self.wanted)?;
        io.text("device", &mut self.device)?;
        maybe_text(io, "encrypted-on", &mut self.encrypted_on)?;
        io.text("fstype", &mut self.fstype)?;
        io.text("uuid", &mut self.uuid)?;
        io.text("path", &mut self.path)
    }
}

impl Record for HandoffOverlay {
    fn fields(&mut self, io: &mut dyn Fields) -> Result<()> {
        io.text("target", &mut self.target)?;
        let all = [Mode::Persistent, Mode::Volatile, Mode::ReadOnly, Mode::Off];
        word(io, "configured", &mut self.configured, &all, Mode::word)?;
        word(io, "mode", &mut self.mode, &all, Mode::word)?;
        maybe_text(io, "reason", &mut self.reason)?;
        io.texts("lowers", &mut self.lowers)?;
        io.text("base", &mut self.base)?;
        maybe_number(io, "generation", &mut self.generation)?;
        maybe_number(io, "snapshot", &mut self.snapshot)?;
        io.text("options", &mut self.options)?;
        maybe_text(io, "executed", &mut self.executed)
    }
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
