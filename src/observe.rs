//! The only reader of the machine: time, boot id, memory, the base, devices. It changes nothing.

pub mod erasing;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::cmdline;
use crate::config::{Format, State};
use crate::error::{Error, Kind, Result};
use crate::handoff;
use crate::plan::efi::System;
use crate::plan::lost::Traces;
use crate::plan::state::{DeviceFacts, Found};
use crate::store::Layout;
use crate::sys::block::{self, Paths};
use crate::sys::mountinfo::{self, Mount};
use crate::sys::space::Space;
use crate::sys::superblock::{self, Superblock};
use crate::sys::{inroot, process, space as sys_space};

/// A point in time, and a fresh random id for whatever is made at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Unix time in seconds.
    pub unix: u64,
    /// Kernel boot id.
    pub boot: String,
    /// 128 random bits in hexadecimal.
    pub random: String,
}

/// The base of an overlay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Base {
    /// Identity: see [`base`].
    pub identity: String,
    /// `squashfs:/dev/vda`.
    pub lower: String,
    /// Device node, if it lies on one.
    pub device: Option<PathBuf>,
    /// Number of that device.
    pub number: (u64, u64),
    /// Whether its superblock is read-only.
    pub read_only: bool,
    /// Mounts below it, relative to it.
    pub submounts: Vec<PathBuf>,
}

/// Now.
pub fn moment() -> Moment {
    Moment {
        unix: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        boot: boot_id(),
        // Without random numbers the boot id and the time still tell two requests apart.
        random: process::random_hex::<16>().unwrap_or_default(),
    }
}

/// The kernel's id of this boot; empty if it can not be read.
pub fn boot_id() -> String {
    read_line(Path::new("/proc/sys/kernel/random/boot_id")).unwrap_or_default()
}

/// The kernel command line; empty if it can not be read.
pub fn kernel_command_line() -> String {
    read_line(Path::new("/proc/cmdline")).unwrap_or_default()
}

/// RAM in bytes.
pub fn ram() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = text
        .lines()
        .find_map(|l| l.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB")?.trim().parse().ok());
    kib.unwrap_or(0u64) * 1024
}

/// Free space of the filesystem that `path` lies on.
pub fn space(path: &Path) -> Result<Space> {
    sys_space::of(path)
}

/// Stands for the base in a preview: the next boot will know it.
pub fn unknown_base() -> Base {
    Base { identity: "the base of the next boot".to_owned(), ..Base::default() }
}

/// The base mounted at `target`. Its identity is, best first: dm-verity root hash; filesystem UUID and the image's
/// `IMAGE_ID`, `IMAGE_VERSION`, `BUILD_ID` (os-release(5)); filesystem UUID; digest of the superblock.
pub fn base(target: &Path, kernel_command_line: &str, paths: &Paths) -> Result<Base> {
    let mounts = mountinfo::read()?;
    let mount = mountinfo::at(&mounts, target).ok_or_else(|| {
        Error::new(Kind::Failed, format!("nothing is mounted at {}", target.display()))
            .remedy("the root filesystem must be mounted before overlayd-early runs")
    })?;
    let device = block::node_of_dev(mount.major, mount.minor, paths);
    let superblock = device.as_deref().and_then(|d| block::probe(d).ok().flatten());
    let verity =
        device.as_deref().filter(|d| is_verity(d, paths)).and_then(|_| verity_hash(kernel_command_line));
    let submounts = mountinfo::below(&mounts, target);
    Ok(Base {
        identity: identity(mount, superblock.as_ref(), verity, &image_version(target)),
        lower: format!(
            "{}:{}",
            mount.fstype,
            device.as_deref().map_or(mount.source.clone(), |d| d.display().to_string())
        ),
        read_only: mount.superblock_is_read_only(),
        submounts: submounts.iter().filter_map(|m| m.strip_prefix(target).ok().map(Path::to_owned)).collect(),
        number: (mount.major, mount.minor),
        device,
    })
}

/// What a directory shows, as the base of an overlay over it. Its identity is that of the filesystem that holds it, and
/// its path there. `root` is the identity of the root overlay's base: a directory in that overlay goes by it.
pub fn directory(target: &Path, root: Option<&str>, paths: &Paths) -> Result<Base> {
    let mounts = mountinfo::read()?;
    let mount = mountinfo::holding(&mounts, target)?;
    let inside = target.strip_prefix(&mount.target).unwrap_or(target);
    let device = block::node_of_dev(mount.major, mount.minor, paths);
    let superblock = device.as_deref().and_then(|d| block::probe(d).ok().flatten());
    let holder = match root.filter(|_| mount.source == "overlayd:root") {
        Some(root) => root.to_owned(),
        None => identity(&mount, superblock.as_ref(), None, ""),
    };
    let submounts = mountinfo::below(&mounts, target);
    Ok(Base {
        identity: format!("{holder} at {}", mount.root.join(inside).display()),
        lower: format!("directory:{}", target.display()),
        device: None,
        number: (mount.major, mount.minor),
        read_only: mount.superblock_is_read_only(),
        submounts,
    })
}

/// The state device, before it is touched.
pub fn device(node: &Path, config: &State, base: &Base) -> Result<DeviceFacts> {
    let superblock = block::probe(node)?;
    let found = superblock.map(|s| Found { fstype: s.fstype.name().to_owned(), uuid: s.uuid });
    let may_format = found.is_none() && config.format == Format::IfBlank;
    let canonical = |p: &Path| fs::canonicalize(p).unwrap_or_else(|_| p.to_owned());
    Ok(DeviceFacts {
        node: node.to_owned(),
        read_only: block::is_read_only(node),
        blank: may_format && is_blank(node)?,
        holds_base: base.device.as_deref().is_some_and(|d| canonical(d) == canonical(node)),
        found,
    })
}

/// Whether the filesystem on the device, not mounted yet, says that it was mounted by overlayd the last time: ext4 writes
/// down where (`s_last_mounted` in its superblock), when the first file is opened.
pub fn was_ours(device: &DeviceFacts) -> bool {
    const LAST_MOUNTED: u64 = 0x400 + 0x88;
    let mut at = [0; handoff::RUN_DIR.len()];
    let ext = device.found.as_ref().is_some_and(|found| found.fstype.starts_with("ext"));
    let read = ext.then(|| fs::File::open(&device.node).and_then(|f| f.read_exact_at(&mut at, LAST_MOUNTED)));
    matches!(read, Some(Ok(()))) && at == *handoff::RUN_DIR.as_bytes()
}

/// What tells of a store that is gone, on the state filesystem that is mounted at `at`.
pub fn traces(at: &Path, layout: &Layout, was_ours: bool) -> Traces {
    Traces {
        orphans: fs::read_dir(at.join("lost+found")).map_or(0, Iterator::count),
        // A store begins as this directory, which is there before any file is opened.
        used: was_ours && !layout.root().with_extension("new").exists(),
        beheaded: layout.record().exists() && !layout.overlays().exists(),
    }
}

fn is_blank(node: &Path) -> Result<bool> {
    let fail = |e| Error::io("read", node, e);
    let file = fs::File::open(node).map_err(fail)?;
    let size = block::size_bytes(&file).map_err(fail)?;
    superblock::is_blank(&file, size).map_err(fail)
}

fn identity(mount: &Mount, superblock: Option<&Superblock>, verity: Option<String>, version: &str) -> String {
    if let Some(hash) = verity {
        return format!("verity:{hash}");
    }
    let own = match superblock {
        Some(s) if !s.uuid.is_empty() => s.uuid.clone(),
        Some(s) if !s.digest.is_empty() => s.digest.clone(),
        _ => format!("{}:{}", mount.major, mount.minor),
    };
    let separator = if version.is_empty() { "" } else { " " };
    format!("{}:{own}{separator}{version}", mount.fstype)
}

/// Which system lies in `root`, as systemd tells them apart.
pub fn system(root: &Path) -> System {
    let text = os_release(root);
    System { id: os_release_value(&text, "ID"), image_id: os_release_value(&text, "IMAGE_ID") }
}

/// Whether something in the system in `root` will say that a boot was good: the unit is there, and not masked.
pub fn marks_good(root: &Path) -> bool {
    const UNIT: &str = "overlayd-good.service";
    let above = root.join("etc/systemd/system").join(UNIT);
    let masked = fs::read_link(above).is_ok_and(|to| to == Path::new("/dev/null"));
    let installed = ["usr/lib/systemd/system", "lib/systemd/system"];
    !masked && installed.iter().any(|dir| inroot::exists(root, &Path::new(dir).join(UNIT)))
}

/// `IMAGE_ID`, `IMAGE_VERSION` and `BUILD_ID` of os-release(5), as far as they are set.
fn image_version(root: &Path) -> String {
    let text = os_release(root);
    let value = |name: &str| Some(format!("{name}={}", os_release_value(&text, name)?));
    let values: Vec<String> =
        ["IMAGE_ID", "IMAGE_VERSION", "BUILD_ID"].into_iter().filter_map(value).collect();
    values.join(" ")
}

fn os_release(root: &Path) -> String {
    let read = |path: &str| inroot::read(root, Path::new(path)).ok().flatten();
    read("etc/os-release").or_else(|| read("usr/lib/os-release")).unwrap_or_default()
}

fn os_release_value(text: &str, name: &str) -> Option<String> {
    let line = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix('='))?;
    Some(line.trim_matches(['"', '\'']).to_owned())
}

/// A device-mapper node says what it is in its uuid (`CRYPT-VERITY-…`, libcryptsetup).
fn is_verity(node: &Path, paths: &Paths) -> bool {
    let name = node.file_name().unwrap_or_default();
    let uuid = paths.sys.join("class/block").join(name).join("dm/uuid");
    read_line(&uuid).is_some_and(|u| u.starts_with("CRYPT-VERITY"))
}

fn verity_hash(kernel_command_line: &str) -> Option<String> {
    cmdline::last_value(kernel_command_line, "roothash")
}

fn read_line(path: &Path) -> Option<String> {
    fs::read_to_string(path).ok().map(|t| t.trim().to_owned())
}
