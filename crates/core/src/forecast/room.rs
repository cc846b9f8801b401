//! What goes: by retention, and where a quota is full.

use std::collections::{BTreeMap, HashMap};

use jiff::tz::TimeZone;

use super::report::{Trouble, What};
use super::{Shelf, World};
use crate::id::{BackupName, JobName};
use crate::quota::{self, ListedSnapshot};
use crate::reconcile::Listed;
use crate::retention::{self, Keep, Point, PointId, Verdict};
use crate::run::{Freed, Room};

impl World<'_, '_> {
    /// As retention: what no rule keeps goes.
    pub(super) fn retain(&mut self, disk: usize) {
        let plan = self.plan(disk, &self.disks[disk].known.points);
        let goes = |point: &mut Point| plan.get(&point.id) == Some(&Verdict::Delete);
        let gone: Vec<Point> = self.disks[disk].known.points.extract_if(.., goes).collect();
        self.report.deleted(self.now, gone.len());
        for point in gone {
            self.tell(disk, point.run, What::Deleted);
        }
    }

    /// As the daemon, once the cloud has said that the quota is full; whether there is room now.
    pub(super) fn make_room(&mut self, number: u64) -> bool {
        let Some(live) = self.runs.get(&number) else { return false };
        let (disk, now) = (live.disk, self.now);
        let owner = self.scene.owner;
        let points = &self.disks[disk].known.points;
        let name = |point: &Point| BackupName::of(owner, &point.run).to_string();
        let (mut listed, mut snapshots, mut known) = (Vec::new(), Vec::new(), BTreeMap::new());
        for point in points {
            let (name, sighting) = (name(point), point.sighting);
            match &point.id {
                PointId::Backup(backup) => {
                    known.insert(backup.clone(), point.run.clone());
                    listed.push(Listed { backup: backup.clone(), name, sighting });
                }
                PointId::Snapshot(snapshot) => {
                    snapshots.push(ListedSnapshot { snapshot: snapshot.clone(), name, sighting });
                }
            }
        }
        let rules = self.rules(disk);
        let shelf = quota::Shelf {
            run: &live.run,
            owner,
            room: None,
            points: &listed,
            snapshots: &snapshots,
            known: &known,
            rules: &rules,
        };
        let (goes, what) = match quota::decide(&shelf, now) {
            Room::Delete { point, why, .. } => {
                (point, if why == Freed::Rotated { What::Rotated } else { What::Deleted })
            }
            Room::Promote { point, .. } => (point, What::Promoted),
            _ => return false,
        };
        let goes = PointId::Backup(goes);
        let Some(place) = points.iter().position(|point| point.id == goes) else { return false };
        drop(rules);
        let run = if what == What::Promoted {
            let number = self.next_run;
            self.next_run += 1;
            let point = &mut self.disks[disk].known.points[place];
            if let Ok(id) = format!("snap-{number:08x}").parse() {
                point.id = PointId::Snapshot(id);
            }
            self.report.promoted(now);
            point.run.clone()
        } else {
            self.report.deleted(now, 1);
            self.disks[disk].known.points.remove(place).run
        };
        self.tell(disk, run, what);
        true
    }

    /// What jobs keep on a disk.
    fn rules(&self, disk: usize) -> impl Fn(&JobName) -> Option<(Keep, TimeZone)> {
        let shelf = &self.disks[disk];
        move |name| {
            let mut jobs = shelf.jobs.iter().map(|job| &self.scene.jobs[*job]);
            let job = jobs.find(|job| job.name == name)?;
            Some((job.keep.clone(), job.schedule.zone().clone()))
        }
    }

    /// What retention makes of these points of a disk.
    fn plan(&self, disk: usize, points: &[Point]) -> HashMap<PointId, Verdict> {
        retention::plan(points, &self.rules(disk), self.now).into_iter().collect()
    }
}

fn is_backup(point: &Point) -> bool {
    matches!(point.id, PointId::Backup(_))
}

fn backups(shelf: &Shelf) -> u64 {
    shelf.known.points.iter().filter(|point| is_backup(point)).count() as u64
}

pub(super) fn has_room(shelf: &Shelf) -> bool {
    shelf.known.quota.is_none_or(|quota| backups(shelf) + shelf.known.others < quota)
}

pub(super) fn full(shelf: &Shelf) -> Trouble {
    Trouble::QuotaFull {
        quota: shelf.known.quota.unwrap_or_default(),
        ours: backups(shelf),
        others: shelf.known.others,
    }
}
