//! `backups` and `prune`: what there is in the cloud, and deleting what no rule keeps.
//!
//! Both leave a request in the journal, so that beside a running daemon every call goes through its lanes, and what is
//! deleted is deleted by one process. Without a daemon they take its lock and answer the request by the same code.

use std::sync::Arc;
use std::time::Duration;

use backup_core::{DiskId, JobName};
use clap::Args;
use comfy_table::{Cell, Color};
use jiff::Timestamp;

use super::exit::{Exit, Failure, Outcome};
use super::open::{self, Opened, Taken};
use super::request::submit;
use super::{Global, table};
use crate::app::App;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::journal::{Answer, Change, Journal, Listed, Request, Which};

/// How often the journal is asked.
const EVERY: Duration = Duration::from_millis(200);
/// A cloud that can be reached confirms the clock long before.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(30);
/// After the settle, all disks have been listed long before.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(600);

#[derive(Args)]
pub(super) struct BackupsArguments {
    /// Of this disk alone
    #[arg(long, value_name = "DISK")]
    disk: Option<DiskId>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct PruneArguments {
    /// Show what would be deleted, and why the rest stays; delete nothing
    #[arg(long)]
    dry_run: bool,
    /// Delete those of jobs that are gone, too
    #[arg(long)]
    orphans: bool,
    /// Of this disk alone
    #[arg(long, value_name = "DISK")]
    disk: Option<DiskId>,
    /// Of this job alone
    #[arg(long, value_name = "JOB")]
    job: Option<JobName>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn backups(global: &Global, arguments: BackupsArguments) -> Outcome {
    let which = Which { all: arguments.disk.is_none(), disk: arguments.disk, ..Which::default() };
    let (backups, problems) = ask(global, Request::Backups(which))?;
    if arguments.json {
        table::print_json(&backups)?;
    } else if backups.is_empty() {
        table::print("no backups")?;
    } else {
        table::print_table(&all_as_table(&backups, open::clock().wall()))?;
    }
    Ok(exit(&problems, &backups))
}

pub(super) fn prune(global: &Global, arguments: PruneArguments) -> Outcome {
    let PruneArguments { dry_run, orphans, disk, job, json } = arguments;
    let which = Which { disk, job: job.clone(), orphans, all: false };
    let request = if dry_run { Request::Backups(which) } else { Request::Prune(which) };
    let (mut backups, problems) = ask(global, request)?;
    let is_asked =
        |listed: &Listed| job.as_ref().is_none_or(|job| listed.job.as_deref() == Some(job.as_str()));
    backups.retain(|listed| listed.kind != "other" && is_asked(listed));
    if json {
        table::print_json(&backups)?;
    } else if backups.is_empty() {
        table::print("no backups of ours")?;
    } else {
        table::print_table(&plan_as_table(&backups))?;
        let (all, goes) = (backups.len(), backups.iter().filter(|listed| listed.delete).count());
        let gone = backups.iter().filter(|listed| listed.deleted == Some(true)).count();
        let said = if dry_run {
            format!("{goes} of {all} would be deleted")
        } else {
            format!("{gone} of {all} deleted")
        };
        table::print(format!("\n{said}"))?;
    }
    Ok(exit(&problems, &backups))
}

fn exit(problems: &[String], backups: &[Listed]) -> Exit {
    for problem in problems {
        eprintln!("cbs-backupd: {problem}");
    }
    let failed = backups.iter().any(|listed| listed.deleted == Some(false));
    if problems.is_empty() && !failed { Exit::Good } else { Exit::Late }
}

pub(super) type Answered = (Vec<Listed>, Vec<String>);

/// The backups that a request is about, and what could not be listed.
pub(super) fn ask(global: &Global, request: Request) -> Result<Answered, Failure> {
    match ask_for(global, request)? {
        Answer::Backups { backups, problems } => Ok((backups, problems)),
        _ => Err(Failure::new(Exit::InputOutput, "the answer is that of another request")),
    }
}

/// The answer to a request that needs the cloud: by the daemon, or by the same code here.
pub(super) fn ask_for(global: &Global, request: Request) -> Result<Answer, Failure> {
    let config = open::config(&global.config)?;
    if matches!(request, Request::Prune(_)) {
        let settle = config.settle.as_secs();
        eprintln!(
            "cbs-backupd: what goes is deleted once a second listing, {settle} s after the first, has confirmed what stays"
        );
    }
    let runtime = open::runtime()?;
    runtime.block_on(async {
        match open::lock(&config.state_dir)? {
            Taken::Ours(_lock) => by_ourselves(global, &config, request).await,
            Taken::Held(_) => {
                let journal = Journal::open(&config.state_dir).map_err(|error| Failure::journal(&error))?;
                answer(&journal, request, || open::is_held(&config.state_dir)).await
            }
        }
    })
}

async fn by_ourselves(global: &Global, config: &Arc<Config>, request: Request) -> Result<Answer, Failure> {
    let Opened { app, .. } =
        open::app(Arc::clone(config), open::clock(), global.ears(), open::environment()).await?;
    let journal = app.parts.journal.clone();
    let daemon = Daemon::start_for_retention(Arc::clone(&app));
    let answered = tokio::select! {
        answered = answer(&journal, request, || true) => answered,
        hopeless = hopeless(&app) => Err(hopeless),
    };
    daemon.stop().await;
    answered
}

/// Comes back when what a request waits for does not come: nobody else would say so, and the lock is held.
async fn hopeless(app: &App) -> Failure {
    tokio::time::sleep(CONFIRMED_WITHIN).await;
    if !app.parts.time.is_trusted() {
        let text = "no reply of the cloud has confirmed the clock (the log says why); the request is kept";
        return Failure::new(Exit::InputOutput, text);
    }
    tokio::time::sleep(app.settings().config.settle + CAUGHT_UP_WITHIN).await;
    match app.parts.journal.read(|store| store.is_behind()).await {
        Ok(false) => std::future::pending().await,
        Ok(true) => {
            let text =
                "the journal could not be compared with the cloud (the log says why); the request is kept";
            Failure::new(Exit::InputOutput, text)
        }
        Err(error) => Failure::io("read the journal", &*error),
    }
}

/// Leaves the request, and waits for its answer for as long as there is somebody to give it.
async fn answer(
    journal: &Journal,
    request: Request,
    is_attended: impl Fn() -> bool,
) -> Result<Answer, Failure> {
    let number = submit(journal, request, None).await?;
    let failed = |error: crate::journal::SharedError| Failure::io("read the answer", &*error);
    loop {
        // Asked before the journal is read: an answer that came last of all is found.
        let attended = is_attended();
        match journal.read(move |store| store.answer(number)).await.map_err(failed)? {
            Some(Answer::Refused { why }) => return Err(Failure::new(Exit::Usage, why)),
            Some(answer) => {
                // It is long, and nobody else's.
                journal.write(Change::Heard(number)).await.map_err(failed)?;
                return Ok(answer);
            }
            None if !attended => {
                let text = "the daemon has ended; the request is kept, and taken up by the next one";
                return Err(Failure::new(Exit::InputOutput, text));
            }
            None => tokio::time::sleep(EVERY).await,
        }
    }
}

/// Everything, as people read it.
fn all_as_table(backups: &[Listed], now: Timestamp) -> comfy_table::Table {
    let mut table = table::table(&["DISK", "BACKUP", "JOB", "STATE", "AGE", "GIB", "NAME"]);
    for listed in backups {
        let job = listed.job.clone().unwrap_or_default();
        table.add_row([
            Cell::new(&listed.disk_id),
            Cell::new(&listed.id),
            match listed.kind.as_str() {
                "ours" => Cell::new(job),
                "orphan" => Cell::new(format!("{job} (gone)")).fg(Color::Yellow),
                _ => Cell::new("-"),
            },
            state(&listed.state),
            Cell::new(listed.created.map(|created| age(created, now)).unwrap_or_default()),
            Cell::new(listed.size_gib.map(|size| size.to_string()).unwrap_or_default()),
            Cell::new(&listed.name),
        ]);
    }
    table
}

/// What is ours, with what the rules say of it.
fn plan_as_table(backups: &[Listed]) -> comfy_table::Table {
    let mut table = table::table(&["DISK", "BACKUP", "NAME", "STATE", "VERDICT"]);
    for listed in backups {
        let verdict = listed.verdict.clone().unwrap_or_default();
        table.add_row([
            Cell::new(&listed.disk_id),
            Cell::new(&listed.id),
            Cell::new(&listed.name),
            state(&listed.state),
            match (listed.deleted, listed.delete) {
                (Some(true), _) => Cell::new(verdict.replacen("delete", "deleted", 1)).fg(Color::Red),
                (Some(false), _) => Cell::new(verdict.replacen("delete", "not deleted", 1)).fg(Color::Red),
                (None, true) => Cell::new(verdict).fg(Color::Red),
                (None, false) => Cell::new(verdict),
            },
        ]);
    }
    table
}

fn state(state: &str) -> Cell {
    let cell = Cell::new(state);
    if state == "NORMAL" { cell } else { cell.fg(Color::Cyan) }
}

/// `3d`, `7h`, `12m`: the largest unit of which there are two or more.
fn age(created: Timestamp, now: Timestamp) -> String {
    let minutes = now.duration_since(created).as_mins().max(0);
    match minutes {
        0..120 => format!("{minutes}m"),
        120..2880 => format!("{}h", minutes / 60),
        _ => format!("{}d", minutes / 1440),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_in_units_that_say_enough() {
        let now: Timestamp = "2026-11-24T12:00:00Z".parse().unwrap();
        for (created, shown) in [
            ("2026-11-24T12:00:30Z", "0m"),
            ("2026-11-24T10:01:00Z", "119m"),
            ("2026-11-24T10:00:00Z", "2h"),
            ("2026-11-22T12:01:00Z", "47h"),
            ("2026-11-22T12:00:00Z", "2d"),
        ] {
            assert_eq!(age(created.parse().unwrap(), now), shown);
        }
    }
}
