//! The cloud's state: disks, and backups that come and go by its clock.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use crate::world::{Between, DiskSpec, World};

/// A small generator (splitmix64): the same draws for the same seed, for ever.
#[derive(Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From 0 up to, not including, 1.
    pub(crate) fn unit(&mut self) -> f64 {
        f64::from((self.next() >> 32) as u32) / 4_294_967_296.0
    }

    pub(crate) fn between(&mut self, range: Between) -> SignedDuration {
        let span = range.to.saturating_sub(range.from).saturating_add(1);
        let millis = range.from.saturating_add(self.next() % span);
        SignedDuration::from_millis(i64::try_from(millis).unwrap_or(i64::MAX))
    }
}

/// A backup point.
#[derive(Clone, Debug)]
pub(crate) struct Backup {
    pub(crate) id: String,
    pub(crate) disk: String,
    pub(crate) name: String,
    pub(crate) created: Timestamp,
    /// Listings show it from here on.
    pub(crate) visible: Timestamp,
    /// It is NORMAL from here on; never where there is none.
    pub(crate) normal: Option<Timestamp>,
    /// It is gone from here on.
    pub(crate) gone: Option<Timestamp>,
}

impl Backup {
    pub(crate) fn is_normal(&self, now: Timestamp) -> bool {
        self.normal.is_some_and(|normal| now >= normal)
    }

    pub(crate) fn exists(&self, now: Timestamp) -> bool {
        self.gone.is_none_or(|gone| now < gone)
    }

    pub(crate) fn state(&self, now: Timestamp) -> &'static str {
        if self.is_normal(now) { "NORMAL" } else { "CREATING" }
    }

    pub(crate) fn percent(&self, now: Timestamp) -> i64 {
        let Some(normal) = self.normal else { return 50 };
        let whole = normal.duration_since(self.created).as_millis().max(1);
        let done = now.duration_since(self.created).as_millis();
        i64::try_from((done * 100 / whole).clamp(0, 100)).unwrap_or(100)
    }
}

/// What becomes of a new backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Ordinary,
    Vanishes,
    Stuck,
}

/// Disks and backups.
#[derive(Debug)]
pub(crate) struct Cloud {
    pub(crate) disks: BTreeMap<String, DiskSpec>,
    pub(crate) backups: Vec<Backup>,
    /// Where each disk's backups are in `backups`.
    of_disk: BTreeMap<String, Vec<usize>>,
    made: u64,
}

impl Cloud {
    pub(crate) fn new(world: &World) -> Self {
        let disks = world.disks.iter().map(|disk| (disk.id.clone(), disk.clone())).collect();
        Self { disks, backups: Vec::new(), of_disk: BTreeMap::new(), made: 0 }
    }

    /// The backups of a disk that exist.
    pub(crate) fn of_disk(&self, disk: &str, now: Timestamp) -> impl Iterator<Item = &Backup> {
        let indices = self.of_disk.get(disk).map(Vec::as_slice).unwrap_or_default();
        indices.iter().map(|index| &self.backups[*index]).filter(move |backup| backup.exists(now))
    }

    /// Makes a backup; its id.
    pub(crate) fn make(
        &mut self,
        disk: &str,
        name: &str,
        fate: Fate,
        world: &World,
        dice: &mut Dice,
        now: Timestamp,
    ) -> String {
        self.made += 1;
        // Looks like the cloud's: eight letters and digits.
        let id = format!("dbp-{:08x}", self.made.wrapping_mul(0x9e37_79b9) & 0xffff_ffff);
        let takes = dice.between(world.create_ms);
        let visible = later(now, dice.between(world.visible_after_ms));
        let (normal, gone) = match fate {
            Fate::Ordinary => (Some(later(now, takes)), None),
            Fate::Vanishes => (None, Some(later(now, takes / 2))),
            Fate::Stuck => (None, None),
        };
        self.of_disk.entry(disk.to_owned()).or_default().push(self.backups.len());
        self.backups.push(Backup {
            id: id.clone(),
            disk: disk.to_owned(),
            name: name.to_owned(),
            created: now,
            visible,
            normal,
            gone,
        });
        id
    }

    /// Deletes a backup.
    pub(crate) fn delete(&mut self, id: &str, now: Timestamp) {
        for backup in self.backups.iter_mut().filter(|backup| backup.id == id) {
            backup.gone = Some(now);
        }
    }
}

fn later(now: Timestamp, by: SignedDuration) -> Timestamp {
    now.saturating_add(by).unwrap_or(Timestamp::MAX)
}
