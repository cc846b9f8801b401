//! Events as lines of the log.
//!
//! Responsible for the log's formats. It refuses to filter what matters: levels do that.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::time::FormatTime;

use super::Report;
use super::event::{Event, Fields, Level};

/// How lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Sends events to `tracing`.
pub struct Log;

impl Report for Log {
    fn report(&self, event: &Event) {
        macro_rules! say {
            ($level:ident) => {{
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
                    "{}",
                    event.message
                )
            }};
        }
        match event.kind.level() {
            Level::Debug => say!(debug),
            Level::Info => say!(info),
            Level::Warn => say!(warn),
            Level::Error => say!(error),
        }
    }
}

/// What the heartbeat's library says of itself is nothing that an operator could use.
const QUIET: &str = "tokio_cron_scheduler=warn";

/// Sets up the process's log, on standard error. `filter` is `tracing`'s: a level such as `info`.
///
/// # Errors
/// When `filter` makes no sense.
pub fn start(format: Format, filter: &str) -> Result<(), tracing_subscriber::filter::ParseError> {
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(format!("{QUIET},{filter}"))?)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_timer(Rfc3339);
    let json = match format {
        Format::Auto => !terminal,
        Format::Text => false,
        Format::Json => true,
    };
    if json {
        builder.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
    } else {
        builder.with_ansi(terminal).init();
    }
    Ok(())
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
