//! Makes room on disks whose backup quota is full.
//!
//! Responsible for carrying out what `backup_core::quota` decides: a point is deleted or becomes a snapshot, intent
//! first, and the attempt follows as soon as its place is free. Runs that wait for other hands are told when a disk has
//! room, by its count: creates that would be refused are not sent. It refuses to choose, and to send anything before
//! the intent is on disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backup_core::quota::{self, Shelf};
use backup_core::retention::PointId;
use backup_core::run::{Freed, Freeing, Full, Poll, Room, State, WhenFull};
use backup_core::{BackupId, BackupName, DiskId, JobName, Run, RunId, SnapshotId, Step, TargetName};
use cbs::limiter::Priority;
use jiff::Timestamp;

use super::attend::Attend;
use super::driver::{InFlight, Task};
use super::submit;
use crate::app::App;
use crate::bell::Bell;
use crate::cloud::Cloud;
use crate::config::Job;
use crate::journal::{Change, Row, SharedError, Stage};
use crate::report::{Event, Kind};

/// Disks of one target on which room is made at once.
const AT_ONCE: &[(Stage, usize)] = &[(Stage::Room, 128)];
/// The most ids in one call (the cloud's limit).
const IDS_IN_A_CALL: usize = 100;
/// How often the counts of disks are looked at on which runs wait.
const WATCH: Duration = Duration::from_secs(60);

/// The task.
#[derive(Default)]
pub struct MakeRoom {
    attend: Attend,
    /// When counts were last looked at, by the monotonic clock.
    watched: Option<Duration>,
    full: SeenFull,
}

/// Runs that wait on a disk that was seen to be full, by its count too, since the cloud said so at that instant. A hint:
/// where the count has said from the first that there is room, and the cloud refuses all the same, it is not believed at
/// once.
type SeenFull = Arc<Mutex<BTreeSet<(RunId, Timestamp)>>>;

fn lock(full: &SeenFull) -> MutexGuard<'_, BTreeSet<(RunId, Timestamp)>> {
    full.lock().unwrap_or_else(PoisonError::into_inner)
}

fn waiting_since(row: &Row) -> Option<Timestamp> {
    match row.run.state {
        State::Absent { full: Some(Full::Waiting { since }), .. } => Some(since),
        _ => None,
    }
}

impl Task for MakeRoom {
    const NEEDS_CLOCK: bool = true;

    fn bell(app: &App) -> &Bell {
        &app.pokes.room
    }

    async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        let found = self.attend.step(app, AT_ONCE, &BTreeSet::new(), in_flight).await;
        let mut polls: BTreeMap<TargetName, Vec<Row>> = BTreeMap::new();
        for (row, step) in found.acts {
            let Some(cloud) = app.cloud(&row.target) else { continue };
            let (rows, app) = (std::slice::from_ref(&row), Arc::clone(app));
            match (step, &row.run.state) {
                (Step::Create, _) => in_flight.start(rows, submit::attempt(app, cloud, row.clone())),
                (Step::Delete | Step::Poll, State::Freeing { .. }) => {
                    in_flight.start(rows, free(app, cloud, row.clone()));
                }
                (Step::Poll, _) => polls.entry(row.target.clone()).or_default().push(row),
                (Step::Look, _) => in_flight.start(rows, look(app, cloud, row.clone())),
                _ => {}
            }
        }
        for (target, rows) in polls {
            let Some(cloud) = app.cloud(&target) else { continue };
            for rows in rows.chunks(IDS_IN_A_CALL) {
                in_flight.start(rows, poll(Arc::clone(app), cloud.clone(), rows.to_vec()));
            }
        }
        found.wait.min(self.watch(app, in_flight).await)
    }
}

impl MakeRoom {
    /// Looks at the counts of disks on which runs wait; how long until the next time.
    async fn watch(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        let mono = app.parts.time.clock().mono();
        if let Some(watched) = self.watched
            && mono < watched + WATCH
        {
            return watched + WATCH - mono;
        }
        let mut waiting = BTreeSet::new();
        for (target, cloud) in &app.settings().clouds {
            let asked = target.clone();
            let rows = match app.parts.journal.read(move |store| store.full(&asked)).await {
                Ok(rows) => rows,
                Err(error) => {
                    app.journal_fault(&error);
                    return Duration::from_secs(1);
                }
            };
            let rows: Vec<Row> = rows.into_iter().filter(|row| waiting_since(row).is_some()).collect();
            let key = |row: &Row| Some((row.run.id.clone(), waiting_since(row)?));
            waiting.extend(rows.iter().filter_map(key));
            if !rows.is_empty() {
                let full = Arc::clone(&self.full);
                in_flight.start(&[], see_room(Arc::clone(app), cloud.clone(), rows, full));
            }
        }
        // A run that is refused anew waits since another instant.
        lock(&self.full).retain(|key| waiting.contains(key));
        // Whoever begins to wait rings.
        if waiting.is_empty() {
            self.watched = None;
            return Duration::MAX;
        }
        self.watched = Some(mono);
        WATCH
    }
}

/// Tells these runs which of their disks have room.
async fn see_room(app: Arc<App>, cloud: Cloud, rows: Vec<Row>, seen_full: SeenFull) {
    let disks: BTreeSet<DiskId> = rows.iter().map(|row| row.run.id.disk.clone()).collect();
    let disks: Vec<DiskId> = disks.into_iter().collect();
    let shelves = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        shelves = cloud.shelves(&disks, Priority::Reconcile) => shelves,
    };
    let shelves = match shelves {
        Ok(shelves) => shelves,
        Err(problem) => return tracing::debug!("full disks could not be asked for: {problem}"),
    };
    let now = app.now();
    let shortest = app.settings().config.retry.quota.shortest;
    for row in rows {
        let (Some(shelf), Some(since)) = (shelves.get(&row.run.id.disk), waiting_since(&row)) else {
            continue;
        };
        let key = (row.run.id.clone(), since);
        if shelf.count >= shelf.quota {
            lock(&seen_full).insert(key);
            continue;
        }
        let failures = row.run.setback.as_ref().map_or(1, |setback| setback.failures);
        let was_full = lock(&seen_full).remove(&key);
        let patient = since.saturating_add(shortest.saturating_mul(failures)).is_ok_and(|at| at <= now.wall);
        if let Some(run) = (was_full || patient).then(|| row.run.room_seen(&now)).and_then(Result::ok) {
            // Not written, or moved on meanwhile: it tries again by itself.
            let _ = app.write(app.saving_waiting(run)).await;
        }
    }
    app.pokes.submit.ring();
}

/// The cloud says that the quota is full: what is there is listed, and what makes room decided and begun.
pub(super) async fn decide(app: Arc<App>, cloud: Cloud, row: Row) {
    let room = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        room = choose(&app, &cloud, &row) => room,
    };
    let room = match room {
        Ok(room) => room,
        Err(error) => return app.journal_fault(&error),
    };
    if matches!(room, Room::Promote { .. }) {
        return promote(app, cloud, row, room).await;
    }
    let Some(row) = begin(&app, row, room).await else { return };
    if matches!(row.run.state, State::Freeing { .. }) {
        free(app, cloud, row).await;
    } else {
        app.ring_about(&row.run);
    }
}

/// What makes room, by a fresh listing.
async fn choose(app: &App, cloud: &Cloud, row: &Row) -> Result<Room, SharedError> {
    let (settings, disk) = (app.settings(), row.run.id.disk.clone());
    let rules = |job: &JobName| settings.rules(job, &disk);
    let when_full = row.run.policy.when_full;
    // Where nothing may go whatever is there, no listing is needed.
    let keeps = |job: &Job| settings.fleet.holds(&job.name, &disk) && !job.keep.is_empty();
    let frees = matches!(when_full, WhenFull::Rotate { .. } | WhenFull::Promote { .. });
    let (mut points, mut snapshots, mut room) = (Vec::new(), Vec::new(), None);
    if frees || settings.config.jobs.iter().any(keeps) {
        match cloud.shelves(std::slice::from_ref(&disk), Priority::Reconcile).await {
            Ok(shelves) => room = shelves.get(&disk).map(|shelf| (shelf.quota, shelf.count)),
            Err(problem) => return Ok(unknown(row, &problem)),
        }
        match cloud.list(std::slice::from_ref(&disk), Priority::UnresolvedCreate).await {
            Ok(mut listed) => points = listed.remove(&disk).unwrap_or_default(),
            Err(problem) => return Ok(unknown(row, &problem)),
        }
    }
    if matches!(when_full, WhenFull::Promote { .. }) {
        match cloud.snapshots(&disk).await {
            Ok(listed) => snapshots = listed,
            Err(problem) => return Ok(unknown(row, &problem)),
        }
    }
    let asked = disk.clone();
    let (known, restores) = app
        .parts
        .journal
        .read(move |store| Ok((store.to_compare(&asked, &[])?, store.open_restores()?)))
        .await?;
    let mut known: BTreeMap<BackupId, RunId> = known
        .into_iter()
        .filter_map(|(row, _)| Some((row.run.state.backup()?.clone(), row.run.id)))
        .collect();
    // What a disk is to be put back to stays, as if it were somebody else's.
    for row in restores.iter().filter(|row| row.ended_at.is_none()) {
        known.remove(&row.restore.backup);
    }
    let shelf = Shelf {
        run: &row.run,
        owner: &row.owner,
        room,
        points: &points,
        snapshots: &snapshots,
        known: &known,
        rules: &rules,
    };
    Ok(quota::decide(&shelf, app.now().wall))
}

fn unknown(row: &Row, problem: &str) -> Room {
    tracing::debug!(run = %row.run.id, "what makes room could not be decided, for want of a listing: {problem}");
    Room::Unknown
}

/// Writes what was decided, and says it; the run, where room is being made now.
async fn begin(app: &App, mut row: Row, room: Room) -> Option<Row> {
    let now = app.now();
    let left = match &room {
        Room::Delete { left, .. } | Room::Promote { left, .. } | Room::Adopt { left, .. } => Some(*left),
        _ => None,
    };
    let retry = &app.settings().config.retry;
    match row.run.make_room(&now, room, app.parts.random.draw(), retry) {
        Ok(run) => row.run = run,
        Err(error) => {
            app.fault(&error);
            return None;
        }
    }
    let change = match left {
        Some(left) => app.making_room(row.run.clone(), left == 0),
        None => app.saving_waiting(row.run.clone()),
    };
    // Not written: it is decided anew. Left out: another run holds the disk, or the run was removed.
    if !app.write(change).await.unwrap_or(false) {
        return None;
    }
    match &row.run.state {
        State::Freeing { point, of, why, .. } => {
            let why = match why {
                Freed::Unkept => "no rule keeps it once the new one is there",
                Freed::Rotated => "it is the oldest of the job",
            };
            let stay = left.unwrap_or_default();
            let message = format!("{point} of {} makes room: {why}; {stay} good ones stay", of.due);
            say_full(app, &row, message);
            app.pokes.tell.ring();
            return Some(row);
        }
        State::Promoting { point, of, .. } => {
            say_full(app, &row, format!("{point} of {} becomes a snapshot", of.due));
            app.pokes.tell.ring();
            return Some(row);
        }
        State::Absent { retry_at, full: Some(Full::Waiting { .. }) } => {
            let wait = retry_at.duration_since(now.wall).as_millis();
            let message = "the disk's backup quota is full: the run waits for a place";
            app.say(
                &Event::of_row(Kind::QuotaFull, &row, message)
                    .with(|fields| fields.retry_in_ms = u64::try_from(wait).ok()),
            );
            app.pokes.room.ring();
        }
        _ => {}
    }
    app.ring_about(&row.run);
    None
}

fn say_full(app: &App, row: &Row, message: String) {
    app.say(&Event::of_row(Kind::QuotaFull, row, format!("the disk's backup quota is full: {message}")));
}

/// Deletes the point, waits until it is gone, and begins the attempt: as far as that goes at once.
async fn free(app: Arc<App>, cloud: Cloud, mut row: Row) {
    loop {
        let State::Freeing { point, of, step, .. } = row.run.state.clone() else { return };
        let now = app.now();
        let next = match step {
            Freeing::Asking => {
                let answer = tokio::select! {
                    biased;
                    () = app.stop.cancelled() => return,
                    answer = cloud.make_room(&point) => answer,
                };
                let answer = answer.map_err(|(class, problem)| {
                    tracing::debug!(run = %row.run.id, "{point} was not deleted: {problem}");
                    class
                });
                let retry = &app.settings().config.retry;
                row.run.clone().delete_answered(&app.now(), answer, app.parts.random.draw(), retry)
            }
            Freeing::Deleted => {
                let gone = tokio::select! {
                    biased;
                    () = app.stop.cancelled() => return,
                    gone = cloud.is_gone(&point) => gone,
                };
                row.run.clone().gone_asked(&app.now(), gone.ok())
            }
            Freeing::Gone => return submit::attempt(app, cloud, row).await,
        };
        match next {
            Ok(run) => row.run = run,
            Err(error) => return app.fault(&error),
        }
        let gone = matches!(row.run.state, State::Freeing { step: Freeing::Gone, .. });
        let mut changes = vec![app.saving(row.run.clone())];
        if gone {
            let id = PointId::Backup(point.clone());
            // The intent, should it have been given up for its age.
            changes.push(Change::Delete { point: id.clone(), run: of.clone(), at: now.wall });
            changes.push(Change::Deleted(id, now.wall));
            // The line comes first: it is told at least once.
            let message = format!("{point} of {} was deleted to make room", of.due);
            app.say(&Event::of_row(Kind::QuotaFreed, &row, message).with(|fields| {
                fields.backup_id = Some(point.to_string());
                fields.backup_name = Some(BackupName::of(&row.owner, &of).to_string());
            }));
        }
        if !persist_all(&app, changes).await {
            return;
        }
        let is_due = match &row.run.state {
            State::Freeing { retry_at, .. } => *retry_at <= app.now().wall,
            _ => false,
        };
        if !is_due {
            return app.ring_about(&row.run);
        }
    }
}

/// Asks for the snapshot that a point is to become: a turn in the lane, the durable intent, the call, the outcome.
async fn promote(app: Arc<App>, cloud: Cloud, row: Row, room: Room) {
    let turn = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        turn = cloud.promotion_turn() => turn,
    };
    let Some(mut row) = begin(&app, row, room).await else { return };
    let State::Promoting { point, of, .. } = row.run.state.clone() else { return };
    let name = BackupName::of(&row.owner, &of).to_string();
    let deadline = match row.run.policy.when_full {
        WhenFull::Promote { keep: Some(keep) } => app.now().wall.saturating_add(keep).ok(),
        _ => None,
    };
    let answer = cloud.promote(turn, &row.run.id.disk, &point, &name, deadline).await;
    let now = app.now();
    let retry = &app.settings().config.retry;
    match row.run.promotion_replied(&now, answer.reply, app.parts.random.draw(), retry) {
        Ok(run) => row.run = run,
        Err(error) => return app.fault(&error),
    }
    let mut changes = vec![app.saving(row.run.clone())];
    // The point is there still.
    if matches!(row.run.state, State::Absent { .. } | State::Failed { .. }) {
        changes.push(Change::CloseGap(row.run.id.disk.clone(), now.wall));
    }
    if !persist_all(&app, changes).await {
        return;
    }
    let (kind, message) = match &row.run.state {
        State::Promoting { snapshot: None, .. } => (
            Kind::BackupAmbiguous,
            format!("a snapshot of {point} may exist, and is looked for: {}", answer.message),
        ),
        State::Absent { .. } => {
            (Kind::BackupRetry, format!("{point} did not become a snapshot: {}", answer.message))
        }
        _ => return app.ring_about(&row.run),
    };
    app.say(&Event::of_row(kind, &row, message).with(|fields| {
        fields.request_id = answer.request_id;
        if let State::Absent { retry_at, .. } = row.run.state {
            fields.retry_in_ms = u64::try_from(retry_at.duration_since(now.wall).as_millis()).ok();
        }
    }));
    app.ring_about(&row.run);
}

/// Looks for the snapshot of a promotion by its name.
async fn look(app: Arc<App>, cloud: Cloud, mut row: Row) {
    let State::Promoting { of, .. } = &row.run.state else { return };
    let name = BackupName::of(&row.owner, of).to_string();
    let (began, (look, problem)) = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        looked = async { (app.now().mark(), cloud.look_for_snapshot(&row.run.id.disk, &name).await) } => looked,
    };
    if let Some(problem) = problem {
        tracing::debug!(run = %row.run.id, "look-up of a snapshot not complete: {problem}");
    }
    let retry = &app.settings().config.retry;
    let before = row.run.clone();
    match row.run.promotion_looked(&app.now(), began, look, app.parts.random.draw(), retry) {
        Ok(run) => row.run = run,
        Err(error) => return app.fault(&error),
    }
    record(&app, &before, row).await;
}

/// Asks for the snapshots of these promotions, all in one call, and records the answer for each.
async fn poll(app: Arc<App>, cloud: Cloud, rows: Vec<Row>) {
    let ids: Vec<SnapshotId> = rows.iter().filter_map(|row| snapshot(&row.run).cloned()).collect();
    let answers = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        answers = cloud.poll_snapshots(&ids) => answers,
    };
    if let Err(problem) = &answers {
        tracing::debug!("snapshots could not be asked for: {problem}");
    }
    let now = app.now();
    let records = rows.into_iter().filter_map(|mut row| {
        let poll = match &answers {
            Ok(seen) => snapshot(&row.run)
                .and_then(|id| seen.get(id))
                .map_or(Poll::Missing, |sighting| Poll::Seen(*sighting)),
            Err(_) => Poll::Unanswered,
        };
        let before = row.run.clone();
        match before.clone().promotion_polled(&now, poll) {
            Ok(run) => row.run = run,
            Err(error) => {
                app.fault(&error);
                return None;
            }
        }
        let app = Arc::clone(&app);
        Some(async move { record(&app, &before, row).await })
    });
    futures_util::future::join_all(records).await;
}

fn snapshot(run: &Run) -> Option<&SnapshotId> {
    match &run.state {
        State::Promoting { snapshot, .. } => snapshot.as_ref().map(|snapshot| &snapshot.id),
        _ => None,
    }
}

/// Writes what is known of a promotion now, and says what is news.
async fn record(app: &App, before: &Run, row: Row) {
    let now = app.now().wall;
    let mut changes = vec![app.saving(row.run.clone())];
    let mut news = None;
    let stays = matches!(row.run.policy.when_full, WhenFull::Promote { keep: None });
    match &row.run.state {
        State::Promoting { point, of, snapshot: Some(snapshot), .. } if snapshot.normal => {
            changes.push(Change::Promoted { of: of.clone(), snapshot: snapshot.id.clone(), stays, at: now });
            let message = format!("{point} of {} has become {}", of.due, snapshot.id);
            let event = Event::of_row(Kind::BackupPromoted, &row, message).with(|fields| {
                fields.backup_id = Some(point.to_string());
                fields.backup_name = Some(BackupName::of(&row.owner, of).to_string());
                fields.snapshot_id = Some(snapshot.id.to_string());
            });
            news = Some(event);
        }
        State::Absent { .. } => {
            changes.push(Change::CloseGap(row.run.id.disk.clone(), now));
            if let State::Promoting { point, .. } = &before.state {
                let message = format!("complete listings after the settle show no snapshot of {point}");
                news = Some(Event::of_row(Kind::BackupRetry, &row, message));
            }
        }
        _ => {}
    }
    // The line comes first: it is told at least once.
    if let Some(event) = news {
        app.say(&event);
    }
    if !persist_all(app, changes).await {
        return;
    }
    app.pokes.tell.ring();
    app.ring_about(&row.run);
}

/// Writes what happened, all of it at once, however long it takes.
async fn persist_all(app: &App, changes: Vec<Change>) -> bool {
    loop {
        if app.write_all(changes.clone()).await.is_ok() {
            return true;
        }
        tokio::select! {
            () = app.stop.cancelled() => return false,
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}
