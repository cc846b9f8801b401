//! `status`: how every job stands, from the journal, with or without a daemon; for people, programs and Nagios.

mod check;

use std::collections::BTreeMap;

use backup_core::freshness::Trouble;
use backup_core::{DiskId, JobName, RunId};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};
use super::history::Shown;
use super::{Global, open, table};
use crate::config::Config;
use crate::journal::{JournalError, Row, Sqlite, Store as _, Subject};
use crate::standings::{DiskStands, JobStands, Standings};

#[derive(Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// One line and an exit code for Nagios and Icinga: 0 good, 1 warning, 2 critical, 3 unknown
    #[arg(long, conflicts_with = "json")]
    check: bool,
    /// With --check: this job alone
    #[arg(long, value_name = "JOB", requires = "check")]
    job: Option<JobName>,
}

/// What `status --json` prints (`docs/stability.md`).
#[derive(Serialize)]
struct Status {
    running: bool,
    jobs: Vec<JobStatus>,
    open: BTreeMap<String, u64>,
    late: Vec<Late>,
    paused: Vec<String>,
}

#[derive(Serialize)]
struct JobStatus {
    job: String,
    disks: usize,
    next_due: Option<Timestamp>,
    /// The oldest of its disks' last good backups; none where a disk has none.
    last_good: Option<Timestamp>,
    without_good: usize,
}

/// Something that a person should look at.
#[derive(Serialize)]
struct Late {
    job: String,
    disk_id: String,
    why: String,
    run: Option<Shown>,
}

pub(super) fn status(global: &Global, arguments: &Arguments) -> Outcome {
    if arguments.check {
        return check::check(global, arguments.job.as_ref());
    }
    let config = open::config(&global.config)?;
    let now = open::clock().wall();
    let running = open::is_held(&config.state_dir);
    let (journal, standings) = standings(&config, now)?;
    let failed = |error| Failure::journal(&error);
    let status = Status {
        running,
        jobs: standings.jobs.iter().map(job_status).collect(),
        open: journal.open_counts().map_err(failed)?.into_iter().collect(),
        late: late(&journal, &standings).map_err(failed)?,
        paused: standings
            .pauses
            .iter()
            .map(|(subject, since)| match subject {
                Subject::Job(job) => format!("job {job} since {since}"),
                Subject::Disk(disk) => format!("disk {disk} since {since}"),
            })
            .collect(),
    };
    if arguments.json {
        table::print_json(&status)?;
    } else {
        show(&status, now)?;
    }
    Ok(if status.late.is_empty() { Exit::Good } else { Exit::Late })
}

/// The journal, an empty one where none was ever written, and how everything stands by it.
fn standings(config: &Config, now: Timestamp) -> Result<(Sqlite, Standings), Failure> {
    let failed = |error| Failure::journal(&error);
    let fleet = open::fleet(config)?;
    let journal = open::journal_to_read(config)?.map_or_else(Sqlite::in_memory, Ok).map_err(failed)?;
    let standings = Standings::read(&journal, config, &fleet, now).map_err(failed)?;
    Ok((journal, standings))
}

fn job_status(stands: &JobStands) -> JobStatus {
    JobStatus {
        job: stands.job.to_string(),
        disks: stands.disks.len(),
        next_due: stands.next_due,
        last_good: stands.last_good(),
        without_good: stands.count(|disk| disk.last_good.is_none()),
    }
}

/// What to look at: runs past their time, and what speaks against disks. A pause is somebody's wish.
fn late(journal: &Sqlite, standings: &Standings) -> Result<Vec<Late>, JournalError> {
    let entry = |job: &JobName, disk: &DiskId, why: String, row: Option<&Row>| Late {
        job: job.to_string(),
        disk_id: disk.to_string(),
        why,
        run: row.map(Shown::of),
    };
    let mut late = Vec::new();
    for run in &standings.late {
        let row = journal.run(run)?;
        late.push(entry(&run.job, &run.disk, Trouble::Late.to_string(), row.as_ref()));
    }
    for JobStands { job, disks, .. } in &standings.jobs {
        for DiskStands { disk, last, freshness, .. } in disks {
            for trouble in &freshness.troubles {
                match (trouble, last) {
                    (Trouble::Paused, _) => {}
                    (Trouble::Late, _)
                        if standings.late.iter().any(|run| run.job == *job && run.disk == *disk) => {}
                    (Trouble::Failed { .. }, Some((due, _))) => {
                        let id = RunId { job: job.clone(), disk: disk.clone(), due: *due };
                        let row = journal.run(&id)?;
                        let reason = row.as_ref().and_then(|row| row.run.state.reason()).unwrap_or_default();
                        late.push(entry(job, disk, format!("{trouble}: {reason}"), row.as_ref()));
                    }
                    _ => late.push(entry(job, disk, trouble.to_string(), None)),
                }
            }
        }
    }
    Ok(late)
}

fn whole_minutes(age: SignedDuration) -> SignedDuration {
    SignedDuration::from_mins(age.as_mins())
}

fn show(status: &Status, now: Timestamp) -> Result<(), Failure> {
    let open: Vec<String> = status.open.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let daemon = if status.running { "the daemon runs" } else { "no daemon runs" };
    let under_way = if open.is_empty() { "nothing under way".to_owned() } else { open.join(", ") };
    table::print(format_args!("{daemon}; {under_way}\n"))?;
    let mut jobs = table::table(&["JOB", "DISKS", "LAST GOOD", "NEXT DUE (UTC)"]);
    for job in &status.jobs {
        let last_good = match (job.last_good, job.without_good) {
            (Some(at), _) => format!("{:#} ago", whole_minutes(now.duration_since(at))),
            (None, missing) if missing == job.disks => "none yet".to_owned(),
            (None, missing) => format!("none yet on {missing}"),
        };
        let next_due =
            job.next_due.map(|due| due.to_string()).unwrap_or_else(|| "not planned yet".to_owned());
        jobs.add_row([job.job.clone(), job.disks.to_string(), last_good, next_due]);
    }
    table::print_table(&jobs)?;
    for paused in &status.paused {
        table::print(format_args!("\npaused: {paused}"))?;
    }
    if !status.late.is_empty() {
        table::print("\nTo look at:")?;
        let mut late = table::table(&["JOB", "DISK", "WHY", "RUN"]);
        for entry in &status.late {
            let run = entry.run.as_ref().map(|run| run.run.clone()).unwrap_or_default();
            late.add_row([entry.job.clone(), entry.disk_id.clone(), entry.why.clone(), run]);
        }
        table::print_table(&late)?;
    }
    Ok(())
}
