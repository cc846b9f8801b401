//! What is said to systemd: ready, reloading, stopping, alive, and a line of status.
//!
//! Responsible for the protocol, and for how often life is shown. Without systemd there is nobody to tell, and
//! nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;

use crate::app::PATIENCE;

/// How often the line of status is renewed, at least.
const STATUS_EVERY: Duration = Duration::from_secs(10);

/// How closely the daemon is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watch {
    /// How often life is shown.
    pub(super) every: Duration,
    /// A task that has not moved for longer hangs.
    pub(super) patience: Duration,
}

impl Watch {
    /// As the unit's `WatchdogSec=` wants it.
    pub(super) fn from_environment() -> Self {
        Self::within(sd_notify::watchdog_enabled())
    }

    /// Six signs of life fit into the watchdog's time, so that a slow moment is none of its business, and a task has
    /// two thirds of it.
    fn within(watchdog: Option<Duration>) -> Self {
        let Some(watchdog) = watchdog.filter(|time| !time.is_zero()) else {
            return Self { every: STATUS_EVERY, patience: PATIENCE };
        };
        Self { every: STATUS_EVERY.min(watchdog / 6), patience: watchdog * 2 / 3 }
    }
}

/// Everything is in place, or again in place after a reload.
pub(super) fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// A reload begins; `ready` ends it, whatever came of it.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// All tasks move.
pub(super) fn alive(status: &str) {
    tell(&[NotifyState::Watchdog, NotifyState::Status(status)]);
}

/// A task hangs: systemd is to do what it does when the signs of life fail to come, now.
pub(super) fn hangs(status: &str) {
    tell(&[NotifyState::Status(status), NotifyState::WatchdogTrigger]);
}

/// No new call is made.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping: the calls under way are awaited")]);
}

/// The daemon does not start, or ends by a failure; `systemctl status` goes on showing why.
pub(super) fn refused(why: &str) {
    let first = why.lines().next().unwrap_or_default();
    tell(&[NotifyState::Status(&format!(
        "refused: {}",
        first.strip_prefix("cbs-backupd: ").unwrap_or(first)
    ))]);
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd was not told: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watchdog_is_fed_six_times_in_its_time_and_every_ten_seconds_at_least() {
        let within = |secs| Watch::within(Some(Duration::from_secs(secs)));
        let watch = |every, patience| Watch {
            every: Duration::from_secs(every),
            patience: Duration::from_secs(patience),
        };
        assert_eq!(within(180), watch(10, 120));
        assert_eq!(within(18), watch(3, 12));
        // Zero switches a watchdog off.
        assert_eq!((within(0), Watch::within(None)), (watch(10, 120), watch(10, 120)));
    }
}
