//! What is asked to tell how everything stands.
//!
//! Responsible for answers about all disks at once, in few queries: a page of metrics asks for them, and there may be
//! ten thousand.

use std::collections::BTreeMap;
use std::time::Duration;

use backup_core::freshness::Ended;
use backup_core::run::Policy;
use backup_core::{RunId, TargetName};
use jiff::Timestamp;
use rusqlite::Row as SqlRow;

use super::rows::{decoded, from_millis, from_second, parsed};
use super::{Sqlite, WAITS};
use crate::journal::store::{JournalError, SeenShelf, Standing};

impl Sqlite {
    pub(super) fn all_deadlines(&self) -> Result<Vec<(RunId, Timestamp)>, JournalError> {
        // Many runs, few policies: each is decoded once.
        let mut policies: BTreeMap<i64, Duration> = BTreeMap::new();
        let waiting = self.many(
            &format!(
                "SELECT job, disk, due, start_at, policy FROM runs WHERE ended_at IS NULL AND state IN {WAITS}"
            ),
            [],
            |row| {
                let id = RunId { job: parsed(row, 0)?, disk: parsed(row, 1)?, due: from_second(row.get(2)?) };
                Ok((id, from_millis(row.get(3)?), row.get::<_, i64>(4)?))
            },
        )?;
        for (_, _, policy) in &waiting {
            if !policies.contains_key(policy) {
                let sql = "SELECT body FROM policies WHERE id = ?1";
                let within = self.one(sql, [policy], |row| Ok(decoded::<Policy>(row, 0)?.start_within))?;
                policies.insert(*policy, within.unwrap_or_default());
            }
        }
        let deadline = |(id, start_at, policy): (RunId, Timestamp, i64)| {
            (id, start_at.saturating_add(policies[&policy]).unwrap_or(Timestamp::MAX))
        };
        Ok(waiting.into_iter().map(deadline).collect())
    }

    pub(super) fn all_standings(&self) -> Result<Vec<Standing>, JournalError> {
        // By the key, where a disk's last runs lie together on a page or two: the index over `due` has those of each disk
        // on a page of its own, of which few are in memory.
        //
        // What was found rather than made became good at an instant that nobody saw: it is no younger than its due one.
        self.many(
            "SELECT s.job, s.disk, s.next_due, l.due, l.state, g.ended_at, g.began_at, g.due
             FROM schedules s
             LEFT JOIN runs l INDEXED BY sqlite_autoindex_runs_1 ON l.job = s.job AND l.disk = s.disk AND l.due = (
                 SELECT due FROM runs INDEXED BY sqlite_autoindex_runs_1
                 WHERE job = s.job AND disk = s.disk AND ended_at IS NOT NULL
                 ORDER BY due DESC LIMIT 1)
             LEFT JOIN runs g INDEXED BY sqlite_autoindex_runs_1 ON g.job = s.job AND g.disk = s.disk AND g.due = (
                 SELECT due FROM runs INDEXED BY sqlite_autoindex_runs_1
                 WHERE job = s.job AND disk = s.disk AND state = 'completed'
                     AND (missing < 3 OR snapshot IS NOT NULL)
                 ORDER BY due DESC LIMIT 1)
             ORDER BY s.job, s.disk",
            [],
            read_standing,
        )
    }

    pub(super) fn all_shelves(&self) -> Result<Vec<(TargetName, SeenShelf)>, JournalError> {
        self.many(
            "SELECT target, disk, quota, count, short FROM shelves ORDER BY target, disk",
            [],
            read_shelf,
        )
    }
}

fn read_standing(row: &SqlRow<'_>) -> rusqlite::Result<Standing> {
    let last = match row.get::<_, Option<i64>>(3)? {
        Some(due) => Ended::of_name(row.get_ref(4)?.as_str()?).map(|ended| (from_second(due), ended)),
        None => None,
    };
    let millis_of = |index| row.get::<_, Option<i64>>(index);
    let (good_at, began_at, due) = (millis_of(5)?, millis_of(6)?, millis_of(7)?);
    Ok(Standing {
        job: parsed(row, 0)?,
        disk: parsed(row, 1)?,
        next_due: row.get::<_, Option<i64>>(2)?.map(from_second),
        last,
        last_good: match began_at {
            Some(_) => good_at.map(from_millis),
            None => due.map(from_second),
        },
    })
}

fn read_shelf(row: &SqlRow<'_>) -> rusqlite::Result<(TargetName, SeenShelf)> {
    let short = match row.get_ref(4)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(parsed(row, 4)?),
    };
    let count = |index| row.get::<_, i64>(index).map(i64::cast_unsigned);
    Ok((parsed(row, 0)?, SeenShelf { disk: parsed(row, 1)?, quota: count(2)?, count: count(3)?, short }))
}
