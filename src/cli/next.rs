//! `next`: the coming due instants.

use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::exit::{Exit, Outcome};
use super::{Global, open, table};
use crate::fleet::OnRoster;

#[derive(Args)]
pub(super) struct Arguments {
    /// From this instant on (RFC 3339); from now on where none is given
    #[arg(long, value_name = "INSTANT")]
    from: Option<Timestamp>,
    /// How many due instants of each job and disk
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Due {
    job: String,
    disk_id: String,
    due: Timestamp,
    start_at: Timestamp,
}

pub(super) fn next(global: &Global, arguments: &Arguments) -> Outcome {
    let config = open::config(&global.config)?;
    let from = arguments.from.unwrap_or_else(|| open::clock().wall());
    let fleet = open::fleet(&config)?;
    let mut coming: Vec<(Due, String)> = Vec::new();
    for job in &config.jobs {
        for due in job.schedule.after(from).take(arguments.count) {
            for OnRoster { disk, instance } in fleet.of(&job.name).disks() {
                let start_at = job.start_at(disk, instance.as_ref(), due);
                let local = start_at
                    .to_zoned(job.schedule.zone().clone())
                    .strftime("%a %Y-%m-%d %H:%M:%S %:z")
                    .to_string();
                let row = Due { job: job.name.to_string(), disk_id: disk.to_string(), due, start_at };
                coming.push((row, local));
            }
        }
    }
    coming.sort_by(|(a, _), (b, _)| {
        (a.due, a.start_at, &a.job, &a.disk_id).cmp(&(b.due, b.start_at, &b.job, &b.disk_id))
    });
    if arguments.json {
        table::print_json(&coming.into_iter().map(|(due, _)| due).collect::<Vec<_>>())?;
        return Ok(Exit::Good);
    }
    let mut shown = table::table(&["DUE (UTC)", "STARTS (job's zone)", "JOB", "DISK"]);
    for (due, local) in &coming {
        shown.add_row([&due.due.to_string(), local, &due.job, &due.disk_id]);
    }
    table::print_table(&shown)?;
    Ok(Exit::Good)
}
