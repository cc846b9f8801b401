//! The life of a run, and what the journal writes of it.

use std::path::Path;
use std::time::Duration;

use backup_core::retention::PointId;
use backup_core::retry::RetryPolicy;
use backup_core::run::{Poll, Reply, Sighting};
use backup_core::{DiskId, Now, Run, RunId, TargetName};
use cbs_backupd::config::Config;
use cbs_backupd::journal::{Asked, Change, Filter, Row, Sqlite, Stage, Store, Watermark};
use cbs_backupd::tasks::plan::PlannedBy;
use jiff::Timestamp;

use crate::{DUE, config, disk, due, job, yaml};

/// So many seconds after the first due instant, in a process that started a minute before.
pub(crate) fn now(second: u64) -> Now {
    let at = |second: i64| Timestamp::from_second(DUE + second).unwrap();
    Now {
        wall: at(i64::try_from(second).unwrap()),
        epoch: 1,
        up: Duration::from_secs(60 + second),
        started: at(-60),
    }
}

/// Planned, begun, accepted, completed.
pub(crate) fn life(disk: &DiskId, day: u32) -> [Run; 4] {
    let config = config(&yaml(1));
    live(row(&config, disk, day).run)
}

fn live(planned: Run) -> [Run; 4] {
    let backup = format!("dbp-{:08x}", planned.id.due.as_second() & 0xffff_ffff).parse().unwrap();
    let begun = planned.clone().begin(&now(0)).unwrap();
    let accepted = begun.clone().reply(&now(1), Reply::Accepted(backup), 0, &RetryPolicy::default()).unwrap();
    let completed = accepted.clone().polled(&now(10), Poll::Seen(Sighting::Normal)).unwrap();
    [planned, begun, accepted, completed]
}

fn row(config: &Config, disk: &DiskId, day: u32) -> Row {
    let id = RunId { job: job(), disk: disk.clone(), due: due(day) };
    PlannedBy::job(config, &config.jobs[0]).row(id, due(day))
}

/// A journal in which runs come and go, one at a time.
pub struct Writes {
    journal: Sqlite,
    config: Config,
    disk: DiskId,
    schedule: String,
    day: u32,
}

impl Writes {
    /// In memory, or in the file at `path`, whatever that has already.
    #[must_use]
    pub fn new(path: Option<&Path>) -> Self {
        let journal = path.map_or_else(Sqlite::in_memory, Sqlite::open).unwrap();
        let config = config(&yaml(1));
        // One that no other journal has.
        let disk = disk(0xffff_fff0);
        let schedule = config.jobs[0].schedule.to_string();
        let mut writes = Self { journal, config, disk, schedule, day: 0 };
        let mark = writes.watermark();
        writes.journal.apply(&[Change::Watermarks(vec![mark])]).unwrap();
        // After those that an earlier one left.
        while writes.journal.run(&writes.next()).unwrap().is_some() {
            writes.day += 1;
        }
        writes
    }

    fn next(&self) -> RunId {
        RunId { job: job(), disk: self.disk.clone(), due: due(self.day + 1) }
    }

    fn watermark(&self) -> Watermark {
        Watermark {
            job: job(),
            disk: self.disk.clone(),
            schedule: self.schedule.clone(),
            planned_through: due(self.day),
            next_due: Some(due(self.day + 1)),
        }
    }

    /// All that is written of the next run, each change durable before the next: planned, begun, accepted, completed,
    /// told.
    pub fn turn(&mut self) {
        self.day += 1;
        let planned = row(&self.config, &self.disk, self.day);
        let [_, begun, accepted, completed] = live(planned.run.clone());
        let id = begun.id.clone();
        let (attend_at, at) = (now(20).wall, now(10).wall);
        let changes = [
            Change::Plan { rows: vec![planned], watermark: self.watermark() },
            Change::Begin { run: begun, attend_at, now: at },
            Change::Save { run: accepted, attend_at, now: at },
            Change::Save { run: completed, attend_at, now: at },
            Change::Reported(vec![id]),
        ];
        for change in changes {
            assert_eq!(self.journal.apply(std::slice::from_ref(&change)).unwrap(), [true], "{change:?}");
        }
    }
}

/// A journal of so many runs that have ended, whose backups are deleted.
pub struct Looks {
    writes: Writes,
}

impl Looks {
    /// After so many.
    #[must_use]
    pub fn after(runs: usize) -> Self {
        let mut writes = Writes::new(None);
        for _ in 0..runs {
            let run = writes.next();
            writes.turn();
            let point =
                PointId::Backup(format!("dbp-{:08x}", run.due.as_second() & 0xffff_ffff).parse().unwrap());
            let at = now(10).wall;
            let gone = [Change::Delete { point: point.clone(), run, at }, Change::Deleted(point, at)];
            assert_eq!(writes.journal.apply(&gone).unwrap(), [true, true]);
        }
        assert_eq!(writes.journal.apply(&[Change::CaughtUp]).unwrap(), [true]);
        Self { writes }
    }

    /// What a daemon asks whenever it starts, or its tasks wake, and finds nothing to do.
    pub fn turn(&mut self) {
        let Writes { journal, disk, day, .. } = &mut self.writes;
        let (now, target): (_, TargetName) = (now(20).wall, "default".parse().unwrap());
        journal.begin_epoch().unwrap();
        let stages = [Stage::Waiting, Stage::Unresolved, Stage::Accepted, Stage::Room];
        let asked = stages.map(|stage| Asked { target: target.clone(), stage, limit: 100 });
        let found = journal.to_attend(&asked, now, &|_, _| false).unwrap();
        assert!(found.iter().all(|found| found.runs.is_empty()));
        assert_eq!(journal.open_counts().unwrap(), []);
        assert_eq!(journal.waiting().unwrap(), []);
        assert_eq!(journal.unreported(100).unwrap(), []);
        assert_eq!(journal.full(&target).unwrap(), []);
        assert_eq!(journal.deadlines().unwrap(), []);
        assert_eq!(journal.good_counts().unwrap(), []);
        assert_eq!(journal.to_compare(disk, &[]).unwrap(), []);
        assert_eq!(journal.promoted(disk).unwrap(), []);
        assert_eq!(journal.pending_deletions(disk).unwrap(), []);
        assert_eq!(journal.completed_since(now).unwrap(), []);
        assert_eq!(journal.recovered_through(&job(), disk).unwrap(), None);
        assert_eq!(journal.under_way(disk).unwrap(), None);
        assert!(journal.jobs_under_way().unwrap().is_empty());
        assert_eq!(journal.rounds(&job(), due(*day)).unwrap().len(), 1);
        assert_eq!(journal.without_backup(&job(), due(*day), 100).unwrap(), []);
        assert_eq!(journal.next_due().unwrap(), Some(due(*day + 1)));
        let before = due(0).checked_sub(Duration::from_secs(86_400)).unwrap();
        assert_eq!(journal.apply(&[Change::Compact { before }]).unwrap(), [false]);
    }
}

impl Drop for Writes {
    /// Leaves a file as it was found, but for its finished runs.
    fn drop(&mut self) {
        let _ = self.journal.apply(&[Change::Forget(vec![(job(), self.disk.clone())])]);
    }
}

/// A journal's file with a completed run of each of so many disks, as `status` reads it beside the daemon.
pub struct Standings {
    reader: Sqlite,
    disks: usize,
    _folder: tempfile::TempDir,
}

impl Standings {
    /// Of so many disks.
    #[must_use]
    pub fn new(disks: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.sqlite3");
        let config = config(&yaml(1));
        let schedule = config.jobs[0].schedule.to_string();
        let mut journal = Sqlite::open(&path).unwrap();
        for number in 0..disks {
            let mark = Watermark {
                job: job(),
                disk: disk(number),
                schedule: schedule.clone(),
                planned_through: due(0),
                next_due: Some(due(1)),
            };
            let planned = row(&config, &disk(number), 0);
            let [_, begun, accepted, completed] = live(planned.run.clone());
            let at = now(10).wall;
            let changes = [
                Change::Watermarks(vec![mark]),
                Change::Ask(planned),
                Change::Begin { run: begun, attend_at: at, now: at },
                Change::Save { run: accepted, attend_at: at, now: at },
                Change::Save { run: completed, attend_at: at, now: at },
            ];
            assert_eq!(journal.apply(&changes).unwrap(), [true; 5]);
        }
        let reader = Sqlite::open_to_read(&path).unwrap().unwrap();
        Self { reader, disks, _folder: folder }
    }

    /// How all of them stand.
    pub fn turn(&self) {
        let standings = self.reader.standings().unwrap();
        assert!(
            standings.len() == self.disks && standings.iter().all(|standing| standing.last_good.is_some())
        );
    }

    /// What became of one of the disks, as `history` reads it.
    pub fn history(&self) {
        let filter = Filter { disk: Some(disk(0)), limit: 100, ..Filter::default() };
        assert_eq!(self.reader.history(&filter).unwrap().len(), 1);
    }
}
