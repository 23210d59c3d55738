//! The sector that says that a device is being wiped: what stands at its very beginning until it is made anew.
//!
//! ```text
//!   0  16  magic, with the version
//!  16   4  CRC-32 (IEEE 802.3) of bytes 20 to 509, little-endian
//!  20   8  type of the filesystem that is to be made
//!  28  36  UUID of the filesystem that was there
//!  64  32  its label, by which the device is still found
//!  96 414  the record, as text
//! 510   2  zero: never the signature of a boot sector
//! ```
//!
//! Texts end with a NUL or their field. 512 bytes are written wholly or not at all by every device. Bytes only: it reads
//! and writes no device.

/// How large it is.
pub const SIZE: usize = 512;

const MAGIC: &[u8; 16] = b"overlayd-wipe 1\0";
const SUM: usize = 16;
const FSTYPE: std::ops::Range<usize> = 20..28;
const UUID: std::ops::Range<usize> = 28..64;
const LABEL: std::ops::Range<usize> = 64..96;
const TEXT: std::ops::Range<usize> = 96..510;

/// How many bytes of text fit.
pub const TEXT_MAX: usize = TEXT.end - TEXT.start;

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WipeSector {
    /// Type of the filesystem.
    pub fstype: String,
    /// Its UUID, as blkid prints it.
    pub uuid: String,
    /// Its label.
    pub label: String,
    /// The record; see `store::wipe_record`.
    pub text: String,
}

impl WipeSector {
    /// The bytes; none if a text does not fit its field, or holds a NUL.
    pub fn encode(&self) -> Option<[u8; SIZE]> {
        let mut sector = [0; SIZE];
        sector[..MAGIC.len()].copy_from_slice(MAGIC);
        let fields = [(FSTYPE, &self.fstype), (UUID, &self.uuid), (LABEL, &self.label), (TEXT, &self.text)];
        for (range, text) in fields {
            let bytes = text.as_bytes();
            if bytes.len() > range.len() || bytes.contains(&0) {
                return None;
            }
            sector[range.start..range.start + bytes.len()].copy_from_slice(bytes);
        }
        let sum = crc32(&sector[FSTYPE.start..TEXT.end]);
        sector[SUM..FSTYPE.start].copy_from_slice(&sum.to_le_bytes());
        Some(sector)
    }

    /// What the beginning of a device says; none unless all of it is as it was written.
    pub fn decode(bytes: &[u8]) -> Option<WipeSector> {
        let sector = bytes.get(..SIZE)?;
        if !sector.starts_with(MAGIC)
            || sector[SUM..FSTYPE.start] != crc32(&sector[FSTYPE.start..TEXT.end]).to_le_bytes()
        {
            return None;
        }
        let text = |range: std::ops::Range<usize>| {
            let field = &sector[range];
            let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
            String::from_utf8(field[..end].to_vec()).ok()
        };
        Some(WipeSector { fstype: text(FSTYPE)?, uuid: text(UUID)?, label: text(LABEL)?, text: text(TEXT)? })
    }
}

/// The CRC of Ethernet, zip and many more, bit by bit: it is computed over half a kilobyte.
fn crc32(bytes: &[u8]) -> u32 {
    let byte = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0xedb8_8320 & (sum & 1).wrapping_neg()))
    };
    !bytes.iter().fold(!0, byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sector() -> WipeSector {
        let [fstype, uuid, label] =
            ["xfs", "0b7e1c1e-8d1a-4a7e-9d5f-0a1b2c3d4e5f", "overlayd"].map(str::to_owned);
        WipeSector { fstype, uuid, label, text: "request = \"1\"\n".into() }
    }

    #[test]
    fn the_sum_is_the_usual_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }

    #[test]
    fn it_survives_the_round_trip() {
        let bytes = sector().encode().unwrap();
        assert_eq!(WipeSector::decode(&bytes), Some(sector()));
        assert_eq!(bytes[510..], [0, 0], "no boot sector");
        let full = WipeSector { text: "x".repeat(TEXT_MAX), label: "l".repeat(32), ..sector() };
        assert_eq!(WipeSector::decode(&full.encode().unwrap()), Some(full));
    }

    #[test]
    fn one_wrong_bit_anywhere_and_it_is_none() {
        let bytes = sector().encode().unwrap();
        for bit in 0..510 * 8 {
            let mut broken = bytes;
            broken[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(WipeSector::decode(&broken), None, "bit {bit}");
        }
        assert_eq!(WipeSector::decode(&bytes[..511]), None);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert_eq!(WipeSector { label: "l".repeat(33), ..sector() }.encode(), None);
        assert_eq!(WipeSector { text: "t".repeat(TEXT_MAX + 1), ..sector() }.encode(), None);
        assert_eq!(WipeSector { label: "a\0b".into(), ..sector() }.encode(), None);
    }
}
