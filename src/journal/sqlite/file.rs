//! The journal's file: looked at before anything is written to it, and what its failures ask of a person.
//!
//! Responsible for finding damage at the start rather than in the middle of a night. It refuses a file that is
//! damaged, half gone or another program's, and leaves every byte of it as it is.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode};

use super::{JournalError, known, sound};

/// What a database says, and what to do about it.
#[derive(Debug)]
struct Trouble {
    said: String,
    remedy: &'static str,
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.said)?;
        if self.remedy.is_empty() { Ok(()) } else { write!(f, ": {}", self.remedy) }
    }
}

impl std::error::Error for Trouble {}

/// Makes an error of the journal of one of the database.
pub(super) fn failed(
    doing: &'static str,
    path: impl Into<String>,
) -> impl FnOnce(rusqlite::Error) -> JournalError {
    let path = path.into();
    move |error| {
        let (code, number) =
            error.sqlite_error().map_or((None, 0), |found| (Some(found.code), found.extended_code));
        if matches!(code, Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)) {
            return JournalError::Damaged { path, why: error.to_string() };
        }
        let said = match &error {
            // The number tells a failed fsync from a failed read.
            rusqlite::Error::SqliteFailure(_, Some(said)) => format!("{said} (SQLite's code {number})"),
            other => other.to_string(),
        };
        let trouble = Trouble { said, remedy: code.map_or("", remedy) };
        JournalError::Database { doing, path, source: Box::new(trouble) }
    }
}

fn remedy(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::DiskFull => "free space on its file system",
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied => {
            "the file, its folder and its file system must be writable for the daemon's user"
        }
        ErrorCode::CannotOpen => {
            "expected a file, or none yet, in a folder that is writable for the daemon's user"
        }
        ErrorCode::SystemIoFailure => "its disk or file system failed: see the kernel's log",
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => "another program holds it",
        _ => "",
    }
}

/// The turn to look at a journal and to make or migrate it, for as long as the value lasts: a lock on its folder. SQLite's
/// own locks are for those who agree on what there is. Where the folder cannot be had, opening the journal says why.
pub(super) fn turn(path: &Path) -> Option<File> {
    let folder = File::open(path.parent()?).ok()?;
    folder.lock().ok().map(|()| folder)
}

/// Where it is said that a journal was found to be damaged beside its daemon. It goes wherever the journal's files go:
/// no start needs to find anew what took an hour to find.
fn mark(path: impl fmt::Display) -> PathBuf {
    PathBuf::from(format!("{path}-damaged"))
}

/// Leaves word for the next start.
pub(super) fn mark_damaged(path: &str, why: &str) {
    // Where it cannot be written, damage is found once more.
    let _ = std::fs::write(mark(path), why);
}

/// Whether there may be a journal at `path`, by its files alone: SQLite deletes the log of a database that is gone.
pub(super) fn check_files(path: &Path) -> Result<(), JournalError> {
    let size = |path: &Path| path.metadata().map_or(0, |about| about.len());
    let mark = mark(path.display());
    if let Ok(found) = std::fs::read_to_string(&mark) {
        let why =
            format!("{}, as was found while the daemon ran: {}", found.replace('\n', " "), mark.display());
        return Err(JournalError::Damaged { path: path.display().to_string(), why });
    }
    let log = PathBuf::from(format!("{}-wal", path.display()));
    if size(path) == 0 && size(&log) > 0 {
        let why = format!("it is empty or gone, and its log {} is not", log.display());
        return Err(JournalError::Damaged { path: path.display().to_string(), why });
    }
    Ok(())
}

/// Whether this is a journal, and a sound one; `found` is its format. Nothing is written to it.
///
/// Of a small one every page is read, and every index compared with its table: a disk that lost a write leaves pages
/// that are each sound, and an index without a run would hide that run from its task. `quick_check` does not see that.
/// Of a large one what the daemon is about to act by, and the rest beside it: see [`sound`].
pub(super) fn check(connection: &Connection, path: &str, found: i64) -> Result<(), JournalError> {
    if found > known() {
        return Err(JournalError::Newer { path: path.to_owned(), found, known: known() });
    }
    let tables = "SELECT count(*), count(*) FILTER (WHERE name = 'epoch') FROM sqlite_schema";
    let (all, ours): (i64, i64) = connection
        .query_row(tables, [], |row| Ok((row.get(0)?, row.get(1)?)))
        .map_err(failed("open", path))?;
    let is_journal = if found == 0 { all == 0 } else { ours == 1 };
    if !is_journal {
        return Err(JournalError::Foreign { path: path.to_owned() });
    }
    let wrong = || -> rusqlite::Result<Option<String>> {
        if !sound::is_small(connection)? {
            return sound::wrong_with_what_is_open(connection);
        }
        let word: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
        Ok((word != "ok").then_some(word))
    };
    match wrong().map_err(failed("check", path))? {
        // A line of the log, or of systemd's, is one line.
        Some(why) => Err(JournalError::Damaged { path: path.to_owned(), why: why.replace('\n', " ") }),
        None => Ok(()),
    }
}

/// Whether closing may write the log into the file. Not before the file is known to be sound.
pub(super) fn may_change_at_close(connection: &Connection, may: bool) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, !may).map(drop)
}
