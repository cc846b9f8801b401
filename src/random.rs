//! Randomness: the one place of the daemon where a number is drawn.
//!
//! Responsible for jitter that can be repeated from a seed. It is not for secrets.

use std::sync::{Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// A source of random numbers.
pub struct Random(Mutex<StdRng>);

impl Random {
    /// Different in each process.
    #[must_use]
    pub fn from_system() -> Self {
        // Only jitter hangs on it: should the system have none to give, any fixed seed will do.
        let seeded = StdRng::try_from_rng(&mut rand::rngs::SysRng);
        Self(Mutex::new(seeded.unwrap_or_else(|_| StdRng::seed_from_u64(0))))
    }

    /// The same for the same seed.
    #[must_use]
    pub fn from_seed(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// The next number, evenly distributed.
    pub fn draw(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).next_u64()
    }

    /// A number of `low..=high`; `low` where that is empty.
    pub fn between(&self, (low, high): (u64, u64)) -> u64 {
        let width = high.saturating_sub(low).saturating_add(1);
        low + self.draw() % width
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&self, per_mille: u64) -> bool {
        self.draw() % 1000 < per_mille
    }

    /// One of these.
    pub fn pick<T: Copy, const N: usize>(&self, from: [T; N]) -> T {
        const { assert!(N > 0, "nothing to pick from") };
        from[(self.draw() % N as u64) as usize]
    }
}
