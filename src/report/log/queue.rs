//! The queue between what the daemon says and where it goes.
//!
//! Responsible for the promise that a log which nobody takes neither stops nor delays anybody: whoever speaks leaves a
//! record here and goes on; a thread of the queue's own writes, and waits where the sink makes it wait. The queue is
//! bounded. What finds no place in it is counted, and the count is said as soon as there is place again. It refuses to
//! lose what an outbox of the journal owes: that always finds a place, and its speakers hold back while they are not heard
//! ([`Receipt`]).
//!
//! `tracing-appender` offers two ways: its queue drops silently, or it blocks whoever speaks. Neither says what has been
//! written.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::report::Receipt;

/// How many bytes of events may wait.
const ROOM: usize = 4 << 20;
/// How many may wait before diagnostic lines find no place.
const ROOM_FOR_DIAGNOSTICS: usize = ROOM / 2;
/// The pause before a sink that failed is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Where records go: takes some of a record, or all of it, and says how much. It may block.
pub(super) type Sink = Box<dyn FnMut(&[u8]) -> io::Result<usize> + Send>;
/// Says how many events and how many diagnostic lines found no place.
pub(super) type SayLost = fn(u64, u64);

/// What a record is to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// No part of the contract.
    Diagnostic,
    /// An event.
    Event,
    /// An event that stays in an outbox of the journal until it is written.
    Owed,
}

/// The queue; cheap to clone.
#[derive(Clone)]
pub(super) struct Queue(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Rung when there is something to write.
    filled: Condvar,
    /// How many records were written, of those that found a place.
    written: watch::Sender<u64>,
    /// Rung with it, for who waits without a runtime.
    emptied: Condvar,
}

#[derive(Default)]
struct State {
    records: VecDeque<Vec<u8>>,
    bytes: usize,
    /// How many records have found a place, ever.
    admitted: u64,
    lost_events: u64,
    lost_diagnostics: u64,
}

impl Queue {
    /// A queue that a thread of its own empties into `sink`.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn start(sink: Sink, say_lost: SayLost) -> io::Result<Self> {
        let queue = Self(Arc::new(Shared {
            state: Mutex::default(),
            filled: Condvar::new(),
            written: watch::Sender::new(0),
            emptied: Condvar::new(),
        }));
        let writer = queue.clone();
        std::thread::Builder::new().name("log".to_owned()).spawn(move || writer.write(sink, say_lost))?;
        Ok(queue)
    }

    /// Leaves a record; at once, whatever the sink does.
    pub(super) fn put(&self, weight: Weight, record: Vec<u8>) {
        let mut state = self.state();
        let room = match weight {
            Weight::Diagnostic => ROOM_FOR_DIAGNOSTICS,
            Weight::Event => ROOM,
            Weight::Owed => usize::MAX,
        };
        if state.bytes.saturating_add(record.len()) > room {
            match weight {
                Weight::Diagnostic => state.lost_diagnostics += 1,
                _ => state.lost_events += 1,
            }
            return;
        }
        // Only then may the writer be waiting: a bell costs a system call.
        let was_empty = state.records.is_empty();
        state.bytes += record.len();
        state.admitted += 1;
        state.records.push_back(record);
        drop(state);
        if was_empty {
            self.0.filled.notify_one();
        }
    }

    /// A receipt for all that was left so far.
    pub(super) fn receipt(&self) -> Receipt {
        let admitted = self.state().admitted;
        Receipt::of(admitted, self.0.written.subscribe())
    }

    /// Waits until all is written; no longer than `patience` for a single record.
    pub(super) fn drain(&self, patience: Duration) {
        let mut state = self.state();
        loop {
            let before = *self.0.written.borrow();
            if before == state.admitted {
                return;
            }
            let stands = |_: &mut State| *self.0.written.borrow() == before;
            let waited = self.0.emptied.wait_timeout_while(state, patience, stands);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if *self.0.written.borrow() == before {
                return;
            }
        }
    }

    fn write(&self, mut sink: Sink, say_lost: SayLost) {
        loop {
            let record = self.next();
            write_out(&mut sink, &record);
            let lost = {
                let mut state = self.state();
                state.bytes -= record.len();
                let has_place = state.bytes < ROOM_FOR_DIAGNOSTICS / 2;
                let lost = (state.lost_events, state.lost_diagnostics);
                if has_place {
                    (state.lost_events, state.lost_diagnostics) = (0, 0);
                }
                self.0.written.send_modify(|written| *written += 1);
                (has_place && lost != (0, 0)).then_some(lost)
            };
            if let Some((events, diagnostics)) = lost {
                say_lost(events, diagnostics);
            }
            self.0.emptied.notify_all();
        }
    }

    /// The next record, as soon as there is one.
    fn next(&self) -> Vec<u8> {
        let mut state = self.state();
        loop {
            if let Some(record) = state.records.pop_front() {
                return record;
            }
            state = self.0.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nobody panics with a half-changed state: the counts are changed one after another, without a call between.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes a record, however long that takes: a full disk is emptied, a daemon that takes the log comes back. One that
/// was begun is never begun anew.
fn write_out(sink: &mut Sink, record: &[u8]) {
    let mut rest = record;
    while !rest.is_empty() {
        match sink(rest) {
            Ok(taken) if taken > 0 => rest = rest.get(taken..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(_) | Err(_) => pause(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a sink says that it takes something again by taking it: it must be asked"
)]
fn pause() {
    std::thread::sleep(AGAIN);
}

#[cfg(test)]
mod tests;
