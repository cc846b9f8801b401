//! `check`: is the configuration good, and what will it do?

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::exit::{Exit, Outcome};
use super::{Global, open, table};
use crate::config::Job;
use crate::report::counted;

/// How many due instants are shown of each job.
const SHOWN: usize = 5;

#[derive(Args)]
pub(super) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn check(global: &Global, arguments: &Arguments) -> Outcome {
    let config = open::config(&global.config)?;
    let now = open::clock().wall();
    if arguments.json {
        let jobs: Vec<_> = config
            .jobs
            .iter()
            .map(|job| {
                let due: Vec<_> = next(job, now).map(|due| due.to_string()).collect();
                json!({ "job": job.name, "target": job.target, "disks": job.disks.len(), "due": due })
            })
            .collect();
        table::print_json(&json!({ "jobs": jobs }))?;
        return Ok(Exit::Good);
    }
    let disks: usize = config.jobs.iter().map(|job| job.disks.len()).sum();
    table::print(format_args!(
        "{} is good: {}, {}, {}",
        global.config.display(),
        counted(config.jobs.len(), "job"),
        counted(disks, "disk"),
        counted(config.targets.len(), "target")
    ))?;
    for job in &config.jobs {
        let schedule = &job.schedule;
        table::print(format_args!(
            "\n{} on {}, target {}: {} in {}",
            job.name,
            counted(job.disks.len(), "disk"),
            job.target,
            schedule.cron(),
            schedule.zone_name()
        ))?;
        for due in next(job, now) {
            let local = due.to_zoned(schedule.zone().clone());
            table::print(format_args!("  due {}", local.strftime("%a %Y-%m-%d %H:%M %:z")))?;
        }
    }
    Ok(Exit::Good)
}

fn next(job: &Job, now: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
    job.schedule.after(now).take(SHOWN)
}
