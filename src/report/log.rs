//! Events as lines of the log.
//!
//! Responsible for the log's formats, and for setting up where it goes: journald, or standard error. It refuses to make
//! anybody wait: lines go through a queue (`queue.rs`).

mod filter;
mod journald;
mod levels;
mod queue;

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backup_core::repetition::{Repetition, Verdict};
use tracing::Metadata;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, reload};

use super::event::{Event, Fields, Level, Say};
use super::{Receipt, Report};
use crate::clock::Clock;
pub use filter::{Filter, FilterError};
pub use levels::{By, Chosen, Levels, Until};
use queue::{Queue, Weight};

/// How lines look, and where they go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// To journald where standard error is journald's; else text on a terminal, and JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
    /// To journald, with fields; JSON where nobody listens there.
    Journald,
}

/// The module that events seem to come from: `tracing` knows by it what a line is.
const EVENT: &str = "cbs_backupd::event";
/// The same for those that an outbox of the journal owes.
const OWED: &str = "cbs_backupd::event::owed";
/// The same for what is said about the log itself, at every level.
const ALWAYS: &str = "cbs_backupd::event::log";

/// How long the process waits at its end for a line to be taken.
const LAST_LINES_WITHIN: Duration = Duration::from_secs(2);

fn weight(metadata: &Metadata<'_>) -> Weight {
    match metadata.target() {
        EVENT | ALWAYS => Weight::Event,
        OWED => Weight::Owed,
        _ => Weight::Diagnostic,
    }
}

/// The process's log: what `Log` needs of it, and its filters. The default one is none.
#[derive(Clone, Default)]
pub struct Logging {
    queue: Option<Queue>,
    /// What is logged.
    pub levels: Levels,
}

impl Logging {
    /// Waits until all lines are written, as long as they are taken.
    pub fn drain(&self) {
        if let Some(queue) = &self.queue {
            queue.drain(LAST_LINES_WITHIN);
        }
    }
}

/// Sends events to `tracing`, and says which of them were written.
pub struct Log {
    queue: Option<Queue>,
    clock: Arc<dyn Clock>,
    repetition: Mutex<Repetition<u64>>,
}

impl Log {
    /// Speaks through the process's log.
    #[must_use]
    pub fn new(logging: &Logging, clock: Arc<dyn Clock>) -> Self {
        Self { queue: logging.queue.clone(), clock, repetition: Mutex::default() }
    }
}

impl Report for Log {
    fn report(&self, event: &Event) {
        let mut repeated = None;
        if event.kind.said() == Say::Sparingly {
            let mut repetition = self.repetition.lock().unwrap_or_else(PoisonError::into_inner);
            match repetition.hear(sameness(event), self.clock.mono()) {
                Verdict::Hush => return,
                Verdict::Say { repeated: 0 } => {}
                Verdict::Say { repeated: times } => repeated = Some(times),
            }
        }
        say(event, repeated);
    }

    fn receipt(&self) -> Receipt {
        self.queue.as_ref().map_or_else(Receipt::default, Queue::receipt)
    }
}

/// The same for the same event of the same cause on the same subject.
fn sameness(event: &Event) -> u64 {
    let Fields { job, disk_id, run, code, class, reason, target, retry_in_ms, backup_id, .. } =
        &*event.fields;
    let mut hasher = DefaultHasher::new();
    (event.kind, job, disk_id, run, target, backup_id).hash(&mut hasher);
    (code, class, reason, retry_in_ms.is_some()).hash(&mut hasher);
    if (code, class, reason) == (&None, &None, &None) {
        event.message.hash(&mut hasher);
    }
    hasher.finish()
}

fn say(event: &Event, repeated: Option<u64>) {
    macro_rules! say {
        ($level:ident, $target:ident) => {{
            let Fields {
                job,
                disk_id,
                due,
                run,
                attempt,
                backup_id,
                backup_name,
                snapshot_id,
                request_id,
                code,
                class,
                retry_in_ms,
                took_ms,
                lag_ms,
                reason,
                why,
                target,
                notifier,
            } = &*event.fields;
            tracing::$level!(
                target: $target,
                event = event.kind.name(),
                job = job.as_deref(),
                disk_id = disk_id.as_deref(),
                due = due.as_deref(),
                run = run.as_deref(),
                attempt,
                backup_id = backup_id.as_deref(),
                backup_name = backup_name.as_deref(),
                snapshot_id = snapshot_id.as_deref(),
                request_id = request_id.as_deref(),
                code = code.as_deref(),
                class,
                retry_in_ms,
                took_ms,
                lag_ms,
                reason = reason.as_deref(),
                why,
                target = target.as_deref(),
                notifier = notifier.as_deref(),
                repeated,
                "{}",
                event.message
            )
        }};
        ($level:ident) => {
            match event.kind.said() {
                Say::Each | Say::Sparingly => say!($level, EVENT),
                Say::Owed => say!($level, OWED),
                Say::Always => say!($level, ALWAYS),
            }
        };
    }
    match event.kind.level() {
        Level::Debug => say!(debug),
        Level::Info => say!(info),
        Level::Warn => say!(warn),
        Level::Error => say!(error),
    }
}

/// Sets up the process's log: `given` is the command line's filter.
///
/// # Errors
/// When standard error cannot be had, or no thread.
pub fn start(format: Format, given: Option<Filter>) -> io::Result<Logging> {
    let terminal = io::stderr().is_terminal();
    let wants_journald = match format {
        Format::Auto => journald::is_stderr(),
        Format::Journald => true,
        Format::Text | Format::Json => false,
    };
    let (journald, unreachable) = match wants_journald.then(|| journald::sink(Path::new(journald::SOCKET))) {
        Some(Ok(sink)) => (Some(sink), None),
        Some(Err(error)) => (None, Some(error)),
        None => (None, None),
    };
    let filter = given.clone().unwrap_or_default();
    let (targets, handle) = reload::Layer::new(filter.targets());
    let registry = tracing_subscriber::registry().with(targets);
    let queue;
    if let Some(sink) = journald {
        queue = Queue::start(sink, say_lost)?;
        registry.with(journald::Native { queue: queue.clone() }).init();
    } else {
        // Past the lock of `std`'s own: whoever else writes there would wait for it.
        let mut stderr = std::fs::File::from(io::stderr().as_fd().try_clone_to_owned()?);
        queue = Queue::start(Box::new(move |record| stderr.write(record)), say_lost)?;
        let lines = tracing_subscriber::fmt::layer()
            .with_writer(Lines(queue.clone()))
            .with_target(false)
            .with_timer(Rfc3339);
        let as_text = match format {
            Format::Auto => terminal,
            Format::Text => true,
            Format::Json | Format::Journald => false,
        };
        if as_text {
            registry.with(lines.with_ansi(terminal).boxed()).init();
        } else {
            let json = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
            registry.with(json.boxed()).init();
        }
    }
    if let Some(error) = unreachable {
        tracing::warn!(
            "journald cannot be reached at {}, and the log goes to standard error: {error}",
            journald::SOCKET
        );
    }
    std::panic::set_hook(Box::new(|panic| tracing::error!("{panic}")));
    let apply = move |filter: &Filter| {
        // It fails only where the log is gone.
        let _ = handle.reload(filter.targets());
    };
    Ok(Logging { queue: Some(queue), levels: Levels::new(apply, given) })
}

/// Says what found no place in the queue.
fn say_lost(events: u64, diagnostics: u64) {
    let message = format!(
        "nobody took the log fast enough: {events} events and {diagnostics} diagnostic lines were left out; no end of a run is among them"
    );
    tracing::warn!(target: ALWAYS, event = super::Kind::LogLost.name(), events, diagnostics, "{message}");
}

/// Hands lines to the queue.
struct Lines(Queue);

impl<'w> MakeWriter<'w> for Lines {
    type Writer = Line<'w>;

    fn make_writer(&'w self) -> Line<'w> {
        Line { queue: &self.0, weight: Weight::Diagnostic }
    }

    fn make_writer_for(&'w self, metadata: &Metadata<'_>) -> Line<'w> {
        Line { queue: &self.0, weight: weight(metadata) }
    }
}

/// One line: it comes in one piece.
struct Line<'w> {
    queue: &'w Queue,
    weight: Weight,
}

impl io::Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.queue.put(self.weight, line.to_vec());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Timestamps of log lines: RFC 3339 in UTC, to the millisecond. They say when the line was written, by the
/// machine's clock, whatever clock the daemon decides by.
struct Rfc3339;

impl FormatTime for Rfc3339 {
    #[expect(clippy::disallowed_methods, reason = "a log line's own time decides nothing")]
    fn format_time(&self, w: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(w, "{}", jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ"))
    }
}

#[cfg(test)]
mod tests;
