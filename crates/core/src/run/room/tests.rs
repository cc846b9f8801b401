use jiff::Timestamp;

use super::super::tests::{SETTLE, creating, failure, looked, now, reply, retry_at, setback};
use super::*;
use crate::next_step::{Facts, Step, next_step};

fn at(second: u64) -> Timestamp {
    Timestamp::from_second(i64::try_from(second).unwrap()).unwrap()
}

#[test]
fn what_a_full_quota_leads_to_is_decided_at_once_and_written_down() {
    let run = reply(creating(), 10, setback(Class::Quota));
    assert_eq!(run.state, State::Absent { retry_at: at(10), full: Some(Full::Undecided) });
    let decided = |room| run.clone().make_room(&now(11), room, 0, &RetryPolicy::default()).unwrap();
    assert_eq!(*failure(&decided(Room::Fail(Failure::QuotaFull))), Failure::QuotaFull);
    // Other hands take their time.
    let waiting = Some(Full::Waiting { since: at(11) });
    assert_eq!(decided(Room::Wait).state, State::Absent { retry_at: at(11 + 120), full: waiting });
    assert_eq!(decided(Room::Unknown).state, State::Absent { retry_at: at(12), full: Some(Full::Undecided) });
}

/// A run for which `room` was decided in second 11.
fn making(room: Room) -> Run {
    let run = reply(creating(), 10, setback(Class::Quota));
    run.make_room(&now(11), room, 0, &RetryPolicy::default()).unwrap()
}

fn rotating(left: usize) -> Run {
    let of = creating().id;
    making(Room::Delete { point: "dbp-old".parse().unwrap(), of, why: Freed::Rotated, left })
}

#[test]
fn a_deleted_point_is_waited_for_and_then_the_attempt_follows_whatever_the_hour() {
    let answered = |run: Run, second, answer| {
        run.delete_answered(&now(second), answer, 0, &RetryPolicy::default()).unwrap()
    };
    let step = |run: &Run, second| next_step(run, &now(second), Facts::default());
    let run = rotating(0);
    assert!(run.owes() && run.clone().begin(&now(11)).is_err());
    assert_eq!(step(&run, 11), Step::Delete);
    let again = answered(run.clone(), 12, Err(Class::Unavailable));
    assert_eq!(step(&again, 12), Step::Wait(Duration::from_secs(1)));
    assert_eq!(step(&again, 13), Step::Delete);
    let deleted = answered(again, 14, Ok(()));
    assert_eq!(step(&deleted, 14), Step::Poll);
    let asked = deleted.gone_asked(&now(15), Some(false)).unwrap();
    assert!(asked.clone().begin(&now(15)).is_err());
    assert_eq!(step(&asked, 16), Step::Poll);
    let gone = asked.gone_asked(&now(17), Some(true)).unwrap();
    // The last good one is gone: neither a pause nor the end of `start_within` keeps the next from being made.
    let late = 17 + 7 * 3600;
    let facts = Facts { paused: true, ..Facts::default() };
    assert_eq!(next_step(&gone, &now(late), facts), Step::Create);
    let refused = reply(gone.begin(&now(late)).unwrap(), late + 1, setback(Class::Busy));
    assert_eq!(step(&refused, late + 16), Step::Create);
}

#[test]
fn a_deletion_that_may_be_done_is_not_given_up_and_one_that_is_refused_is() {
    let late = 11 + 7 * 3600;
    let answered =
        |class| rotating(1).delete_answered(&now(late), Err(class), 0, &RetryPolicy::default()).unwrap();
    for class in [Class::NotSent, Class::Unavailable] {
        assert!(matches!(answered(class).state, State::Freeing { .. }), "{class:?}");
    }
    for class in [Class::Busy, Class::Refused, Class::Permanent] {
        assert!(matches!(failure(&answered(class)), Failure::OutOfTime(_)), "{class:?}");
    }
}

#[test]
fn a_run_takes_one_point_away_and_no_second() {
    let run = rotating(1).delete_answered(&now(12), Ok(()), 0, &RetryPolicy::default()).unwrap();
    let run = run.gone_asked(&now(13), Some(true)).unwrap().begin(&now(14)).unwrap();
    let full = reply(run, 15, setback(Class::Quota));
    let of = full.id.clone();
    let room = |why| Room::Delete { point: "dbp-next".parse().unwrap(), of: of.clone(), why, left: 1 };
    let take = |room| full.clone().make_room(&now(16), room, 0, &RetryPolicy::default());
    assert!(take(room(Freed::Rotated)).is_err());
    let promote = Room::Promote { point: "dbp-next".parse().unwrap(), of: of.clone(), left: 1 };
    assert!(take(promote).is_err());
    // What no rule keeps may go all the same.
    assert!(take(room(Freed::Unkept)).is_ok());
}

fn promoting() -> Run {
    let of = creating().id;
    making(Room::Promote { point: "dbp-old".parse().unwrap(), of, left: 1 })
}

#[test]
fn a_promotion_of_unknown_outcome_is_looked_for_as_a_create_is() {
    let settle = SETTLE;
    let retry = RetryPolicy::default();
    let look = |run: Run, began, second, look| {
        run.promotion_looked(&now(second), now(began).mark(), look, 0, &retry).unwrap()
    };
    let lost = PromotionReply::Setback { class: Class::Ambiguous, code: None, unknown: false, hint: None };
    let run = promoting().promotion_replied(&now(12), lost, 0, &retry).unwrap();
    assert!(run.clone().begin(&now(12)).is_err());
    // One that began before the settle was over concludes nothing.
    let early = look(run.clone(), 12 + settle - 1, 12 + settle + 1, PromotionLook::Nothing);
    assert!(matches!(early.state, State::Promoting { snapshot: None, looks: 1, .. }));
    let none = look(run.clone(), 12 + settle, 12 + settle + 1, PromotionLook::Nothing);
    assert!(matches!(none.state, State::Absent { full: Some(Full::Undecided), .. }));
    assert_eq!(none.taken, None);
    let found = look(run, 20, 21, PromotionLook::Found("snap-1".parse().unwrap(), Sighting::Unfinished));
    let polled = found.promotion_polled(&now(30), Poll::Seen(Sighting::Unfinished)).unwrap();
    assert!(polled.clone().begin(&now(30)).is_err());
    let normal = polled.promotion_polled(&now(40), Poll::Seen(Sighting::Normal)).unwrap();
    assert_eq!(next_step(&normal, &now(40), Facts::default()), Step::Create);
    let held = Facts { held_until: Some(at(70)), ..Facts::default() };
    assert_eq!(next_step(&normal, &now(40), held), Step::Wait(Duration::from_secs(30)));
}

#[test]
fn a_promotion_that_surely_was_not_is_decided_anew_and_one_without_end_fails() {
    let retry = RetryPolicy::default();
    let replied = |class| {
        let reply = PromotionReply::Setback { class, code: None, unknown: false, hint: None };
        promoting().promotion_replied(&now(12), reply, 0, &retry).unwrap()
    };
    for class in [Class::Busy, Class::Quota, Class::Scarce, Class::Throttled] {
        let run = replied(class);
        assert!(matches!(run.state, State::Absent { full: Some(Full::Undecided), .. }), "{class:?}");
        assert!(retry_at(&run) > 12, "{class:?}");
    }
    assert!(matches!(replied(Class::Gone).state, State::Absent { full: None, .. }));
    assert!(matches!(failure(&replied(Class::Permanent)), Failure::Refused(_)));
    let accepted = PromotionReply::Accepted("snap-1".parse().unwrap());
    let run = promoting().promotion_replied(&now(12), accepted, 0, &retry).unwrap();
    let much_later = 13 + run.policy.complete_within.as_secs();
    let stuck = run.promotion_polled(&now(much_later), Poll::Seen(Sighting::Unfinished)).unwrap();
    assert_eq!(*failure(&stuck), Failure::PromotionIncomplete);
}

#[test]
fn an_attempt_that_had_its_effect_after_all_is_adopted_by_a_run_that_waits() {
    let absent = reply(creating(), 10, setback(Class::Busy));
    let found = looked(absent, (20, 21), Look::Found("dbp-1".parse().unwrap(), Sighting::Unfinished));
    assert!(matches!(found.state, State::Tracking { .. }));
}
