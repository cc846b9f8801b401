//! Deletes what no rule keeps: at the start, when a run has completed, and a few times a day, for time passes too.
//!
//! Responsible for when a disk is looked at, and for the requests of commands that are about what the cloud keeps.
//! What is judged and deleted, and how, is in `pass`. It refuses to act while the clock cannot be believed, and to
//! delete while the journal is behind the cloud.

mod answer;
mod pass;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup_core::{DiskId, TargetName};
use jiff::{SignedDuration, Timestamp};

use super::driver::{InFlight, Task};
use crate::app::App;
use crate::bell::Bell;
use crate::journal::{Request, SharedError, Which};

pub(super) use pass::account;
use pass::{Gate, pass};

/// How often a disk is looked at when none of its runs completes.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// After a look that failed; after each that fails in a row, twice as long …
const SHORTEST_PAUSE: Duration = Duration::from_secs(60);
/// … but no longer.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// While the journal cannot be read.
const HOP: Duration = Duration::from_secs(1);
/// Disks listed in one call: the fewest values that any of the cloud's filters is known to take.
const AT_ONCE: usize = 5;
/// A run may be written down so much later than it ended.
const OVERLAP: SignedDuration = SignedDuration::from_secs(60);

type Key = (TargetName, DiskId);

/// The task.
#[derive(Default)]
pub struct Retain {
    /// It carries out what commands ask for, and nothing else.
    requests_alone: bool,
    /// Runs that completed up to here were heeded. At first it is now: every disk is looked at then, whatever completed
    /// before, and there may be years of it.
    through: Option<Timestamp>,
    disks: Disks,
    gates: BTreeMap<TargetName, Arc<Gate>>,
    /// Requests under way.
    taken: Arc<Mutex<BTreeSet<i64>>>,
}

/// When each disk is to be looked at. A hint, like all that lives in memory: a new process looks at every disk.
type Disks = Arc<Mutex<BTreeMap<Key, When>>>;

#[derive(Clone, Copy, Default)]
struct When {
    /// Not before this, by the monotonic clock.
    next: Duration,
    /// The last completion that was heeded.
    completed: Timestamp,
    /// It is being looked at.
    busy: bool,
    /// Looks that failed in a row.
    failures: u32,
}

impl When {
    fn pause(&mut self, mono: Duration) {
        let pause = SHORTEST_PAUSE.saturating_mul(1 << self.failures.min(10)).min(LONGEST_PAUSE);
        self.failures += 1;
        self.next = mono.saturating_add(pause);
    }
}

impl Task for Retain {
    const NEEDS_CLOCK: bool = true;

    fn bell(app: &App) -> &Bell {
        &app.pokes.retain
    }

    async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        match self.look_around(app, in_flight).await {
            Ok(wait) => wait,
            Err(error) => {
                app.journal_fault(&error);
                HOP
            }
        }
    }
}

impl Retain {
    /// The task for a command that holds the journal itself.
    #[must_use]
    pub fn for_requests_alone() -> Self {
        Self { requests_alone: true, ..Self::default() }
    }

    async fn look_around(
        &mut self,
        app: &Arc<App>,
        in_flight: &mut InFlight,
    ) -> Result<Duration, SharedError> {
        // What completed before a clock was set back is not to be waited for.
        let now = app.now().wall;
        let through = *self.through.get_or_insert(now);
        let since = through.min(now).saturating_sub(OVERLAP).unwrap_or(Timestamp::MIN);
        let (behind, requests, completed) = app
            .parts
            .journal
            .read(move |store| {
                Ok((store.is_behind()?, store.open_requests()?, store.completed_since(since)?))
            })
            .await?;
        for (number, request) in requests {
            self.take_up(app, in_flight, number, request, behind);
        }
        // Whoever finds out that the journal has caught up, or leaves a request, rings.
        if behind || self.requests_alone {
            return Ok(EVERY);
        }
        self.through = completed.iter().map(|(_, ended)| *ended).chain([through]).max();
        Ok(self.start_due(app, in_flight, &completed.into_iter().collect()))
    }

    /// Starts a look at each disk that is due; how long until another is.
    fn start_due(
        &mut self,
        app: &Arc<App>,
        in_flight: &mut InFlight,
        completed: &BTreeMap<DiskId, Timestamp>,
    ) -> Duration {
        let mono = app.parts.time.clock().mono();
        let settings = app.settings();
        let mut due: BTreeMap<&TargetName, Vec<DiskId>> = BTreeMap::new();
        let mut wait = EVERY;
        let mut disks = lock(&self.disks);
        for job in settings.config.jobs.iter().filter(|job| !job.keep.is_empty()) {
            for disk in settings.fleet.of(&job.name).disks().map(|on| &on.disk) {
                let when = disks.entry((job.target.clone(), disk.clone())).or_default();
                if let Some(ended) = completed.get(disk).filter(|ended| **ended > when.completed) {
                    (when.completed, when.next) = (*ended, mono);
                }
                if when.busy {
                    continue;
                }
                if when.next > mono {
                    wait = wait.min(when.next.saturating_sub(mono));
                } else {
                    when.busy = true;
                    when.next = mono.saturating_add(EVERY);
                    due.entry(&job.target).or_default().push(disk.clone());
                }
            }
        }
        drop(disks);
        for (target, due) in due {
            for disks in due.chunks(AT_ONCE) {
                let turn = Turn {
                    app: Arc::clone(app),
                    disks: Arc::clone(&self.disks),
                    keys: disks.iter().map(|disk| (target.clone(), disk.clone())).collect(),
                };
                let gate = Arc::clone(self.gates.entry(target.clone()).or_default());
                in_flight.start(&[], look_at(turn, gate));
            }
        }
        wait
    }

    fn take_up(
        &mut self,
        app: &Arc<App>,
        in_flight: &mut InFlight,
        number: i64,
        request: Request,
        behind: bool,
    ) {
        let (which, delete) = match request {
            Request::Backups(which) => (which, false),
            Request::Prune(which) if !behind => (which, true),
            _ => return,
        };
        if !lock(&self.taken).insert(number) {
            return;
        }
        for target in app.settings().clouds.keys() {
            self.gates.entry(target.clone()).or_default();
        }
        let (app, gates, taken) = (Arc::clone(app), self.gates.clone(), Arc::clone(&self.taken));
        in_flight.start(&[], async move {
            answer::answer(&app, &gates, number, &which, delete).await;
            lock(&taken).remove(&number);
        });
    }
}

/// Disks that are being looked at; given back when dropped.
struct Turn {
    app: Arc<App>,
    disks: Disks,
    keys: Vec<Key>,
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut disks = lock(&self.disks);
        for key in &self.keys {
            disks.entry(key.clone()).or_default().busy = false;
        }
    }
}

async fn look_at(turn: Turn, gate: Arc<Gate>) {
    let app = &turn.app;
    let Some((target, _)) = turn.keys.first() else { return };
    let Some(cloud) = app.cloud(target) else { return };
    let disks: Vec<DiskId> = turn.keys.iter().map(|(_, disk)| disk.clone()).collect();
    let passed = pass(app, &cloud, &gate, &disks, &Which::default(), true).await;
    let mono = app.parts.time.clock().mono();
    let mut all = lock(&turn.disks);
    for key in &turn.keys {
        let when = all.entry(key.clone()).or_default();
        match &passed {
            Ok(passed) if !passed.failed.contains(&key.1) => when.failures = 0,
            Ok(_) => when.pause(mono),
            Err(problem) => {
                tracing::debug!(disk = %key.1, "not looked at: {problem}");
                when.pause(mono);
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
