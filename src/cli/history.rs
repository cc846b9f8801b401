//! `history`: past and present runs, from the journal, with or without a daemon.

use backup_core::{BackupName, DiskId, JobName};
use clap::Args;
use clap::builder::PossibleValuesParser;
use jiff::Timestamp;
use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};
use super::{Global, open, table};
use crate::journal::{Filter, Row, Store as _};

const STATES: [&str; 9] =
    ["planned", "creating", "absent", "freeing", "promoting", "tracking", "completed", "failed", "skipped"];

#[derive(Args)]
pub(super) struct Arguments {
    /// Of this job alone
    #[arg(long, value_name = "JOB")]
    job: Option<JobName>,
    /// On this disk alone
    #[arg(long, value_name = "DISK")]
    disk: Option<DiskId>,
    /// In this state alone
    #[arg(long, value_name = "STATE", value_parser = PossibleValuesParser::new(STATES))]
    state: Option<String>,
    /// Due at this instant or later (RFC 3339)
    #[arg(long, value_name = "INSTANT")]
    since: Option<Timestamp>,
    /// At most so many, the latest due first
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A run as programs read it (`docs/stability.md`).
#[derive(Serialize)]
pub(super) struct Shown {
    pub(super) run: String,
    job: String,
    disk_id: String,
    due: Timestamp,
    start_at: Timestamp,
    state: &'static str,
    reason: Option<String>,
    backup_id: Option<String>,
    backup_name: String,
    attempts: u32,
    ended_at: Option<Timestamp>,
}

impl Shown {
    pub(super) fn of(row: &Row) -> Self {
        let run = &row.run;
        let waiting_for = run.setback.as_ref().filter(|_| !run.state.is_ended()).map(ToString::to_string);
        Self {
            run: run.id.to_string(),
            job: run.id.job.to_string(),
            disk_id: run.id.disk.to_string(),
            due: run.id.due,
            start_at: run.start_at,
            state: run.state.name(),
            reason: run.state.reason().or(waiting_for),
            backup_id: run.state.backup().map(ToString::to_string),
            backup_name: BackupName::of(&row.owner, &run.id).to_string(),
            attempts: run.attempts,
            ended_at: row.ended_at,
        }
    }
}

pub(super) fn history(global: &Global, arguments: &Arguments) -> Outcome {
    let config = open::config(&global.config)?;
    let filter = Filter {
        job: arguments.job.clone(),
        disk: arguments.disk.clone(),
        state: arguments.state.clone(),
        since: arguments.since,
        limit: arguments.limit,
    };
    let rows = match open::journal_to_read(&config)? {
        Some(journal) => {
            journal.history(&filter).map_err(|error| Failure::io("read what happened", &error))?
        }
        None => Vec::new(),
    };
    let shown: Vec<Shown> = rows.iter().map(Shown::of).collect();
    if arguments.json {
        table::print_json(&shown)?;
    } else if shown.is_empty() {
        table::print("no runs")?;
    } else {
        table::print_table(&as_table(&shown))?;
    }
    Ok(Exit::Good)
}

/// Runs as people read them.
pub(super) fn as_table(shown: &[Shown]) -> comfy_table::Table {
    let mut table = table::table(&["DUE (UTC)", "JOB", "DISK", "STATE", "TRIES", "BACKUP", "REASON"]);
    for run in shown {
        table.add_row([
            run.due.to_string().into(),
            run.job.clone().into(),
            run.disk_id.clone().into(),
            table::state(run.state),
            run.attempts.into(),
            run.backup_id.clone().unwrap_or_default().into(),
            comfy_table::Cell::new(run.reason.clone().unwrap_or_default()),
        ]);
    }
    table
}
