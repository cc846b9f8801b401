//! `check --online`: which disks the jobs are about, by the cloud, and how many backups those have and may have.
//!
//! Asked through the daemon where one runs, for it alone keeps the lanes; the jobs are those of the file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::open::{self, Opened, Taken};
use super::{Global, request, table};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::journal::{Answer, Change, Inspected, Journal, Request, ToInspect};
use crate::report::counted;

/// Targets that do not answer take their time-out each.
const ANSWERED_WITHIN: Duration = Duration::from_secs(600);

/// Asks the cloud.
pub(super) fn ask(global: &Global, config: &Arc<Config>) -> Result<Vec<Inspected>, Failure> {
    let jobs = config.jobs.iter().map(|job| ToInspect {
        job: job.name.clone(),
        target: job.target.clone(),
        disks: job.disks.clone(),
    });
    let body = Request::Inspect { jobs: jobs.collect() };
    let runtime = open::runtime()?;
    runtime.block_on(async {
        match open::lock(&config.state_dir)? {
            Taken::Ours(_lock) => {
                let Opened { app, .. } =
                    open::app(Arc::clone(config), open::clock(), global.ears(), open::environment()).await?;
                let journal = app.parts.journal.clone();
                let daemon = Daemon::start_to_answer(app);
                let answer = through(&journal, body).await;
                daemon.stop().await;
                answer
            }
            Taken::Held(_) => {
                let journal = Journal::open(&config.state_dir).map_err(|error| Failure::journal(&error))?;
                through(&journal, body).await
            }
        }
    })
}

async fn through(journal: &Journal, body: Request) -> Result<Vec<Inspected>, Failure> {
    let number = request::submit(journal, body, None).await?;
    let answer = request::answer(journal, number, ANSWERED_WITHIN).await?;
    // It may be long. That it stays is no harm, and goes with the history.
    let _ = journal.write(Change::Heard(number)).await;
    match answer {
        Answer::Fleet { jobs } => Ok(jobs),
        _ => Err(Failure::new(Exit::InputOutput, "the answer is not one to this request")),
    }
}

/// Whether nothing is amiss: every job has disks, and the cloud knows them all.
pub(super) fn exit(jobs: &[Inspected]) -> Exit {
    let good = |job: &Inspected| job.problem.is_none() && job.unknown.is_empty() && !job.disks.is_empty();
    if jobs.iter().all(good) { Exit::Good } else { Exit::Late }
}

/// A job for programs.
pub(super) fn as_json(job: &Inspected) -> Value {
    json!({ "disks": job.disks, "unknown": job.unknown, "problem": job.problem })
}

/// A job for people: counts, and the disks that want a look.
pub(super) fn show(job: &Inspected) -> Result<(), Failure> {
    if let Some(problem) = &job.problem {
        return table::print(format_args!("  online: not known: {problem}"));
    }
    table::print(format_args!("  online: {}", counted(job.disks.len(), "disk")))?;
    if job.disks.is_empty() && job.unknown.is_empty() {
        table::print("  online: no disk meets the conditions of `select`")?;
    }
    for disk in &job.unknown {
        table::print(format_args!("  online: the cloud does not know {disk} in target {}", job.target))?;
    }
    let mut quotas: BTreeMap<(Option<u64>, Option<u64>), Vec<&str>> = BTreeMap::new();
    for disk in &job.disks {
        quotas.entry((disk.backup_quota, disk.backup_count)).or_default().push(disk.disk_id.as_str());
    }
    let shown = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
    for ((quota, count), disks) in quotas {
        let few = if disks.len() <= 3 { format!(": {}", disks.join(", ")) } else { String::new() };
        let full = if count.is_some() && count >= quota { " (full)" } else { "" };
        table::print(format_args!(
            "  online: {} of {} backups{full} on {}{few}",
            shown(count),
            shown(quota),
            counted(disks.len(), "disk")
        ))?;
    }
    Ok(())
}
