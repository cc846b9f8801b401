//! Follows attempts to their end: looks for those of unknown effect, asks for those that were accepted.
//!
//! Responsible for asking with as few calls as possible: one answers for a hundred backups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backup_core::run::Poll;
use backup_core::{Step, TargetName};

use super::attend::Attend;
use super::driver::{InFlight, Task};
use super::look;
use crate::app::App;
use crate::bell::Bell;
use crate::cloud::Cloud;
use crate::journal::{Row, Stage};

/// Look-ups, and accepted backups that are asked for, of one target at once.
const AT_ONCE: &[(Stage, usize)] = &[(Stage::Unresolved, 64), (Stage::Accepted, 1000)];
/// The most ids in one call (the cloud's limit).
const IDS_IN_A_CALL: usize = 100;

/// The task.
#[derive(Default)]
pub struct Track {
    attend: Attend,
}

impl Task for Track {
    const NEEDS_CLOCK: bool = true;

    fn bell(app: &App) -> &Bell {
        &app.pokes.track
    }

    fn heeds_ends(&self) -> bool {
        self.attend.heeds_ends()
    }

    async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        let found = self.attend.step(app, AT_ONCE, &BTreeSet::new(), in_flight).await;
        let mut polls: BTreeMap<TargetName, Vec<Row>> = BTreeMap::new();
        for (row, step) in found.acts {
            match step {
                Step::Look => {
                    if let Some(cloud) = app.cloud(&row.target) {
                        in_flight.start(
                            std::slice::from_ref(&row),
                            look::look(Arc::clone(app), cloud, row.clone()),
                        );
                    }
                }
                Step::Poll => polls.entry(row.target.clone()).or_default().push(row),
                _ => {}
            }
        }
        for (target, rows) in polls {
            let Some(cloud) = app.cloud(&target) else { continue };
            for rows in rows.chunks(IDS_IN_A_CALL) {
                in_flight.start(rows, poll(Arc::clone(app), cloud.clone(), rows.to_vec()));
            }
        }
        found.wait
    }
}

/// Asks for the backups of these runs, all in one call, and records the answer for each.
async fn poll(app: Arc<App>, cloud: Cloud, rows: Vec<Row>) {
    let ids: Vec<_> = rows.iter().filter_map(|row| row.run.state.backup().cloned()).collect();
    let answers = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        answers = cloud.poll(&ids) => answers,
    };
    let now = app.now();
    let mut runs = Vec::with_capacity(rows.len());
    let saves: Vec<_> = rows
        .into_iter()
        .filter_map(|row| {
            let poll = match &answers {
                Ok(seen) => row
                    .run
                    .state
                    .backup()
                    .and_then(|id| seen.get(id))
                    .map_or(Poll::Missing, |seen| Poll::Seen(*seen)),
                Err(_) => Poll::Unanswered,
            };
            match row.run.polled(&now, poll) {
                Ok(run) => {
                    runs.push(run.clone());
                    Some(app.persist(app.saving(run)))
                }
                Err(error) => {
                    app.fault(&error);
                    None
                }
            }
        })
        .collect();
    futures_util::future::join_all(saves).await;
    if let Err(problem) = answers {
        tracing::debug!("backups could not be asked for: {problem}");
    }
    runs.iter().for_each(|run| app.ring_about(run));
}
