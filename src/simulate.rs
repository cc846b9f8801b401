//! Simulations of the whole daemon: a person who doubts runs one command and watches a year pass.
//!
//! Everything is real but the world: the daemon's tasks, its client and its journal (in memory) run against a
//! simulated cloud in the same process, under a clock that jumps to whatever comes next. Everything that goes wrong
//! is drawn from one seed, so that the same seed gives the same year. Scenarios of the tests share the world.
//!
//! Responsible for the world and for its judgement. It refuses to change the daemon: it acts through the ports that
//! the app is built from.

mod chaos;
mod dues;
mod judge;
mod kept;
mod life;
mod log;
mod report;
mod scene;
mod wire;
mod witness;
mod world;
mod year;

pub use life::Life;
pub use log::Log;
pub use report::Summary;
pub use wire::{Net, Network};
pub use witness::Witness;
pub use world::{Beginning, Living, Tamper, World, key};

use jiff::Timestamp;

use crate::journal::{JournalError, SharedError};
use crate::report::Event;

/// The action that makes backups.
const CREATE: &str = "CreateDiskBackup";
/// The one that deletes them.
const DELETE: &str = "DeleteDiskBackups";

/// What to simulate.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything is drawn from this.
    pub seed: u64,
    /// How many days.
    pub days: u32,
    /// How many disks.
    pub disks: usize,
    /// The daemons' `settle`.
    pub settle: &'static str,
    /// Who hears all that the daemons say, and when, by the cloud's clock.
    pub listener: Option<Listener>,
}

/// Takes what the daemons say.
pub type Listener = fn(Timestamp, &Event);

impl Plan {
    /// The `settle` that the cloud's lag calls for, with room to spare.
    pub const SETTLE: &str = "5m";

    /// A plan.
    #[must_use]
    pub fn new(seed: u64, days: u32, disks: usize) -> Self {
        Self { seed, days, disks, settle: Self::SETTLE, listener: None }
    }
}

/// Why a simulation could not be carried out; what it finds wrong is in its [`Summary`].
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The scene makes no sense.
    #[error("the scene makes no sense: {0}")]
    Scene(String),
    /// The simulated journal.
    #[error("the simulated journal failed")]
    Journal(#[source] SharedError),
    /// The runtime.
    #[error("the runtime could not be started")]
    Runtime(#[source] std::io::Error),
}

impl From<JournalError> for SimulationError {
    fn from(error: JournalError) -> Self {
        Self::Journal(error.into())
    }
}

impl From<SharedError> for SimulationError {
    fn from(error: SharedError) -> Self {
        Self::Journal(error)
    }
}

/// Carries out a plan in a runtime of its own, whose clock is paused.
///
/// # Errors
/// When it could not be carried out.
pub fn simulate(plan: &Plan, tamper: Tamper) -> Result<Summary, SimulationError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .map_err(SimulationError::Runtime)?;
    runtime.block_on(year::play(plan, tamper))
}
