//! `check`: is the configuration good, and what will it do?

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::exit::{Exit, Outcome};
use super::{Global, open, table};
use crate::config::{Disks, Job};
use crate::fleet::Roster;
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
    let fleet = open::fleet(&config)?;
    if arguments.json {
        let jobs: Vec<_> = config
            .jobs
            .iter()
            .map(|job| {
                let due: Vec<_> = next(job, now).map(|due| due.to_string()).collect();
                json!({ "job": job.name, "target": job.target, "disks": fleet.of(&job.name).len(), "due": due })
            })
            .collect();
        table::print_json(&json!({ "jobs": jobs }))?;
        return Ok(Exit::Good);
    }
    table::print(format_args!(
        "{} is good: {}, {}, {}",
        global.config.display(),
        counted(config.jobs.len(), "job"),
        counted(fleet.size(), "disk"),
        counted(config.targets.len(), "target")
    ))?;
    for job in &config.jobs {
        let schedule = &job.schedule;
        table::print(format_args!(
            "\n{} on {}, target {}: {} in {}",
            job.name,
            disks_of(job, fleet.of(&job.name)),
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

/// `3 disks`; of a job that selects them, as they were last listed.
fn disks_of(job: &Job, roster: &Roster) -> String {
    match (&job.disks, roster.is_known) {
        (Disks::Listed(_), _) => counted(roster.len(), "disk"),
        (Disks::Selected(_), true) => format!("{} (selected, as last listed)", counted(roster.len(), "disk")),
        (Disks::Selected(_), false) => "selected disks (not listed yet)".to_owned(),
    }
}

fn next(job: &Job, now: Timestamp) -> impl Iterator<Item = Timestamp> + '_ {
    job.schedule.after(now).take(SHOWN)
}
