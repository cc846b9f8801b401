//! What a complete listing of a disk's backups says about the journal.
//!
//! Responsible for the comparison: what was lost and is found, what is there twice, what is gone. It refuses to
//! mind backups that do not bear the owner's mark: they are somebody else's.

use std::collections::BTreeMap;

use crate::id::{BackupId, BackupName, DiskId, Owner, RunId};
use crate::run::{Run, Sighting, State};

/// A completed backup is gone when it is missing from so many complete listings in a row.
pub const GONE_AFTER: u32 = 3;

/// A backup in the listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub backup: BackupId,
    /// Its name, whoever gave it.
    pub name: String,
    /// Its state.
    pub sighting: Sighting,
}

/// A run of the disk, as the journal has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// The run.
    pub run: Run,
    /// From how many listings in a row its completed backup was missing.
    pub missing: u32,
}

/// What does not agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// A backup of ours whose run the journal does not know: the journal is new, or a copy of an older one.
    Unknown {
        /// The run, by the backup's name.
        run: RunId,
        /// The backup.
        backup: BackupId,
        /// Its state.
        sighting: Sighting,
    },
    /// The backup of a run that waits for an attempt: an earlier one had its effect after all.
    Adopted {
        /// The run.
        run: RunId,
        /// The backup.
        backup: BackupId,
        /// Its state.
        sighting: Sighting,
    },
    /// The backup of a run that had ended without one is NORMAL.
    Late {
        /// The run.
        run: RunId,
        /// The backup.
        backup: BackupId,
    },
    /// A second backup of a run.
    Twin {
        /// The run.
        run: RunId,
        /// The one that the journal does not name.
        other: BackupId,
        /// It may be removed: it is surely ours, and both are NORMAL.
        removable: bool,
    },
    /// A backup of the name of a run that cannot have made it: another installation bears our owner's mark.
    Conflict {
        /// The run.
        run: RunId,
        /// The backup.
        other: BackupId,
    },
    /// A completed backup is not in the listing.
    Missing {
        /// The run.
        run: RunId,
        /// The backup.
        backup: BackupId,
        /// From how many listings in a row, this one included.
        times: u32,
        /// No other good backup of the disk is known.
        last_good: bool,
    },
    /// A completed backup that was missing is in the listing again.
    Back {
        /// The run.
        run: RunId,
    },
}

/// Compares a complete listing of `disk`, newest first, with what the journal knows: `known` holds the runs of the
/// listed names and the completed runs of the disk that are not known to be gone.
#[must_use]
pub fn compare(owner: &Owner, disk: &DiskId, listed: &[Listed], known: &[Known]) -> Vec<Finding> {
    let mut ours: BTreeMap<RunId, Vec<&Listed>> = BTreeMap::new();
    for backup in listed {
        if let Ok(name) = backup.name.parse::<BackupName>()
            && name.owner == *owner
        {
            ours.entry(name.run_on(disk.clone())).or_default().push(backup);
        }
    }
    let runs: BTreeMap<&RunId, &Known> = known.iter().map(|known| (&known.run.id, known)).collect();
    let mut findings = Vec::new();
    for (id, backups) in &ours {
        named(id, backups, runs.get(id).map(|known| &known.run), &mut findings);
    }
    findings.extend(good(listed, known));
    findings
}

/// What the backups of one name say.
fn named(id: &RunId, backups: &[&Listed], run: Option<&Run>, findings: &mut Vec<Finding>) {
    let normal = |listed: &&&Listed| listed.sighting == Sighting::Normal;
    let kept_id = run.and_then(|run| run.state.backup());
    let kept = match kept_id {
        Some(kept) => backups.iter().find(|listed| listed.backup == *kept),
        // Newest first: of those that are good, the oldest.
        None => backups.iter().rev().find(normal).or(backups.last()),
    };
    if let Some(kept) = kept {
        let Listed { backup, sighting, .. } = (*kept).clone();
        match run.map(|run| &run.state) {
            None => findings.push(Finding::Unknown { run: id.clone(), backup, sighting }),
            Some(State::Planned { .. } | State::Absent { .. }) => {
                findings.push(Finding::Adopted { run: id.clone(), backup, sighting });
            }
            Some(State::Failed { .. } | State::Skipped { .. }) if sighting == Sighting::Normal => {
                findings.push(Finding::Late { run: id.clone(), backup });
            }
            _ => {}
        }
    }
    // An attempt whose effect is unknown has look-ups of its own.
    let settled = run.is_none_or(|run| !matches!(run.state, State::Creating { .. }));
    let attempts = run.map_or(0, |run| run.attempts);
    for other in backups.iter().filter(|other| settled && kept.is_none_or(|kept| kept.backup != other.backup))
    {
        let (run_id, other_id) = (id.clone(), other.backup.clone());
        if attempts == 1 && kept_id.is_some() {
            findings.push(Finding::Conflict { run: run_id, other: other_id });
        } else {
            let both = kept.is_some_and(|kept| normal(&kept)) && normal(&other);
            let completed = run.is_some_and(|run| matches!(run.state, State::Completed { .. }));
            let removable = both && completed && attempts >= 2;
            findings.push(Finding::Twin { run: run_id, other: other_id, removable });
        }
    }
}

/// Which completed backups are missing, or back.
fn good<'a>(listed: &'a [Listed], known: &'a [Known]) -> impl Iterator<Item = Finding> + 'a {
    let is_listed = |backup: &BackupId| listed.iter().any(|listed| listed.backup == *backup);
    let completed = known.iter().filter_map(|known| match &known.run.state {
        State::Completed { backup, .. } => Some((known, backup)),
        _ => None,
    });
    let left = completed.clone().filter(|(_, backup)| is_listed(backup)).count();
    completed.filter_map(move |(known, backup)| {
        let run = known.run.id.clone();
        match (is_listed(backup), known.missing) {
            (true, 0) => None,
            (true, _) => Some(Finding::Back { run }),
            (false, missing) => Some(Finding::Missing {
                run,
                backup: backup.clone(),
                times: missing + 1,
                last_good: left == 0,
            }),
        }
    })
}

#[cfg(test)]
mod tests;
