//! Finds the runs that want something done, and what.
//!
//! Responsible for the part that tasks over runs share: ask the journal, ask `backup_core`, leave the others
//! until their instant. It refuses to act.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use backup_core::{Facts, RunId, Step, TargetName, next_step};
use jiff::Timestamp;

use super::driver::InFlight;
use crate::app::App;
use crate::journal::{Change, Row, Stage};
use crate::report::{Event, Kind};

/// What was found.
pub struct Found {
    /// Runs with something to do now.
    pub acts: Vec<(Row, Step)>,
    /// How long until another may have.
    pub wait: Duration,
}

/// Attends to the runs of a stage.
#[derive(Default)]
pub struct Attend {
    /// Rows already reported as unreadable.
    unreadable: HashSet<String>,
}

impl Attend {
    /// The runs of `stage` with something to do now; per target at most `at_once`, less those under way. Targets
    /// that are `full` are passed over: the end of a call makes room, and wakes the task.
    pub async fn step(
        &mut self,
        app: &Arc<App>,
        stage: Stage,
        at_once: usize,
        full: &BTreeSet<TargetName>,
        in_flight: &InFlight,
    ) -> Found {
        let mut found = Found { acts: Vec::new(), wait: Duration::MAX };
        let settings = app.settings();
        let mut later = Vec::new();
        for target in settings.clouds.keys().filter(|target| !full.contains(*target)) {
            let now = app.now();
            // Those under way, and those that cannot be read, are found too: they must not hide the others.
            let limit = at_once + in_flight.claimed_of(target) + self.unreadable.len();
            let (asked, claimed) = (target.clone(), in_flight.claimed());
            let answer = app
                .parts
                .journal
                .read(move |store| {
                    let is_claimed = |run: &RunId| claimed.contains_key(run);
                    store.to_attend(&asked, stage, now.wall, limit, &is_claimed)
                })
                .await;
            let attend = match answer {
                Ok(answer) => answer,
                Err(error) => {
                    app.journal_fault(&error);
                    found.wait = found.wait.min(Duration::from_secs(1));
                    continue;
                }
            };
            for error in attend.unreadable {
                if self.unreadable.insert(error.to_string()) {
                    app.say(&Event::new(Kind::JournalUnreadable, error.to_string()));
                }
            }
            let mut free = at_once.saturating_sub(attend.excepted);
            for (row, facts) in attend.runs {
                let job = settings.config.jobs.iter().find(|job| job.name == row.run.id.job);
                let held_until = job.and_then(|job| job.held_until(now.wall, row.run.start_at));
                match next_step(&row.run, &now, Facts { held_until, ..facts }) {
                    Step::Wait(wait) => {
                        later.push((row, now.wall.saturating_add(wait).unwrap_or(Timestamp::MAX)));
                        found.wait = found.wait.min(wait);
                    }
                    step if free > 0 => {
                        free -= 1;
                        found.acts.push((row, step));
                    }
                    // The end of a call makes room, and wakes the task.
                    _ => {}
                }
            }
            if let Some(next) = attend.next {
                found.wait =
                    found.wait.min(Duration::try_from(next.duration_since(now.wall)).unwrap_or_default());
            }
        }
        if !later.is_empty() {
            // A hint: should it not be written, the runs are found again and wait again.
            let _ = app.write(Change::Attend(later)).await;
        }
        found
    }
}
