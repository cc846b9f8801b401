//! What outlives a daemon: the clocks, the cloud, the journal, the log, the network.
//!
//! Responsible for daemons that live in it, one after another, with everything they touch behind the ports of
//! their [`Life`]. It refuses to decide what goes wrong.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cbs::transport::{Transport, TransportError};
use cbs_sim::{Credential, Sim};
use jiff::Timestamp;

use super::Listener;
use super::life::{Life, Mouth, Pen};
use super::log::Log;
use super::wire::{Net, Network, Wire};
use super::witness::Witness;
use crate::app::{App, Idle, Parts, Settings};
use crate::clock::{Clock, SteppedClock, Time};
use crate::cloud::{Clouds, Issuers};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::journal::{Blocking, Filter, Gate, Journal, JournalError, Open, Row, SharedError, Sqlite};
use crate::notify::{Deliver, Nobody};
use crate::random::Random;
use crate::report::log::Levels;

const ID: &str = "AKIDsimulated";
const KEY: &str = "key-of-a-simulated-cloud";

/// What a world begins with.
pub struct Beginning {
    /// When, by all clocks.
    pub start: Timestamp,
    /// What the daemons are told to do.
    pub config: Config,
    /// The cloud; [`key`] is to be among its credentials.
    pub cloud: cbs_sim::World,
    /// The network.
    pub network: Network,
    /// Of the daemons and of the network.
    pub seed: u64,
    /// How often tasks look around.
    pub idle: Idle,
    /// Whether the log keeps its events.
    pub keep_events: bool,
    /// Who hears all that is said.
    pub listener: Option<Listener>,
    /// What lies about the world, to see that it is found out.
    pub tamper: Tamper,
}

/// Lies about the world. The default tells none.
#[derive(Clone)]
pub struct Tamper {
    /// Beneath the journal of each daemon.
    pub gate: Arc<dyn Gate>,
    /// Around the network of each daemon.
    pub transport: fn(Arc<dyn Transport>) -> Arc<dyn Transport>,
}

impl Default for Tamper {
    fn default() -> Self {
        Self { gate: Arc::new(Open), transport: |honest| honest }
    }
}

/// The credential of a generation: worlds begin with the first, 0.
#[must_use]
pub fn key(generation: u64) -> Credential {
    Credential {
        secret_id: format!("{ID}{generation}"),
        secret_key: KEY.to_owned(),
        token: None,
        identity: Some("simulated".to_owned()),
    }
}

/// A world.
pub struct World {
    /// The wall clock of the machine that daemons live on.
    pub clock: Arc<SteppedClock>,
    /// The cloud's clock, which is never wrong.
    pub truth: Arc<SteppedClock>,
    /// The cloud.
    pub sim: Sim,
    /// The journal itself, past every gate.
    pub journal: Journal,
    /// All that was said.
    pub log: Arc<Log>,
    /// The network.
    pub net: Arc<Net>,
    /// What was seen.
    pub witness: Arc<Witness>,
    config: Mutex<Arc<Config>>,
    key: AtomicU64,
    environment: Mutex<BTreeMap<String, String>>,
    deliver: Mutex<Arc<dyn Deliver>>,
    seed: u64,
    idle: Idle,
    tamper: Tamper,
    daemons: AtomicU64,
}

impl World {
    /// A new world. To be called inside a runtime, whose clock is the world's.
    ///
    /// # Errors
    /// When there is no memory for a journal.
    pub fn new(beginning: Beginning) -> Result<Self, JournalError> {
        let Beginning { start, config, cloud, network, seed, idle, keep_events, listener, tamper } =
            beginning;
        let clock = Arc::new(SteppedClock::new(start));
        let truth = Arc::new(SteppedClock::new(start));
        let cloud_clock = Arc::clone(&truth);
        let journal = Journal::new(Box::new(Sqlite::in_memory()?), Blocking::Inline);
        Ok(Self {
            sim: Sim::new(cloud, Arc::new(move || cloud_clock.wall())),
            log: Arc::new(Log::new(truth.clone(), keep_events, listener)),
            net: Arc::new(Net::new(network, Random::from_seed(seed ^ 0x6e65_7477_6f72_6b00))),
            witness: Arc::new(Witness::new(journal.clone(), Arc::clone(&clock))),
            journal,
            clock,
            truth,
            config: Mutex::new(Arc::new(config)),
            key: AtomicU64::new(0),
            environment: Mutex::default(),
            deliver: Mutex::new(Arc::new(Nobody)),
            seed,
            idle,
            tamper,
            daemons: AtomicU64::new(0),
        })
    }

    /// The journal is lost: the next daemon begins with an empty one.
    ///
    /// # Errors
    /// When there is no memory for a journal.
    pub fn lose_journal(&mut self) -> Result<(), JournalError> {
        self.put_journal(Journal::new(Box::new(Sqlite::in_memory()?), Blocking::Inline));
        Ok(())
    }

    /// The next daemon finds this journal.
    pub fn put_journal(&mut self, journal: Journal) {
        self.journal = journal;
        self.witness = Arc::new(Witness::new(self.journal.clone(), Arc::clone(&self.clock)));
    }

    /// Changes the configuration file: the next start or reload reads it.
    pub fn set_config(&self, config: Config) {
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
    }

    /// The configuration file.
    pub fn config(&self) -> Arc<Config> {
        Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The next daemons sign with the credential of this generation.
    pub fn set_key(&self, generation: u64) {
        self.key.store(generation, Ordering::Relaxed);
    }

    /// The next daemons find this variable in their environment, besides the credential.
    pub fn set_variable(&self, name: &str, value: &str) {
        let mut environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner);
        environment.insert(name.to_owned(), value.to_owned());
    }

    /// The next daemons reach their notifiers so; without it there is nobody.
    pub fn set_deliver(&self, deliver: Arc<dyn Deliver>) {
        *self.deliver.lock().unwrap_or_else(PoisonError::into_inner) = deliver;
    }

    /// A daemon begins to live.
    ///
    /// # Errors
    /// When the journal cannot be read or written, as where life has ended already.
    pub async fn start(&self, life: &Arc<Life>) -> Result<Living, SharedError> {
        self.log.begin();
        let clock: Arc<dyn Clock> = self.clock.clone();
        let config = self.config();
        let epoch = self.journal.read(|store| store.begin_epoch()).await?;
        let random =
            Random::from_seed(self.seed.wrapping_mul(1_000) + self.daemons.fetch_add(1, Ordering::Relaxed));
        let clouds = Clouds::over(
            Arc::clone(&clock),
            self.environment(),
            config.guard,
            random.draw(),
            self.issuers(life),
            self.wires(life),
        );
        let pen = Pen {
            life: Arc::clone(life),
            beneath: Arc::clone(&self.tamper.gate),
            witness: Arc::clone(&self.witness),
        };
        let parts = Parts {
            time: Time::new(clock, epoch),
            random,
            journal: self.journal.through(Arc::new(pen)),
            levels: Levels::default(),
            deliver: Arc::clone(&self.deliver.lock().unwrap_or_else(PoisonError::into_inner)),
            report: Arc::new(Mouth { life: Arc::clone(life), log: Arc::clone(&self.log) }),
            idle: self.idle,
        };
        let app = App::new(parts, settings(config, &clouds, &self.journal).await?);
        let daemon = Daemon::start(Arc::clone(&app));
        Ok(Living { life: Arc::clone(life), daemon: Some(daemon), app, clouds })
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let key = key(self.key.load(Ordering::Relaxed));
        let mut environment = self.environment.lock().unwrap_or_else(PoisonError::into_inner).clone();
        environment.extend(
            [("TENCENTCLOUD_SECRET_ID", key.secret_id), ("TENCENTCLOUD_SECRET_KEY", key.secret_key)]
                .map(|(name, value)| (name.to_owned(), value)),
        );
        environment
    }

    fn wire(&self, life: &Arc<Life>) -> Wire {
        Wire {
            life: Arc::clone(life),
            sim: self.sim.clone(),
            net: Arc::clone(&self.net),
            witness: Arc::clone(&self.witness),
        }
    }

    fn issuers(
        &self,
        life: &Arc<Life>,
    ) -> impl Fn() -> Result<Issuers, TransportError> + Send + Sync + 'static {
        let (wire, around) = (self.wire(life), self.tamper.transport);
        move || Ok(Issuers { sts: around(Arc::new(wire.clone())), metadata: Arc::new(wire.clone()) })
    }

    fn wires(
        &self,
        life: &Arc<Life>,
    ) -> impl Fn(&crate::config::Target) -> Result<Arc<dyn Transport>, TransportError> + Send + Sync + 'static
    {
        let (wire, around) = (self.wire(life), self.tamper.transport);
        move |_| Ok(around(Arc::new(wire.clone())))
    }

    /// All rows of the journal, the latest due first.
    ///
    /// # Errors
    /// When it cannot be read.
    pub async fn rows(&self, since: Option<Timestamp>) -> Result<Vec<Row>, SharedError> {
        let all = Filter { since, limit: u32::MAX, ..Filter::default() };
        self.journal.read(move |store| store.history(&all)).await
    }
}

async fn settings(config: Arc<Config>, clouds: &Clouds, journal: &Journal) -> Result<Settings, SharedError> {
    // A wire that cannot be made is no more than a journal that is gone: neither happens here.
    let clouds = clouds.of(&config).map_err(|_| Arc::new(JournalError::Gone))?;
    let inventory = journal.read(|store| store.inventory()).await?;
    Ok(Settings::new(config, clouds, &inventory))
}

/// A daemon that lives. Dropping it kills it.
pub struct Living {
    life: Arc<Life>,
    daemon: Option<Daemon>,
    app: Arc<App>,
    clouds: Clouds,
}

impl Living {
    /// Its life.
    #[must_use]
    pub fn life(&self) -> &Arc<Life> {
        &self.life
    }

    /// Whether it has read its configuration into the journal, and believes its clock.
    #[must_use]
    pub fn is_in_line(&self) -> bool {
        self.app.in_line.is_so() && self.app.parts.time.is_trusted()
    }

    /// Makes its watcher look at the clock, as it does each second where nothing is simulated.
    pub fn look_at_the_clock(&self) {
        self.app.pokes.watch.ring();
    }

    /// Puts the configuration file of `world` in force.
    ///
    /// # Errors
    /// When a wire cannot be made.
    pub async fn reload(&self, world: &World) -> Result<(), SharedError> {
        let mut settings = settings(world.config(), &self.clouds, &world.journal).await?;
        for (name, cloud) in &self.app.settings().clouds {
            settings.clouds.entry(name.clone()).or_insert_with(|| cloud.clone());
        }
        self.app.replace_settings(settings);
        Ok(())
    }

    /// Stops it in good order.
    pub async fn stop(mut self) {
        if let Some(daemon) = self.daemon.take() {
            daemon.stop().await;
        }
    }
}

impl Drop for Living {
    fn drop(&mut self) {
        self.life.end();
    }
}
