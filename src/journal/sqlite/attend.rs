//! Runs that want attention.
//!
//! Responsible for the queries behind [`Store::to_attend`](crate::journal::Store::to_attend): the ones that a daemon asks
//! most, so none reads more runs than it hands out.

use std::sync::LazyLock;

use backup_core::{RunId, TargetName};
use jiff::Timestamp;
use rusqlite::params;

use super::changes::HOLDS;
use super::rows::{RUN, RUN_COLUMNS, from_millis, from_second, millis, read_run};
use super::{BY_PRIORITY, Batch, Sqlite};
use crate::journal::store::{Asked, JournalError, Stage, ToAttend};

/// The queries of a stage whose runs hang on what else the journal knows.
struct Queries {
    /// The keys of those that are due, at most `?3`: chosen first, and only then looked at closely, for there may be
    /// thousands.
    due: String,
    /// When the next one is, after `?2`.
    next: String,
}

impl Queries {
    fn of(states: [&str; 2], order: &str) -> Self {
        let [one, other] = states;
        // Of one state, the first of the index is the one.
        let next = |state: &str| {
            format!(
                "(SELECT attend_at FROM runs WHERE target = ?1 AND ended_at IS NULL AND state = '{state}'
                  AND attend_at > ?2 ORDER BY attend_at LIMIT 1)"
            )
        };
        let (first, second) = (next(one), next(other));
        Self {
            due: format!(
                "SELECT r.job, r.disk, r.due, r.version FROM runs r LEFT JOIN priorities p ON p.job = r.job
                 WHERE r.target = ?1 AND r.ended_at IS NULL AND r.state IN ('{one}', '{other}') AND r.attend_at <= ?2
                 ORDER BY {order} LIMIT ?3"
            ),
            next: format!("SELECT coalesce(min({first}, {second}), {first}, {second})"),
        }
    }
}

static WAITING: LazyLock<Queries> = LazyLock::new(|| {
    // What was begun goes on first, as it does in its lane; then those planned at one instant, in the order of their
    // starts.
    let order = format!("r.attempts = 0, {BY_PRIORITY}, r.attend_at, r.start_at");
    Queries::of(["planned", "absent"], &order)
});

static ROOM: LazyLock<Queries> = LazyLock::new(|| Queries::of(["freeing", "promoting"], "r.attend_at"));

/// A run with what it hangs on.
static WITH_FACTS: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {RUN},
            EXISTS (SELECT 1 FROM runs b WHERE b.disk = r.disk AND b.ended_at IS NULL
                    AND b.state IN {HOLDS} AND (b.job, b.due) != (r.job, r.due))
                OR EXISTS (SELECT 1 FROM restores s WHERE s.disk = r.disk AND s.ended_at IS NULL
                           AND s.state IN ('applying', 'rolling')),
            EXISTS (SELECT 1 FROM runs n WHERE n.job = r.job AND n.disk = r.disk AND n.due > r.due
                    AND n.ended_at IS NULL AND n.start_at <= ?4),
            EXISTS (SELECT 1 FROM pauses WHERE kind = 'job' AND name = r.job)
                OR EXISTS (SELECT 1 FROM pauses WHERE kind = 'disk' AND name = r.disk),
            (SELECT behind FROM epoch)
         FROM runs r JOIN policies p ON p.id = r.policy
         WHERE r.job = ?1 AND r.disk = ?2 AND r.due = ?3"
    )
});

/// Those of one state, in the order of the index.
static BEGUN: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {RUN}, r.attend_at FROM runs r JOIN policies p ON p.id = r.policy
         WHERE r.target = ?1 AND r.ended_at IS NULL AND r.state = ?2 ORDER BY r.attend_at"
    )
});

impl Sqlite {
    pub(super) fn wanting_attention(
        &self,
        asked: &[Asked],
        now: Timestamp,
        except: &dyn Fn(&RunId, i64) -> bool,
    ) -> Result<Vec<ToAttend>, JournalError> {
        // One transaction: outside of one each statement locks the file anew.
        let reading = Batch::begin(&self.connection, "BEGIN").map_err(self.failed("read"))?;
        let of_one = |Asked { target, stage, limit }: &Asked| match stage {
            Stage::Waiting => self.to_attend_with_facts(target, &WAITING, now, *limit, except),
            Stage::Room => self.to_attend_with_facts(target, &ROOM, now, *limit, except),
            Stage::Unresolved => self.begun_to_attend(target, "creating", now, *limit, except),
            Stage::Accepted => self.begun_to_attend(target, "tracking", now, *limit, except),
        };
        let found = asked.iter().map(of_one).collect();
        reading.commit().map_err(self.failed("read"))?;
        found
    }

    fn to_attend_with_facts(
        &self,
        target: &TargetName,
        queries: &Queries,
        now: Timestamp,
        limit: usize,
        except: &dyn Fn(&RunId, i64) -> bool,
    ) -> Result<ToAttend, JournalError> {
        let chosen = self.many(
            &queries.due,
            params![target.as_str(), millis(now), i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?, row.get(3)?))
            },
        )?;
        let mut found = ToAttend::default();
        for (job, disk, due, version) in chosen {
            if is_excepted((&job, &disk, due), version, except) {
                found.excepted += 1;
                continue;
            }
            let ToAttend { runs, unreadable, .. } =
                self.rows(&WITH_FACTS, params![job, disk, due, millis(now)])?;
            found.runs.extend(runs);
            found.unreadable.extend(unreadable);
        }
        let next = self
            .one(&queries.next, params![target.as_str(), millis(now)], |row| row.get::<_, Option<i64>>(0))?;
        Ok(ToAttend { next: next.flatten().map(from_millis), ..found })
    }

    /// Those with an attempt or a backup under way hang on nothing else: in the order of the index, up to the first
    /// that waits.
    fn begun_to_attend(
        &self,
        target: &TargetName,
        state: &str,
        now: Timestamp,
        limit: usize,
        except: &dyn Fn(&RunId, i64) -> bool,
    ) -> Result<ToAttend, JournalError> {
        let mut found = ToAttend::default();
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare_cached(&BEGUN)?;
            let mut rows = statement.query([target.as_str(), state])?;
            while let Some(row) = rows.next()? {
                let attend_at = from_millis(row.get(RUN_COLUMNS)?);
                if attend_at > now {
                    found.next = Some(attend_at);
                    break;
                }
                if found.excepted + found.runs.len() + found.unreadable.len() >= limit {
                    break;
                }
                let key = (row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?, row.get(2)?);
                if is_excepted(key, row.get("version")?, except) {
                    found.excepted += 1;
                    continue;
                }
                match read_run(row, false) {
                    Ok(read) => found.runs.push(read),
                    Err(error) => found.unreadable.push(error),
                }
            }
            Ok(())
        };
        read().map_err(self.failed("read"))?;
        Ok(found)
    }
}

/// A key that cannot be read is reported with its row.
fn is_excepted(
    (job, disk, due): (&str, &str, i64),
    version: i64,
    except: &dyn Fn(&RunId, i64) -> bool,
) -> bool {
    let key = || Some(RunId { job: job.parse().ok()?, disk: disk.parse().ok()?, due: from_second(due) });
    key().is_some_and(|key| except(&key, version))
}
