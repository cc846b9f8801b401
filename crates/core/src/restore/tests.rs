use super::*;

const SETTLE: Duration = Duration::from_secs(300);

fn now(epoch: u64, up: u64) -> Now {
    let wall = Timestamp::from_second(1_795_545_000 + i64::try_from(up).unwrap()).unwrap();
    Now { wall, epoch, up: Duration::from_secs(up), started: Timestamp::from_second(1_795_545_000).unwrap() }
}

fn asked() -> Restore {
    Restore {
        disk: "disk-1".parse().unwrap(),
        backup: "dbp-1".parse().unwrap(),
        auto_stop: false,
        auto_start: false,
        attempts: 0,
        state: State::ASKED,
    }
}

fn seen(disk: &str, backup: &str) -> Seen {
    Seen {
        disk: Some(SeenDisk {
            name: "db".to_owned(),
            size_gib: Some(50),
            state: disk.to_owned(),
            instances: vec!["ins-1".to_owned()],
            portable: Some(true),
            rolling: disk == ROLLBACKING,
            percent: Some(40),
            migrating: false,
        }),
        backup: Some(SeenBackup {
            name: "ops1_db_20261124T183000Z".to_owned(),
            disk: "disk-1".to_owned(),
            state: backup.to_owned(),
            created: None,
        }),
    }
}

fn look(restore: Restore, at: &Now, seen: &Seen) -> Restore {
    restore.looked(at, at.mark(), Some(seen), SETTLE)
}

#[test]
fn every_precondition_is_said_in_words() {
    let refused = |restore: &Restore, seen: &Seen| check(restore, seen).unwrap_err();
    let (good, ask) = (seen("UNATTACHED", "NORMAL"), asked());
    assert_eq!(check(&ask, &good), Ok(()));
    assert_eq!(refused(&ask, &Seen::default()), "there is no disk disk-1 in this target");
    assert_eq!(
        refused(&ask, &Seen { backup: None, ..good.clone() }),
        "there is no backup dbp-1 in this target"
    );
    let mut other = good.clone();
    other.backup.as_mut().unwrap().disk = "disk-2".to_owned();
    assert_eq!(
        refused(&ask, &other),
        "backup dbp-1 is of disk-2, and a backup is put back onto its own disk alone"
    );
    assert_eq!(
        refused(&ask, &seen("UNATTACHED", "CREATING")),
        "backup dbp-1 is CREATING, and must be NORMAL"
    );
    for rolling in [seen(ROLLBACKING, "NORMAL"), seen("UNATTACHED", ROLLBACKING)] {
        assert_eq!(refused(&ask, &rolling), "disk disk-1 is being rolled back already");
    }
    // The state and the mark of a rollback are two fields of a reply: either will do.
    let mut marked = good.clone();
    marked.disk.as_mut().unwrap().rolling = true;
    assert_eq!(refused(&ask, &marked), "disk disk-1 is being rolled back already");
    let mut migrating = good.clone();
    migrating.disk.as_mut().unwrap().migrating = true;
    assert_eq!(refused(&ask, &migrating), "disk disk-1 is being moved to another kind of storage");
    let attached = seen("ATTACHED", "NORMAL");
    assert_eq!(
        refused(&ask, &attached),
        "disk disk-1 is attached to ins-1: detach it, or let its instance be shut down (--auto-stop)"
    );
    assert_eq!(check(&Restore { auto_stop: true, ..asked() }, &attached), Ok(()));
    let mut fixed = attached;
    fixed.disk.as_mut().unwrap().portable = Some(false);
    assert_eq!(check(&ask, &fixed), Ok(()), "of its instance only the cloud knows");
    assert_eq!(
        refused(&ask, &seen("EXPANDING", "NORMAL")),
        "disk disk-1 is EXPANDING, and must be UNATTACHED or ATTACHED"
    );
}

#[test]
fn a_rollback_that_is_seen_is_followed_to_its_end() {
    for reply in [Reply::Accepted, Reply::Perhaps] {
        let restore = asked().begin(&now(1, 0));
        assert_eq!(next_step(&restore, &now(1, 5), SETTLE), Step::Wait(Duration::from_secs(115)));
        let restore = restore.reply(&now(1, 10), reply);
        assert_eq!(next_step(&restore, &now(1, 10), SETTLE), Step::Wait(FIRST_LOOK));
        assert_eq!(next_step(&restore, &now(1, 11), SETTLE), Step::Look);
        let restore = look(restore, &now(1, 11), &seen(ROLLBACKING, ROLLBACKING));
        assert!(matches!(restore.state, State::Rolling { percent: Some(40), .. }));
        let unanswered = restore.looked(&now(1, 13), now(1, 13).mark(), None, SETTLE);
        assert_eq!(next_step(&unanswered, &now(1, 14), SETTLE), Step::Wait(Duration::from_secs(1)));
        // The disk is back, and the backup is not yet NORMAL again: not done.
        let restore = look(unanswered, &now(1, 15), &seen("UNATTACHED", ROLLBACKING));
        assert_eq!(restore.state.name(), "rolling");
        let restore = look(restore, &now(1, 17), &seen("UNATTACHED", "NORMAL"));
        assert_eq!(restore.state, State::Completed);
        assert_eq!(restore.attempts, 1);
    }
}

#[test]
fn a_disk_that_is_not_seen_rolling_back_concludes_only_after_the_settle() {
    for (reply, end) in [
        (Reply::Accepted, State::Completed),
        (Reply::Perhaps, State::Failed { why: Failure::OutcomeUnknown }),
    ] {
        let idle = seen("UNATTACHED", "NORMAL");
        let mut restore = asked().begin(&now(1, 0)).reply(&now(1, 1), reply);
        let mut at = 1;
        while !restore.state.is_ended() {
            match next_step(&restore, &now(1, at), SETTLE) {
                Step::Wait(rest) => at += rest.as_secs().max(1),
                Step::Look => restore = look(restore, &now(1, at), &idle),
                step => panic!("{step:?}: it is never asked for again"),
            }
        }
        assert_eq!((restore.state, at), (end, 301));
    }
}

#[test]
fn a_look_that_began_before_the_settle_was_over_concludes_nothing() {
    let restore = asked().begin(&now(1, 0)).reply(&now(1, 0), Reply::Perhaps);
    let idle = seen("UNATTACHED", "NORMAL");
    let early = restore.clone().looked(&now(1, 301), now(1, 299).mark(), Some(&idle), SETTLE);
    assert_eq!(early.state.name(), "applying");
    let unanswered = restore.looked(&now(1, 400), now(1, 399).mark(), None, SETTLE);
    assert_eq!(unanswered.state.name(), "applying");
}

#[test]
fn a_look_after_the_settle_that_was_not_answered_is_made_again_after_a_pause() {
    let restore = asked().begin(&now(1, 0)).reply(&now(1, 0), Reply::Perhaps);
    let unanswered = restore.looked(&now(1, 300), now(1, 300).mark(), None, SETTLE);
    assert_eq!(next_step(&unanswered, &now(1, 300), SETTLE), Step::Wait(FIRST_LOOK * 2));
}

#[test]
fn a_call_that_does_not_end_is_looked_for_once_its_time_is_over() {
    let restore = asked().begin(&now(1, 0));
    assert_eq!(next_step(&restore, &now(1, 120), SETTLE), Step::Look);
}

#[test]
fn a_disk_that_is_gone_when_the_settle_is_over_is_said_to_be() {
    let restore = asked().begin(&now(1, 0)).reply(&now(1, 0), Reply::Perhaps);
    let gone = look(restore, &now(1, 300), &Seen::default());
    assert_eq!(gone.state, State::Failed { why: Failure::DiskGone });
}

#[test]
fn a_failure_says_what_became_of_the_disk() {
    let refused = asked().refused("no such disk");
    let State::Failed { why } = refused.state else { panic!("{refused:?}") };
    assert_eq!(why.to_string(), "nothing was changed: no such disk");
    let unknown = Failure::OutcomeUnknown.to_string();
    assert!(unknown.starts_with("outcome unknown: the reply was lost"), "{unknown}");
    assert_eq!(Failure::Incomplete.to_string(), "the disk is still rolling back after a day");
    assert_eq!(Failure::DiskGone.to_string(), "the disk is gone");
}

#[test]
fn a_crash_between_intent_and_reply_is_a_lost_reply() {
    let restore = asked().begin(&now(1, 50));
    assert_eq!(next_step(&restore, &now(2, 0), SETTLE), Step::Wait(FIRST_LOOK));
    assert_eq!(next_step(&restore, &now(2, 1), SETTLE), Step::Look);
    let rolling = look(restore.clone(), &now(2, 1), &seen(ROLLBACKING, "NORMAL"));
    assert_eq!(rolling.state.name(), "rolling");
    // The settle counts from the start of the process that looks.
    let idle = seen("UNATTACHED", "NORMAL");
    assert_eq!(look(restore.clone(), &now(2, 299), &idle).state.name(), "applying");
    assert_eq!(look(restore, &now(2, 300), &idle).state, State::Failed { why: Failure::OutcomeUnknown });
}

#[test]
fn what_surely_was_not_done_is_asked_for_again_a_few_times() {
    let mut restore = asked();
    let mut waits = Vec::new();
    loop {
        restore = restore.begin(&now(1, 0)).reply(&now(1, 0), Reply::NotYet("no connection".to_owned()));
        match next_step(&restore, &now(1, 0), SETTLE) {
            Step::Wait(rest) => waits.push(rest.as_secs()),
            Step::Ended => break,
            step => panic!("{step:?}"),
        }
    }
    assert_eq!(waits, [2, 4, 8, 16]);
    assert_eq!(restore.state, State::Failed { why: Failure::Refused("no connection".to_owned()) });
    let refused = asked().begin(&now(1, 0)).reply(&now(1, 0), Reply::Refused("no".to_owned()));
    assert_eq!(refused.state, State::Failed { why: Failure::Refused("no".to_owned()) });
}

#[test]
fn a_rollback_is_not_followed_for_ever() {
    let rolling = look(asked().begin(&now(1, 0)), &now(1, 0), &seen(ROLLBACKING, "NORMAL"));
    let day = 24 * 3600;
    let still = look(rolling.clone(), &now(1, day), &seen(ROLLBACKING, "NORMAL"));
    assert_eq!(still.state.name(), "rolling");
    let late = look(rolling.clone(), &now(1, day + 1), &seen(ROLLBACKING, "NORMAL"));
    assert_eq!(late.state, State::Failed { why: Failure::Incomplete });
    // One listing without the disk says little; a day of them, that it is gone.
    let missing = look(rolling.clone(), &now(1, 60), &Seen::default());
    assert_eq!(missing.state.name(), "rolling");
    let gone = look(missing, &now(1, day + 1), &Seen::default());
    assert_eq!(gone.state, State::Failed { why: Failure::DiskGone });
}

#[test]
fn states_are_read_as_written() {
    let begun = asked().begin(&now(1, 3));
    for state in [
        State::ASKED,
        begun.state.clone(),
        look(begun, &now(1, 4), &seen(ROLLBACKING, "NORMAL")).state,
        State::Completed,
        State::Failed { why: Failure::OutcomeUnknown },
        State::Failed { why: Failure::Refused("so".to_owned()) },
    ] {
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<State>(&json).unwrap(), state, "{json}");
        assert!(json.contains(&format!(r#""state":"{}""#, state.name())));
    }
}
