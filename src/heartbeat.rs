//! The heartbeat: pokes every task now and then, whatever they believe about their own next instant.
//!
//! Responsible for one repeating job of tokio-cron-scheduler. It is not the truth about time: which runs are
//! due is computed from the configuration and the journal, so a missed, late or doubled poke changes nothing.

use std::sync::Arc;

use tokio_cron_scheduler::{Job, JobScheduler, JobSchedulerError};

use crate::app::App;

/// Every ten seconds, in UTC.
const EVERY: &str = "*/10 * * * * *";

/// A heartbeat that beats until it is dropped or stopped.
pub struct Heartbeat(JobScheduler);

impl Heartbeat {
    /// Starts it.
    ///
    /// # Errors
    /// When the scheduler cannot be started.
    pub async fn start(app: &Arc<App>) -> Result<Self, JobSchedulerError> {
        let scheduler = JobScheduler::new().await?;
        let app = Arc::clone(app);
        scheduler.add(Job::new(EVERY, move |_, _| app.pokes.all())?).await?;
        scheduler.start().await?;
        Ok(Self(scheduler))
    }

    /// Stops it.
    pub async fn stop(mut self) {
        if let Err(error) = self.0.shutdown().await {
            tracing::debug!("the heartbeat did not stop cleanly: {error}");
        }
    }
}
