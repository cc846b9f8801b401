//! A world with accounts and regions, and what is asked of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backup_core::run::State;
use cbs_backupd::app::Idle;
use cbs_backupd::clock::Clock as _;
use cbs_backupd::config::Config;
use cbs_backupd::journal::Row;
use cbs_backupd::report::{Event, Kind};
use cbs_backupd::simulate::{self, Beginning, Living, Network, Tamper};
use cbs_sim::{Credential, Disk, Rule, Timings};
use jiff::Timestamp;

pub(crate) const CREATE: &str = "CreateDiskBackup";
/// Ten seconds before 02:30 in Shanghai.
pub(crate) const START: &str = "2026-11-24T18:29:50Z";

pub(crate) struct World {
    pub(crate) world: simulate::World,
}

/// What a world starts from.
#[derive(Default)]
pub(crate) struct Setup<'a> {
    /// `targets` and `jobs` of the configuration.
    pub(crate) config: &'a str,
    pub(crate) disks: Vec<Disk>,
    pub(crate) accounts: &'a [&'a str],
    pub(crate) faults: Vec<Rule>,
    pub(crate) network: Network,
    pub(crate) choices: cbs_sim::Choices,
}

pub(crate) fn config(rest: &str) -> Config {
    let text = format!("owner: ops1\ntimezone: Asia/Shanghai\nsettle: 30s\n{rest}");
    Config::parse("scenario.yaml", &text, &BTreeMap::new()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// The key of an account.
pub(crate) fn key(account: &str) -> Credential {
    Credential {
        secret_id: format!("AKID-{account}"),
        identity: Some(account.to_owned()),
        ..simulate::key(0)
    }
}

impl World {
    pub(crate) fn new(setup: Setup<'_>) -> Self {
        let credentials = setup.accounts.iter().map(|account| key(account)).chain([simulate::key(0)]);
        let cloud = cbs_sim::World {
            seed: 1,
            credentials: credentials.collect(),
            // Nothing is drawn: what one disk meets does not hang on what others do.
            timings: Timings {
                create_ms: (30_000, 30_000),
                visible_ms: (0, 0),
                reply_ms: (20, 20),
                ..Timings::default()
            },
            choices: setup.choices,
            disks: setup.disks,
            faults: setup.faults,
            ..cbs_sim::World::default()
        };
        let world = simulate::World::new(Beginning {
            start: START.parse().unwrap(),
            config: config(setup.config),
            cloud,
            network: setup.network,
            seed: 1,
            idle: Idle::default(),
            keep_events: true,
            listener: None,
            tamper: Tamper::default(),
        });
        Self { world: world.unwrap() }
    }

    pub(crate) async fn start(&self) -> Living {
        self.world.start(&Arc::default()).await.unwrap()
    }

    /// Another configuration file, and a reload.
    pub(crate) async fn reload(&self, daemon: &Living, rest: &str) {
        self.world.set_config(config(rest));
        daemon.reload(&self.world).await.unwrap();
    }

    /// Lets time pass until this instant.
    pub(crate) async fn until(&self, instant: &str) {
        let instant: Timestamp = instant.parse().unwrap();
        let wait = instant.duration_since(self.world.clock.wall());
        tokio::time::sleep(wait.try_into().unwrap()).await;
    }

    pub(crate) async fn rows(&self) -> Vec<Row> {
        self.world.rows(None).await.unwrap()
    }

    /// The disks that have a good backup of this due instant.
    pub(crate) async fn good(&self, due: &str) -> BTreeSet<String> {
        let due: Timestamp = due.parse().unwrap();
        let good = |row: &Row| row.run.id.due == due && matches!(row.run.state, State::Completed { .. });
        self.rows().await.into_iter().filter(good).map(|row| row.run.id.disk.to_string()).collect()
    }

    pub(crate) fn said(&self, kind: Kind) -> Vec<Event> {
        self.world.log.events().into_iter().filter(|event| event.kind == kind).collect()
    }

    /// The disks that an event named.
    pub(crate) fn disks_of(&self, kind: Kind) -> Vec<String> {
        self.said(kind).into_iter().filter_map(|event| event.fields.disk_id).collect()
    }

    /// Stops the daemon; nothing that must not be was seen.
    pub(crate) async fn stop(&self, daemon: Living) {
        daemon.stop().await;
        assert_eq!(self.world.witness.objections(), Vec::<String>::new());
        for kind in [Kind::DaemonFault, Kind::JournalUnreadable, Kind::JournalUnwritable, Kind::BackupTwin] {
            assert_eq!(self.said(kind), [], "{kind:?}");
        }
    }

    /// Lets time pass until no run is under way; not for longer than `patience`.
    pub(crate) async fn until_idle(&self, patience: Duration) {
        let give_up = self.world.clock.mono() + patience;
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let open = self.world.journal.read(|store| store.open_counts()).await.unwrap();
            if open.is_empty() {
                return;
            }
            assert!(self.world.clock.mono() < give_up, "these have not ended: {open:?}");
        }
    }
}

pub(crate) fn id(number: usize) -> String {
    format!("disk-{number:08x}")
}

pub(crate) fn ids(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    numbers.into_iter().map(id).collect()
}

/// A disk with the tag `backup`.
pub(crate) fn tagged(number: usize, value: &str) -> Disk {
    Disk { tags: [("backup".to_owned(), value.to_owned())].into(), ..Disk::new(&id(number)) }
}

impl World {
    /// Lets time pass until the first runs are planned.
    pub(crate) async fn until_started(&self) {
        while self.rows().await.is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}
