//! The journal in SQLite.
//!
//! Responsible for durable batches (WAL, `synchronous=FULL`: one fsync a batch), versioned migrations and the
//! queries behind [`Store`]. It refuses a file that a newer program wrote, or that is damaged.

mod attend;
mod changes;
mod file;
mod rows;
mod sound;
mod standings;
mod told;

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use backup_core::notify::Round;
use backup_core::retention::PointId;
use backup_core::selection::Member;
use backup_core::{DiskId, JobName, RunId, SnapshotId, TargetName};
use jiff::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Row as SqlRow, params};

use changes::{HOLDS, apply};
use rows::{
    DELETION, RESTORE, RUN, RUN_COLUMNS, from_json, from_millis, from_second, millis, parsed, read_deletion,
    read_gap, read_restore, read_run, read_watermark,
};

pub use sound::Soundness;

use super::requests::{Answer, Request};
use super::store::{
    Asked, Change, Deletion, Filter, Gap, Held, Inventory, JournalError, RestoreRow, Row, SeenShelf,
    Standing, Store, Subject, ToAttend, Told, Watermark,
};

/// The migrations, oldest first; a file's `user_version` says how many it has had.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/0001_runs.sql")];
/// Pages in the log before a write must wait until they are in the file: in most nights it is quiet before that, see
/// [`Store::settle`].
const MOST_IN_LOG: u32 = 4000;
/// How long a call waits for another process that writes (a command beside the daemon).
const BUSY: Duration = Duration::from_secs(10);
/// The states of [`Stage::Waiting`](crate::journal::Stage::Waiting).
const WAITS: &str = "('planned', 'absent')";
/// What stands for the path of a journal in memory.
const IN_MEMORY: &str = ":memory:";

/// `jobs`: all that have runs, one look at the key for each.
const JOBS: &str = "WITH RECURSIVE jobs (job) AS (
    SELECT min(job) FROM runs
    UNION ALL SELECT (SELECT min(job) FROM runs WHERE job > jobs.job) FROM jobs WHERE job IS NOT NULL)";

/// The order of jobs that want the same; `p` is a row of `priorities`, or none.
const BY_PRIORITY: &str = "coalesce(p.rank, 0) DESC";

/// A journal file, or one in memory.
pub struct Sqlite {
    connection: Connection,
}

impl Sqlite {
    /// Opens the journal at `path`, making or migrating it as needed.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        // One after another: a command may come beside the first start of a daemon.
        let _turn = file::turn(path);
        file::check_files(path)?;
        let name = path.display().to_string();
        Self::ready(Connection::open(path).map_err(file::failed("open", &*name))?, &name)
    }

    /// Opens an existing journal to read it beside its daemon, or without one; `None` where there is none.
    pub fn open_to_read(path: &Path) -> Result<Option<Self>, JournalError> {
        if !path.exists() {
            return Ok(None);
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)
            .or_else(|_| Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY))
            .map_err(file::failed("open", path.display().to_string()))?;
        let journal = Self { connection };
        journal.connection.busy_timeout(BUSY).map_err(journal.failed("open"))?;
        keep_plans(&journal.connection).map_err(journal.failed("open"))?;
        match journal.version()? {
            0 => Ok(None),
            found if found > known() => {
                Err(JournalError::Newer { path: path.display().to_string(), found, known: known() })
            }
            _ => Ok(Some(journal)),
        }
    }

    /// A journal that lasts as long as the value.
    pub fn in_memory() -> Result<Self, JournalError> {
        Self::ready(Connection::open_in_memory().map_err(file::failed("open", IN_MEMORY))?, IN_MEMORY)
    }

    fn ready(connection: Connection, path: &str) -> Result<Self, JournalError> {
        let mut journal = Self { connection };
        let prepare = |connection: &Connection| {
            connection.busy_timeout(BUSY)?;
            file::may_change_at_close(connection, false)
        };
        prepare(&journal.connection).map_err(journal.failed("open"))?;
        let found = journal.version()?;
        file::check(&journal.connection, path, found)?;
        let migrate = |journal: &mut Self| -> rusqlite::Result<()> {
            journal.connection.pragma_update(None, "journal_mode", "WAL")?;
            journal.connection.pragma_update(None, "synchronous", "FULL")?;
            journal.connection.pragma_update(None, "wal_autocheckpoint", MOST_IN_LOG)?;
            journal.connection.pragma_update(None, "foreign_keys", true)?;
            keep_plans(&journal.connection)?;
            let write = journal.connection.transaction()?;
            for (version, migration) in (1_i64..).zip(MIGRATIONS) {
                if version > found {
                    write.execute_batch(migration)?;
                    write.pragma_update(None, "user_version", version)?;
                }
            }
            write.commit()?;
            file::may_change_at_close(&journal.connection, true)
        };
        migrate(&mut journal).map_err(file::failed("prepare", path))?;
        Ok(journal)
    }

    fn version(&self) -> Result<i64, JournalError> {
        self.connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .map_err(self.failed("open"))
    }

    fn failed(&self, doing: &'static str) -> impl FnOnce(rusqlite::Error) -> JournalError {
        file::failed(doing, self.connection.path().filter(|path| !path.is_empty()).unwrap_or(IN_MEMORY))
    }

    /// Rows that can be read, and the errors of those that cannot.
    fn rows<P: rusqlite::Params>(&self, sql: &str, params: P) -> Result<ToAttend, JournalError> {
        let mut statement = self.connection.prepare_cached(sql).map_err(self.failed("read"))?;
        let with_facts = statement.column_count() > RUN_COLUMNS;
        let mut found = statement.query(params).map_err(self.failed("read"))?;
        let mut all = ToAttend::default();
        while let Some(row) = found.next().map_err(self.failed("read"))? {
            match read_run(row, with_facts) {
                Ok(read) => all.runs.push(read),
                Err(error) => all.unreadable.push(error),
            }
        }
        Ok(all)
    }

    /// Rows of a query in which one that cannot be read is an error of the whole.
    fn plain_rows<P: rusqlite::Params>(&self, sql: &str, params: P) -> Result<Vec<Row>, JournalError> {
        let ToAttend { runs, unreadable, .. } = self.rows(sql, params)?;
        unreadable.into_iter().next().map_or_else(|| Ok(runs.into_iter().map(|(row, _)| row).collect()), Err)
    }

    fn many<T, P: rusqlite::Params>(
        &self,
        sql: &str,
        params: P,
        read: impl FnMut(&SqlRow<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, JournalError> {
        let read_all = || {
            self.connection
                .prepare_cached(sql)?
                .query_map(params, read)?
                .collect::<rusqlite::Result<Vec<T>>>()
        };
        read_all().map_err(self.failed("read"))
    }

    fn one<T, P: rusqlite::Params>(
        &self,
        sql: &str,
        params: P,
        read: impl FnOnce(&SqlRow<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, JournalError> {
        let read_one = || self.connection.prepare_cached(sql)?.query_row(params, read).optional();
        read_one().map_err(self.failed("read"))
    }
}

impl Store for Sqlite {
    fn apply(&mut self, changes: &[Change]) -> Result<Vec<bool>, JournalError> {
        let all = || -> rusqlite::Result<Vec<bool>> {
            let write = Batch::begin(&self.connection, "BEGIN IMMEDIATE")?;
            let applied =
                changes.iter().map(|change| apply(&self.connection, change)).collect::<Result<_, _>>()?;
            write.commit()?;
            Ok(applied)
        };
        let outcome = all();
        outcome.map_err(self.failed("write"))
    }

    fn settle(&mut self) {
        // Never blocked by a reader, and blocking none; the next write says what is wrong with the disk.
        let _ = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    }

    fn begin_epoch(&mut self) -> Result<u64, JournalError> {
        let mut begin = || -> rusqlite::Result<i64> {
            let write =
                self.connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let number =
                write.query_row("UPDATE epoch SET number = number + 1 RETURNING number", [], |row| {
                    row.get(0)
                })?;
            apply(&write, &Change::AttendToAll)?;
            write.commit()?;
            Ok(number)
        };
        let outcome = begin();
        outcome.map(i64::cast_unsigned).map_err(self.failed("write"))
    }

    fn to_attend(
        &self,
        asked: &[Asked],
        now: Timestamp,
        except: &dyn Fn(&RunId, i64) -> bool,
    ) -> Result<Vec<ToAttend>, JournalError> {
        self.wanting_attention(asked, now, except)
    }

    fn open_counts(&self) -> Result<Vec<(String, u64)>, JournalError> {
        self.many(
            "SELECT state, count(*) FROM runs WHERE ended_at IS NULL GROUP BY state ORDER BY state",
            [],
            |row| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned())),
        )
    }

    fn waiting(&self) -> Result<Vec<Row>, JournalError> {
        let sql = format!(
            "SELECT {RUN} FROM runs r JOIN policies p ON p.id = r.policy
             WHERE r.ended_at IS NULL AND r.state IN {WAITS}"
        );
        self.plain_rows(&sql, [])
    }

    fn run(&self, id: &RunId) -> Result<Option<Row>, JournalError> {
        let sql = format!(
            "SELECT {RUN} FROM runs r JOIN policies p ON p.id = r.policy WHERE job = ?1 AND disk = ?2 AND due = ?3"
        );
        let rows = self.plain_rows(&sql, params![id.job.as_str(), id.disk.as_str(), id.due.as_second()])?;
        Ok(rows.into_iter().next())
    }

    fn unreported(&self, limit: usize) -> Result<Vec<Row>, JournalError> {
        let sql = format!(
            "SELECT {RUN} FROM runs r JOIN policies p ON p.id = r.policy
             WHERE r.ended_at IS NOT NULL AND r.reported = 0 ORDER BY r.ended_at LIMIT ?1"
        );
        self.plain_rows(&sql, [i64::try_from(limit).unwrap_or(i64::MAX)])
    }

    fn full(&self, target: &TargetName) -> Result<Vec<Row>, JournalError> {
        let sql = format!(
            "SELECT {RUN} FROM runs r JOIN policies p ON p.id = r.policy
             WHERE r.target = ?1 AND r.ended_at IS NULL AND r.state = 'absent' AND r.body ->> '$.full' IS NOT NULL"
        );
        self.plain_rows(&sql, [target.as_str()])
    }

    fn good_counts(&self) -> Result<Vec<(JobName, DiskId, u64)>, JournalError> {
        self.many(
            "SELECT job, disk, count(*) FROM runs WHERE state = 'completed' AND missing < 3 GROUP BY job, disk",
            [],
            |row| Ok((parsed(row, 0)?, parsed(row, 1)?, row.get::<_, i64>(2)?.cast_unsigned())),
        )
    }

    fn promoted(&self, disk: &DiskId) -> Result<Vec<(RunId, SnapshotId)>, JournalError> {
        let read = |row: &SqlRow<'_>| {
            let run = RunId { job: parsed(row, 0)?, disk: disk.clone(), due: from_second(row.get(1)?) };
            Ok((run, parsed(row, 2)?))
        };
        let sql = "SELECT job, due, snapshot FROM runs WHERE disk = ?1 AND snapshot IS NOT NULL";
        self.many(sql, [disk.as_str()], read)
    }

    fn untold_gaps(&self) -> Result<Vec<Gap>, JournalError> {
        self.many(
            "SELECT number, run, point, began_at, ended_at, told FROM gaps
             WHERE told = 0 OR (told = 1 AND ended_at IS NOT NULL) ORDER BY number",
            [],
            read_gap,
        )
    }

    fn to_compare(&self, disk: &DiskId, runs: &[RunId]) -> Result<Vec<(Row, u32)>, JournalError> {
        let sql = format!(
            "SELECT {RUN} FROM runs r JOIN policies p ON p.id = r.policy
             WHERE r.disk = ?1 AND r.state = 'completed' AND r.missing < 3"
        );
        let mut rows = self.plain_rows(&sql, [disk.as_str()])?;
        for id in runs {
            if !rows.iter().any(|row| row.run.id == *id) {
                rows.extend(self.run(id)?);
            }
        }
        let missing = |row: Row| {
            let id = &row.run.id;
            let times = self.one(
                "SELECT missing FROM runs WHERE job = ?1 AND disk = ?2 AND due = ?3",
                params![id.job.as_str(), id.disk.as_str(), id.due.as_second()],
                |row| row.get(0),
            )?;
            Ok((row, times.unwrap_or_default()))
        };
        rows.into_iter().map(missing).collect()
    }

    fn completed_since(&self, since: Timestamp) -> Result<Vec<(DiskId, Timestamp)>, JournalError> {
        self.many(
            "SELECT disk, max(ended_at) FROM runs WHERE state = 'completed' AND ended_at > ?1 GROUP BY disk",
            [millis(since)],
            |row| Ok((parsed(row, 0)?, from_millis(row.get(1)?))),
        )
    }

    fn deletion(&self, point: &PointId) -> Result<Option<Deletion>, JournalError> {
        let sql = format!("SELECT {DELETION} FROM deletions WHERE point = ?1");
        self.one(&sql, [point.to_string()], read_deletion)
    }

    fn pending_deletions(&self, disk: &DiskId) -> Result<Vec<Deletion>, JournalError> {
        let sql = format!("SELECT {DELETION} FROM deletions WHERE disk = ?1 AND done_at IS NULL");
        self.many(&sql, [disk.as_str()], read_deletion)
    }

    fn recovered_through(&self, job: &JobName, disk: &DiskId) -> Result<Option<Timestamp>, JournalError> {
        let found = self.one(
            // Where the journal is not behind, not a run is read.
            "SELECT max(due) FROM epoch CROSS JOIN runs
             WHERE behind AND job = ?1 AND disk = ?2 AND attempts = 0 AND state IN ('tracking', 'completed')",
            [job.as_str(), disk.as_str()],
            |row| row.get::<_, Option<i64>>(0),
        )?;
        Ok(found.flatten().map(from_second))
    }

    fn is_behind(&self) -> Result<bool, JournalError> {
        Ok(self.one("SELECT behind FROM epoch", [], |row| row.get(0))?.unwrap_or_default())
    }

    fn history(&self, filter: &Filter) -> Result<Vec<Row>, JournalError> {
        // A disk's runs lie together under each job: by their due instants, those of all disks would be read.
        let (with, from) = match &filter.disk {
            Some(_) => (JOBS, "jobs CROSS JOIN runs r ON r.job = jobs.job AND r.disk = ?2"),
            None => ("", "runs r"),
        };
        let sql = format!(
            "{with} SELECT {RUN} FROM {from} JOIN policies p ON p.id = r.policy
             WHERE (?1 IS NULL OR r.job = ?1) AND (?2 IS NULL OR r.disk = ?2) AND (?3 IS NULL OR r.state = ?3)
               AND r.due >= ?4
             ORDER BY r.due DESC, r.job, r.disk LIMIT ?5"
        );
        self.plain_rows(
            &sql,
            params![
                filter.job.as_ref().map(|job| job.as_str()),
                filter.disk.as_ref().map(|disk| disk.as_str()),
                filter.state,
                filter.since.unwrap_or(Timestamp::MIN).as_second(),
                filter.limit,
            ],
        )
    }

    fn watermarks(&self) -> Result<Vec<Watermark>, JournalError> {
        self.many(
            "SELECT job, disk, schedule, planned_through, next_due FROM schedules ORDER BY job, disk",
            [],
            read_watermark,
        )
    }

    fn watermarks_of(
        &self,
        job: &JobName,
        after: Option<&DiskId>,
        limit: usize,
    ) -> Result<Vec<Watermark>, JournalError> {
        self.many(
            "SELECT job, disk, schedule, planned_through, next_due FROM schedules
             WHERE job = ?1 AND disk > ?2 ORDER BY disk LIMIT ?3",
            params![
                job.as_str(),
                after.map_or("", |disk| disk.as_str()),
                i64::try_from(limit).unwrap_or(i64::MAX)
            ],
            read_watermark,
        )
    }

    fn planned_jobs(&self) -> Result<Vec<JobName>, JournalError> {
        // One look at the key for each.
        self.many(
            "WITH RECURSIVE jobs (job) AS (
                 SELECT min(job) FROM schedules
                 UNION ALL SELECT (SELECT min(job) FROM schedules WHERE job > jobs.job) FROM jobs WHERE job IS NOT NULL)
             SELECT job FROM jobs WHERE job IS NOT NULL",
            [],
            |row| parsed(row, 0),
        )
    }

    fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Watermark>, JournalError> {
        self.many(
            &format!(
                "SELECT r.job, r.disk, r.schedule, r.planned_through, r.next_due
                 FROM schedules r LEFT JOIN priorities p ON p.job = r.job
                 WHERE r.next_due <= ?1 ORDER BY r.next_due, {BY_PRIORITY} LIMIT ?2"
            ),
            params![now.as_second(), i64::try_from(limit).unwrap_or(i64::MAX)],
            read_watermark,
        )
    }

    fn next_due(&self) -> Result<Option<Timestamp>, JournalError> {
        let found =
            self.one("SELECT min(next_due) FROM schedules", [], |row| row.get::<_, Option<i64>>(0))?;
        Ok(found.flatten().map(from_second))
    }

    fn inventory(&self) -> Result<Inventory, JournalError> {
        let jobs = self.many("SELECT job FROM selections", [], |row| parsed::<JobName>(row, 0))?;
        let held = |job: JobName| Ok(self.held(&job)?.map(|held| (job, held)));
        let jobs: Result<Vec<_>, _> = jobs.into_iter().map(held).collect();
        Ok(Inventory { jobs: jobs?.into_iter().flatten().collect() })
    }

    fn held(&self, job: &JobName) -> Result<Option<Held>, JournalError> {
        let asked = "SELECT target, selection FROM selections WHERE job = ?1";
        let asked = self.one(asked, [job.as_str()], |row| Ok((parsed(row, 0)?, row.get(1)?)))?;
        let Some((target, selection)) = asked else { return Ok(None) };
        let disks = "SELECT disk, instance, missing FROM inventory WHERE job = ?1";
        let disks = self.many(disks, [job.as_str()], |row| {
            let instance = match row.get_ref(1)? {
                rusqlite::types::ValueRef::Null => None,
                _ => Some(parsed(row, 1)?),
            };
            Ok((parsed(row, 0)?, Member { instance, missing: row.get(2)? }))
        })?;
        Ok(Some(Held { target, selection, disks: disks.into_iter().collect() }))
    }

    fn deadlines(&self) -> Result<Vec<(RunId, Timestamp)>, JournalError> {
        self.all_deadlines()
    }

    fn standings(&self) -> Result<Vec<Standing>, JournalError> {
        self.all_standings()
    }

    fn shelves(&self) -> Result<Vec<(TargetName, SeenShelf)>, JournalError> {
        self.all_shelves()
    }

    fn told(&self) -> Result<Vec<(String, Told)>, JournalError> {
        self.all_told()
    }

    fn jobs_under_way(&self) -> Result<BTreeSet<JobName>, JournalError> {
        self.jobs_with_open_runs()
    }

    fn rounds(&self, job: &JobName, from: Timestamp) -> Result<Vec<Round>, JournalError> {
        self.rounds_since(job, from)
    }

    fn without_backup(
        &self,
        job: &JobName,
        due: Timestamp,
        limit: usize,
    ) -> Result<Vec<(DiskId, String)>, JournalError> {
        self.runs_without_backup(job, due, limit)
    }

    fn open_requests(&self) -> Result<Vec<(i64, Request)>, JournalError> {
        let rows =
            self.many("SELECT number, body FROM requests WHERE answer IS NULL ORDER BY number", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
            })?;
        rows.into_iter().map(|(number, body)| Ok((number, from_json("request", &body)?))).collect()
    }

    fn request_number(&self, request_id: &str) -> Result<Option<i64>, JournalError> {
        self.one("SELECT number FROM requests WHERE request_id = ?1", [request_id], |row| row.get(0))
    }

    fn answer(&self, number: i64) -> Result<Option<Answer>, JournalError> {
        let body: Option<Option<String>> =
            self.one("SELECT answer FROM requests WHERE number = ?1", [number], |row| row.get(0))?;
        body.flatten().map(|body| from_json("answer", &body)).transpose()
    }

    fn open_restores(&self) -> Result<Vec<RestoreRow>, JournalError> {
        let sql =
            format!("SELECT {RESTORE} FROM restores WHERE ended_at IS NULL OR reported = 0 ORDER BY number");
        self.many(&sql, [], read_restore)
    }

    fn restore(&self, number: i64) -> Result<Option<RestoreRow>, JournalError> {
        self.one(&format!("SELECT {RESTORE} FROM restores WHERE number = ?1"), [number], read_restore)
    }

    fn under_way(&self, disk: &DiskId) -> Result<Option<String>, JournalError> {
        let run = self.one(
            &format!("SELECT job, due FROM runs WHERE disk = ?1 AND ended_at IS NULL AND state IN {HOLDS}"),
            [disk.as_str()],
            |row| Ok(RunId { job: parsed(row, 0)?, disk: disk.clone(), due: from_second(row.get(1)?) }),
        )?;
        let restore = self.one(
            "SELECT backup FROM restores
             WHERE disk = ?1 AND ended_at IS NULL AND state IN ('applying', 'rolling')",
            [disk.as_str()],
            |row| row.get::<_, String>(0),
        )?;
        let run = run.map(|run| format!("a backup of it is being made (run {run})"));
        Ok(run.or(restore.map(|backup| format!("it is being put back to {backup}"))))
    }

    fn pauses(&self) -> Result<Vec<(Subject, Timestamp)>, JournalError> {
        self.many("SELECT kind, name, since FROM pauses ORDER BY kind DESC, name", [], |row| {
            let subject = match row.get::<_, String>(0)?.as_str() {
                "job" => Subject::Job(parsed(row, 1)?),
                _ => Subject::Disk(parsed(row, 1)?),
            };
            Ok((subject, from_millis(row.get(2)?)))
        })
    }
}

/// A transaction, rolled back unless it is committed. rusqlite's own parses its words anew each time.
struct Batch<'c> {
    connection: Option<&'c Connection>,
}

impl<'c> Batch<'c> {
    fn begin(connection: &'c Connection, how: &str) -> rusqlite::Result<Self> {
        connection.prepare_cached(how)?.execute([])?;
        Ok(Self { connection: Some(connection) })
    }

    fn commit(mut self) -> rusqlite::Result<()> {
        let Some(connection) = self.connection else { return Ok(()) };
        connection.prepare_cached("COMMIT")?.execute([])?;
        self.connection = None;
        Ok(())
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection {
            // Should that fail too, the next one says so: it cannot begin.
            let _ = connection.execute_batch("ROLLBACK");
        }
    }
}

/// Plans that do not hang on bound values. Without it every query that a partial index may answer is parsed and planned
/// anew each time that it is run.
fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}
