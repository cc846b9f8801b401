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
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

pub use requests::{
    Answer, Inspected, InspectedDisk, Listed, LogAsk, Quota, Request, RestoreAsk, ToInspect, Which,
};
pub use sqlite::{Soundness, Sqlite};
pub use store::{
    Asked, Change, Deletion, Filter, Gap, Held, Inventory, JournalError, RestoreRow, Row, SeenShelf, Stage,
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
    /// Where work goes; none where it is done at once.
    thread: Option<Arc<Thread>>,
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

/// What the journal's thread is asked to do.
enum Work {
    Write(Pending),
    Read(Question),
}

type Question = Box<dyn FnOnce(&mut dyn Store) + Send>;

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
        let store = Arc::new(Mutex::new(store));
        let thread = (blocking == Blocking::Thread).then(|| Arc::new(Thread::start(Arc::clone(&store))));
        Self { store, thread, gate: Arc::new(Open) }
    }

    /// Another handle on the same store, whose writes pass through `gate`, at once and on the caller's thread.
    #[must_use]
    pub fn through(&self, gate: Arc<dyn Gate>) -> Self {
        Self { store: Arc::clone(&self.store), thread: None, gate }
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
        let Some(thread) = &self.thread else {
            return self.gate.apply(&mut **lock(&self.store), &changes).map_err(Arc::new);
        };
        let (done, outcome) = oneshot::channel();
        let pending = Pending { changes, done };
        thread.send(Work::Write(pending))?;
        outcome.await.unwrap_or(Err(Arc::new(JournalError::Gone)))
    }

    /// Asks the store.
    pub async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn Store) -> Result<T, JournalError> + Send + 'static,
    ) -> Result<T, SharedError> {
        let Some(thread) = &self.thread else {
            return question(&mut **lock(&self.store)).map_err(Arc::new);
        };
        let (done, answer) = oneshot::channel();
        // Nobody waits any more: it is done all the same.
        let ask = Box::new(move |store: &mut dyn Store| drop(done.send(question(store).map_err(Arc::new))));
        thread.send(Work::Read(ask))?;
        answer.await.unwrap_or(Err(Arc::new(JournalError::Gone)))
    }
}

/// Writes that came while others were written wait so much longer for more of them to share their fsync. One that comes
/// alone is written at once.
const GATHERS: Duration = Duration::from_millis(2);
/// Once nothing has come for so long, the store does what must be done now and then.
const QUIET: Duration = Duration::from_millis(200);
/// Questions that are answered, at most, while a batch waits for them.
const QUESTIONS: usize = 64;

/// A thread that does what it is sent. Whoever drops the last handle waits for its end: the store is closed then.
struct Thread {
    work: Option<mpsc::Sender<Work>>,
    handle: Option<JoinHandle<()>>,
}

impl Thread {
    fn start(store: Arc<Mutex<Box<dyn Store>>>) -> Self {
        let (sender, work) = mpsc::channel();
        // Without a thread nothing can be sent, and each call says so.
        let handle =
            std::thread::Builder::new().name("journal".to_owned()).spawn(move || serve(&store, &work));
        Self { work: Some(sender), handle: handle.ok() }
    }

    fn send(&self, work: Work) -> Result<(), SharedError> {
        let sent = self.work.as_ref().is_some_and(|sender| sender.send(work).is_ok());
        if sent { Ok(()) } else { Err(Arc::new(JournalError::Gone)) }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(handle) = self.handle.take() {
            // It catches what panics.
            let _ = handle.join();
        }
    }
}

/// Does what comes, until nobody can send anything.
fn serve(store: &Mutex<Box<dyn Store>>, work: &mpsc::Receiver<Work>) {
    let (mut batch, mut is_settled) = (Vec::new(), true);
    loop {
        let is_busy = take(store, work.try_iter(), &mut batch);
        if is_busy && !batch.is_empty() {
            std::thread::park_timeout(GATHERS);
            take(store, work.try_iter(), &mut batch);
        } else if !is_busy {
            let next = if is_settled {
                work.recv().map_err(RecvTimeoutError::from)
            } else {
                work.recv_timeout(QUIET)
            };
            match next {
                Ok(first) => {
                    take(store, std::iter::once(first).chain(work.try_iter()), &mut batch);
                }
                Err(RecvTimeoutError::Timeout) => {
                    lock(store).settle();
                    is_settled = true;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
        if !batch.is_empty() {
            let batch = std::mem::take(&mut batch);
            // A panic ends a piece of work: whoever waits for it is told, and the next one is done.
            let write = || write_batch(&mut **lock(store), batch);
            let _ = std::panic::catch_unwind(AssertUnwindSafe(write));
            is_settled = false;
        }
    }
}

/// Answers the questions that are there, and adds the writes to the batch; whether there was anything.
fn take(store: &Mutex<Box<dyn Store>>, work: impl Iterator<Item = Work>, batch: &mut Vec<Pending>) -> bool {
    let mut was_any = false;
    for work in work.take(QUESTIONS) {
        was_any = true;
        match work {
            Work::Write(pending) => batch.push(pending),
            Work::Read(ask) => {
                let _ = std::panic::catch_unwind(AssertUnwindSafe(|| ask(&mut **lock(store))));
            }
        }
    }
    was_any
}

fn write_batch(store: &mut dyn Store, batch: Vec<Pending>) {
    let (mut changes, mut callers) = (Vec::new(), Vec::new());
    for Pending { changes: theirs, done } in batch {
        callers.push((theirs.len(), done));
        changes.extend(theirs);
    }
    match store.apply(&changes) {
        Ok(applied) => {
            let mut applied = applied.into_iter();
            for (count, done) in callers {
                // Nobody waits any more: it is written all the same.
                let _ = done.send(Ok(applied.by_ref().take(count).collect()));
            }
        }
        // One that can never be written must not hold up those that came with it.
        Err(_) if callers.len() > 1 => {
            let mut changes = changes.into_iter();
            for (count, done) in callers {
                let theirs = changes.by_ref().take(count).collect();
                write_batch(store, vec![Pending { changes: theirs, done }]);
            }
        }
        Err(error) => {
            let error = Arc::new(error);
            for (_, done) in callers {
                let _ = done.send(Err(Arc::clone(&error)));
            }
        }
    }
}

/// A poisoned lock guards a value that a panic left between two whole states; each of ours is whole.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
