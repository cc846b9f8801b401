//! `status`: how every job stands, from the journal, with or without a daemon.

use std::collections::BTreeMap;

use backup_core::run::State;
use backup_core::{DiskId, JobName};
use clap::Args;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};
use super::history::Shown;
use super::{Global, open, table};
use crate::config::{Config, Job};
use crate::journal::{Row, Standing, Store as _, Subject};

#[derive(Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
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
    let config = open::config(&global.config)?;
    let now = open::clock().wall();
    let running = open::is_held(&config.state_dir);
    let failed = |error| Failure::io("read the journal", &error);
    let fleet = open::fleet(&config)?;
    let (standings, waiting, open, pauses) = match open::journal_to_read(&config)? {
        Some(journal) => (
            journal.standings().map_err(failed)?,
            journal.waiting().map_err(failed)?,
            journal.open_counts().map_err(failed)?,
            journal.pauses().map_err(failed)?,
        ),
        None => Default::default(),
    };
    let late = late(&config, &standings, &waiting, now);
    let status = Status {
        running,
        jobs: config.jobs.iter().map(|job| job_status(job, fleet.of(&job.name).len(), &standings)).collect(),
        open: open.into_iter().collect(),
        late,
        paused: pauses
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

fn job_status(job: &Job, disks: usize, standings: &[Standing]) -> JobStatus {
    let of_job: Vec<&Standing> =
        standings.iter().filter(|standing| standing.watermark.job == job.name).collect();
    let good: Vec<Timestamp> =
        of_job.iter().filter_map(|standing| standing.last_good.map(|(at, _)| at)).collect();
    let without_good = disks.saturating_sub(good.len());
    JobStatus {
        job: job.name.to_string(),
        disks,
        next_due: of_job.iter().filter_map(|standing| standing.watermark.next_due).min(),
        last_good: good.into_iter().min().filter(|_| without_good == 0),
        without_good,
    }
}

/// Runs past their time, last runs that failed, good backups older than the job's objective.
fn late(config: &Config, standings: &[Standing], waiting: &[Row], now: Timestamp) -> Vec<Late> {
    let entry = |job: &JobName, disk: &DiskId, why: String, row: Option<&Row>| Late {
        job: job.to_string(),
        disk_id: disk.to_string(),
        why,
        run: row.map(Shown::of),
    };
    let mut late: Vec<Late> = waiting
        .iter()
        .filter(|row| row.run.deadline() < now)
        .map(|row| {
            entry(&row.run.id.job, &row.run.id.disk, "past start_within, not ended".to_owned(), Some(row))
        })
        .collect();
    for Standing { watermark, last, last_good } in standings {
        if let Some(row) = last
            && let State::Failed { why, .. } = &row.run.state
        {
            late.push(entry(&watermark.job, &watermark.disk, format!("last run failed: {why}"), Some(row)));
        }
        let objective =
            config.jobs.iter().find(|job| job.name == watermark.job).and_then(|job| job.objective);
        if let Some(objective) = objective.and_then(|objective| SignedDuration::try_from(objective).ok()) {
            match last_good {
                Some((at, _)) if now.duration_since(*at) > objective => {
                    let age = whole_minutes(now.duration_since(*at));
                    let why = format!("last good backup is {age:#} old, objective {objective:#}");
                    late.push(entry(&watermark.job, &watermark.disk, why, None));
                }
                None if last.is_some() => {
                    late.push(entry(&watermark.job, &watermark.disk, "no good backup yet".to_owned(), None));
                }
                _ => {}
            }
        }
    }
    late
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
