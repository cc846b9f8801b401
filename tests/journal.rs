//! What every journal must do. One suite, for each store.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::path::Path;
use std::time::Duration;

use backup_core::freshness::Ended;
use backup_core::restore::{self, Restore};
use backup_core::retention::PointId;
use backup_core::retry::{Class, RetryPolicy};
use backup_core::run::{Freed, Policy, Poll, Reply, Room, Sighting, Skip, State, WhenFull};
use backup_core::selection::Member;
use backup_core::{DiskId, JobName, Now, Run};
use cbs_backupd::journal::{
    Answer, Asked, Change, FILE, Filter, Inventory, Journal, Request, RestoreRow, Row, SeenShelf, Sqlite,
    Stage, Standing, Store, Subject, ToAttend, Watermark,
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

fn to_attend(store: &dyn Store, stage: Stage, second: i64) -> ToAttend {
    let asked = Asked { target: "default".parse().unwrap(), stage, limit: 100 };
    store.to_attend(&[asked], at(second), &|_, _| false).unwrap().remove(0)
}

fn found(store: &dyn Store, stage: Stage, second: i64) -> Vec<Row> {
    let found = to_attend(store, stage, second);
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
        let found = to_attend(store, Stage::Waiting, 40);
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
fn the_history_of_a_disk_is_that_of_all_its_jobs_the_latest_first() {
    for (mut store, _folder) in stores() {
        let other_disk = "db/disk-5e6f7a8b/19700101T000030Z";
        for run in [RUN, OTHER, "web/disk-1a2b3c4d/19700101T000020Z", other_disk] {
            store.apply(&[Change::Ask(row(run, 10))]).unwrap();
        }
        let runs = |filter: Filter| -> Vec<String> {
            store.history(&filter).unwrap().iter().map(|row| row.run.id.to_string()).collect()
        };
        let disk = Some("disk-1a2b3c4d".parse().unwrap());
        let of_disk = Filter { disk: disk.clone(), limit: 10, ..Filter::default() };
        assert_eq!(runs(of_disk.clone()), ["web/disk-1a2b3c4d/19700101T000020Z", RUN, OTHER]);
        assert_eq!(runs(Filter { limit: 1, ..of_disk.clone() }), ["web/disk-1a2b3c4d/19700101T000020Z"]);
        assert_eq!(runs(Filter { job: Some("db".parse().unwrap()), ..of_disk }), [RUN]);
        assert!(
            runs(Filter { disk: Some("disk-none".parse().unwrap()), limit: 10, ..Filter::default() })
                .is_empty()
        );
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

fn a_restore(number: i64, disk: &str) -> RestoreRow {
    let restore = Restore {
        disk: disk.parse().unwrap(),
        backup: "dbp-1".parse().unwrap(),
        auto_stop: true,
        auto_start: false,
        attempts: 0,
        state: restore::State::ASKED,
    };
    RestoreRow { number, restore, target: "default".parse().unwrap(), asked_at: at(10), ended_at: None }
}

fn begun(row: &RestoreRow) -> RestoreRow {
    RestoreRow { restore: row.restore.clone().begin(&now(20)), ..row.clone() }
}

/// Backups and rollbacks of a disk keep out of each other's way where their intents are written.
#[test]
fn a_run_and_a_restore_never_hold_one_disk_at_once_nor_do_two_restores() {
    const DISK: &str = "disk-1a2b3c4d";
    for (mut store, _folder) in stores() {
        let (first, second, elsewhere) = (a_restore(1, DISK), a_restore(2, DISK), a_restore(3, "disk-2"));
        let asked = [&first, &second, &elsewhere, &first].map(|row| Change::AskRestore(row.clone()));
        assert_eq!(store.apply(&asked).unwrap(), [true, true, true, false]);
        assert_eq!(store.restore(1).unwrap(), Some(first.clone()));
        store.apply(&[Change::Ask(row(RUN, 20))]).unwrap();
        let run = found(&*store, Stage::Waiting, 20).remove(0).run;

        // While a backup is made no disk is put back.
        let attempt = run.begin(&now(20)).unwrap();
        store.apply(&[begin(attempt.clone(), 20)]).unwrap();
        let under_way = store.under_way(&DISK.parse().unwrap()).unwrap().unwrap();
        assert!(under_way.contains(RUN), "{under_way}");
        let both = [Change::BeginRestore(begun(&first)), Change::BeginRestore(begun(&elsewhere))];
        assert_eq!(store.apply(&both).unwrap(), [false, true]);

        // And while it is put back no backup of it is made, nor another rollback.
        let absent = attempt.withdraw(&now(21)).unwrap();
        let saved = Change::Save { run: absent.clone(), attend_at: at(21), now: at(21) };
        let rolling = [saved, Change::BeginRestore(begun(&first)), Change::BeginRestore(begun(&second))];
        assert_eq!(store.apply(&rolling).unwrap(), [true, true, false]);
        assert!(to_attend(&*store, Stage::Waiting, 30).runs[0].1.disk_busy);
        let again = absent.begin(&now(30)).unwrap();
        assert_eq!(store.apply(&[begin(again.clone(), 30)]).unwrap(), [false]);

        // What was begun is not begun again, and what has ended stays so.
        assert_eq!(store.apply(&[Change::BeginRestore(begun(&first))]).unwrap(), [false]);
        let state = restore::State::Completed;
        let restore = Restore { state, ..begun(&first).restore };
        let ended = RestoreRow { restore, ended_at: Some(at(40)), ..first };
        let twice = [Change::SaveRestore(ended.clone()), Change::SaveRestore(begun(&ended))];
        assert_eq!(store.apply(&twice).unwrap(), [true, false]);
        assert_eq!(store.restore(1).unwrap(), Some(ended));
        assert_eq!(store.apply(&[begin(again, 41)]).unwrap(), [true]);

        // It is found until its end was told.
        let open = |store: &dyn Store| -> Vec<i64> {
            store.open_restores().unwrap().iter().map(|row| row.number).collect()
        };
        assert_eq!(open(&*store), [1, 2, 3]);
        store.apply(&[Change::RestoreReported(1), Change::RestoreReported(2)]).unwrap();
        assert_eq!(open(&*store), [2, 3]);
    }
}

/// A run of `RUN`'s disk that was refused for a full quota in second 30, and what makes room for it.
fn making_room(run: &str, room: Room) -> (Run, Run) {
    let full = Reply::Setback {
        class: backup_core::retry::Class::Quota,
        code: None,
        unknown: false,
        sign_of_ours: false,
        hint: None,
    };
    let retry = RetryPolicy::default();
    let begun = row(run, 20).run.begin(&now(20)).unwrap();
    let refused = begun.reply(&now(30), full, 0, &retry).unwrap();
    (refused.clone(), refused.make_room(&now(31), room, 0, &retry).unwrap())
}

#[test]
fn room_is_made_by_one_run_of_a_disk_and_its_intent_its_gap_and_its_end_are_written_with_it() {
    const OLD: &str = "db/disk-1a2b3c4d/19700101T000001Z";
    let point = PointId::Backup("dbp-old".parse().unwrap());
    let delete = || Room::Delete {
        point: "dbp-old".parse().unwrap(),
        of: OLD.parse().unwrap(),
        why: Freed::Rotated,
        left: 0,
    };
    for (mut store, _folder) in stores() {
        let save = |run: Run, second| Change::Save { run, attend_at: at(second), now: at(second) };
        let make = |run: Run| Change::MakeRoom { run, gap: true, attend_at: at(31), now: at(31) };
        store.apply(&[Change::Ask(row(RUN, 20)), Change::Ask(row(OTHER, 20))]).unwrap();
        let (refused, freeing) = making_room(RUN, delete());
        let (other_refused, other_freeing) = making_room(OTHER, delete());
        // Not before the run is absent.
        let first = row(RUN, 20).run.begin(&now(20)).unwrap();
        assert_eq!(store.apply(&[begin(first, 20), make(freeing.clone())]).unwrap(), [true, false]);
        assert_eq!(store.deletion(&point).unwrap(), None);
        store.apply(&[save(refused, 30), save(other_refused.clone(), 30)]).unwrap();
        assert_eq!(store.apply(&[make(freeing.clone()), make(other_freeing)]).unwrap(), [true, false]);
        assert!(store.deletion(&point).unwrap().is_some_and(|deletion| !deletion.done));
        assert!(found(&*store, Stage::Room, 31)[0].run.owes());
        // The disk is held: by no other run, and by its own attempt.
        let others = other_refused.begin(&now(32)).unwrap();
        assert_eq!(store.apply(&[begin(others, 32)]).unwrap(), [false]);
        let gone = freeing.delete_answered(&now(33), Ok(()), 0, &RetryPolicy::default()).unwrap();
        let gone = gone.gone_asked(&now(34), Some(true)).unwrap();
        let begun = gone.clone().begin(&now(35)).unwrap();
        assert_eq!(store.apply(&[save(gone, 34), begin(begun.clone(), 35)]).unwrap(), [true, true]);

        let [gap] = &store.untold_gaps().unwrap()[..] else { panic!("one gap") };
        assert_eq!((gap.run.to_string().as_str(), gap.began_at, gap.ended_at), (RUN, at(31), None));
        store.apply(&[Change::GapsTold(vec![(gap.number, false)])]).unwrap();
        assert_eq!(store.untold_gaps().unwrap(), []);
        let accepted = Reply::Accepted("dbp-new".parse().unwrap());
        let tracked = begun.reply(&now(36), accepted, 0, &RetryPolicy::default()).unwrap();
        store.apply(&[save(tracked.clone(), 36)]).unwrap();
        assert_eq!(store.untold_gaps().unwrap(), []);
        let normal = tracked.polled(&now(40), Poll::Seen(Sighting::Normal)).unwrap();
        store.apply(&[save(normal, 40)]).unwrap();
        let [gap] = &store.untold_gaps().unwrap()[..] else { panic!("one gap") };
        assert_eq!((gap.ended_at, gap.begin_told), (Some(at(40)), true));
        store.apply(&[Change::GapsTold(vec![(gap.number, true)])]).unwrap();
        assert_eq!(store.untold_gaps().unwrap(), []);
    }
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

#[test]
fn a_backup_that_has_become_a_snapshot_is_good_and_no_point_any_more() {
    for (mut store, _folder) in stores() {
        let run = row(RUN, 20).run.recovered(&now(30), "dbp-1".parse().unwrap(), Sighting::Normal);
        let completed = Row { run, ended_at: Some(at(30)), ..row(RUN, 20) };
        store.apply(&[Change::Ask(completed.clone())]).unwrap();
        let disk = completed.run.id.disk.clone();
        assert_eq!(store.good_counts().unwrap().len(), 1);
        let snapshot: backup_core::SnapshotId = "snap-1".parse().unwrap();
        let of = completed.run.id.clone();
        let promoted =
            Change::Promoted { of: of.clone(), snapshot: snapshot.clone(), stays: true, at: at(40) };
        store.apply(&[promoted]).unwrap();
        // A listing without the point says nothing of it.
        assert_eq!(store.to_compare(&disk, &[]).unwrap().len(), 0);
        assert_eq!(store.good_counts().unwrap(), []);
        assert_eq!(store.promoted(&disk).unwrap(), [(of.clone(), snapshot.clone())]);
        let id = PointId::Snapshot(snapshot);
        let intent = Change::Delete { point: id.clone(), run: of, at: at(50) };
        store.apply(&[intent, Change::Deleted(id, at(51))]).unwrap();
        assert_eq!(store.promoted(&disk).unwrap(), []);
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

#[test]
fn how_each_job_stands_is_read_from_its_last_runs() {
    const NEXT: &str = "db/disk-1a2b3c4d/19700101T000030Z";
    let watermark = |job: &str| Watermark {
        job: job.parse().unwrap(),
        disk: "disk-1a2b3c4d".parse().unwrap(),
        schedule: "* * * * * UTC".to_owned(),
        planned_through: at(10),
        next_due: Some(at(60)),
    };
    let standing = |last, last_good| Standing {
        job: "db".parse().unwrap(),
        disk: "disk-1a2b3c4d".parse().unwrap(),
        next_due: Some(at(60)),
        last,
        last_good,
    };
    for (mut store, _folder) in stores() {
        let of_db = |store: &dyn Store| store.standings().unwrap().remove(0);
        store.apply(&[Change::Watermarks(vec![watermark("db"), watermark("web")])]).unwrap();
        assert_eq!(of_db(&*store), standing(None, None));
        assert_eq!(store.standings().unwrap().len(), 2);

        // Each waiting run has an hour from its start.
        store.apply(&[Change::Ask(row(RUN, 20)), Change::Ask(row(OTHER, 25))]).unwrap();
        let deadlines = [(RUN.parse().unwrap(), at(3620)), (OTHER.parse().unwrap(), at(3625))];
        assert_eq!(store.deadlines().unwrap(), deadlines);
        let begun = row(RUN, 20).run.begin(&now(20)).unwrap();
        store.apply(&[begin(begun.clone(), 20)]).unwrap();
        assert_eq!(store.deadlines().unwrap(), deadlines[1..], "an attempt of the other is under way");

        let mut good = begun;
        good.state = State::Completed { backup: "dbp-1".parse().unwrap(), late: false };
        store.apply(&[Change::Save { run: good, attend_at: at(40), now: at(40) }]).unwrap();
        let good = (at(10), Ended::Completed);
        assert_eq!(of_db(&*store), standing(Some(good), Some(at(40))));

        // A run that ended otherwise takes nothing away.
        let mut skipped = row(NEXT, 30);
        skipped.run.state = State::Skipped { why: Skip::Late };
        skipped.ended_at = Some(at(50));
        store.apply(&[Change::Ask(skipped)]).unwrap();
        assert_eq!(of_db(&*store), standing(Some((at(30), Ended::Skipped)), Some(at(40))));

        // A backup that is gone is none.
        let gone = || Change::Missing(vec![RUN.parse().unwrap()]);
        store.apply(&[gone(), gone(), gone()]).unwrap();
        assert_eq!(of_db(&*store), standing(Some((at(30), Ended::Skipped)), None));
    }
}

#[test]
fn a_backup_that_was_found_is_as_old_as_its_due_instant_and_not_as_its_discovery() {
    for (mut store, _folder) in stores() {
        let watermark = Watermark {
            job: "db".parse().unwrap(),
            disk: "disk-1a2b3c4d".parse().unwrap(),
            schedule: "* * * * * UTC".to_owned(),
            planned_through: at(1000),
            next_due: None,
        };
        store.apply(&[Change::Watermarks(vec![watermark])]).unwrap();
        let mut found = row(RUN, 10);
        found.run = found.run.recovered(&now(9000), "dbp-1".parse().unwrap(), Sighting::Normal);
        found.ended_at = Some(at(9000));
        store.apply(&[Change::Recover(vec![found])]).unwrap();
        assert_eq!(store.standings().unwrap()[0].last_good, Some(at(10)));
    }
}

#[test]
fn what_disks_were_seen_to_hold_is_replaced_target_by_target() {
    let shelf = |disk: &str, count, short: Option<&str>| SeenShelf {
        disk: disk.parse().unwrap(),
        quota: 9,
        count,
        short: short.map(|job| job.parse().unwrap()),
    };
    for (mut store, _folder) in stores() {
        let seen = |target: &str, shelves: Vec<SeenShelf>| Change::Shelves(target.parse().unwrap(), shelves);
        store.apply(&[seen("a", vec![shelf("disk-1", 1, None), shelf("disk-2", 2, Some("db"))])]).unwrap();
        store.apply(&[seen("b", vec![shelf("disk-1", 3, None)])]).unwrap();
        store.apply(&[seen("a", vec![shelf("disk-2", 9, None)])]).unwrap();
        let expected = [("a", shelf("disk-2", 9, None)), ("b", shelf("disk-1", 3, None))];
        assert_eq!(
            store.shelves().unwrap(),
            expected.map(|(target, shelf)| (target.parse().unwrap(), shelf))
        );
    }
}

/// A daemon starts for the first time, and commands beside it.
#[test]
fn many_may_open_a_new_journal_at_once() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.sqlite3");
        std::thread::scope(|scope| {
            let opened: Vec<_> = (0..8).map(|_| scope.spawn(|| Sqlite::open(&path).map(drop))).collect();
            for opened in opened {
                opened.join().unwrap().unwrap();
            }
        });
    }
}

#[test]
fn watermarks_of_a_job_come_in_pieces_by_disk() {
    for (mut store, _folder) in stores() {
        let mark = |job: &str, disk: &str| Watermark {
            job: job.parse().unwrap(),
            disk: disk.parse().unwrap(),
            schedule: "0 1 * * * UTC".to_owned(),
            planned_through: at(0),
            next_due: None,
        };
        assert_eq!(store.planned_jobs().unwrap(), [] as [JobName; 0]);
        let marks = [mark("b", "disk-2"), mark("a", "disk-9"), mark("b", "disk-10"), mark("b", "disk-3")];
        store.apply(&[Change::Watermarks(marks.to_vec())]).unwrap();
        let of = |job: &str, after: Option<&str>, limit| -> Vec<String> {
            let after: Option<DiskId> = after.map(|disk| disk.parse().unwrap());
            let marks = store.watermarks_of(&job.parse().unwrap(), after.as_ref(), limit).unwrap();
            assert!(marks.iter().all(|mark| mark.job.as_str() == job));
            marks.iter().map(|mark| mark.disk.to_string()).collect()
        };
        assert_eq!(of("b", None, 2), ["disk-10", "disk-2"]);
        assert_eq!(of("b", Some("disk-2"), 2), ["disk-3"]);
        assert_eq!(of("a", Some("disk-9"), 2), [] as [String; 0]);
        let jobs: Vec<String> = store.planned_jobs().unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(jobs, ["a", "b"]);
    }
}

/// How many transactions a log holds: a frame that ends one says how large the database is then.
fn transactions(log: &Path) -> usize {
    let log = std::fs::read(log).unwrap();
    log[32..].chunks(24 + 4096).filter(|frame| frame[4..8] != [0; 4]).count()
}

#[tokio::test]
async fn writes_that_are_there_at_once_are_one_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let log = folder.path().join(format!("{FILE}-wal"));
    let before = transactions(&log);
    // The journal's thread is busy while they come.
    let (go, waits) = std::sync::mpsc::channel::<()>();
    let busy = journal.read(move |_| {
        waits.recv().unwrap();
        Ok(())
    });
    let pauses = (0..100).map(|number| {
        let job: JobName = format!("job-{number}").parse().unwrap();
        journal.write(Change::Pause(Subject::Job(job), at(number)))
    });
    let all_sent = async { go.send(()).unwrap() };
    let (outcome, paused, ()) = tokio::join!(busy, futures_util::future::join_all(pauses), all_sent);
    outcome.unwrap();
    assert!(paused.into_iter().all(Result::unwrap));
    assert_eq!(transactions(&log) - before, 1);
    assert_eq!(journal.read(|store| store.pauses()).await.unwrap().len(), 100);
}

#[tokio::test]
async fn what_was_written_goes_into_the_file_once_it_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path()).unwrap();
    let pause = Change::Pause(Subject::Job("settled".parse().unwrap()), at(1));
    assert!(journal.write(pause).await.unwrap());
    let is_in_file =
        || std::fs::read(folder.path().join(FILE)).unwrap().windows(7).any(|word| word == b"settled");
    let settled = async {
        while !is_in_file() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled).await.expect("it stays in the log");
}

#[tokio::test]
async fn with_its_last_handle_the_file_is_closed_and_the_log_is_gone() {
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path()).unwrap();
        let pause = Change::Pause(Subject::Job("db".parse().unwrap()), at(1));
        assert!(journal.clone().write(pause).await.unwrap());
        drop(journal);
        assert!(!folder.path().join(format!("{FILE}-wal")).exists());
    }
}
