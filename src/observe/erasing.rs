//! What there is to know of a device that is to be wiped, or was being wiped when the power went.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::error::{Error, Result};
use crate::plan::wipe::Target;
use crate::store::Layout;
use crate::sys::superblock::FsType;
use crate::sys::wipe_sector::{self, WipeSector};
use crate::sys::{atomic, block, elsewhere};

/// The device at `node`, and what lies on it. If it is marked as being wiped, what the mark says takes the place of that.
pub fn target(node: &Path) -> Result<Target> {
    let file = File::open(node).map_err(|e| Error::io("open", node, e))?;
    let fail = |e: io::Error| Error::io("read", node, e);
    let size = block::size_bytes(&file).map_err(fail)?;
    let number = |name: &str| block::property(node, name).and_then(|word| word.parse::<u64>().ok());
    let sector = number("queue/logical_block_size").unwrap_or(512);
    let found = block::probe(node)?;
    let fstype = found.as_ref().map(|s| s.fstype);
    let (uuid, label) = found.map(|s| (s.uuid, s.label)).unwrap_or_default();
    Ok(Target {
        node: node.to_owned(),
        size,
        sector,
        physical_sector: number("queue/physical_block_size").unwrap_or(sector),
        rotational: number("queue/rotational").map(|n| n != 0),
        mapping: block::property(node, "dm/uuid").map(|uuid| match uuid.is_empty() {
            true => "without a type".to_owned(),
            false => uuid,
        }),
        devices: if fstype == Some(FsType::Btrfs) { btrfs_devices(&file).map_err(fail)? } else { 1 },
        elsewhere: match fstype {
            Some(fstype) => elsewhere::part(&file, fstype).map_err(fail)?,
            None => None,
        },
        fstype: match mark_in(&file).map_err(fail)? {
            Some(mark) => mark.fstype,
            None => fstype.map(|t| t.name().to_owned()).unwrap_or_default(),
        },
        uuid,
        label,
    })
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
