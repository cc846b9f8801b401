//! The daemon: all tasks over one app, from start to stop.
//!
//! Responsible for the order of things: at a stop no new call is made and those under way are awaited. Signals and
//! command lines belong to the caller.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::app::App;
use crate::tasks::driver::{Pulse, drive};
use crate::tasks::{
    compact::Compact, discover::Discover, notify::Notify, plan::Plan, preflight::Preflight,
    reconcile::Reconcile, restore, restore::Restores, retain::Retain, room::MakeRoom, submit::Submit,
    tell::Tell, track::Track, watch::Watch,
};

/// A task that has not moved for so long hangs: its sleeps are far shorter.
pub(crate) const HANGS_AFTER: Duration = Duration::from_secs(120);

/// The running tasks.
pub struct Daemon {
    app: Arc<App>,
    tasks: JoinSet<()>,
    pulses: Vec<Arc<Pulse>>,
}

/// The signs of life of a daemon's tasks.
#[derive(Clone)]
pub struct Vital(Vec<Arc<Pulse>>);

impl Vital {
    /// Whether every task moves.
    #[must_use]
    pub fn is_alive(&self, app: &App) -> bool {
        self.0.iter().all(|pulse| pulse.age(app) < HANGS_AFTER)
    }
}

impl Daemon {
    /// Starts all tasks. What the configuration asks for is brought into the journal once the clock is known to
    /// be right.
    #[must_use]
    pub fn start(app: Arc<App>) -> Self {
        let mut daemon = Self::start_without_planning(app);
        daemon.spawn(Plan::default());
        daemon.spawn(Discover::default());
        daemon.spawn(Reconcile::default());
        daemon.spawn(Compact::default());
        daemon.spawn(Preflight::default());
        daemon.spawn(Retain::default());
        daemon.spawn(Notify::default());
        daemon
    }

    /// Starts no more than what takes up requests. Runs that come of any wait for a daemon.
    #[must_use]
    pub fn start_to_answer(app: Arc<App>) -> Self {
        let mut daemon = Self { app, tasks: JoinSet::new(), pulses: Vec::new() };
        daemon.spawn(Watch::default());
        daemon
    }

    /// Starts the tasks that carry runs to their end, and nothing that makes new ones.
    #[must_use]
    pub fn start_without_planning(app: Arc<App>) -> Self {
        let mut daemon = Self { app, tasks: JoinSet::new(), pulses: Vec::new() };
        daemon.spawn(Submit::default());
        daemon.spawn(Track::default());
        daemon.spawn(MakeRoom::default());
        daemon.spawn(Tell::default());
        daemon.spawn(Watch::default());
        daemon.spawn(Restores::default());
        daemon
    }

    /// Starts the tasks that answer what commands ask about the backups in the cloud.
    #[must_use]
    pub fn start_for_retention(app: Arc<App>) -> Self {
        let mut daemon = Self::start_without_planning(app);
        daemon.spawn(Plan::in_line_alone());
        daemon.spawn(Discover::default());
        daemon.spawn(Reconcile::default());
        daemon.spawn(Retain::for_requests_alone());
        daemon
    }

    fn spawn(&mut self, task: impl crate::tasks::driver::Task + 'static) {
        let pulse = Arc::new(Pulse::default());
        self.pulses.push(Arc::clone(&pulse));
        self.app.expect_life(Arc::clone(&pulse));
        self.tasks.spawn(drive(task, Arc::clone(&self.app), pulse));
    }

    /// Whether every task moves.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.vital().is_alive(&self.app)
    }

    /// The signs of life of its tasks, for others to look at.
    #[must_use]
    pub fn vital(&self) -> Vital {
        Vital(self.pulses.clone())
    }

    /// Makes no new call, awaits those under way, and says how the runs ended that ended by it.
    pub async fn stop(mut self) {
        self.app.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                self.app.fault(&error);
            }
        }
        Tell::default().tell_all(&self.app).await;
        restore::tell_all(&self.app).await;
    }
}
