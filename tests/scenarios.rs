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
    let apart: Vec<i128> =
        creates.windows(2).map(|two| two[1].duration_since(two[0]).as_millis()).collect();
    assert!(apart.iter().all(|ms| *ms == 51), "{apart:?}");
    assert_eq!(night.ledger.peak_arrivals_in_any_second(CREATE), 20);
    assert!(night.ledger.requests.iter().all(|request| request.code.is_none()));
    assert!(night.said(Kind::LaneThrottled).is_empty());
    assert!(night.rows.iter().all(|row| row.run.attempts == 1));
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
