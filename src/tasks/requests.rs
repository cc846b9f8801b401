//! Takes up what commands ask for.
//!
//! Responsible for turning a request into runs, the same way whether the daemon does it or a command that
//! holds the journal itself. It refuses what is ambiguous, and says what would be clear.

use std::time::Duration;

use backup_core::{DiskId, JobName, RunId};
use jiff::{SignedDuration, Timestamp};

use super::plan::PlannedBy;
use crate::app::{App, Settings};
use crate::config::{Config, Job};
use crate::journal::{Answer, Change, JournalError, LogAsk, Request, SharedError, Store, ToInspect};
use crate::report::log::{Filter, Until};
use crate::report::{Event, Kind};

/// Takes up all requests that have no answer yet; gives back those whose answer takes calls, for `inspect`. While the wall
/// clock is not `trusted`, that is no more than what is logged: others become runs that are due now.
///
/// # Errors
/// When the journal cannot be read or written; the requests are then taken up later.
pub async fn take_up_all(app: &App, trusted: bool) -> Result<Vec<(i64, Vec<ToInspect>)>, SharedError> {
    let mut to_inspect = Vec::new();
    for (number, request) in app.parts.journal.read(|store| store.open_requests()).await? {
        match request {
            Request::LogLevel(ask) => {
                let answer = log_level(app, ask);
                app.write(Change::Answer(number, answer)).await?;
            }
            _ if !trusted => {}
            Request::Backup { disks, job } => backup(app, number, disks, job).await?,
            Request::Retry { run } => {
                let answer = match retry(app, &run).await? {
                    Ok(id) => Answer::Runs { runs: vec![id.to_string()] },
                    Err(why) => Answer::Refused { why },
                };
                app.write(Change::Answer(number, answer)).await?;
            }
            // The restorer's: they need the cloud.
            Request::InspectRestore(_) | Request::Restore(_) | Request::Quotas => {}
            Request::Backups(_) | Request::Prune(_) => app.pokes.retain.ring(),
            Request::Inspect { jobs } => to_inspect.push((number, jobs)),
        }
    }
    Ok(to_inspect)
}

/// Taken up twice, a request is done twice, and nothing is lost by it.
fn log_level(app: &App, ask: LogAsk) -> Answer {
    let levels = &app.parts.levels;
    let change = match ask {
        LogAsk::Show => None,
        LogAsk::Reset => levels.reset(),
        LogAsk::Set { filter, for_ms } => match filter.parse::<Filter>() {
            Err(error) => return Answer::Refused { why: error.to_string() },
            Ok(filter) => {
                let now = app.now();
                let until = |millis| Until {
                    mono: app.parts.time.clock().mono().saturating_add(Duration::from_millis(millis)),
                    wall: now.wall.saturating_add(Duration::from_millis(millis)).unwrap_or(Timestamp::MAX),
                };
                levels.ask(filter, for_ms.map(until))
            }
        },
    };
    app.say_level(change);
    Answer::Logged { what: levels.chosen().to_string() }
}

/// A run for each disk, due now. The runs and the answer are one write: whatever happens, a request becomes runs
/// once.
async fn backup(app: &App, number: i64, disks: Vec<DiskId>, job: Option<JobName>) -> Result<(), SharedError> {
    let settings = app.settings();
    let plans: Result<Vec<_>, String> = disks
        .into_iter()
        .map(|disk| planned_by(&settings, &disk, job.as_ref()).map(|by| (disk, by)))
        .collect();
    let plans = match plans {
        Ok(plans) => plans,
        Err(why) => {
            app.write(Change::Answer(number, Answer::Refused { why })).await?;
            return Ok(());
        }
    };
    let now = app.now().wall;
    let rows = app.parts.journal.read(move |store| {
        plans
            .into_iter()
            .map(|(disk, by)| {
                let id = unused(store, &by, &disk, now)?;
                let start_at = id.due;
                Ok(by.row(id, start_at))
            })
            .collect::<Result<Vec<_>, _>>()
    });
    let rows = rows.await?;
    let runs = rows.iter().map(|row| row.run.id.to_string()).collect();
    let planned: Vec<Event> =
        rows.iter().map(|row| Event::of_row(Kind::RunPlanned, row, "asked for by a person")).collect();
    let mut changes: Vec<Change> = rows.into_iter().map(Change::Ask).collect();
    changes.push(Change::Answer(number, Answer::Runs { runs }));
    app.write_all(changes).await?;
    planned.iter().for_each(|event| app.say(event));
    app.pokes.submit.ring();
    Ok(())
}

/// A run due in this second or, since each due instant has one run only, in the next that has none.
fn unused(store: &dyn Store, by: &PlannedBy, disk: &DiskId, now: Timestamp) -> Result<RunId, JournalError> {
    let due = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let mut id = RunId { job: by.job.clone(), disk: disk.clone(), due };
    while store.run(&id)?.is_some() {
        id.due = id.due.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
    }
    Ok(id)
}

/// The job that a backup of `disk` is made under.
fn planned_by(settings: &Settings, disk: &DiskId, wanted: Option<&JobName>) -> Result<PlannedBy, String> {
    let Settings { config, fleet, .. } = settings;
    let holders: Vec<&Job> = config.jobs.iter().filter(|job| fleet.holds(&job.name, disk)).collect();
    let names = || holders.iter().map(|job| job.name.as_str()).collect::<Vec<_>>().join(", ");
    let job = match (wanted, holders.as_slice()) {
        (Some(wanted), _) => match holders.iter().find(|job| job.name == *wanted) {
            Some(job) => job,
            None if holders.is_empty() => {
                return Err(format!("job {wanted} does not hold {disk}; no job does: leave --job out"));
            }
            None => return Err(format!("job {wanted} does not hold {disk}; these do: {}", names())),
        },
        (None, [job]) => job,
        (None, []) => return manual(config, disk),
        (None, _) => return Err(format!("several jobs hold {disk}: say which with --job ({})", names())),
    };
    Ok(PlannedBy::job(config, job))
}

/// A disk that no job holds.
fn manual(config: &Config, disk: &DiskId) -> Result<PlannedBy, String> {
    let target = config.default_target().ok_or_else(|| {
        format!("no job holds {disk}, and there are several targets, none of them named `default`: add the disk to a job")
    })?;
    let job = JobName::MANUAL.parse().map_err(|error| format!("{error}"))?;
    Ok(PlannedBy { job, target: target.clone(), owner: config.owner.clone(), policy: config.manual_policy() })
}

/// Another attempt of a run. One that goes on already needs none: taken up twice, a request is done once.
async fn retry(app: &App, run: &str) -> Result<Result<RunId, String>, SharedError> {
    let id: RunId = match run.parse() {
        Ok(id) => id,
        Err(error) => return Ok(Err(format!("{error}"))),
    };
    let asked = id.clone();
    let Some(row) = app.parts.journal.read(move |store| store.run(&asked)).await? else {
        return Ok(Err(format!("there is no run {id}: `history` lists them")));
    };
    if !row.run.state.is_ended() {
        return Ok(Ok(id));
    }
    let state = row.run.state.name();
    let revived = match row.run.revive(&app.now()) {
        Ok(run) => run,
        Err(_) => {
            return Ok(Err(format!(
                "run {id} is {state}: only one that failed or was skipped can be tried again"
            )));
        }
    };
    if app.write(Change::Revive(revived)).await? {
        app.pokes.all();
        Ok(Ok(id))
    } else {
        Ok(Err(format!(
            "another run has an attempt or a backup under way on {}: try again when it has ended",
            id.disk
        )))
    }
}
