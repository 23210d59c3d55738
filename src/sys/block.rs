//! Finding a block device without udev: by label, UUID, partition label, partition UUID or path.
//!
//! Reads sysfs and superblocks; it never writes to a device, mounts nothing, and does not decide what to do about a
//! device that is missing or found twice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, File, Metadata};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::stat::{major, makedev, minor};

use super::gpt::{self, Table};
use super::superblock::{self, FsType, Superblock};
use crate::error::{Error, Result};

/// How a device is named, as in fstab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceSpec {
    /// `LABEL=`: of the filesystem.
    Label(String),
    /// `UUID=`: of the filesystem; case does not matter.
    Uuid(String),
    /// `PARTLABEL=`: the name in the GPT.
    PartLabel(String),
    /// `PARTUUID=`: in the GPT, or made of the MBR's identifier; case does not matter.
    PartUuid(String),
    /// A device node.
    Path(PathBuf),
}

impl DeviceSpec {
    /// Parses `LABEL=x`, `UUID="x"`, `PARTLABEL=x`, `PARTUUID=x` or `/dev/x`. The error says what is allowed.
    pub fn parse(text: &str) -> Result<DeviceSpec, String> {
        let text = unquoted(text);
        if text.starts_with("/dev/") && text.len() > 5 {
            return Ok(DeviceSpec::Path(text.into()));
        }
        let (tag, value) = text.split_once('=').unwrap_or((text, ""));
        let value = unquoted(value);
        let make: fn(String) -> DeviceSpec = match tag {
            "LABEL" => DeviceSpec::Label,
            "UUID" => DeviceSpec::Uuid,
            "PARTLABEL" => DeviceSpec::PartLabel,
            "PARTUUID" => DeviceSpec::PartUuid,
            _ => {
                return Err(format!(
                    "\"{text}\" is not LABEL=, UUID=, PARTLABEL=, PARTUUID= or a path in /dev"
                ));
            }
        };
        if value.is_empty() {
            return Err(format!("{tag}= has no value"));
        }
        Ok(make(value.to_owned()))
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceSpec::Label(value) => write!(f, "LABEL={value}"),
            DeviceSpec::Uuid(value) => write!(f, "UUID={value}"),
            DeviceSpec::PartLabel(value) => write!(f, "PARTLABEL={value}"),
            DeviceSpec::PartUuid(value) => write!(f, "PARTUUID={value}"),
            DeviceSpec::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Where the kernel shows its devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// sysfs.
    pub sys: PathBuf,
    /// devtmpfs.
    pub dev: PathBuf,
}

impl Default for Paths {
    fn default() -> Self {
        Paths { sys: "/sys".into(), dev: "/dev".into() }
    }
}

/// The outcome of a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    /// Its device node.
    Found(PathBuf),
    /// No such device, or its node does not exist (yet).
    Missing,
    /// More than one that are not parts of the same filesystem; taking one would be a guess.
    Ambiguous(Vec<PathBuf>),
}

/// The outcome of [`wait_for`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waited {
    /// What was found in the end.
    pub search: Search,
    /// How long it took.
    pub waited: Duration,
}

/// Looks once for `spec`.
///
/// For labels and UUIDs only filesystems count, and what overlayd was wiping when the power went; and only on devices that nothing else uses: not the member of a RAID
/// or the container below a mapping, and not a disk with partitions. The devices of one btrfs are one. A device that
/// cannot be read is passed over. The only error is a sysfs that cannot be listed.
pub fn find(spec: &DeviceSpec, paths: &Paths) -> Result<Search> {
    Prober::new(paths).find(spec)
}

/// Looks for `spec` until it is found, or ambiguous, or `timeout` is over.
///
/// A device is read again only when it is new or changed; one without a filesystem, every half second.
/// The time is checked between devices: a device whose driver hangs while it is read is waited for.
pub fn wait_for(spec: &DeviceSpec, paths: &Paths, timeout: Duration) -> Result<Waited> {
    let start = Instant::now();
    let mut prober = Prober::new(paths);
    let mut pause = Duration::from_millis(1);
    loop {
        let search = prober.find(spec)?;
        let waited = start.elapsed();
        if search != Search::Missing || waited >= timeout {
            return Ok(Waited { search, waited });
        }
        std::thread::sleep(pause.min(timeout - waited));
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// A partition, as its table names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionNode {
    /// Its device node.
    pub node: PathBuf,
    /// Its PARTUUID.
    pub uuid: String,
    /// Whether the kernel takes the disk's medium for one that is changed (sysfs `removable`).
    pub removable: bool,
}

/// Looks once for the partitions of this type, in lower case, on GPT disks. The only error is a sysfs that cannot be listed.
pub fn of_type(type_uuid: &str, paths: &Paths) -> Result<Vec<PartitionNode>> {
    let mut prober = Prober::new(paths);
    let mut found = Vec::new();
    for device in Device::list(paths)?.iter().filter(|device| device.has_node()) {
        let Some((number, disk)) = device.partition.zip(device.disk()) else { continue };
        let Some(table) = prober.table(device).filter(|t| t.type_of(number) == Some(type_uuid)) else {
            continue;
        };
        let removable = read_word(&disk.join("removable")).as_deref() == Some("1");
        let uuid = table.uuid_of(number).unwrap_or_default();
        found.push(PartitionNode { node: device.node.clone(), uuid, removable });
    }
    Ok(found)
}

/// Reads the superblock of a device or an image; none if nothing known lies there.
pub fn probe(node: &Path) -> Result<Option<Superblock>> {
    let file = File::open(node).map_err(|e| Error::io("open", node, e))?;
    read_superblock(&file).map_err(|e| Error::io("read the superblock of", node, e))
}

/// The size of a block device or a regular file. Moves the file's offset.
pub fn size_bytes(mut file: &File) -> io::Result<u64> {
    file.seek(SeekFrom::End(0))
}

/// Whether the kernel allows no writes to the device at `node`; false if there is no such device.
pub fn is_read_only(node: &Path) -> bool {
    let Some(metadata) = fs::metadata(node).ok().filter(is_block) else { return false };
    let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
    read_word(Path::new(&format!("/sys/dev/block/{major}:{minor}/ro"))).as_deref() == Some("1")
}

/// What sysfs says of the device at `node` under `name`, as `queue/rotational`; for a partition what it says of the disk,
/// where it says nothing of the partition.
pub fn property(node: &Path, name: &str) -> Option<String> {
    let metadata = fs::metadata(node).ok().filter(is_block)?;
    let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
    let dir = fs::canonicalize(format!("/sys/dev/block/{major}:{minor}")).ok()?;
    read_word(&dir.join(name)).or_else(|| {
        let disk = dir.parent().filter(|_| dir.join("partition").exists())?;
        read_word(&disk.join(name))
    })
}

/// The node of the encrypted volume that lies on the device at `node`, if it is open.
pub fn opened(node: &Path) -> Option<PathBuf> {
    neighbours(node, "holders").into_iter().find(|node| is_volume(node))
}

/// The node of the device below the encrypted volume at `node`.
pub fn below(node: &Path) -> Option<PathBuf> {
    neighbours(node, "slaves").pop().filter(|_| is_volume(node))
}

/// The uuid is cryptsetup's: `CRYPT-LUKS2-…-NAME`.
fn is_volume(node: &Path) -> bool {
    property(node, "dm/uuid").is_some_and(|uuid| uuid.starts_with("CRYPT-LUKS2-"))
}

/// The devices that sysfs lists in such a directory of the one at `node`.
fn neighbours(node: &Path, list: &str) -> Vec<PathBuf> {
    let Some(metadata) = fs::metadata(node).ok().filter(is_block) else { return Vec::new() };
    let (major, minor) = (major(metadata.rdev()), minor(metadata.rdev()));
    let listed = fs::read_dir(format!("/sys/dev/block/{major}:{minor}/{list}"));
    // A `/` of the name is a `!` in sysfs.
    let node = |name: &str| Path::new("/dev").join(name.replace('!', "/"));
    listed.into_iter().flatten().flatten().map(|entry| node(&entry.file_name().to_string_lossy())).collect()
}

/// The node of the block device with these numbers, by the name that the kernel gives it.
pub fn node_of_dev(major: u64, minor: u64, paths: &Paths) -> Option<PathBuf> {
    let uevent = fs::read_to_string(paths.sys.join(format!("dev/block/{major}:{minor}/uevent"))).ok()?;
    Some(paths.dev.join(value_of(&uevent, "DEVNAME")?))
}

const MAX_PAUSE: Duration = Duration::from_millis(20);
/// After this a device without a result is read again: somebody may have formatted it, or plugged in a medium.
const EMPTY_LASTS: Duration = Duration::from_millis(500);

/// What is remembered of a device, as long as it is the same.
struct Known<T> {
    stamp: String,
    read_at: Instant,
    what: Option<T>,
}

/// Searches, and remembers what it read.
struct Prober<'a> {
    paths: &'a Paths,
    superblocks: BTreeMap<PathBuf, Known<Superblock>>,
    tables: BTreeMap<PathBuf, Known<Table>>,
}

impl<'a> Prober<'a> {
    fn new(paths: &'a Paths) -> Self {
        Prober { paths, superblocks: BTreeMap::new(), tables: BTreeMap::new() }
    }

    fn find(&mut self, spec: &DeviceSpec) -> Result<Search> {
        let path = match spec {
            DeviceSpec::Path(path) => path,
            _ => return self.find_tag(spec),
        };
        let node = path.strip_prefix("/dev").map_or(path.clone(), |name| self.paths.dev.join(name));
        if fs::metadata(&node).is_ok_and(|m| is_block(&m)) {
            return Ok(Search::Found(node));
        }
        // The links are udev's; without udev the name says as much.
        match udev_link(path) {
            Some(spec) => self.find_tag(&spec),
            None => Ok(Search::Missing),
        }
    }

    fn find_tag(&mut self, spec: &DeviceSpec) -> Result<Search> {
        let devices = Device::list(self.paths)?;
        let disks: BTreeSet<&Path> = devices.iter().filter_map(Device::disk).collect();
        let mut found: Vec<(PathBuf, Option<Superblock>)> = Vec::new();
        for device in devices.iter().filter(|device| device.has_node()) {
            let superblock = match spec {
                DeviceSpec::PartLabel(label) if self.has_part_label(device, label) => None,
                DeviceSpec::PartUuid(uuid) if self.has_part_uuid(device, uuid) => None,
                DeviceSpec::Label(_) | DeviceSpec::Uuid(_)
                    if !disks.contains(&*device.dir) && !device.is_taken() =>
                {
                    match self.superblock(device) {
                        Some(superblock) if names(spec, &superblock) => Some(superblock),
                        _ => continue,
                    }
                }
                _ => continue,
            };
            found.push((device.node.clone(), superblock));
        }
        Ok(decide(found))
    }

    fn superblock(&mut self, device: &Device) -> Option<Superblock> {
        let read = || File::open(&device.node).and_then(|file| read_superblock(&file)).ok().flatten();
        remember(&mut self.superblocks, &device.dir, &device.stamp, read)
    }

    /// The kernel's PARTNAME is ASCII (`utf16_le_to_7bit`, block/partitions/efi.c), and it has none for partitions that
    /// a program told it of (BLKPG, as systemd-repart does): then the disk is read.
    fn has_part_label(&mut self, device: &Device, label: &str) -> bool {
        let Some(number) = device.partition else { return false };
        match value_of(&device.uevent, "PARTNAME") {
            Some(told) if label.is_ascii() => told == label,
            _ => self.table(device).is_some_and(|t| t.name_of(number) == Some(label)),
        }
    }

    /// The kernel tells PARTUUID since 6.13, but for BLKPG; else the disk is read.
    fn has_part_uuid(&mut self, device: &Device, uuid: &str) -> bool {
        let Some(number) = device.partition else { return false };
        match value_of(&device.uevent, "PARTUUID") {
            Some(told) => told.eq_ignore_ascii_case(uuid),
            None => {
                let read = self.table(device).and_then(|t| t.uuid_of(number));
                read.is_some_and(|read| read.eq_ignore_ascii_case(uuid))
            }
        }
    }

    /// The table of the disk that a partition is on. It is read anew for each partition: when one comes up, the table
    /// has changed, and the disk has not.
    fn table(&mut self, partition: &Device) -> Option<Table> {
        let disk = Device::load(self.paths, partition.disk()?.to_owned()).filter(Device::has_node)?;
        let read = || {
            let sector = read_word(&disk.dir.join("queue/logical_block_size")).and_then(|s| s.parse().ok());
            let file = File::open(&disk.node).ok()?;
            let size = size_bytes(&file).ok()?;
            gpt::read_table(&mut |at, buf| file.read_exact_at(buf, at), size, sector.unwrap_or(512))
                .ok()
                .flatten()
        };
        remember(&mut self.tables, &partition.dir, &partition.stamp, read)
    }
}

/// A block device that the kernel knows, with a size.
struct Device {
    /// Its directory in sysfs, without symlinks.
    dir: PathBuf,
    node: PathBuf,
    uevent: String,
    /// Its number, if it is a partition.
    partition: Option<u32>,
    /// Changes when the medium or the partition does.
    stamp: String,
}

impl Device {
    /// All of them but RAM disks and floppies (seconds without a medium), in order of their names.
    fn list(paths: &Paths) -> Result<Vec<Device>> {
        let class = paths.sys.join("class/block");
        let listed = fs::read_dir(&class).map_err(|e| Error::io("list", &class, e))?;
        // sda, sdb, sdaa. The kernel's names are ASCII.
        let keyed = |name: String| format!("{:03}{name}", name.len());
        let mut names: Vec<String> =
            listed.flatten().filter_map(|entry| entry.file_name().into_string().ok()).map(keyed).collect();
        names.sort();
        let names = names.iter().filter_map(|name| name.get(3..));
        let skipped = |name: &str| {
            ["ram", "zram", "fd"].iter().any(|p| {
                name.strip_prefix(p).is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
            })
        };
        let dirs = names.filter(|name| !skipped(name)).map(|name| class.join(name));
        Ok(dirs.filter_map(|dir| Device::load(paths, fs::canonicalize(dir).ok()?)).collect())
    }

    /// None for a device without a size (a loop device without a file, a drive without a medium) or just gone.
    fn load(paths: &Paths, dir: PathBuf) -> Option<Device> {
        let word = |name: &str| read_word(&dir.join(name));
        let size = word("size").filter(|size| size != "0")?;
        let uevent = fs::read_to_string(dir.join("uevent")).ok()?;
        let node = paths.dev.join(value_of(&uevent, "DEVNAME")?);
        let partition = word("partition").and_then(|number| number.parse().ok());
        let start = partition.and_then(|_| word("start")).unwrap_or_default();
        let stamp = format!("{} {start} {size}", value_of(&uevent, "DISKSEQ").unwrap_or_default());
        Some(Device { dir, node, uevent, partition, stamp })
    }

    /// The sysfs directory of the disk that this partition is on.
    fn disk(&self) -> Option<&Path> {
        self.partition.and(self.dir.parent())
    }

    /// Whether something is stacked upon it, which shows the same superblock or gives it its meaning; or reading
    /// would block, as it does on a suspended mapping.
    fn is_taken(&self) -> bool {
        fs::read_dir(self.dir.join("holders")).is_ok_and(|mut holders| holders.next().is_some())
            || read_word(&self.dir.join("dm/suspended")).as_deref() == Some("1")
    }

    /// Whether the node is there, and is this device's.
    fn has_node(&self) -> bool {
        let number = |key| value_of(&self.uevent, key).and_then(|text| text.parse().ok()).unwrap_or_default();
        let rdev = makedev(number("MAJOR"), number("MINOR"));
        fs::metadata(&self.node).is_ok_and(|m| is_block(&m) && m.rdev() == rdev)
    }
}

fn remember<T: Clone>(
    known: &mut BTreeMap<PathBuf, Known<T>>,
    dir: &Path,
    stamp: &str,
    read: impl FnOnce() -> Option<T>,
) -> Option<T> {
    if let Some(k) = known.get(dir)
        && k.stamp == stamp
        && (k.what.is_some() || k.read_at.elapsed() < EMPTY_LASTS)
    {
        return k.what.clone();
    }
    let what = read();
    known.insert(
        dir.to_owned(),
        Known { stamp: stamp.to_owned(), read_at: Instant::now(), what: what.clone() },
    );
    what
}

fn read_superblock(file: &File) -> io::Result<Option<Superblock>> {
    superblock::identify(&mut |at, buf| file.read_exact_at(buf, at), size_bytes(file)?)
}

fn names(spec: &DeviceSpec, superblock: &Superblock) -> bool {
    (superblock.fstype.is_filesystem() || superblock.fstype == FsType::Wipe)
        && match spec {
            DeviceSpec::Label(label) => superblock.label == *label,
            DeviceSpec::Uuid(uuid) => superblock.uuid.eq_ignore_ascii_case(uuid),
            _ => false,
        }
}

/// One device, or the several devices of one btrfs, is an answer.
fn decide(mut found: Vec<(PathBuf, Option<Superblock>)>) -> Search {
    let mut seen = BTreeSet::new();
    found.retain(|(_, superblock)| match superblock {
        Some(sb) if sb.fstype == FsType::Btrfs => seen.insert(sb.uuid.clone()),
        _ => true,
    });
    let mut nodes: Vec<PathBuf> = found.into_iter().map(|(node, _)| node).collect();
    match nodes.len() {
        0 => Search::Missing,
        1 => Search::Found(nodes.swap_remove(0)),
        _ => Search::Ambiguous(nodes),
    }
}

/// What a link of udev's below `/dev/disk` stands for. Names with escapes (`\x20`) are left to udev.
fn udev_link(path: &Path) -> Option<DeviceSpec> {
    let (kind, name) = path.to_str()?.strip_prefix("/dev/disk/by-")?.split_once('/')?;
    let make: fn(String) -> DeviceSpec = match kind {
        "label" => DeviceSpec::Label,
        "uuid" => DeviceSpec::Uuid,
        "partlabel" => DeviceSpec::PartLabel,
        "partuuid" => DeviceSpec::PartUuid,
        _ => return None,
    };
    (!name.contains('\\')).then(|| make(name.to_owned()))
}

fn unquoted(text: &str) -> &str {
    text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text)
}

fn is_block(metadata: &Metadata) -> bool {
    metadata.file_type().is_block_device()
}

fn read_word(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

/// The value of a line `KEY=value`.
fn value_of<'t>(uevent: &'t str, key: &str) -> Option<&'t str> {
    uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;
