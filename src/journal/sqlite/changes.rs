//! Changes as SQL.
//!
//! Responsible for what each change presumes: it is checked in the statement that writes, so that no interleaving
//! of tasks and commands can pass it.

use std::sync::LazyLock;

use backup_core::retention::PointId;
use backup_core::run::{Policy, State};
use backup_core::{InstanceId, Run, RunId};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::rows::{json, millis};
use super::told;
use crate::journal::store::{Change, RestoreRow, Row, SeenShelf, Subject, Watermark};

/// The states in which a run holds its disk: one at a time.
pub(super) const HOLDS: &str = "('creating', 'tracking', 'freeing', 'promoting')";
/// Whether the disk `?2` is being put back to a backup.
const RESTORED: &str = "EXISTS (SELECT 1 FROM restores s WHERE s.disk = ?2 AND s.ended_at IS NULL AND s.state IN ('applying', 'rolling'))";

/// Applies one change inside a batch; false where what it presumes no longer holds.
pub(super) fn apply(write: &Connection, change: &Change) -> rusqlite::Result<bool> {
    match change {
        Change::Plan { rows, watermark } => {
            let held = write.prepare_cached(
                "SELECT 1 FROM schedules WHERE job = ?1 AND disk = ?2 AND schedule = ?3",
            )?
            .exists([watermark.job.as_str(), watermark.disk.as_str(), &watermark.schedule])?;
            if !held {
                return Ok(false);
            }
            for row in rows {
                insert(write, row)?;
                // Its predecessor may have been overtaken: let it be looked at. By the key, all that the disk ever had
                // would be read.
                execute(
                    write,
                    "UPDATE runs INDEXED BY runs_of_disk SET attend_at = 0, version = version + 1
                     WHERE job = ?1 AND disk = ?2 AND due < ?3 AND ended_at IS NULL AND state IN ('planned', 'absent')",
                    params![row.run.id.job.as_str(), row.run.id.disk.as_str(), row.run.id.due.as_second()],
                )?;
            }
            upsert_watermark(write, watermark)
        }
        Change::Ask(row) => insert(write, row),
        Change::Begin { run, attend_at, now } => begin(write, run, *attend_at, *now),
        Change::MakeRoom { run, gap, attend_at, now } => make_room(write, run, *gap, *attend_at, *now),
        Change::Promoted { of, snapshot, stays, at } => {
            close_gap(write, of.disk.as_str(), *at)?;
            execute(
                write,
                "UPDATE runs SET snapshot = ?4, stays = ?5, missing = 3
                 WHERE job = ?1 AND disk = ?2 AND due = ?3 AND state = 'completed'",
                params![of.job.as_str(), of.disk.as_str(), of.due.as_second(), snapshot.as_str(), stays],
            )
        }
        Change::CloseGap(disk, at) => close_gap(write, disk.as_str(), *at),
        Change::GapsTold(gaps) => {
            for (number, ended) in gaps {
                let told = if *ended { 2 } else { 1 };
                execute(write, "UPDATE gaps SET told = max(told, ?2) WHERE number = ?1", params![number, told])?;
            }
            Ok(true)
        }
        Change::Save { run, attend_at, now } => {
            let saved = save(write, &SAVE, run, *attend_at, *now)?;
            if saved && run.state.is_ended() {
                // The disk is free: whoever waits for it may be looked at.
                execute(
                    write,
                    "UPDATE runs SET attend_at = 0, version = version + 1
                     WHERE disk = ?1 AND ended_at IS NULL AND state IN ('planned', 'absent')",
                    [run.id.disk.as_str()],
                )?;
            }
            Ok(saved)
        }
        Change::SaveWaiting { run, attend_at, now } => {
            save(write, &SAVE_WAITING, run, *attend_at, *now)
        }
        Change::Attend(rows) => {
            for (Row { run, version, .. }, at) in rows {
                execute(
                    write,
                    "UPDATE runs SET attend_at = ?4
                     WHERE job = ?1 AND disk = ?2 AND due = ?3 AND ended_at IS NULL AND version = ?5",
                    params![
                        run.id.job.as_str(),
                        run.id.disk.as_str(),
                        run.id.due.as_second(),
                        millis(*at),
                        version
                    ],
                )?;
            }
            Ok(true)
        }
        Change::Revive(run) => execute(
            write,
            &format!(
                "UPDATE runs SET version = version + 1, state = ?4, body = ?5, setback = ?6, unsure = ?7, start_at = ?8, attend_at = 0,
                        taken = NULL, ended_at = NULL, reported = 0
                 WHERE job = ?1 AND disk = ?2 AND due = ?3 AND ended_at IS NOT NULL
                   AND NOT EXISTS (SELECT 1 FROM runs b WHERE b.disk = ?2 AND b.ended_at IS NULL
                                   AND b.state IN {HOLDS})"
            ),
            params![
                run.id.job.as_str(),
                run.id.disk.as_str(),
                run.id.due.as_second(),
                run.state.name(),
                json(&run.state)?,
                run.setback.as_ref().map(json).transpose()?,
                run.unsure,
                millis(run.start_at),
            ],
        ),
        Change::Recover(rows) => {
            for row in rows {
                let id = &row.run.id;
                insert(write, row)?;
                // It was told by the journal that made it.
                execute(
                    write,
                    "UPDATE runs SET reported = 1
                     WHERE job = ?1 AND disk = ?2 AND due = ?3 AND ended_at IS NOT NULL AND attempts = 0",
                    params![id.job.as_str(), id.disk.as_str(), id.due.as_second()],
                )?;
                execute(
                    write,
                    "UPDATE schedules SET planned_through = ?3, next_due = ?3
                     WHERE job = ?1 AND disk = ?2 AND planned_through < ?3",
                    params![id.job.as_str(), id.disk.as_str(), id.due.as_second()],
                )?;
            }
            execute(write, "UPDATE epoch SET behind = 1", [])
        }
        Change::CaughtUp => execute(write, "UPDATE epoch SET behind = 0", []),
        Change::Late(run) => execute(
            write,
            "UPDATE runs SET version = version + 1, state = ?4, body = ?5, missing = 0, reported = 0
             WHERE job = ?1 AND disk = ?2 AND due = ?3 AND state IN ('failed', 'skipped')",
            params![
                run.id.job.as_str(),
                run.id.disk.as_str(),
                run.id.due.as_second(),
                run.state.name(),
                json(&run.state)?
            ],
        ),
        Change::AskRestore(row) => ask_restore(write, row),
        Change::BeginRestore(row) => begin_restore(write, row),
        Change::SaveRestore(row) => save_restore(write, row),
        Change::RestoreReported(number) => {
            execute(write, "UPDATE restores SET reported = 1 WHERE number = ?1 AND ended_at IS NOT NULL", [
                number,
            ])
        }
        Change::Missing(runs) => set_missing(write, runs, "missing + 1"),
        Change::Back(runs) => set_missing(write, runs, "0"),
        Change::Delete { point, run, at } => execute(
            write,
            "INSERT INTO deletions (point, job, disk, due, intended_at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT DO NOTHING",
            params![
                point.to_string(),
                run.job.as_str(),
                run.disk.as_str(),
                run.due.as_second(),
                millis(*at)
            ],
        ),
        Change::Deleted(point, at) => {
            let point = point.to_string();
            // It is not missing: three listings would say so of what somebody else deleted.
            execute(
                write,
                "UPDATE runs SET missing = 3
                 WHERE (job, disk, due) = (SELECT job, disk, due FROM deletions WHERE point = ?1)
                   AND state = 'completed' AND body ->> '$.backup' = ?1",
                [&point],
            )?;
            execute(
                write,
                "UPDATE runs SET snapshot = NULL
                 WHERE (job, disk, due) = (SELECT job, disk, due FROM deletions WHERE point = ?1) AND snapshot = ?1",
                [&point],
            )?;
            execute(
                write,
                "UPDATE deletions SET done_at = coalesce(done_at, ?2) WHERE point = ?1",
                params![point, millis(*at)],
            )
        }
        Change::Spare { point, before } => execute(
            write,
            "DELETE FROM deletions WHERE point = ?1 AND done_at IS NULL AND intended_at < ?2",
            params![point.to_string(), millis(*before)],
        ),
        Change::Reported(runs) => {
            for run in runs {
                execute(
                    write,
                    "UPDATE runs SET reported = 1
                     WHERE job = ?1 AND disk = ?2 AND due = ?3 AND ended_at IS NOT NULL",
                    params![run.job.as_str(), run.disk.as_str(), run.due.as_second()],
                )?;
            }
            Ok(true)
        }
        Change::Watermarks(watermarks) => {
            for watermark in watermarks {
                upsert_watermark(write, watermark)?;
            }
            Ok(true)
        }
        Change::Forget(gone) => {
            for (job, disk) in gone {
                execute(
                    write,
                    "DELETE FROM schedules WHERE job = ?1 AND disk = ?2",
                    [job.as_str(), disk.as_str()],
                )?;
            }
            Ok(true)
        }
        Change::Listed { job, target, selection, changed, left, at } => {
            execute(
                write,
                "INSERT INTO selections (job, target, selection) VALUES (?1, ?2, ?3)
                 ON CONFLICT (job) DO UPDATE SET target = excluded.target, selection = excluded.selection",
                [job.as_str(), target.as_str(), selection],
            )?;
            for (disk, member) in changed {
                let instance = member.instance.as_ref().map(InstanceId::as_str);
                execute(
                    write,
                    "INSERT INTO inventory (job, disk, instance, first_seen, missing) VALUES (?1, ?2, ?3, ?4, ?5)
                     ON CONFLICT (job, disk) DO UPDATE SET instance = excluded.instance, missing = excluded.missing",
                    params![job.as_str(), disk.as_str(), instance, millis(*at), member.missing],
                )?;
            }
            for disk in left {
                execute(
                    write,
                    "DELETE FROM inventory WHERE job = ?1 AND disk = ?2",
                    [job.as_str(), disk.as_str()],
                )?;
            }
            Ok(true)
        }
        Change::Unlist(jobs) => {
            for job in jobs {
                execute(write, "DELETE FROM selections WHERE job = ?1", [job.as_str()])?;
                execute(write, "DELETE FROM inventory WHERE job = ?1", [job.as_str()])?;
            }
            Ok(true)
        }
        Change::Priorities(jobs) => {
            execute(write, "DELETE FROM priorities", [])?;
            for (job, rank) in jobs {
                execute(
                    write,
                    "INSERT INTO priorities (job, rank) VALUES (?1, ?2)",
                    params![job.as_str(), rank],
                )?;
            }
            Ok(true)
        }
        Change::Shelves(target, seen) => {
            execute(write, "DELETE FROM shelves WHERE target = ?1", [target.as_str()])?;
            for SeenShelf { disk, quota, count, short } in seen {
                execute(
                    write,
                    "INSERT INTO shelves (target, disk, quota, count, short) VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        target.as_str(),
                        disk.as_str(),
                        quota.cast_signed(),
                        count.cast_signed(),
                        short.as_ref().map(|job| job.as_str()),
                    ],
                )?;
            }
            Ok(true)
        }
        Change::Told { notifier, told, forgotten } => told::record(write, notifier, told, forgotten),
        Change::OnlyNotifiers(notifiers) => told::keep_only(write, notifiers),
        Change::Request { request_id, body, made_at } => execute(
            write,
            "INSERT INTO requests (request_id, body, made_at) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
            params![request_id, json(body)?, millis(*made_at)],
        ),
        Change::Answer(number, answer) => execute(
            write,
            "UPDATE requests SET answer = ?2 WHERE number = ?1 AND answer IS NULL",
            params![number, json(answer)?],
        ),
        Change::Pause(subject, since) => {
            let (kind, name) = key(subject);
            execute(
                write,
                "INSERT INTO pauses (kind, name, since) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                params![kind, name, millis(*since)],
            )
        }
        Change::Resume(subject) => {
            let (kind, name) = key(subject);
            execute(write, "DELETE FROM pauses WHERE kind = ?1 AND name = ?2", [kind, name])
        }
        Change::Compact { before } => {
            let runs = execute(
                write,
                // A run ends after it is due: the index over `due` narrows the search.
                "DELETE FROM runs WHERE (job, disk, due) IN (
                     SELECT job, disk, due FROM runs r
                     WHERE r.due < ?1 / 1000 AND r.ended_at < ?1 AND r.reported = 1
                       AND NOT (r.state = 'completed' AND (r.missing < 3 OR (r.snapshot IS NOT NULL AND r.stays)) AND EXISTS (
                            SELECT 1 FROM schedules s WHERE s.job = r.job AND s.disk = r.disk))
                       AND EXISTS (SELECT 1 FROM runs n WHERE n.job = r.job AND n.disk = r.disk AND n.due > r.due
                                   AND n.state = 'completed')
                     LIMIT 500)",
                [millis(*before)],
            )?;
            let requests = execute(
                write,
                "DELETE FROM requests WHERE made_at < ?1 AND answer IS NOT NULL",
                [millis(*before)],
            )?;
            let restores =
                execute(write, "DELETE FROM restores WHERE ended_at < ?1 AND reported = 1", [millis(*before)])?;
            let deletions =
                execute(write, "DELETE FROM deletions WHERE done_at < ?1", [millis(*before)])?;
            let gaps = execute(write, "DELETE FROM gaps WHERE told = 2 AND ended_at < ?1", [millis(*before)])?;
            Ok(runs || requests || restores || deletions || gaps)
        }
        Change::Heard(number) => {
            execute(write, "DELETE FROM requests WHERE number = ?1 AND answer IS NOT NULL", [number])
        }
        Change::AttendToAll => {
            execute(write, "UPDATE runs SET attend_at = 0, version = version + 1 WHERE ended_at IS NULL", [])?;
            Ok(true)
        }
    }
}

fn insert(write: &Connection, row: &Row) -> rusqlite::Result<bool> {
    let run = &row.run;
    let policy = policy_id(write, &run.policy)?;
    execute(
        write,
        "INSERT INTO runs (job, disk, due, target, owner, policy, start_at, state, body, attempts, setback, unsure,
                           attend_at, began_at, ended_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15) ON CONFLICT DO NOTHING",
        params![
            run.id.job.as_str(),
            run.id.disk.as_str(),
            run.id.due.as_second(),
            row.target.as_str(),
            row.owner.as_str(),
            policy,
            millis(run.start_at),
            run.state.name(),
            json(&run.state)?,
            run.attempts,
            run.setback.as_ref().map(json).transpose()?,
            run.unsure,
            row.ended_at.is_none().then(|| millis(run.start_at)),
            row.began_at.map(millis),
            row.ended_at.map(millis),
        ],
    )
}

fn set_missing(write: &Connection, runs: &[RunId], times: &str) -> rusqlite::Result<bool> {
    let sql = format!(
        "UPDATE runs SET missing = {times}
         WHERE job = ?1 AND disk = ?2 AND due = ?3 AND state = 'completed'"
    );
    for run in runs {
        execute(write, &sql, params![run.job.as_str(), run.disk.as_str(), run.due.as_second()])?;
    }
    Ok(true)
}

static BEGIN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "UPDATE runs SET version = version + 1, state = ?4, body = ?5, attempts = ?6, began_at = coalesce(began_at, ?7), attend_at = ?8
         WHERE job = ?1 AND disk = ?2 AND due = ?3 AND ended_at IS NULL
           AND state IN ('planned', 'absent', 'freeing', 'promoting')
           AND NOT EXISTS (SELECT 1 FROM runs b WHERE b.disk = ?2 AND b.ended_at IS NULL
                           AND b.state IN {HOLDS} AND (b.job, b.due) != (?1, ?3))
           AND NOT {RESTORED}"
    )
});

/// The guard of "one at a time on a disk" stands here, where the intent is written, so that no interleaving of
/// tasks can pass it.
fn begin(write: &Connection, run: &Run, attend_at: Timestamp, now: Timestamp) -> rusqlite::Result<bool> {
    let begun = execute(
        write,
        &BEGIN,
        params![
            run.id.job.as_str(),
            run.id.disk.as_str(),
            run.id.due.as_second(),
            run.state.name(),
            json(&run.state)?,
            run.attempts,
            millis(now),
            millis(attend_at),
        ],
    )?;
    if begun {
        execute(
            write,
            "UPDATE runs INDEXED BY runs_of_disk SET attend_at = 0, version = version + 1
             WHERE job = ?1 AND disk = ?2 AND due < ?3 AND ended_at IS NULL AND state IN ('planned', 'absent')",
            params![run.id.job.as_str(), run.id.disk.as_str(), run.id.due.as_second()],
        )?;
    }
    Ok(begun)
}

/// The same guard: what makes room is chosen for this run, and no other may come between.
fn make_room(
    write: &Connection,
    run: &Run,
    gap: bool,
    attend_at: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let begun = execute(
        write,
        &format!(
            "UPDATE runs SET version = version + 1, state = ?4, body = ?5, taken = ?6, attend_at = ?7
             WHERE job = ?1 AND disk = ?2 AND due = ?3 AND ended_at IS NULL AND state = 'absent'
               AND NOT EXISTS (SELECT 1 FROM runs b WHERE b.disk = ?2 AND b.ended_at IS NULL AND b.state IN {HOLDS})
               AND NOT {RESTORED}"
        ),
        params![
            run.id.job.as_str(),
            run.id.disk.as_str(),
            run.id.due.as_second(),
            run.state.name(),
            json(&run.state)?,
            run.taken.as_ref().map(json).transpose()?,
            millis(attend_at),
        ],
    )?;
    let (State::Freeing { point, of, .. } | State::Promoting { point, of, .. }) = &run.state else {
        return Ok(begun);
    };
    if begun && matches!(run.state, State::Freeing { .. }) {
        apply(write, &Change::Delete { point: PointId::Backup(point.clone()), run: of.clone(), at: now })?;
    }
    if begun && gap {
        execute(
            write,
            "INSERT INTO gaps (disk, run, point, began_at)
             SELECT ?1, ?2, ?3, ?4 WHERE NOT EXISTS (SELECT 1 FROM gaps WHERE disk = ?1 AND ended_at IS NULL)",
            params![run.id.disk.as_str(), run.id.to_string(), point.as_str(), millis(now)],
        )?;
    }
    Ok(begun)
}

/// A good backup of the disk is there (again).
fn close_gap(write: &Connection, disk: &str, at: Timestamp) -> rusqlite::Result<bool> {
    execute(
        write,
        "UPDATE gaps SET ended_at = ?2 WHERE disk = ?1 AND ended_at IS NULL",
        params![disk, millis(at)],
    )
}

static SAVE: LazyLock<String> = LazyLock::new(|| saving("ended_at IS NULL"));
static SAVE_WAITING: LazyLock<String> =
    LazyLock::new(|| saving("ended_at IS NULL AND state IN ('planned', 'absent')"));

fn saving(presumed: &str) -> String {
    format!(
        "UPDATE runs SET version = version + 1, state = ?4, body = ?5, attempts = ?6, setback = ?7, unsure = ?8, attend_at = ?9, ended_at = ?10,
                taken = ?11
         WHERE job = ?1 AND disk = ?2 AND due = ?3 AND {presumed}"
    )
}

fn save(
    write: &Connection,
    sql: &str,
    run: &Run,
    attend_at: Timestamp,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    let ended = run.state.is_ended();
    let saved = execute(
        write,
        sql,
        params![
            run.id.job.as_str(),
            run.id.disk.as_str(),
            run.id.due.as_second(),
            run.state.name(),
            json(&run.state)?,
            run.attempts,
            run.setback.as_ref().map(json).transpose()?,
            run.unsure,
            (!ended).then(|| millis(attend_at)),
            ended.then(|| millis(now)),
            run.taken.as_ref().map(json).transpose()?,
        ],
    )?;
    if saved && matches!(run.state, State::Completed { .. }) {
        close_gap(write, run.id.disk.as_str(), now)?;
    }
    Ok(saved)
}

fn ask_restore(write: &Connection, row: &RestoreRow) -> rusqlite::Result<bool> {
    let RestoreRow { number, restore, target, asked_at, .. } = row;
    execute(
        write,
        "INSERT INTO restores (number, disk, backup, target, auto_stop, auto_start, state, body, attempts, asked_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10) ON CONFLICT DO NOTHING",
        params![
            number,
            restore.disk.as_str(),
            restore.backup.as_str(),
            target.as_str(),
            restore.auto_stop,
            restore.auto_start,
            restore.state.name(),
            json(&restore.state)?,
            restore.attempts,
            millis(*asked_at),
        ],
    )
}

/// As with [`begin`], the guard stands here: one at a time on a disk, backups and rollbacks alike.
fn begin_restore(write: &Connection, row: &RestoreRow) -> rusqlite::Result<bool> {
    let RestoreRow { number, restore, .. } = row;
    execute(
        write,
        &format!(
            "UPDATE restores SET state = ?3, body = ?4, attempts = ?5
             WHERE number = ?1 AND ended_at IS NULL AND state = 'asked'
               AND NOT EXISTS (SELECT 1 FROM runs b WHERE b.disk = ?2 AND b.ended_at IS NULL AND b.state IN {HOLDS})
               AND NOT {RESTORED}"
        ),
        params![number, restore.disk.as_str(), restore.state.name(), json(&restore.state)?, restore.attempts],
    )
}

fn save_restore(write: &Connection, row: &RestoreRow) -> rusqlite::Result<bool> {
    let RestoreRow { number, restore, ended_at, .. } = row;
    let saved = execute(
        write,
        "UPDATE restores SET state = ?2, body = ?3, ended_at = ?4 WHERE number = ?1 AND ended_at IS NULL",
        params![number, restore.state.name(), json(&restore.state)?, ended_at.map(millis)],
    )?;
    if saved && ended_at.is_some() {
        // The disk is free: whoever waits for it may be looked at.
        execute(
            write,
            "UPDATE runs SET attend_at = 0, version = version + 1
             WHERE disk = ?1 AND ended_at IS NULL AND state IN ('planned', 'absent')",
            [restore.disk.as_str()],
        )?;
    }
    Ok(saved)
}

fn upsert_watermark(write: &Connection, watermark: &Watermark) -> rusqlite::Result<bool> {
    execute(
        write,
        "INSERT INTO schedules (job, disk, schedule, planned_through, next_due) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (job, disk) DO UPDATE SET schedule = excluded.schedule,
             planned_through = excluded.planned_through, next_due = excluded.next_due",
        params![
            watermark.job.as_str(),
            watermark.disk.as_str(),
            watermark.schedule,
            watermark.planned_through.as_second(),
            watermark.next_due.map(Timestamp::as_second),
        ],
    )
}

fn policy_id(write: &Connection, policy: &Policy) -> rusqlite::Result<i64> {
    let body = json(policy)?;
    execute(write, "INSERT INTO policies (body) VALUES (?1) ON CONFLICT DO NOTHING", [&body])?;
    write.prepare_cached("SELECT id FROM policies WHERE body = ?1")?.query_row([&body], |row| row.get(0))
}

fn execute<P: rusqlite::Params>(write: &Connection, sql: &str, params: P) -> rusqlite::Result<bool> {
    Ok(write.prepare_cached(sql)?.execute(params)? > 0)
}

fn key(subject: &Subject) -> (&'static str, &str) {
    match subject {
        Subject::Job(job) => ("job", job.as_str()),
        Subject::Disk(disk) => ("disk", disk.as_str()),
    }
}
