//! Nights of the whole daemon against the simulated cloud, under a paused clock: what must hold whatever the
//! cloud does, judged by the cloud's own ledger, the journal's rows and the log.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

mod support;

use std::time::Duration;

use cbs_backupd::report::Kind;
use cbs_sim::{Effect, Rule, Timings, Which};
use support::{CREATE, Night, World, play};

const SETTLE: Duration = Duration::from_secs(30);
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The first create meets this, all others nothing.
fn first(effect: Effect) -> Vec<Rule> {
    vec![Rule::on(CREATE, effect).which(Which::Nth(1))]
}

fn error(code: &str) -> Effect {
    Effect::Error { code: code.to_owned(), message: "as scripted".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn a_thousand_disks_due_at_once_are_released_at_the_limit_and_never_above_it() {
    let night = play(Night { disks: 1_000, ..Night::default() }).await;
    night.assert_one_good_backup_each(1_000);

    let creates = night.creates();
    assert_eq!(creates.len(), 1_000);
    let apart: Vec<i128> = creates.windows(2).map(|two| two[1].duration_since(two[0]).as_millis()).collect();
    assert!(apart.iter().all(|ms| *ms == 51), "{apart:?}");
    assert_eq!(night.ledger.peak_arrivals_in_any_second(CREATE), 20);
    assert!(night.ledger.requests.iter().all(|request| request.code.is_none()));
    assert!(night.said(Kind::LaneThrottled).is_empty());
    assert!(night.rows.iter().all(|row| row.run.attempts == 1));
}

#[tokio::test(start_paused = true)]
async fn no_attempt_begins_in_a_blackout_not_even_a_second_one() {
    let held =
        |schedule| Night { schedule, faults: first(error("UnauthorizedOperation")), ..Night::default() };
    // The next attempt would follow after five to ten minutes.
    let schedule = r#"{ cron: "30 2 * * *", blackout: [{ from: "02:31", to: "04:00" }] }"#;
    let night = play(held(schedule)).await;
    night.assert_one_good_backup_each(1);
    let [first, second] = night.creates()[..] else { panic!("{:?}", night.creates()) };
    let apart = second.duration_since(first).as_secs();
    assert!((5399..5410).contains(&apart), "{apart} s");

    let schedule = r#"{ cron: "30 2 * * *", start_within: 1h, blackout: [{ from: "02:31", to: "04:00" }] }"#;
    let night = play(held(schedule)).await;
    assert_eq!(night.creates().len(), 1);
    night.assert_failed("out of time: refused (UnauthorizedOperation)");
}

#[tokio::test(start_paused = true)]
async fn those_that_must_wait_do_not_hide_the_one_that_need_not() {
    let world = World::new(Night { disks: 600, ..Night::default() });
    world.pause(599).await;
    let daemon = world.start().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let night = world.account(daemon).await;
    let [create] = night.creates()[..] else { panic!("{:?}", night.creates()) };
    let lag = create.duration_since("2026-11-24T18:30:00Z".parse().unwrap());
    assert!(lag.as_millis() < 500, "{lag:#}");
}

#[tokio::test(start_paused = true)]
async fn a_backup_whose_reply_was_lost_is_adopted() {
    let lost = [
        Effect::Timeout { executed: true },
        Effect::Drop { executed: true },
        Effect::Reset { executed: true },
        Effect::ShortBody { executed: true },
        Effect::TruncatedJson { executed: true },
        Effect::Http { status: 502, body: "<html>502 Bad Gateway</html>".to_owned(), executed: true },
        Effect::NoResult,
        Effect::ErrorAfter { code: "InternalError".to_owned(), message: "done all the same".to_owned() },
    ];
    for effect in lost {
        println!("{effect:?}");
        let night = play(Night { faults: first(effect), ..Night::default() }).await;
        night.assert_one_good_backup_each(1);
        assert_eq!(night.creates().len(), 1);
        assert_eq!(night.row().run.attempts, 1);
        assert_eq!(night.said(Kind::BackupAmbiguous).len(), 1);
        assert_eq!(night.said(Kind::BackupAdopted).len(), 1);
        assert!(night.said(Kind::BackupRetry).is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_that_was_lost_on_its_way_is_made_again_after_the_settle_and_once() {
    let lost = [
        (Effect::Timeout { executed: false }, CALL_TIMEOUT),
        (Effect::Drop { executed: false }, Duration::ZERO),
        (Effect::Http { status: 502, body: String::new(), executed: false }, Duration::ZERO),
        (error("InternalError"), Duration::ZERO),
    ];
    for (effect, call) in lost {
        println!("{effect:?}");
        let night = play(Night { faults: first(effect), ..Night::default() }).await;
        night.assert_one_good_backup_each(1);
        let [lost, made] = night.creates()[..] else { panic!("{:?}", night.creates()) };
        let apart = Duration::try_from(made.duration_since(lost)).unwrap();
        assert!(apart >= call + SETTLE, "again after {apart:?}");
        assert!(apart <= call + SETTLE + Duration::from_secs(7), "again after {apart:?}");
        assert_eq!(night.said(Kind::BackupAmbiguous).len(), 1);
        assert_eq!(night.said(Kind::BackupRetry).len(), 1);
        assert!(night.said(Kind::BackupAdopted).is_empty());
    }
}

/// How a run goes on after a code.
enum Then {
    /// Another attempt, between so many seconds and so many later.
    Again(u64, u64),
    /// It fails at once.
    Fails,
}

/// Each code in so many creates in a row, then none: what follows for the run, and under which class.
#[tokio::test(start_paused = true)]
async fn every_code_of_a_create_leads_where_it_should() {
    use Then::{Again, Fails};
    let documented = [
        ("InvalidDisk.Busy", 1, "busy", Again(15, 30)),
        ("InvalidDiskId.NotFound", 1, "gone", Fails),
        ("InvalidParameter", 1, "permanent", Fails),
        ("ResourceBusy", 1, "busy", Again(15, 30)),
        ("ResourceInUse", 1, "busy", Again(15, 30)),
        ("ResourceInUse.DiskRollbacking", 1, "busy", Again(15, 30)),
        ("ResourceInsufficient.OverQuota", 1, "quota", Again(120, 300)),
        ("ResourceNotFound.NotFound", 1, "gone", Fails),
        ("ResourceUnavailable.NotSupported", 1, "permanent", Fails),
        ("ResourceUnavailable.SnapshotCreating", 1, "busy", Again(15, 30)),
    ];
    let others = [
        ("RequestLimitExceeded", 1, "throttled", Again(1, 2)),
        ("LimitExceeded", 1, "scarce", Again(300, 600)),
        // The first is put right within the call.
        ("AuthFailure.SignatureExpire", 2, "clock", Again(1, 5)),
        ("AuthFailure.TokenFailure", 1, "credentials", Again(1, 5)),
        ("UnauthorizedOperation", 1, "refused", Again(300, 600)),
        ("InvalidAccount.InsufficientBalance", 1, "unpaid", Again(300, 600)),
        ("InternalError", 1, "ambiguous", Again(31, 35)),
        ("Strange.NobodyKnowsThis", 1, "ambiguous", Again(31, 35)),
    ];
    for (code, times, class, then) in documented.into_iter().chain(others) {
        println!("{code}");
        let faults = vec![Rule::on(CREATE, error(code)).which(Which::First(times))];
        let night = play(Night { faults, ..Night::default() }).await;
        let told: Vec<_> = night.events.iter().filter(|event| event.fields.code.is_some()).collect();
        assert!(!told.is_empty());
        for event in told {
            assert_eq!((event.fields.code.as_deref(), event.fields.class), (Some(code), Some(class)));
        }
        let creates = night.creates();
        match then {
            Fails => {
                night.assert_failed(&format!("refused: {class} ({code})"));
                assert_eq!((creates.len(), night.row().run.attempts), (1, 1));
                // The cloud's own words, and what its support asks for, are said once and for all.
                let [refused] = night.said(Kind::BackupRefused)[..] else { panic!("{:#?}", night.events) };
                assert!(
                    refused.message.contains(code) && refused.message.contains("as scripted"),
                    "{refused:?}"
                );
                assert!(refused.fields.request_id.is_some());
                assert!(night.ledger.backups.is_empty());
            }
            Again(soonest, latest) => {
                night.assert_one_good_backup_each(1);
                assert_eq!((creates.len() as u64, night.row().run.attempts), (times + 1, 2));
                let [.., before, again] = creates[..] else { panic!("{creates:?}") };
                let apart = again.duration_since(before).as_millis();
                // The way there and back, and the lane's pace, come on top.
                let bounds = i128::from(soonest) * 1_000..=i128::from(latest) * 1_000 + 2_100;
                assert!(bounds.contains(&apart), "again after {apart} ms");
                let kind = match class {
                    "ambiguous" => Kind::BackupAmbiguous,
                    "quota" => Kind::QuotaFull,
                    _ => Kind::BackupRetry,
                };
                assert_eq!(night.said(kind).len(), 1);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_connection_nothing_is_in_doubt() {
    let night = play(Night { without_connection: 2, ..Night::default() }).await;
    night.assert_one_good_backup_each(1);
    assert_eq!((night.creates().len(), night.row().run.attempts), (1, 3));
    assert!(night.said(Kind::BackupAmbiguous).is_empty());
    let retries = night.said(Kind::BackupRetry);
    assert_eq!(retries.len(), 2);
    assert!(retries.iter().all(|event| event.fields.class == Some("not_sent")));
}

#[tokio::test(start_paused = true)]
async fn a_look_up_that_fails_proves_nothing() {
    let mut faults = first(Effect::Drop { executed: true });
    faults.push(Rule::on("DescribeDiskBackups", error("InternalError")).which(Which::First(10)));
    let night = play(Night { faults, ..Night::default() }).await;
    night.assert_one_good_backup_each(1);
    assert_eq!(night.creates().len(), 1);
    assert_eq!(night.said(Kind::BackupAdopted).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_code_that_nobody_knows_fails_the_run_at_its_third_time() {
    let faults = vec![Rule::on(CREATE, error("Strange.NobodyKnowsThis"))];
    let night = play(Night { faults, ..Night::default() }).await;
    night.assert_failed("refused: ambiguous (Strange.NobodyKnowsThis)");
    assert_eq!(night.creates().len(), 3);
}

/// From 5 s to 10 s into the backups, others leave only half of the limit.
fn shared_limit() -> Vec<Rule> {
    let half = Rule::on(CREATE, Effect::Limit { per_second: 10 });
    vec![Rule { from_ms: 15_000, until_ms: Some(20_000), ..half }]
}

#[tokio::test(start_paused = true)]
async fn a_lane_slows_down_when_others_draw_on_its_limit_and_recovers_as_it_is_used() {
    let night = play(Night { disks: 1_500, faults: shared_limit(), ..Night::default() }).await;
    night.assert_one_good_backup_each(1_500);
    assert!(night.ledger.peak_arrivals_in_any_second(CREATE) <= 20);
    assert_eq!(night.said(Kind::LaneThrottled).len(), 1, "{:#?}", night.said(Kind::LaneThrottled));
    assert_eq!(night.said(Kind::LaneRecovered).len(), 1);
    let refused: Vec<_> =
        night.ledger.requests_of(CREATE).filter_map(|create| create.code.as_deref()).collect();
    assert!((1..=60).contains(&refused.len()), "{} creates were throttled", refused.len());
    assert!(refused.iter().all(|code| *code == "RequestLimitExceeded"), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_lane_that_nobody_uses_any_more_is_said_to_have_recovered_too() {
    let world = World::new(Night { disks: 200, faults: shared_limit(), ..Night::default() });
    let daemon = world.start().await;
    world.until_all_ended(Duration::from_secs(3600)).await;
    // 1/20 of the limit comes back each 5 s: from 1/32 of it, that is 97 s.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let night = world.account(daemon).await;
    night.assert_one_good_backup_each(200);
    assert_eq!(night.said(Kind::LaneThrottled).len(), 1);
    assert_eq!(night.said(Kind::LaneRecovered).len(), 1, "the log says for ever that the lane is slow");
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_vanishes_while_it_is_made_is_made_again() {
    let night = play(Night { faults: first(Effect::Vanish), ..Night::default() }).await;
    night.assert_one_good_backup_each(1);
    assert_eq!((night.creates().len(), night.row().run.attempts), (2, 2));
    let [gone] = &night.ledger.gone[..] else { panic!("{:?}", night.ledger.gone) };
    let [vanished] = night.said(Kind::BackupVanished)[..] else { panic!("{:#?}", night.events) };
    assert_eq!(vanished.fields.backup_id.as_deref(), Some(gone.backup_id.as_str()));
    assert_eq!(vanished.fields.class, Some("vanished"));
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_is_never_normal_fails_the_run_and_is_named() {
    let night = play(Night { faults: first(Effect::Stuck), ..Night::default() }).await;
    night.assert_failed("incomplete: complete_within passed before it was NORMAL");
    let [stuck] = &night.ledger.backups[..] else { panic!("{:?}", night.ledger.backups) };
    assert_eq!(stuck.state, "CREATING");
    assert_eq!(night.row().run.state.backup().unwrap().as_str(), stuck.backup_id);
    assert_eq!(night.creates().len(), 1);
}

/// A process dies at some moment, twice, with calls in the air whose effect it never learns of.
#[tokio::test(start_paused = true)]
async fn whenever_a_daemon_dies_the_next_one_makes_what_is_missing_and_nothing_twice() {
    let (mut orphans, mut adopted) = (0, 0);
    for seed in 1..=10 {
        let draw = cbs_backupd::random::Random::from_seed(seed);
        let lost = Rule::on(CREATE, Effect::Timeout { executed: true }).which(Which::Probability(0.1));
        let world = World::new(Night {
            disks: 60,
            seed,
            faults: vec![lost],
            timings: Timings {
                create_ms: (2_000, 60_000),
                visible_ms: (0, 5_000),
                reply_ms: (5, 2_000),
                ..Timings::default()
            },
            on_its_way: Duration::from_millis(40),
            ..Night::default()
        });
        for life in 0..2 {
            let daemon = world.start().await;
            // The first one starts 10 s before the backups are due, and needs some 4 s to ask for all of them.
            let (from, span) = if life == 0 { (10_500, 3_500) } else { (0, 40_000) };
            tokio::time::sleep(Duration::from_millis(from + draw.draw() % span)).await;
            drop(daemon);
            tokio::time::sleep(Duration::from_millis(draw.draw() % 3_000)).await;
            let states: std::collections::BTreeMap<_, usize> =
                world.rows().await.iter().fold(Default::default(), |mut states, row| {
                    *states.entry(row.run.state.name()).or_default() += 1;
                    states
                });
            orphans += states.get("creating").copied().unwrap_or_default();
            println!("seed {seed}: a daemon died and left {states:?}");
        }
        let daemon = world.start().await;
        world.until_all_ended(Duration::from_secs(3 * 3600)).await;
        let night = world.account(daemon).await;
        night.assert_one_good_backup_each(60);
        assert!(night.ledger.peak_arrivals_in_any_second(CREATE) <= 20);
        adopted += night.said(Kind::BackupAdopted).len();
    }
    assert!(orphans > 50 && adopted > 50, "{orphans} orphans, {adopted} adopted: too tame to show anything");
}
