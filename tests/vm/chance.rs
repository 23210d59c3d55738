//! Random moments, which can be had again: a failure tells the seed.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Where a seed can be given: a number.
const SEED: &str = "OVERLAYD_CUTS_SEED";

/// Knuth's MMIX generator: its high bits are random enough for this.
pub(crate) struct Chance {
    /// What it began with.
    pub(crate) seed: u64,
    state: u64,
}

impl Chance {
    /// Of the seed that is given, or of the time; of each name another one.
    pub(crate) fn new(name: &str) -> Chance {
        let given = std::env::var(SEED)
            .ok()
            .map(|text| text.parse().unwrap_or_else(|error| panic!("{SEED}={text:?} is no number: {error}")));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let seed = given.unwrap_or(now.as_nanos() as u64 % 1_000_000_000);
        // FNV-1a.
        let state = name.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        Chance { seed, state }
    }

    /// A part of the limit.
    pub(crate) fn below(&mut self, limit: Duration) -> Duration {
        limit.mul_f64(self.part())
    }

    /// One of so many.
    #[cfg(feature = "test-full")]
    pub(crate) fn index(&mut self, count: usize) -> usize {
        ((self.part() * count as f64) as usize).min(count.saturating_sub(1))
    }

    fn part(&mut self) -> f64 {
        self.state =
            self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 11) as f64 / (1u64 << 53) as f64
    }
}
