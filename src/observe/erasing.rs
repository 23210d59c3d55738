//! What there is to know of a device that is to be wiped, or was being wiped when the power went.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Error, Kind, Result};
use crate::handoff::HandoffState;
use crate::plan::wipe::Target;
use crate::store::Layout;
use crate::store::wipe_record::{Luks, WipeRecord};
use crate::sys::block::DeviceSpec;
use crate::sys::superblock::FsType;
use crate::sys::wipe_sector::{self, WipeSector};
use crate::sys::{atomic, block, elsewhere};

/// The filesystem at `node`, and the device that is erased with it: of an encrypted volume the one below.
pub fn target(node: &Path) -> Result<Target> {
    let (file, size) = open(node)?;
    let fail = |e: io::Error| Error::io("read", node, e);
    let mapping = block::property(node, "dm/uuid");
    let bare = match (mapping, block::below(node)) {
        (None, _) => device(node, size),
        (Some(_), Some(below)) => encrypted(node, size, &below)?,
        (Some(uuid), None) => mapped(node, size, uuid),
    };
    let Some(found) = block::probe(node)? else { return Ok(bare) };
    Ok(Target {
        devices: if found.fstype == FsType::Btrfs { btrfs_devices(&file).map_err(fail)? } else { 1 },
        elsewhere: elsewhere::part(&file, found.fstype).map_err(fail)?,
        fstype: found.fstype.name().to_owned(),
        uuid: found.uuid,
        label: found.label,
        ..bare
    })
}

/// The same for who may not open the device, of the state filesystem that is mounted: what the kernel tells of it. The boot
/// knows more: whether it was all, and whether a part of an ext4 lies elsewhere.
pub fn mounted(state: &HandoffState) -> Target {
    let node = Path::new(&state.device);
    let bare = match (block::property(node, "dm/uuid"), block::below(node)) {
        (None, _) => device(node, 0),
        (Some(_), Some(below)) => {
            let luks = Luks { name: name_of(node), ..Luks::default() };
            Target { luks: Some(luks), ..device(&below, 0) }
        }
        (Some(uuid), None) => mapped(node, 0, uuid),
    };
    let findable = match DeviceSpec::parse(&state.wanted) {
        Ok(DeviceSpec::Path(path)) => fs::canonicalize(path).is_ok_and(|path| path == bare.node),
        _ => true,
    };
    // There is no such directory for any other filesystem.
    let devices = fs::read_dir(format!("/sys/fs/btrfs/{}/devices", state.uuid)).map_or(1, Iterator::count);
    Target { findable, devices: devices as u64, fstype: state.fstype.clone(), ..bare }
}

/// The marked device at `node`, and what the mark says of what is to be made.
pub fn marked(node: &Path, mark: &WipeSector, record: &WipeRecord) -> Result<Target> {
    let (_, size) = open(node)?;
    Ok(Target {
        luks: record.luks.clone(),
        fstype: mark.fstype.clone(),
        uuid: mark.uuid.clone(),
        label: mark.label.clone(),
        ..device(node, size)
    })
}

/// The blank device at `node`, of which nothing is known but itself.
pub fn blank(node: &Path) -> Result<Target> {
    let (_, size) = open(node)?;
    Ok(device(node, size))
}

fn open(node: &Path) -> Result<(File, u64)> {
    let file = File::open(node).map_err(|e| Error::io("open", node, e))?;
    let size = block::size_bytes(&file).map_err(|e| Error::io("read", node, e))?;
    Ok((file, size))
}

fn device(node: &Path, size: u64) -> Target {
    let number = |name: &str| block::property(node, name).and_then(|word| word.parse::<u64>().ok());
    let sector = number("queue/logical_block_size").unwrap_or(512);
    Target {
        node: node.to_owned(),
        size,
        sector,
        physical_sector: number("queue/physical_block_size").unwrap_or(sector),
        rotational: number("queue/rotational").map(|n| n != 0),
        devices: 1,
        ..Target::default()
    }
}

fn name_of(mapping: &Path) -> String {
    block::property(mapping, "dm/name").unwrap_or_default()
}

/// A mapping that nothing more is known of.
fn mapped(node: &Path, size: u64, uuid: String) -> Target {
    let mapping = if uuid.is_empty() { "without a type".to_owned() } else { uuid };
    Target { mapping: Some(mapping), ..device(node, size) }
}

/// The device at `below`, with the volume that is open as `mapping` and has `size` bytes.
fn encrypted(mapping: &Path, size: u64, below: &Path) -> Result<Target> {
    let (_, whole) = open(below)?;
    let volume = block::probe(below)?.filter(|volume| volume.fstype == FsType::Luks).ok_or_else(|| {
        let what = format!("{} is open as {}, but bears no header", below.display(), mapping.display());
        Error::new(Kind::Refused, what).remedy("reset with --factory")
    })?;
    let luks = Luks {
        name: name_of(mapping),
        uuid: volume.uuid,
        label: Some(volume.label).filter(|label| !label.is_empty()),
        header: whole.saturating_sub(size),
    };
    Ok(Target { luks: Some(luks), ..device(below, whole) })
}

/// The mark of a device that was being wiped.
pub fn mark(node: &Path) -> Result<Option<WipeSector>> {
    let read = File::open(node).and_then(|file| mark_in(&file));
    read.map_err(|e| Error::io("read", node, e))
}

/// The lines of the store's file of used tokens; none if there is no such file.
pub fn tokens(layout: &Layout) -> Result<Vec<String>> {
    let text = atomic::read_optional(&layout.tokens())?.unwrap_or_default();
    Ok(text.lines().map(str::to_owned).collect())
}

fn mark_in(file: &File) -> io::Result<Option<WipeSector>> {
    let mut sector = [0; wipe_sector::SIZE];
    file.read_exact_at(&mut sector, 0)?;
    Ok(WipeSector::decode(&sector))
}

/// `num_devices` of struct btrfs_super_block in include/uapi/linux/btrfs_tree.h, which lies at 64 KiB.
fn btrfs_devices(file: &File) -> io::Result<u64> {
    let mut number = [0; 8];
    file.read_exact_at(&mut number, 0x1_0000 + 0x88)?;
    Ok(u64::from_le_bytes(number))
}
