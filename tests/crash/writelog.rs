//! The log that qemu's blklogwrites driver keeps of a device, in the format of the kernel's dm-log-writes: a superblock,
//! then entries of one sector each, followed by what was written.
//! https://docs.kernel.org/admin-guide/device-mapper/log-writes.html

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use nix::fcntl::{FallocateFlags, fallocate};

const MAGIC: u64 = 0x006a_7366_7773_6872;
const FLUSH: u64 = 1;
const FUA: u64 = 2;
const DISCARD: u64 = 4;

/// One thing that happened to the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// Everything before it lasts.
    Flush,
    /// Bytes at this place of the log were written to this place of the device.
    Write { to: u64, from: u64, length: u64 },
    /// These bytes of the device became zeros.
    Discard { at: u64, length: u64 },
}

/// A log that is complete.
pub(crate) struct WriteLog {
    file: File,
    /// Each with the length that the log had before it, in bytes.
    pub(crate) events: Vec<(u64, Event)>,
}

impl WriteLog {
    pub(crate) fn read(path: &Path) -> WriteLog {
        let file = File::open(path).unwrap();
        let number = |at: u64| -> io::Result<u64> {
            let mut bytes = [0; 8];
            file.read_exact_at(&mut bytes, at)?;
            Ok(u64::from_le_bytes(bytes))
        };
        assert_eq!(number(0).unwrap(), MAGIC, "{} is no write log", path.display());
        // Magic, version and number of entries are 8 bytes each. That number lags behind: the file's end counts.
        let sector = number(24).unwrap() & 0xffff_ffff;
        let (mut events, mut at) = (Vec::new(), sector);
        while let (Ok(start), Ok(count), Ok(flags)) = (number(at), number(at + 8), number(at + 16)) {
            if (start, count, flags) == (0, 0, 0) {
                break;
            }
            assert_eq!(flags & FUA, 0, "a loop device has no writes with FUA");
            let (place, length, before) = (start * sector, count * sector, at);
            at += sector;
            if flags & FLUSH != 0 {
                events.push((before, Event::Flush));
            }
            if flags & DISCARD != 0 {
                events.push((before, Event::Discard { at: place, length }));
            } else if length > 0 {
                events.push((before, Event::Write { to: place, from: at, length }));
                at += length;
            }
        }
        WriteLog { file, events }
    }

    /// Does to an image what happened; of a write the first `bytes` only.
    pub(crate) fn apply(&self, event: &Event, bytes: u64, image: &File) {
        match *event {
            Event::Flush => {}
            Event::Discard { at, length } => {
                let how = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
                fallocate(image, how, at.cast_signed(), length.cast_signed()).unwrap();
            }
            Event::Write { to, from, length } => {
                let mut buffer = vec![0; usize::try_from(length.min(bytes)).unwrap()];
                self.file.read_exact_at(&mut buffer, from).unwrap();
                image.write_all_at(&buffer, to).unwrap();
            }
        }
    }
}
