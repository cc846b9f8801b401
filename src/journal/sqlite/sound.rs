//! Whether the rows of a large journal and its indexes agree.
//!
//! Responsible for finding what a disk leaves that has lost a write: pages that are each sound, and a run that is missing
//! from an index, or from its table. SQLite's own check reads the whole file at once, which a start cannot wait for
//! once there are years of runs, and which beside the daemon would keep its log from ever being emptied. So:
//!
//! - **Before anything is written** each run that one of the two indexes of open runs leads to is read, and looked for in
//!   the other; and all of the small tables are compared. A create is decided from a run that was found so, and from those
//!   tables: the stale page that could make a second backup is a row older than its entry, or an entry that the other
//!   index does not have. A run that one stale page hides, of either index or of the table, is in the two others.
//! - **Beside the daemon**, a piece at a time, every row is looked for in each index, and every entry in the table. What
//!   is found so late is a run that has ended (history, what retention counts, a told line), or one that two lost
//!   writes have hidden.
//!
//! It refuses to mend anything, and does not see pages that are in use twice until their content disagrees. Those of a
//! small journal are all compared at the start, by SQLite.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params_from_iter};

use super::{BUSY, JournalError, file};

/// Up to this size SQLite's own check takes a third of a second, and is made at the start. In bytes.
const SMALL: i64 = 64 << 20;
/// The indexes that a daemon finds its open runs by.
const OPEN: [&str; 2] = ["runs_to_attend", "runs_of_disk"];
/// The tables that grow with what was ever done.
const LARGE: [&str; 2] = ["runs", "deletions"];
/// Rows looked at in one piece: a few milliseconds, where they are in memory.
const PIECE: usize = 1_000;

/// An index, or the key of a table, as the schema has it.
struct Index {
    name: String,
    /// Those that it is ordered by, down to the last of the table's key.
    columns: Vec<String>,
    /// Which rows it has.
    only: String,
}

impl Index {
    fn list(&self) -> String {
        self.columns.join(", ")
    }

    /// That two rows have the same in it.
    fn same(&self, one: &str, other: &str) -> String {
        let same = |column| format!("{one}.{column} IS {other}.{column}");
        self.columns.iter().map(same).collect::<Vec<_>>().join(" AND ")
    }

    /// That an entry lies between two others; what is bound are the first's values, then the last's.
    fn between(&self, after: bool, up_to: bool) -> String {
        let width = self.columns.len();
        let values = |from: usize| {
            (from + 1..=from + width).map(|number| format!("?{number}")).collect::<Vec<_>>().join(", ")
        };
        let list = self.list();
        let mut all = vec![format!("({})", self.only)];
        if after {
            all.push(format!("({list}) > ({})", values(0)));
        }
        if up_to {
            all.push(format!("({list}) <= ({})", values(if after { width } else { 0 })));
        }
        all.join(" AND ")
    }
}

/// A table, and the indexes on it.
struct Table {
    name: &'static str,
    key: Index,
    indexes: Vec<Index>,
}

impl Table {
    fn of(connection: &Connection, name: &'static str) -> rusqlite::Result<Self> {
        let mut all = connection.prepare(
            "SELECT l.name, l.origin = 'pk', coalesce(substr(s.sql, nullif(instr(s.sql, 'WHERE'), 0) + 5), 'TRUE')
             FROM pragma_index_list(?1) l LEFT JOIN sqlite_schema s ON s.name = l.name ORDER BY l.seq",
        )?;
        let all = all.query_map([name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        let (mut key, mut indexes) = (None, Vec::new());
        for found in all {
            let (name, is_key, only): (String, bool, String) = found?;
            let mut columns = connection
                .prepare("SELECT name FROM pragma_index_xinfo(?1) WHERE key OR NOT ?2 ORDER BY seqno")?;
            let columns = columns.query_map((&name, is_key), |row| row.get(0))?;
            let index = Index { name, columns: columns.collect::<Result<_, _>>()?, only };
            if is_key { key = Some(index) } else { indexes.push(index) }
        }
        let key = key.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        Ok(Self { name, key, indexes })
    }

    /// Entries of an index without a row that has the same values.
    fn entries_without_row(&self, index: &Index, which: &str) -> String {
        let (table, key) = (self.name, &self.key);
        format!(
            "SELECT {} FROM (SELECT {} FROM {table} INDEXED BY {} WHERE {which}) i
             WHERE NOT EXISTS (SELECT 1 FROM {table} r INDEXED BY {} WHERE {} AND ({})) LIMIT 1",
            key.list(),
            index.list(),
            index.name,
            key.name,
            index.same("r", "i"),
            index.only,
        )
    }

    /// Rows that an index should have, and has not.
    fn rows_without_entry(&self, index: &Index, which: &str) -> String {
        let (table, key) = (self.name, &self.key);
        format!(
            "SELECT {} FROM (SELECT * FROM {table} INDEXED BY {} WHERE {which}) r
             WHERE ({}) AND NOT EXISTS (SELECT 1 FROM {table} i INDEXED BY {} WHERE {} AND ({})) LIMIT 1",
            key.list(),
            key.name,
            index.only,
            index.name,
            index.same("i", "r"),
            index.only,
        )
    }

    /// What is wrong where `sql` finds a row of this table.
    fn wrong(
        &self,
        connection: &Connection,
        sql: &str,
        bound: &[Value],
        is: &str,
        index: &Index,
    ) -> rusqlite::Result<Option<String>> {
        let read = |row: &rusqlite::Row<'_>| {
            let part = |number| {
                Ok(match row.get::<_, Value>(number)? {
                    Value::Text(text) => text,
                    Value::Integer(number) => number.to_string(),
                    other => format!("{other:?}"),
                })
            };
            (0..self.key.columns.len()).map(part).collect::<rusqlite::Result<Vec<_>>>()
        };
        let found = connection.prepare_cached(sql)?.query_row(params_from_iter(bound), read).optional()?;
        Ok(found.map(|key| format!("{} {} {is} index {}", self.name, key.join("/"), index.name)))
    }
}

const HAS_NO_ROW: &str = "has no such row as in";
const HAS_NO_ENTRY: &str = "is missing from";

/// Whether SQLite's own check of the whole is not too long for a start.
pub(super) fn is_small(connection: &Connection) -> rusqlite::Result<bool> {
    let size = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    Ok(size("page_count")?.saturating_mul(size("page_size")?) <= SMALL)
}

/// What is wrong with what the daemon is about to act by.
pub(super) fn wrong_with_what_is_open(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    for table in tables.query_map([], |row| row.get::<_, String>(0))? {
        let table = table?;
        if LARGE.contains(&table.as_str()) || table.starts_with("sqlite_") {
            continue;
        }
        let sql = format!("PRAGMA integrity_check({table})");
        let word: String = connection.query_row(&sql, [], |row| row.get(0))?;
        if word != "ok" {
            return Ok(Some(word));
        }
    }
    let runs = Table::of(connection, "runs")?;
    let open = || runs.indexes.iter().filter(|index| OPEN.contains(&index.name.as_str()));
    for index in open() {
        let sql = runs.entries_without_row(index, &index.only);
        if let Some(wrong) = runs.wrong(connection, &sql, &[], HAS_NO_ROW, index)? {
            return Ok(Some(wrong));
        }
        let key = runs.key.list();
        let led_to =
            format!("({key}) IN (SELECT {key} FROM runs INDEXED BY {} WHERE {})", index.name, index.only);
        for other in open().filter(|other| other.name != index.name) {
            let sql = runs.rows_without_entry(other, &led_to);
            if let Some(wrong) = runs.wrong(connection, &sql, &[], HAS_NO_ENTRY, other)? {
                return Ok(Some(wrong));
            }
        }
    }
    Ok(None)
}

/// The check of a journal beside its daemon, a piece at a time: no reader keeps the log from being emptied for longer.
pub struct Soundness {
    connection: Connection,
    path: String,
    tables: Vec<Table>,
    /// What is being gone through: which table, and its rows or the entries of which index.
    walk: (usize, Option<usize>),
    /// Where in that.
    after: Option<Vec<Value>>,
}

impl Soundness {
    /// Of the journal at `path`; none where the start has checked all of it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn of(path: &Path) -> Result<Option<Self>, JournalError> {
        let name = path.display().to_string();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let open = || -> rusqlite::Result<Option<Self>> {
            let connection = Connection::open_with_flags(path, flags)?;
            connection.busy_timeout(BUSY)?;
            connection.pragma_update(None, "query_only", true)?;
            if is_small(&connection)? { Ok(None) } else { Self::over(connection, name.clone()).map(Some) }
        };
        open().map_err(file::failed("check", name.clone()))
    }

    fn over(connection: Connection, path: String) -> rusqlite::Result<Self> {
        let tables = LARGE.iter().map(|name| Table::of(&connection, name)).collect::<Result<_, _>>()?;
        Ok(Self { connection, path, tables, walk: (0, None), after: None })
    }

    /// Looks at the next piece; whether there is another.
    ///
    /// # Errors
    /// When the journal is damaged, or cannot be read.
    pub fn look(&mut self) -> Result<bool, JournalError> {
        match self.piece().map_err(file::failed("check", &*self.path))? {
            Some(why) => {
                file::mark_damaged(&self.path, &why);
                Err(JournalError::Damaged { path: self.path.clone(), why })
            }
            None => Ok(self.walk.0 < self.tables.len()),
        }
    }

    fn piece(&mut self) -> rusqlite::Result<Option<String>> {
        let Some(table) = self.tables.get(self.walk.0) else { return Ok(None) };
        let entries = self.walk.1.map(|number| &table.indexes[number]);
        let along = entries.unwrap_or(&table.key);
        let has_after = self.after.is_some();
        let mut bound = self.after.take().unwrap_or_default();
        let last = format!(
            "SELECT {0} FROM {1} INDEXED BY {2} WHERE {3} ORDER BY {0} LIMIT 1 OFFSET {4}",
            along.list(),
            table.name,
            along.name,
            along.between(has_after, false),
            PIECE - 1,
        );
        let values =
            |row: &rusqlite::Row<'_>| (0..along.columns.len()).map(|number| row.get(number)).collect();
        let last: Option<Vec<Value>> =
            self.connection.prepare_cached(&last)?.query_row(params_from_iter(&bound), values).optional()?;
        bound.extend(last.iter().flatten().cloned());
        let which = along.between(has_after, last.is_some());
        let wrong = |sql: &str, is, index| table.wrong(&self.connection, sql, &bound, is, index);
        let mut found = None;
        match entries {
            Some(index) => found = wrong(&table.entries_without_row(index, &which), HAS_NO_ROW, index)?,
            None => {
                for index in &table.indexes {
                    if found.is_none() {
                        found = wrong(&table.rows_without_entry(index, &which), HAS_NO_ENTRY, index)?;
                    }
                }
            }
        }
        if last.is_none() {
            let next = self.walk.1.map_or(0, |number| number + 1);
            self.walk =
                if next < table.indexes.len() { (self.walk.0, Some(next)) } else { (self.walk.0 + 1, None) };
        }
        self.after = last;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::Sqlite;

    /// So many runs of three disks, every other of which is open; and deletions.
    fn journal(runs: usize) -> Connection {
        let journal = Sqlite::in_memory().unwrap().connection;
        journal.execute_batch(&format!(
            "INSERT INTO policies VALUES (1, '{{}}');
             WITH RECURSIVE n (value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < {runs})
             INSERT INTO runs (job, disk, due, target, owner, policy, start_at, state, body, attempts, unsure, attend_at, ended_at)
                 SELECT 'db', 'disk-' || (value % 3), value, 'default', 'ops1', 1, value, iif(value % 2, 'planned', 'completed'),
                        '{{}}', 0, 0, iif(value % 2, value, NULL), iif(value % 2, NULL, value) FROM n;
             INSERT INTO deletions SELECT 'dbp-' || due, job, disk, due, due, iif(due % 2, NULL, due) FROM runs;"
        )).unwrap();
        journal
    }

    /// Does what a disk that loses writes does: `sql` is carried out, and these indexes do not hear of it.
    fn lose(journal: &Connection, indexes: &str, sql: &str) {
        let hide = format!(
            "PRAGMA writable_schema = ON;
             CREATE TEMP TABLE hidden AS SELECT * FROM main.sqlite_schema WHERE name IN ({indexes});
             DELETE FROM main.sqlite_schema WHERE name IN ({indexes});
             PRAGMA writable_schema = RESET;"
        );
        let show = "PRAGMA writable_schema = ON; INSERT INTO main.sqlite_schema SELECT * FROM temp.hidden;
                    PRAGMA writable_schema = RESET; DROP TABLE temp.hidden";
        for sql in [&hide, sql, show] {
            journal.execute_batch(sql).unwrap();
        }
    }

    const ALL: &str = "'runs_to_attend', 'runs_of_disk', 'runs_to_report', 'runs_good', 'runs_promoted', 'runs_by_due', 'runs_completed'";
    const NEW: &str = "INSERT INTO runs (job, disk, due, target, owner, policy, start_at, state, body, attempts, unsure, attend_at)
                       VALUES ('db', 'disk-9', 5000, 'default', 'ops1', 1, 0, 'planned', '{}', 0, 0, 0)";

    /// What the check beside the daemon finds, and in how many pieces.
    fn beside(journal: Connection) -> (usize, Option<String>) {
        // Whoever finds something leaves word of it beside the file.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal").display().to_string();
        let mut soundness = Soundness::over(journal, path).unwrap();
        for pieces in 1.. {
            match soundness.look() {
                Ok(true) => assert!(pieces < 1_000, "it has no end"),
                Ok(false) => return (pieces, None),
                Err(error) => return (pieces, Some(error.to_string())),
            }
        }
        unreachable!()
    }

    #[test]
    fn a_sound_journal_is_gone_through_in_pieces() {
        assert_eq!(wrong_with_what_is_open(&journal(10)).unwrap(), None);
        let (few, wrong) = beside(journal(10));
        assert_eq!(wrong, None);
        let (many, wrong) = beside(journal(5_000));
        assert_eq!(wrong, None);
        // Of 5,000 rows, and of as many entries of the index that has all of them.
        assert!(many >= few + 8, "{few} and {many} pieces");
    }

    #[test]
    fn an_entry_is_read_without_its_row() {
        let journal = journal(1);
        let runs = Table::of(&journal, "runs").unwrap();
        for name in OPEN.iter().chain(&["runs_by_due"]) {
            let index = runs.indexes.iter().find(|index| index.name == *name).unwrap();
            let sql = format!("EXPLAIN QUERY PLAN {}", runs.entries_without_row(index, &index.only));
            let mut plan = journal.prepare(&sql).unwrap();
            let plan: Vec<String> =
                plan.query_map([], |row| row.get(3)).unwrap().collect::<Result<_, _>>().unwrap();
            let covering = format!("COVERING INDEX {name}");
            assert!(plan.iter().any(|step| step.contains(&covering)), "{name}: {plan:?}");
        }
    }

    #[test]
    fn an_open_run_that_one_index_does_not_have_is_found_before_anything_is_written() {
        for index in OPEN {
            let journal = journal(10);
            lose(&journal, &format!("'{index}'"), NEW);
            let wrong = wrong_with_what_is_open(&journal).unwrap();
            assert_eq!(wrong.unwrap(), format!("runs db/disk-9/5000 is missing from index {index}"));
        }
    }

    #[test]
    fn an_open_run_whose_row_is_lost_or_of_yesterday_is_found_before_anything_is_written() {
        for sql in [
            "DELETE FROM runs WHERE due = 7",
            "UPDATE runs SET ended_at = 1 WHERE due = 7",
            "UPDATE runs SET state = 'creating' WHERE due = 7",
        ] {
            let journal = journal(10);
            lose(&journal, ALL, sql);
            let wrong = wrong_with_what_is_open(&journal).unwrap();
            assert_eq!(wrong.unwrap(), "runs db/disk-1/7 has no such row as in index runs_of_disk", "{sql}");
        }
    }

    #[test]
    fn a_small_table_is_compared_whole_before_anything_is_written() {
        let journal = journal(10);
        lose(
            &journal,
            "'schedules_next'",
            "INSERT INTO schedules VALUES ('db', 'disk-1', '* * * * *', 0, 60)",
        );
        assert!(wrong_with_what_is_open(&journal).unwrap().unwrap().contains("schedules_next"));
    }

    #[test]
    fn what_has_ended_is_found_beside_the_daemon() {
        for (index, sql, says) in [
            (
                "'runs_good'",
                "UPDATE runs SET state = 'completed' WHERE due = 4321",
                "is missing from index runs_good",
            ),
            ("'runs_by_due'", NEW, "runs db/disk-9/5000 is missing from index runs_by_due"),
            (ALL, "DELETE FROM runs WHERE due = 4320", "runs db/disk-0/4320 has no such row as in index"),
            ("'deletions_done'", "UPDATE deletions SET done_at = 1", "is missing from index deletions_done"),
        ] {
            let journal = journal(5_000);
            lose(&journal, index, sql);
            let found = beside(journal).1.unwrap();
            assert!(found.contains(says), "{sql}: {found}");
        }
    }
}
