//! Spread: a stable offset for each disk, so that a job's disks do not all start at once.

use std::time::Duration;

use crate::id::JobName;

/// The offset of `id` in `job`: whole seconds from zero up to, not including, `spread`. `id` is a disk's or, where
/// disks of one instance start together, the instance's.
///
/// It is the same each day, and for ever: 64-bit FNV-1a over `job/id`, its bits mixed, modulo the seconds of
/// `spread`.
#[must_use]
pub fn offset(job: &JobName, id: &str, spread: Duration) -> Duration {
    let seconds = spread.as_secs();
    if seconds == 0 {
        return Duration::ZERO;
    }
    let bytes = job.as_str().bytes().chain([b'/']).chain(id.bytes());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    Duration::from_secs((hash ^ (hash >> 32)) % seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(disk: &str, spread: u64) -> u64 {
        offset(&"db".parse().unwrap(), disk, Duration::from_secs(spread)).as_secs()
    }

    /// These numbers may never change: every disk would start at another time.
    #[test]
    fn offsets_are_the_same_for_ever() {
        assert_eq!([of("disk-1a2b3c4d", 1800), of("disk-5e6f7a8b", 1800), of("disk-1", 86_400)], GOLDEN);
        assert_eq!(of("disk-1", 0), 0);
    }

    const GOLDEN: [u64; 3] = [372, 249, 82_331];

    #[test]
    fn offsets_fill_the_spread_evenly() {
        let mut quarters = [0; 4];
        for disk in 0..4000 {
            quarters[usize::try_from(of(&format!("disk-{disk:08x}"), 1800) / 450).unwrap()] += 1;
        }
        assert!(quarters.iter().all(|count| (900..1100).contains(count)), "{quarters:?}");
    }
}
