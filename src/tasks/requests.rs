//! Takes up what commands ask for.
//!
//! Responsible for turning a request into runs, the same way whether the daemon does it or a command that
//! holds the journal itself. It refuses what is ambiguous, and says what would be clear.

use backup_core::{DiskId, JobName, RunId};
use jiff::{SignedDuration, Timestamp};

use super::plan::PlannedBy;
use crate::app::App;
use crate::config::{Config, Job};
use crate::journal::{Answer, Change, Request, SharedError};
use crate::report::{Event, Kind};

/// Takes up all requests that have no answer yet.
///
/// # Errors
/// When the journal cannot be read or written; the requests are then taken up later.
pub async fn take_up_all(app: &App) -> Result<(), SharedError> {
    for (number, request) in app.parts.journal.read(|store| store.open_requests()).await? {
        let answer = match take_up(app, request).await? {
            Ok(runs) => Answer::Runs { runs: runs.iter().map(ToString::to_string).collect() },
            Err(why) => Answer::Refused { why },
        };
        app.write(Change::Answer(number, answer)).await?;
    }
    Ok(())
}

async fn take_up(app: &App, request: Request) -> Result<Result<Vec<RunId>, String>, SharedError> {
    match request {
        Request::Backup { disks, job } => backup(app, disks, job).await,
        Request::Retry { run } => retry(app, &run).await,
    }
}

/// A run for each disk, due now.
async fn backup(
    app: &App,
    disks: Vec<DiskId>,
    job: Option<JobName>,
) -> Result<Result<Vec<RunId>, String>, SharedError> {
    let config = &app.settings().config;
    let plans: Result<Vec<_>, String> =
        disks.into_iter().map(|disk| planned_by(config, &disk, job.as_ref()).map(|by| (disk, by))).collect();
    let plans = match plans {
        Ok(plans) => plans,
        Err(why) => return Ok(Err(why)),
    };
    let now = app.now().wall;
    let mut runs = Vec::new();
    for (disk, by) in plans {
        let mut due = Timestamp::from_second(now.as_second()).unwrap_or(now);
        // A run of that second may exist; each due instant has one run only.
        loop {
            let id = RunId { job: by.job.clone(), disk: disk.clone(), due };
            let row = by.row(id.clone(), due);
            let event = Event::of_row(Kind::RunPlanned, &row, "asked for by a person");
            if app.write(Change::Ask(row)).await? {
                app.say(&event);
                runs.push(id);
                break;
            }
            due = due.saturating_add(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MAX);
        }
    }
    app.pokes.submit.notify_one();
    Ok(Ok(runs))
}

/// The job that a backup of `disk` is made under.
fn planned_by(config: &Config, disk: &DiskId, wanted: Option<&JobName>) -> Result<PlannedBy, String> {
    let holders: Vec<&Job> = config.jobs.iter().filter(|job| job.disks.contains(disk)).collect();
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

async fn retry(app: &App, run: &str) -> Result<Result<Vec<RunId>, String>, SharedError> {
    let id: RunId = match run.parse() {
        Ok(id) => id,
        Err(error) => return Ok(Err(format!("{error}"))),
    };
    let asked = id.clone();
    let Some(row) = app.parts.journal.read(move |store| store.run(&asked)).await? else {
        return Ok(Err(format!("there is no run {id}: `history` lists them")));
    };
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
        Ok(Ok(vec![id]))
    } else {
        Ok(Err(format!(
            "another run has an attempt or a backup under way on {}: try again when it has ended",
            id.disk
        )))
    }
}
