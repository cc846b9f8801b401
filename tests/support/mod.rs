//! A whole daemon and a simulated cloud in one process, under tokio's paused clock: hours pass in a blink, and
//! the same seed gives the same night.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup_core::BackupName;
use backup_core::run::State;
use cbs::transport::{Failure, HttpRequest, HttpResponse, Transport, TransportError};
use cbs_backupd::app::{App, Parts, Settings};
use cbs_backupd::clock::{Clock, SteppedClock, Time};
use cbs_backupd::cloud::Clouds;
use cbs_backupd::config::Config;
use cbs_backupd::daemon::Daemon;
use cbs_backupd::journal::{Blocking, Filter, Journal, Row, Sqlite};
use cbs_backupd::random::Random;
use cbs_backupd::report::{Event, Kind, Report};
use cbs_sim::{Credential, Disk, Ledger, Outcome, Request, Rule, Sim, Timings};
use futures_util::future::BoxFuture;
use jiff::Timestamp;

/// The action that makes backups.
pub(crate) const CREATE: &str = "CreateDiskBackup";

const ID: &str = "AKIDtest";
const KEY: &str = "key-of-a-simulated-cloud";
/// Ten seconds before 02:30 in Shanghai.
const START: &str = "2026-11-24T18:29:50Z";

/// What a night starts from.
pub(crate) struct Night {
    /// How many disks are due at 02:30.
    pub(crate) disks: usize,
    /// Of the daemon and of the cloud.
    pub(crate) seed: u64,
    /// What goes wrong.
    pub(crate) faults: Vec<Rule>,
    /// How long the cloud takes.
    pub(crate) timings: Timings,
    /// How long a request is on its way before it arrives. It arrives even if its sender dies meanwhile.
    pub(crate) on_its_way: Duration,
    /// So many creates find no connection.
    pub(crate) without_connection: u64,
}

impl Default for Night {
    fn default() -> Self {
        Self {
            disks: 1,
            seed: 1,
            faults: Vec::new(),
            timings: Timings { create_ms: (20_000, 40_000), visible_ms: (0, 1_500), reply_ms: (5, 60) },
            on_its_way: Duration::ZERO,
            without_connection: 0,
        }
    }
}

/// The name of the n-th disk.
pub(crate) fn disk(number: usize) -> String {
    format!("disk-{:08x}", 0x5a00_0000 + number)
}

/// Collects events.
#[derive(Default)]
struct Ears(Mutex<Vec<Event>>);

impl Report for Ears {
    fn report(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// The network between the daemon and the simulated cloud.
struct Wire {
    sim: Sim,
    on_its_way: Duration,
    without_connection: Arc<AtomicU64>,
}

impl Transport for Wire {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        Box::pin(async move {
            let is_create = request.header("X-TC-Action") == Some(CREATE);
            let refuses = |left: u64| left.checked_sub(1);
            if is_create
                && self.without_connection.fetch_update(Ordering::Relaxed, Ordering::Relaxed, refuses).is_ok()
            {
                return Err(TransportError::new(Failure::Connect));
            }
            let headers: Vec<_> =
                request.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let arriving = Request::post(&headers, request.body.clone());
            let reply = if self.on_its_way.is_zero() {
                self.sim.handle(&arriving)
            } else {
                let (sim, on_its_way) = (self.sim.clone(), self.on_its_way);
                // A task of its own: bytes that have left do not come back when their sender dies.
                let arrival = tokio::spawn(async move {
                    tokio::time::sleep(on_its_way).await;
                    sim.handle(&arriving)
                });
                arrival.await.unwrap()
            };
            tokio::time::sleep(reply.delay).await;
            match reply.outcome {
                Outcome::Respond(response) => Ok(HttpResponse {
                    status: response.status,
                    date: response.header("Date").map(str::to_owned),
                    content_type: response.header("Content-Type").map(str::to_owned),
                    retry_after: response.header("Retry-After").map(str::to_owned),
                    body: response.body,
                }),
                Outcome::DropConnection | Outcome::ResetConnection => {
                    Err(TransportError::new(Failure::Closed))
                }
                Outcome::NeverReply => std::future::pending().await,
                Outcome::TruncatedBody(..) => Err(TransportError::new(Failure::CutShort)),
            }
        })
    }
}

/// A cloud, a journal and a clock: what outlives a daemon.
pub(crate) struct World {
    /// The wall clock.
    pub(crate) clock: Arc<SteppedClock>,
    /// The cloud.
    pub(crate) sim: Sim,
    journal: Journal,
    config: Arc<Config>,
    ears: Arc<Ears>,
    night: Night,
    without_connection: Arc<AtomicU64>,
    daemons: AtomicU64,
}

impl World {
    /// The world of `night`, ten seconds before its backups are due.
    pub(crate) fn new(mut night: Night) -> Self {
        let clock = Arc::new(SteppedClock::new(START.parse().unwrap()));
        let wall = Arc::clone(&clock);
        let sim = Sim::new(
            cbs_sim::World {
                seed: night.seed,
                credentials: vec![Credential {
                    secret_id: ID.to_owned(),
                    secret_key: KEY.to_owned(),
                    token: None,
                    identity: None,
                }],
                timings: night.timings.clone(),
                disks: (0..night.disks).map(|number| Disk::new(&disk(number))).collect(),
                faults: std::mem::take(&mut night.faults),
                ..cbs_sim::World::default()
            },
            Arc::new(move || wall.wall()),
        );
        let disks: Vec<String> = (0..night.disks).map(disk).collect();
        let text = format!(
            "owner: ops1\ntimezone: Asia/Shanghai\nsettle: 30s\n\
             targets:\n  default: {{ region: ap-guangzhou }}\n\
             jobs:\n  - name: db\n    disks: [{}]\n    schedule: \"30 2 * * *\"\n    complete_within: 1h\n",
            disks.join(", ")
        );
        let config = Config::parse("scenario.yaml", &text, &BTreeMap::new()).unwrap();
        Self {
            clock,
            sim,
            journal: Journal::new(Box::new(Sqlite::in_memory().unwrap()), Blocking::Inline),
            config: Arc::new(config),
            ears: Arc::default(),
            without_connection: Arc::new(AtomicU64::new(night.without_connection)),
            daemons: AtomicU64::new(0),
            night,
        }
    }

    /// A new process over the same journal.
    pub(crate) async fn start(&self) -> Daemon {
        let clock: Arc<dyn Clock> = self.clock.clone();
        let epoch = self.journal.read(|store| store.begin_epoch()).await.unwrap();
        let random =
            Random::from_seed(self.night.seed * 1_000 + self.daemons.fetch_add(1, Ordering::Relaxed));
        let environment = [("TENCENTCLOUD_SECRET_ID", ID), ("TENCENTCLOUD_SECRET_KEY", KEY)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into();
        let (sim, on_its_way) = (self.sim.clone(), self.night.on_its_way);
        let without_connection = Arc::clone(&self.without_connection);
        let clouds =
            Clouds::over(Arc::clone(&clock), environment, self.config.guard, random.draw(), move |_| {
                let without_connection = Arc::clone(&without_connection);
                Ok(Arc::new(Wire { sim: sim.clone(), on_its_way, without_connection }))
            });
        let settings =
            Settings { config: Arc::clone(&self.config), clouds: clouds.of(&self.config).unwrap() };
        let parts = Parts {
            time: Time::new(clock, epoch),
            random,
            journal: self.journal.clone(),
            report: self.ears.clone(),
        };
        Daemon::start(App::new(parts, settings))
    }

    /// All rows of the journal.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        let all = Filter { limit: 100_000, ..Filter::default() };
        self.journal.read(move |store| store.history(&all)).await.unwrap()
    }

    /// Lets time pass until every disk's run has ended; not for longer than `patience`.
    pub(crate) async fn until_all_ended(&self, patience: Duration) {
        let give_up = self.clock.mono() + patience;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let open = self.journal.read(|store| store.open_counts()).await.unwrap();
            if open.is_empty() && self.rows().await.len() >= self.night.disks {
                return;
            }
            assert!(self.clock.mono() < give_up, "these have not ended: {open:?}");
        }
    }

    /// Stops a daemon in good order, and gives the account of the night.
    pub(crate) async fn account(&self, daemon: Daemon) -> Account {
        daemon.stop().await;
        let events = self.ears.0.lock().unwrap().clone();
        Account { ledger: self.sim.ledger(), events, rows: self.rows().await }
    }
}

/// A whole night: start, all runs to their end, stop.
pub(crate) async fn play(night: Night) -> Account {
    let world = World::new(night);
    let daemon = world.start().await;
    world.until_all_ended(Duration::from_secs(6 * 3600)).await;
    world.account(daemon).await
}

/// What is known after a night: the cloud's side, what was said, and what is written down.
pub(crate) struct Account {
    /// The cloud's.
    pub(crate) ledger: Ledger,
    /// The log's.
    pub(crate) events: Vec<Event>,
    /// The journal's.
    pub(crate) rows: Vec<Row>,
}

impl Account {
    /// The only row.
    pub(crate) fn row(&self) -> &Row {
        assert_eq!(self.rows.len(), 1);
        &self.rows[0]
    }

    /// The events of a kind.
    pub(crate) fn said(&self, kind: Kind) -> Vec<&Event> {
        self.events.iter().filter(|event| event.kind == kind).collect()
    }

    /// When creates arrived.
    pub(crate) fn creates(&self) -> Vec<Timestamp> {
        self.ledger.requests_of(CREATE).map(|request| request.arrival).collect()
    }

    /// Every disk has exactly one backup, NORMAL, of the name that its run gives it; its row says so, and the
    /// log did, once.
    #[track_caller]
    pub(crate) fn assert_one_good_backup_each(&self, disks: usize) {
        self.assert_orderly(disks);
        assert_eq!(self.rows.len(), disks);
        assert_eq!(self.ledger.backups.len(), disks, "surviving backups");
        for row in &self.rows {
            let State::Completed { backup } = &row.run.state else { panic!("not completed: {row:#?}") };
            let of_disk: Vec<_> = self.ledger.backups_of(row.run.id.disk.as_str()).collect();
            let [only] = of_disk[..] else { panic!("not one backup: {of_disk:#?}") };
            assert_eq!(only.backup_id, backup.as_str());
            assert_eq!(only.name, BackupName::of(&row.owner, &row.run.id).to_string());
            assert_eq!(only.state, "NORMAL");
        }
        assert!(self.said(Kind::BackupFailed).is_empty());
    }

    /// The log has nothing that should not be, and one end for each run.
    #[track_caller]
    fn assert_orderly(&self, runs: usize) {
        let wrong = [Kind::DaemonFault, Kind::JournalUnreadable, Kind::JournalUnwritable, Kind::BackupTwin];
        let faults: Vec<_> = self.events.iter().filter(|event| wrong.contains(&event.kind)).collect();
        assert!(faults.is_empty(), "{faults:#?}");
        let ends = [Kind::BackupCompleted, Kind::BackupFailed, Kind::RunSkipped];
        let mut told: BTreeMap<&str, usize> = BTreeMap::new();
        for event in self.events.iter().filter(|event| ends.contains(&event.kind)) {
            *told.entry(event.fields.run.as_deref().unwrap()).or_default() += 1;
        }
        assert_eq!(told.len(), runs, "runs whose end was told");
        assert!(told.values().all(|times| *times == 1), "{told:?}");
    }

    /// The only run failed with this reason.
    #[track_caller]
    pub(crate) fn assert_failed(&self, reason: &str) {
        self.assert_orderly(1);
        assert_eq!(self.row().run.state.name(), "failed");
        assert_eq!(self.row().run.state.reason().as_deref(), Some(reason));
        let [event] = self.said(Kind::BackupFailed)[..] else { panic!("{:#?}", self.events) };
        assert_eq!(event.fields.reason.as_deref(), Some(reason));
    }
}
