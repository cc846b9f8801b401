//! The world that tasks act in, and the daemon as a whole: start, reload, stop.
//!
//! Responsible for building what tasks share and for running them until they are told to stop. It refuses to
//! hold state about runs: that is the journal's.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use backup_core::retention::Keep;
use backup_core::run::State;
use backup_core::{DiskId, Facts, JobName, Run, Step, TargetName, next_step};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use tokio_util::sync::CancellationToken;

use crate::bell::Bell;
use crate::clock::Time;
use crate::cloud::Cloud;
use crate::config::{Config, Job};
use crate::fleet::Fleet;
use crate::journal::{Change, Inventory, Journal, SharedError};
use crate::notify::Deliver;
use crate::random::Random;
use crate::report::log::{Chosen, Levels};
use crate::report::{Event, Kind, Report, chain};
use crate::tasks::driver::Pulse;

/// What the app is built from; tests and simulations bring their own.
pub struct Parts {
    /// The clock and the epoch.
    pub time: Time,
    /// Jitter.
    pub random: Random,
    /// The record of runs.
    pub journal: Journal,
    /// Where events go.
    pub report: Arc<dyn Report>,
    /// What of it is logged.
    pub levels: Levels,
    /// How notifiers are reached.
    pub deliver: Arc<dyn Deliver>,
    /// How often tasks look around when nothing calls them.
    pub idle: Idle,
}

/// How often tasks look around when nothing calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// No task sleeps longer: the wall clock may have been set, the machine may have been asleep.
    pub hop: Duration,
    /// How long a command's request, or a wall clock that was set, may go unnoticed.
    pub watch: Duration,
}

impl Default for Idle {
    fn default() -> Self {
        Self { hop: Duration::from_secs(30), watch: Duration::from_secs(1) }
    }
}

/// A configuration in force, with a client for each of its targets.
pub struct Settings {
    /// The configuration.
    pub config: Arc<Config>,
    /// The targets' clients; those of targets that are gone stay while runs of theirs are under way.
    pub clouds: BTreeMap<TargetName, Cloud>,
    /// Which disks its jobs hold.
    pub fleet: Fleet,
}

impl Settings {
    /// A configuration with its clients, and the disks of its jobs as far as the inventory knows them.
    #[must_use]
    pub fn new(config: Arc<Config>, clouds: BTreeMap<TargetName, Cloud>, inventory: &Inventory) -> Self {
        let fleet = Fleet::resolve(&config, inventory);
        Self { config, clouds, fleet }
    }

    /// What a job keeps on a disk, and in which zone its days are; none of a job that is not there, or does not hold
    /// the disk. Targets do not matter: two may lead to one account.
    #[must_use]
    pub fn rules(&self, job: &JobName, disk: &DiskId) -> Option<(Keep, TimeZone)> {
        if job.is_manual() {
            return Some((Keep::default(), TimeZone::UTC));
        }
        let holds = |known: &&Job| known.name == *job && self.fleet.holds(job, disk);
        self.config.jobs.iter().find(holds).map(Job::rules)
    }
}

/// What tasks share.
pub struct App {
    /// The parts.
    pub parts: Parts,
    /// Told when a task has reason to look at the journal before its next heartbeat.
    pub pokes: Pokes,
    /// Cancelled when no new call may be made.
    pub stop: CancellationToken,
    in_force: RwLock<InForce>,
    /// When each disk's backups were last listed by this process, by the monotonic clock.
    listed: Mutex<BTreeMap<TargetName, BTreeMap<DiskId, Duration>>>,
    /// The journal follows the configuration in force.
    pub in_line: InLine,
    unwritable: AtomicBool,
    pulses: Mutex<Vec<(&'static str, Arc<Pulse>)>>,
}

struct InForce {
    settings: Arc<Settings>,
    /// By the monotonic clock.
    since: Duration,
}

/// Whether the journal follows the configuration in force: how often that was asked for, and up to which of those
/// times it is done.
pub struct InLine {
    asked: AtomicU64,
    done: AtomicU64,
}

impl Default for InLine {
    fn default() -> Self {
        Self { asked: AtomicU64::new(1), done: AtomicU64::new(0) }
    }
}

impl InLine {
    /// Asks for it: something has changed.
    pub fn ask(&self) {
        self.asked.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether it is so.
    pub fn is_so(&self) -> bool {
        self.wanted().is_none()
    }

    /// Up to which time it is to be done, if it is.
    pub fn wanted(&self) -> Option<u64> {
        let asked = self.asked.load(Ordering::Relaxed);
        (asked != self.done.load(Ordering::Relaxed)).then_some(asked)
    }

    /// It is done, up to what was wanted when that began.
    pub fn done(&self, wanted: u64) {
        self.done.store(wanted, Ordering::Relaxed);
    }
}

/// A bell for each task.
#[derive(Default)]
pub struct Pokes {
    /// The planner's.
    pub plan: Bell,
    /// The submitter's.
    pub submit: Bell,
    /// The tracker's.
    pub track: Bell,
    /// The teller's.
    pub tell: Bell,
    /// The watcher's.
    pub watch: Bell,
    /// The compactor's.
    pub compact: Bell,
    /// The one's that compares with the cloud.
    pub reconcile: Bell,
    /// The restorer's.
    pub restore: Bell,
    /// The one's that deletes what no rule keeps.
    pub retain: Bell,
    /// The one's that makes room on full disks.
    pub room: Bell,
    /// The one's that says which quotas will not do.
    pub preflight: Bell,
    /// The one's that lists disks.
    pub discover: Bell,
    /// The one's that tells notifiers.
    pub notify: Bell,
}

impl Pokes {
    /// Rings all of them.
    pub fn all(&self) {
        let Self {
            plan,
            submit,
            track,
            tell,
            watch,
            compact,
            reconcile,
            retain,
            room,
            preflight,
            restore,
            discover,
            notify,
        } = self;
        for bell in [
            plan, submit, track, tell, watch, compact, reconcile, retain, room, preflight, restore, discover,
            notify,
        ] {
            bell.ring();
        }
    }
}

/// A task that has not moved for longer hangs, where nobody says otherwise: its sleeps are far shorter.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// The pause before a failed write to the journal is tried again.
const REWRITE: Duration = Duration::from_secs(1);

impl App {
    /// An app with this configuration in force.
    #[must_use]
    pub fn new(parts: Parts, settings: Settings) -> Arc<Self> {
        let in_force = InForce { settings: Arc::new(settings), since: parts.time.clock().mono() };
        Arc::new(Self {
            parts,
            pokes: Pokes::default(),
            stop: CancellationToken::new(),
            in_force: RwLock::new(in_force),
            listed: Mutex::default(),
            in_line: InLine::default(),
            unwritable: AtomicBool::new(false),
            pulses: Mutex::default(),
        })
    }

    /// The configuration in force.
    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner).settings)
    }

    /// Since when it is in force.
    pub fn in_force_since(&self) -> Timestamp {
        let since = self.in_force.read().unwrap_or_else(PoisonError::into_inner).since;
        self.parts.time.wall_at(since)
    }

    /// Puts another configuration in force. The planner brings the journal into line with it.
    pub fn replace_settings(&self, settings: Settings) {
        let in_force = InForce { settings: Arc::new(settings), since: self.parts.time.clock().mono() };
        *self.in_force.write().unwrap_or_else(PoisonError::into_inner) = in_force;
        self.in_line.ask();
        self.pokes.all();
    }

    /// Jobs were listed: what the inventory says of these is in force from now on.
    pub fn update_fleet(&self, news: &Inventory) {
        let since = self.parts.time.clock().mono();
        let mut in_force = self.in_force.write().unwrap_or_else(PoisonError::into_inner);
        let Settings { config, clouds, fleet } = &*in_force.settings;
        let Some(fleet) = fleet.with(config, news) else { return };
        let settings = Settings { config: Arc::clone(config), clouds: clouds.clone(), fleet };
        *in_force = InForce { settings: Arc::new(settings), since };
        drop(in_force);
        self.in_line.ask();
        self.pokes.all();
    }

    /// When a disk's backups were last listed by this process, by the monotonic clock.
    pub fn listed(&self, target: &TargetName, disk: &DiskId) -> Option<Duration> {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.get(target)?.get(disk).copied()
    }

    /// A disk's backups were listed, from `began` on; when they had been before, if ever.
    pub fn note_listed(&self, target: &TargetName, disk: &DiskId, began: Duration) -> Option<Duration> {
        let mut listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.entry(target.clone()).or_default().insert(disk.clone(), began)
    }

    /// The client of a target; none where the configuration does not know it (any more).
    pub fn cloud(&self, target: &TargetName) -> Option<Cloud> {
        self.settings().clouds.get(target).cloned()
    }

    /// A task has begun, and this is its sign of life.
    pub fn expect_life(&self, task: &'static str, pulse: Arc<Pulse>) {
        self.pulses.lock().unwrap_or_else(PoisonError::into_inner).push((task, pulse));
    }

    /// The tasks that have not moved for longer than `patience`, and for how long.
    pub fn hanging(&self, patience: Duration) -> Vec<(&'static str, Duration)> {
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        let overdue = pulses.iter().map(|(task, pulse)| (*task, pulse.overdue(self)));
        overdue.filter(|(_, overdue)| *overdue > patience).collect()
    }

    /// Now, for a decision.
    pub fn now(&self) -> backup_core::Now {
        self.parts.time.now()
    }

    /// Rings for whoever has something to do about a run that is now known to be so: at once, or when it has.
    pub fn ring_about(&self, run: &Run) {
        let Pokes { submit, track, room, tell, retain, notify, .. } = &self.pokes;
        let bell = match run.state {
            State::Planned { .. } | State::Absent { .. } => submit,
            State::Creating { .. } | State::Tracking { .. } => track,
            State::Freeing { .. } | State::Promoting { .. } => room,
            State::Completed { .. } | State::Failed { .. } | State::Skipped { .. } => {
                // The disk is free: another may wait for it.
                for bell in [tell, submit, retain, notify] {
                    bell.ring();
                }
                return;
            }
        };
        match next_step(run, &self.now(), Facts::default()) {
            Step::Wait(wait) => bell.ring_at(self.parts.time.clock().mono().saturating_add(wait)),
            _ => bell.ring(),
        }
    }

    /// Reports an event.
    pub fn say(&self, event: &Event) {
        self.parts.report.report(event);
    }

    /// Reports what is logged from now on, if that has changed.
    pub fn say_level(&self, change: Option<Chosen>) {
        if let Some(chosen) = change {
            let event = Event::new(Kind::LogLevel, format!("logged from now on: {chosen}"));
            self.say(&event.with(|fields| fields.reason = Some(chosen.by.as_str().to_owned())));
        }
    }

    /// Reports something that should not be.
    pub fn fault(&self, error: &dyn std::error::Error) {
        self.say(&Event::new(Kind::DaemonFault, chain(error)));
    }

    /// Writes a change. A failure is reported once, and its end too.
    pub async fn write(&self, change: Change) -> Result<bool, SharedError> {
        Ok(self.write_all(vec![change]).await?.into_iter().all(|applied| applied))
    }

    /// Writes changes, all of them or none; says of each whether it was applied.
    pub async fn write_all(&self, changes: Vec<Change>) -> Result<Vec<bool>, SharedError> {
        let outcome = self.parts.journal.write_all(changes).await;
        self.note_written(&outcome);
        outcome
    }

    /// Begins an epoch in the journal: its number.
    pub async fn begin_epoch(&self) -> Result<u64, SharedError> {
        let outcome = self.parts.journal.read(|store| store.begin_epoch()).await;
        self.note_written(&outcome);
        outcome
    }

    fn note_written<T>(&self, outcome: &Result<T, SharedError>) {
        match outcome {
            Ok(_) => {
                if self.unwritable.swap(false, Ordering::Relaxed) {
                    self.say(&Event::new(Kind::JournalWritable, "the journal can be written again"));
                }
            }
            Err(error) => {
                if !self.unwritable.swap(true, Ordering::Relaxed) {
                    let message =
                        format!("no backup is started until the journal can be written: {}", chain(error));
                    self.say(&Event::new(Kind::JournalUnwritable, message));
                }
            }
        }
    }

    /// Whether the last write to the journal succeeded.
    pub fn is_writable(&self) -> bool {
        !self.unwritable.load(Ordering::Relaxed)
    }

    /// Reports that the journal could not do it; nothing where it is known that it cannot be written, which is said
    /// once and not at each attempt.
    pub fn journal_fault(&self, error: &SharedError) {
        if !self.unwritable.load(Ordering::Relaxed) {
            self.fault(&**error);
        }
    }

    /// Writes what happened, however long it takes. Only a stop ends the trying; the row then says that the
    /// outcome is unknown, and the next start finds it out.
    pub async fn persist(&self, change: Change) -> bool {
        loop {
            if let Ok(applied) = self.write(change.clone()).await {
                return applied;
            }
            tokio::select! {
                () = self.stop.cancelled() => return false,
                () = tokio::time::sleep(REWRITE) => {}
            }
        }
    }

    /// The change that records what is known of a run now.
    pub fn saving(&self, run: Run) -> Change {
        let now = self.now();
        Change::Save { attend_at: attend_at(&run, &now), run, now: now.wall }
    }

    /// The same for a run without an attempt under way.
    pub fn saving_waiting(&self, run: Run) -> Change {
        let now = self.now();
        Change::SaveWaiting { attend_at: attend_at(&run, &now), run, now: now.wall }
    }

    /// The intent of a deletion or a promotion that begins now.
    pub fn making_room(&self, run: Run, gap: bool) -> Change {
        let now = self.now();
        Change::MakeRoom { attend_at: attend_at(&run, &now), run, gap, now: now.wall }
    }

    /// The intent of an attempt that begins now.
    pub fn beginning(&self, run: Run) -> Change {
        let now = self.now();
        Change::Begin { attend_at: attend_at(&run, &now), run, now: now.wall }
    }
}

/// When a run is next worth a look.
fn attend_at(run: &Run, now: &backup_core::Now) -> Timestamp {
    match next_step(run, now, Facts::default()) {
        Step::Wait(wait) => now.wall.saturating_add(wait).unwrap_or(Timestamp::MAX),
        _ => now.wall,
    }
}
