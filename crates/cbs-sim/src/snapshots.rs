//! Snapshots: made of backups or of disks, and come into being by the clock.
//!
//! Responsible for their states and visibility. It refuses to know quotas: `cloud` frees the place of the backup.

use jiff::{SignedDuration, Timestamp};

use crate::error::ApiError;
use crate::faults::Fate;
use crate::ledger::SnapshotRecord;
use crate::random::Random;
use crate::world::Timings;

/// All snapshots that there ever were, in the order of their creation.
#[derive(Debug)]
pub(crate) struct Snapshots {
    random: Random,
    all: Vec<Snapshot>,
}

#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) id: String,
    pub(crate) disk: String,
    pub(crate) region: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    pub(crate) deadline: Option<String>,
    backup: Option<String>,
    visible: Timestamp,
    normal: Timestamp,
    fate: Fate,
    deleted: bool,
}

/// What a snapshot is made of.
pub(crate) struct NewSnapshot<'a> {
    pub(crate) region: &'a str,
    pub(crate) disk: &'a str,
    pub(crate) backup: Option<&'a str>,
    pub(crate) name: &'a str,
    pub(crate) deadline: Option<&'a str>,
    pub(crate) fate: Fate,
}

impl Snapshot {
    fn exists(&self, now: Timestamp) -> bool {
        !self.deleted && (self.fate != Fate::Vanish || now < self.normal)
    }

    pub(crate) fn is_visible(&self, now: Timestamp) -> bool {
        self.exists(now) && now >= self.visible
    }

    pub(crate) fn is_normal(&self, now: Timestamp) -> bool {
        self.fate == Fate::Normal && now >= self.normal
    }

    pub(crate) fn state(&self, now: Timestamp) -> &'static str {
        if self.is_normal(now) { "NORMAL" } else { "CREATING" }
    }

    fn record(&self, now: Timestamp) -> SnapshotRecord {
        let state = match (self.deleted, self.exists(now)) {
            (true, _) => "DELETED",
            (false, true) => self.state(now),
            (false, false) => "VANISHED",
        };
        SnapshotRecord {
            snapshot_id: self.id.clone(),
            disk_id: self.disk.clone(),
            name: self.name.clone(),
            state: state.to_owned(),
            backup_id: self.backup.clone(),
            created: self.created,
            deadline: self.deadline.clone(),
        }
    }
}

impl Snapshots {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: Random::new(seed, 4), all: Vec::new() }
    }

    /// The new snapshot's id, and when it will be NORMAL.
    pub(crate) fn create(
        &mut self,
        new: NewSnapshot<'_>,
        timings: Timings,
        now: Timestamp,
    ) -> (String, Timestamp) {
        let id = loop {
            let id = format!("snap-{}", self.random.suffix());
            if self.all.iter().all(|snapshot| snapshot.id != id) {
                break id;
            }
        };
        let mut after = |range| {
            let span = SignedDuration::from_millis_i128(self.random.between(range).into());
            now.checked_add(span).unwrap_or(Timestamp::MAX)
        };
        let (visible, normal) = (after(timings.visible_ms), after(timings.snapshot_ms));
        self.all.push(Snapshot {
            id: id.clone(),
            disk: new.disk.to_owned(),
            region: new.region.to_owned(),
            name: new.name.to_owned(),
            created: now,
            deadline: new.deadline.map(str::to_owned),
            backup: new.backup.map(str::to_owned),
            visible,
            normal,
            fate: new.fate,
            deleted: false,
        });
        (id, normal)
    }

    /// Those of a region that listings show.
    pub(crate) fn visible<'a>(
        &'a self,
        region: &'a str,
        now: Timestamp,
    ) -> impl Iterator<Item = &'a Snapshot> {
        self.all.iter().filter(move |snapshot| snapshot.region == region && snapshot.is_visible(now))
    }

    /// Deletes all of the snapshots, or none.
    pub(crate) fn delete(&mut self, region: &str, ids: &[&str], now: Timestamp) -> Result<(), ApiError> {
        for id in ids {
            let there = self.all.iter().find(|snapshot| snapshot.region == region && snapshot.id == *id);
            let Some(snapshot) = there.filter(|snapshot| snapshot.exists(now)) else {
                return Err(snapshot_not_found(id));
            };
            if !snapshot.is_normal(now) {
                let message = format!("The snapshot `{id}` is being created.");
                return Err(ApiError::new("ResourceUnavailable.SnapshotCreating", message));
            }
        }
        for snapshot in self.all.iter_mut().filter(|snapshot| ids.contains(&snapshot.id.as_str())) {
            snapshot.deleted = true;
        }
        Ok(())
    }

    pub(crate) fn records(&self, now: Timestamp) -> Vec<SnapshotRecord> {
        self.all.iter().map(|snapshot| snapshot.record(now)).collect()
    }
}

pub(crate) fn snapshot_not_found(id: &str) -> ApiError {
    ApiError::new("InvalidSnapshotId.NotFound", format!("The snapshot `{id}` does not exist."))
}
