//! What notifiers are told by, and what they were told.
//!
//! Responsible for the queries of `tasks::notify`: each touches no more than the runs of the last rounds.

use std::collections::BTreeSet;

use backup_core::notify::Round;
use backup_core::run::State;
use backup_core::{DiskId, JobName};
use jiff::Timestamp;
use rusqlite::{Connection, params};

use super::Sqlite;
use super::rows::{decoded, from_millis, from_second, millis, parsed};
use crate::journal::store::{JournalError, Told};

/// A run that ended without a backup, and not because its disk or job is gone.
const WITHOUT: &str = "(state = 'failed' OR (state = 'skipped' AND body ->> '$.why.why' != 'removed'))";

impl Sqlite {
    pub(super) fn all_told(&self) -> Result<Vec<(String, Told)>, JournalError> {
        self.many("SELECT notifier, subject, body, at FROM told", [], |row| {
            Ok((row.get(0)?, Told { subject: row.get(1)?, body: row.get(2)?, at: from_millis(row.get(3)?) }))
        })
    }

    pub(super) fn jobs_with_open_runs(&self) -> Result<BTreeSet<JobName>, JournalError> {
        // By the key, in the order of which they are asked for, every run of all time would be read.
        let sql = "SELECT DISTINCT job FROM runs INDEXED BY runs_of_disk WHERE ended_at IS NULL";
        let jobs = self.many(sql, [], |row| parsed::<JobName>(row, 0))?;
        Ok(jobs.into_iter().collect())
    }

    pub(super) fn rounds_since(&self, job: &JobName, from: Timestamp) -> Result<Vec<Round>, JournalError> {
        // By the instant: of a job there are the runs of a year.
        self.many(
            &format!(
                "SELECT due, sum(ended_at IS NULL), sum({WITHOUT}) FROM runs INDEXED BY runs_by_due
                 WHERE job = ?1 AND due >= ?2 AND NOT (state = 'skipped' AND body ->> '$.why.why' = 'removed')
                 GROUP BY due ORDER BY due"
            ),
            params![job.as_str(), from.as_second()],
            |row| {
                Ok(Round {
                    due: from_second(row.get(0)?),
                    open: row.get::<_, i64>(1)?.cast_unsigned(),
                    failed: row.get::<_, i64>(2)?.cast_unsigned(),
                })
            },
        )
    }

    pub(super) fn runs_without_backup(
        &self,
        job: &JobName,
        due: Timestamp,
        limit: usize,
    ) -> Result<Vec<(DiskId, String)>, JournalError> {
        self.many(
            &format!(
                "SELECT disk, body FROM runs INDEXED BY runs_by_due
                 WHERE job = ?1 AND due = ?2 AND {WITHOUT} ORDER BY disk LIMIT ?3"
            ),
            params![job.as_str(), due.as_second(), i64::try_from(limit).unwrap_or(i64::MAX)],
            |row| Ok((parsed(row, 0)?, decoded::<State>(row, 1)?.reason().unwrap_or_default())),
        )
    }
}

/// Records what a notifier was told, and what there is nothing to know of any more.
pub(super) fn record(
    write: &Connection,
    notifier: &str,
    told: &[Told],
    forgotten: &[String],
) -> rusqlite::Result<bool> {
    for Told { subject, body, at } in told {
        write
            .prepare_cached(
                "INSERT INTO told (notifier, subject, body, at) VALUES (?1, ?2, ?3, ?4)
                 ON CONFLICT (notifier, subject) DO UPDATE SET body = excluded.body, at = excluded.at",
            )?
            .execute(params![notifier, subject, body, millis(*at)])?;
    }
    for subject in forgotten {
        write
            .prepare_cached("DELETE FROM told WHERE notifier = ?1 AND subject = ?2")?
            .execute([notifier, subject])?;
    }
    Ok(true)
}

/// Forgets what other notifiers were told.
pub(super) fn keep_only(write: &Connection, notifiers: &[String]) -> rusqlite::Result<bool> {
    let known: Vec<String> = {
        let mut all = write.prepare_cached("SELECT DISTINCT notifier FROM told")?;
        all.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?
    };
    let gone = known.iter().filter(|known| !notifiers.contains(known));
    let mut any = false;
    for notifier in gone {
        any |= write.prepare_cached("DELETE FROM told WHERE notifier = ?1")?.execute([notifier])? > 0;
    }
    Ok(any)
}
