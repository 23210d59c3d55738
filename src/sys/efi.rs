//! EFI variables and the ESP, through mounts of our own: initramfs-tools makes none.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::mount::MountAttrFlags;

use super::mount::{self, FsContext};
use super::node;
use crate::error::{Error, Result};

/// No variable that is read here is nearly as large.
const CONTENT_MAX: u64 = 64 << 10;

/// Whether the firmware is UEFI, and tells the kernel so.
pub fn is_efi() -> bool {
    Path::new("/sys/firmware/efi").exists()
}

/// The variables. The mount ends with this value.
#[derive(Debug)]
pub struct Variables {
    at: PathBuf,
}

impl Variables {
    /// Mounts them at `at`.
    pub fn mount(at: &Path) -> Result<Variables> {
        let context = FsContext::new("efivarfs", "EFI variables")?;
        context.string("source", "efivarfs")?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let mounted = context.mount(attributes)?;
        fs::create_dir_all(at).map_err(|e| Error::io("make", at, e))?;
        mount::attach(&mounted, at)?;
        Ok(Variables { at: at.to_owned() })
    }

    /// The attributes and the content of a variable, `NAME-VENDOR`; none if there is no such variable.
    pub fn read(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.at.join(name);
        let mut content = Vec::new();
        match File::open(&path).map(|file| file.take(CONTENT_MAX)) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.and_then(|mut file| file.read_to_end(&mut content)),
        }
        .map_err(|e| Error::io("read", &path, e))?;
        Ok(Some(content))
    }

    /// Deletes a variable; the firmware has it no more when this is done.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.at.join(name);
        // efivarfs makes every variable immutable that it does not know to be harmless.
        if let Ok(file) = File::open(&path) {
            node::unflag(&file);
        }
        fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))
    }
}

impl Drop for Variables {
    fn drop(&mut self) {
        if mount::detach(&self.at).is_ok() {
            // An empty mount point that stays harms nobody.
            let _ = fs::remove_dir(&self.at);
        }
    }
}

/// The EFI system partition. The mount ends with this value.
#[derive(Debug)]
pub struct Esp {
    at: PathBuf,
}

impl Esp {
    /// Mounts the partition `node` at `at`.
    pub fn mount(node: &Path, at: &Path, read_only: bool) -> Result<Esp> {
        let context = FsContext::new("vfat", format!("ESP on {}", node.display()))?;
        context.string("source", node)?;
        if read_only {
            context.flag("ro")?;
        }
        let mounted = context.mount(mount::PRIVATE)?;
        fs::create_dir_all(at).map_err(|e| Error::io("make", at, e))?;
        mount::attach(&mounted, at)?;
        Ok(Esp { at: at.to_owned() })
    }
}

impl Drop for Esp {
    fn drop(&mut self) {
        // At once, so that a writable mount after a read-only one is a new one.
        if mount::unmount(&self.at).is_err() {
            mount::detach(&self.at).unwrap_or_else(|e| tracing::warn!("{e}"));
        }
        let _ = fs::remove_dir(&self.at);
    }
}
