//! The journal: the durable record of runs, and the only thing that tasks share.
//!
//! Responsible for handing changes to a [`Store`] so that callers who write at the same time share one
//! durable batch, and for keeping blocking work off the runtime's threads. It refuses to interpret what it
//! keeps.

pub mod requests;
pub mod sqlite;
pub mod store;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use tokio::sync::oneshot;

pub use requests::{
    Answer, Inspected, InspectedDisk, Listed, LogAsk, Quota, Request, RestoreAsk, ToInspect, Which,
};
pub use sqlite::{Soundness, Sqlite};
pub use store::{
    Change, Deletion, Filter, Gap, Held, Inventory, JournalError, RestoreRow, Row, SeenShelf, Stage,
    Standing, Store, Subject, ToAttend, Told, Watermark,
};

/// The journal's file inside the state directory.
pub const FILE: &str = "journal.sqlite3";

/// Where blocking work is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blocking {
    /// On a thread of the journal's own. One is enough for a store that does one thing at a time; and it is no
    /// affair of the runtime's threads, which the names of a region that is down may all be waiting on.
    Thread,
    /// At once, on the caller's: for simulations, which are deterministic only so.
    Inline,
}

/// A handle on the journal; cheap to clone.
#[derive(Clone)]
pub struct Journal {
    store: Arc<Mutex<Box<dyn Store>>>,
    queue: Arc<Mutex<Vec<Pending>>>,
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Where blocking work goes; none where it is done at once.
    thread: Option<mpsc::Sender<Work>>,
    gate: Arc<dyn Gate>,
}

/// Stands between a journal and its store: simulations watch here what is written, and when.
pub trait Gate: Send + Sync {
    /// Writes a batch to `store`, as [`Store::apply`], or refuses it.
    fn apply(&self, store: &mut dyn Store, changes: &[Change]) -> Result<Vec<bool>, JournalError>;
}

/// The gate that lets everything through.
pub struct Open;

impl Gate for Open {
    fn apply(&self, store: &mut dyn Store, changes: &[Change]) -> Result<Vec<bool>, JournalError> {
        store.apply(changes)
    }
}

struct Pending {
    changes: Vec<Change>,
    done: oneshot::Sender<Result<Vec<bool>, SharedError>>,
}

/// A failure that callers of one batch share.
pub type SharedError = Arc<JournalError>;

impl Journal {
    /// A journal over `store`.
    #[must_use]
    pub fn new(store: Box<dyn Store>, blocking: Blocking) -> Self {
        Self {
            store: Arc::new(Mutex::new(store)),
            queue: Arc::default(),
            turn: Arc::default(),
            thread: (blocking == Blocking::Thread).then(thread),
            gate: Arc::new(Open),
        }
    }

    /// Another handle on the same store, with a queue of its own, whose writes pass through `gate`.
    #[must_use]
    pub fn through(&self, gate: Arc<dyn Gate>) -> Self {
        Self { queue: Arc::default(), turn: Arc::default(), gate, ..self.clone() }
    }

    /// Opens the journal in a state directory.
    pub fn open(state_dir: &Path) -> Result<Self, JournalError> {
        Ok(Self::new(Box::new(Sqlite::open(&state_dir.join(FILE))?), Blocking::Thread))
    }

    /// Writes a change. When this returns it is durable; false says that it was left out (see [`Change`]).
    pub async fn write(&self, change: Change) -> Result<bool, SharedError> {
        Ok(self.write_all(vec![change]).await?.into_iter().all(|applied| applied))
    }

    /// Writes changes, all of them or, should it fail, none; says of each whether it was applied.
    ///
    /// Whoever comes while a batch is being written waits and goes into the next: the cost of an fsync is
    /// shared by all who are there.
    pub async fn write_all(&self, changes: Vec<Change>) -> Result<Vec<bool>, SharedError> {
        let (done, mut outcome) = oneshot::channel();
        lock(&self.queue).push(Pending { changes, done });
        let turn = self.turn.lock().await;
        if let Ok(outcome) = outcome.try_recv() {
            return outcome;
        }
        let batch = std::mem::take(&mut *lock(&self.queue));
        let (store, gate) = (Arc::clone(&self.store), Arc::clone(&self.gate));
        self.block(move || write_batch(&*gate, &mut **lock(&store), batch)).await?;
        drop(turn);
        outcome.await.unwrap_or(Err(Arc::new(JournalError::Gone)))
    }

    /// Asks the store.
    pub async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Store) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, SharedError> {
        let store = Arc::clone(&self.store);
        self.block(move || question(&mut **lock(&store))).await?.map_err(Arc::new)
    }

    async fn block<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SharedError> {
        let Some(thread) = &self.thread else { return Ok(work()) };
        let (done, outcome) = oneshot::channel();
        // Nobody waits any more: it is done all the same.
        let work = Box::new(move || drop(done.send(work())));
        thread.send(work).map_err(|_| Arc::new(JournalError::Gone))?;
        outcome.await.map_err(|_| Arc::new(JournalError::Gone))
    }
}

/// Something that blocks.
type Work = Box<dyn FnOnce() + Send>;

/// A thread that does one piece of work after another, until nobody can send any.
fn thread() -> mpsc::Sender<Work> {
    let (sender, work) = mpsc::channel::<Work>();
    let go = move || {
        for work in work {
            // A panic ends that piece of work: whoever waits for it is told, and the next one is done.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(work));
        }
    };
    // Without a thread nothing can be sent, and each call says so.
    let _ = std::thread::Builder::new().name("journal".to_owned()).spawn(go);
    sender
}

fn write_batch(gate: &dyn Gate, store: &mut dyn Store, batch: Vec<Pending>) {
    let all: Vec<Change> = batch.iter().flat_map(|pending| &pending.changes).cloned().collect();
    match gate.apply(store, &all) {
        Ok(applied) => {
            let mut rest = applied.as_slice();
            for Pending { changes, done } in batch {
                let (ours, others) = rest.split_at(changes.len().min(rest.len()));
                rest = others;
                // Nobody waits any more: it is written all the same.
                let _ = done.send(Ok(ours.to_vec()));
            }
        }
        // One that can never be written must not hold up those that came with it.
        Err(_) if batch.len() > 1 => {
            for pending in batch {
                write_batch(gate, store, vec![pending]);
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for Pending { done, .. } in batch {
                let _ = done.send(Err(Arc::clone(&error)));
            }
        }
    }
}

/// A poisoned lock guards a value that a panic left between two whole states; each of ours is whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
