//! The state device: check, make or mount it, or leave it alone, and why; the reserve.

use std::path::PathBuf;

use super::{Refusal, Step};
use crate::config::{Format, Fsck, State};
use crate::error::Kind;
use crate::store::{StoreView, reserve};
use crate::sys::space::Space;
use crate::sys::superblock::FsType;

/// What is known about the device before it is touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its node.
    pub node: PathBuf,
    /// Whether the device itself refuses writes.
    pub read_only: bool,
    /// Filesystem type and UUID, if a known superblock is there.
    pub found: Option<Found>,
    /// Whether it reads as zeros where superblocks live; looked at only if it might be formatted.
    pub blank: bool,
    /// Whether the base lies on it.
    pub holds_base: bool,
}

/// A filesystem that was recognised.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its type.
    pub fstype: String,
    /// Its UUID.
    pub uuid: String,
}

/// The steps that make the state filesystem usable and mount it.
pub fn prepare(config: &State, device: &DeviceFacts) -> Result<Vec<Step>, Refusal> {
    let refuse = |reason: String, remedy: &str| Err(Refusal::new(Kind::StoreUnavailable, reason, remedy));
    check_own(device)?;
    let node = device.node.display();
    let Some(found) = &device.found else { return make(config, device) };
    if found.fstype == FsType::Luks.name() {
        return refuse(
            format!("{node} holds an encrypted volume that is not open"),
            "set state.key-file; or have the initramfs open it, and name the filesystem in it by LABEL= or UUID=",
        );
    }
    let supported = crate::config::keys::STATE_FSTYPES;
    match &config.fstype {
        Some(wanted) if *wanted != found.fstype => {
            return refuse(
                format!("{node} holds {}, not {wanted}", found.fstype),
                "correct state.fstype, or the device",
            );
        }
        None if !supported.contains(&found.fstype.as_str()) => {
            return refuse(format!("{node} holds {}", found.fstype), "the store needs ext4, xfs or btrfs");
        }
        _ => {}
    }
    let mut steps = Vec::new();
    // xfs and btrfs repair themselves by their log when they are mounted; their fsck programs do nothing.
    if config.fsck != Fsck::Never && found.fstype.starts_with("ext") {
        let force = config.fsck == Fsck::Force;
        steps.push(Step::Fsck { device: device.node.clone(), fstype: found.fstype.clone(), force });
    }
    steps.push(mount(config, device, &found.fstype));
    Ok(steps)
}

/// Whether a filesystem is made on the device: in an encrypted volume, where a key is configured.
pub fn wants_filesystem(config: &State, device: &DeviceFacts) -> bool {
    config.format == Format::IfBlank && config.fstype.is_some() && device.blank && device.found.is_none()
}

/// Whether the device may be written to.
pub fn check_own(device: &DeviceFacts) -> Result<(), Refusal> {
    let refuse = |reason: String, remedy: &str| Err(Refusal::new(Kind::StoreUnavailable, reason, remedy));
    let node = device.node.display();
    if device.holds_base {
        return refuse(format!("{node} holds the base image itself"), "name another device in state.device");
    }
    if device.read_only {
        return refuse(format!("{node} is read-only"), "switch its write protection off");
    }
    Ok(())
}

/// Whether there is so little space that a retained generation gives way: an ordinary boot needs some, or the reserve
/// is gone and does not fit any more.
pub fn is_scarce(view: &StoreView, space: &Space) -> bool {
    reserve::is_low(space) || (!view.reserve && !reserve::fits(space))
}

/// The step that fills the reserve again, where it is missing and fits.
pub fn refill(view: &StoreView, space: &Space) -> Vec<Step> {
    if view.reserve || !reserve::fits(space) {
        return Vec::new();
    }
    vec![Step::FillReserve(reserve::bytes_for(space))]
}

fn make(config: &State, device: &DeviceFacts) -> Result<Vec<Step>, Refusal> {
    let node = device.node.display();
    let refuse = |reason: String, remedy: &str| Err(Refusal::new(Kind::StoreUnavailable, reason, remedy));
    let Some(fstype) = &config.fstype else {
        return refuse(
            format!("no known filesystem on {node}"),
            "make one, or set state.format and state.fstype",
        );
    };
    match config.format {
        Format::Never => refuse(
            format!("no known filesystem on {node}, and state.format is \"never\""),
            "make one with mkfs, or set state.format = \"if-blank\" for a device that is blank",
        ),
        Format::IfBlank if !device.blank => refuse(
            format!("no known filesystem on {node}, but it is not blank: not formatted, it may hold data"),
            "if nothing on it is wanted, wipe it with `blkdiscard -z`, or make a filesystem with mkfs",
        ),
        Format::IfBlank => Ok(vec![
            Step::Format { device: device.node.clone(), fstype: fstype.clone() },
            mount(config, device, fstype),
        ]),
    }
}

fn mount(config: &State, device: &DeviceFacts, fstype: &str) -> Step {
    Step::MountState {
        device: device.node.clone(),
        fstype: fstype.to_owned(),
        options: config.options.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::settings;
    use std::collections::BTreeMap;

    fn config() -> State {
        settings::build(&BTreeMap::new(), &mut Vec::new()).state
    }

    fn device(fstype: Option<&str>) -> DeviceFacts {
        let found = fstype.map(|t| Found { fstype: t.into(), uuid: "u".into() });
        DeviceFacts { node: "/dev/x".into(), read_only: false, found, blank: false, holds_base: false }
    }

    fn blank_config() -> State {
        State { format: Format::IfBlank, fstype: Some("ext4".into()), ..config() }
    }

    #[test]
    fn a_sound_ext4_is_checked_and_mounted() {
        let steps = prepare(&config(), &device(Some("ext4"))).unwrap();
        assert!(matches!(steps[..], [Step::Fsck { .. }, Step::MountState { .. }]), "{steps:?}");
        assert_eq!(prepare(&config(), &device(Some("xfs"))).unwrap().len(), 1);
    }

    #[test]
    fn only_a_blank_device_is_formatted_and_only_if_told() {
        let blank = DeviceFacts { blank: true, ..device(None) };
        assert!(matches!(prepare(&blank_config(), &blank).unwrap()[0], Step::Format { .. }));
        assert!(prepare(&config(), &blank).is_err());
        assert!(prepare(&blank_config(), &device(None)).unwrap_err().reason.contains("not formatted"));
        let other = prepare(&blank_config(), &device(Some("xfs"))).unwrap_err();
        assert!(other.reason.contains("holds xfs, not ext4"), "{}", other.reason);
    }

    #[test]
    fn a_filesystem_is_made_on_a_blank_device_where_told() {
        let blank = DeviceFacts { blank: true, ..device(None) };
        assert!(wants_filesystem(&blank_config(), &blank));
        assert!(!wants_filesystem(&blank_config(), &device(None)), "it is not blank");
        assert!(!wants_filesystem(&State { format: Format::Never, ..blank_config() }, &blank));
        assert!(!wants_filesystem(&State { fstype: None, ..blank_config() }, &blank));
        assert!(!wants_filesystem(&blank_config(), &device(Some("ext4"))));
    }

    #[test]
    fn a_volume_that_is_not_open_is_refused_with_the_ways_to_open_it() {
        let refusal = prepare(&config(), &device(Some("crypto_LUKS"))).unwrap_err();
        assert!(
            refusal.reason.contains("not open") && refusal.remedy.contains("state.key-file"),
            "{refusal:?}"
        );
    }

    #[test]
    fn the_base_and_read_only_devices_are_left_alone() {
        assert!(prepare(&config(), &DeviceFacts { holds_base: true, ..device(Some("ext4")) }).is_err());
        assert!(prepare(&config(), &DeviceFacts { read_only: true, ..device(Some("ext4")) }).is_err());
        assert!(prepare(&config(), &device(Some("vfat"))).is_err());
    }
}
