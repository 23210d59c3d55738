//! A block device that is erased: opened for nobody else, read and written past the page cache, discarded.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

use super::block;
use crate::error::{Error, Result};

mod ioctls {
    #![allow(unsafe_code, missing_docs, unreachable_pub, reason = "made by nix's macros")]
    // linux/fs.h. Numbers without size and direction; the kernel reads `[offset, length]`.
    nix::ioctl_write_ptr_bad!(discard, nix::request_code_none!(0x12, 119), [u64; 2]);
    nix::ioctl_write_ptr_bad!(secure_discard, nix::request_code_none!(0x12, 125), [u64; 2]);
    nix::ioctl_write_ptr_bad!(zero_out, nix::request_code_none!(0x12, 127), [u64; 2]);
}

/// How a range is erased.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// BLKSECDISCARD: discarded, and every copy destroyed.
    SecureDiscard,
    /// BLKDISCARD: the device may forget it.
    Discard,
    /// BLKZEROOUT: it reads as zeros; where the device can not do that by itself, the kernel writes them.
    Zeros,
}

/// A device that nobody else uses.
#[derive(Debug)]
pub struct Device {
    file: File,
    node: PathBuf,
    size: u64,
}

impl Device {
    /// Opens `node`; EBUSY if it is mounted, or a mapping, a RAID or a mounted partition lies on it.
    pub fn open(node: &Path) -> Result<Device> {
        let fail = |e: io::Error| Error::io("open for wiping", node, e);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_EXCL | libc::O_DIRECT | libc::O_CLOEXEC)
            .open(node)
            .map_err(fail)?;
        let size = block::size_bytes(&file).map_err(fail)?;
        Ok(Device { file, node: node.to_owned(), size })
    }

    /// Its node.
    pub fn node(&self) -> &Path {
        &self.node
    }

    /// In bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Erases a range of whole sectors in this way.
    pub fn erase(&self, way: Way, at: u64, length: u64) -> io::Result<()> {
        let (fd, range) = (self.file.as_raw_fd(), [at, length]);
        #[allow(unsafe_code)]
        // SAFETY: the descriptor is open, and each of these only reads two u64.
        let done = unsafe {
            match way {
                Way::SecureDiscard => ioctls::secure_discard(fd, &range),
                Way::Discard => ioctls::discard(fd, &range),
                Way::Zeros => ioctls::zero_out(fd, &range),
            }
        };
        Ok(done.map(drop)?)
    }

    /// Fills the buffer; whole sectors.
    pub fn read(&self, at: u64, buffer: &mut Aligned) -> Result<()> {
        self.file.read_exact_at(buffer.bytes_mut(), at).map_err(|e| Error::io("read", &self.node, e))
    }

    /// Writes the buffer; whole sectors.
    pub fn write(&self, at: u64, buffer: &Aligned) -> Result<()> {
        self.file.write_all_at(buffer.bytes(), at).map_err(|e| Error::io("write", &self.node, e))
    }

    /// Until all that was written is durable.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_all().map_err(|e| Error::io("sync", &self.node, e))
    }
}

/// Memory where O_DIRECT wants it.
#[derive(Debug)]
pub struct Aligned {
    memory: Vec<u8>,
    start: usize,
    length: usize,
}

impl Aligned {
    const ALIGNMENT: usize = 4096;

    /// So many zeros.
    pub fn zeros(length: usize) -> Aligned {
        let memory = vec![0; length + Self::ALIGNMENT];
        let start = memory.as_ptr().align_offset(Self::ALIGNMENT);
        Aligned { memory, start, length }
    }

    /// Uses the first `length` bytes from now on, which it must have.
    pub fn resize(&mut self, length: usize) {
        self.length = length.min(self.memory.len() - self.start);
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        &self.memory[self.start..self.start + self.length]
    }

    /// What is in it.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + self.length]
    }

    /// Whether there are only zeros in it.
    pub fn is_zero(&self) -> bool {
        super::superblock::is_zero(self.bytes())
    }
}
