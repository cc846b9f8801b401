//! What is seen where the daemon acts on the world: at the wire, and where the journal is written.
//!
//! Responsible for what no later look at the world could show: that a create's intent was durable when its bytes
//! left (invariant 3), and a delete's, how many creates left in a second (invariant 6), and from when on which schedule held.
//! What it finds wrong it writes down; it refuses to end anything.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup_core::retention::PointId;
use backup_core::run::State;
use backup_core::{BackupName, DiskId, JobName};
use cbs::transport::HttpRequest;
use jiff::Timestamp;

use crate::clock::{Clock, SteppedClock};
use crate::journal::{Change, Journal, Watermark};

/// The most creates of a lane in any second.
const LIMIT: usize = 20;
const SECOND: Duration = Duration::from_secs(1);
/// More is not worth reading.
const ENOUGH: usize = 50;

/// A change of what is owed.
#[derive(Clone, Debug)]
pub(super) enum Owed {
    /// A job begins on a disk, or its schedule changes, at this instant of the daemon's clock.
    From(Watermark, Timestamp),
    /// What was due so far has been planned.
    Planned(JobName, DiskId, Timestamp),
    /// A job ends on a disk, at this instant of the daemon's clock.
    No(JobName, DiskId, Timestamp),
}

/// The witness.
pub struct Witness {
    journal: Journal,
    clock: Arc<SteppedClock>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// The creates of each lane: by its caller and its host.
    last_second: BTreeMap<(String, String), VecDeque<Duration>>,
    most_in_a_second: usize,
    owed: Vec<Owed>,
    wrong: Vec<String>,
}

impl Witness {
    /// `journal` is the store itself, past every gate.
    pub(super) fn new(journal: Journal, clock: Arc<SteppedClock>) -> Self {
        Self { journal, clock, seen: Mutex::default() }
    }

    /// Writes down what is wrong.
    pub(super) fn object(&self, what: impl Into<String>) {
        let mut seen = self.seen();
        if seen.wrong.len() < ENOUGH {
            seen.wrong.push(what.into());
        }
    }

    /// What was found wrong so far.
    pub fn objections(&self) -> Vec<String> {
        self.seen().wrong.clone()
    }

    /// The most creates of one lane that left in any one second.
    pub fn most_in_a_second(&self) -> usize {
        self.seen().most_in_a_second
    }

    pub(super) fn take_owed(&self) -> Vec<Owed> {
        std::mem::take(&mut self.seen().owed)
    }

    /// A batch has become durable.
    pub(super) fn written(&self, changes: &[Change]) {
        let mut seen = self.seen();
        for change in changes {
            match change {
                Change::Plan { watermark, .. } => {
                    let Watermark { job, disk, planned_through, .. } = watermark;
                    seen.owed.push(Owed::Planned(job.clone(), disk.clone(), *planned_through));
                }
                Change::Watermarks(begun) => {
                    let now = self.clock.wall();
                    seen.owed.extend(begun.iter().cloned().map(|mark| Owed::From(mark, now)));
                }
                Change::Forget(gone) => {
                    let now = self.clock.wall();
                    seen.owed.extend(gone.iter().cloned().map(|(job, disk)| Owed::No(job, disk, now)));
                }
                _ => {}
            }
        }
    }

    /// A create is about to leave.
    pub(super) async fn create_leaves(&self, request: &HttpRequest) {
        self.count(request, self.clock.mono());
        let Some((run, name)) = run_of(request) else {
            return self.object("a create left that does not name a run");
        };
        let asked = run.clone();
        match self.journal.read(move |store| store.run(&asked)).await {
            Ok(Some(row)) if matches!(row.run.state, State::Creating { .. }) => {}
            Ok(Some(row)) => {
                let state = row.run.state.name();
                self.object(format!("create {name} left while run {run} was {state}: no durable intent"));
            }
            Ok(None) => self.object(format!("create {name} left, and there is no run {run}")),
            Err(error) => self.object(format!("run {run} could not be read: {error}")),
        }
    }

    /// A delete is about to leave.
    pub(super) async fn delete_leaves(&self, request: &HttpRequest) {
        let [point] = &points_of(request)[..] else {
            return self.object("a delete left that is not of one backup");
        };
        let asked = point.clone();
        match self.journal.read(move |store| store.deletion(&asked)).await {
            Ok(Some(_)) => {}
            Ok(None) => self.object(format!("a delete of {point} left without a durable intent")),
            Err(error) => self.object(format!("the deletion of {point} could not be read: {error}")),
        }
    }

    fn count(&self, request: &HttpRequest, now: Duration) {
        let header = |name| request.header(name).unwrap_or_default();
        let id = header("Authorization").split(['=', '/']).nth(1).unwrap_or_default();
        // The generations of a key, which `super::key` numbers, are one caller.
        let caller = id.trim_end_matches(|c: char| c.is_ascii_digit());
        let lane = (caller.to_owned(), header("Host").to_owned());
        let mut seen = self.seen();
        let last_second = seen.last_second.entry(lane).or_default();
        while last_second.front().is_some_and(|first| now.saturating_sub(*first) >= SECOND) {
            last_second.pop_front();
        }
        last_second.push_back(now);
        let count = last_second.len();
        seen.most_in_a_second = seen.most_in_a_second.max(count);
        drop(seen);
        if count > LIMIT {
            self.object(format!("{count} creates left within one second, {now:?} after the start"));
        }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn points_of(request: &HttpRequest) -> Vec<PointId> {
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let ids = body["DiskBackupIds"].as_array().cloned().unwrap_or_default();
    ids.iter().filter_map(|id| id.as_str()?.parse().ok()).collect()
}

fn run_of(request: &HttpRequest) -> Option<(backup_core::RunId, String)> {
    let body: serde_json::Value = serde_json::from_slice(&request.body).ok()?;
    let disk: DiskId = body["DiskId"].as_str()?.parse().ok()?;
    let name: BackupName = body["DiskBackupName"].as_str()?.parse().ok()?;
    Some((name.run_on(disk), name.to_string()))
}
