//! The daemon: all tasks over one app, from start to stop.
//!
//! Responsible for the order of things: at a stop no new call is made and those under way are awaited. Signals and
//! command lines belong to the caller.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::app::App;
use crate::tasks::driver::{Pulse, Task, drive, name};
use crate::tasks::{
    compact::Compact, discover::Discover, notify::Notify, plan::Plan, preflight::Preflight,
    reconcile::Reconcile, restore::Restores, retain::Retain, room::MakeRoom, submit::Submit, tell::Tell,
    track::Track, watch::Watch,
};

/// The running tasks.
pub struct Daemon {
    app: Arc<App>,
    tasks: JoinSet<()>,
    tell: Tell,
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
        let mut daemon = Self { app, tasks: JoinSet::new(), tell: Tell::default() };
        daemon.spawn(Watch::default());
        daemon
    }

    /// Starts the tasks that carry runs to their end, and nothing that makes new ones.
    #[must_use]
    pub fn start_without_planning(app: Arc<App>) -> Self {
        let mut daemon = Self { app, tasks: JoinSet::new(), tell: Tell::default() };
        daemon.spawn(Submit::default());
        daemon.spawn(Track::default());
        daemon.spawn(MakeRoom::default());
        daemon.spawn(daemon.tell.clone());
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

    fn spawn<T: Task + 'static>(&mut self, task: T) {
        let pulse = Arc::new(Pulse::default());
        self.app.expect_life(name::<T>(), Arc::clone(&pulse));
        self.tasks.spawn(drive(task, Arc::clone(&self.app), pulse));
    }

    /// Makes no new call, awaits those under way, and says how the runs ended that ended by it.
    pub async fn stop(mut self) {
        self.app.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            if let Err(error) = ended {
                self.app.fault(&error);
            }
        }
        self.tell.tell_all(&self.app).await;
    }
}
