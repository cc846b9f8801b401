//! `restore`: puts a disk back to one of its backups, with or without a daemon.
//!
//! It shows what would be lost, has it confirmed, leaves the request and follows it. The cloud is asked by whoever holds
//! the journal: a running daemon, or the command itself by the same code.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Arc;

use backup_core::restore::{Restore, Seen, State};
use backup_core::{BackupId, BackupName, DiskId, TargetName};
use clap::Args;
use jiff::Timestamp;
use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};
use super::open::{self, Lock, Opened, Taken};
use super::request::{EVERY, TAKEN_UP_WITHIN, answer, submit};
use super::{Global, table};
use crate::config::Config;
use crate::daemon::Daemon;
use crate::journal::{Answer, Journal, Request, RestoreAsk, RestoreRow};

#[derive(Args)]
pub(super) struct Arguments {
    /// The disk
    #[arg(value_name = "DISK")]
    disk: DiskId,
    /// The backup that it is put back to
    #[arg(long, value_name = "ID")]
    backup: BackupId,
    /// The target that has the disk; needed where no job holds it and there are several targets
    #[arg(long, value_name = "TARGET")]
    target: Option<TargetName>,
    /// Let the cloud shut down the instance that the disk is attached to
    #[arg(long)]
    auto_stop: bool,
    /// Let the cloud start it again afterwards
    #[arg(long, requires = "auto_stop")]
    auto_start: bool,
    /// Do not ask; needed where there is no terminal
    #[arg(long)]
    yes: bool,
    /// Return as soon as the request is taken up by a running daemon
    #[arg(long)]
    no_wait: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Shown {
    disk_id: String,
    backup_id: String,
    state: &'static str,
    reason: Option<String>,
    attempts: u32,
    asked_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl Shown {
    fn of(RestoreRow { restore, asked_at, ended_at, .. }: &RestoreRow) -> Self {
        let reason = match &restore.state {
            State::Failed { why } => Some(why.to_string()),
            _ => None,
        };
        Self {
            disk_id: restore.disk.to_string(),
            backup_id: restore.backup.to_string(),
            state: restore.state.name(),
            reason,
            attempts: restore.attempts,
            asked_at: *asked_at,
            ended_at: *ended_at,
        }
    }
}

/// Who carries it out.
enum Way {
    /// We do: the lock is ours, and the tasks run here.
    Ourselves(Lock, Daemon),
    /// A running daemon.
    Daemon,
}

pub(super) fn restore(global: &Global, arguments: Arguments) -> Outcome {
    if !arguments.yes && !std::io::stdin().is_terminal() {
        let text = "there is no terminal to confirm on; --yes restores without being asked";
        return Err(Failure::new(Exit::Usage, text));
    }
    let config = open::config(&global.config)?;
    let runtime = open::runtime()?;
    runtime.block_on(async {
        let (way, journal) = match open::lock(&config.state_dir)? {
            Taken::Held(_) => {
                let journal = Journal::open(&config.state_dir);
                (Way::Daemon, journal.map_err(|error| Failure::journal(&error))?)
            }
            Taken::Ours(lock) => {
                let (clock, environment) = (open::clock(), open::environment());
                let Opened { app, .. } =
                    open::app(Arc::clone(&config), clock, global.ears(), environment).await?;
                let journal = app.parts.journal.clone();
                (Way::Ourselves(lock, Daemon::start_without_planning(app)), journal)
            }
        };
        let at_once = arguments.no_wait && matches!(way, Way::Daemon);
        let outcome = carry_out(&config, &journal, &arguments, at_once).await;
        if let Way::Ourselves(_lock, daemon) = way {
            daemon.stop().await;
        }
        outcome
    })
}

async fn carry_out(config: &Config, journal: &Journal, arguments: &Arguments, at_once: bool) -> Outcome {
    let Arguments { disk, backup, target, auto_stop, auto_start, .. } = arguments;
    let ask = RestoreAsk {
        disk: disk.clone(),
        backup: backup.clone(),
        target: target.clone(),
        auto_stop: *auto_stop,
        auto_start: *auto_start,
    };
    let inspect = submit(journal, Request::InspectRestore(ask.clone()), None).await?;
    let Answer::Inspected { seen, problem } = answer(journal, inspect, TAKEN_UP_WITHIN).await? else {
        return Err(unrelated());
    };
    let what = describe(config, &ask, &seen, open::clock().wall());
    match (arguments.json, arguments.yes) {
        (false, _) => table::print(what)?,
        // Whoever is asked must see what for; standard output is for the program that reads it.
        (true, false) => eprintln!("{what}"),
        (true, true) => {}
    }
    if let Some(problem) = problem {
        return Err(Failure::new(Exit::Usage, problem));
    }
    if !arguments.yes && !confirmed(disk).await? {
        return Err(Failure::new(Exit::Usage, "not confirmed: nothing was changed"));
    }
    let number = submit(journal, Request::Restore(ask), None).await?;
    let Answer::Restore { number } = answer(journal, number, TAKEN_UP_WITHIN).await? else {
        return Err(unrelated());
    };
    let row = followed(journal, number, at_once, !arguments.json).await?;
    let shown = Shown::of(&row);
    if arguments.json {
        table::print_json(&shown)?;
    } else {
        let reason = shown.reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
        table::print(format_args!("{} to {}: {}{reason}", shown.disk_id, shown.backup_id, shown.state))?;
    }
    let bad = matches!(row.restore.state, State::Failed { .. });
    Ok(if bad { Exit::Late } else { Exit::Good })
}

fn unrelated() -> Failure {
    Failure::new(Exit::InputOutput, "the answer is not one to this request")
}

/// What a person must know before it is done.
fn describe(config: &Config, ask: &RestoreAsk, seen: &Seen, now: Timestamp) -> String {
    let mut lines = Vec::new();
    if let Some(disk) = &seen.disk {
        let size = disk.size_gib.map(|size| format!(", {size} GiB")).unwrap_or_default();
        let name = if disk.name.is_empty() { String::new() } else { format!(" `{}`", disk.name) };
        let instances = disk.instances.join(", ");
        let at = if instances.is_empty() { String::new() } else { format!(" to {instances}") };
        lines.push(format!("disk    {}{name}{size}, {}{at}", ask.disk, disk.state));
    }
    if let Some(backup) = &seen.backup {
        let name: Option<BackupName> = backup.name.parse().ok();
        let whose = match &name {
            Some(name) if name.owner == config.owner => format!("ours, of job {}", name.job),
            Some(name) => format!("of owner {}", name.owner),
            None => "not made by this program".to_owned(),
        };
        let made = backup.created.or(name.map(|name| name.due));
        let age = made.map(|made| format!(", {} old", age(now, made))).unwrap_or_default();
        lines.push(format!("backup  {} `{}`, {}, {whose}{age}", ask.backup, backup.name, backup.state));
        let since = made.map(|made| format!(" since {made}")).unwrap_or_default();
        lines.push(format!("lost    everything written to {}{since}", ask.disk));
    }
    if ask.auto_stop {
        let then = if ask.auto_start { ", and started again afterwards" } else { ", and stays off" };
        lines.push(format!("also    the instance is shut down{then}"));
    }
    lines.join("\n")
}

/// `1d 3h`, `3h 20m`, `4m`.
fn age(now: Timestamp, made: Timestamp) -> String {
    let minutes = now.duration_since(made).as_mins().max(0);
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// Whether the person types the disk's id.
async fn confirmed(disk: &DiskId) -> Result<bool, Failure> {
    let prompt = format!("Type {disk} to restore it: ");
    let failed = |error: std::io::Error| Failure::io("ask", &error);
    let asked = tokio::task::spawn_blocking(move || {
        let mut stderr = std::io::stderr();
        stderr.write_all(prompt.as_bytes())?;
        stderr.flush()?;
        let mut line = String::new();
        std::io::stdin().read_line(&mut line)?;
        Ok(line)
    });
    let line = asked.await.map_err(|error| Failure::io("ask", &error))?.map_err(failed)?;
    Ok(line.trim() == disk.as_str())
}

/// The restore, once it has ended; how far it is goes to a terminal meanwhile.
async fn followed(journal: &Journal, number: i64, at_once: bool, say: bool) -> Result<RestoreRow, Failure> {
    let terminal = say && std::io::stderr().is_terminal();
    loop {
        let row = journal.read(move |store| store.restore(number)).await;
        let row = row.map_err(|error| Failure::io("read the restore", &*error))?;
        let row = row.ok_or_else(|| Failure::new(Exit::InputOutput, "the restore is not in the journal"))?;
        if terminal {
            eprint!("\r{:<40}", progress(&row.restore));
        }
        if at_once || row.ended_at.is_some() {
            if terminal {
                eprintln!();
            }
            return Ok(row);
        }
        tokio::time::sleep(EVERY).await;
    }
}

fn progress(restore: &Restore) -> String {
    match &restore.state {
        State::Rolling { percent: Some(percent), .. } => format!("rolling back: {percent} %"),
        State::Rolling { percent: None, .. } => "rolling back".to_owned(),
        State::Applying { .. } => "asked; waiting for the disk to roll back".to_owned(),
        state => state.name().to_owned(),
    }
}
