//! A wipe: whether the state device may be erased, what then stands on it, and how its filesystem is made anew.

use std::path::{Path, PathBuf};

use super::erasure::{self, Erased, Erasure};
use super::trigger::SYSTEMD_MARK;
use super::{Refusal, execute};
use crate::config::Config;
use crate::error::Kind;
use crate::observe::Moment;
use crate::store::records::{Level, OutcomeRecord, RequestRecord};
use crate::store::wipe_record::{Luks, WipeRecord};
use crate::sys::block::DeviceSpec;
use crate::sys::elsewhere::Part;
use crate::sys::wipe_sector::WipeSector;

/// What is known of the device that is erased, and of the filesystem on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Target {
    /// Its node; of an encrypted volume the one below the mapping.
    pub node: PathBuf,
    /// In bytes.
    pub size: u64,
    /// The smallest piece that can be written, in bytes.
    pub sector: u64,
    /// The piece that the hardware writes at once, in bytes.
    pub physical_sector: u64,
    /// Whether it says that it is a rotating disk.
    pub rotational: Option<bool>,
    /// The encrypted volume that the filesystem lies in.
    pub luks: Option<Luks>,
    /// Whether the device is found by what the configuration says, once there is nothing on it but the mark.
    pub findable: bool,
    /// What the device mapper says of itself, if it is another mapping: `LVM-…`.
    pub mapping: Option<String>,
    /// How many devices the filesystem spans.
    pub devices: u64,
    /// The part of it that lies on another device, by its own account.
    pub elsewhere: Option<Part>,
    /// Type of the filesystem on it; or of the one that is to be made, if a wipe was interrupted.
    pub fstype: String,
    /// Its UUID.
    pub uuid: String,
    /// Its label.
    pub label: String,
}

impl Target {
    /// Size of what the filesystem is made in, in bytes.
    pub fn volume_size(&self) -> u64 {
        let header = self.luks.as_ref().map_or(0, |_| HEADER);
        self.size.saturating_sub(header) / FRONT * FRONT
    }

    /// The smallest piece of that which can be written, in bytes. A volume encrypts pieces as large as the hardware's.
    pub fn volume_sector(&self) -> u64 {
        match self.luks {
            Some(_) if self.physical_sector >= FRONT && self.size.is_multiple_of(FRONT) => FRONT,
            _ => self.sector,
        }
    }
}

/// Length of the header of an encrypted volume that is made, with its key slots: what cryptsetup(8) takes by itself.
pub const HEADER: u64 = 16 << 20;

/// What is before the rest of the device in time: it stays as it is while the rest is erased, and is written last.
pub const FRONT: u64 = 4096;

/// Whether the device may be wiped because of `request`.
pub fn check(config: &Config, request: &RequestRecord, target: &Target) -> Result<(), Refusal> {
    let node = target.node.display();
    let refuse = |reason: String, remedy: &str| Err(Refusal::new(Kind::Refused, reason, remedy));
    if !request.keep.is_empty() || !(request.drop_kept || config.root().keep.is_empty()) {
        return refuse(
            "a wipe can keep nothing: what is kept would lie in memory alone meanwhile".to_owned(),
            "reset with --factory, which keeps, or wipe with --drop-kept and without --keep",
        );
    }
    if let Some(mapping) = &target.mapping {
        return refuse(
            format!(
                "{node} is a mapping of the device mapper ({mapping}), and what lies below it would not be erased"
            ),
            "reset with --factory",
        );
    }
    if target.luks.is_some() {
        check_encrypted(config, target)?;
    }
    if target.devices > 1 {
        let what =
            format!("the filesystem on {node} spans {} devices, and a wipe erases one", target.devices);
        return refuse(what, "reset with --factory");
    }
    if let Some(part) = target.elsewhere {
        let what =
            format!("{part} of the filesystem on {node} lies on another device, and a wipe erases one");
        return refuse(what, "reset with --factory");
    }
    let elsewhere = ["logdev=", "rtdev=", "journal_path=", "journal_dev=", "device="];
    if let Some(option) = config.state.options.split(',').find(|o| elsewhere.iter().any(|e| o.starts_with(e)))
    {
        let what = format!("a part of the filesystem on {node} lies on another device ({option})");
        return refuse(what, "reset with --factory");
    }
    if target.sector > FRONT {
        return refuse(format!("{node} has sectors of {} bytes", target.sector), "reset with --factory");
    }
    let path = config.state.path.to_string_lossy();
    if target.fstype == "xfs" && path.contains(char::is_whitespace) {
        return refuse(format!("mkfs.xfs can not make state.path \"{path}\""), "reset with --factory");
    }
    Ok(())
}

/// What the making of a new volume, and the finding of it, need.
fn check_encrypted(config: &Config, target: &Target) -> Result<(), Refusal> {
    let node = target.node.display();
    let refuse = |reason: String, remedy: &str| Err(Refusal::new(Kind::Refused, reason, remedy));
    if config.state.key_file.is_none() {
        return refuse(
            format!("{node} is encrypted, and no key is known for the volume that would take its place"),
            "set state.key-file, or reset with --factory",
        );
    }
    if !target.findable {
        return refuse(
            format!(
                "{node} is encrypted, and would not be found by what state.device says after a power cut"
            ),
            "name the LUKS device itself in state.device, or the filesystem in it by LABEL= or UUID=",
        );
    }
    if !target.luks.as_ref().is_some_and(|luks| is_plain_name(&luks.name)) {
        return refuse(
            format!("the name of the mapping that is open on {node} is none that the mark could hold"),
            "open it under a name of letters and digits, or reset with --factory",
        );
    }
    Ok(())
}

/// Whether it can be nothing but the name of a mapping: not an option of a program, nor a path.
fn is_plain_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._+:@-".contains(c);
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name != "control" && name.chars().all(plain)
}

/// Whether what a mark says of a volume can be handed to a program: whoever wrote to the raw device wrote the mark.
fn is_sound(luks: &Luks) -> bool {
    let is_uuid = luks.uuid.len() == 36 && luks.uuid.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    is_uuid && !luks.uuid.starts_with('-') && is_plain_name(&luks.name)
}

/// Those of the used tokens that could fire again after the store that remembers them is gone: what the kernel command
/// line still says, and the last ones of each kind, which may stand elsewhere.
pub fn live_tokens(used: &[String], command_line: &str) -> Vec<String> {
    let is_variable = |token: &&String| token.contains('=');
    let last = [used.iter().rfind(is_variable), used.iter().rfind(|token| !is_variable(token))];
    // The word of systemd may be spelled otherwise on the command line.
    let live = |token: &&String| {
        last.contains(&Some(token)) || *token == SYSTEMD_MARK || command_line.contains(token.as_str())
    };
    used.iter().filter(live).cloned().collect()
}

/// What stands at the beginning of the device from the point of no return on.
pub fn sector(request: &RequestRecord, tokens: Vec<String>, target: &Target) -> Result<WipeSector, Refusal> {
    let record = WipeRecord {
        request: request.id.clone(),
        store: request.store.clone(),
        size: target.size,
        at: request.requested_at,
        boot: request.boot.clone(),
        by: request.requested_by.clone(),
        via: request.via.clone(),
        luks: target.luks.clone(),
        tokens,
    };
    mark(&record, target)
}

/// The mark that begins the making of a filesystem on a blank device. It is nobody's request.
pub fn first_sector(target: &Target, now: &Moment, boot: String) -> Result<WipeSector, Refusal> {
    let record = WipeRecord {
        size: target.size,
        at: now.unix,
        boot,
        by: "overlayd".to_owned(),
        luks: target.luks.clone(),
        ..WipeRecord::default()
    };
    mark(&record, target)
}

fn mark(record: &WipeRecord, target: &Target) -> Result<WipeSector, Refusal> {
    let sector = record.fitting().map(|text| WipeSector {
        fstype: target.fstype.clone(),
        uuid: target.uuid.clone(),
        label: target.label.clone(),
        text,
    });
    sector.filter(|sector| sector.encode().is_some()).ok_or_else(|| {
        Refusal::new(
            Kind::Refused,
            format!("the record of the wipe does not fit a sector of {}", target.node.display()),
            "give its filesystem a shorter label, or reset with --factory",
        )
    })
}

/// Whether an interrupted wipe may go on: it is the device that its record speaks of, and a filesystem that is known.
pub fn check_resumed(record: &WipeRecord, target: &Target) -> Result<(), Refusal> {
    let node = target.node.display();
    let remedy = "if nothing on it is wanted, make a filesystem on it by hand";
    let refuse = |reason: String| Err(Refusal::new(Kind::StoreUnavailable, reason, remedy));
    if record.size != target.size {
        return refuse(format!(
            "{node} is marked as being wiped, but the mark is of a device of {} bytes, and it has {}: left alone",
            record.size, target.size
        ));
    }
    if record.luks.as_ref().is_some_and(|luks| !is_sound(luks)) {
        return refuse(format!("{node} is marked as being wiped, but the mark names no volume: left alone"));
    }
    match &*target.fstype {
        "ext4" | "xfs" | "btrfs" => Ok(()),
        other => {
            refuse(format!("{node} is marked as being wiped, to be made {other}, which is not known here"))
        }
    }
}

/// How the store that is made says that the wipe is done. Its first generation will be number 1.
pub fn outcome(record: &WipeRecord, done: Erased, rotational: Option<bool>, now: &Moment) -> OutcomeRecord {
    let request = RequestRecord {
        id: record.request.clone(),
        requested_by: record.by.clone(),
        requested_at: record.at,
        via: record.via.clone(),
        level: Level::Wipe,
        ..RequestRecord::default()
    };
    let (secure, why) =
        erasure::verdict(&Erasure { level: Level::Wipe, done, rotational, encrypted: record.luks.is_some() });
    OutcomeRecord {
        erasure: Some("complete".to_owned()),
        secure: Some(secure.to_owned()),
        secure_why: Some(why.to_owned()),
        ..execute::outcome(&request, None, 1, now)
    }
}

/// How the filesystem is made, in an image as large as the device or in a new volume, with what it holds from the
/// beginning.
#[derive(Clone, Copy, Debug)]
pub struct Making<'a> {
    /// The device.
    pub target: &'a Target,
    /// The UUID that it must have; none: mkfs takes one.
    pub uuid: Option<&'a str>,
    /// The image, or the volume's node.
    pub image: &'a Path,
    /// The directory that becomes its root.
    pub tree: &'a Path,
    /// For mkfs.xfs: the description of that directory, which it takes instead.
    pub prototype: &'a Path,
}

/// The UUID that the new filesystem must have: the one by which the device is found.
pub fn lasting_uuid(spec: &DeviceSpec) -> Option<String> {
    match spec {
        DeviceSpec::Uuid(uuid) => Some(uuid.to_lowercase()),
        _ => None,
    }
}

/// The arguments of mkfs. Nothing is discarded: the image has holes, and the device was told or erased already.
pub fn mkfs_arguments(making: &Making<'_>) -> Vec<String> {
    let Making { target, uuid, .. } = *making;
    let text = |path: &Path| path.display().to_string();
    let mut words: Vec<String> = Vec::new();
    let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
    match &*target.fstype {
        "xfs" => {
            add("-q", "-K".to_owned());
            add("-s", format!("size={}", xfs_sector(target)));
            add("-p", text(making.prototype));
            uuid.into_iter().for_each(|uuid| add("-m", format!("uuid={uuid}")));
        }
        "btrfs" => {
            add("-q", "-K".to_owned());
            add("--rootdir", text(making.tree));
            uuid.into_iter().for_each(|uuid| add("-U", uuid.to_owned()));
        }
        _ => {
            add("-q", "-F".to_owned());
            add("-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1".to_owned());
            add("-d", text(making.tree));
            uuid.into_iter().for_each(|uuid| add("-U", uuid.to_owned()));
            if target.volume_sector() > 1024 {
                // On small devices it would take 1024.
                add("-b", target.volume_sector().to_string());
            }
        }
    }
    if !target.label.is_empty() {
        add("-L", target.label.clone());
    }
    words.push(text(making.image));
    words
}

/// As mkfs.xfs takes it on the device itself, which it can not see in an image.
fn xfs_sector(target: &Target) -> u64 {
    target.physical_sector.clamp(target.volume_sector().max(512), FRONT)
}

#[cfg(test)]
#[path = "wipe_tests.rs"]
mod tests;
