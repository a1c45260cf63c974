//! The loop's randomness.

use uuid::Uuid;

use crate::lifecycle::Chance;

/// The loop's randomness: a small fast generator (SplitMix64: Steele, Lea and Flood, 2014), since each check of each task asks
/// for a number, and uids from the system's.
#[derive(Debug)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new() -> Self {
        Self(Uuid::new_v4().as_u64_pair().1)
    }
}

impl Chance for Dice {
    fn uuid(&mut self) -> Uuid {
        Uuid::new_v4()
    }

    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let bits = ((z ^ (z >> 31)) >> 32) as u32;
        f64::from(bits) / (f64::from(u32::MAX) + 1.0)
    }
}
