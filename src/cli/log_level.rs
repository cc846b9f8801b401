//! `log-level`: what a running daemon logs, shown or changed without a restart.
//!
//! The request goes through the journal like all others, and a daemon takes it up within a second, also one that waits for
//! the cloud. What was asked for ends with the daemon.

use std::time::Duration;

use clap::Args;

use super::exit::{Exit, Failure, Outcome};
use super::{Global, forecast, open, request, table};
use crate::journal::{Answer, Change, Journal, LogAsk, Request};
use crate::report::log::Filter;

#[derive(Args)]
pub(super) struct Arguments {
    /// What is logged from now on: a level, or a filter such as `warn,cbs=debug`; where none is given, what is logged is
    /// shown
    #[arg(value_name = "FILTER")]
    filter: Option<Filter>,
    /// For so long, such as 10m; where no time is given, until the daemon ends
    #[arg(long = "for", value_name = "DURATION", value_parser = forecast::duration, requires = "filter")]
    time: Option<Duration>,
    /// What the configuration says, or the command line of the daemon
    #[arg(long, conflicts_with = "filter")]
    reset: bool,
}

pub(super) fn log_level(global: &Global, arguments: Arguments) -> Outcome {
    let config = open::config(&global.config)?;
    if !open::is_held(&config.state_dir) {
        let text = "no daemon runs: `log: { level: ... }` or --log-level say what it logs when it starts";
        return Err(Failure::new(Exit::Late, text));
    }
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let ask = match arguments.filter {
        Some(filter) => LogAsk::Set { filter: filter.to_string(), for_ms: arguments.time.map(millis) },
        None if arguments.reset => LogAsk::Reset,
        None => LogAsk::Show,
    };
    let runtime = open::runtime()?;
    runtime.block_on(async {
        let journal = Journal::open(&config.state_dir).map_err(|error| Failure::journal(&error))?;
        let number = request::submit(&journal, Request::LogLevel(ask), None).await?;
        let answer = request::answer(&journal, number, request::TAKEN_UP_WITHIN).await;
        // Nobody asks for it again.
        let _ = journal.write(Change::Heard(number)).await;
        match answer? {
            Answer::Logged { what } => table::print(what)?,
            _ => return Err(Failure::new(Exit::InputOutput, "the answer is not one to this request")),
        }
        Ok(Exit::Good)
    })
}
