//! The back end: disks, and backups that come into being by the clock.
//!
//! Responsible for quotas, states and visibility. It refuses to know requests, signatures and faults. Nothing
//! in it runs: what a backup is follows from `now`.

use std::collections::{BTreeMap, HashMap};

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use crate::error::ApiError;
use crate::faults::Fate;
use crate::issuer::Issuer;
use crate::ledger::BackupRecord;
use crate::random::Random;
use crate::snapshots::{NewSnapshot, Snapshots};
use crate::world::{BackupState, Choices, Disk, DiskState, Promotion, Timings};

#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) choices: Choices,
    timings: Timings,
    random: Random,
    disks: BTreeMap<String, Shelf>,
    /// The disk of each backup that was ever made or loaded.
    homes: HashMap<String, String>,
    gone: Vec<BackupRecord>,
    pub(crate) issuer: Issuer,
    pub(crate) snapshots: Snapshots,
    /// The day of the vendor's own backups.
    vendors_day: Option<Date>,
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
    rolling: Option<Rolling>,
}

/// A disk that is put back to one of its backups.
#[derive(Clone, Debug)]
struct Rolling {
    backup: String,
    began: Timestamp,
    ends: Timestamp,
}

/// What a rollback is asked for with.
pub(crate) struct Rollback<'a> {
    pub(crate) disk: &'a str,
    pub(crate) backup: &'a str,
    /// The instance is shut down first.
    pub(crate) stop: bool,
    /// And started afterwards.
    pub(crate) start: bool,
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
    /// When it has become a snapshot.
    promoted: Option<Timestamp>,
    is_vendors: bool,
    rolling_back: bool,
}

impl Backup {
    fn exists(&self, now: Timestamp) -> bool {
        (self.fate != Fate::Vanish || now < self.normal) && self.promoted.is_none_or(|at| now < at)
    }

    /// The state of one that does not exist any more, by itself.
    fn end(&self) -> &'static str {
        if self.promoted.is_some() { "PROMOTED" } else { "VANISHED" }
    }

    pub(crate) fn is_visible(&self, now: Timestamp) -> bool {
        self.exists(now) && now >= self.visible
    }

    pub(crate) fn is_normal(&self, now: Timestamp) -> bool {
        self.fate == Fate::Normal && now >= self.normal && !self.rolling_back
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

    fn rolling(&self, now: Timestamp) -> Option<&Rolling> {
        self.rolling.as_ref().filter(|rolling| now < rolling.ends)
    }

    pub(crate) fn state(&self, now: Timestamp) -> DiskState {
        if self.rolling(now).is_some() { DiskState::Rollbacking } else { self.disk.state }
    }

    /// 100 where nothing is rolled back.
    pub(crate) fn rollback_percent(&self, now: Timestamp) -> u8 {
        let Some(rolling) = self.rolling(now) else {
            return if self.disk.state == DiskState::Rollbacking { 50 } else { 100 };
        };
        let whole = rolling.ends.duration_since(rolling.began).as_millis().max(1);
        let done = now.duration_since(rolling.began).as_millis() * 100 / whole;
        u8::try_from(done.clamp(0, 99)).unwrap_or(0)
    }

    pub(crate) fn state_of(&self, backup: &Backup, now: Timestamp) -> &'static str {
        if backup.rolling_back || self.rolling(now).is_some_and(|rolling| rolling.backup == backup.id) {
            "ROLLBACKING"
        } else if backup.is_normal(now) {
            "NORMAL"
        } else {
            "CREATING"
        }
    }
}

impl Cloud {
    pub(crate) fn new(
        seed: u64,
        timings: Timings,
        choices: Choices,
        disks: Vec<Disk>,
        issuer: Issuer,
    ) -> Self {
        let mut cloud = Self {
            choices,
            timings,
            random: Random::new(seed, 1),
            disks: BTreeMap::new(),
            homes: HashMap::new(),
            gone: Vec::new(),
            issuer,
            snapshots: Snapshots::new(seed),
            vendors_day: None,
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
        let before = self.disks.remove(&id);
        let rolling = before.as_ref().and_then(|shelf| shelf.rolling.clone());
        let mut backups = before.map(|shelf| shelf.backups).unwrap_or_default();
        for backup in brought {
            if self.homes.insert(backup.id.clone(), id.clone()).is_none() {
                backups.push(Backup {
                    id: backup.id,
                    disk: id.clone(),
                    name: backup.name,
                    created: backup.created,
                    visible: backup.created,
                    normal: backup.created,
                    promoted: None,
                    is_vendors: false,
                    fate: if backup.state == BackupState::Creating { Fate::Stuck } else { Fate::Normal },
                    rolling_back: backup.state == BackupState::Rollbacking,
                });
            }
        }
        self.disks.insert(id, Shelf { disk, backups, rolling });
    }

    /// Takes a disk away, and its backups with it, as the vendor does.
    pub(crate) fn remove_disk(&mut self, id: &str, now: Timestamp) -> bool {
        let Some(shelf) = self.disks.remove(id) else { return false };
        let (there, vanished): (Vec<_>, Vec<_>) =
            shelf.backups.into_iter().partition(|backup| backup.exists(now));
        self.gone.extend(there.iter().map(|backup| backup.record("DELETED")));
        self.gone.extend(vanished.iter().map(|backup| backup.record(backup.end())));
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
        match shelf.state(now) {
            DiskState::Attached | DiskState::Unattached => {}
            DiskState::Rollbacking => return Err(disk_rollbacking(disk)),
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
            promoted: None,
            is_vendors: false,
            rolling_back: false,
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
            let rolling = self.disks.get(&backup.disk).and_then(|shelf| shelf.rolling(now));
            if backup.rolling_back || rolling.is_some_and(|rolling| rolling.backup == *id) {
                return Err(disk_rollbacking(&backup.disk));
            }
            if !backup.is_normal(now) {
                return Err(creating(id));
            }
        }
        for id in ids {
            self.take_out(id);
        }
        Ok(())
    }

    /// Turns a NORMAL backup into a snapshot. Asked for twice while the backup exists, it makes two.
    pub(crate) fn promote(
        &mut self,
        place: Place<'_>,
        new: NewSnapshot<'_>,
        now: Timestamp,
    ) -> Result<String, ApiError> {
        let Some(id) = new.backup else {
            self.disk(place, new.disk).ok_or_else(|| disk_not_found(new.disk))?;
            return Ok(self.snapshots.create(new, self.timings.clone(), now).0);
        };
        let Some(backup) = self.backup(place, id, now).filter(|backup| backup.disk == new.disk) else {
            return Err(backup_not_found(id));
        };
        if !backup.is_normal(now) {
            return Err(creating(id));
        }
        let fate = new.fate;
        let (snapshot, normal) = self.snapshots.create(new, self.timings.clone(), now);
        let promoted = match (self.choices.promotion, fate) {
            (Promotion::AtOnce, _) => Some(now),
            (Promotion::WhenNormal, Fate::Normal) => Some(normal),
            (Promotion::WhenNormal, Fate::Vanish | Fate::Stuck) => None,
        };
        let home = self.homes.get(id).and_then(|home| self.disks.get_mut(home));
        let backup = home.and_then(|shelf| shelf.backups.iter_mut().find(|backup| backup.id == id));
        if let (Some(backup), Some(at)) = (backup, promoted) {
            backup.promoted = Some(backup.promoted.map_or(at, |before| before.min(at)));
        }
        Ok(snapshot)
    }

    /// On a new day (Beijing's) the vendor deletes its backup of the day before, and makes another where there is room.
    pub(crate) fn rotate(&mut self, now: Timestamp) {
        if !self.choices.vendors_daily {
            return;
        }
        let beijing = TimeZone::fixed(Offset::constant(8));
        let today = now.to_zoned(beijing.clone()).date();
        if self.vendors_day.is_some_and(|day| day >= today) {
            return;
        }
        self.vendors_day = Some(today);
        let made = beijing.to_timestamp(today.at(0, 0, 0, 0)).unwrap_or(now);
        for (disk, shelf) in &mut self.disks {
            let old = shelf.backups.extract_if(.., |backup| backup.is_vendors);
            self.gone.extend(old.map(|backup| backup.record("DELETED")));
            if shelf.existing(now).count() >= shelf.disk.quota as usize {
                continue;
            }
            let id = format!("dbp-auto{}{:04}", today.strftime("%Y%m%d"), self.homes.len());
            self.homes.insert(id.clone(), disk.clone());
            shelf.backups.push(Backup {
                id,
                disk: disk.clone(),
                name: format!("auto_{}", today.strftime("%Y%m%d")),
                created: made,
                visible: made,
                normal: made,
                fate: Fate::Normal,
                promoted: None,
                is_vendors: true,
                rolling_back: false,
            });
        }
    }

    /// Puts a disk back to one of its backups, from now on.
    pub(crate) fn roll_back(
        &mut self,
        place: Place<'_>,
        Rollback { disk, backup, stop, start }: &Rollback<'_>,
        now: Timestamp,
    ) -> Result<(), ApiError> {
        let home = self.home_of(backup).map(str::to_owned);
        let Some(shelf) = self.disks.get_mut(*disk).filter(|shelf| place.shows(&shelf.disk)) else {
            return Err(disk_not_found(disk));
        };
        match shelf.state(now) {
            DiskState::Unattached => {}
            DiskState::Attached if *stop || shelf.disk.stopped => {}
            DiskState::Rollbacking => return Err(disk_rollbacking(disk)),
            other => {
                return Err(ApiError::new(
                    "InvalidDisk.Busy",
                    format!("The disk `{disk}` cannot be rolled back: {}.", other.name()),
                ));
            }
        }
        let Some(point) = shelf.existing(now).find(|point| point.id == *backup) else {
            return Err(match home {
                Some(other) if other != *disk => ApiError::new(
                    "ResourceUnavailable.NotSupported",
                    format!("The backup point `{backup}` is not one of the disk `{disk}`."),
                ),
                _ => backup_not_found(backup),
            });
        };
        if !point.is_normal(now) {
            return Err(ApiError::new("ResourceBusy", format!("The backup point `{backup}` is not NORMAL.")));
        }
        let span = SignedDuration::from_millis_i128(self.random.between(self.timings.rollback_ms).into());
        let ends = now.checked_add(span).unwrap_or(Timestamp::MAX);
        shelf.rolling = Some(Rolling { backup: (*backup).to_owned(), began: now, ends });
        if *stop {
            shelf.disk.stopped = !start;
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
            gone.extend(shelf.backups.extract_if(.., |b| !b.exists(now)).map(|b| b.record(b.end())));
        }
        gone
    }

    /// The backups that exist, and those that do not any more.
    pub(crate) fn records(&self, now: Timestamp) -> (Vec<BackupRecord>, Vec<BackupRecord>) {
        let all =
            || self.disks.values().flat_map(|shelf| shelf.backups.iter().map(move |backup| (shelf, backup)));
        let exist = all().filter(|(_, backup)| backup.exists(now));
        let exist = exist.map(|(shelf, backup)| backup.record(shelf.state_of(backup, now))).collect();
        let vanished =
            all().map(|(_, backup)| backup).filter(|backup| !backup.exists(now)).map(|b| b.record(b.end()));
        (exist, self.gone.iter().cloned().chain(vanished).collect())
    }
}

fn disk_rollbacking(id: &str) -> ApiError {
    ApiError::new("ResourceInUse.DiskRollbacking", format!("The disk `{id}` is being rolled back."))
}

pub(crate) fn disk_not_found(id: &str) -> ApiError {
    ApiError::new("InvalidDiskId.NotFound", format!("The disk `{id}` does not exist."))
}

fn creating(id: &str) -> ApiError {
    ApiError::new(
        "ResourceUnavailable.DiskBackupCreating",
        format!("The backup point `{id}` is being created."),
    )
}

pub(crate) fn backup_not_found(id: &str) -> ApiError {
    ApiError::new("ResourceNotFound.NotFound", format!("The backup point `{id}` does not exist."))
}
