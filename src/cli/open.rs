//! What several commands begin with: the configuration, the journal, the lock, the app.

use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::SignedDuration;

use super::exit::{Exit, Failure};
use crate::app::{App, Idle, Parts, Settings};
use crate::clock::{Clock, SystemClock, Time};
use crate::cloud::Clouds;
use crate::config::{Config, Job};
use crate::fleet::Fleet;
use crate::journal::{self, Inventory, Journal, Sqlite, Store as _};
use crate::notify::{Deliver, Network};
use crate::random::Random;
use crate::report::Report;
use crate::report::log::Levels;

/// The process's environment, as configuration and credentials read it.
pub(super) fn environment() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// The runtime of a process. One thread does: what blocks is done elsewhere, and a second one would spend more on being
/// woken than it saves.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| Failure::io("start", &error))
}

/// The configuration, or all of its mistakes.
pub(super) fn config(path: &Path) -> Result<Arc<Config>, Failure> {
    Config::read(path, &environment())
        .map(Arc::new)
        .map_err(|errors| Failure::verbatim(Exit::BadConfiguration, errors))
}

/// The journal, to read beside its daemon or without one; none where none was ever written.
pub(super) fn journal_to_read(config: &Config) -> Result<Option<Sqlite>, Failure> {
    Sqlite::open_to_read(&config.state_dir.join(journal::FILE)).map_err(|error| Failure::journal(&error))
}

/// The exclusive right to act on a journal. It ends with the process, however that ends.
pub(super) struct Lock {
    _file: File,
}

/// What became of taking the lock.
pub(super) enum Taken {
    /// It is ours.
    Ours(Lock),
    /// Another process has it; this is what it wrote of itself.
    Held(String),
}

/// Takes the lock of a state directory, making the directory as needed.
pub(super) fn lock(state_dir: &Path) -> Result<Taken, Failure> {
    let path: PathBuf = state_dir.join("lock");
    let failed = |error: io::Error| Failure::io(format_args!("lock {}", path.display()), &error);
    std::fs::create_dir_all(state_dir).map_err(failed)?;
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    // Where it cannot be done it was not needed: who may not give files away is no more than one user.
    let _ = hand_over(state_dir, &file);
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).and_then(|()| file.rewind()).map_err(failed)?;
            writeln!(file, "process {}", std::process::id()).map_err(failed)?;
            Ok(Taken::Ours(Lock { _file: file }))
        }
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            file.read_to_string(&mut holder).map_err(failed)?;
            Ok(Taken::Held(holder.trim().to_owned()))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// What root makes in the folder of a daemon with a user of its own, by a command before the daemon's first start, is to
/// be the daemon's. SQLite does the same for the files beside the journal.
fn hand_over(state_dir: &Path, lock: &File) -> io::Result<()> {
    let owner = state_dir.metadata()?;
    if lock.metadata()?.uid() == owner.uid() {
        return Ok(());
    }
    for path in [state_dir.join("lock"), state_dir.join(journal::FILE)] {
        File::options().append(true).create(true).open(&path)?;
        chown(&path, Some(owner.uid()), Some(owner.gid()))?;
    }
    Ok(())
}

/// Whether a process holds the lock.
pub(super) fn is_held(state_dir: &Path) -> bool {
    File::open(state_dir.join("lock"))
        .is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// The app, and what makes its clients anew at a reload.
pub(super) struct Opened {
    /// The app.
    pub(super) app: Arc<App>,
    /// The maker of clients.
    pub(super) clouds: Clouds,
}

/// The app over the real world, or over another clock and with other ears.
pub(super) async fn app(
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    (report, levels): (Arc<dyn Report>, Levels),
    environment: BTreeMap<String, String>,
) -> Result<Opened, Failure> {
    let journal = Journal::open(&config.state_dir).map_err(|error| Failure::journal(&error))?;
    let epoch = journal.read(|store| store.begin_epoch()).await.map_err(|error| Failure::journal(&error))?;
    let random = Random::from_system();
    let deliver = notifiers(environment.clone())?;
    let clouds = Clouds::new(Arc::clone(&clock), environment, config.guard, random.draw());
    let settings = settings(&config, &clouds, &journal).await?;
    let time = Time::new(clock, epoch);
    let parts = Parts { time, random, journal, report, levels, deliver, idle: Idle::default() };
    Ok(Opened { app: App::new(parts, settings), clouds })
}

/// Notifiers as the network reaches them.
pub(super) fn notifiers(environment: BTreeMap<String, String>) -> Result<Arc<dyn Deliver>, Failure> {
    let network =
        Network::new(environment).map_err(|error| Failure::io("prepare the notifications", &error))?;
    Ok(Arc::new(network))
}

/// The machine's clock.
pub(super) fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::new(SignedDuration::ZERO))
}

/// A configuration with a client for each of its targets, and the disks that the journal knows of its jobs.
pub(super) async fn settings(
    config: &Arc<Config>,
    clouds: &Clouds,
    journal: &Journal,
) -> Result<Settings, Failure> {
    let clouds = clouds.of(config).map_err(|error| Failure::io("prepare the connections", &error))?;
    let inventory = journal.read(|store| store.inventory()).await;
    let inventory = inventory.map_err(|error| Failure::journal(&error))?;
    Ok(Settings::new(Arc::clone(config), clouds, &inventory))
}

/// The disks of a configuration's jobs, as far as its journal knows them. Where all are named, it is not asked.
pub(super) fn fleet(config: &Config) -> Result<Fleet, Failure> {
    let journal =
        config.jobs.iter().any(Job::wants_discovery).then(|| journal_to_read(config)).transpose()?;
    let inventory = match journal.flatten() {
        Some(journal) => journal.inventory().map_err(|error| Failure::journal(&error))?,
        None => Inventory::default(),
    };
    Ok(Fleet::resolve(config, &inventory))
}
