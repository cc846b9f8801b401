//! The simulator's own randomness: splitmix64, so that a seed means the same for ever and everywhere.

/// A stream of pseudo-random numbers; equal seeds give equal streams.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    /// The stream for one `purpose` under `seed`: drawing from one purpose does not move another.
    pub(crate) fn new(seed: u64, purpose: u64) -> Self {
        let mut random = Self(seed ^ purpose.wrapping_mul(0xD6E8_FEB8_6659_FD93));
        random.next();
        random
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number of `low..=high`; `low` where that is empty.
    pub(crate) fn between(&mut self, (low, high): (u64, u64)) -> u64 {
        let drawn = self.next();
        match high.saturating_sub(low).checked_add(1) {
            Some(width) => low + drawn % width,
            None => drawn,
        }
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        // The upper 53 bits are exactly what an f64 can hold.
        #[expect(clippy::cast_precision_loss, reason = "53 bits fit")]
        let drawn = (self.next() >> 11) as f64 / (1_u64 << 53) as f64;
        drawn < p
    }

    /// Eight letters and digits, as the vendor's ids end.
    pub(crate) fn suffix(&mut self) -> String {
        const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
        (0..8).map(|_| char::from(DIGITS[(self.next() % 36) as usize])).collect()
    }

    /// In the shape of a UUID, as the vendor's request ids are.
    pub(crate) fn uuid(&mut self) -> String {
        let (a, b) = (self.next(), self.next());
        format!(
            "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
            a >> 32,
            (a >> 16) & 0xFFFF,
            a & 0xFFFF,
            b >> 48,
            b & 0xFFFF_FFFF_FFFF
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_means_the_same_for_ever() {
        // The first outputs of splitmix64 seeded with 0, from its reference implementation.
        let mut random = Random(0);
        assert_eq!(random.next(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(random.next(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn draws_stay_in_their_range_and_purposes_do_not_move_each_other() {
        let mut random = Random::new(7, 1);
        assert!((0..1000).all(|_| (3..=5).contains(&random.between((3, 5)))));
        assert_eq!(random.between((9, 2)), 9);
        assert!((0..100).all(|_| random.chance(1.0) && !random.chance(0.0)));
        assert_ne!(Random::new(7, 1).next(), Random::new(7, 2).next());
    }
}
