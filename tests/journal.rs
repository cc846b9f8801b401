//! What every journal must do. One suite, for each store.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::time::Duration;

use backup_core::retry::{Class, RetryPolicy};
use backup_core::run::{Policy, Poll, Reply, Sighting, Skip, State, WhenFull};
use backup_core::selection::Member;
use backup_core::{DiskId, JobName, Now, Run};
use cbs_backupd::journal::{
    Answer, Change, FILE, Filter, Inventory, Journal, Request, Row, Sqlite, Stage, Store, Subject, Watermark,
};
use jiff::Timestamp;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn now(second: i64) -> Now {
    Now { wall: at(second), epoch: 1, up: Duration::from_secs(second.unsigned_abs()), started: at(0) }
}

fn row(run: &str, start_at: i64) -> Row {
    let policy = Policy {
        start_within: Duration::from_secs(3600),
        complete_within: Duration::from_secs(3600),
        settle: Duration::from_secs(60),
        when_full: WhenFull::Wait,
    };
    let run = Run::planned(run.parse().unwrap(), at(start_at), policy);
    Row {
        run,
        target: "default".parse().unwrap(),
        owner: "ops1".parse().unwrap(),
        began_at: None,
        ended_at: None,
        version: 0,
    }
}

/// On a file and in memory.
fn stores() -> Vec<(Box<dyn Store>, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().unwrap();
    let file = Sqlite::open(&folder.path().join("journal.sqlite3")).unwrap();
    vec![(Box::new(file), Some(folder)), (Box::new(Sqlite::in_memory().unwrap()), None)]
}

fn found(store: &dyn Store, stage: Stage, second: i64) -> Vec<Row> {
    let found = store.to_attend(&"default".parse().unwrap(), stage, at(second), 100, &|_| false).unwrap();
    assert!(found.unreadable.is_empty());
    found.runs.into_iter().map(|(row, _)| row).collect()
}

fn begin(run: Run, second: i64) -> Change {
    Change::Begin { run, attend_at: at(second), now: at(second) }
}

const RUN: &str = "db/disk-1a2b3c4d/19700101T000010Z";
const OTHER: &str = "web/disk-1a2b3c4d/19700101T000010Z";

#[test]
fn a_run_is_found_when_it_wants_attention_and_not_before() {
    for (mut store, _folder) in stores() {
        assert_eq!(
            store.apply(&[Change::Ask(row(RUN, 20)), Change::Ask(row(RUN, 30))]).unwrap(),
            [true, false]
        );
        assert!(found(&*store, Stage::Waiting, 19).is_empty());
        let rows = found(&*store, Stage::Waiting, 20);
        assert_eq!(rows, [row(RUN, 20)]);
        store.apply(&[Change::Attend(vec![(rows[0].clone(), at(50))])]).unwrap();
        assert!(found(&*store, Stage::Waiting, 49).is_empty());
        assert_eq!(found(&*store, Stage::Waiting, 50).len(), 1);
    }
}

/// A task reads a run, and before it has written that the run may wait, the run moves on, or is woken.
#[test]
fn a_hint_of_yesterday_does_not_put_off_a_run_that_has_moved_on() {
    for (mut store, _folder) in stores() {
        store.apply(&[Change::Ask(row(RUN, 20))]).unwrap();
        let read = found(&*store, Stage::Waiting, 20).remove(0);
        store.apply(&[Change::AttendToAll]).unwrap();
        store.apply(&[Change::Attend(vec![(read, at(1000))])]).unwrap();
        let read = found(&*store, Stage::Waiting, 21).remove(0);

        let begun = read.run.clone().begin(&now(21)).unwrap();
        assert_eq!(store.apply(&[begin(begun, 21)]).unwrap(), [true]);
        let read = found(&*store, Stage::Unresolved, 22).remove(0);
        let saved = Change::Save { run: read.run.clone(), attend_at: at(24), now: at(22) };
        store.apply(&[saved, Change::Attend(vec![(read, at(1000))])]).unwrap();
        assert_eq!(found(&*store, Stage::Unresolved, 24).len(), 1);
    }
}

#[test]
fn two_runs_never_hold_one_disk() {
    for (mut store, _folder) in stores() {
        store.apply(&[Change::Ask(row(RUN, 20)), Change::Ask(row(OTHER, 20))]).unwrap();
        let mut rows = found(&*store, Stage::Waiting, 20);
        let second = rows.remove(1).run.begin(&now(20)).unwrap();
        let first = rows.remove(0).run.begin(&now(20)).unwrap();
        let both = [begin(first, 20), begin(second, 20)];
        assert_eq!(store.apply(&both).unwrap(), [true, false]);
        assert_eq!(found(&*store, Stage::Unresolved, 21).len(), 1);
    }
}

#[test]
fn what_holds_a_run_is_found_with_it() {
    const NEXT: &str = "db/disk-1a2b3c4d/19700101T000030Z";
    // Of `RUN` in second 40: busy, superseded, paused.
    let facts = |store: &dyn Store| {
        let found =
            store.to_attend(&"default".parse().unwrap(), Stage::Waiting, at(40), 100, &|_| false).unwrap();
        let (_, facts) = found.runs.iter().find(|(row, _)| row.run.id.to_string() == RUN).unwrap();
        (facts.disk_busy, facts.superseded, facts.paused)
    };
    for (mut store, _folder) in stores() {
        store.apply(&[Change::Ask(row(RUN, 20)), Change::Ask(row(OTHER, 20))]).unwrap();
        assert_eq!(facts(&*store), (false, false, false));
        // Another job's backup of the disk.
        let other = row(OTHER, 20).run.begin(&now(20)).unwrap();
        store.apply(&[begin(other.clone(), 20)]).unwrap();
        assert_eq!(facts(&*store), (true, false, false));
        let other = other.reply(
            &now(30),
            Reply::Accepted("dbp-1a2b3c4d".parse().unwrap()),
            0,
            &RetryPolicy::default(),
        );
        let other = other.unwrap().polled(&now(35), Poll::Seen(Sighting::Normal)).unwrap();
        store.apply(&[Change::Save { run: other, attend_at: at(35), now: at(35) }]).unwrap();
        assert_eq!(facts(&*store), (false, false, false));
        // The job's own next run, once it has come to its start.
        store.apply(&[Change::Ask(row(NEXT, 41))]).unwrap();
        assert_eq!(facts(&*store), (false, false, false));
        let earlier = "db/disk-1a2b3c4d/19700101T000031Z";
        store.apply(&[Change::Ask(row(earlier, 40))]).unwrap();
        assert_eq!(facts(&*store), (false, true, false));
        store.apply(&[Change::Pause(Subject::Job("db".parse().unwrap()), at(40))]).unwrap();
        assert_eq!(facts(&*store), (false, true, true));
    }
}

#[test]
fn an_ended_run_is_told_once_and_changes_no_more() {
    for (mut store, _folder) in stores() {
        store.apply(&[Change::Ask(row(RUN, 20))]).unwrap();
        let mut run = found(&*store, Stage::Waiting, 20).remove(0).run;
        run.state = State::Completed { backup: "dbp-1".parse().unwrap(), late: false };
        let save = Change::Save { run: run.clone(), attend_at: at(0), now: at(30) };
        assert_eq!(store.apply(&[save.clone(), save]).unwrap(), [true, false]);
        assert_eq!(store.unreported(10).unwrap().len(), 1);
        store.apply(&[Change::Reported(vec![run.id])]).unwrap();
        assert!(store.unreported(10).unwrap().is_empty());
    }
}

/// A run of this due instant, ended at once.
fn ended(store: &mut dyn Store, due: i64, state: State) {
    let mut row = row("db/disk-1a2b3c4d/19700101T000000Z", due);
    row.run.id.due = at(due);
    let mut run = row.run.clone();
    run.state = state;
    let save = Change::Save { run: run.clone(), attend_at: at(0), now: at(due + 5) };
    store.apply(&[Change::Ask(row), save, Change::Reported(vec![run.id])]).unwrap();
}

#[test]
fn old_runs_are_forgotten_save_the_last_good_one_and_what_came_after() {
    for (mut store, _folder) in stores() {
        let good =
            |number| State::Completed { backup: format!("dbp-{number}").parse().unwrap(), late: false };
        ended(&mut *store, 10, good(1));
        ended(&mut *store, 20, State::Skipped { why: Skip::Late });
        ended(&mut *store, 30, good(2));
        ended(&mut *store, 40, State::Skipped { why: Skip::Late });
        let dues = |store: &dyn Store| -> Vec<i64> {
            let all = Filter { limit: 10, ..Filter::default() };
            store.history(&all).unwrap().iter().map(|row| row.run.id.due.as_second()).collect()
        };
        assert_eq!(store.apply(&[Change::Compact { before: at(15) }]).unwrap(), [false], "it ended at 15");
        assert_eq!(store.apply(&[Change::Compact { before: at(16) }]).unwrap(), [true]);
        assert_eq!(dues(&*store), [40, 30, 20]);
        assert_eq!(store.apply(&[Change::Compact { before: at(1000) }]).unwrap(), [true]);
        assert_eq!(dues(&*store), [40, 30]);
        assert_eq!(store.apply(&[Change::Compact { before: at(1000) }]).unwrap(), [false]);
    }
}

#[test]
fn a_plan_by_a_schedule_that_is_no_longer_in_force_is_left_out() {
    for (mut store, _folder) in stores() {
        let mark = |schedule: &str, through| Watermark {
            job: "db".parse().unwrap(),
            disk: "disk-1a2b3c4d".parse().unwrap(),
            schedule: schedule.to_owned(),
            planned_through: at(through),
            next_due: Some(at(through + 10)),
        };
        let plan = |schedule| Change::Plan { rows: vec![row(RUN, 20)], watermark: mark(schedule, 10) };
        // Of a job that a reload has removed, or changed, while it was computed.
        assert_eq!(store.apply(&[plan("old")]).unwrap(), [false]);
        store.apply(&[Change::Watermarks(vec![mark("new", 0)])]).unwrap();
        assert_eq!(store.apply(&[plan("old")]).unwrap(), [false]);
        assert_eq!(store.watermarks().unwrap(), [mark("new", 0)]);
        assert!(found(&*store, Stage::Waiting, 100).is_empty());
        assert_eq!(store.apply(&[plan("new")]).unwrap(), [true]);
        assert_eq!(store.watermarks().unwrap(), [mark("new", 10)]);
        assert_eq!(found(&*store, Stage::Waiting, 100).len(), 1);
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_written_does_not_hold_up_those_that_come_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let beside = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
    let never = "CREATE TRIGGER never BEFORE INSERT ON pauses WHEN NEW.name = 'poisoned'
                 BEGIN SELECT RAISE(ABORT, 'never'); END";
    beside.execute_batch(never).unwrap();
    let pause = |job: &str| journal.write(Change::Pause(Subject::Job(job.parse().unwrap()), at(0)));
    // While the first is written, the others gather, and go together.
    let (first, poisoned, sound) = tokio::join!(pause("first"), pause("poisoned"), pause("sound"));
    assert!(first.unwrap() && sound.unwrap());
    assert!(poisoned.is_err());
    assert_eq!(journal.read(|store| store.pauses()).await.unwrap().len(), 2);
}

#[test]
fn epochs_are_never_used_twice_and_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite3");
    let first = Sqlite::open(&path).unwrap().begin_epoch().unwrap();
    assert!(Sqlite::open(&path).unwrap().begin_epoch().unwrap() > first);
}

#[test]
fn the_inventory_is_as_it_was_listed_last() {
    let member = |missing| Member { instance: Some("ins-1".parse().unwrap()), missing };
    let (db, one, two): (JobName, DiskId, DiskId) =
        ("db".parse().unwrap(), "disk-1".parse().unwrap(), "disk-2".parse().unwrap());
    let listed =
        |target: &str, selection: &str, changed: &[(&DiskId, Member)], left: &[&DiskId]| Change::Listed {
            job: db.clone(),
            target: target.parse().unwrap(),
            selection: selection.to_owned(),
            changed: changed.iter().map(|(disk, member)| ((*disk).clone(), member.clone())).collect(),
            left: left.iter().map(|disk| (*disk).clone()).collect(),
            at: at(5),
        };
    for (mut store, _folder) in stores() {
        assert_eq!(store.held(&db).unwrap(), None);
        store
            .apply(&[listed(
                "a",
                "x",
                &[(&one, member(0)), (&two, Member { instance: None, missing: 0 })],
                &[],
            )])
            .unwrap();
        store.apply(&[listed("b", "y", &[(&one, member(2))], &[&two])]).unwrap();
        let held = store.held(&db).unwrap().unwrap();
        assert_eq!((held.target.as_str(), &*held.selection), ("b", "y"));
        assert_eq!(held.disks, [(one.clone(), member(2))].into());
        assert_eq!(store.inventory().unwrap().jobs, [(db.clone(), held)].into());
        store.apply(&[Change::Unlist(vec![db.clone()])]).unwrap();
        assert_eq!(store.inventory().unwrap(), Inventory::default());
        // Of a job that was not listed there is no disk, though it comes back.
        store.apply(&[listed("a", "x", &[], &[])]).unwrap();
        assert!(store.held(&db).unwrap().unwrap().disks.is_empty());
    }
}

#[test]
fn a_higher_priority_goes_first_but_after_what_was_begun() {
    let of = |job: &str, disk: u32, start: i64| row(&format!("{job}/disk-{disk}/19700101T000010Z"), start);
    for (mut store, _folder) in stores() {
        let ranks = [("high", 1), ("low", -1)].map(|(job, rank)| (job.parse().unwrap(), rank));
        store.apply(&[Change::Priorities(ranks.into())]).unwrap();
        let rows =
            [of("low", 1, 11), of("usual", 2, 12), of("high", 3, 14), of("high", 4, 13), of("low", 5, 20)];
        store.apply(&rows.map(Change::Ask)).unwrap();
        // The last one was tried and put off.
        let begun = found(&*store, Stage::Waiting, 20).pop().unwrap().run.begin(&now(20)).unwrap();
        assert_eq!(begun.id.disk.as_str(), "disk-5");
        let busy = Reply::Setback {
            class: Class::Busy,
            code: None,
            unknown: false,
            sign_of_ours: false,
            hint: None,
        };
        let put_off = begun.clone().reply(&now(21), busy, 0, &RetryPolicy::default()).unwrap();
        store
            .apply(&[begin(begun, 20), Change::Save { run: put_off, attend_at: at(25), now: at(21) }])
            .unwrap();
        let order = |store: &dyn Store| -> Vec<String> {
            found(store, Stage::Waiting, 30).iter().map(|row| row.run.id.disk.to_string()).collect()
        };
        assert_eq!(order(&*store), ["disk-5", "disk-4", "disk-3", "disk-2", "disk-1"]);
        store.apply(&[Change::Priorities(Vec::new())]).unwrap();
        assert_eq!(order(&*store), ["disk-5", "disk-1", "disk-2", "disk-4", "disk-3"]);
    }
}

#[test]
fn an_answer_that_was_read_is_forgotten() {
    for (mut store, _folder) in stores() {
        let body = Request::Inspect { jobs: Vec::new() };
        store.apply(&[Change::Request { request_id: "once".to_owned(), body, made_at: at(1) }]).unwrap();
        let number = store.request_number("once").unwrap().unwrap();
        store.apply(&[Change::Answer(number, Answer::Fleet { jobs: Vec::new() })]).unwrap();
        assert_eq!(store.answer(number).unwrap(), Some(Answer::Fleet { jobs: Vec::new() }));
        store.apply(&[Change::Heard(number)]).unwrap();
        assert_eq!((store.answer(number).unwrap(), store.request_number("once").unwrap()), (None, None));
    }
}

#[tokio::test]
async fn work_that_panics_is_reported_and_the_next_is_done() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let panicked = journal.read(|_| -> Result<(), _> { panic!("as the test wants it") }).await;
    assert!(panicked.is_err());
    assert!(journal.read(|store| store.watermarks()).await.unwrap().is_empty());
    journal.write(Change::CaughtUp).await.unwrap();
}
