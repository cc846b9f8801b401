//! How a job on a disk stands: whether its last good backup is young enough, and what speaks against it.
//!
//! Responsible for the one answer that `status`, its exit codes, the metrics and notifications go by. It refuses to
//! say what is to be done about it.

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::run::State;

/// What is known of a job on a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// How its last run ended that has ended.
    pub last: Option<Ended>,
    /// When its last good backup became one.
    pub last_good: Option<Timestamp>,
    /// Until when an attempt of the run that waits may begin; the earliest, if several wait.
    pub deadline: Option<Timestamp>,
    /// The job or the disk is paused.
    pub is_paused: bool,
    /// The greatest age of its last good backup.
    pub objective: Option<Duration>,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ended {
    /// With a good backup.
    Completed,
    /// Without one.
    Failed,
    /// Without one, and not for a failure.
    Skipped,
}

impl Ended {
    /// How a run in this state ended; none where it has not.
    #[must_use]
    pub fn of(state: &State) -> Option<Self> {
        [Self::Completed, Self::Failed, Self::Skipped].into_iter().find(|ended| ended.name() == state.name())
    }

    /// The same by the state's name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Completed, Self::Failed, Self::Skipped].into_iter().find(|ended| ended.name() == name)
    }

    /// The state's name, as the contract has it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// How a job on a disk stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freshness {
    /// The age of its last good backup.
    pub age: Option<SignedDuration>,
    /// What speaks against it, the worst first; nothing where all is well.
    pub troubles: Vec<Trouble>,
}

/// Something that speaks against a job on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its last good backup is older than the job allows.
    Beyond {
        /// How old it is.
        age: SignedDuration,
        /// How old it may be.
        objective: Duration,
    },
    /// A run has ended, there is no good backup, and the job says how old one may be.
    NoneYet,
    /// A run is past `start_within`, and has not ended.
    Late,
    /// The last run that ended failed.
    Failed {
        /// The job says how old a good backup may be, and there is one that is not older.
        within_objective: bool,
    },
    /// The job or the disk is paused.
    Paused,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// All is well.
    #[default]
    Good,
    /// A person should know.
    Warning,
    /// The promise is broken.
    Critical,
}

impl Known {
    /// How it stands at `now`.
    #[must_use]
    pub fn judge(&self, now: Timestamp) -> Freshness {
        let age = self.last_good.map(|at| now.duration_since(at));
        let mut troubles = Vec::new();
        if let Some(objective) = self.objective {
            match age {
                Some(age) if is_longer(age, objective) => troubles.push(Trouble::Beyond { age, objective }),
                None if self.last.is_some() => troubles.push(Trouble::NoneYet),
                _ => {}
            }
        }
        let within_objective = self.objective.is_some() && troubles.is_empty();
        if self.deadline.is_some_and(|deadline| deadline < now) {
            troubles.push(Trouble::Late);
        }
        if self.last == Some(Ended::Failed) {
            troubles.push(Trouble::Failed { within_objective });
        }
        if self.is_paused {
            troubles.push(Trouble::Paused);
        }
        Freshness { age, troubles }
    }
}

/// An age that cannot be reckoned with is longer than any.
fn is_longer(age: SignedDuration, objective: Duration) -> bool {
    SignedDuration::try_from(objective).is_ok_and(|objective| age > objective)
}

impl Freshness {
    /// Whether its last good backup is older than the job allows, or is owed and missing.
    #[must_use]
    pub fn is_beyond(&self) -> bool {
        self.has(|trouble| matches!(trouble, Trouble::Beyond { .. } | Trouble::NoneYet))
    }

    /// Whether one of its troubles is such.
    #[must_use]
    pub fn has(&self, is_it: impl Fn(&Trouble) -> bool) -> bool {
        self.troubles.iter().any(is_it)
    }

    /// How bad the worst of it is.
    #[must_use]
    pub fn severity(&self) -> Severity {
        self.troubles.iter().map(Trouble::severity).max().unwrap_or_default()
    }
}

impl Trouble {
    /// How bad it is. A failure is a warning only where something else will say when it has gone on for too long.
    #[must_use]
    pub fn severity(&self) -> Severity {
        match self {
            Self::Beyond { .. } | Self::NoneYet | Self::Late | Self::Failed { within_objective: false } => {
                Severity::Critical
            }
            Self::Failed { within_objective: true } | Self::Paused => Severity::Warning,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Beyond { age, objective } => {
                let age = SignedDuration::from_mins(age.as_mins());
                let objective = SignedDuration::try_from(*objective).unwrap_or(SignedDuration::MAX);
                write!(f, "last good backup is {age:#} old, objective {objective:#}")
            }
            Self::NoneYet => f.write_str("no good backup yet"),
            Self::Late => f.write_str("past start_within, not ended"),
            Self::Failed { .. } => f.write_str("last run failed"),
            Self::Paused => f.write_str("paused"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + hours * 3600).unwrap()
    }

    fn troubles(known: Known) -> Vec<Trouble> {
        known.judge(at(0)).troubles
    }

    #[test]
    fn a_young_backup_and_an_unknown_disk_are_well() {
        let good = Known {
            last: Some(Ended::Completed),
            last_good: Some(at(-26)),
            deadline: Some(at(0)),
            is_paused: false,
            objective: Some(HOUR * 26),
        };
        let freshness = good.judge(at(0));
        assert_eq!(freshness, Freshness { age: Some(SignedDuration::from_hours(26)), troubles: Vec::new() });
        assert_eq!((freshness.severity(), freshness.is_beyond()), (Severity::Good, false));
        // Nothing was owed yet.
        assert_eq!(troubles(Known { objective: Some(HOUR), ..Known::default() }), []);
        // Without an objective no age is too great, and none is owed.
        assert_eq!(troubles(Known { objective: None, last_good: Some(at(-9_999)), ..good }), []);
        assert_eq!(troubles(Known { last: Some(Ended::Skipped), ..Known::default() }), []);
        // A clock that was set back makes a backup of tomorrow, and that is not old.
        assert_eq!(troubles(Known { last_good: Some(at(24)), ..good }), []);
    }

    #[test]
    fn each_trouble_is_named_and_weighed() {
        let good = Known { last_good: Some(at(-1)), objective: Some(HOUR * 26), ..Known::default() };
        let beyond = Known { last_good: Some(at(-27)), ..good };
        let cases: [(Known, &[Trouble], Severity, bool); 6] = [
            (
                beyond,
                &[Trouble::Beyond { age: SignedDuration::from_hours(27), objective: HOUR * 26 }],
                Severity::Critical,
                true,
            ),
            (
                Known { last: Some(Ended::Skipped), last_good: None, ..good },
                &[Trouble::NoneYet],
                Severity::Critical,
                true,
            ),
            (
                Known { deadline: Some(at(0) - Duration::from_millis(1)), ..good },
                &[Trouble::Late],
                Severity::Critical,
                false,
            ),
            (
                Known { last: Some(Ended::Failed), ..good },
                &[Trouble::Failed { within_objective: true }],
                Severity::Warning,
                false,
            ),
            (
                Known { last: Some(Ended::Failed), objective: None, ..good },
                &[Trouble::Failed { within_objective: false }],
                Severity::Critical,
                false,
            ),
            (Known { is_paused: true, ..good }, &[Trouble::Paused], Severity::Warning, false),
        ];
        for (known, expected, severity, is_beyond) in cases {
            let freshness = known.judge(at(0));
            assert_eq!(freshness.troubles, expected, "{known:?}");
            assert_eq!((freshness.severity(), freshness.is_beyond()), (severity, is_beyond), "{known:?}");
        }
    }

    #[test]
    fn the_worst_comes_first() {
        let all = Known {
            last: Some(Ended::Failed),
            last_good: Some(at(-27)),
            deadline: Some(at(-1)),
            is_paused: true,
            objective: Some(HOUR * 26),
        };
        let said: Vec<String> = troubles(all).iter().map(ToString::to_string).collect();
        let expected = [
            "last good backup is 27h old, objective 26h",
            "past start_within, not ended",
            "last run failed",
            "paused",
        ];
        assert_eq!(said, expected);
        assert_eq!(troubles(all)[2], Trouble::Failed { within_objective: false });
    }

    #[test]
    fn names_are_those_of_the_states() {
        for ended in [Ended::Completed, Ended::Failed, Ended::Skipped] {
            assert_eq!(Ended::of_name(ended.name()), Some(ended));
        }
        assert_eq!(Ended::of(&State::PLANNED), None);
        assert_eq!(Ended::of_name("tracking"), None);
        let why = crate::run::Skip::Late;
        assert_eq!(Ended::of(&State::Skipped { why }), Some(Ended::Skipped));
    }
}
