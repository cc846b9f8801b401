//! The back end: disks, and backups that come into being by the clock.
//!
//! Responsible for quotas, states and visibility. It refuses to know requests, signatures and faults. Nothing
//! in it runs: what a backup is follows from `now`.

use std::collections::{BTreeMap, HashMap};

use jiff::{SignedDuration, Timestamp};

use crate::error::ApiError;
use crate::faults::Fate;
use crate::ledger::BackupRecord;
use crate::random::Random;
use crate::world::{Choices, Disk, DiskState, Timings};

#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) choices: Choices,
    timings: Timings,
    random: Random,
    disks: BTreeMap<String, Shelf>,
    /// The disk of each backup that was ever made or loaded.
    homes: HashMap<String, String>,
    gone: Vec<BackupRecord>,
}

/// Where a request looks, and who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) region: &'a str,
    pub(crate) caller: &'a str,
}

impl Place<'_> {
    fn shows(self, disk: &Disk) -> bool {
        disk.region == self.region && disk.account.as_deref().is_none_or(|account| account == self.caller)
    }
}

/// A disk and what is kept of it.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) disk: Disk,
    backups: Vec<Backup>,
}

#[derive(Clone, Debug)]
pub(crate) struct Backup {
    pub(crate) id: String,
    pub(crate) disk: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    visible: Timestamp,
    normal: Timestamp,
    fate: Fate,
}

impl Backup {
    fn exists(&self, now: Timestamp) -> bool {
        self.fate != Fate::Vanish || now < self.normal
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

    /// 100 once NORMAL and never before.
    pub(crate) fn percent(&self, now: Timestamp) -> i128 {
        if self.is_normal(now) {
            return 100;
        }
        let whole = self.normal.duration_since(self.created).as_millis().max(1);
        (now.duration_since(self.created).as_millis() * 100 / whole).clamp(0, 99)
    }

    fn record(&self, state: &str) -> BackupRecord {
        BackupRecord {
            backup_id: self.id.clone(),
            disk_id: self.disk.clone(),
            name: self.name.clone(),
            state: state.to_owned(),
            created: self.created,
        }
    }
}

impl Shelf {
    pub(crate) fn existing(&self, now: Timestamp) -> impl Iterator<Item = &Backup> {
        self.backups.iter().filter(move |backup| backup.exists(now))
    }
}

impl Cloud {
    pub(crate) fn new(seed: u64, timings: Timings, choices: Choices, disks: Vec<Disk>) -> Self {
        let mut cloud = Self {
            choices,
            timings,
            random: Random::new(seed, 1),
            disks: BTreeMap::new(),
            homes: HashMap::new(),
            gone: Vec::new(),
        };
        for disk in disks {
            cloud.put_disk(disk);
        }
        cloud
    }

    /// Adds a disk, or changes it: the backups that it has stay, those that it brings are added.
    pub(crate) fn put_disk(&mut self, mut disk: Disk) {
        let brought = std::mem::take(&mut disk.backups);
        let id = disk.id.clone();
        let mut backups = self.disks.remove(&id).map(|shelf| shelf.backups).unwrap_or_default();
        for backup in brought {
            if self.homes.insert(backup.id.clone(), id.clone()).is_none() {
                backups.push(Backup {
                    id: backup.id,
                    disk: id.clone(),
                    name: backup.name,
                    created: backup.created,
                    visible: backup.created,
                    normal: backup.created,
                    fate: Fate::Normal,
                });
            }
        }
        self.disks.insert(id, Shelf { disk, backups });
    }

    /// Takes a disk away, and its backups with it, as the vendor does.
    pub(crate) fn remove_disk(&mut self, id: &str, now: Timestamp) -> bool {
        let Some(shelf) = self.disks.remove(id) else { return false };
        let (there, vanished): (Vec<_>, Vec<_>) =
            shelf.backups.into_iter().partition(|backup| backup.exists(now));
        self.gone.extend(there.iter().map(|backup| backup.record("DELETED")));
        self.gone.extend(vanished.iter().map(|backup| backup.record("VANISHED")));
        true
    }

    pub(crate) fn disks_in(&self, place: Place<'_>) -> impl Iterator<Item = &Shelf> {
        self.disks.values().filter(move |shelf| place.shows(&shelf.disk))
    }

    pub(crate) fn disk(&self, place: Place<'_>, id: &str) -> Option<&Shelf> {
        self.disks.get(id).filter(|shelf| place.shows(&shelf.disk))
    }

    /// The disk that a backup belongs or belonged to.
    pub(crate) fn home_of(&self, backup: &str) -> Option<&str> {
        self.homes.get(backup).map(String::as_str)
    }

    /// Looks up a backup that exists, visible in listings or not.
    pub(crate) fn backup(&self, place: Place<'_>, id: &str, now: Timestamp) -> Option<&Backup> {
        self.disk(place, self.home_of(id)?)?.existing(now).find(|backup| backup.id == id)
    }

    pub(crate) fn create_backup(
        &mut self,
        place: Place<'_>,
        disk: &str,
        name: &str,
        now: Timestamp,
        fate: Fate,
    ) -> Result<String, ApiError> {
        let one_at_a_time = self.choices.one_creation_at_a_time;
        let Some(shelf) = self.disks.get_mut(disk).filter(|shelf| place.shows(&shelf.disk)) else {
            return Err(disk_not_found(disk));
        };
        match shelf.disk.state {
            DiskState::Attached | DiskState::Unattached => {}
            DiskState::Rollbacking => {
                return Err(ApiError::new(
                    "ResourceInUse.DiskRollbacking",
                    format!("The disk `{disk}` is being rolled back."),
                ));
            }
            other => {
                return Err(ApiError::new(
                    "InvalidDisk.Busy",
                    format!("The disk `{disk}` is busy: {}.", other.name()),
                ));
            }
        }
        if one_at_a_time && shelf.existing(now).any(|backup| !backup.is_normal(now)) {
            return Err(ApiError::new(
                "ResourceUnavailable.SnapshotCreating",
                format!("A snapshot of the disk `{disk}` is being created."),
            ));
        }
        if shelf.existing(now).count() >= shelf.disk.quota as usize {
            return Err(ApiError::new(
                "ResourceInsufficient.OverQuota",
                format!("The backup points of the disk `{disk}` exceed its quota `{}`.", shelf.disk.quota),
            ));
        }
        let id = loop {
            let id = format!("dbp-{}", self.random.suffix());
            if !self.homes.contains_key(&id) {
                break id;
            }
        };
        let mut after = |range| {
            let span = SignedDuration::from_millis_i128(self.random.between(range).into());
            now.checked_add(span).unwrap_or(Timestamp::MAX)
        };
        let backup = Backup {
            id: id.clone(),
            disk: disk.to_owned(),
            name: name.to_owned(),
            created: now,
            visible: after(self.timings.visible_ms),
            normal: after(self.timings.create_ms),
            fate,
        };
        shelf.backups.push(backup);
        self.homes.insert(id.clone(), disk.to_owned());
        Ok(id)
    }

    /// Deletes all of the backups, or none.
    pub(crate) fn delete_backups(
        &mut self,
        place: Place<'_>,
        ids: &[&str],
        now: Timestamp,
    ) -> Result<(), ApiError> {
        for id in ids {
            let Some(backup) = self.backup(place, id, now) else { return Err(backup_not_found(id)) };
            if !backup.is_normal(now) {
                return Err(ApiError::new(
                    "ResourceUnavailable.DiskBackupCreating",
                    format!("The backup point `{id}` is being created."),
                ));
            }
        }
        for id in ids {
            self.take_out(id);
        }
        Ok(())
    }

    /// Deletes one backup whatever its state, as someone else's hand would.
    pub(crate) fn remove_backup(&mut self, id: &str, now: Timestamp) -> bool {
        let exists = self.home_of(id).and_then(|home| self.disks.get(home));
        exists.is_some_and(|shelf| shelf.existing(now).any(|backup| backup.id == id)) && self.take_out(id)
    }

    fn take_out(&mut self, id: &str) -> bool {
        let Some(shelf) = self.homes.get(id).and_then(|home| self.disks.get_mut(home)) else { return false };
        let Some(at) = shelf.backups.iter().position(|backup| backup.id == id) else { return false };
        self.gone.push(shelf.backups.remove(at).record("DELETED"));
        true
    }

    /// Forgets the backups that do not exist any more, and names them a last time.
    pub(crate) fn take_gone(&mut self, now: Timestamp) -> Vec<BackupRecord> {
        let mut gone = std::mem::take(&mut self.gone);
        for shelf in self.disks.values_mut() {
            gone.extend(shelf.backups.extract_if(.., |b| !b.exists(now)).map(|b| b.record("VANISHED")));
        }
        gone
    }

    /// The backups that exist, and those that do not any more.
    pub(crate) fn records(&self, now: Timestamp) -> (Vec<BackupRecord>, Vec<BackupRecord>) {
        let all = || self.disks.values().flat_map(|shelf| &shelf.backups);
        let exist = all().filter(|backup| backup.exists(now)).map(|b| b.record(b.state(now))).collect();
        let vanished = all().filter(|backup| !backup.exists(now)).map(|b| b.record("VANISHED"));
        (exist, self.gone.iter().cloned().chain(vanished).collect())
    }
}

pub(crate) fn disk_not_found(id: &str) -> ApiError {
    ApiError::new("InvalidDiskId.NotFound", format!("The disk `{id}` does not exist."))
}

pub(crate) fn backup_not_found(id: &str) -> ApiError {
    ApiError::new("ResourceNotFound.NotFound", format!("The backup point `{id}` does not exist."))
}
