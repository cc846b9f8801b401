//! The events of the log: names, levels and fields that other programs rely on.
//!
//! Responsible for the contract. A new event is one row of the table and, where it needs one, a field.

use backup_core::run::Setback;
use backup_core::{BackupName, Run, RunId};

use crate::journal::Row;

/// How loud an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// For whoever looks closely.
    Debug,
    /// As it should be.
    Info,
    /// Something to know about; the daemon goes on by itself.
    Warn,
    /// Something that a person must act on.
    Error,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $level:ident;)*) => {
        /// What happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All of them, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            /// The event's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name,)* }
            }

            /// Its level.
            #[must_use]
            pub fn level(self) -> Level {
                match self { $(Self::$kind => Level::$level,)* }
            }
        }
    };
}

kinds! {
    /// The first line: version, time-zone data, configuration.
    DaemonStarting = "daemon.starting", Info;
    /// Everything is in place; due backups will be made.
    DaemonReady = "daemon.ready", Info;
    /// A new configuration is in force.
    DaemonReloaded = "daemon.reloaded", Info;
    /// A new configuration is faulty; the old one stays in force.
    DaemonReloadRejected = "daemon.reload_rejected", Error;
    /// No new call is made; those under way are awaited.
    DaemonStopping = "daemon.stopping", Info;
    /// A task met something that should not be; it goes on.
    DaemonFault = "daemon.fault", Error;
    /// A due instant has become a run.
    RunPlanned = "run.planned", Info;
    /// A run ended without a backup, for a reason that is not a failure of the cloud.
    RunSkipped = "run.skipped", Warn;
    /// An attempt: the intent is durable, the call leaves.
    BackupRequested = "backup.requested", Info;
    /// The cloud took it on.
    BackupAccepted = "backup.accepted", Info;
    /// An attempt surely created nothing; another follows.
    BackupRetry = "backup.retry", Warn;
    /// An attempt may have created a backup; it is looked for.
    BackupAmbiguous = "backup.ambiguous", Warn;
    /// A backup whose reply was lost was found by its name.
    BackupAdopted = "backup.adopted", Info;
    /// The cloud says NORMAL: the run is done.
    BackupCompleted = "backup.completed", Info;
    /// The run ended without a backup that counts.
    BackupFailed = "backup.failed", Error;
    /// An accepted backup is gone before it was NORMAL, or the last good one of a disk is.
    BackupVanished = "backup.vanished", Warn;
    /// A backup became NORMAL after its run had failed: it counts.
    BackupLate = "backup.late", Warn;
    /// A completed backup is no longer in the cloud; others of the disk are.
    BackupGone = "backup.gone", Info;
    /// A backup of the cloud bears the name of a run that did not make it.
    OwnerConflict = "owner.conflict", Error;
    /// Journal and cloud could not be compared.
    ReconcileFailed = "reconcile.failed", Warn;
    /// They are compared again.
    ReconcileRecovered = "reconcile.recovered", Info;
    /// A job selects a disk that it did not select before.
    DiskJoined = "disk.joined", Info;
    /// A job no longer selects a disk.
    DiskLeft = "disk.left", Warn;
    /// A listing would take so many disks away from a job that it is not believed: all stay.
    DiscoverRefused = "discover.refused", Error;
    /// Disks could not be listed: jobs keep those that they have.
    DiscoverFailed = "discover.failed", Warn;
    /// They are listed, or believed, again.
    DiscoverRecovered = "discover.recovered", Info;
    /// Two backups of one run exist.
    BackupTwin = "backup.twin", Warn;
    /// A disk is to be put back to a backup: the intent is durable, the call leaves.
    RestoreRequested = "restore.requested", Warn;
    /// The disk is what it was at the backup.
    RestoreCompleted = "restore.completed", Info;
    /// The disk may not be what it was at the backup.
    RestoreFailed = "restore.failed", Error;
    /// The disk's backup quota is full.
    QuotaFull = "quota.full", Warn;
    /// A backup was deleted to make room for a run's.
    QuotaFreed = "quota.freed", Warn;
    /// A disk's quota does not do for what its jobs keep, or will be full.
    QuotaWarning = "quota.warning", Warn;
    /// A backup has become a snapshot, and its place on the disk is free.
    BackupPromoted = "backup.promoted", Info;
    /// A disk has no good backup: the last one made room for the next.
    GapBegan = "gap.began", Warn;
    /// It has one again.
    GapEnded = "gap.ended", Info;
    /// What the rules keep of a disk's backups, where something is deleted.
    RetentionKept = "retention.kept", Debug;
    /// A backup that no rule keeps is gone.
    RetentionDeleted = "retention.deleted", Info;
    /// A backup that no rule keeps could not be deleted; it is tried again.
    RetentionFailed = "retention.failed", Warn;
    /// The cloud throttles; the lane slows down.
    LaneThrottled = "lane.throttled", Warn;
    /// The lane is at its full rate again.
    LaneRecovered = "lane.recovered", Info;
    /// The credential could not be had or renewed, or the cloud refuses it.
    CredentialsFailed = "credentials.failed", Error;
    /// It was renewed, or is good again.
    CredentialsRefreshed = "credentials.refreshed", Info;
    /// The wall clock and the cloud's, or its own past, disagree.
    ClockWrong = "clock.wrong", Error;
    /// They agree again.
    ClockRight = "clock.right", Info;
    /// The wall clock was set.
    ClockStepped = "clock.stepped", Warn;
    /// The cloud does not answer, and the clock could not be checked: no backup is planned.
    CloudUnreachable = "cloud.unreachable", Warn;
    /// It answers.
    CloudReachable = "cloud.reachable", Info;
    /// The system's time zones are older than the program's own.
    ZonesOld = "zones.old", Warn;
    /// Metrics are to be had.
    MetricsListening = "metrics.listening", Info;
    /// Metrics are not to be had where the configuration says; that is tried again, and backups are made.
    MetricsFailed = "metrics.failed", Error;
    /// A notifier has taken a message.
    NotifySent = "notify.sent", Info;
    /// A notifier does not take what it is sent; it is tried again.
    NotifyFailed = "notify.failed", Error;
    /// It takes it again.
    NotifyRecovered = "notify.recovered", Info;
    /// The journal cannot be written: no backup is started.
    JournalUnwritable = "journal.unwritable", Error;
    /// It can again.
    JournalWritable = "journal.writable", Info;
    /// A row of the journal cannot be read; the others go on.
    JournalUnreadable = "journal.unreadable", Error;
}

/// What an event says besides its name and message.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// The job's name.
    pub job: Option<String>,
    /// The disk.
    pub disk_id: Option<String>,
    /// The run's due instant, RFC 3339 in UTC.
    pub due: Option<String>,
    /// The run, as text.
    pub run: Option<String>,
    /// The number of the attempt, from 1.
    pub attempt: Option<u32>,
    /// The backup, `dbp-…`.
    pub backup_id: Option<String>,
    /// The backup's name.
    pub backup_name: Option<String>,
    /// The snapshot, `snap-…`.
    pub snapshot_id: Option<String>,
    /// The cloud's id of the request.
    pub request_id: Option<String>,
    /// The cloud's error code.
    pub code: Option<String>,
    /// The kind of setback.
    pub class: Option<&'static str>,
    /// Milliseconds until the next attempt.
    pub retry_in_ms: Option<u64>,
    /// Milliseconds from the first attempt to the end of the run, or of a call.
    pub took_ms: Option<u64>,
    /// Milliseconds from `start_at` to the first attempt.
    pub lag_ms: Option<u64>,
    /// Why it ended so.
    pub reason: Option<String>,
    /// The same in one word of few.
    pub why: Option<&'static str>,
    /// The target.
    pub target: Option<String>,
    /// Who is told.
    pub notifier: Option<String>,
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: Kind,
    /// The same in words.
    pub message: String,
    /// And in fields. Boxed: events travel, and most fields are empty.
    pub fields: Box<Fields>,
}

impl Event {
    /// An event without fields.
    #[must_use]
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), fields: Box::default() }
    }

    /// An event of a run: its identity goes with it.
    #[must_use]
    pub fn of_run(kind: Kind, id: &RunId, message: impl Into<String>) -> Self {
        let mut event = Self::new(kind, message);
        event.fields.job = Some(id.job.to_string());
        event.fields.disk_id = Some(id.disk.to_string());
        event.fields.due = Some(id.due.to_string());
        event.fields.run = Some(id.to_string());
        event
    }

    /// An event of a run as its row has it: identity, attempt, backup and setback.
    #[must_use]
    pub fn of_row(kind: Kind, row: &Row, message: impl Into<String>) -> Self {
        let Run { id, attempts, setback, state, .. } = &row.run;
        let mut event = Self::of_run(kind, id, message);
        event.fields.attempt = (*attempts > 0).then_some(*attempts);
        event.fields.backup_id = state.backup().map(ToString::to_string);
        event.fields.backup_name = Some(BackupName::of(&row.owner, id).to_string());
        event.fields.reason = state.reason();
        event.fields.why = state.why();
        event.fields.target = Some(row.target.to_string());
        if let Some(Setback { class, code, .. }) = setback
            && !matches!(kind, Kind::BackupCompleted | Kind::BackupAccepted | Kind::BackupRequested)
        {
            event.fields.class = Some(class.as_str());
            event.fields.code.clone_from(code);
        }
        event
    }

    /// With these fields set.
    #[must_use]
    pub fn with(mut self, set: impl FnOnce(&mut Fields)) -> Self {
        set(&mut self.fields);
        self
    }
}
