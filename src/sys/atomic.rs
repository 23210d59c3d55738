//! Files that are wholly old or wholly new after a power cut: write, fsync, rename, fsync the directory.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// No record is nearly as large; what is larger is not one.
const RECORD_MAX: u64 = 1 << 20;

/// The text of a small file; `None` if there is none.
pub fn read_optional(path: &Path) -> Result<Option<String>> {
    // A pipe in its place must not make a boot wait for somebody who writes.
    let flags = nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::io("open", path, e)),
    };
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    match is_file {
        true => read_text(file, path).map(Some),
        false => Err(Error::damaged(path, None, "not a regular file")),
    }
}

/// The text of an open small file; `path` is for messages.
pub fn read_text(file: File, path: &Path) -> Result<String> {
    let mut bytes = Vec::new();
    file.take(RECORD_MAX + 1).read_to_end(&mut bytes).map_err(|e| Error::io("read", path, e))?;
    if bytes.len() as u64 > RECORD_MAX {
        return Err(Error::damaged(path, None, "larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|e| {
        let good = e.utf8_error().valid_up_to();
        let line = e.as_bytes()[..good].iter().filter(|&&b| b == b'\n').count() + 1;
        Error::damaged(path, Some(line), "not UTF-8 text")
    })
}

/// Replaces `path` by a file of mode 0600 that holds `text`.
pub fn write(path: &Path, text: &str) -> Result<()> {
    replace(path, text, 0o600)
}

/// Replaces `path` by a file of mode 0644 that holds `text`.
pub fn write_public(path: &Path, text: &str) -> Result<()> {
    replace(path, text, 0o644)
}

/// Writes `text` into the existing file `slot` and renames that to `path`: needs no free block and no free inode.
pub fn write_through_slot(slot: &Path, path: &Path, text: &str) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(slot).map_err(|e| Error::io("open", slot, e))?;
    file.write_all(text.as_bytes()).map_err(|e| Error::io("write", slot, e))?;
    file.set_len(text.len() as u64).map_err(|e| Error::io("write", slot, e))?;
    file.sync_all().map_err(|e| Error::io("sync", slot, e))?;
    rename(slot, path)
}

/// Renames and makes it durable.
pub fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to).map_err(|e| Error::io("rename to", to, e))?;
    sync_dir(parent(to))?;
    if parent(from) != parent(to) {
        sync_dir(parent(from))?;
    }
    Ok(())
}

/// Removes a file durably; a missing one is fine.
pub fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => sync_dir(parent(path)),
    }
}

/// fsync of a directory.
pub fn sync_dir(path: &Path) -> Result<()> {
    File::open(path).and_then(|d| d.sync_all()).map_err(|e| Error::io("sync", path, e))
}

fn replace(path: &Path, text: &str, mode: u32) -> Result<()> {
    let temporary = temporary_name(path);
    let written = create(&temporary, text, mode).and_then(|()| rename(&temporary, path));
    if written.is_err() {
        // It may not exist; the first error is the one to tell.
        let _ = fs::remove_file(&temporary);
    }
    written
}

fn create(path: &Path, text: &str, mode: u32) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .custom_flags(nix::libc::O_NOFOLLOW)
        .open(path)
        .map_err(|e| Error::io("create", path, e))?;
    file.write_all(text.as_bytes()).map_err(|e| Error::io("write", path, e))?;
    file.sync_all().map_err(|e| Error::io("sync", path, e))
}

fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.new"))
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_replace_and_leave_nothing_else() {
        let dir = crate::sys::process::test_dir("atomic");
        let path = dir.join("f");
        assert_eq!(read_optional(&path).unwrap(), None);
        write(&path, "one").unwrap();
        write(&path, "two").unwrap();
        assert_eq!(read_optional(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::write(dir.join("slot"), vec![0; 4096]).unwrap();
        write_through_slot(&dir.join("slot"), &path, "three").unwrap();
        assert_eq!(read_optional(&path).unwrap().as_deref(), Some("three"));
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1);
        fs::write(&path, b"ok\n\xff").unwrap();
        assert!(read_optional(&path).unwrap_err().to_string().contains(":2: not UTF-8"));
        fs::remove_dir_all(dir).unwrap();
    }
}
