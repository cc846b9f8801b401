//! `backup` and `retry`: runs that a person asks for, with or without a daemon.
//!
//! The request goes through the journal. A running daemon takes it up within a second; without one, the command
//! takes the daemon's lock and carries the runs to their end itself, by the same code.

use std::sync::Arc;

use backup_core::run::State;
use backup_core::{DiskId, JobName, RunId};
use clap::Args;

use super::exit::{Exit, Failure, Outcome};
use super::history::{Shown, as_table};
use super::open::{self, Opened, Taken};
use super::request::{self, EVERY, TAKEN_UP_WITHIN, submit};
use super::{Global, table};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::journal::{Answer, Journal, Request, Row};

#[derive(Args)]
pub(super) struct BackupArguments {
    /// The disks
    #[arg(required = true, value_name = "DISK")]
    disks: Vec<DiskId>,
    /// The job that the backups are made under; needed where several hold a disk
    #[arg(long, value_name = "JOB")]
    job: Option<JobName>,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
pub(super) struct RetryArguments {
    /// The run, as `history` and the log name it: `JOB/DISK/DUE`
    #[arg(value_name = "RUN")]
    run: RunId,
    #[command(flatten)]
    common: Common,
}

#[derive(Args)]
struct Common {
    /// Any text; makes a repeat of this command safe: one with the same id waits for the same runs
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
    /// Return as soon as the request is taken up by a running daemon
    #[arg(long)]
    no_wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn backup(global: &Global, arguments: BackupArguments) -> Outcome {
    let mut disks = arguments.disks;
    disks.sort();
    disks.dedup();
    ask(global, Request::Backup { disks, job: arguments.job }, &arguments.common)
}

pub(super) fn retry(global: &Global, arguments: RetryArguments) -> Outcome {
    ask(global, Request::Retry { run: arguments.run.to_string() }, &arguments.common)
}

fn ask(global: &Global, request: Request, common: &Common) -> Outcome {
    let config = open::config(&global.config)?;
    let runtime = open::runtime()?;
    runtime.block_on(async {
        let rows = match open::lock(&config.state_dir)? {
            Taken::Ours(_lock) => by_ourselves(global, &config, request, common).await?,
            Taken::Held(_) => by_the_daemon(&config, request, common).await?,
        };
        let shown: Vec<Shown> = rows.iter().map(Shown::of).collect();
        if common.json {
            table::print_json(&shown)?;
        } else {
            table::print_table(&as_table(&shown))?;
        }
        let good = |row: &Row| matches!(row.run.state, State::Completed { .. });
        let ended = |row: &Row| row.run.state.is_ended();
        let bad = rows.iter().any(|row| if common.no_wait { ended(row) && !good(row) } else { !good(row) });
        Ok(if bad { Exit::Late } else { Exit::Good })
    })
}

/// Without a daemon: take the request up, and drive its runs until they have ended.
async fn by_ourselves(
    global: &Global,
    config: &Arc<Config>,
    request: Request,
    common: &Common,
) -> Result<Vec<Row>, Failure> {
    let Opened { app, .. } =
        open::app(Arc::clone(config), open::clock(), global.ears(), open::environment()).await?;
    let journal = app.parts.journal.clone();
    let number = submit(&journal, request, common.request_id.clone()).await?;
    let daemon = Daemon::start_without_planning(app);
    let rows = async { ended(&journal, &answer(&journal, number).await?, false).await }.await;
    daemon.stop().await;
    rows
}

/// With one: leave it the request, and watch.
async fn by_the_daemon(config: &Config, request: Request, common: &Common) -> Result<Vec<Row>, Failure> {
    let journal = Journal::open(&config.state_dir).map_err(|error| Failure::journal(&error))?;
    let number = submit(&journal, request, common.request_id.clone()).await?;
    let runs = answer(&journal, number).await?;
    ended(&journal, &runs, common.no_wait).await
}

/// The runs that a request became.
async fn answer(journal: &Journal, number: i64) -> Result<Vec<RunId>, Failure> {
    match request::answer(journal, number, TAKEN_UP_WITHIN).await? {
        Answer::Runs { runs } => Ok(runs.iter().filter_map(|run| run.parse().ok()).collect()),
        _ => Err(Failure::new(Exit::Usage, "this --request-id belongs to another command")),
    }
}

/// The rows of runs, once they have ended.
async fn ended(journal: &Journal, runs: &[RunId], at_once: bool) -> Result<Vec<Row>, Failure> {
    loop {
        let wanted = runs.to_vec();
        let rows = journal.read(move |store| {
            let rows: Result<Vec<_>, _> = wanted.iter().map(|run| store.run(run)).collect();
            Ok(rows?.into_iter().flatten().collect::<Vec<Row>>())
        });
        let rows = rows.await.map_err(|error| Failure::io("read the runs", &*error))?;
        if at_once || rows.iter().all(|row| row.run.state.is_ended()) {
            return Ok(rows);
        }
        tokio::time::sleep(EVERY).await;
    }
}
