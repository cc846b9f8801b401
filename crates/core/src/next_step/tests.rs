use std::collections::BTreeSet;

use super::*;
use crate::run::{Policy, WhenFull};

const SETTLE: u64 = 300;
const START_WITHIN: u64 = 3600;

fn moment(epoch: u64, up: u64) -> Now {
    Now { wall: at(up), epoch, up: Duration::from_secs(up), started: at(0) }
}

fn now(up: u64) -> Now {
    moment(1, up)
}

fn at(second: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(second).unwrap()).unwrap()
}

/// A run that is due in second 10 and in this state.
fn run(state: State) -> Run {
    let policy = Policy {
        start_within: Duration::from_secs(START_WITHIN),
        complete_within: Duration::from_secs(3600),
        settle: Duration::from_secs(SETTLE),
        when_full: WhenFull::Wait,
    };
    let run = Run::planned("db/disk-1a2b3c4d/19700101T000010Z".parse().unwrap(), at(10), policy);
    Run { state, ..run }
}

fn step(state: State, second: u64, facts: Facts) -> Step {
    next_step(&run(state), &now(second), facts)
}

fn wait(seconds: u64) -> Step {
    Step::Wait(Duration::from_secs(seconds))
}

fn creating(ended: Option<u64>, looks: u32, looked: Option<u64>) -> State {
    State::Creating {
        begun: now(10).mark(),
        begun_at: at(10),
        ended: ended.map(|up| now(up).mark()),
        looks,
        looked: looked.map(|up| now(up).mark()),
    }
}

const NONE: Facts =
    Facts { disk_busy: false, superseded: false, paused: false, behind: false, held_until: None };
const BUSY: Facts = Facts { disk_busy: true, ..NONE };
const PAUSED: Facts = Facts { paused: true, ..NONE };
const BLACKOUT: Facts = Facts { held_until: Some(Timestamp::constant(60, 0)), ..NONE };
const SUPERSEDED: Facts = Facts { superseded: true, ..NONE };

#[test]
fn a_waiting_run_begins_when_it_may_and_ends_when_it_no_longer_may() {
    let absent = || State::Absent { retry_at: at(100), full: None };
    let last = 10 + START_WITHIN;
    let cases = [
        (State::PLANNED, 0, NONE, wait(10)),
        (State::PLANNED, 10, NONE, Step::Create),
        (State::PLANNED, 10, BUSY, wait(5)),
        (State::PLANNED, 10, PAUSED, wait(5)),
        (State::PLANNED, 10, BLACKOUT, wait(50)),
        (State::PLANNED, 10, SUPERSEDED, Step::Skip(Skip::Superseded)),
        (State::PLANNED, 0, SUPERSEDED, Step::Skip(Skip::Superseded)),
        (State::PLANNED, last, NONE, Step::Create),
        (State::PLANNED, last + 1, NONE, Step::OutOfTime(Skip::Late)),
        (State::PLANNED, last + 1, BUSY, Step::OutOfTime(Skip::DiskBusy)),
        (State::PLANNED, last + 1, BLACKOUT, Step::OutOfTime(Skip::Blackout)),
        (State::PLANNED, last + 1, PAUSED, Step::OutOfTime(Skip::Paused)),
        (State::Planned { looked: false, retry_at: Some(at(50)) }, 20, NONE, wait(30)),
        (absent(), 99, NONE, wait(1)),
        (absent(), 100, NONE, Step::Create),
        (absent(), 100, BUSY, wait(5)),
        (absent(), 20, BLACKOUT, wait(80)),
        (State::PLANNED, 10, Facts { held_until: Some(Timestamp::MAX), ..NONE }, wait(60)),
        (absent(), last + 1, NONE, Step::OutOfTime(Skip::Late)),
        (absent(), 50, SUPERSEDED, Step::Skip(Skip::Superseded)),
    ];
    for (state, second, facts, expected) in cases {
        assert_eq!(
            step(state.clone(), second, facts),
            expected,
            "{state:?} in second {second} with {facts:?}"
        );
    }
    // One that is held is looked at right after its deadline.
    let Step::Wait(held) = step(State::PLANNED, last - 1, BUSY) else { panic!() };
    assert_eq!(held, Duration::from_millis(1001));
    let until_later = Facts { held_until: Some(Timestamp::MAX), ..NONE };
    assert_eq!(step(State::PLANNED, last - 1, until_later), Step::Wait(held));
}

#[test]
fn a_run_that_was_due_before_the_process_started_is_looked_for_first() {
    let later = Now { started: at(11), ..now(20) };
    assert_eq!(next_step(&run(State::PLANNED), &later, NONE), Step::Look);
    let looked = State::Planned { looked: true, retry_at: None };
    assert_eq!(next_step(&run(looked), &later, NONE), Step::Create);
    let as_it_started = Now { started: at(10), ..now(20) };
    assert_eq!(next_step(&run(State::PLANNED), &as_it_started, NONE), Step::Create);
    // With a journal that may know less than the cloud, only once everything must show.
    let behind = Facts { behind: true, ..NONE };
    assert_eq!(next_step(&run(State::PLANNED), &later, behind), wait(SETTLE - 20));
    let settled = Now { started: at(11), ..now(SETTLE) };
    assert_eq!(next_step(&run(State::PLANNED), &settled, behind), Step::Look);
    assert_eq!(step(State::PLANNED, 20, behind), Step::Create, "due in the time of this process");
    // Not before it could begin.
    assert_eq!(next_step(&run(State::PLANNED), &later, BUSY), wait(5));
}

#[test]
fn an_attempt_under_way_is_left_alone_until_its_caller_must_be_gone() {
    let under_way = || creating(None, 0, None);
    assert_eq!(step(under_way(), 11, NONE), wait(119));
    // Even if others want the disk, or its time is over.
    assert_eq!(
        step(under_way(), 11, Facts { superseded: true, paused: true, disk_busy: true, ..BLACKOUT }),
        wait(119)
    );
    assert_eq!(step(under_way(), 130, NONE), Step::Look);
    // Of another epoch: whoever made it is gone already; the settle counts from the epoch's beginning.
    assert_eq!(next_step(&run(under_way()), &moment(2, 1), NONE), wait(1));
    assert_eq!(next_step(&run(under_way()), &moment(2, 2), NONE), Step::Look);
}

#[test]
fn looks_come_at_growing_intervals_and_one_right_after_the_settle() {
    // Looks 2, 6, 18 … s after the end of the call or the last look, at most two minutes apart.
    let cases = [
        (creating(Some(20), 0, None), 21, wait(1)),
        (creating(Some(20), 0, None), 22, Step::Look),
        (creating(Some(20), 1, Some(22)), 27, wait(1)),
        (creating(Some(20), 1, Some(22)), 28, Step::Look),
        (creating(Some(20), 9, Some(100)), 190, wait(30)),
        (creating(Some(20), 9, Some(100)), 220, Step::Look),
        // The settle ends in second 320: a look that began before concludes nothing.
        (creating(Some(20), 9, Some(310)), 315, wait(5)),
        (creating(Some(20), 9, Some(310)), 320, Step::Look),
        (creating(Some(20), 9, Some(319)), 321, Step::Look),
        (creating(Some(20), 9, Some(320)), 321, wait(119)),
        (creating(Some(20), 9, Some(320)), 440, Step::Look),
    ];
    for (state, second, expected) in cases {
        assert_eq!(step(state.clone(), second, NONE), expected, "{state:?} in second {second}");
    }
}

#[test]
fn an_accepted_backup_is_asked_for_at_growing_intervals_and_looked_for_once_it_is_missing() {
    let tracking = |polls, missing| State::Tracking {
        backup: "dbp-1".parse().unwrap(),
        accepted_at: at(10),
        seen: now(10).mark(),
        polls,
        polled: now(10).mark(),
        missing,
    };
    assert_eq!(step(tracking(0, None), 12, NONE), wait(1));
    assert_eq!(step(tracking(0, None), 13, NONE), Step::Poll);
    assert_eq!(step(tracking(1, None), 14, NONE), wait(2));
    assert_eq!(step(tracking(60, None), 69, NONE), wait(1));
    assert_eq!(step(tracking(60, None), 70, NONE), Step::Poll);
    assert_eq!(step(tracking(60, Some(1)), 70, NONE), Step::Look);
}

#[test]
fn an_ended_run_wants_nothing() {
    assert_eq!(step(State::Skipped { why: Skip::Late }, 10, NONE), Step::Ended);
}

#[test]
fn what_follows_an_attempt_comes_due_at_the_end_of_a_second() {
    let at_ms = |up: u64| Now { up: Duration::from_millis(up), ..now(0) };
    let due = |state: State, up: u64| match next_step(&run(state), &at_ms(up), NONE) {
        Step::Wait(wait) => Duration::from_millis(up) + wait,
        step => panic!("{step:?}"),
    };
    // 200 backups that were accepted one by one, and as many attempts without an answer.
    let accepted = |up: u64| State::Tracking {
        backup: "dbp-1".parse().unwrap(),
        accepted_at: at(10),
        seen: at_ms(up).mark(),
        polls: 0,
        polled: at_ms(up).mark(),
        missing: None,
    };
    let unanswered = |up: u64| State::Creating {
        begun: at_ms(up).mark(),
        begun_at: at(10),
        ended: Some(at_ms(up).mark()),
        looks: 0,
        looked: None,
    };
    for (name, state) in [("accepted", &accepted as &dyn Fn(u64) -> State), ("unanswered", &unanswered)] {
        let instants: BTreeSet<Duration> =
            (10_000..20_000).step_by(50).map(|up| due(state(up), up)).collect();
        assert!(instants.len() <= 11, "{name}: {} instants", instants.len());
        // And none before its time.
        assert!((10_000..11_000).all(|up| due(state(up), up) >= Duration::from_millis(up + 2_000)), "{name}");
    }
}
