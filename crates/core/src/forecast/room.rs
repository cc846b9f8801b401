//! What goes: by retention, and where a quota is full.

use std::collections::HashMap;

use super::report::{Trouble, What};
use super::{Shelf, World};
use crate::id::JobName;
use crate::retention::{self, Point, PointId, Verdict};
use crate::run::{Sighting, WhenFull};

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

    /// Deletes the oldest point that no rule would keep once this run has its backup, never the newest good one; whether
    /// there was one.
    pub(super) fn delete_unkept(&mut self, number: u64) -> bool {
        let Some(live) = self.runs.get(&number) else { return false };
        let disk = live.disk;
        let Ok(next) = "dbp-next".parse() else { return false };
        let next = Point { id: PointId::Backup(next), run: live.run.id.clone(), sighting: Sighting::Normal };
        let points = &self.disks[disk].known.points;
        let good = || points.iter().filter(|point| point.sighting == Sighting::Normal);
        let newest = good().max_by_key(|point| point.run.due).map(|point| point.id.clone());
        let with_it: Vec<Point> = points.iter().cloned().chain([next]).collect();
        let plan = self.plan(disk, &with_it);
        let oldest = good()
            .filter(|point| is_backup(point) && plan.get(&point.id) == Some(&Verdict::Delete))
            .filter(|point| newest.as_ref() != Some(&point.id))
            .min_by_key(|point| point.run.due)
            .map(|point| point.id.clone());
        let Some(place) = oldest.and_then(|id| points.iter().position(|point| point.id == id)) else {
            return false;
        };
        let gone = self.disks[disk].known.points.remove(place);
        self.report.deleted(self.now, 1);
        self.tell(disk, gone.run, What::Deleted);
        true
    }

    /// What retention makes of these points of a disk.
    fn plan(&self, disk: usize, points: &[Point]) -> HashMap<PointId, Verdict> {
        let of_disk = || self.disks[disk].jobs.iter().map(|job| &self.scene.jobs[*job]);
        let rules = |name: &JobName| {
            let job = of_disk().find(|job| job.name == name)?;
            Some((job.keep.clone(), job.schedule.zone().clone()))
        };
        retention::plan(points, &rules, self.now).into_iter().collect()
    }

    /// Takes the job's oldest point away; whether there was one that may go.
    pub(super) fn make_room(&mut self, job: usize, disk: usize, when_full: WhenFull) -> bool {
        let name = self.scene.jobs[job].name;
        let points = &mut self.disks[disk].known.points;
        let good = |point: &Point| point.sighting == Sighting::Normal;
        let all_good = points.iter().filter(|point| good(point)).count();
        let oldest = points
            .iter()
            .enumerate()
            .filter(|(_, point)| good(point) && point.run.job == *name && is_backup(point))
            .min_by_key(|(_, point)| point.run.due)
            .map(|(place, _)| place);
        match (when_full, oldest) {
            (WhenFull::Rotate { allow_gap }, Some(place)) if allow_gap || all_good > 1 => {
                let gone = points.remove(place);
                self.report.deleted(self.now, 1);
                self.tell(disk, gone.run, What::Rotated);
                true
            }
            (WhenFull::Promote { .. }, Some(place)) => {
                let number = self.next_run;
                self.next_run += 1;
                if let Ok(id) = format!("snap-{number:08x}").parse() {
                    points[place].id = PointId::Snapshot(id);
                }
                let run = points[place].run.clone();
                self.report.promoted(self.now);
                self.tell(disk, run, What::Promoted);
                true
            }
            _ => false,
        }
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
