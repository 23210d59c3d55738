//! What lies on a block device: type, UUID and label of a filesystem, and whether a device is blank.
//!
//! Pure parsing of bytes that a closure reads; it opens nothing, and it never decides what to mount or to format.
//! Offsets and magic numbers come from the kernel's headers, named where they are used. Values read as `blkid -p`
//! prints them, because people copy them from there.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use super::wipe_sector::WipeSector;

/// Reads exactly `buf.len()` bytes at an offset; `UnexpectedEof` beyond the end.
pub type ReadAt<'a> = dyn FnMut(u64, &mut [u8]) -> io::Result<()> + 'a;

/// What a superblock says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Which filesystem or container.
    pub fstype: FsType,
    /// As blkid prints it; empty if there is none (squashfs).
    pub uuid: String,
    /// As blkid prints it; empty if there is none.
    pub label: String,
    /// Tells two images apart where the UUID cannot: squashfs and erofs; else empty.
    pub digest: String,
}

/// Filesystems and containers that are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FsType {
    /// ext2.
    Ext2,
    /// ext3: ext2 with a journal, without ext4's features.
    Ext3,
    /// ext4.
    Ext4,
    /// XFS.
    Xfs,
    /// btrfs.
    Btrfs,
    /// F2FS.
    F2fs,
    /// squashfs 4.
    Squashfs,
    /// EROFS.
    Erofs,
    /// FAT12, FAT16, FAT32.
    Vfat,
    /// ISO 9660.
    Iso9660,
    /// An encrypted container, LUKS 1 or 2.
    Luks,
    /// A member of an md RAID.
    RaidMember,
    /// Swap space.
    Swap,
    /// No filesystem: a device that overlayd is wiping. Its UUID and label are those of what was there.
    Wipe,
}

impl FsType {
    /// The name that `mount -t` and blkid use.
    pub fn name(self) -> &'static str {
        match self {
            FsType::Ext2 => "ext2",
            FsType::Ext3 => "ext3",
            FsType::Ext4 => "ext4",
            FsType::Xfs => "xfs",
            FsType::Btrfs => "btrfs",
            FsType::F2fs => "f2fs",
            FsType::Squashfs => "squashfs",
            FsType::Erofs => "erofs",
            FsType::Vfat => "vfat",
            FsType::Iso9660 => "iso9660",
            FsType::Luks => "crypto_LUKS",
            FsType::RaidMember => "linux_raid_member",
            FsType::Swap => "swap",
            FsType::Wipe => "overlayd-wipe",
        }
    }

    /// Whether it can be mounted; false for containers, swap, and what is being wiped.
    pub fn is_filesystem(self) -> bool {
        !matches!(self, FsType::Luks | FsType::RaidMember | FsType::Swap | FsType::Wipe)
    }
}

/// Finds the superblock on a device or image of `size` bytes.
///
/// Only magic numbers are looked at; whether the filesystem is sound is for its fsck to say. A RAID 1 member of
/// format 0.90 or 1.0 looks like the filesystem on it, and is told by the end of the device.
pub fn identify(read: &mut ReadAt<'_>, size: u64) -> io::Result<Option<Superblock>> {
    let head = read_head(read)?;
    // While a device is wiped, what was there may still be seen behind the sector that says so.
    let found = wipe(&head)
        .or_else(|| raid_member(&head))
        .or_else(|| luks(&head))
        .or_else(|| xfs(&head))
        .or_else(|| ext(&head))
        .or_else(|| btrfs(&head))
        .or_else(|| f2fs(&head))
        .or_else(|| squashfs(&head))
        .or_else(|| erofs(&head))
        .or_else(|| iso9660(&head))
        .or_else(|| swap(&head));
    let found = match found {
        None => vfat(&head, read)?,
        found => found,
    };
    // The end is far away on a rotating disk, and matters only where a filesystem seems to be.
    match found {
        Some(sb) if sb.fstype.is_filesystem() && is_raid_mirror(read, size)? => Ok(Some(RAID_MEMBER)),
        found => Ok(found),
    }
}

/// Whether a device of `size` bytes reads as zeros in all the places where superblocks and their copies live.
///
/// "No signature" is not blank: a filesystem whose first superblock was overwritten has its copies, and all its
/// files (invariant 6). An error is an error, never "blank".
pub fn is_blank(device: &File, size: u64) -> io::Result<bool> {
    let mut buffer = vec![0; WINDOW as usize];
    for (start, len) in superblock_places(size) {
        let end = start.saturating_add(len).min(size);
        let mut at = start;
        while at < end {
            let step = (end - at).min(WINDOW) as usize;
            device.read_exact_at(&mut buffer[..step], at)?;
            if !is_zero(&buffer[..step]) {
                return Ok(false);
            }
            at += step as u64;
        }
    }
    Ok(size > 0)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
/// How much is read at a time, and the length of a sample.
const WINDOW: u64 = 64 * KIB;
/// How much of the front `identify` reads: up to the end of btrfs' superblock and of the largest swap page.
const HEAD: usize = 0x11000;

impl Superblock {
    fn new(fstype: FsType, uuid: impl Into<String>, label: impl Into<String>) -> Self {
        Superblock { fstype, uuid: uuid.into(), label: label.into(), digest: String::new() }
    }
}

/// Where superblocks live, as offset and length; may reach beyond `size`.
fn superblock_places(size: u64) -> Vec<(u64, u64)> {
    let mut places = vec![
        // ext, XFS, F2FS, squashfs, erofs, FAT, ISO 9660, swap, LVM, md 1.1 and 1.2, ZFS, bcache: the first 256 KiB.
        // LUKS2's second header: one of 16 KiB << n up to 4 MiB (cryptsetup, LUKS2 on-disk format, 2.1).
        (0, 4 * MIB + WINDOW),
        // GPT's backup, md 0.90 and 1.0, ZFS' labels 2 and 3, NTFS' and NILFS2's copies: the last 4 MiB.
        (size.saturating_sub(4 * MIB), 4 * MIB),
        // btrfs' mirrors (btrfs_sb_offset() in fs/btrfs/disk-io.h): 64 KiB is in the front already.
        (64 * MIB, 4 * KIB),
        (256 * GIB, 4 * KIB),
    ];
    places.extend(ext_backups(size).map(|at| (at, 4 * KIB)));
    // XFS beyond 4 TiB: allocation groups of one block less than 1 TiB (XFS_AG_MAX_BYTES), each with a superblock.
    places.extend((1..64).map(|group| (group * (TIB - 4 * KIB), 4 * KIB)));
    // XFS up to 4 TiB: four groups of a quarter each, or a power of two of them on striped devices, which these hit;
    // and for all other data, 64 samples.
    places.extend((0..64).map(|i| ((u128::from(size) * i / 64) as u64 / 4096 * 4096, WINDOW)));
    places.retain(|&(start, _)| start < size);
    places
}

/// ext's backup superblocks with sparse_super: groups 1 and the powers of 3, 5 and 7 (ext4_bg_has_super()), of
/// 8 × block size blocks; the first block is number 1 for 1 KiB blocks, else 0.
fn ext_backups(size: u64) -> impl Iterator<Item = u64> {
    [KIB, 2 * KIB, 4 * KIB, 64 * KIB].into_iter().flat_map(move |block| {
        let group = 8 * block * block;
        let first = if block == KIB { KIB } else { 0 };
        let powers = [3u64, 5, 7].into_iter().flat_map(move |base| {
            std::iter::successors(Some(base), move |n| n.checked_mul(base))
                .take_while(move |n| n.checked_mul(group).is_some_and(|at| at < size))
        });
        std::iter::once(1).chain(powers).map(move |n| n * group + first)
    })
}

pub(super) fn is_zero(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<16>();
    words.iter().fold(0, |all, word| all | u128::from_ne_bytes(*word)) == 0 && rest.iter().all(|&b| b == 0)
}

/// The first [`HEAD`] bytes; zeros where the device is shorter.
fn read_head(read: &mut ReadAt<'_>) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD];
    match read(0, &mut head) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => (),
        result => return result.map(|()| head),
    }
    for (i, sector) in head.chunks_mut(512).enumerate() {
        match read(i as u64 * 512, sector) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => sector.fill(0),
            result => result?,
        }
    }
    Ok(head)
}

/// md's magic (include/uapi/linux/raid/md_p.h).
const RAID_MAGIC: [u8; 4] = 0xa92b_4efc_u32.to_le_bytes();
const RAID_MEMBER: Superblock = Superblock {
    fstype: FsType::RaidMember,
    uuid: String::new(),
    label: String::new(),
    digest: String::new(),
};

/// md's formats 1.1 and 1.2: at 0 and at 4 KiB.
fn raid_member(head: &[u8]) -> Option<Superblock> {
    (head.starts_with(&RAID_MAGIC) || head[0x1000..].starts_with(&RAID_MAGIC)).then_some(RAID_MEMBER)
}

/// md's formats 1.0, 8 to 12 KiB before the end, and 0.90, in the last whole 64 KiB: the data start at 0.
fn is_raid_mirror(read: &mut ReadAt<'_>, size: u64) -> io::Result<bool> {
    if size < 128 * KIB {
        return Ok(false);
    }
    for at in [(size / 512 - 16) / 8 * 8 * 512, size / WINDOW * WINDOW - WINDOW] {
        let mut magic = [0; 4];
        if read_or_eof(read, at, &mut magic)? && magic == RAID_MAGIC {
            return Ok(true);
        }
    }
    Ok(false)
}

/// `sys::wipe_sector`, at 0.
fn wipe(head: &[u8]) -> Option<Superblock> {
    WipeSector::decode(head).map(|sector| Superblock::new(FsType::Wipe, sector.uuid, sector.label))
}

/// struct luks_phdr and struct luks2_hdr_disk of cryptsetup: the UUID is text, at the same place in both.
fn luks(head: &[u8]) -> Option<Superblock> {
    if !head.starts_with(b"LUKS\xba\xbe") {
        return None;
    }
    let label = if head[7] == 2 { text(&head[24..72]) } else { String::new() };
    Some(Superblock::new(FsType::Luks, text(&head[168..208]), label))
}

/// struct xfs_dsb in fs/xfs/libxfs/xfs_format.h.
fn xfs(head: &[u8]) -> Option<Superblock> {
    let found = head.starts_with(b"XFSB");
    found.then(|| Superblock::new(FsType::Xfs, uuid(&head[32..48]), text(&head[108..120])))
}

/// struct ext4_super_block in fs/ext4/ext4.h, at 1024. The type is the oldest driver that knows all the features.
fn ext(head: &[u8]) -> Option<Superblock> {
    const HAS_JOURNAL: u32 = 0x4;
    const JOURNAL_DEV: u32 = 0x8;
    /// filetype, recover, meta_bg
    const EXT3_INCOMPAT: u32 = 0x2 | 0x4 | 0x10;
    /// sparse_super, large_file, btree_dir
    const EXT3_RO_COMPAT: u32 = 0x1 | 0x2 | 0x4;
    let sb = &head[0x400..0x800];
    let (compat, incompat, ro_compat) = (le32(sb, 0x5c), le32(sb, 0x60), le32(sb, 0x64));
    if le16(sb, 0x38) != 0xef53 || incompat & JOURNAL_DEV != 0 {
        return None;
    }
    let fstype = if incompat & !EXT3_INCOMPAT != 0 || ro_compat & !EXT3_RO_COMPAT != 0 {
        FsType::Ext4
    } else if compat & HAS_JOURNAL != 0 {
        FsType::Ext3
    } else {
        FsType::Ext2
    };
    Some(Superblock::new(fstype, uuid(&sb[0x68..0x78]), text(&sb[0x78..0x88])))
}

/// struct btrfs_super_block in include/uapi/linux/btrfs_tree.h, at 64 KiB.
fn btrfs(head: &[u8]) -> Option<Superblock> {
    let sb = &head[0x10000..];
    let found = sb[0x40..].starts_with(b"_BHRfS_M");
    found.then(|| Superblock::new(FsType::Btrfs, uuid(&sb[0x20..0x30]), text(&sb[0x12b..0x22b])))
}

/// struct f2fs_super_block in include/linux/f2fs_fs.h, at 1024. The label is UTF-16.
fn f2fs(head: &[u8]) -> Option<Superblock> {
    let sb = &head[0x400..0x1000];
    let found = le32(sb, 0) == 0xf2f5_2010;
    found.then(|| Superblock::new(FsType::F2fs, uuid(&sb[0x6c..0x7c]), utf16(&sb[0x7c..0x47c])))
}

/// struct squashfs_super_block in fs/squashfs/squashfs_fs.h.
fn squashfs(head: &[u8]) -> Option<Superblock> {
    if !head.starts_with(b"hsqs") || le16(head, 28) != 4 {
        return None;
    }
    let (inodes, mkfs_time, root, used) = (le32(head, 4), le32(head, 8), le64(head, 32), le64(head, 40));
    let digest = format!("{mkfs_time:x}-{inodes:x}-{used:x}-{root:x}");
    Some(Superblock { digest, ..Superblock::new(FsType::Squashfs, "", "") })
}

/// struct erofs_super_block in fs/erofs/erofs_fs.h, at 1024. The digest adds checksum, inodes, build time, blocks.
fn erofs(head: &[u8]) -> Option<Superblock> {
    let sb = &head[0x400..0x480];
    if le32(sb, 0) != 0xe0f5_e1e2 {
        return None;
    }
    let uuid = uuid(&sb[0x30..0x40]);
    let (checksum, inodes, time, blocks) = (le32(sb, 4), le64(sb, 16), le64(sb, 24), le32(sb, 36));
    let digest = format!("{uuid}-{checksum:x}-{inodes:x}-{time:x}-{blocks:x}");
    Some(Superblock { digest, ..Superblock::new(FsType::Erofs, uuid, text(&sb[0x40..0x50])) })
}

/// ECMA-119, 8.4: the primary volume descriptor in sector 16. blkid makes a UUID of the time of modification, else of
/// creation. The label is the plain one; a Joliet label is not looked for.
fn iso9660(head: &[u8]) -> Option<Superblock> {
    let pvd = &head[0x8000..0x8800];
    if !pvd.starts_with(b"\x01CD001") {
        return None;
    }
    let date = [&pvd[830..846], &pvd[813..829]]
        .into_iter()
        .find(|date| date.iter().all(u8::is_ascii_digit) && date.iter().any(|&b| b != b'0'));
    let uuid = date.map(|d| {
        let part = |range: std::ops::Range<usize>| text(&d[range]);
        [part(0..4), part(4..6), part(6..8), part(8..10), part(10..12), part(12..14), part(14..16)].join("-")
    });
    Some(Superblock::new(FsType::Iso9660, uuid.unwrap_or_default(), text(&pvd[40..72])))
}

/// union swap_header in include/linux/swap.h: the magic ends the first page, whatever a page is; the rest is at 1024.
fn swap(head: &[u8]) -> Option<Superblock> {
    let found = (12..=16).any(|shift| head[..1 << shift].ends_with(b"SWAPSPACE2"));
    found.then(|| Superblock::new(FsType::Swap, uuid(&head[0x40c..0x41c]), text(&head[0x41c..0x42c])))
}

/// struct fat_boot_sector in include/uapi/linux/msdos_fs.h. The label is a directory entry of the root directory; the
/// one in the boot sector counts for nothing, as in blkid.
fn vfat(head: &[u8], read: &mut ReadAt<'_>) -> io::Result<Option<Superblock>> {
    let is_fat32 = head[0x52..].starts_with(b"FAT32   ");
    let sector = u64::from(le16(head, 0x0b));
    let cluster = u64::from(head[0x0d]);
    if !(is_fat32 || head[0x36..].starts_with(b"FAT"))
        || !(sector.is_power_of_two() && (512..=4096).contains(&sector) && cluster.is_power_of_two())
    {
        return Ok(None);
    }
    let (reserved, fats) = (u64::from(le16(head, 0x0e)), u64::from(head[0x10]));
    let label = if is_fat32 {
        let data = (reserved + fats * u64::from(le32(head, 0x24))) * sector;
        fat32_label(read, reserved * sector, data, cluster * sector, le32(head, 0x2c))?
    } else {
        let root = (reserved + fats * u64::from(le16(head, 0x16))) * sector;
        fat_label(read, root, u64::from(le16(head, 0x11)) * 32)?.unwrap_or_default()
    };
    let serial = if is_fat32 { 0x43 } else { 0x27 };
    let uuid = format!("{:04X}-{:04X}", le16(head, serial + 2), le16(head, serial));
    Ok(Some(Superblock::new(FsType::Vfat, uuid, label)))
}

/// Follows the root directory's cluster chain; a hundred clusters are enough, and a loop ends.
fn fat32_label(read: &mut ReadAt<'_>, fat: u64, data: u64, cluster: u64, root: u32) -> io::Result<String> {
    let mut next = root;
    for _ in 0..100 {
        if !(2..0x0fff_fff0).contains(&next) {
            break;
        }
        if let Some(label) = fat_label(read, data + u64::from(next - 2) * cluster, cluster)? {
            return Ok(label);
        }
        let mut entry = [0; 4];
        if !read_or_eof(read, fat + u64::from(next) * 4, &mut entry)? {
            break;
        }
        next = u32::from_le_bytes(entry) & 0x0fff_ffff;
    }
    Ok(String::new())
}

/// The volume label among the directory entries in `len` bytes at `at`.
fn fat_label(read: &mut ReadAt<'_>, at: u64, len: u64) -> io::Result<Option<String>> {
    const VOLUME: u8 = 0x08;
    const DIRECTORY: u8 = 0x10;
    const LONG_NAME: u8 = 0x0f;
    const DELETED: u8 = 0xe5;
    let mut entries = vec![0; len.min(256 * KIB) as usize];
    if !read_or_eof(read, at, &mut entries)? {
        return Ok(None);
    }
    let found = entries.chunks_exact(32).take_while(|entry| entry[0] != 0).find(|entry| {
        let kind = entry[11] & 0x3f;
        let clusters = le16(entry, 20) | le16(entry, 26);
        entry[0] != DELETED && kind != LONG_NAME && kind & (VOLUME | DIRECTORY) == VOLUME && clusters == 0
    });
    Ok(found.map(|entry| {
        let mut name = entry[..11].to_vec();
        // 0x05 stands for a first byte of 0xe5, which means "deleted".
        if name[0] == 0x05 {
            name[0] = DELETED;
        }
        text(&name)
    }))
}

/// False if the place is beyond the end: a truncated image.
fn read_or_eof(read: &mut ReadAt<'_>, at: u64, buf: &mut [u8]) -> io::Result<bool> {
    match read(at, buf) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        result => result.map(|()| true),
    }
}

pub(super) fn le16(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

pub(super) fn le32(bytes: &[u8], at: usize) -> u32 {
    u32::from(le16(bytes, at)) | u32::from(le16(bytes, at + 2)) << 16
}

pub(super) fn le64(bytes: &[u8], at: usize) -> u64 {
    u64::from(le32(bytes, at)) | u64::from(le32(bytes, at + 4)) << 32
}

/// Little-endian UTF-16 up to a NUL.
pub(super) fn utf16(bytes: &[u8]) -> String {
    let units: Vec<u16> =
        bytes.chunks_exact(2).map(|unit| le16(unit, 0)).take_while(|&unit| unit != 0).collect();
    String::from_utf16_lossy(&units).trim_end().to_owned()
}

/// Text up to a NUL, without white space at the end.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes[..end].trim_ascii_end()).into_owned()
}

/// A UUID in the usual form; the nil UUID is none.
fn uuid(bytes: &[u8]) -> String {
    if bytes.iter().all(|&b| b == 0) {
        return String::new();
    }
    let mut out = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        out.push_str(&format!("{byte:02x}"));
    }
    out
}

#[cfg(test)]
#[path = "superblock_tests.rs"]
mod tests;
