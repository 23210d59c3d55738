//! Whether a copy fits, before it begins; and if not, what could go. Pure.

use crate::error::{Error, Kind, Result};
use crate::layer::Estimate;
use crate::store::reserve;
use crate::sys::space::Space;

/// A name takes this much in directories and in the index, with room to spare, in bytes.
const BYTES_PER_ENTRY: u64 = 256;
/// An inode takes this much where the filesystem makes them as needed (xfs 512, btrfs some more), in bytes.
const BYTES_PER_INODE: u64 = 1024;
/// The record, the index, the directories around, in inodes.
const INODES_AROUND: u64 = 16;
/// The part of the filesystem that is left free, as the journal and others write meanwhile; and its bounds in bytes.
const MARGIN_FRACTION: u64 = 128;
const MARGIN_MIN: u64 = 1 << 20;
const MARGIN_MAX: u64 = 64 << 20;

/// What a copy needs, in bytes and inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Need {
    bytes: u64,
    inodes: u64,
}

impl Need {
    /// The estimate, and what it does not count.
    pub(super) fn of(estimate: &Estimate, space: &Space, reserve_is_whole: bool) -> Need {
        let margin = (space.bytes_total / MARGIN_FRACTION).clamp(MARGIN_MIN, MARGIN_MAX);
        // The ballast for a reset has been taken out of the free space, or will have to be.
        let ballast = if reserve_is_whole { 0 } else { reserve::bytes_for(space) };
        let inode = if space.inodes_total == 0 { BYTES_PER_INODE } else { 0 };
        let around = estimate.entries * BYTES_PER_ENTRY + estimate.new_inodes * inode;
        Need {
            bytes: estimate.new_bytes + around + margin + ballast,
            inodes: estimate.new_inodes + INODES_AROUND,
        }
    }
}

/// Refuses what does not fit, with figures. `removable`: what may be deleted to make room, in words.
pub(super) fn check(need: Need, space: &Space, removable: &[String]) -> Result<()> {
    let inodes_fit = space.inodes_total == 0 || need.inodes <= space.inodes_free;
    if need.bytes <= space.bytes_free && inodes_fit {
        return Ok(());
    }
    let mut text = format!("{} are needed, {} are free", size(need.bytes), size(space.bytes_free));
    if space.inodes_total > 0 {
        text += &format!("; {} inodes are needed, {} are free", need.inodes, space.inodes_free);
    }
    Err(Error::new(Kind::InsufficientSpace, format!("the state filesystem has not enough space: {text}"))
        .remedy(remedy(removable)))
}

/// What helps.
pub(super) fn remedy(removable: &[String]) -> String {
    match removable {
        [] => "make room on the state filesystem".to_owned(),
        some => format!("to make room, {}", some.join(", or ")),
    }
}

/// `12.3 MiB`.
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut tenths = u128::from(bytes) * 10;
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ => format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(bytes_free: u64, inodes_free: u64) -> Space {
        Space { bytes_total: 1 << 30, bytes_free, inodes_total: 1000, inodes_free }
    }

    fn estimate(new_bytes: u64, new_inodes: u64) -> Estimate {
        Estimate { entries: new_inodes, bytes: new_bytes, new_inodes, new_bytes }
    }

    #[test]
    fn a_refusal_has_figures_and_says_what_can_go() {
        let roomy = space(100 << 20, 900);
        assert!(check(Need::of(&estimate(80 << 20, 100), &roomy, true), &roomy, &[]).is_ok());
        let error = check(
            Need::of(&estimate(100 << 20, 100), &roomy, true),
            &roomy,
            &["delete snapshot 3".to_owned()],
        )
        .unwrap_err();
        assert_eq!(error.kind(), Kind::InsufficientSpace);
        let text = error.to_string();
        assert!(text.contains("108.0 MiB are needed, 100.0 MiB are free"), "{text}");
        assert!(text.contains("delete snapshot 3"), "{text}");
    }

    #[test]
    fn inodes_count_where_they_are_limited() {
        let few = space(1 << 30, 50);
        let need = Need::of(&estimate(0, 60), &few, true);
        assert!(
            check(need, &few, &[]).unwrap_err().to_string().contains("76 inodes are needed, 50 are free")
        );
        let made_as_needed = Space { inodes_total: 0, ..few };
        assert!(check(need, &made_as_needed, &[]).is_ok());
    }

    #[test]
    fn the_ballast_is_kept() {
        let space = space(10 << 20, 900);
        assert!(check(Need::of(&estimate(0, 1), &space, true), &space, &[]).is_ok());
        assert!(check(Need::of(&estimate(0, 1), &space, false), &space, &[]).is_err());
    }

    #[test]
    fn sizes() {
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(1024), "1.0 KiB");
        assert_eq!(size(1536 << 10), "1.5 MiB");
    }
}
