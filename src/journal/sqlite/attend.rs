//! Runs that want attention.
//!
//! Responsible for the queries behind [`Store::to_attend`](crate::journal::Store::to_attend): the ones that a daemon asks
//! most, so none reads more runs than it hands out.

use backup_core::{RunId, TargetName};
use jiff::Timestamp;
use rusqlite::params;

use super::changes::HOLDS;
use super::rows::{RUN, RUN_COLUMNS, from_millis, from_second, millis, read_run};
use super::{BY_PRIORITY, Sqlite, WAITS};
use crate::journal::store::{JournalError, Stage, ToAttend};

/// The states of [`Stage::Room`].
const MAKES_ROOM: &str = "('freeing', 'promoting')";

impl Sqlite {
    pub(super) fn wanting_attention(
        &self,
        target: &TargetName,
        stage: Stage,
        now: Timestamp,
        limit: usize,
        except: &dyn Fn(&RunId) -> bool,
    ) -> Result<ToAttend, JournalError> {
        match stage {
            Stage::Waiting => {
                // What was begun goes on first, as it does in its lane; then those planned at one instant, in the order
                // of their starts.
                let order = format!("r.attempts = 0, {BY_PRIORITY}, r.attend_at, r.start_at");
                self.to_attend_with_facts(target, (WAITS, &order), now, limit, except)
            }
            Stage::Room => self.to_attend_with_facts(target, (MAKES_ROOM, "r.attend_at"), now, limit, except),
            Stage::Unresolved => self.begun_to_attend(target, "creating", now, limit, except),
            Stage::Accepted => self.begun_to_attend(target, "tracking", now, limit, except),
        }
    }

    /// Those that hang on what else the journal knows.
    fn to_attend_with_facts(
        &self,
        target: &TargetName,
        (states, order): (&str, &str),
        now: Timestamp,
        limit: usize,
        except: &dyn Fn(&RunId) -> bool,
    ) -> Result<ToAttend, JournalError> {
        // Chosen first, and only then looked at closely: there may be thousands, and few are asked for.
        let chosen = self.many(
            &format!(
                "SELECT r.job, r.disk, r.due FROM runs r LEFT JOIN priorities p ON p.job = r.job
                 WHERE r.target = ?1 AND r.ended_at IS NULL AND r.state IN {states} AND r.attend_at <= ?2
                 ORDER BY {order} LIMIT ?3"
            ),
            params![target.as_str(), millis(now), i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?, row.get::<_, i64>(2)?)),
        )?;
        let sql = format!(
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
        );
        let mut found = ToAttend::default();
        for (job, disk, due) in chosen {
            if is_excepted(&job, &disk, due, except) {
                found.excepted += 1;
                continue;
            }
            let ToAttend { runs, unreadable, .. } = self.rows(&sql, params![job, disk, due, millis(now)])?;
            found.runs.extend(runs);
            found.unreadable.extend(unreadable);
        }
        let next = self.one(
            &format!(
                "SELECT min(attend_at) FROM runs
                 WHERE target = ?1 AND ended_at IS NULL AND state IN {states} AND attend_at > ?2"
            ),
            params![target.as_str(), millis(now)],
            |row| row.get::<_, Option<i64>>(0),
        )?;
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
        except: &dyn Fn(&RunId) -> bool,
    ) -> Result<ToAttend, JournalError> {
        let sql = format!(
            "SELECT {RUN}, r.attend_at FROM runs r JOIN policies p ON p.id = r.policy
             WHERE r.target = ?1 AND r.ended_at IS NULL AND r.state = ?2 ORDER BY r.attend_at"
        );
        let mut found = ToAttend::default();
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.connection.prepare_cached(&sql)?;
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
                if is_excepted(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?, row.get(2)?, except) {
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
fn is_excepted(job: &str, disk: &str, due: i64, except: &dyn Fn(&RunId) -> bool) -> bool {
    let key = || Some(RunId { job: job.parse().ok()?, disk: disk.parse().ok()?, due: from_second(due) });
    key().is_some_and(|key| except(&key))
}
