//! `check`: is the configuration good, and what will it do?

use clap::Args;
use jiff::Timestamp;
use serde_json::json;

use super::exit::{Exit, Outcome};
use super::{Global, online, open, table};
use crate::config::{Disks, Job};
use crate::fleet::Roster;
use crate::report::counted;

/// How many due instants are shown of each job.
const SHOWN: usize = 5;

#[derive(Args)]
pub(super) struct Arguments {
    /// Ask the cloud as well: which disks each job is about, and how many backups they have and may have
    #[arg(long)]
    online: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn check(global: &Global, arguments: &Arguments) -> Outcome {
    let config = open::config(&global.config)?;
    let now = open::clock().wall();
    let fleet = open::fleet(&config)?;
    let online = arguments.online.then(|| online::ask(global, &config)).transpose()?;
    let exit = online.as_ref().map_or(Exit::Good, |jobs| online::exit(jobs));
    // In the order of the jobs.
    let of = |index: usize| online.as_ref().and_then(|jobs| jobs.get(index));
    if arguments.json {
        let jobs: Vec<_> = config
            .jobs
            .iter()
            .enumerate()
            .map(|(index, job)| {
                let due: Vec<_> = next(job, now).map(|due| due.to_string()).collect();
                json!({
                    "job": job.name,
                    "target": job.target,
                    "disks": fleet.of(&job.name).len(),
                    "due": due,
                    "online": of(index).map(online::as_json),
                })
            })
            .collect();
        table::print_json(&json!({ "jobs": jobs }))?;
        return Ok(exit);
    }
    table::print(format_args!(
        "{} is good: {}, {}, {}",
        global.config.display(),
        counted(config.jobs.len(), "job"),
        counted(fleet.size(), "disk"),
        counted(config.targets.len(), "target")
    ))?;
    for (index, job) in config.jobs.iter().enumerate() {
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
        of(index).map(online::show).transpose()?;
    }
    Ok(exit)
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
