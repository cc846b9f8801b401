//! Finds the runs that want something done, and what.
//!
//! Responsible for the part that tasks over runs share: ask the journal, ask `backup_core`, leave the others
//! until their instant. It refuses to act.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use backup_core::{Facts, RunId, Step, TargetName, next_step};
use jiff::Timestamp;

use super::driver::InFlight;
use crate::app::App;
use crate::journal::{Asked, Change, Row, Stage, Store};
use crate::report::{Event, Kind};

/// What was found.
pub struct Found {
    /// Runs with something to do now.
    pub acts: Vec<(Row, Step)>,
    /// How long until another may have.
    pub wait: Duration,
}

/// Attends to the runs of some stages.
#[derive(Default)]
pub struct Attend {
    /// Rows already reported as unreadable.
    unreadable: HashSet<String>,
    /// The end of a call makes room for more, or lets go of a run that something has happened to meanwhile.
    heeds_ends: bool,
}

impl Attend {
    /// The runs of these stages with something to do now; per target at most so many of a stage, less those under way.
    /// Targets that are `full` are passed over: the end of a call makes room, and wakes the task.
    pub async fn step(
        &mut self,
        app: &Arc<App>,
        stages: &'static [(Stage, usize)],
        full: &BTreeSet<TargetName>,
        in_flight: &InFlight,
    ) -> Found {
        let mut found = Found { acts: Vec::new(), wait: Duration::MAX };
        let settings = app.settings();
        let now = app.now();
        // Those under way, and those that cannot be read, are found too: they must not hide the others.
        let hidden = self.unreadable.len();
        let asked = |target: &TargetName| {
            let hidden = hidden + in_flight.claimed_of(target);
            let target = target.clone();
            stages.iter().map(move |(stage, at_once)| Asked {
                target: target.clone(),
                stage: *stage,
                limit: at_once + hidden,
            })
        };
        let targets = settings.clouds.keys().filter(|target| !full.contains(*target));
        let (asked, claimed): (Vec<_>, _) = (targets.flat_map(asked).collect(), in_flight.claimed());
        let limits: Vec<usize> = asked.iter().map(|asked: &Asked| asked.limit).collect();
        self.heeds_ends = !full.is_empty();
        let read = move |store: &mut dyn Store| {
            let has_changed = Cell::new(false);
            let is_claimed = |run: &RunId, version: i64| {
                let claim = claimed.get(run);
                has_changed.set(has_changed.get() || claim.is_some_and(|claim| claim.version != version));
                claim.is_some()
            };
            let answers = store.to_attend(&asked, now.wall, &is_claimed)?;
            Ok((answers, has_changed.get()))
        };
        let answers = match app.parts.journal.read(read).await {
            Ok((answers, has_changed)) => {
                self.heeds_ends |= has_changed;
                answers
            }
            Err(error) => {
                app.journal_fault(&error);
                found.wait = Duration::from_secs(1);
                return found;
            }
        };
        let (mut later, mut hides_others) = (Vec::new(), false);
        for ((attend, limit), (_, at_once)) in answers.into_iter().zip(limits).zip(stages.iter().cycle()) {
            let all = attend.excepted + attend.runs.len() + attend.unreadable.len();
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
                    _ => {}
                }
            }
            self.heeds_ends |= free == 0;
            hides_others |= free > 0 && all >= limit;
            if let Some(next) = attend.next {
                found.wait =
                    found.wait.min(Duration::try_from(next.duration_since(now.wall)).unwrap_or_default());
            }
        }
        // A hint: should it not be written, the runs are found again and wait again.
        if !later.is_empty() && app.write(Change::Attend(later)).await.is_ok() && hides_others {
            // As many as were asked for must wait, and are out of the way now.
            found.wait = Duration::ZERO;
        }
        found
    }

    /// See [`Task::heeds_ends`](super::driver::Task::heeds_ends).
    #[must_use]
    pub fn heeds_ends(&self) -> bool {
        self.heeds_ends
    }
}
