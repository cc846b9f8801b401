use super::*;

const HOUR: u64 = 3600;
pub(super) const SETTLE: u64 = 300;
/// A draw for the shortest wait of every class.
const SHORTEST: u64 = 0;

/// The moment `up` seconds into an epoch; the wall clock began with the first.
fn moment(epoch: u64, up: u64) -> Now {
    Now {
        wall: Timestamp::from_second(i64::try_from(up).unwrap()).unwrap(),
        epoch,
        up: Duration::from_secs(up),
        started: Timestamp::UNIX_EPOCH,
    }
}

pub(super) fn now(up: u64) -> Now {
    moment(1, up)
}

pub(super) fn planned() -> Run {
    let policy = Policy {
        start_within: Duration::from_secs(6 * HOUR),
        complete_within: Duration::from_secs(4 * HOUR),
        settle: Duration::from_secs(SETTLE),
        when_full: WhenFull::Wait,
    };
    Run::planned("db/disk-1a2b3c4d/19700101T000000Z".parse().unwrap(), Timestamp::UNIX_EPOCH, policy)
}

/// With an attempt under way since second 0.
pub(super) fn creating() -> Run {
    planned().begin(&now(0)).unwrap()
}

/// With an attempt whose call ended in second 10, nobody knows how.
fn ambiguous() -> Run {
    reply(creating(), 10, setback(Class::Ambiguous))
}

/// With a backup that was accepted in second 10.
fn tracking() -> Run {
    reply(creating(), 10, Reply::Accepted(backup()))
}

fn backup() -> BackupId {
    "dbp-1".parse().unwrap()
}

pub(super) fn setback(class: Class) -> Reply {
    Reply::Setback { class, code: None, unknown: false, sign_of_ours: false, hint: None }
}

pub(super) fn reply(run: Run, second: u64, reply: Reply) -> Run {
    run.reply(&now(second), reply, SHORTEST, &RetryPolicy::default()).unwrap()
}

/// A look-up that began and ended in these seconds.
pub(super) fn looked(run: Run, (began, ended): (u64, u64), look: Look) -> Run {
    run.looked(&now(ended), now(began).mark(), look, SHORTEST, &RetryPolicy::default()).unwrap()
}

pub(super) fn retry_at(run: &Run) -> i64 {
    let State::Absent { retry_at, .. } = run.state else { panic!("{:?}", run.state) };
    retry_at.as_second()
}

pub(super) fn failure(run: &Run) -> &Failure {
    let State::Failed { why, .. } = &run.state else { panic!("{:?}", run.state) };
    why
}

#[test]
fn what_each_class_of_reply_leads_to() {
    for class in Class::ALL {
        let run = reply(creating(), 10, setback(class));
        match class {
            Class::Ambiguous => {
                assert!(matches!(run.state, State::Creating { ended: Some(_), .. }), "{class:?}");
                assert!(run.unsure);
            }
            Class::Permanent | Class::Gone => assert!(matches!(failure(&run), Failure::Refused(_))),
            _ => {
                // What a full quota leads to is decided first.
                let wait = match class {
                    Class::Quota => 0,
                    class => RetryPolicy::default().backoff(class).shortest.as_secs(),
                };
                assert_eq!(retry_at(&run), i64::try_from(10 + wait).unwrap(), "{class:?}");
                assert!(!run.unsure, "{class:?}");
            }
        }
        assert_eq!(run.setback.unwrap().class, class);
    }
}

#[test]
fn what_may_be_our_own_backup_is_looked_for_before_it_counts_as_a_setback() {
    let sign = || Reply::Setback {
        class: Class::Busy,
        code: Some("InvalidDisk.SnapshotCreating".to_owned()),
        unknown: false,
        sign_of_ours: true,
        hint: None,
    };
    // Without an ambiguous attempt it is another's.
    assert!(matches!(reply(creating(), 10, sign()).state, State::Absent { .. }));
    for suspicious in [sign(), setback(Class::Quota)] {
        let again = looked(ambiguous(), (400, 401), Look::Nothing).begin(&now(500)).unwrap();
        let run = reply(again, 501, suspicious);
        assert!(matches!(run.state, State::Creating { ended: Some(_), .. }));
    }
    let again = looked(ambiguous(), (400, 401), Look::Nothing).begin(&now(500)).unwrap();
    assert!(matches!(reply(again, 501, setback(Class::Throttled)).state, State::Absent { .. }));
}

#[test]
fn the_last_attempt_is_moved_before_the_deadline_and_none_follows_it() {
    let mut run = creating();
    run.policy.start_within = Duration::from_secs(100);
    assert_eq!(retry_at(&reply(run.clone(), 90, setback(Class::Busy))), 95);
    assert_eq!(retry_at(&reply(run.clone(), 95, setback(Class::Busy))), 95, "at once, for the last time");
    let late = reply(run, 96, setback(Class::Busy));
    assert!(matches!(failure(&late), Failure::OutOfTime(setback) if setback.class == Class::Busy));
}

#[test]
fn three_answers_in_a_row_with_an_unknown_code_are_enough() {
    let unknown = || Reply::Setback {
        class: Class::Unpaid,
        code: Some("New.Code".to_owned()),
        unknown: true,
        sign_of_ours: false,
        hint: None,
    };
    let again = |run: Run, second| reply(run.begin(&now(second)).unwrap(), second, unknown());
    let twice = again(again(planned(), 0), 1000);
    assert!(matches!(twice.state, State::Absent { .. }));
    // A known one between starts the count anew.
    let known = reply(twice.clone().begin(&now(2000)).unwrap(), 2000, setback(Class::Busy));
    assert!(matches!(again(known, 3000).state, State::Absent { .. }));
    assert!(matches!(failure(&again(twice, 2000)), Failure::Refused(_)));
}

#[test]
fn setbacks_of_a_class_are_counted_while_they_come_in_a_row() {
    let again = |run: Run, class| reply(run.begin(&now(10)).unwrap(), 10, setback(class));
    let failures = |run: &Run| run.setback.as_ref().unwrap().failures;
    let twice = again(again(planned(), Class::Busy), Class::Busy);
    assert_eq!(failures(&twice), 2);
    let other = again(twice, Class::Throttled);
    assert_eq!(failures(&other), 1);
    assert_eq!(failures(&again(other, Class::Busy)), 1);
}

#[test]
fn each_answer_about_a_tracked_backup_counts_so_that_the_next_question_waits_longer() {
    let polls = |run: &Run| match run.state {
        State::Tracking { polls, .. } => polls,
        _ => panic!("{run:?}"),
    };
    for poll in [Poll::Seen(Sighting::Unfinished), Poll::Missing, Poll::Unanswered] {
        let once = tracking().polled(&now(20), poll).unwrap();
        assert_eq!(polls(&once), 1);
        assert_eq!(polls(&once.polled(&now(30), poll).unwrap()), 2);
    }
    assert_eq!(polls(&looked(tracking(), (20, 20), Look::Nothing)), 1);
}

#[test]
fn only_a_look_that_began_after_the_settle_concludes_that_there_is_nothing() {
    let settled = 10 + SETTLE;
    for (began, concludes) in [(11, false), (settled - 1, false), (settled, true), (settled + 60, true)] {
        let run = looked(ambiguous(), (began, settled + 120), Look::Nothing);
        assert_eq!(matches!(run.state, State::Absent { .. }), concludes, "began in second {began}");
        assert_eq!(matches!(run.state, State::Creating { looks: 1, .. }), !concludes);
    }
    let run = looked(ambiguous(), (settled, settled + 1), Look::Incomplete);
    assert!(matches!(run.state, State::Creating { looks: 1, .. }));
}

#[test]
fn the_settle_begins_anew_with_an_epoch() {
    let look = |up| {
        let (began, ended) = (moment(2, up), moment(2, up + 1));
        ambiguous().looked(&ended, began.mark(), Look::Nothing, SHORTEST, &RetryPolicy::default()).unwrap()
    };
    assert!(matches!(look(SETTLE - 1).state, State::Creating { .. }));
    assert!(matches!(look(SETTLE).state, State::Absent { .. }));
}

#[test]
fn a_backup_that_a_look_finds_is_adopted_at_any_time() {
    for (sighting, completes) in [(Sighting::Normal, true), (Sighting::Unfinished, false)] {
        for run in [planned(), ambiguous(), tracking()] {
            let run = looked(run, (11, 12), Look::Found(backup(), sighting));
            assert_eq!(matches!(run.state, State::Completed { .. }), completes);
            assert_eq!(run.state.backup(), Some(&backup()));
        }
    }
}

#[test]
fn the_look_before_the_first_attempt_lets_it_begin_or_comes_again() {
    assert_eq!(
        looked(planned(), (1, 2), Look::Nothing).state,
        State::Planned { looked: true, retry_at: None }
    );
    let run = looked(planned(), (1, 2), Look::Incomplete);
    let State::Planned { looked: false, retry_at: Some(retry_at) } = run.state else { panic!("{run:?}") };
    assert_eq!(retry_at.as_second(), 3);
}

#[test]
fn an_unknown_outcome_ends_only_after_an_answer_past_complete_within() {
    let past = 4 * HOUR + 1;
    assert!(matches!(looked(ambiguous(), (11, 12), Look::Incomplete).state, State::Creating { .. }));
    let run = looked(ambiguous(), (past, past), Look::Incomplete);
    assert_eq!(*failure(&run), Failure::OutcomeUnknown);
    // A listing that can tell is believed, however late it comes.
    let run = looked(ambiguous(), (past, past), Look::Found(backup(), Sighting::Normal));
    assert!(matches!(run.state, State::Completed { .. }));
}

#[test]
fn only_normal_completes_and_complete_within_counts_from_acceptance() {
    let (in_time, past) = (now(10 + 4 * HOUR), now(11 + 4 * HOUR));
    let poll = |now: &Now, poll| tracking().polled(now, poll).unwrap();
    assert!(matches!(poll(&in_time, Poll::Seen(Sighting::Unfinished)).state, State::Tracking { .. }));
    for unfinished in [Poll::Seen(Sighting::Unfinished), Poll::Missing, Poll::Unanswered] {
        let run = poll(&past, unfinished);
        assert_eq!(*failure(&run), Failure::Incomplete);
        assert_eq!(run.state.backup(), Some(&backup()));
    }
    assert!(matches!(poll(&past, Poll::Seen(Sighting::Normal)).state, State::Completed { .. }));
    // Found by name meanwhile, it is as old as it was.
    let found = looked(tracking(), (HOUR, HOUR), Look::Found(backup(), Sighting::Unfinished));
    let late = found.polled(&past, Poll::Seen(Sighting::Unfinished)).unwrap();
    assert_eq!(*failure(&late), Failure::Incomplete);
}

#[test]
fn a_backup_has_vanished_when_three_complete_listings_after_settle_do_not_show_it() {
    let settled = 10 + SETTLE;
    let missing = || tracking().polled(&now(20), Poll::Missing).unwrap();
    assert!(matches!(missing().state, State::Tracking { missing: Some(0), .. }));
    // Too early, or not complete: these do not count.
    let early = looked(missing(), (30, 31), Look::Nothing);
    let unsure = looked(early, (settled, settled), Look::Incomplete);
    assert!(matches!(unsure.state, State::Tracking { missing: Some(0), .. }));
    let twice =
        [settled, settled + 60].into_iter().fold(unsure, |run, at| looked(run, (at, at), Look::Nothing));
    assert!(matches!(twice.state, State::Tracking { missing: Some(2), .. }));
    // Seen again, it begins anew; and so does the settle.
    let seen = twice.clone().polled(&now(settled + 100), Poll::Seen(Sighting::Unfinished)).unwrap();
    assert!(matches!(seen.state, State::Tracking { missing: None, .. }));
    let gone = looked(twice, (settled + 120, settled + 120), Look::Nothing);
    assert!(retry_at(&gone) > 0);
    assert_eq!(gone.setback.unwrap().class, Class::Vanished);
}

#[test]
fn one_that_vanishes_too_late_for_another_attempt_has_failed() {
    let mut run = tracking();
    run.policy.start_within = Duration::from_secs(60);
    run.policy.complete_within = Duration::from_secs(24 * HOUR);
    let run = [400, 500, 600].into_iter().fold(run, |run, at| looked(run, (at, at), Look::Nothing));
    assert_eq!(*failure(&run), Failure::Vanished);
    assert_eq!(run.state.backup(), Some(&backup()));
}

#[test]
fn an_attempt_that_never_left_does_not_count() {
    let run = creating().withdraw(&now(1)).unwrap();
    assert_eq!((run.attempts, retry_at(&run)), (0, 1));
}

#[test]
fn out_of_time_is_a_failure_where_an_attempt_was_made_and_a_skip_where_none_was() {
    let tried = reply(creating(), 10, setback(Class::Busy)).out_of_time(Skip::Late).unwrap();
    assert!(matches!(failure(&tried), Failure::OutOfTime(setback) if setback.class == Class::Busy));
    let untried = planned().out_of_time(Skip::Paused).unwrap();
    assert_eq!(untried.state, State::Skipped { why: Skip::Paused });
}

#[test]
fn reasons_say_what_happened_in_words_that_can_be_searched_for() {
    let code = Setback { class: Class::Quota, code: Some("X.Y".to_owned()), failures: 2, unknown: 0 };
    let bare = Setback { code: None, ..code.clone() };
    let failures = [
        (Failure::Refused(code.clone()), "refused: quota (X.Y)"),
        (Failure::OutOfTime(bare), "out of time: quota"),
        (Failure::QuotaFull, "quota full"),
        (Failure::Incomplete, "incomplete: complete_within passed before it was NORMAL"),
        (Failure::Vanished, "vanished: the backup went away before it was NORMAL"),
        (Failure::OutcomeUnknown, "outcome unknown: no listing could tell whether a backup exists"),
    ];
    for (why, text) in failures {
        assert_eq!(State::Failed { why, backup: None }.reason().as_deref(), Some(text));
    }
    let at = Timestamp::UNIX_EPOCH;
    let misses = |count| Skip::Missed(crate::catch_up::Misses { from: at, to: at, count });
    let skips = [
        (misses(1), "missed"),
        (misses(3), "missed: 3 from 1970-01-01T00:00:00Z to 1970-01-01T00:00:00Z"),
        (Skip::Late, "late: start_within passed before an attempt could begin"),
        (Skip::Paused, "paused"),
        (Skip::Blackout, "blackout: it lasted until start_within had passed"),
        (Skip::DiskBusy, "disk busy: another run or a restore held it"),
        (Skip::Superseded, "superseded by its successor"),
        (Skip::Removed, "removed from the configuration"),
    ];
    for (why, text) in skips {
        assert_eq!(State::Skipped { why }.reason().as_deref(), Some(text));
    }
    assert_eq!(tracking().state.reason(), None);
}

#[test]
fn each_reason_has_the_name_that_the_journal_keeps() {
    let setback = Setback { class: Class::Quota, code: None, failures: 1, unknown: 0 };
    let failures = [
        Failure::Refused(setback.clone()),
        Failure::OutOfTime(setback),
        Failure::QuotaFull,
        Failure::QuotaHeldByOthers,
        Failure::QuotaLastGood,
        Failure::PromotionIncomplete,
        Failure::Incomplete,
        Failure::Vanished,
        Failure::OutcomeUnknown,
    ];
    let at = Timestamp::UNIX_EPOCH;
    let skips = [
        Skip::Missed(crate::catch_up::Misses { from: at, to: at, count: 2 }),
        Skip::Late,
        Skip::Paused,
        Skip::Blackout,
        Skip::DiskBusy,
        Skip::Superseded,
        Skip::Removed,
    ];
    assert_eq!(failures.each_ref().map(Failure::name), Failure::NAMES);
    assert_eq!(skips.each_ref().map(Skip::name), Skip::NAMES);
    let failures = failures.into_iter().map(|why| State::Failed { why, backup: None });
    for state in failures.chain(skips.into_iter().map(|why| State::Skipped { why })) {
        let kept = serde_json::to_value(&state).unwrap();
        let kept = &kept["why"];
        let name = kept["why"].as_str();
        assert_eq!(state.why(), name, "{kept}");
    }
    assert_eq!(tracking().state.why(), None);
}

#[test]
fn states_bear_the_names_of_the_contract() {
    let ended = tracking().polled(&now(20), Poll::Seen(Sighting::Normal)).unwrap();
    let absent = reply(creating(), 10, setback(Class::Busy));
    let failed = reply(creating(), 10, setback(Class::Gone));
    let skipped = planned().skip(Skip::Late).unwrap();
    let names =
        [planned(), creating(), absent, tracking(), ended, failed, skipped].map(|run| run.state.name());
    assert_eq!(names, ["planned", "creating", "absent", "tracking", "completed", "failed", "skipped"]);
}

#[test]
fn a_revived_run_looks_before_it_tries_again() {
    let failed = reply(creating(), 10, setback(Class::Gone));
    let revived = failed.revive(&now(1000)).unwrap();
    assert_eq!(revived.start_at.as_second(), 1000);
    assert!(matches!(revived.state, State::Creating { ended: Some(_), .. }) && revived.unsure);
    let skipped = planned().skip(Skip::Late).unwrap();
    assert_eq!(skipped.revive(&now(1000)).unwrap().state, State::PLANNED);
}

#[test]
fn a_backup_that_is_good_after_its_run_had_ended_completes_it() {
    let failed = reply(creating(), 10, setback(Class::Gone));
    assert_eq!(failed.late(backup()).unwrap().state, State::Completed { backup: backup(), late: true });
    assert!(tracking().late(backup()).is_err());
}

#[test]
fn a_recovered_run_is_as_good_as_its_backup() {
    let recovered = |sighting| planned().recovered(&now(5), backup(), sighting).state;
    assert_eq!(recovered(Sighting::Normal), State::Completed { backup: backup(), late: false });
    assert!(matches!(recovered(Sighting::Unfinished), State::Tracking { .. }));
}

#[test]
fn news_that_make_no_sense_are_an_error_that_names_the_run() {
    let completed = tracking().polled(&now(20), Poll::Seen(Sighting::Normal)).unwrap();
    let retry = RetryPolicy::default();
    let errors = [
        creating().begin(&now(1)).unwrap_err(),
        completed.clone().begin(&now(1)).unwrap_err(),
        planned().reply(&now(1), Reply::Accepted(backup()), 0, &retry).unwrap_err(),
        planned().polled(&now(1), Poll::Missing).unwrap_err(),
        completed.clone().looked(&now(1), now(0).mark(), Look::Nothing, 0, &retry).unwrap_err(),
        creating().skip(Skip::Removed).unwrap_err(),
        tracking().out_of_time(Skip::Late).unwrap_err(),
        ambiguous().withdraw(&now(1)).unwrap_err(),
        completed.revive(&now(1)).unwrap_err(),
        tracking().revive(&now(1)).unwrap_err(),
    ];
    for error in errors {
        assert!(
            error.to_string().contains("makes no sense for run db/disk-1a2b3c4d/19700101T000000Z"),
            "{error}"
        );
    }
}
