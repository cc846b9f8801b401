//! How things stand at one instant, for a page of metrics.
//!
//! Responsible for reading it all: the journal beside the daemon's own connection, the clients, the clock.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use backup_core::{DiskId, TargetName};
use cbs::limiter::LaneSnapshot;
use jiff::Timestamp;

use crate::app::{App, Settings};
use crate::cloud::Cloud;
use crate::journal::{self, JournalError, SeenShelf, Sqlite, Store as _};
use crate::standings::Standings;
use crate::tasks::clock_check;

/// Everything that gauges say.
pub(super) struct State {
    pub(super) now: Timestamp,
    pub(super) started: Timestamp,
    /// Why due backups are not being made, if they are not.
    pub(super) unready: Option<&'static str>,
    pub(super) is_clock_wrong: bool,
    pub(super) is_writable: bool,
    pub(super) settings: Arc<Settings>,
    pub(super) targets: Vec<Target>,
    /// None where it cannot be read.
    pub(super) journal: Option<FromJournal>,
}

/// What a target's client knows.
pub(super) struct Target {
    pub(super) name: TargetName,
    pub(super) is_reachable: bool,
    pub(super) is_credential_failing: bool,
    pub(super) expires: Option<Timestamp>,
    pub(super) lanes: Vec<(&'static str, LaneSnapshot)>,
}

/// What the journal knows.
pub(super) struct FromJournal {
    pub(super) standings: Standings,
    pub(super) open: Vec<(String, u64)>,
    pub(super) shelves: Vec<(TargetName, SeenShelf)>,
    /// Disks whose full quota holds a run now.
    pub(super) full: BTreeSet<(TargetName, DiskId)>,
    pub(super) bytes: u64,
}

impl State {
    /// As it is now. Blocks.
    pub(super) fn read(app: &App, started: Timestamp, unready: Option<&'static str>) -> Self {
        let (now, settings) = (app.now().wall, app.settings());
        let path = settings.config.state_dir.join(journal::FILE);
        let journal = FromJournal::read(&path, &settings, now).unwrap_or_else(|error| {
            tracing::debug!("no metrics of the journal: {}", crate::report::chain(&error));
            None
        });
        // Clients of targets that the configuration no longer knows stay while runs of theirs are under way.
        let known = |(name, cloud): (&TargetName, &Cloud)| {
            settings.config.targets.contains_key(name).then(|| Target::of(name, cloud))
        };
        let targets = settings.clouds.iter().filter_map(known).collect();
        Self {
            now,
            started,
            unready,
            is_clock_wrong: clock_check::is_wrong(app),
            is_writable: app.is_writable() && journal.is_some(),
            targets,
            journal,
            settings,
        }
    }
}

impl FromJournal {
    fn read(path: &Path, settings: &Settings, now: Timestamp) -> Result<Option<Self>, JournalError> {
        let Some(store) = Sqlite::open_to_read(path)? else { return Ok(None) };
        let size = |path: &Path| std::fs::metadata(path).map_or(0, |about| about.len());
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let mut full = BTreeSet::new();
        for target in settings.config.targets.keys() {
            full.extend(store.full(target)?.into_iter().map(|row| (target.clone(), row.run.id.disk)));
        }
        Ok(Some(Self {
            full,
            standings: Standings::read(&store, &settings.config, &settings.fleet, now)?,
            open: store.open_counts()?,
            shelves: store.shelves()?,
            bytes: size(path) + size(log.as_ref()),
        }))
    }
}

impl Target {
    fn of(name: &TargetName, cloud: &Cloud) -> Self {
        let health = cloud.source().provider.health().unwrap_or_default();
        Self {
            name: name.clone(),
            is_reachable: cloud.is_reachable(),
            is_credential_failing: cloud.credential_problem().is_some() || health.trouble.is_some(),
            expires: health.expires,
            lanes: cloud.lanes().collect(),
        }
    }
}
