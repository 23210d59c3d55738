//! Erasing a device, and putting onto it a filesystem that was made in memory.
//!
//! Until the last write the sector at its beginning says what is going on, and who finds it there begins again.

use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt, FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::error::{Error, Kind, Result};
use crate::plan::erasure::Erased;
use crate::plan::wipe::{FRONT, Making, mkfs_arguments};
use crate::store::records::{OutcomeRecord, StoreRecord};
use crate::store::{Layout, write};
use crate::sys::content::{self, CopyError};
use crate::sys::discard::{Aligned, Device, Way};
use crate::sys::mount::{self, FsContext};
use crate::sys::wipe_sector::WipeSector;
use crate::sys::{atomic, process};

/// So much is erased by one call: a card that writes 10 MB a second needs half a minute for it.
const CHUNK: u64 = 256 << 20;
/// So much is read or written at once.
const PIECE: usize = 1 << 20;
/// For making a filesystem in memory.
const MKFS_LIMIT: Duration = Duration::from_secs(300);

/// Puts the mark on the device: the point of no return.
pub fn write_mark(device: &Device, sector: u64, mark: &WipeSector) -> Result<()> {
    let bytes = mark.encode().ok_or_else(|| Error::new(Kind::Failed, "the mark does not fit a sector"))?;
    let mut front = buffer(sector);
    // On a device with sectors of 4096 bytes the rest of the first one is zeros from now on.
    front.bytes_mut()[..bytes.len()].copy_from_slice(&bytes);
    device.write(0, &front)?;
    device.sync()
}

/// Makes an encrypted volume unreadable, while the mark stands in its first sector: the copies of its header first, for
/// by them it would be found and opened, and then all of the key slots.
pub fn destroy_keys(device: &Device, header: u64) -> Result<()> {
    // LUKS2's second header: one of 16 KiB << n up to 4 MiB (cryptsetup, LUKS2 on-disk format, 2.1).
    for at in (0..=8).map(|n| 0x4000_u64 << n).filter(|at| at + FRONT <= device.size()) {
        device.write(at, &buffer(FRONT))?;
    }
    device.sync()?;
    let end = header.min(device.size()) / FRONT * FRONT;
    let mut zeros = buffer(PIECE as u64);
    let mut at = FRONT;
    while at < end {
        let step = (end - at).min(PIECE as u64);
        zeros.resize(step as usize);
        device.write(at, &zeros)?;
        at += step;
    }
    device.sync()
}

/// Erases everything behind the first sector, in the best way that the device has. Tells which.
pub fn erase(device: &Device, sector: u64) -> Result<Erased> {
    if sector < FRONT {
        device.write(sector, &buffer(FRONT - sector))?;
    }
    let end = device.size() / sector * sector;
    let (mut way, mut at, mut told) = (Way::SecureDiscard, FRONT, 0);
    while at < end {
        let next = ((at / CHUNK + 1) * CHUNK).min(end);
        way = erase_chunk(device, way, at, next - at)?;
        at = next;
        let percent = u128::from(at) * 100 / u128::from(end);
        if percent >= told + 5 {
            told = percent;
            tracing::info!("wiping {}: {percent} % erased", device.node().display());
        }
    }
    device.sync()?;
    Ok(match way {
        Way::SecureDiscard => Erased::SecurelyDiscarded,
        Way::Discard => Erased::Discarded,
        Way::Zeros => Erased::Overwritten,
    })
}

/// Tells the device that nothing on it is needed, as mkfs would: it need not know what that is, nor forget anything.
pub fn discard(device: &Device, sector: u64) {
    let end = device.size() / sector * sector;
    let mut at = FRONT;
    while at < end {
        let next = ((at / CHUNK + 1) * CHUNK).min(end);
        if device.erase(Way::Discard, at, next - at).is_err() {
            return;
        }
        at = next;
    }
}

/// What the device refuses once is not tried again: the verdict is that of the weakest way.
fn erase_chunk(device: &Device, first: Way, at: u64, length: u64) -> Result<Way> {
    let mut way = first;
    while let Err(e) = device.erase(way, at, length) {
        way = match way {
            Way::SecureDiscard => Way::Discard,
            Way::Discard => Way::Zeros,
            Way::Zeros => return Err(Error::io("overwrite", device.node(), e)),
        };
    }
    // A discard is a hint: what it leaves is overwritten.
    if way != Way::Zeros && !is_zero(device, at, length)? {
        device.erase(Way::Zeros, at, length).map_err(|e| Error::io("overwrite", device.node(), e))?;
    }
    Ok(way)
}

fn is_zero(device: &Device, at: u64, length: u64) -> Result<bool> {
    let mut piece = buffer(PIECE as u64);
    let mut done = 0;
    while done < length {
        let step = (length - done).min(PIECE as u64);
        piece.resize(step as usize);
        device.read(at + done, &mut piece)?;
        if !piece.is_zero() {
            return Ok(false);
        }
        done += step;
    }
    Ok(true)
}

/// What the new filesystem holds from the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Contents<'a> {
    /// The directory of the store.
    pub path: &'a Path,
    /// The store.
    pub store: &'a StoreRecord,
    /// How the wipe ended; none if there was nothing to wipe.
    pub outcome: Option<&'a OutcomeRecord>,
    /// Lines of the file of used tokens.
    pub tokens: &'a [String],
}

/// A filesystem in memory for what is made there; gone with all of it when it is dropped.
#[derive(Debug)]
pub struct Workshop {
    at: PathBuf,
}

impl Workshop {
    /// Mounts it at `at`.
    pub fn open(at: PathBuf) -> Result<Workshop> {
        DirBuilder::new().mode(0o700).recursive(true).create(&at).map_err(|e| Error::io("make", &at, e))?;
        let context = FsContext::new("tmpfs", "RAM filesystem for a new state filesystem")?;
        context.string("source", "overlayd")?;
        // Little of the image is more than holes; mkfs says so if it does not fit.
        context.string("size", "75%")?;
        context.string("mode", "0700")?;
        let mounted = context.mount(mount::PRIVATE)?;
        mount::attach(&mounted, &at)?;
        Ok(Workshop { at })
    }

    /// A file or a directory in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.at.join(name)
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // Only the mount goes: nothing is deleted by name here.
        mount::detach(&self.at).unwrap_or_else(|e| tracing::warn!("{e}"));
    }
}

/// Makes the image that `making` names: a filesystem as large as the device, with the store in it.
pub fn make_image(making: &Making<'_>, contents: &Contents<'_>) -> Result<()> {
    let image = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(making.image)
        .map_err(|e| Error::io("make", making.image, e))?;
    image.set_len(making.target.volume_size()).map_err(|e| Error::io("enlarge", making.image, e))?;
    drop(image);
    make_filesystem(making, contents)
}

/// Makes the filesystem, with the store in it, on what `making` names.
pub fn make_filesystem(making: &Making<'_>, contents: &Contents<'_>) -> Result<()> {
    make_tree(making.tree, contents)?;
    if making.target.fstype == "xfs" {
        let text = prototype(making.tree)?;
        File::create(making.prototype)
            .and_then(|mut file| file.write_all(text.as_bytes()))
            .map_err(|e| Error::io("write", making.prototype, e))?;
    }
    let name = format!("mkfs.{}", making.target.fstype);
    let program = process::find_program(&name).ok_or_else(|| {
        Error::new(Kind::StoreUnavailable, format!("{name} is not installed here"))
            .remedy("the initramfs hook takes it along if it is installed when the initramfs is made")
    })?;
    let words = mkfs_arguments(making);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let exit = process::run(&program, &words, MKFS_LIMIT)?;
    match exit.code {
        Some(0) => Ok(()),
        _ => {
            let image = making.image.display();
            Err(Error::new(Kind::Failed, format!("{name} failed on {image}: {}", exit.output)))
        }
    }
}

fn make_tree(tree: &Path, contents: &Contents<'_>) -> Result<()> {
    let fail = |e| Error::io("make", tree, e);
    let layout = Layout::new(tree.join(contents.path));
    let parent = layout.root().parent().unwrap_or(tree);
    DirBuilder::new().mode(0o700).recursive(true).create(parent).map_err(fail)?;
    fs::set_permissions(tree, Permissions::from_mode(0o755)).map_err(fail)?;
    write::create_store(&layout, contents.store)?;
    write::make_overlay(&layout, "root")?;
    if let Some(outcome) = contents.outcome {
        write::write_outcome(&layout, "root", outcome)?;
    }
    if contents.tokens.is_empty() {
        return Ok(());
    }
    atomic::write(&layout.tokens(), &format!("{}\n", contents.tokens.join("\n")))
}

/// The description of a tree of directories and files of root's, as mkfs.xfs(8) takes it with `-p`.
fn prototype(tree: &Path) -> Result<String> {
    let mut text = "/\n0 0\nd--755 0 0\n".to_owned();
    describe(tree, &mut text)?;
    Ok(text)
}

fn describe(directory: &Path, text: &mut String) -> Result<()> {
    let fail = |e| Error::io("list", directory, e);
    for entry in fs::read_dir(directory).map_err(fail)? {
        let path = entry.map_err(fail)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if path.is_dir() {
            text.push_str(&format!("{name} d--700 0 0\n"));
            describe(&path, text)?;
        } else {
            text.push_str(&format!("{name} ---600 0 0 {}\n", path.display()));
        }
    }
    text.push_str("$\n");
    Ok(())
}

/// What the device holds where nothing was written yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// Zeros, which need not be written again.
    Erased,
    /// Anything: where mkfs wrote zeros, it had a reason.
    Unknown,
}

/// Puts the image onto the device: everything behind `front` first, then what is before it but for the first sector, then
/// the first sector, which holds the mark. Each is durable before the next.
pub fn copy(image: &File, device: &Device, sector: u64, front: u64, ground: Ground) -> Result<()> {
    let length = image.metadata().map_err(|e| Error::io("look at", "the image in memory", e))?.len();
    let end = length.min(device.size()) / FRONT * FRONT;
    copy_data(image, device, front, end, ground)?;
    device.sync()?;
    copy_range(image, device, sector, front, ground)?;
    device.sync()?;
    copy_range(image, device, 0, sector, ground)?;
    device.sync()
}

/// Without the holes.
fn copy_data(image: &File, device: &Device, start: u64, end: u64, ground: Ground) -> Result<()> {
    let mut at = start;
    while at < end {
        let next = content::next_data(image, at, end).map_err(copy_error)?;
        let Some((start, stop)) = next else { break };
        copy_range(image, device, start, stop, ground)?;
        at = stop;
    }
    Ok(())
}

fn copy_range(image: &File, device: &Device, start: u64, end: u64, ground: Ground) -> Result<()> {
    let mut piece = buffer(PIECE as u64);
    let mut at = start;
    while at < end {
        let step = (end - at).min(PIECE as u64);
        piece.resize(step as usize);
        image
            .read_exact_at(piece.bytes_mut(), at)
            .map_err(|e| Error::io("read", "the image in memory", e))?;
        // The mark is not zero: it must be written over, whatever comes there.
        if at == 0 || ground == Ground::Unknown || !piece.is_zero() {
            device.write(at, &piece)?;
        }
        at += step;
    }
    Ok(())
}

fn copy_error(error: CopyError) -> Error {
    let cause = match error {
        CopyError::Read(e) | CopyError::Write(e) => e,
        CopyError::Stopped => ErrorKind::Interrupted.into(),
    };
    Error::io("read", "the image in memory", cause)
}

fn buffer(length: u64) -> Aligned {
    Aligned::zeros(usize::try_from(length).unwrap_or_default())
}
