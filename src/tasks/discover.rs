//! Keeps the inventory: which disks the jobs hold that select them, and where disks are attached.
//!
//! Responsible for listing, in the round of `discover_every`, at start and after a reload, and for carrying out what
//! `backup_core::selection` makes of it. A target that fails keeps the disks that it has. It refuses to decide who
//! joins and who leaves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup_core::selection::{Refresh, Selection, refresh, reselect};
use backup_core::{DiskId, InstanceId, JobName, TargetName};
use cbs::{Filter, Priority};

use super::driver::{InFlight, Task};
use super::rounds::{Rounds, Turn};
use crate::app::App;
use crate::bell::Bell;
use crate::cloud::{Cloud, FoundDisk, narrowed};
use crate::config::{Config, Disks, Job};
use crate::journal::{Change, Held, Inventory, SharedError};
use crate::report::{Event, Kind, counted};

/// The task.
#[derive(Default)]
pub struct Discover {
    rounds: Rounds,
    done: Arc<Mutex<Done>>,
}

#[derive(Default)]
struct Done {
    /// When a target's disks were last listed, by the monotonic clock, and for which configuration.
    listed: BTreeMap<TargetName, (Duration, Arc<Config>)>,
    /// Jobs of which it was said that a loss is refused.
    refused: BTreeSet<JobName>,
}

impl Task for Discover {
    /// Its calls are signed, and disks begin at an instant.
    const NEEDS_CLOCK: bool = true;

    fn bell(app: &App) -> &Bell {
        &app.pokes.discover
    }

    async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        let settings = app.settings();
        let (mono, every) = (app.parts.time.clock().mono(), settings.config.discover_every);
        let wanted: BTreeSet<&TargetName> =
            settings.config.jobs.iter().filter(|job| job.wants_discovery()).map(|job| &job.target).collect();
        let mut wait = every;
        for (target, cloud) in settings.clouds.iter().filter(|(target, _)| wanted.contains(target)) {
            if self.rounds.is_busy(target) {
                continue;
            }
            let rest = match lock(&self.done).listed.get(target) {
                Some((at, config)) if Arc::ptr_eq(config, &settings.config) => {
                    (*at + every).saturating_sub(mono)
                }
                // At start, or after a reload.
                _ => Duration::ZERO,
            };
            let rest = rest.max(self.rounds.rest(target, mono));
            if !rest.is_zero() {
                wait = wait.min(rest);
                continue;
            }
            let round = Round {
                app: Arc::clone(app),
                cloud: cloud.clone(),
                config: Arc::clone(&settings.config),
                turn: self.rounds.begin(target),
                done: Arc::clone(&self.done),
            };
            let rounds = self.rounds.clone();
            in_flight.start(&[], async move {
                let stop = round.app.stop.clone();
                tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = round.go(&rounds, mono) => {}
                }
            });
        }
        wait
    }
}

/// A round of one target: its jobs, each listed once.
struct Round {
    app: Arc<App>,
    cloud: Cloud,
    config: Arc<Config>,
    turn: Turn,
    done: Arc<Mutex<Done>>,
}

/// A job that selects its disks.
type Selecting<'a> = (&'a Job, &'a Selection);

/// Why a job's disks are not known anew.
enum Trouble {
    /// The cloud did not say.
    Cloud(String),
    /// The journal could not be read or written.
    Journal(SharedError),
}

impl From<SharedError> for Trouble {
    fn from(error: SharedError) -> Self {
        Self::Journal(error)
    }
}

impl From<String> for Trouble {
    fn from(problem: String) -> Self {
        Self::Cloud(problem)
    }
}

impl Round {
    async fn go(&self, rounds: &Rounds, mono: Duration) {
        let (app, target) = (&self.app, &self.turn.target);
        let with_target = |event: Event| event.with(|fields| fields.target = Some(target.to_string()));
        match self.list_all().await {
            Ok(()) => {
                lock(&self.done).listed.insert(target.clone(), (mono, Arc::clone(&self.config)));
                self.turn.succeed();
                if rounds.recovered(target) {
                    let message = "the disks are listed again";
                    app.say(&with_target(Event::new(Kind::DiscoverRecovered, message)));
                }
            }
            Err(Trouble::Cloud(problem)) => {
                if self.turn.fail(mono) {
                    let message =
                        format!("the disks cannot be listed; jobs keep those that they have: {problem}");
                    app.say(&with_target(Event::new(Kind::DiscoverFailed, message)));
                }
            }
            Err(Trouble::Journal(error)) => {
                let _ = self.turn.fail(mono);
                app.journal_fault(&error);
            }
        }
    }

    /// Lists for all jobs of the target, those together whose listing is the same. One that cannot be had keeps none
    /// of the others; of several problems, the first.
    async fn list_all(&self) -> Result<(), Trouble> {
        let mut outcome = Ok(());
        let mut listings: Vec<(Vec<Filter>, Vec<Selecting<'_>>)> = Vec::new();
        for job in self.jobs() {
            match &job.disks {
                Disks::Listed(disks) => outcome = outcome.and(self.attached(job, disks).await),
                Disks::Selected(selection) => {
                    let filters = narrowed(&selection.of);
                    match listings.iter_mut().find(|(known, _)| *known == filters) {
                        Some((_, jobs)) => jobs.push((job, selection)),
                        None => listings.push((filters, vec![(job, selection)])),
                    }
                }
            }
        }
        for (filters, jobs) in listings {
            match self.cloud.disks(&filters, Priority::Reconcile).await {
                Ok(found) => {
                    for (job, selection) in jobs {
                        outcome = outcome.and(self.selected(job, selection, &found).await);
                    }
                }
                Err(problem) => outcome = outcome.and(Err(problem.into())),
            }
        }
        let mut news = Inventory::default();
        for job in self.jobs() {
            news.jobs.extend(self.held(job).await?.map(|held| (job.name.clone(), held)));
        }
        self.app.update_fleet(&news);
        outcome
    }

    /// A job that selects its disks, after a complete listing.
    async fn selected(&self, job: &Job, selection: &Selection, found: &[FoundDisk]) -> Result<(), Trouble> {
        let text = serde_json::to_string(selection).map_err(|error| error.to_string())?;
        let held = self.held(job).await?;
        let is_same = held.as_ref().is_some_and(|held| held.target == job.target && held.selection == text);
        let known = held.map(|held| held.disks).unwrap_or_default();
        let of = |found: &[FoundDisk]| -> BTreeMap<DiskId, Option<InstanceId>> {
            let selected = found.iter().filter(|disk| selection.selects(&disk.id, &disk.attributes));
            selected.map(|disk| (disk.id.clone(), disk.instance().cloned())).collect()
        };
        let listed = of(found);
        let mut news =
            if is_same { refresh(&known, &listed, job.max_loss) } else { reselect(&known, &listed) };
        if !news.in_doubt.is_empty() {
            let looked_up = self.cloud.disks_by_id(&news.in_doubt, Priority::Reconcile).await?;
            news.settle(&of(&looked_up));
        }
        if !is_same || !news.changed.is_empty() || !news.left.is_empty() {
            self.write(job, text, &news).await?;
        }
        self.say(job, &news, is_same);
        Ok(())
    }

    /// A job that names its disks, and wants to know where they are attached. Those that are not found stay as they
    /// were.
    async fn attached(&self, job: &Job, disks: &[DiskId]) -> Result<(), Trouble> {
        let held = self.held(job).await?;
        let known = held.filter(|held| held.target == job.target).map(|held| held.disks).unwrap_or_default();
        let found = self.cloud.disks_by_id(disks, Priority::Reconcile).await?;
        let listed = found.iter().map(|disk| (disk.id.clone(), disk.instance().cloned())).collect();
        let named: BTreeSet<&DiskId> = disks.iter().collect();
        let mut news = reselect(&known, &listed);
        news.left.retain(|disk| !named.contains(disk));
        self.write(job, String::new(), &news).await?;
        Ok(())
    }

    /// The jobs of the round.
    fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.config.jobs.iter().filter(|job| job.target == self.turn.target && job.wants_discovery())
    }

    async fn held(&self, job: &Job) -> Result<Option<Held>, SharedError> {
        let name = job.name.clone();
        self.app.parts.journal.read(move |store| store.held(&name)).await
    }

    async fn write(&self, job: &Job, selection: String, news: &Refresh) -> Result<(), SharedError> {
        let listed = Change::Listed {
            job: job.name.clone(),
            target: job.target.clone(),
            selection,
            changed: news.changed.clone(),
            left: news.left.clone(),
            at: self.app.now().wall,
        };
        self.app.write(listed).await.map(drop)
    }

    fn say(&self, job: &Job, news: &Refresh, is_same: bool) {
        let event = |kind, message: String, disk: Option<&DiskId>| {
            self.app.say(&Event::new(kind, message).with(|fields| {
                fields.job = Some(job.name.to_string());
                fields.disk_id = disk.map(ToString::to_string);
                fields.target = Some(job.target.to_string());
            }));
        };
        for disk in &news.joined {
            event(Kind::DiskJoined, "selected by the job from now on".to_owned(), Some(disk));
        }
        for disk in &news.left {
            let why = if is_same {
                "missing from two complete listings, and not selected when looked up by its id"
            } else {
                "the job selects other disks than before"
            };
            event(Kind::DiskLeft, why.to_owned(), Some(disk));
        }
        match news.refused {
            Some(refused) => {
                if lock(&self.done).refused.insert(job.name.clone()) {
                    let message = format!(
                        "{} of {} would leave at once, and {} may: all stay; if it is meant, raise `max_loss` of the job and reload",
                        refused.would_leave,
                        counted(refused.of, "disk"),
                        refused.at_most
                    );
                    event(Kind::DiscoverRefused, message, None);
                }
            }
            None => {
                if lock(&self.done).refused.remove(&job.name) {
                    event(Kind::DiscoverRecovered, "a listing is believed again".to_owned(), None);
                }
            }
        }
    }
}

fn lock(done: &Mutex<Done>) -> MutexGuard<'_, Done> {
    done.lock().unwrap_or_else(PoisonError::into_inner)
}
