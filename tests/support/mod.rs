//! A whole daemon and a simulated cloud in one process, under tokio's paused clock: hours pass in a blink, and
//! the same seed gives the same night.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backup_core::BackupName;
use backup_core::run::State;
use cbs_backupd::app::Idle;
use cbs_backupd::clock::Clock as _;
use cbs_backupd::config::Config;
use cbs_backupd::journal::{Change, Row, SharedError, Subject};
use cbs_backupd::report::{Event, Kind};
use cbs_backupd::simulate::{self, Beginning, Life, Living, Network, Tamper};
use cbs_sim::{Disk, Ledger, Rule, Timings};
use jiff::Timestamp;

/// The action that makes backups.
pub(crate) const CREATE: &str = "CreateDiskBackup";

/// Ten seconds before 02:30 in Shanghai.
const START: &str = "2026-11-24T18:29:50Z";

/// What a night starts from.
pub(crate) struct Night {
    /// How many disks are due at 02:30.
    pub(crate) disks: usize,
    /// The job's `schedule`.
    pub(crate) schedule: &'static str,
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
            schedule: "\"30 2 * * *\"",
            seed: 1,
            faults: Vec::new(),
            timings: Timings {
                create_ms: (20_000, 40_000),
                visible_ms: (0, 1_500),
                reply_ms: (5, 60),
                ..Timings::default()
            },
            on_its_way: Duration::ZERO,
            without_connection: 0,
        }
    }
}

/// The name of the n-th disk.
pub(crate) fn disk(number: usize) -> String {
    format!("disk-{:08x}", 0x5a00_0000 + number)
}

/// A world, and what is asked of it.
pub(crate) struct World {
    /// The world.
    world: simulate::World,
    disks: usize,
}

impl World {
    /// The world of `night`, ten seconds before its backups are due.
    pub(crate) fn new(night: Night) -> Self {
        let disks: Vec<String> = (0..night.disks).map(disk).collect();
        let cloud = cbs_sim::World {
            seed: night.seed,
            credentials: vec![simulate::key(0)],
            timings: night.timings,
            disks: disks.iter().map(|id| Disk::new(id)).collect(),
            faults: night.faults,
            ..cbs_sim::World::default()
        };
        let text = format!(
            "owner: ops1\ntimezone: Asia/Shanghai\nsettle: 30s\n\
             targets:\n  default: {{ region: ap-guangzhou }}\n\
             jobs:\n  - name: db\n    disks: [{}]\n    schedule: {}\n    complete_within: 1h\n",
            disks.join(", "),
            night.schedule,
        );
        let way = u64::try_from(night.on_its_way.as_millis()).unwrap();
        let world = simulate::World::new(Beginning {
            start: START.parse().unwrap(),
            config: Config::parse("scenario.yaml", &text, &BTreeMap::new()).unwrap(),
            cloud,
            network: Network {
                on_its_way_ms: (way, way),
                creates_without_connection: night.without_connection,
                ..Network::default()
            },
            seed: night.seed,
            idle: Idle::default(),
            keep_events: true,
            listener: None,
            tamper: Tamper::default(),
        })
        .unwrap();
        Self { world, disks: night.disks }
    }

    /// A new process over the same journal.
    pub(crate) async fn start(&self) -> Living {
        self.start_life(&Arc::default()).await.unwrap()
    }

    /// The same, for as long as `life` lasts.
    pub(crate) async fn start_life(&self, life: &Arc<Life>) -> Result<Living, SharedError> {
        self.world.start(life).await
    }

    /// Pauses the first disks, so many.
    pub(crate) async fn pause(&self, disks: usize) {
        let since = START.parse().unwrap();
        let pause = |number| Change::Pause(Subject::Disk(disk(number).parse().unwrap()), since);
        self.world.journal.write_all((0..disks).map(pause).collect()).await.unwrap();
    }

    /// All rows of the journal.
    pub(crate) async fn rows(&self) -> Vec<Row> {
        self.world.rows(None).await.unwrap()
    }

    /// Lets time pass until every disk's run has ended; not for longer than `patience`.
    pub(crate) async fn until_all_ended(&self, patience: Duration) {
        let give_up = self.world.clock.mono() + patience;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let open = self.world.journal.read(|store| store.open_counts()).await.unwrap();
            if open.is_empty() && self.rows().await.len() >= self.disks {
                return;
            }
            assert!(self.world.clock.mono() < give_up, "these have not ended: {open:?}");
        }
    }

    /// Stops a daemon in good order, and gives the account of the night.
    pub(crate) async fn account(&self, daemon: Living) -> Account {
        daemon.stop().await;
        assert_eq!(self.world.witness.objections(), Vec::<String>::new());
        Account { ledger: self.world.sim.ledger(), events: self.world.log.events(), rows: self.rows().await }
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
            let State::Completed { backup, .. } = &row.run.state else { panic!("not completed: {row:#?}") };
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
        for event in &self.events {
            let known: Vec<_> = event.kind.fields().collect();
            let names = event.fields.names();
            assert!(
                names.iter().all(|name| known.contains(name)),
                "a field that is not documented: {event:?}"
            );
        }
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
