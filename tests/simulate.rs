//! Simulations of the whole daemon: fresh seeds at every run, all seeds that ever failed, and proof that the
//! simulation would notice: each rule that keeps a backup from being made twice is broken once, and is missed.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::sync::Arc;

use cbs::transport::{HttpRequest, HttpResponse, Transport, TransportError};
use cbs_backupd::journal::{Change, Gate, JournalError, Store};
use cbs_backupd::random::Random;
use cbs_backupd::simulate::{Plan, Summary, Tamper, simulate};
use futures_util::future::BoxFuture;

const FRESH_SEEDS: usize = 16;
const DAYS: u32 = 12;
const DISKS: usize = 8;

#[track_caller]
fn assert_good(plan: &Plan) -> Summary {
    let summary = simulate(plan, Tamper::default()).unwrap();
    assert!(summary.is_good(), "{summary}");
    assert!(summary.due > 0 && summary.completed > 0 && summary.deleted > 0, "{summary}");
    summary
}

#[test]
fn whatever_the_seed_every_due_backup_is_accounted_for_and_none_is_made_twice() {
    let fresh = Random::from_system();
    for _ in 0..FRESH_SEEDS {
        let seed = fresh.draw() >> 32;
        println!("cbs-backupd simulate --seed {seed} --days {DAYS} --disks {DISKS}");
        let summary = assert_good(&Plan::new(seed, DAYS, DISKS));
        println!("{summary}");
    }
}

#[test]
fn seeds_that_once_failed_are_good() {
    let seeds = include_str!("simulate-seeds.txt").lines().filter(|line| !line.starts_with('#'));
    for line in seeds {
        let [seed, days, disks] = line.split_whitespace().collect::<Vec<_>>()[..] else {
            panic!("expected `SEED DAYS DISKS`: {line}")
        };
        println!("cbs-backupd simulate --seed {seed} --days {days} --disks {disks}");
        assert_good(&Plan::new(seed.parse().unwrap(), days.parse().unwrap(), disks.parse().unwrap()));
    }
}

#[test]
fn the_same_seed_gives_the_same_year_to_the_last_word() {
    let plan = Plan::new(7, 5, 6);
    let (once, again) = (assert_good(&plan), assert_good(&plan));
    assert_eq!(once, again);
    assert_ne!(once.fingerprint, assert_good(&Plan::new(8, 5, 6)).fingerprint);
}

/// One of the first ten seeds shows that something is broken.
#[track_caller]
fn assert_noticed(tamper: &Tamper, settle: &'static str, how: &str) {
    for seed in 1..=10 {
        let plan = Plan { settle, ..Plan::new(seed, 20, 6) };
        let summary = simulate(&plan, tamper.clone()).unwrap();
        if summary.violations.iter().any(|violation| violation.contains(how)) {
            println!("{}: {}", summary.command(), summary.violations[0]);
            return;
        }
    }
    panic!("ten seeds did not show it");
}

/// Look-ups are answered at once with a listing that is complete, and empty.
struct Blind(Arc<dyn Transport>);

impl Transport for Blind {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let asks_by_name = String::from_utf8_lossy(&request.body).contains("Filters");
        if request.header("X-TC-Action") != Some("DescribeDiskBackups") || !asks_by_name {
            return self.0.send(request);
        }
        let body = r#"{"Response":{"TotalCount":0,"DiskBackupSet":[],"RequestId":"none"}}"#;
        let content_type = Some("application/json".to_owned());
        Box::pin(async move {
            Ok(HttpResponse { status: 200, content_type, body: body.into(), ..HttpResponse::default() })
        })
    }
}

#[test]
fn without_look_ups_backups_would_be_made_twice() {
    let tamper = Tamper { transport: |honest| Arc::new(Blind(honest)), ..Tamper::default() };
    assert_noticed(&tamper, Plan::SETTLE, "backups of disk");
}

/// These intents are acknowledged, and not written.
struct Forgetful(fn(&Change) -> bool);

impl Gate for Forgetful {
    fn apply(&self, store: &mut dyn Store, changes: &[Change]) -> Result<Vec<bool>, JournalError> {
        let kept: Vec<Change> = changes.iter().filter(|change| !self.0(change)).cloned().collect();
        let mut written = store.apply(&kept)?.into_iter();
        Ok(changes.iter().map(|change| self.0(change) || written.next().unwrap_or_default()).collect())
    }
}

#[test]
fn without_a_durable_intent_creates_would_leave_unaccounted_for() {
    let begins = |change: &Change| matches!(change, Change::Begin { .. });
    let tamper = Tamper { gate: Arc::new(Forgetful(begins)), ..Tamper::default() };
    assert_noticed(&tamper, Plan::SETTLE, "no durable intent");
}

#[test]
fn without_a_durable_intent_deletes_would_leave_unaccounted_for() {
    let deletes = |change: &Change| matches!(change, Change::Delete { .. });
    let tamper = Tamper { gate: Arc::new(Forgetful(deletes)), ..Tamper::default() };
    assert_noticed(&tamper, Plan::SETTLE, "without a durable intent");
}

#[test]
fn without_the_settle_backups_that_show_late_would_be_made_twice() {
    assert_noticed(&Tamper::default(), "1s", "backups of disk");
}
