//! Rows as the journal's types: what a query gives, and what a value is written as.
//!
//! Responsible for the encoding in both directions. A row that cannot be read is an error of its own, so that the
//! others go on.

use backup_core::restore::Restore;
use backup_core::run::State;
use backup_core::{Facts, Run, RunId};
use jiff::Timestamp;
use rusqlite::Row as SqlRow;

use crate::journal::store::{Deletion, Gap, JournalError, RestoreRow, Row, Watermark};

/// The columns of a run, from `runs r JOIN policies p`.
pub(super) const RUN: &str = "r.job, r.disk, r.due, r.target, r.owner, p.body AS policy, r.start_at, r.body, r.attempts, \
                   r.setback, r.unsure, r.began_at, r.ended_at, r.version, r.taken";
/// How many those are; the facts, where a query asks for them, follow.
pub(super) const RUN_COLUMNS: usize = 15;

pub(super) fn read_run(row: &SqlRow<'_>, with_facts: bool) -> Result<(Row, Facts), JournalError> {
    let key = || {
        let part = |index| row.get::<_, String>(index).unwrap_or_default();
        format!("{}/{}/{}", part(0), part(1), row.get::<_, i64>(2).unwrap_or_default())
    };
    let read = || -> rusqlite::Result<(Row, Facts)> {
        let run = Run {
            id: RunId { job: parsed(row, 0)?, disk: parsed(row, 1)?, due: from_second(row.get(2)?) },
            policy: decoded(row, 5)?,
            start_at: from_millis(row.get(6)?),
            state: decoded::<State>(row, 7)?,
            attempts: row.get(8)?,
            setback: optional(row, 9)?,
            unsure: row.get(10)?,
            taken: optional(row, 14)?,
        };
        let facts = if with_facts {
            Facts {
                disk_busy: row.get(15)?,
                superseded: row.get(16)?,
                paused: row.get(17)?,
                behind: row.get(18)?,
                held_until: None,
            }
        } else {
            Facts::default()
        };
        let began_at = row.get::<_, Option<i64>>(11)?.map(from_millis);
        let ended_at = row.get::<_, Option<i64>>(12)?.map(from_millis);
        Ok((
            Row {
                run,
                target: parsed(row, 3)?,
                owner: parsed(row, 4)?,
                began_at,
                ended_at,
                version: row.get(13)?,
            },
            facts,
        ))
    };
    read().map_err(|error| JournalError::Unreadable { run: key(), why: error.to_string() })
}

/// The columns of a restore.
pub(super) const RESTORE: &str =
    "number, disk, backup, target, auto_stop, auto_start, body, attempts, asked_at, ended_at";

pub(super) fn read_restore(row: &SqlRow<'_>) -> rusqlite::Result<RestoreRow> {
    Ok(RestoreRow {
        number: row.get(0)?,
        restore: Restore {
            disk: parsed(row, 1)?,
            backup: parsed(row, 2)?,
            auto_stop: row.get(4)?,
            auto_start: row.get(5)?,
            attempts: row.get(7)?,
            state: decoded(row, 6)?,
        },
        target: parsed(row, 3)?,
        asked_at: from_millis(row.get(8)?),
        ended_at: row.get::<_, Option<i64>>(9)?.map(from_millis),
    })
}

pub(super) fn read_watermark(row: &SqlRow<'_>) -> rusqlite::Result<Watermark> {
    Ok(Watermark {
        job: parsed(row, 0)?,
        disk: parsed(row, 1)?,
        schedule: row.get(2)?,
        planned_through: from_second(row.get(3)?),
        next_due: row.get::<_, Option<i64>>(4)?.map(from_second),
    })
}

/// The columns of a deletion.
pub(super) const DELETION: &str = "point, job, disk, due, done_at IS NOT NULL";

pub(super) fn read_deletion(row: &SqlRow<'_>) -> rusqlite::Result<Deletion> {
    let run = RunId { job: parsed(row, 1)?, disk: parsed(row, 2)?, due: from_second(row.get(3)?) };
    Ok(Deletion { point: parsed(row, 0)?, run, done: row.get(4)? })
}

pub(super) fn parsed<T>(row: &SqlRow<'_>, index: usize) -> rusqlite::Result<T>
where
    T: std::str::FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    let text = row.get_ref(index)?.as_str()?;
    text.parse().map_err(|error| unreadable(index, error))
}

pub(super) fn decoded<T: serde::de::DeserializeOwned>(row: &SqlRow<'_>, index: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(index)?.as_str()?).map_err(|error| unreadable(index, error))
}

fn optional<T: serde::de::DeserializeOwned>(row: &SqlRow<'_>, index: usize) -> rusqlite::Result<Option<T>> {
    match row.get_ref(index)? {
        rusqlite::types::ValueRef::Null => Ok(None),
        _ => decoded(row, index).map(Some),
    }
}

pub(super) fn read_gap(row: &SqlRow<'_>) -> rusqlite::Result<Gap> {
    Ok(Gap {
        number: row.get(0)?,
        run: parsed(row, 1)?,
        point: parsed(row, 2)?,
        began_at: from_millis(row.get(3)?),
        ended_at: row.get::<_, Option<i64>>(4)?.map(from_millis),
        begin_told: row.get::<_, i64>(5)? > 0,
    })
}

pub(super) fn unreadable(
    index: usize,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(index, rusqlite::types::Type::Text, Box::new(error))
}

pub(super) fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

pub(super) fn from_json<T: serde::de::DeserializeOwned>(what: &str, body: &str) -> Result<T, JournalError> {
    serde_json::from_str(body)
        .map_err(|error| JournalError::Unreadable { run: what.to_owned(), why: error.to_string() })
}

pub(super) fn millis(instant: Timestamp) -> i64 {
    instant.as_millisecond()
}

pub(super) fn from_millis(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

pub(super) fn from_second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap_or(Timestamp::MAX)
}
