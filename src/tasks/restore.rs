//! Puts disks back to their backups.
//!
//! Responsible for the requests of commands that look at disks, and for each rollback from its preconditions to its end: look, the durable
//! intent, the call, then looks alone. It refuses to ask the cloud twice for what may have been carried out; what
//! follows is decided in `backup_core::restore`.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backup_core::TargetName;
use backup_core::restore::{Failure, Reply, Restore, State, Step, check, next_step};
use cbs::Power;

use super::driver::{InFlight, Task};
use super::quotas;
use crate::app::{App, Settings};
use crate::bell::Bell;
use crate::cloud::Cloud;
use crate::journal::{Answer, Change, Request, RestoreAsk, RestoreRow};
use crate::report::{Event, Kind};

/// After a look that had no answer, or a write that failed.
const AGAIN: Duration = Duration::from_secs(1);

/// The task.
#[derive(Default)]
pub struct Restores {
    busy: Arc<Mutex<BTreeSet<i64>>>,
}

/// A number that a call is under way for, for as long as this lasts.
struct Claim(Arc<Mutex<BTreeSet<i64>>>, i64);

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.1);
    }
}

impl Restores {
    fn claim(&self, number: i64) -> Option<Claim> {
        let mut busy = self.busy.lock().unwrap_or_else(PoisonError::into_inner);
        busy.insert(number).then(|| Claim(Arc::clone(&self.busy), number))
    }
}

impl Task for Restores {
    /// It measures by the monotonic clock, and a person waits.
    const NEEDS_CLOCK: bool = false;

    fn bell(app: &App) -> &Bell {
        &app.pokes.restore
    }

    async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        let read = app.parts.journal.read(|store| Ok((store.open_requests()?, store.open_restores()?))).await;
        let (requests, restores) = match read {
            Ok(read) => read,
            Err(error) => {
                app.journal_fault(&error);
                return AGAIN;
            }
        };
        for (number, request) in requests {
            if request == Request::Quotas
                && let Some(claim) = self.claim(number)
            {
                let app = Arc::clone(app);
                in_flight.start(&[], async move {
                    quotas::answer(&app, number).await;
                    drop(claim);
                });
                continue;
            }
            let (ask, only_look) = match request {
                Request::InspectRestore(ask) => (ask, true),
                Request::Restore(ask) => (ask, false),
                _ => continue,
            };
            if let Some(claim) = self.claim(number) {
                let app = Arc::clone(app);
                in_flight.start(&[], async move {
                    take_up(&app, number, ask, only_look).await;
                    drop(claim);
                    app.pokes.restore.ring();
                });
            }
        }
        let mut wait = app.parts.idle.watch;
        let (now, settle) = (app.now(), app.settings().config.settle);
        for row in restores {
            let step = next_step(&row.restore, &now, settle);
            if step == Step::Ended {
                app.pokes.tell.ring();
                continue;
            }
            if let Step::Wait(rest) = step {
                wait = wait.min(rest);
                continue;
            }
            let Some(claim) = self.claim(row.number) else { continue };
            let app = Arc::clone(app);
            in_flight.start(&[], async move {
                act(&app, row, step, settle).await;
                drop(claim);
            });
        }
        wait
    }
}

/// One step of one restore.
async fn act(app: &App, row: RestoreRow, step: Step, settle: Duration) {
    let Some(cloud) = app.cloud(&row.target) else {
        if step == Step::Begin {
            let word = format!("target {} is not configured", row.target);
            let restore = row.restore.clone().refused(word);
            save(app, row, restore).await;
        }
        return;
    };
    match step {
        Step::Begin => begin(app, &cloud, row).await,
        Step::Look => look(app, &cloud, row, settle).await,
        Step::Ended | Step::Wait(_) => {}
    }
}

/// The rollback: what must hold is looked at, the intent written, the call made and its end recorded.
async fn begin(app: &App, cloud: &Cloud, mut row: RestoreRow) {
    let seen = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        seen = cloud.inspect(&row.restore.disk, &row.restore.backup) => seen,
    };
    let checked = seen.and_then(|seen| check(&row.restore, &seen).map(|()| seen));
    let seen = match checked {
        Ok(seen) => seen,
        Err(word) => {
            let refused = row.restore.clone().refused(word);
            return save(app, row, refused).await;
        }
    };
    let turn = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        turn = cloud.restore_turn() => turn,
    };
    let before = row.restore.clone();
    row.restore = before.clone().begin(&app.now());
    match app.write(Change::BeginRestore(row.clone())).await {
        Ok(true) => {}
        Ok(false) => {
            let word = "a backup of the disk, or another restore, has just begun";
            return save(app, row, before.refused(word)).await;
        }
        Err(_) => return tokio::time::sleep(AGAIN).await,
    }
    let asking = format!("asking for {} to be put back to {}", row.restore.disk, row.restore.backup);
    app.say(&event(Kind::RestoreRequested, &row, asking));

    // The cloud knows these for an attached disk alone.
    let attached = seen.disk.is_some_and(|disk| disk.state == "ATTACHED");
    let power = Power {
        stop: attached && row.restore.auto_stop,
        start: attached && row.restore.auto_stop && row.restore.auto_start,
    };
    let (reply, request_id) = cloud.restore(turn, &row.restore, power).await;
    let restore = row.restore.clone().reply(&app.now(), reply.clone());
    if let Reply::NotYet(word) = &reply {
        tracing::debug!(request_id, "the rollback was not carried out: {word}");
    }
    save(app, row, restore).await;
}

/// One look, from the call to the record of what it showed.
async fn look(app: &App, cloud: &Cloud, row: RestoreRow, settle: Duration) {
    let began = app.now().mark();
    let seen = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        seen = cloud.inspect(&row.restore.disk, &row.restore.backup) => seen,
    };
    if let Err(problem) = &seen {
        tracing::debug!(disk_id = %row.restore.disk, "the disk could not be looked at: {problem}");
    }
    let restore = row.restore.clone().looked(&app.now(), began, seen.ok().as_ref(), settle);
    save(app, row, restore).await;
}

async fn save(app: &App, row: RestoreRow, restore: Restore) {
    let ended_at = restore.state.is_ended().then(|| app.now().wall);
    app.persist(Change::SaveRestore(RestoreRow { restore, ended_at, ..row })).await;
    if ended_at.is_some() {
        app.pokes.submit.ring();
    }
    app.pokes.restore.ring();
}

/// Why a restore failed, in a word of the contract.
pub(super) fn reason(why: &Failure) -> &'static str {
    match why {
        Failure::Refused(_) => "refused",
        Failure::OutcomeUnknown => "outcome unknown",
        Failure::Incomplete => "incomplete",
        Failure::DiskGone => "disk gone",
    }
}

/// An event of a restore.
pub(super) fn event(kind: Kind, row: &RestoreRow, message: String) -> Event {
    Event::new(kind, message).with(|fields| {
        fields.disk_id = Some(row.restore.disk.to_string());
        fields.backup_id = Some(row.restore.backup.to_string());
        fields.target = Some(row.target.to_string());
        fields.attempt = (row.restore.attempts > 0).then_some(row.restore.attempts);
        fields.took_ms =
            row.ended_at.and_then(|ended| u64::try_from(ended.duration_since(row.asked_at).as_millis()).ok());
    })
}

/// Answers a request: what the cloud shows, or the restore that it becomes. The restore and the answer are one write:
/// whatever happens, a request becomes one restore.
async fn take_up(app: &App, number: i64, ask: RestoreAsk, only_look: bool) {
    let settings = app.settings();
    let answer = match target_of(&settings, &ask) {
        Err(why) => Answer::Refused { why },
        Ok(target) => match settings.clouds.get(&target) {
            None => Answer::Refused { why: format!("there is no target {target}") },
            Some(cloud) if only_look => inspect(app, cloud, ask).await,
            Some(_) => return become_restore(app, number, ask, target).await,
        },
    };
    write_answer(app, vec![Change::Answer(number, answer)]).await;
}

async fn inspect(app: &App, cloud: &Cloud, ask: RestoreAsk) -> Answer {
    let seen = match cloud.inspect(&ask.disk, &ask.backup).await {
        Ok(seen) => seen,
        Err(why) => return Answer::Refused { why: format!("the cloud could not be asked: {why}") },
    };
    let disk = ask.disk.clone();
    let under_way = app.parts.journal.read(move |store| store.under_way(&disk)).await;
    let busy = under_way.map_err(|error| error.to_string());
    let restore = asked(ask);
    let problem = match busy {
        Ok(None) => check(&restore, &seen).err(),
        Ok(Some(what)) => Some(format!("disk {}: {what}", restore.disk)),
        Err(problem) => Some(problem),
    };
    Answer::Inspected { seen, problem }
}

async fn become_restore(app: &App, number: i64, ask: RestoreAsk, target: TargetName) {
    let asked_at = app.now().wall;
    let row = RestoreRow { number, restore: asked(ask), target, asked_at, ended_at: None };
    let answer = Change::Answer(number, Answer::Restore { number });
    write_answer(app, vec![Change::AskRestore(row), answer]).await;
}

fn asked(RestoreAsk { disk, backup, auto_stop, auto_start, .. }: RestoreAsk) -> Restore {
    Restore { disk, backup, auto_stop, auto_start, attempts: 0, state: State::ASKED }
}

async fn write_answer(app: &App, changes: Vec<Change>) {
    if app.write_all(changes).await.is_err() {
        // It is taken up again.
        tokio::time::sleep(AGAIN).await;
    }
}

/// The target that has a disk: the one that is said, or that of the jobs which hold it, or the default one.
fn target_of(Settings { config, fleet, .. }: &Settings, ask: &RestoreAsk) -> Result<TargetName, String> {
    if let Some(target) = &ask.target {
        return Ok(target.clone());
    }
    let holders = config.jobs.iter().filter(|job| fleet.holds(&job.name, &ask.disk));
    let mut of_jobs = holders.map(|job| &job.target);
    let target = of_jobs.next().or_else(|| config.default_target());
    target.cloned().ok_or_else(|| {
        format!("no job holds {}, and there are several targets: say which with --target", ask.disk)
    })
}
