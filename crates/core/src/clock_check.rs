//! Whether the wall clock can be believed: by the dates of the cloud's replies.
//!
//! Responsible for the verdict. It refuses to correct anything: whoever set the clock wrong may set it right.

use jiff::SignedDuration;

/// The cloud's clock and ours may differ by this: signatures are refused beyond it, and days begin elsewhere.
pub const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);

/// What the cloud's replies say about our clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They agree.
    Right,
    /// All of them disagree; the nearest says that our clock is to be moved by this.
    Wrong(SignedDuration),
    /// There was none yet.
    Unknown,
}

/// Judges by how far ahead of ours the clouds' clocks are, one figure for each that has answered. One that agrees
/// is enough: the others are wrong themselves, or seen through a proxy.
pub fn judge(ahead: impl IntoIterator<Item = SignedDuration>) -> Verdict {
    match ahead.into_iter().min_by_key(|ahead| ahead.abs()) {
        None => Verdict::Unknown,
        Some(ahead) if ahead.abs() <= TOLERANCE => Verdict::Right,
        Some(ahead) => Verdict::Wrong(ahead),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cloud_that_agrees_is_enough_and_none_says_nothing() {
        let minutes = SignedDuration::from_mins;
        assert_eq!(judge([]), Verdict::Unknown);
        assert_eq!(judge([minutes(-5)]), Verdict::Right);
        assert_eq!(judge([minutes(6)]), Verdict::Wrong(minutes(6)));
        assert_eq!(judge([minutes(60 * 24 * 365), minutes(1)]), Verdict::Right);
        assert_eq!(judge([minutes(60), minutes(-7)]), Verdict::Wrong(minutes(-7)));
    }
}
