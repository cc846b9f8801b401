//! Follows attempts to their end: looks for those of unknown effect, asks for those that were accepted.
//!
//! Responsible for asking with as few calls as possible: one answers for a hundred backups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backup_core::run::Poll;
use backup_core::{Step, TargetName};
use tokio::sync::Notify;

use super::attend::Attend;
use super::driver::{InFlight, Task};
use super::look;
use crate::app::App;
use crate::cloud::Cloud;
use crate::journal::{Row, Stage};

/// Look-ups of one target under way at once.
const LOOKS_AT_ONCE: usize = 64;
/// Accepted backups of one target that are asked for at once.
const POLLS_AT_ONCE: usize = 1000;
/// The most ids in one call (the cloud's limit).
const IDS_IN_A_CALL: usize = 100;

/// The task.
#[derive(Default)]
pub struct Track {
    attend: Attend,
}

impl Task for Track {
    const NEEDS_CLOCK: bool = true;

    fn bell(app: &App) -> &Notify {
        &app.pokes.track
    }

    async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        let none = BTreeSet::new();
        let unresolved = self.attend.step(app, Stage::Unresolved, LOOKS_AT_ONCE, &none, in_flight).await;
        let accepted = self.attend.step(app, Stage::Accepted, POLLS_AT_ONCE, &none, in_flight).await;
        let mut polls: BTreeMap<TargetName, Vec<Row>> = BTreeMap::new();
        for (row, step) in unresolved.acts.into_iter().chain(accepted.acts) {
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
        unresolved.wait.min(accepted.wait)
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
    let mut states = Vec::with_capacity(rows.len());
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
                    states.push(run.state.clone());
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
    for state in states.iter().filter(|state| state.is_ended()) {
        app.pokes.about(state);
    }
}
