//! `pause` and `resume`: hold the runs of a job or a disk, and let them go.
//!
//! Both write to the journal, whether or not a daemon runs; it takes them up within seconds. A paused run waits
//! as long as it may still start, and ends Skipped after that.

use clap::Args;

use super::exit::{Exit, Failure, Outcome};
use super::{Global, SubjectArguments, open, table};
use crate::config::Config;
use crate::journal::{Change, FILE, Sqlite, Store as _, Subject};

#[derive(Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    subject: SubjectArguments,
}

pub(super) fn pause(global: &Global, arguments: Arguments) -> Outcome {
    let config = open::config(&global.config)?;
    let (subject, shown) = subject(arguments, &config)?;
    let now = open::clock().wall();
    let changed = write(&config, &[Change::Pause(subject, now), Change::AttendToAll])?;
    table::print(if changed { format!("{shown} is paused") } else { format!("{shown} was paused already") })?;
    Ok(Exit::Good)
}

pub(super) fn resume(global: &Global, arguments: Arguments) -> Outcome {
    let config = open::config(&global.config)?;
    let (subject, shown) = subject(arguments, &config)?;
    let changed = write(&config, &[Change::Resume(subject), Change::AttendToAll])?;
    table::print(if changed { format!("{shown} goes on") } else { format!("{shown} was not paused") })?;
    Ok(Exit::Good)
}

fn subject(arguments: Arguments, config: &Config) -> Result<(Subject, String), Failure> {
    let unknown =
        |what: String| Failure::new(Exit::Usage, format_args!("there is no {what} in the configuration"));
    match (arguments.subject.job, arguments.subject.disk) {
        (Some(job), _) if config.jobs.iter().any(|known| known.name == job) => {
            let shown = format!("job {job}");
            Ok((Subject::Job(job), shown))
        }
        (Some(job), _) => Err(unknown(format!("job {job}"))),
        (None, Some(disk)) if open::fleet(config)?.has(&disk) => {
            let shown = format!("disk {disk}");
            Ok((Subject::Disk(disk), shown))
        }
        (None, Some(disk)) => Err(unknown(format!("disk {disk}"))),
        (None, None) => Err(Failure::new(Exit::Usage, "expected --job or --disk")),
    }
}

fn write(config: &Config, changes: &[Change]) -> Result<bool, Failure> {
    let failed = |error| Failure::journal(&error);
    std::fs::create_dir_all(&config.state_dir)
        .map_err(|error| Failure::io("make the state directory", &error))?;
    let mut journal = Sqlite::open(&config.state_dir.join(FILE)).map_err(failed)?;
    let applied = journal.apply(changes).map_err(failed)?;
    Ok(applied.first().copied().unwrap_or(false))
}
