//! Partition tables: names and UUIDs of partitions, where the kernel does not tell them.
//!
//! Pure parsing of GPT (UEFI specification 2.10, chapter 5) and of the MBR's disk identifier. It believes what the
//! kernel believes (block/partitions/efi.c): a GPT needs a protective MBR, and its checksums must be right.

use std::io;

use super::superblock::{ReadAt, le16, le32, le64, utf16};

/// A partition table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    /// GPT: the entries in use.
    Gpt(Vec<Partition>),
    /// DOS: its partitions have no names, and their UUIDs are made of this identifier.
    Mbr {
        /// The four bytes at 0x1b8.
        disk_id: u32,
    },
}

/// A GPT entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// As in the kernel's device names, from 1.
    pub number: u32,
    /// What it is for; lower case.
    pub type_uuid: String,
    /// Which one it is; lower case.
    pub uuid: String,
    /// Its label; may be empty.
    pub name: String,
}

impl Table {
    /// The PARTUUID of a partition: GPT's, or `disk_id-number` in hexadecimal, as the kernel makes it.
    pub fn uuid_of(&self, number: u32) -> Option<String> {
        match self {
            Table::Gpt(_) => self.partition(number).map(|p| p.uuid.clone()),
            Table::Mbr { disk_id } => Some(format!("{disk_id:08x}-{number:02x}")),
        }
    }

    /// The PARTLABEL of a partition.
    pub fn name_of(&self, number: u32) -> Option<&str> {
        self.partition(number).map(|p| p.name.as_str())
    }

    /// What a partition is for.
    pub fn type_of(&self, number: u32) -> Option<&str> {
        self.partition(number).map(|p| p.type_uuid.as_str())
    }

    fn partition(&self, number: u32) -> Option<&Partition> {
        match self {
            Table::Gpt(partitions) => partitions.iter().find(|p| p.number == number),
            Table::Mbr { .. } => None,
        }
    }
}

/// Reads the partition table of a disk of `size` bytes with logical sectors of `sector` bytes (512 or 4096).
///
/// None if there is no table, or none whose checksums are right: neither the GPT nor its copy at the end.
pub fn read_table(read: &mut ReadAt<'_>, size: u64, sector: u64) -> io::Result<Option<Table>> {
    let last = (size / sector.max(512)).saturating_sub(1);
    if !(512..=65536).contains(&sector) || last < 2 {
        return Ok(None);
    }
    let mut mbr = [0; 512];
    read(0, &mut mbr)?;
    if le16(&mbr, 0x1fe) != 0xaa55 {
        return Ok(None);
    }
    // Four entries of 16 bytes from 0x1be, their type at 4; 0xee says that a GPT rules.
    if !(0..4).any(|i| mbr[0x1be + 16 * i + 4] == 0xee) {
        return Ok(Some(Table::Mbr { disk_id: le32(&mbr, 0x1b8) }));
    }
    for lba in [1, last] {
        if let Some(partitions) = read_gpt(read, lba, last, sector)? {
            return Ok(Some(Table::Gpt(partitions)));
        }
    }
    Ok(None)
}

/// The largest entry array that is read; the usual one is 16 KiB.
const MAX_ENTRIES: u64 = 1 << 20;

/// The entries in use of the GPT whose header is at `lba`; none if it does not check.
fn read_gpt(read: &mut ReadAt<'_>, lba: u64, last: u64, sector: u64) -> io::Result<Option<Vec<Partition>>> {
    let mut header = vec![0; sector as usize];
    read(lba * sector, &mut header)?;
    let Some(place) = entries_of(&header, lba, last) else { return Ok(None) };
    let mut entries = vec![0; place.len];
    read(place.lba * sector, &mut entries)?;
    if crc32(&entries) != place.crc {
        return Ok(None);
    }
    let used =
        (1..).zip(entries.chunks_exact(place.entry)).filter(|(_, entry)| entry[..16].iter().any(|&b| b != 0));
    Ok(Some(
        used.map(|(number, entry)| Partition {
            number,
            type_uuid: guid(&entry[..16]),
            uuid: guid(&entry[16..32]),
            name: utf16(&entry[56..128]),
        })
        .collect(),
    ))
}

/// Where the entries are, in bytes but for the first block.
struct Entries {
    lba: u64,
    len: usize,
    entry: usize,
    crc: u32,
}

/// Checks the header (UEFI 5.3.2, table 5-5) that was read from `lba`.
fn entries_of(header: &[u8], lba: u64, last: u64) -> Option<Entries> {
    let size = le32(header, 12) as usize;
    if !header.starts_with(b"EFI PART") || !(92..=header.len()).contains(&size) || le64(header, 24) != lba {
        return None;
    }
    let mut checked = header[..size].to_vec();
    checked[16..20].fill(0);
    if crc32(&checked) != le32(header, 16) {
        return None;
    }
    let (start, count, entry) = (le64(header, 72), le32(header, 80), le32(header, 84));
    let len = u64::from(count) * u64::from(entry);
    let sane = entry >= 128 && len <= MAX_ENTRIES && (1..=last).contains(&start);
    sane.then(|| Entries { lba: start, len: len as usize, entry: entry as usize, crc: le32(header, 88) })
}

/// CRC-32 of IEEE 802.3, reflected. Bit by bit: 16 KiB take a millisecond at most, a table would take 1 KiB.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A GUID: the first three fields are little-endian (UEFI, appendix A).
fn guid(b: &[u8]) -> String {
    let tail =
        |range: std::ops::Range<usize>| b[range].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{:08x}-{:04x}-{:04x}-{}-{}", le32(b, 0), le16(b, 4), le16(b, 6), tail(8..10), tail(10..16))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::FileExt;
    use std::process::{Command, Stdio};

    fn sfdisk(name: &str, size: u64, script: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("overlayd-gpt-{}-{name}", std::process::id()));
        std::fs::File::create(&path).unwrap().set_len(size).unwrap();
        let mut child = Command::new("sfdisk")
            .args(["-q", "--no-reread", "--no-tell-kernel"])
            .arg(&path)
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
        path
    }

    fn table_in(bytes: &[u8], sector: u64) -> Option<Table> {
        let mut read = |at: u64, buf: &mut [u8]| {
            let from = bytes.get(at as usize..at as usize + buf.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
            buf.copy_from_slice(from);
            Ok(())
        };
        read_table(&mut read, bytes.len() as u64, sector).unwrap()
    }

    const SCRIPT: &str = "label: gpt\n\
        1: size=1MiB, type=U, name=esp, uuid=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n\
        3: size=1MiB, name=\"Zustand ä\", uuid=AABBCCDD-1122-3344-5566-778899aabbcc\n";

    fn check_script(table: &Table) {
        assert_eq!(table.uuid_of(1).unwrap(), "0fc63daf-8483-4772-8e79-3d69d8477de4");
        assert_eq!(table.uuid_of(3).unwrap(), "aabbccdd-1122-3344-5566-778899aabbcc");
        assert_eq!(table.name_of(1).unwrap(), "esp");
        assert_eq!(table.name_of(3).unwrap(), "Zustand ä");
        assert_eq!(table.uuid_of(2), None);
        let Table::Gpt(partitions) = table else { panic!("{table:?}") };
        assert_eq!(partitions[0].type_uuid, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
    }

    #[test]
    fn reads_what_sfdisk_wrote() {
        let path = sfdisk("gpt", 8 << 20, SCRIPT);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        check_script(&table_in(&bytes, 512).unwrap());
        // With the wrong sector size the header is not where it should be. block.rs tests 4096 on a real device.
        assert_eq!(table_in(&bytes, 4096), None);
    }

    #[test]
    fn a_damaged_header_or_entry_falls_back_to_the_copy_and_then_to_nothing() {
        let path = sfdisk("damaged", 8 << 20, SCRIPT);
        let intact = std::fs::read(&path).unwrap();
        std::fs::remove_file(path).unwrap();
        for at in [512 + 60, 1024 + 3] {
            let mut bytes = intact.clone();
            bytes[at] ^= 1;
            check_script(&table_in(&bytes, 512).unwrap());
            let end = bytes.len();
            bytes[end - 512 + 60] ^= 1;
            assert_eq!(table_in(&bytes, 512), None);
        }
    }

    #[test]
    fn dos_partitions_are_numbered_under_the_disk_identifier() {
        let path = sfdisk("dos", 8 << 20, "label: dos\nlabel-id: 0x00abcdef\nsize=1MiB\n");
        let file = std::fs::File::open(&path).unwrap();
        let mut read = |at: u64, buf: &mut [u8]| file.read_exact_at(buf, at);
        let table = read_table(&mut read, 8 << 20, 512).unwrap().unwrap();
        std::fs::remove_file(path).unwrap();
        assert_eq!(table, Table::Mbr { disk_id: 0xab_cdef });
        assert_eq!(table.uuid_of(1).unwrap(), "00abcdef-01");
        assert_eq!(table.uuid_of(12).unwrap(), "00abcdef-0c");
        assert_eq!(table.name_of(1), None);
    }

    #[test]
    fn garbage_is_no_table() {
        assert_eq!(table_in(&[0; 8192], 512), None);
        assert_eq!(table_in(&[0xff; 8192], 512), None);
        let mut header = vec![0xff; 65536];
        header[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        header[0x1c2] = 0xee;
        header[512..520].copy_from_slice(b"EFI PART");
        assert_eq!(table_in(&header, 512), None);
    }

    #[test]
    fn the_crc_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
