//! The loop that every task runs in.
//!
//! Responsible for waking, for the calls that a task has under way, and for an orderly end. It refuses to know
//! what the task does.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backup_core::{RunId, TargetName};
use futures_util::FutureExt as _;
use tokio::task::JoinSet;

use crate::app::App;
use crate::bell::Bell;
use crate::journal::Row;

/// The calls that a task has under way, by the run that each is for.
#[derive(Default)]
pub struct InFlight {
    calls: JoinSet<()>,
    runs: HashMap<tokio::task::Id, Vec<RunId>>,
    claimed: Arc<HashMap<RunId, Claim>>,
}

/// A run that a call is under way for.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Its target.
    pub target: TargetName,
    /// The version of its row when the call began: in a later one something has happened to it.
    pub version: i64,
}

impl InFlight {
    /// Starts a call for the runs of `rows`: until it has ended, they are claimed.
    pub fn start(&mut self, rows: &[Row], call: impl Future<Output = ()> + Send + 'static) {
        let claim = |row: &Row| Claim { target: row.target.clone(), version: row.version };
        Arc::make_mut(&mut self.claimed).extend(rows.iter().map(|row| (row.run.id.clone(), claim(row))));
        let runs = rows.iter().map(|row| row.run.id.clone()).collect();
        let id = self.calls.spawn(call).id();
        self.runs.insert(id, runs);
    }

    /// The runs that calls are under way for.
    #[must_use]
    pub fn claimed(&self) -> Arc<HashMap<RunId, Claim>> {
        Arc::clone(&self.claimed)
    }

    /// How many runs of a target are claimed.
    #[must_use]
    pub fn claimed_of(&self, target: &TargetName) -> usize {
        self.claimed.values().filter(|claim| claim.target == *target).count()
    }

    /// Waits for a call to end; for ever while there is none.
    async fn ended(&mut self, app: &App) {
        match self.calls.join_next_with_id().await {
            Some(ended) => self.release(app, ended),
            None => std::future::pending().await,
        }
        while let Some(ended) = self.calls.try_join_next_with_id() {
            self.release(app, ended);
        }
    }

    /// A call that panicked is reported; its runs are looked at again like any others.
    fn release(&mut self, app: &App, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        let id = ended.map(|(id, ())| id).unwrap_or_else(|error| {
            app.fault(&error);
            error.id()
        });
        let claimed = Arc::make_mut(&mut self.claimed);
        for run in self.runs.remove(&id).unwrap_or_default() {
            claimed.remove(&run);
        }
    }
}

/// A task.
pub trait Task: Send {
    /// Whether it plans, sends or concludes by the wall clock: it then rests while that cannot be believed.
    const NEEDS_CLOCK: bool;

    /// Its bell.
    fn bell(app: &App) -> &Bell;

    /// Whether the end of a call is reason for a step. Where it is not, calls ring about what they leave to be done.
    fn heeds_ends(&self) -> bool {
        true
    }

    /// Moves what it finds one step; says how long it may sleep if nobody wakes it.
    fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> impl Future<Output = Duration> + Send;
}

/// A sign of life: the monotonic millisecond at which a task is to take its next step.
#[derive(Default)]
pub struct Pulse(AtomicU64);

impl Pulse {
    /// A step begins, which is to end at once: a call that takes long is in flight, and no step waits for it.
    fn step_begins(&self, app: &App) {
        self.0.fetch_min(now(app), Ordering::Relaxed);
    }

    /// It has ended; the next one begins within `wait`.
    fn step_ended(&self, app: &App, wait: Duration) {
        self.0.store(now(app).saturating_add(millis(wait)), Ordering::Relaxed);
    }

    /// For how long the task has been in one step, or has overslept.
    #[must_use]
    pub fn overdue(&self, app: &App) -> Duration {
        Duration::from_millis(now(app).saturating_sub(self.0.load(Ordering::Relaxed)))
    }
}

fn now(app: &App) -> u64 {
    millis(app.parts.time.clock().mono())
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A step that panicked.
#[derive(Debug, thiserror::Error)]
#[error("the task {task} panicked: {said}")]
struct Panicked {
    task: &'static str,
    said: String,
}

/// What a task is called, for people.
#[must_use]
pub fn name<T: Task>() -> &'static str {
    let path = std::any::type_name::<T>();
    path.rsplit("::").next().unwrap_or(path)
}

/// Runs a task until the app is told to stop, and then until its calls have ended.
///
/// A step that panics is reported, and the task goes on: it stops neither the others nor itself. But its pulse does
/// not count such a step: a task that only panics is one that hangs.
pub async fn drive<T: Task>(mut task: T, app: Arc<App>, pulse: Arc<Pulse>) {
    let mut in_flight = InFlight::default();
    let (hop, clock) = (app.parts.idle.hop, app.parts.time.clock());
    'life: loop {
        pulse.step_begins(&app);
        // A step sees all that there is: what rang before it is answered by it.
        T::bell(&app).silence();
        let rests = T::NEEDS_CLOCK && !app.parts.time.is_trusted();
        let step = async { if rests { hop } else { task.step(&app, &mut in_flight).await.min(hop) } };
        let wait = match AssertUnwindSafe(step).catch_unwind().await {
            Ok(wait) => {
                pulse.step_ended(&app, wait);
                wait
            }
            Err(panic) => {
                let said = panic.downcast_ref::<String>().cloned();
                let said = said.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
                app.fault(&Panicked { task: name::<T>(), said: said.unwrap_or_default() });
                hop
            }
        };
        let sleep = tokio::time::sleep(wait);
        tokio::pin!(sleep);
        loop {
            tokio::select! {
                biased;
                () = app.stop.cancelled() => break 'life,
                () = in_flight.ended(&app) => {
                    if task.heeds_ends() {
                        break;
                    }
                }
                () = T::bell(&app).rung(&*clock) => break,
                () = &mut sleep => break,
            }
        }
    }
    while let Some(ended) = in_flight.calls.join_next_with_id().await {
        in_flight.release(&app, ended);
    }
}
