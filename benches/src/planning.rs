//! A planning pass: what is due of all there is becomes runs, in one write with the moved watermarks.

use std::collections::BTreeMap;
use std::sync::Arc;

use backup_core::run::Skip;
use cbs_backupd::app::Settings;
use cbs_backupd::journal::{Change, Inventory, Sqlite, Store, Watermark};
use cbs_backupd::tasks::plan::plan;

use crate::{config, disk, due, job, yaml};

/// As many watermarks as the daemon moves in one batch.
const BATCH: usize = 1000;

/// A journal with so many disks, of which so many are due each day.
pub struct Planning {
    journal: Sqlite,
    settings: Settings,
    due: usize,
    day: u32,
}

impl Planning {
    /// The others are due in years.
    #[must_use]
    pub fn new(disks: usize, due_at_once: usize) -> Self {
        let config = config(&yaml(1));
        let schedule = config.jobs[0].schedule.to_string();
        let mark = |number| Watermark {
            job: job(),
            disk: disk(number),
            schedule: schedule.clone(),
            planned_through: due(0),
            next_due: Some(due(if number < due_at_once { 1 } else { 10_000 })),
        };
        let mut journal = Sqlite::in_memory().unwrap();
        for first in (0..disks).step_by(BATCH) {
            let marks = (first..disks.min(first + BATCH)).map(mark).collect();
            journal.apply(&[Change::Watermarks(marks)]).unwrap();
        }
        let settings = Settings::new(Arc::new(config), BTreeMap::new(), &Inventory::default());
        Self { journal, settings, due: due_at_once, day: 0 }
    }

    /// The next day's pass: its runs.
    pub fn turn(&mut self) -> Vec<Change> {
        self.day += 1;
        let now = due(self.day);
        let job = &self.settings.config.jobs[0];
        let marks = self.journal.due(now, BATCH).unwrap();
        let plans: Vec<Change> =
            marks.iter().map(|mark| plan(&self.settings, job, &job.schedule, mark, now)).collect();
        assert_eq!(plans.len(), self.due);
        assert!(self.journal.apply(&plans).unwrap().into_iter().all(|applied| applied));
        assert_eq!(self.journal.next_due().unwrap(), Some(due(self.day + 1)));
        plans
    }

    /// Ends these runs, so that the next pass finds things as this one did.
    pub fn end(&mut self, plans: Vec<Change>) {
        let rows = plans.into_iter().flat_map(|plan| match plan {
            Change::Plan { rows, .. } => rows,
            other => panic!("{other:?}"),
        });
        let now = due(self.day);
        let ended = rows.map(|row| Change::SaveWaiting {
            run: row.run.skip(Skip::Removed).unwrap(),
            attend_at: now,
            now,
        });
        self.journal.apply(&ended.collect::<Vec<_>>()).unwrap();
    }
}
