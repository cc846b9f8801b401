use std::time::Duration;

use jiff::Timestamp;

use super::*;
use crate::run::{Failure, Policy, WhenFull};

const NAME: &str = "ops1_db_20261124T183000Z";
const EARLIER: &str = "ops1_db_20261123T183000Z";

fn listed(backup: &str, name: &str, normal: bool) -> Listed {
    let sighting = if normal { Sighting::Normal } else { Sighting::Unfinished };
    Listed { backup: backup.parse().unwrap(), name: name.to_owned(), sighting }
}

fn id(name: &str) -> RunId {
    name.parse::<BackupName>().unwrap().run_on(disk())
}

fn disk() -> DiskId {
    "disk-1a2b3c4d".parse().unwrap()
}

fn known(name: &str, state: State, attempts: u32) -> Known {
    let policy = Policy {
        start_within: Duration::from_secs(3600),
        complete_within: Duration::from_secs(3600),
        settle: Duration::from_secs(300),
        when_full: WhenFull::Wait,
    };
    let run = Run { state, attempts, ..Run::planned(id(name), Timestamp::UNIX_EPOCH, policy) };
    Known { run, missing: 0 }
}

fn completed(backup: &str) -> State {
    State::Completed { backup: backup.parse().unwrap(), late: false }
}

fn failed() -> State {
    State::Failed { why: Failure::OutcomeUnknown, backup: None }
}

fn absent() -> State {
    State::Absent { retry_at: Timestamp::UNIX_EPOCH, full: None }
}

fn found(listed: &[Listed], known: &[Known]) -> Vec<Finding> {
    compare(&"ops1".parse().unwrap(), &disk(), listed, known)
}

#[test]
fn what_agrees_and_what_is_not_ours_is_no_finding() {
    let listing = [
        listed("dbp-3", "ops2_db_20261124T183000Z", true),
        listed("dbp-2", "before the upgrade", true),
        listed("dbp-1", NAME, true),
    ];
    assert_eq!(found(&listing, &[known(NAME, completed("dbp-1"), 1)]), []);
    assert_eq!(found(&listing[..2], &[known(NAME, failed(), 1)]), []);
}

#[test]
fn a_backup_whose_run_nobody_knows_is_of_an_earlier_journal() {
    let listing = [listed("dbp-2", NAME, false), listed("dbp-1", EARLIER, true)];
    let (backup, sighting) = ("dbp-1".parse().unwrap(), Sighting::Normal);
    let earlier = Finding::Unknown { run: id(EARLIER), backup, sighting };
    let (backup, sighting) = ("dbp-2".parse().unwrap(), Sighting::Unfinished);
    assert_eq!(found(&listing, &[]), [earlier, Finding::Unknown { run: id(NAME), backup, sighting }]);
}

#[test]
fn a_run_that_waits_or_has_failed_gets_its_backup() {
    let (backup, sighting): (BackupId, _) = ("dbp-1".parse().unwrap(), Sighting::Normal);
    let normal = [listed("dbp-1", NAME, true)];
    let adopted = Finding::Adopted { run: id(NAME), backup: backup.clone(), sighting };
    for waiting in [State::PLANNED, absent()] {
        assert_eq!(found(&normal, &[known(NAME, waiting, 1)]), vec![adopted.clone()]);
    }
    assert_eq!(found(&normal, &[known(NAME, failed(), 1)]), [Finding::Late { run: id(NAME), backup }]);
    // Not NORMAL, it does not count yet.
    assert_eq!(found(&[listed("dbp-1", NAME, false)], &[known(NAME, failed(), 1)]), []);
}

#[test]
fn of_twins_one_goes_only_if_it_is_surely_ours_and_both_are_good() {
    let twins = |newer, older| [listed("dbp-2", NAME, newer), listed("dbp-1", NAME, older)];
    let twin = |removable| Finding::Twin { run: id(NAME), other: "dbp-2".parse().unwrap(), removable };
    let ours = |attempts| [known(NAME, completed("dbp-1"), attempts)];
    assert_eq!(found(&twins(true, true), &ours(2)), [twin(true)]);
    assert_eq!(found(&twins(false, true), &ours(2)), [twin(false)]);
    assert_eq!(found(&twins(true, false), &ours(2)), [twin(false)]);
    // The journal names the newer one: the older is the other.
    let other = Finding::Twin { run: id(NAME), other: "dbp-1".parse().unwrap(), removable: true };
    assert_eq!(found(&twins(true, true), &[known(NAME, completed("dbp-2"), 2)]), [other]);
    // One attempt does not make two: somebody else did.
    let conflict = Finding::Conflict { run: id(NAME), other: "dbp-2".parse().unwrap() };
    assert_eq!(found(&twins(true, true), &ours(1)), [conflict]);
    // Of a run that nobody knows the older good one is taken, and the other left alone.
    let unknown = found(&twins(true, true), &[]);
    assert_eq!(unknown[1], twin(false));
    // The journal's own is missing: nothing is removed.
    let gone = found(&twins(true, true)[..1], &ours(2));
    assert!(gone.contains(&twin(false)), "{gone:?}");
}

#[test]
fn what_is_missing_is_counted_and_the_last_good_one_is_told_apart() {
    let rows = [known(NAME, completed("dbp-2"), 1), known(EARLIER, completed("dbp-1"), 1)];
    let missing = |run, backup: &str, last_good| Finding::Missing {
        run,
        backup: backup.parse().unwrap(),
        times: 1,
        last_good,
    };
    assert_eq!(found(&[listed("dbp-2", NAME, true)], &rows), [missing(id(EARLIER), "dbp-1", false)]);
    assert_eq!(found(&[], &rows), [missing(id(NAME), "dbp-2", true), missing(id(EARLIER), "dbp-1", true)]);
    let back = Known { missing: 2, ..rows[0].clone() };
    assert_eq!(found(&[listed("dbp-2", NAME, true)], &[back]), [Finding::Back { run: id(NAME) }]);
}
