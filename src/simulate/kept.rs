//! What the daemons deleted, by the cloud's own account, and whether they might.
//!
//! Responsible for three promises: nobody else's backup goes, the newest good one of a disk stays, and so do those that
//! a job keeps. It counts for itself, by another rule than the daemon's plan.

use std::collections::{BTreeMap, BTreeSet};

use backup_core::run::State;
use backup_core::{BackupName, DiskId, JobName};
use cbs_sim::{BackupRecord, Ledger};
use jiff::Timestamp;

use super::DELETE;
use crate::config::{Config, Disks};
use crate::journal::Row;

/// What was deleted, and by which rules.
#[derive(Default)]
pub(super) struct Kept {
    deleted: BTreeSet<String>,
    foreign: Option<BTreeSet<String>>,
    /// How many the jobs keep; their rules never change.
    last: BTreeMap<JobName, usize>,
    /// How many were deleted in all.
    pub(super) count: u64,
}

impl Kept {
    /// A configuration is in force: what its jobs keep.
    pub(super) fn learn(&mut self, config: &Config) {
        for job in config.jobs.iter().filter(|job| job.keep.last > 0) {
            self.last.insert(job.name.clone(), usize::try_from(job.keep.last).unwrap_or(usize::MAX));
        }
    }

    /// Judges what was deleted since the last time.
    pub(super) fn judge(&mut self, ledger: &Ledger, wrong: &mut Vec<String>) {
        let foreign: BTreeSet<String> = ledger
            .backups
            .iter()
            .filter(|backup| is_foreign(&backup.name))
            .map(|backup| backup.backup_id.clone())
            .collect();
        if foreign != *self.foreign.get_or_insert_with(|| foreign.clone()) {
            wrong.push("a backup that is not ours has gone".to_owned());
        }
        let asked: BTreeSet<&str> = ledger
            .requests_of(DELETE)
            .filter(|request| request.executed)
            .filter_map(|request| request.backup_id.as_deref())
            .collect();
        let gone: Vec<&BackupRecord> =
            ledger.gone.iter().filter(|backup| asked.contains(backup.backup_id.as_str())).collect();
        let good: Vec<&BackupRecord> =
            ledger.backups.iter().filter(|backup| backup.state == "NORMAL").collect();
        for backup in &gone {
            self.judge_one(backup, &good, &gone, wrong);
        }
        self.count += gone.len() as u64;
        self.deleted.extend(gone.into_iter().map(|backup| backup.backup_id.clone()));
    }

    /// Judges one deletion, with what is good now and what went at the same time.
    fn judge_one(
        &self,
        backup: &BackupRecord,
        good: &[&BackupRecord],
        gone: &[&BackupRecord],
        wrong: &mut Vec<String>,
    ) {
        let Ok(name) = backup.name.parse::<BackupName>() else {
            return wrong.push(format!("a backup was deleted that is not ours: {backup:?}"));
        };
        let of_disk = |other: &&&BackupRecord| other.disk_id == backup.disk_id;
        let due = |other: &&BackupRecord| Some(other.name.parse::<BackupName>().ok()?.due);
        if !good.iter().filter(of_disk).filter_map(due).any(|good| good >= name.due) {
            wrong.push(format!("the newest good backup of its disk was deleted: {backup:?}"));
        }
        // One of two of a run goes by another rule.
        if good.iter().filter(of_disk).any(|other| other.name == backup.name) {
            return;
        }
        let of_job = |other: &&&BackupRecord| {
            other.name.parse::<BackupName>().is_ok_and(|other| other.job == name.job)
        };
        let newer: BTreeSet<Timestamp> = good
            .iter()
            .chain(gone)
            .filter(of_disk)
            .filter(of_job)
            .filter_map(due)
            .filter(|other| *other > name.due)
            .collect();
        match self.last.get(&name.job) {
            Some(last) if newer.len() >= *last => {}
            Some(last) => wrong.push(format!("one of the last {last} was deleted: {backup:?}")),
            None => wrong.push(format!("a backup of a job without `keep` was deleted: {backup:?}")),
        }
    }

    /// Whether the daemons deleted it.
    pub(super) fn has_deleted(&self, backup: &str) -> bool {
        self.deleted.contains(backup)
    }

    /// After a calm day: no disk has more good backups of a job than the rules keep, and one that is new.
    pub(super) fn conclude(&self, config: &Config, rows: &[Row], ledger: &Ledger, wrong: &mut Vec<String>) {
        let known: BTreeSet<&str> = rows
            .iter()
            .filter_map(|row| match &row.run.state {
                State::Completed { backup, .. } => Some(backup.as_str()),
                _ => None,
            })
            .collect();
        let mut counts: BTreeMap<(JobName, DiskId), usize> = BTreeMap::new();
        for backup in ledger.backups.iter().filter(|backup| known.contains(backup.backup_id.as_str())) {
            if let (Ok(name), Ok(disk)) = (backup.name.parse::<BackupName>(), backup.disk_id.parse()) {
                *counts.entry((name.job, disk)).or_default() += 1;
            }
        }
        for job in config.jobs.iter().filter(|job| job.keep.last > 0) {
            // The scene's jobs name their disks.
            let Disks::Listed(disks) = &job.disks else { continue };
            for disk in disks {
                let count = counts.get(&(job.name.clone(), disk.clone())).copied().unwrap_or_default();
                if count > 1 + self.last.get(&job.name).copied().unwrap_or_default() {
                    let (name, last) = (&job.name, job.keep.last);
                    wrong.push(format!("{count} backups of job {name} are on {disk}, which keeps {last}"));
                }
            }
        }
    }
}

/// Whether somebody else made it.
pub(super) fn is_foreign(name: &str) -> bool {
    name.parse::<BackupName>().is_err()
}
