//! How much space is enough. Pure.

use crate::sys::space::Space;

/// What is left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Enough.
    #[default]
    Enough,
    /// Somebody should make room.
    Low,
    /// Soon nothing can be written.
    Critical,
}

impl Level {
    /// The word on the bus.
    pub fn word(self) -> &'static str {
        match self {
            Level::Enough => "enough",
            Level::Low => "low",
            Level::Critical => "critical",
        }
    }
}

/// Free per mille of the state filesystem below which it is low, and critical.
const STATE: (u64, u64) = (100, 50);
/// The same of an upper in RAM: smaller, faster full, and nothing on it can give way.
const MEMORY: (u64, u64) = (200, 100);
/// So much more must be free before a level is left: what hovers at a limit is told once.
const MARGIN: u64 = 20;

/// The level, after it was `before`. `on_disk`: whether it is the state filesystem, or an upper in RAM.
pub(super) fn of(before: Level, space: &Space, on_disk: bool) -> Level {
    let (low, critical) = if on_disk { STATE } else { MEMORY };
    let margin = |level| if before >= level { MARGIN } else { 0 };
    let free = share(space.bytes_free, space.bytes_total).min(share(space.inodes_free, space.inodes_total));
    if free < critical + margin(Level::Critical) {
        Level::Critical
    } else if free < low + margin(Level::Low) {
        Level::Low
    } else {
        Level::Enough
    }
}

/// `4% of the blocks and 61% of the inodes are free`.
pub(super) fn figures(space: &Space) -> String {
    let percent = |free, total| share(free, total) / 10;
    let blocks = percent(space.bytes_free, space.bytes_total);
    match space.inodes_total {
        0 => format!("{blocks}% of the blocks are free"),
        total => {
            format!(
                "{blocks}% of the blocks and {}% of the inodes are free",
                percent(space.inodes_free, total)
            )
        }
    }
}

/// Per mille; all of it where there is no limit.
fn share(free: u64, total: u64) -> u64 {
    let share = (u128::from(free) * 1000).checked_div(u128::from(total)).unwrap_or(1000);
    u64::try_from(share).unwrap_or(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(bytes_free: u64, inodes_free: u64) -> Space {
        Space { bytes_total: 1000, bytes_free, inodes_total: 1000, inodes_free }
    }

    fn levels(free: &[u64]) -> Vec<Level> {
        let mut level = Level::Enough;
        let next = |free: &u64| {
            level = of(level, &space(*free, 900), true);
            level
        };
        free.iter().map(next).collect()
    }

    #[test]
    fn a_level_is_left_only_with_a_margin() {
        use Level::{Critical, Enough, Low};
        let seen = levels(&[500, 99, 101, 119, 120, 49, 51, 69, 70, 119, 40, 500]);
        assert_eq!(
            seen,
            [Enough, Low, Low, Low, Enough, Critical, Critical, Critical, Low, Low, Critical, Enough]
        );
    }

    #[test]
    fn inodes_count_as_blocks_do_and_memory_is_told_of_earlier() {
        assert_eq!(of(Level::Enough, &space(900, 40), true), Level::Critical);
        assert_eq!(of(Level::Enough, &space(900, 150), true), Level::Enough);
        assert_eq!(of(Level::Enough, &space(900, 150), false), Level::Low);
        assert_eq!(of(Level::Enough, &Space { inodes_total: 0, ..space(900, 0) }, true), Level::Enough);
        assert_eq!(figures(&space(40, 615)), "4% of the blocks and 61% of the inodes are free");
        assert_eq!(figures(&Space { inodes_total: 0, ..space(40, 0) }), "4% of the blocks are free");
    }
}
