//! One life of a daemon: what it does to the world, counted, and the moment at which it dies.
//!
//! Responsible for the ports through which a daemon acts (journal, log; the network is in `wire`). An *effect
//! boundary* lies before and after each write and each call, and before each line of the log. A life can end at
//! any of them: from there on nothing passes, as if the process had been killed between two instructions. It
//! refuses to decide when that is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio_util::sync::CancellationToken;

use super::log::Log;
use super::witness::Witness;
use crate::journal::{Change, Gate, JournalError, Store};
use crate::report::{Event, Report};

/// A life.
pub struct Life {
    passed: AtomicU64,
    ends_at: AtomicU64,
    ended: CancellationToken,
}

impl Default for Life {
    fn default() -> Self {
        Self { passed: AtomicU64::new(0), ends_at: AtomicU64::new(u64::MAX), ended: CancellationToken::new() }
    }
}

impl Life {
    /// A life that ends at its boundary of this number, counted from 1.
    #[must_use]
    pub fn until(boundary: u64) -> Self {
        let life = Self::default();
        life.end_at(boundary);
        life
    }

    /// It ends at its boundary of this number.
    pub fn end_at(&self, boundary: u64) {
        self.ends_at.store(boundary, Ordering::Relaxed);
    }

    /// It ends now.
    pub fn end(&self) {
        self.ended.cancel();
    }

    /// How many boundaries it has passed.
    pub fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }

    /// Waits for its end.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }

    /// Whether it has ended.
    pub fn has_ended(&self) -> bool {
        self.ended.is_cancelled()
    }

    /// Comes to a boundary; false where life ends here, or has ended before.
    pub(super) fn pass(&self) -> bool {
        if self.has_ended() {
            return false;
        }
        if self.passed.fetch_add(1, Ordering::Relaxed) + 1 >= self.ends_at.load(Ordering::Relaxed) {
            self.end();
            return false;
        }
        true
    }

    /// The same for who can wait: where life ends, for ever.
    pub(super) async fn pass_or_die(&self) {
        if !self.pass() {
            std::future::pending::<()>().await;
        }
    }
}

/// The journal's port.
pub(super) struct Pen {
    pub(super) life: Arc<Life>,
    pub(super) beneath: Arc<dyn Gate>,
    pub(super) witness: Arc<Witness>,
}

impl Gate for Pen {
    fn apply(&self, store: &mut dyn Store, changes: &[Change]) -> Result<Vec<bool>, JournalError> {
        if !self.life.pass() {
            return Err(JournalError::Gone);
        }
        let applied = self.beneath.apply(store, changes)?;
        self.witness.written(changes);
        if self.life.pass() { Ok(applied) } else { Err(JournalError::Gone) }
    }
}

/// The log's port.
pub(super) struct Mouth {
    pub(super) life: Arc<Life>,
    pub(super) log: Arc<Log>,
}

impl Report for Mouth {
    fn report(&self, event: &Event) {
        if self.life.pass() {
            self.log.take(event);
        }
    }
}
