//! The report of a simulation: one page for people, or JSON.
//!
//! Responsible for figures and their words. It refuses to judge: `judge` has.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

/// What a simulation showed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its seed.
    pub seed: u64,
    /// Simulated days.
    pub days: u32,
    /// Disks.
    pub disks: usize,
    /// SHA-256 of all that the daemons said, and when: the same for the same seed and program.
    pub fingerprint: String,
    /// Due instants of all jobs on all disks.
    pub due: u64,
    /// Runs whose backup is NORMAL.
    pub completed: u64,
    /// Due instants that nobody was there to start.
    pub misses: u64,
    /// Runs that were skipped, by reason; a row of misses counts once.
    pub skipped: BTreeMap<String, u64>,
    /// Runs that failed, by reason.
    pub failed: BTreeMap<String, u64>,
    /// Runs with more than one surviving backup.
    pub duplicates: u64,
    /// Backups that no rule kept, and that the daemons deleted.
    pub deleted: u64,
    /// Backups whose lost reply was made good by their name.
    pub adopted: u64,
    /// Runs whose end was told more than once, for a crash came between the telling and the note of it.
    pub told_again: u64,
    /// Median of the time from a run's start, or the daemon's if later, to its first attempt, in milliseconds.
    pub lag_median_ms: u64,
    /// The same, for 99 runs of 100.
    pub lag_99_ms: u64,
    /// The longest; disks that another run holds and clocks that are set make it long.
    pub lag_worst_ms: u64,
    /// Creates that arrived.
    pub creates: u64,
    /// Other requests that arrived.
    pub other_requests: u64,
    /// The most creates that the daemons released in any one second.
    pub peak_released: usize,
    /// The most creates that arrived in any one second.
    pub peak_arrivals: usize,
    /// Effect boundaries that were passed.
    pub boundaries: u64,
    /// How often a daemon was killed.
    pub crashes: u64,
    /// How often it was stopped in good order.
    pub stops: u64,
    /// How often its configuration was changed.
    pub edits: u64,
    /// How often its clock was set.
    pub steps: u64,
    /// How often its credential stopped being accepted.
    pub keys: u64,
    /// Faults that creates met, by kind.
    pub create_faults: BTreeMap<String, u64>,
    /// Faults that other requests met, by kind.
    pub other_faults: BTreeMap<String, u64>,
    /// Events of the log, by kind.
    pub events: BTreeMap<&'static str, u64>,
    /// What must not be. None in a good simulation.
    pub violations: Vec<String>,
}

impl Summary {
    /// Whether everything that must hold held.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.violations.is_empty()
    }

    /// The command that repeats it.
    #[must_use]
    pub fn command(&self) -> String {
        format!("cbs-backupd simulate --seed {} --days {} --disks {}", self.seed, self.days, self.disks)
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, days, disks, due, completed, misses, .. } = self;
        writeln!(f, "Seed {seed}: {days} days of {disks} disks.\n")?;
        let row = |f: &mut fmt::Formatter<'_>, what: &str, count: &dyn fmt::Display| {
            writeln!(f, "  {what:<34} {count:>12}")
        };
        row(f, "due", due)?;
        row(f, "completed", completed)?;
        row(f, "missed in downtime", misses)?;
        list(f, "skipped", &self.skipped)?;
        list(f, "failed", &self.failed)?;
        row(f, "made twice", &self.duplicates)?;
        row(f, "lost replies made good by name", &self.adopted)?;
        row(f, "deleted, for no rule kept them", &self.deleted)?;
        writeln!(f)?;
        row(f, "creates that arrived", &self.creates)?;
        row(f, "other requests", &self.other_requests)?;
        row(f, "most creates released in a second", &self.peak_released)?;
        row(f, "most creates arrived in a second", &self.peak_arrivals)?;
        row(f, "lag: median, ms", &self.lag_median_ms)?;
        row(f, "lag: 99 of 100, ms", &self.lag_99_ms)?;
        row(f, "lag: worst, ms", &self.lag_worst_ms)?;
        writeln!(f)?;
        row(f, "effect boundaries", &self.boundaries)?;
        row(f, "crashes", &self.crashes)?;
        row(f, "orderly stops", &self.stops)?;
        row(f, "configuration edits", &self.edits)?;
        row(f, "clock steps", &self.steps)?;
        row(f, "credential outages", &self.keys)?;
        row(f, "ends told again after a crash", &self.told_again)?;
        list(f, "faults of creates", &self.create_faults)?;
        list(f, "faults of other requests", &self.other_faults)?;
        writeln!(f, "\n  hash of the log  {}", self.fingerprint)?;
        if self.is_good() {
            return writeln!(f, "\nEvery due backup is accounted for, and none was made twice.");
        }
        writeln!(f, "\nThe promise was NOT kept:")?;
        self.violations.iter().try_for_each(|violation| writeln!(f, "  - {violation}"))?;
        writeln!(f, "\nRepeat it with:\n  {}", self.command())
    }
}

fn list(f: &mut fmt::Formatter<'_>, what: &str, counts: &BTreeMap<String, u64>) -> fmt::Result {
    writeln!(f, "  {what:<34} {:>12}", counts.values().sum::<u64>())?;
    let mut counts: Vec<_> = counts.iter().collect();
    counts.sort_by_key(|(what, count)| (std::cmp::Reverse(**count), what.as_str()));
    counts.iter().try_for_each(|(what, count)| writeln!(f, "    {what:<54} {count:>12}"))
}
