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

/// How often it is written to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// Each time, as long as the log is taken.
    Each,
    /// The same with the same cause on the same subject at growing intervals: it says what goes on, not that something has
    /// changed.
    Sparingly,
    /// Each time: it stays in an outbox of the journal until it is written.
    Owed,
    /// Each time, whatever the filter: it says what the log leaves out.
    Always,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $level:ident, $say:ident, [$($fields:expr),*];)*) => {
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

            /// How often it is written to the log.
            #[must_use]
            pub fn said(self) -> Say {
                match self { $(Self::$kind => Say::$say,)* }
            }

            /// The fields that it may have besides its name and message.
            pub fn fields(self) -> impl Iterator<Item = &'static str> {
                let groups: &[&[&str]] = match self { $(Self::$kind => &[$($fields),*],)* };
                let repeated = (self.said() == Say::Sparingly).then_some("repeated");
                groups.iter().copied().flatten().copied().chain(repeated)
            }
        }
    };
}

/// The identity of a run.
const RUN: &[&str] = &["job", "disk_id", "due", "run"];
/// What its row has from the beginning,
const ROW: &[&str] = &["backup_name", "target"];
/// what names one of its backups, wherever it is,
const POINT: &[&str] = &["backup_id", "backup_name"];
/// and what came in the way of its last attempt.
const SETBACK: &[&str] = &["attempt", "code", "class"];

// Name, level, how often it is said, fields.
kinds! {
    /// The first line: version, time-zone data, configuration.
    DaemonStarting = "daemon.starting", Info, Each, [];
    /// Everything is in place; due backups will be made.
    DaemonReady = "daemon.ready", Info, Each, [];
    /// A new configuration is in force.
    DaemonReloaded = "daemon.reloaded", Info, Each, [];
    /// A new configuration is faulty; the old one stays in force.
    DaemonReloadRejected = "daemon.reload_rejected", Error, Each, [];
    /// No new call is made; those under way are awaited.
    DaemonStopping = "daemon.stopping", Info, Each, [];
    /// A task met something that should not be; it goes on.
    DaemonFault = "daemon.fault", Error, Sparingly, [];
    /// A due instant has become a run.
    RunPlanned = "run.planned", Info, Each, [RUN, ROW];
    /// A run ended without a backup, for a reason that is not a failure of the cloud.
    RunSkipped = "run.skipped", Warn, Owed, [RUN, ROW, SETBACK, &["reason", "why", "took_ms", "lag_ms"]];
    /// An attempt: the intent is durable, the call leaves.
    BackupRequested = "backup.requested", Info, Each, [RUN, ROW, &["attempt", "lag_ms"]];
    /// The cloud took it on.
    BackupAccepted = "backup.accepted", Info, Each, [RUN, ROW, &["attempt", "backup_id", "request_id", "took_ms"]];
    /// An attempt surely created nothing; another follows.
    BackupRetry = "backup.retry", Warn, Sparingly, [RUN, ROW, SETBACK, &["request_id", "took_ms", "retry_in_ms"]];
    /// An attempt surely created nothing, and no other would.
    BackupRefused = "backup.refused", Warn, Each, [RUN, ROW, SETBACK, &["request_id", "took_ms", "reason", "why"]];
    /// An attempt may have created a backup; it is looked for.
    BackupAmbiguous = "backup.ambiguous", Warn, Each, [RUN, ROW, SETBACK, &["request_id", "took_ms"]];
    /// A backup whose reply was lost was found by its name.
    BackupAdopted = "backup.adopted", Info, Each, [RUN, ROW, SETBACK, &["backup_id"]];
    /// The cloud says NORMAL: the run is done.
    BackupCompleted = "backup.completed", Info, Owed, [RUN, ROW, &["attempt", "backup_id", "took_ms", "lag_ms"]];
    /// The run ended without a backup that counts.
    BackupFailed = "backup.failed", Error, Owed, [RUN, ROW, SETBACK, &["backup_id", "reason", "why", "took_ms", "lag_ms"]];
    /// An accepted backup is gone before it was NORMAL, or the last good one of a disk is.
    BackupVanished = "backup.vanished", Warn, Each, [RUN, ROW, SETBACK, &["backup_id", "reason", "why"]];
    /// A backup became NORMAL after its run had failed: it counts.
    BackupLate = "backup.late", Warn, Owed, [RUN, ROW, SETBACK, &["backup_id", "took_ms", "lag_ms"]];
    /// A completed backup is no longer in the cloud; others of the disk are.
    BackupGone = "backup.gone", Info, Each, [RUN, &["backup_id"]];
    /// A backup of the cloud bears the name of a run that did not make it.
    OwnerConflict = "owner.conflict", Error, Sparingly, [RUN, &["backup_id"]];
    /// Journal and cloud could not be compared.
    ReconcileFailed = "reconcile.failed", Warn, Each, [&["target"]];
    /// They are compared again.
    ReconcileRecovered = "reconcile.recovered", Info, Each, [&["target"]];
    /// A job selects a disk that it did not select before.
    DiskJoined = "disk.joined", Info, Each, [&["job", "disk_id", "target"]];
    /// A job no longer selects a disk.
    DiskLeft = "disk.left", Warn, Each, [&["job", "disk_id", "target"]];
    /// A listing would take so many disks away from a job that it is not believed: all stay.
    DiscoverRefused = "discover.refused", Error, Each, [&["job", "target"]];
    /// Disks could not be listed: jobs keep those that they have.
    DiscoverFailed = "discover.failed", Warn, Each, [&["target"]];
    /// They are listed, or believed, again.
    DiscoverRecovered = "discover.recovered", Info, Each, [&["job", "target"]];
    /// Two backups of one run exist.
    BackupTwin = "backup.twin", Warn, Sparingly, [RUN, ROW, SETBACK, &["backup_id"]];
    /// A disk is to be put back to a backup: the intent is durable, the call leaves.
    RestoreRequested = "restore.requested", Warn, Each, [&["disk_id", "target", "backup_id", "attempt"]];
    /// The disk is what it was at the backup.
    RestoreCompleted = "restore.completed", Info, Owed, [&["disk_id", "target", "backup_id", "attempt", "took_ms"]];
    /// The disk may not be what it was at the backup.
    RestoreFailed = "restore.failed", Error, Owed, [&["disk_id", "target", "backup_id", "attempt", "reason", "took_ms"]];
    /// The disk's backup quota is full.
    QuotaFull = "quota.full", Warn, Sparingly, [RUN, ROW, SETBACK, &["retry_in_ms"]];
    /// A backup was deleted to make room for a run's.
    QuotaFreed = "quota.freed", Warn, Each, [RUN, ROW, SETBACK, &["backup_id"]];
    /// A disk's quota does not do for what its jobs keep, or will be full.
    QuotaWarning = "quota.warning", Warn, Each, [&["job", "disk_id", "target"]];
    /// A backup has become a snapshot, and its place on the disk is free.
    BackupPromoted = "backup.promoted", Info, Each, [RUN, ROW, SETBACK, &["backup_id", "snapshot_id"]];
    /// A disk has no good backup: the last one made room for the next.
    GapBegan = "gap.began", Warn, Owed, [RUN, &["backup_id"]];
    /// It has one again.
    GapEnded = "gap.ended", Info, Owed, [RUN, &["backup_id", "took_ms"]];
    /// What the rules keep of a disk's backups, where something is deleted.
    RetentionKept = "retention.kept", Debug, Each, [&["disk_id"]];
    /// A backup that no rule keeps is gone.
    RetentionDeleted = "retention.deleted", Info, Each, [RUN, POINT];
    /// A backup that no rule keeps could not be deleted; it is tried again.
    RetentionFailed = "retention.failed", Warn, Sparingly, [RUN, POINT];
    /// The cloud throttles; the lane slows down.
    LaneThrottled = "lane.throttled", Warn, Each, [&["target"]];
    /// The lane is at its full rate again.
    LaneRecovered = "lane.recovered", Info, Each, [&["target"]];
    /// The credential could not be had or renewed, or the cloud refuses it.
    CredentialsFailed = "credentials.failed", Error, Each, [&["target"]];
    /// It was renewed, or is good again.
    CredentialsRefreshed = "credentials.refreshed", Info, Each, [&["target"]];
    /// The wall clock and the cloud's, or its own past, disagree.
    ClockWrong = "clock.wrong", Error, Each, [];
    /// They agree again.
    ClockRight = "clock.right", Info, Each, [];
    /// The wall clock was set.
    ClockStepped = "clock.stepped", Warn, Each, [];
    /// The cloud does not answer, and the clock could not be checked: no backup is planned.
    CloudUnreachable = "cloud.unreachable", Warn, Each, [];
    /// It answers.
    CloudReachable = "cloud.reachable", Info, Each, [];
    /// The system's time zones are older than the program's own.
    ZonesOld = "zones.old", Warn, Each, [];
    /// Metrics are to be had.
    MetricsListening = "metrics.listening", Info, Each, [];
    /// Metrics are not to be had where the configuration says; that is tried again, and backups are made.
    MetricsFailed = "metrics.failed", Error, Each, [];
    /// A notifier has taken a message.
    NotifySent = "notify.sent", Info, Each, [&["notifier", "job", "due"]];
    /// A notifier does not take what it is sent; it is tried again.
    NotifyFailed = "notify.failed", Error, Each, [&["notifier"]];
    /// It takes it again.
    NotifyRecovered = "notify.recovered", Info, Each, [&["notifier"]];
    /// The journal cannot be written: no backup is started.
    JournalUnwritable = "journal.unwritable", Error, Each, [];
    /// It can again.
    JournalWritable = "journal.writable", Info, Each, [];
    /// A row of the journal cannot be read; the others go on.
    JournalUnreadable = "journal.unreadable", Error, Sparingly, [];
    /// It is damaged, as was found while the daemon ran: it ends.
    JournalDamaged = "journal.damaged", Error, Each, [];
    /// What is logged has changed.
    LogLevel = "log.level", Info, Always, [&["reason"]];
    /// Nobody took the log fast enough, and some of it was left out.
    LogLost = "log.lost", Warn, Always, [&["events", "diagnostics"]];
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

impl Fields {
    /// The names of those that are set.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let Self {
            job,
            disk_id,
            due,
            run,
            attempt,
            backup_id,
            backup_name,
            snapshot_id,
            request_id,
            code,
            class,
            retry_in_ms,
            took_ms,
            lag_ms,
            reason,
            why,
            target,
            notifier,
        } = self;
        let all = [
            ("job", job.is_some()),
            ("disk_id", disk_id.is_some()),
            ("due", due.is_some()),
            ("run", run.is_some()),
            ("attempt", attempt.is_some()),
            ("backup_id", backup_id.is_some()),
            ("backup_name", backup_name.is_some()),
            ("snapshot_id", snapshot_id.is_some()),
            ("request_id", request_id.is_some()),
            ("code", code.is_some()),
            ("class", class.is_some()),
            ("retry_in_ms", retry_in_ms.is_some()),
            ("took_ms", took_ms.is_some()),
            ("lag_ms", lag_ms.is_some()),
            ("reason", reason.is_some()),
            ("why", why.is_some()),
            ("target", target.is_some()),
            ("notifier", notifier.is_some()),
        ];
        all.into_iter().filter_map(|(name, set)| set.then_some(name)).collect()
    }
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
