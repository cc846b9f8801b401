//! The log of a simulated world: what all its daemons said, in order.
//!
//! Responsible for a fingerprint of everything that was said and when, for the count of each kind, and for how
//! often each run's end was told. It keeps whole events only where that is asked for: a year has millions.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::Listener;
use crate::clock::Clock;
use crate::report::{Event, Fields, Kind};

/// The log.
pub struct Log {
    clock: Arc<dyn Clock>,
    listener: Option<Listener>,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    fingerprint: Sha256,
    kinds: BTreeMap<&'static str, u64>,
    ends: BTreeMap<String, Vec<Kind>>,
    faults: Vec<String>,
    blind: Vec<(Timestamp, Option<Timestamp>)>,
    kept: Option<Vec<Event>>,
    line: String,
}

impl Heard {
    fn see(&mut self, at: Timestamp) {
        for (_, to) in self.blind.iter_mut().filter(|(_, to)| to.is_none()) {
            *to = Some(at);
        }
    }
}

impl Log {
    pub(super) fn new(clock: Arc<dyn Clock>, keep: bool, listener: Option<Listener>) -> Self {
        let heard = Heard { kept: keep.then(Vec::new), ..Heard::default() };
        Self { clock, listener, heard: Mutex::new(heard) }
    }

    pub(super) fn take(&self, event: &Event) {
        if let Some(listener) = self.listener {
            listener(self.clock.wall(), event);
        }
        let at = self.clock.mono().as_millis();
        let mut heard = self.heard();
        let heard = &mut *heard;
        write_line(&mut heard.line, at, event);
        heard.fingerprint.update(&heard.line);
        *heard.kinds.entry(event.kind.name()).or_default() += 1;
        if let (Kind::BackupCompleted | Kind::BackupLate | Kind::BackupFailed | Kind::RunSkipped, Some(run)) =
            (event.kind, &event.fields.run)
        {
            heard.ends.entry(run.clone()).or_default().push(event.kind);
        }
        match event.kind {
            Kind::ClockWrong | Kind::CloudUnreachable => heard.blind.push((self.clock.wall(), None)),
            Kind::ClockRight | Kind::CloudReachable => heard.see(self.clock.wall()),
            _ => {}
        }
        if matches!(event.kind, Kind::DaemonFault | Kind::JournalUnreadable | Kind::JournalUnwritable) {
            heard.faults.push(heard.line.trim_end().to_owned());
        }
        for name in event.fields.names() {
            if event.kind.fields().all(|known| known != name) {
                heard.faults.push(format!("{} has an undocumented `{name}`", event.kind.name()));
            }
        }
        if let Some(kept) = &mut heard.kept {
            kept.push(event.clone());
        }
    }

    /// A new daemon begins: what the one before it could not see is not its concern.
    pub(super) fn begin(&self) {
        let now = self.clock.wall();
        self.heard().see(now);
    }

    /// When daemons said that they could not tell the time, since `since`: nothing is planned then.
    pub(super) fn blind(&self, since: Timestamp) -> Vec<(Timestamp, Timestamp)> {
        let now = self.clock.wall();
        let mut heard = self.heard();
        heard.blind.retain(|(_, to)| to.is_none_or(|to| to >= since));
        heard.blind.iter().map(|(from, to)| (*from, to.unwrap_or(now))).collect()
    }

    /// All events, where they were to be kept.
    pub fn events(&self) -> Vec<Event> {
        self.heard().kept.clone().unwrap_or_default()
    }

    /// SHA-256 of all that was said so far, in hexadecimal.
    pub fn fingerprint(&self) -> String {
        hex::encode(self.heard().fingerprint.clone().finalize())
    }

    /// How often each kind of event was said.
    pub fn kinds(&self) -> BTreeMap<&'static str, u64> {
        self.heard().kinds.clone()
    }

    /// The ends of a run that were told; they are forgotten.
    pub(super) fn take_ends(&self, run: &str) -> Vec<Kind> {
        self.heard().ends.remove(run).unwrap_or_default()
    }

    /// Whether an end of a run was told.
    pub(super) fn has_end(&self, run: &str) -> bool {
        self.heard().ends.contains_key(run)
    }

    /// What should not have been said at all; it is forgotten.
    pub(super) fn take_faults(&self) -> Vec<String> {
        std::mem::take(&mut self.heard().faults)
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that an event says, in one line.
fn write_line(line: &mut String, at: u128, event: &Event) {
    line.clear();
    let Fields {
        job: _,
        disk_id: _,
        due: _,
        run,
        attempt,
        backup_id,
        backup_name: _,
        snapshot_id,
        request_id,
        code,
        class,
        retry_in_ms,
        took_ms,
        lag_ms,
        reason,
        why: _,
        target,
        notifier,
    } = &*event.fields;
    // Writing to a string does not fail.
    let _ = write!(line, "{at} {} {:?}", event.kind.name(), event.message);
    let words = [run, backup_id, snapshot_id, request_id, code, reason, target, notifier];
    for word in words.into_iter().flatten() {
        let _ = write!(line, " {word:?}");
    }
    let numbers = [attempt.map(u64::from), *retry_in_ms, *took_ms, *lag_ms];
    let _ = writeln!(line, " {class:?} {numbers:?}");
}
