//! A journal that is damaged, or is none: what is wrong is said before a byte of it is changed, and where it is safe
//! the daemon goes on by itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rusqlite::Connection;

use crate::process::{Setup, World, disk, refusal};

const PAGE: usize = 4096;

/// A world with backups in its cloud, the runs of which are in the journal of a daemon that has stopped.
fn lived() -> World {
    let world = World::new(Setup { disks: 2, ..Setup::default() });
    assert_eq!(world.run(&["backup", &disk(0), &disk(1)]).status.code(), Some(0));
    assert_eq!(world.copies(), [1, 1]);
    world
}

/// A world with the journal of such a one.
fn used() -> World {
    static JOURNAL: LazyLock<Vec<u8>> = LazyLock::new(|| fs::read(journal(&lived())).unwrap());
    let world = World::new(Setup { disks: 2, ..Setup::default() });
    fs::create_dir(world.state_dir()).unwrap();
    fs::write(journal(&world), &*JOURNAL).unwrap();
    world
}

fn journal(world: &World) -> PathBuf {
    world.state_dir().join("journal.sqlite3")
}

fn log_of(journal: &Path) -> PathBuf {
    journal.with_extension("sqlite3-wal")
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// The files that make up the journal, byte for byte. The rest is made anew at each start.
fn bytes(world: &World) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = fs::read_dir(world.state_dir()).unwrap().map(|entry| entry.unwrap().path());
    let kept = |path: &PathBuf| {
        path.is_file() && !path.ends_with("lock") && !path.to_string_lossy().ends_with("-shm")
    };
    let read: Vec<_> = files.filter(kept).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    read.into_iter().filter(|(_, bytes)| !bytes.is_empty()).collect()
}

/// The daemon says these things and where, and leaves every byte as it is.
fn refuses(world: &World, says: &[&str]) {
    let before = bytes(world);
    let (code, said) = refusal(world.command(&["run", "--log-format", "json"]));
    assert_eq!(code, Some(74), "{said}");
    let journal = journal(world).display().to_string();
    for word in says.iter().chain(&[journal.as_str()]) {
        assert!(said.lines().last().unwrap().contains(word), "`{word}` is not in: {said}");
    }
    assert!(bytes(world) == before, "bytes have changed: {said}");
}

/// What a damaged journal is to be treated with.
const REMEDY: &str = "docs/journal.md";

#[test]
fn a_truncated_journal_is_refused() {
    let world = used();
    change(&journal(&world), |bytes| bytes.truncate(bytes.len() / 2));
    refuses(&world, &["damaged", REMEDY]);
}

#[test]
fn garbage_is_refused() {
    let world = used();
    change(&journal(&world), |bytes| bytes.fill(b'x'));
    refuses(&world, &["not a database", REMEDY]);
}

#[test]
fn a_page_of_garbage_is_refused() {
    let world = used();
    change(&journal(&world), |bytes| bytes[PAGE * 3..PAGE * 4].fill(0xa5));
    refuses(&world, &["damaged", REMEDY]);
}

/// As a disk leaves it that has lost one write: each page is sound by itself, and a run is missing from an index.
#[test]
fn a_page_of_yesterday_is_refused() {
    let world = used();
    let yesterday = fs::read(journal(&world)).unwrap();
    assert_eq!(world.run(&["backup", &disk(0)]).status.code(), Some(0));
    let page = page_of(&journal(&world), "runs_by_due");
    change(&journal(&world), |bytes| bytes[page.clone()].copy_from_slice(&yesterday[page]));
    refuses(&world, &["damaged", "runs_by_due", REMEDY]);
}

/// Makes a journal too large to be checked whole at the start.
fn enlarge(journal: &Path) {
    let connection = Connection::open(journal).unwrap();
    let fill = "INSERT INTO policies (body) VALUES (printf('{\"n\":%d}%.*c', ?1, 8000000, ' '))";
    for number in 0..9 {
        connection.execute(fill, [number]).unwrap();
    }
}

/// Where a page of an index lies in the file.
fn page_of(journal: &Path, index: &str) -> std::ops::Range<usize> {
    let sql = "SELECT rootpage FROM sqlite_schema WHERE name = ?1";
    let root: u32 = Connection::open(journal).unwrap().query_row(sql, [index], |row| row.get(0)).unwrap();
    let root = usize::try_from(root).unwrap();
    PAGE * (root - 1)..PAGE * root
}

#[test]
fn a_large_journal_that_has_lost_its_end_is_refused() {
    let world = used();
    enlarge(&journal(&world));
    change(&journal(&world), |bytes| bytes.truncate(bytes.len() / 2));
    refuses(&world, &["damaged", REMEDY]);
}

/// A run is under way, and the index that its task finds it by has lost the write that says so.
#[test]
fn a_large_journal_that_hides_a_run_under_way_is_refused() {
    for index in ["runs_to_attend", "runs_of_disk"] {
        let world = used();
        enlarge(&journal(&world));
        let before = fs::read(journal(&world)).unwrap();
        let connection = Connection::open(journal(&world)).unwrap();
        let revive = "UPDATE runs SET state = 'tracking', attend_at = 0, ended_at = NULL WHERE disk = ?1";
        assert_eq!(connection.execute(revive, [disk(0)]).unwrap(), 1);
        drop(connection);
        let page = page_of(&journal(&world), index);
        change(&journal(&world), |bytes| bytes[page.clone()].copy_from_slice(&before[page]));
        refuses(&world, &["damaged", &disk(0), index, REMEDY]);
    }
}

/// What the start of a large journal leaves is found beside the daemon, which ends; and no other starts.
#[test]
fn a_page_of_yesterday_in_a_large_journal_is_found_beside_the_daemon() {
    let world = used();
    enlarge(&journal(&world));
    let yesterday = fs::read(journal(&world)).unwrap();
    assert_eq!(world.run(&["backup", &disk(0)]).status.code(), Some(0));
    let page = page_of(&journal(&world), "runs_by_due");
    change(&journal(&world), |bytes| bytes[page.clone()].copy_from_slice(&yesterday[page]));
    let mut daemon = world.daemon();
    let said = daemon.until("journal.damaged")["message"].to_string();
    assert!(said.contains("runs_by_due") && said.contains(&disk(0)), "{said}");
    daemon.until("daemon.stopping");
    assert_eq!(daemon.exit_code(), Some(74));
    refuses(&world, &["damaged", "runs_by_due", "sqlite3-damaged", REMEDY]);

    // Moved away as docs/journal.md says, and started anew.
    for file in bytes(&world).into_keys() {
        fs::remove_file(file).unwrap();
    }
    world.daemon();
}

#[test]
fn a_journal_of_a_newer_program_is_refused() {
    let world = used();
    Connection::open(journal(&world)).unwrap().pragma_update(None, "user_version", 99).unwrap();
    refuses(&world, &["format 99", "use the program that wrote it"]);
}

#[test]
fn the_database_of_another_program_is_refused() {
    for version in [0, 1] {
        let world = used();
        fs::remove_file(journal(&world)).unwrap();
        let other = Connection::open(journal(&world)).unwrap();
        other.execute_batch("CREATE TABLE things (name TEXT)").unwrap();
        other.pragma_update(None, "user_version", version).unwrap();
        drop(other);
        refuses(&world, &["another program", "`state_dir`"]);
    }
}

#[test]
fn a_folder_in_its_place_is_refused() {
    let world = used();
    fs::remove_file(journal(&world)).unwrap();
    fs::create_dir(journal(&world)).unwrap();
    refuses(&world, &["expected a file"]);
}

/// SQLite would take the write-ahead log for nobody's, and delete it.
#[test]
fn a_journal_that_has_lost_all_but_its_log_is_refused() {
    for lose in [|path: &Path| fs::remove_file(path), |path: &Path| fs::write(path, "")] {
        let world = World::new(Setup::default());
        let mut daemon = world.daemon();
        world.json(&["backup", &disk(0), "--json"]);
        daemon.signal("KILL");
        daemon.exit_code();
        lose(&journal(&world)).unwrap();
        refuses(&world, &["-wal", REMEDY]);
    }
}

/// Nothing is lost with an empty file: it is as good as none, and the runs come back from the cloud.
#[test]
fn an_empty_file_becomes_a_journal() {
    let world = lived();
    fs::write(journal(&world), "").unwrap();
    let mut daemon = world.daemon();
    let adopted = [daemon.until("backup.adopted"), daemon.until("backup.adopted")];
    assert!(adopted[0]["disk_id"] != adopted[1]["disk_id"]);
    assert_eq!(world.json(&["history", "--json"]).as_array().unwrap().len(), 2);
    assert_eq!(world.copies(), [1, 1]);
}

/// The machine died while the end of the log was being written: what was not durable never was.
#[test]
fn a_torn_log_is_read_up_to_the_tear() {
    let tears: [fn(&mut Vec<u8>); 3] = [
        |bytes| bytes.truncate(bytes.len() - 100),
        |bytes| bytes.extend([0xa5; PAGE]),
        |bytes| bytes.iter_mut().rev().take(PAGE / 2).for_each(|byte| *byte = !*byte),
    ];
    for tear in tears {
        let world = World::new(Setup::default());
        let mut daemon = world.daemon();
        let run = world.json(&["backup", &disk(0), "--json"]);
        daemon.signal("KILL");
        daemon.exit_code();
        change(&log_of(&journal(&world)), tear);

        let mut daemon = world.daemon();
        let again = world.json(&["history", "--json"]);
        assert_eq!(again[0]["run"], run[0]["run"]);
        // Another backup is made, and the first one is not made again.
        let second = world.json(&["backup", &disk(0), "--json"]);
        assert_eq!(second[0]["state"], "completed", "{second}");
        assert_eq!(world.copies(), [2]);
        daemon.signal("TERM");
        assert_eq!(daemon.exit_code(), Some(0));
    }
}

/// As docs/journal.md tells people to.
#[test]
fn a_copy_made_beside_the_daemon_can_be_put_back() {
    let world = World::new(Setup::default());
    let copy = world.folder.path().join("copy.sqlite3");
    let mut daemon = world.daemon();
    let known = world.json(&["backup", &disk(0), "--json"]);
    let beside = Connection::open(journal(&world)).unwrap();
    beside.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
    drop(beside);
    let later = world.json(&["backup", &disk(0), "--json"]);
    daemon.signal("TERM");
    assert_eq!(daemon.exit_code(), Some(0));

    fs::rename(&copy, journal(&world)).unwrap();
    let mut daemon = world.daemon();
    assert_eq!(daemon.until("backup.adopted")["run"], later[0]["run"]);
    let history = world.json(&["history", "--json"]);
    let backups: Vec<_> = history.as_array().unwrap().iter().map(|run| &run["backup_id"]).collect();
    assert_eq!(backups, [&later[0]["backup_id"], &known[0]["backup_id"]]);
    assert_eq!(world.copies(), [2]);
}
