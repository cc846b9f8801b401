//! A disk's backup quota: what makes room when it is full, and when it will be.
//!
//! Responsible for choosing, from a fresh complete listing and what the journal knows, the one point that goes; and
//! for the sum of what jobs need, against what the disk may hold. It refuses to touch what is not surely ours: a point
//! goes only where a completed run of this journal names it and its job is configured, never where it bears the name
//! of the run that needs the room, and the last good backup of a disk only where the job allows a gap. A job makes room
//! among its own backups alone, save for those that no rule of their own job keeps.

mod forecast;

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::tz::TimeZone;

pub use forecast::{Coming, Demand, Forecast, Full, Need, forecast, kept_at_most};

use crate::id::{BackupId, BackupName, JobName, Owner, RunId, SnapshotId};
use crate::reconcile::Listed;
use crate::retention::{Keep, Point, PointId, Verdict, plan};
use crate::run::{Failure, Freed, Room, Run, Sighting, WhenFull};

/// A snapshot of the disk, in a fresh complete listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSnapshot {
    /// Its id.
    pub snapshot: SnapshotId,
    /// Its name, whoever gave it.
    pub name: String,
    /// Its state.
    pub sighting: Sighting,
}

/// What a decision is made from.
pub struct Shelf<'a> {
    /// The run that found the quota full.
    pub run: &'a Run,
    /// The owner that it was planned under.
    pub owner: &'a Owner,
    /// How many points the disk may have, and has by the cloud's count; none where the cloud does not say.
    pub room: Option<(u64, u64)>,
    /// All backup points of the disk.
    pub points: &'a [Listed],
    /// All snapshots of the disk, where the run promotes.
    pub snapshots: &'a [ListedSnapshot],
    /// The completed runs of the disk, by the backup that each made.
    pub known: &'a BTreeMap<BackupId, RunId>,
    /// What a job keeps on this disk and its zone; none where the job does not hold the disk (any more).
    pub rules: &'a dyn Fn(&JobName) -> Option<(Keep, TimeZone)>,
}

/// A point of ours that may go.
struct Ours<'a> {
    backup: &'a BackupId,
    run: RunId,
}

/// What makes room for the run.
#[must_use]
pub fn decide(shelf: &Shelf<'_>, now: Timestamp) -> Room {
    let Shelf { run, owner, points, .. } = shelf;
    let name = BackupName::of(owner, &run.id).to_string();
    let own = || points.iter().rev().filter(|listed| listed.name == name);
    // Of several the oldest good one, as a look-up takes it: a listing has the newest first.
    if let Some(found) = own().find(|own| own.sighting == Sighting::Normal).or(own().next()) {
        return Room::Found(found.backup.clone(), found.sighting);
    }
    if !is_full(shelf) {
        return if run.policy.when_full == WhenFull::Fail {
            Room::Fail(Failure::QuotaFull)
        } else {
            Room::Wait
        };
    }
    if let Some(Ours { backup, run }) = unkept(shelf, now) {
        let left = good(shelf, backup);
        return Room::Delete { point: backup.clone(), of: run, why: Freed::Unkept, left };
    }
    match run.policy.when_full {
        WhenFull::Fail => Room::Fail(Failure::QuotaFull),
        WhenFull::Wait => Room::Wait,
        _ if run.taken.is_some() => Room::Wait,
        WhenFull::Rotate { allow_gap } => rotate(shelf, allow_gap),
        WhenFull::Promote { .. } => promote(shelf),
    }
}

/// Whether the cloud's own figures leave it possible that the quota is full: nothing goes for a refusal that they belie.
/// Whether they count the vendor's own point is not documented, so one free place proves nothing.
fn is_full(shelf: &Shelf<'_>) -> bool {
    let listed = shelf.points.len() as u64;
    shelf.room.is_none_or(|(quota, count)| count.max(listed) + 1 >= quota)
}

fn rotate(shelf: &Shelf<'_>, allow_gap: bool) -> Room {
    let Some(Ours { backup, run }) = of_the_job(shelf).into_iter().next() else {
        return Room::Fail(Failure::QuotaHeldByOthers);
    };
    match good(shelf, backup) {
        0 if !allow_gap => Room::Fail(Failure::QuotaLastGood),
        left => Room::Delete { point: backup.clone(), of: run, why: Freed::Rotated, left },
    }
}

/// A point whose name a snapshot of the disk bears is not promoted again: that snapshot is it, or is becoming it.
fn promote(shelf: &Shelf<'_>) -> Room {
    let candidates = of_the_job(shelf);
    let is_none = candidates.is_empty();
    for Ours { backup, run } in candidates {
        let name = BackupName::of(shelf.owner, &run).to_string();
        let (point, left) = (backup.clone(), good(shelf, backup));
        match shelf.snapshots.iter().find(|snapshot| snapshot.name == name) {
            None => return Room::Promote { point, of: run, left },
            Some(ListedSnapshot { snapshot, sighting: Sighting::Unfinished, .. }) => {
                return Room::Adopt { point, of: run, snapshot: snapshot.clone(), left };
            }
            Some(_) => {}
        }
    }
    // Those that are there have their snapshots: the cloud has yet to take them away.
    if is_none { Room::Fail(Failure::QuotaHeldByOthers) } else { Room::Wait }
}

/// The good points that may go, whichever job made them, the oldest first.
fn ours<'a>(shelf: &Shelf<'a>) -> Vec<Ours<'a>> {
    let mut ours: Vec<Ours<'a>> = shelf
        .points
        .iter()
        .filter(|listed| listed.sighting == Sighting::Normal)
        .filter_map(|listed| {
            let name: BackupName = listed.name.parse().ok()?;
            let run = name.run_on(shelf.run.id.disk.clone());
            let is_ours = name.owner == *shelf.owner && shelf.known.get(&listed.backup) == Some(&run);
            is_ours.then_some(Ours { backup: &listed.backup, run })
        })
        .collect();
    ours.sort_by(|a, b| (a.run.due, a.backup).cmp(&(b.run.due, b.backup)));
    ours
}

/// Those of the run's job.
fn of_the_job<'a>(shelf: &Shelf<'a>) -> Vec<Ours<'a>> {
    let mut ours = ours(shelf);
    ours.retain(|ours| ours.run.job == shelf.run.id.job);
    ours
}

/// How many good backups of ours the disk has besides this one; snapshots too, where they were listed.
fn good(shelf: &Shelf<'_>, besides: &BackupId) -> usize {
    let is_ours = |name: &str| name.parse::<BackupName>().is_ok_and(|name| name.owner == *shelf.owner);
    let normal = |sighting: Sighting| sighting == Sighting::Normal;
    let points = shelf.points.iter().filter(|listed| listed.backup != *besides);
    let points = points.filter(|listed| normal(listed.sighting) && is_ours(&listed.name));
    let snapshots = shelf.snapshots.iter().filter(|listed| normal(listed.sighting) && is_ours(&listed.name));
    points.count() + snapshots.count()
}

/// The oldest point that no rule would keep once the run has its backup; never the newest good one that is there.
fn unkept<'a>(shelf: &Shelf<'a>, now: Timestamp) -> Option<Ours<'a>> {
    let Shelf { run, owner, points, snapshots, rules, .. } = shelf;
    let disk = &run.id.disk;
    let backups = points
        .iter()
        .map(|listed| (PointId::Backup(listed.backup.clone()), listed.name.as_str(), listed.sighting));
    // Those with a deadline do not join retention.
    let joins = !matches!(run.policy.when_full, WhenFull::Promote { keep: Some(_) });
    let snapshots = snapshots
        .iter()
        .filter(|_| joins)
        .map(|listed| (PointId::Snapshot(listed.snapshot.clone()), listed.name.as_str(), listed.sighting));
    let there: Vec<Point> = backups
        .chain(snapshots)
        .filter_map(|(id, name, sighting)| Point::of(owner, disk, id, name, sighting))
        .collect();
    // The backup that the run is to make, under an id that no other has.
    let expected = PointId::Backup("dbp-0".parse().ok()?);
    let mut all = there.clone();
    all.push(Point { id: expected, run: run.id.clone(), sighting: Sighting::Normal });
    let verdicts: BTreeMap<PointId, Verdict> = plan(&all, rules, now).into_iter().collect();
    let newest_good = there
        .iter()
        .filter(|point| point.sighting == Sighting::Normal)
        .max_by_key(|point| (&point.run.due, &point.run.job, &point.id))
        .map(|point| &point.id);
    ours(shelf).into_iter().find(|ours| {
        let id = PointId::Backup(ours.backup.clone());
        verdicts.get(&id) == Some(&Verdict::Delete) && newest_good != Some(&id)
    })
}

#[cfg(test)]
mod tests;
