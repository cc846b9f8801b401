//! The metrics: names, types, labels and what they mean, as other programs rely on them.
//!
//! Responsible for the contract (`docs/metrics.md` has the same table, and a test compares them). A new metric is one
//! row here and one there.

/// What stands before every name.
pub const PREFIX: &str = "cbs_backupd";

/// What kind of figure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// It goes up and down.
    Gauge,
    /// It goes up, from zero at each start; its name ends in `_total`.
    Counter,
    /// It counts what fell below each of some bounds.
    Histogram,
}

/// A metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, without what stands before and behind every such one.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it means; without a full stop.
    pub help: &'static str,
}

impl Metric {
    /// Its whole name.
    #[must_use]
    pub fn full_name(&self) -> String {
        let total = if self.kind == Type::Counter { "_total" } else { "" };
        format!("{PREFIX}_{}{total}", self.name)
    }
}

macro_rules! metrics {
    ($($name:ident: $kind:ident $text:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $name: Metric =
                Metric { name: $text, kind: Type::$kind, labels: &[$($label),*], help: $help };
        )*
        /// All of them.
        pub const ALL: &[Metric] = &[$($name),*];
    };
}

metrics! {
    BUILD_INFO: Gauge "build_info" ["version"] "Always 1, with the version that runs";
    READY: Gauge "ready" [] "1 if due backups are being made: started, not stopping, journal writable, clock confirmed";
    START_TIME: Gauge "start_time_seconds" [] "When the daemon started";
    RUNS_ENDED: Counter "runs_ended" ["job", "outcome", "reason"] "Runs that ended since the start";
    RUNS_OPEN: Gauge "runs_open" ["state"] "Runs that have not ended, by state";
    RUNS_LATE: Gauge "runs_late" [] "Runs that are past start_within and have not ended";
    JOB_DISKS: Gauge "job_disks" ["job"] "Disks that the job holds";
    JOB_WITHOUT: Gauge "job_disks_without_good_backup" ["job"] "Of these, those without a good backup";
    JOB_BEYOND: Gauge "job_disks_beyond_objective" ["job"]
        "Of these, those whose last good backup is older than the objective, or is missing though a run has ended";
    JOB_FAILING: Gauge "job_disks_failing" ["job"] "Of these, those whose last ended run failed";
    JOB_LATE: Gauge "job_disks_late" ["job"] "Of these, those with a due backup past start_within, planned or not";
    JOB_OBJECTIVE: Gauge "job_objective_seconds" ["job"] "The greatest age of the last good backup, where one is set";
    JOB_NEXT_DUE: Gauge "job_next_due_timestamp_seconds" ["job"] "The next due instant";
    JOB_LAST_GOOD: Gauge "job_last_good_backup_timestamp_seconds" ["job"]
        "The oldest of its disks' last good backups; disks without one do not count";
    JOB_LAST_GOOD_AGE: Gauge "job_last_good_backup_age_seconds" ["job"] "How old that is";
    JOB_PAUSED: Gauge "job_paused" ["job"] "1 if the job is paused";
    JOB_QUOTA_SHORT: Gauge "job_disks_quota_short" ["job"]
        "Disks whose quota does not do for what is kept, or will be full for this job, when last asked";
    DISK_LAST_GOOD: Gauge "disk_last_good_backup_timestamp_seconds" ["job", "disk_id"]
        "When the last good backup became one";
    DISK_LAST_GOOD_AGE: Gauge "disk_last_good_backup_age_seconds" ["job", "disk_id"] "How old that is";
    DISK_QUOTA: Gauge "disk_backup_quota" ["target", "disk_id"]
        "How many backup points the disk may have, when last asked";
    DISK_BACKUPS: Gauge "disk_backups" ["target", "disk_id"] "How many it had then, by whoever";
    TARGET_QUOTA_FULL: Gauge "target_disks_quota_full" ["target"] "Disks whose quota was full when last asked, or holds a run now";
    EVENTS: Counter "events" ["event"] "Events since the start";
    ATTEMPTS: Counter "attempts" ["target", "outcome"] "Attempts of backups that were answered, or not, since the start";
    LANE_RATE: Gauge "lane_rate" ["target", "action"] "Calls a second that the lane releases now";
    LANE_LIMIT: Gauge "lane_rate_limit" ["target", "action"] "Calls a second when nothing is wrong";
    LANE_WAITING: Gauge "lane_waiting" ["target", "action"] "Calls that wait in the lane";
    LANE_THROTTLES: Counter "lane_throttles" ["target", "action"]
        "Times that the lane slowed down because the cloud throttled, since the start";
    START_LAG: Histogram "start_lag_seconds" [] "From a run's start_at to its first attempt";
    COMPLETION: Histogram "completion_seconds" [] "From a completed run's first attempt to its backup being NORMAL";
    CREDENTIAL_EXPIRY: Gauge "credential_expiry_timestamp_seconds" ["target"]
        "When the temporary credential at hand ends";
    CREDENTIAL_FAILING: Gauge "credential_failing" ["target"]
        "1 if the credential cannot be had or renewed, or the cloud refuses it";
    JOURNAL_SIZE: Gauge "journal_size_bytes" [] "The journal's file and its write-ahead log";
    JOURNAL_WRITABLE: Gauge "journal_writable" [] "1 if the journal can be read, and its last write succeeded";
    CLOCK_WRONG: Gauge "clock_wrong" [] "1 if the cloud says that this machine's clock is wrong";
    CLOUD_REACHABLE: Gauge "cloud_reachable" ["target"] "1 if the last call was answered, whatever the answer";
    NOTIFICATIONS: Counter "notifications" ["notifier", "outcome"] "Notifications since the start";
}
