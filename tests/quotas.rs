//! Full quotas: nights of the whole daemon against the simulated cloud, for every `when_full`, quota and habit of the
//! vendor. What is promised is judged at every instant, by the cloud's own ledger.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backup_core::run::State;
use cbs_backupd::app::Idle;
use cbs_backupd::clock::Clock as _;
use cbs_backupd::config::Config;
use cbs_backupd::journal::{Row, SeenShelf};
use cbs_backupd::report::{Event, Kind};
use cbs_backupd::simulate::{Beginning, Network, Tamper, World, key};
use cbs_sim::{Choices, Disk, Effect, Ledger, MissingIds, Promotion, Rule, Timings, Which};
use jiff::{SignedDuration, Timestamp};

const CREATE: &str = "CreateDiskBackup";
const DELETE: &str = "DeleteDiskBackups";
const PROMOTE: &str = "CreateSnapshot";
const CREATE_MS: u64 = 60_000;
const SNAPSHOT_MS: u64 = 90_000;
const DISK: &str = "disk-1";

/// Some nights of one disk that is due at 02:30 in Shanghai.
#[derive(Clone, Debug)]
struct Nights {
    /// What the job says besides.
    job: &'static str,
    quota: u32,
    vendors_daily: bool,
    promotion: Promotion,
    missing_ids: MissingIds,
    nights: u32,
    faults: Vec<Rule>,
}

impl Default for Nights {
    fn default() -> Self {
        Self {
            job: "when_full: wait",
            quota: 2,
            vendors_daily: false,
            promotion: Promotion::WhenNormal,
            missing_ids: MissingIds::Omit,
            nights: 4,
            faults: Vec::new(),
        }
    }
}

/// What is known after them.
struct Account {
    ledger: Ledger,
    events: Vec<Event>,
    rows: Vec<Row>,
    promotion: Promotion,
}

impl Nights {
    fn world(&self) -> World {
        let text = format!(
            "owner: ops1\ntimezone: Asia/Shanghai\nsettle: 30s\ntargets:\n  default: {{ region: ap-guangzhou }}\n\
             jobs:\n  - name: db\n    disks: [{DISK}]\n    schedule: \"30 2 * * *\"\n    complete_within: 1h\n    {}\n",
            self.job.replace("; ", "\n    ")
        );
        World::new(Beginning {
            start: "2026-11-24T18:29:50Z".parse().unwrap(),
            config: Config::parse("nights.yaml", &text, &BTreeMap::new()).unwrap(),
            cloud: cbs_sim::World {
                credentials: vec![key(0)],
                timings: Timings {
                    create_ms: (CREATE_MS, CREATE_MS),
                    visible_ms: (0, 1_000),
                    reply_ms: (20, 20),
                    snapshot_ms: (SNAPSHOT_MS, SNAPSHOT_MS),
                    ..Timings::default()
                },
                choices: Choices {
                    vendors_daily: self.vendors_daily,
                    promotion: self.promotion,
                    missing_ids: self.missing_ids,
                    ..Choices::default()
                },
                disks: vec![Disk { quota: self.quota, ..Disk::new(DISK) }],
                faults: self.faults.clone(),
                ..cbs_sim::World::default()
            },
            network: Network::default(),
            seed: 1,
            idle: Idle { hop: Duration::from_secs(300), watch: Duration::from_secs(3600) },
            keep_events: true,
            listener: None,
            tamper: Tamper::default(),
        })
        .unwrap()
    }

    async fn play(self) -> Account {
        let world = self.world();
        let daemon = world.start(&Arc::default()).await.unwrap();
        let end = world.clock.mono() + Duration::from_secs(u64::from(self.nights) * 86_400 - 3600);
        while world.clock.mono() < end {
            tokio::time::sleep(Duration::from_secs(600)).await;
        }
        daemon.stop().await;
        assert_eq!(world.witness.objections(), Vec::<String>::new());
        let events = world.log.events();
        let wrong = |event: &&Event| {
            matches!(event.kind, Kind::DaemonFault | Kind::JournalUnreadable | Kind::BackupTwin)
        };
        assert_eq!(events.iter().find(wrong), None);
        let mut rows = world.rows(None).await.unwrap();
        rows.reverse();
        assert_eq!(rows.len(), self.nights as usize, "{self:?}");
        Account { ledger: world.sim.ledger(), events, rows, promotion: self.promotion }
    }
}

/// What changes how many good backups there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Turn {
    /// A backup becomes NORMAL, or a snapshot takes its place.
    Good,
    /// A backup is deleted.
    Deleted,
    /// A backup is no backup any more, and its snapshot is not NORMAL yet.
    InPromotion,
}

fn after(at: Timestamp, millis: u64) -> Timestamp {
    at + SignedDuration::from_millis(millis.cast_signed())
}

impl Account {
    fn said(&self, kind: Kind) -> Vec<&Event> {
        self.events.iter().filter(|event| event.kind == kind).collect()
    }

    fn executed<'a>(&'a self, action: &'a str) -> impl Iterator<Item = Timestamp> + 'a {
        self.ledger.requests_of(action).filter(|request| request.executed).map(|request| request.arrival)
    }

    /// The ends of the runs, in order.
    fn ends(&self) -> Vec<String> {
        let end = |row: &Row| row.run.state.reason().unwrap_or_else(|| row.run.state.name().to_owned());
        self.rows.iter().map(end).collect()
    }

    /// Every instant at which the number of our good backups changes, with the number from then on.
    fn good(&self) -> Vec<(Timestamp, usize)> {
        let mut turns: Vec<(Timestamp, Turn)> =
            self.executed(CREATE).map(|at| (after(at, CREATE_MS), Turn::Good)).collect();
        turns.extend(self.executed(DELETE).map(|at| (at, Turn::Deleted)));
        // Where it is consumed as its snapshot becomes NORMAL, it is good all along.
        if self.promotion == Promotion::AtOnce {
            turns.extend(self.executed(PROMOTE).map(|at| (at, Turn::InPromotion)));
            turns.extend(self.executed(PROMOTE).map(|at| (after(at, SNAPSHOT_MS), Turn::Good)));
        }
        turns.sort_unstable();
        let mut good = 0;
        let count = |(at, turn): &(Timestamp, Turn)| {
            if *turn == Turn::Good {
                good += 1;
            } else {
                good -= 1;
            }
            (*at, good)
        };
        turns.iter().map(count).collect()
    }

    /// From when to when there was no good backup, after the first.
    fn windows(&self) -> Vec<(Timestamp, Timestamp)> {
        let good = self.good();
        let zero = good.windows(2).filter(|two| two[0].1 == 0);
        zero.map(|two| (two[0].0, two[1].0)).collect()
    }

    /// Every window without a good backup lies in one that the log tells of, begin and end.
    fn assert_windows_are_told(&self) {
        let (began, ended) = (self.said(Kind::GapBegan), self.said(Kind::GapEnded));
        assert_eq!(began.len(), ended.len());
        let told: Vec<(Timestamp, Timestamp)> = ended
            .iter()
            .map(|event| {
                let (_, window) = event.message.split_once("from ").unwrap();
                let (from, to) = window.split_once(" to ").unwrap();
                let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
                let length: Duration = Timestamp::duration_since(to, from).try_into().unwrap();
                assert_eq!(u128::from(event.fields.took_ms.unwrap()), length.as_millis());
                (from, to)
            })
            .collect();
        for (from, to) in self.windows() {
            let is_told = told.iter().any(|told| told.0 <= from && told.1 >= to);
            assert!(is_told, "no good backup from {from} to {to}, and the log has only {told:?}");
        }
    }

    /// No backup, and no run, has two snapshots.
    fn assert_promoted_once(&self) {
        let snapshots = &self.ledger.snapshots;
        let names: BTreeSet<_> = snapshots.iter().map(|snapshot| &snapshot.name).collect();
        let points: BTreeSet<_> = snapshots.iter().map(|snapshot| &snapshot.backup_id).collect();
        assert_eq!((names.len(), points.len()), (snapshots.len(), snapshots.len()), "{snapshots:#?}");
        for row in &self.rows {
            let name = backup_core::BackupName::of(&row.owner, &row.run.id).to_string();
            let points = self.ledger.backups.iter().filter(|backup| backup.name == name).count();
            let snapshots = snapshots.iter().filter(|snapshot| snapshot.name == name).count();
            assert!(points + snapshots <= 1, "{name}: {points} points and {snapshots} snapshots");
        }
    }
}

/// What is expected of some nights: how many complete, how the others end, and the fewest good backups there may ever
/// be once there were as many.
fn expected(job: &str, free: usize, nights: usize) -> (usize, Option<&'static str>, usize) {
    let held = Some("quota held by others: no backup of this job is there to make room");
    match job {
        "when_full: wait" => {
            (free.min(nights), Some("out of time: quota (ResourceInsufficient.OverQuota)"), free)
        }
        "when_full: fail" => (free.min(nights), Some("quota full"), free),
        "when_full: rotate" | "when_full: rotate; allow_gap: false" => match free {
            0 => (0, held, 0),
            1 => (
                1,
                Some("quota full: only the last good backup could make room, and `allow_gap` is not set"),
                1,
            ),
            _ => (nights, None, free - 1),
        },
        "when_full: rotate; allow_gap: true" if free == 0 => (0, held, 0),
        "when_full: rotate; allow_gap: true" => (nights, None, free - 1),
        _ if free == 0 => (0, held, 0),
        _ => (nights, None, free - 1),
    }
}

const JOBS: [&str; 5] = [
    "when_full: wait",
    "when_full: fail",
    "when_full: rotate",
    "when_full: rotate; allow_gap: true",
    "when_full: promote",
];

#[tokio::test(start_paused = true)]
async fn every_policy_keeps_what_it_promises_under_every_quota() {
    let (mut played, mut windows) = (0, 0);
    for job in JOBS {
        for quota in [0_u32, 1, 2, 7] {
            for vendors_daily in [false, true] {
                for promotion in [Promotion::WhenNormal, Promotion::AtOnce] {
                    if promotion == Promotion::AtOnce && job != "when_full: promote" {
                        continue;
                    }
                    let nights = quota + 3;
                    // Under quota 1 it waits for the point by asking for it by its id alone.
                    let missing_ids = if quota == 1 { MissingIds::Error } else { MissingIds::Omit };
                    let asked = Nights {
                        job,
                        quota,
                        vendors_daily,
                        promotion,
                        missing_ids,
                        nights,
                        ..Nights::default()
                    };
                    println!("{asked:?}");
                    let account = asked.play().await;
                    let free = quota as usize - usize::from(vendors_daily).min(quota as usize);
                    let (complete, reason, fewest) = expected(job, free, nights as usize);
                    let mut ends = vec!["completed"; complete];
                    ends.resize(nights as usize, reason.unwrap_or("completed"));
                    assert_eq!(account.ends(), ends);
                    let good = account.good();
                    let reached = good.iter().position(|(_, good)| *good >= free).unwrap_or(good.len());
                    let least = good[reached..].iter().map(|(_, good)| *good).min().unwrap_or(0);
                    assert!(least >= fewest.min(free), "{least} good ones: {good:?}");
                    account.assert_windows_are_told();
                    account.assert_promoted_once();
                    windows += account.windows().len();
                    for (from, to) in account.windows() {
                        let ms = to.duration_since(from).as_millis();
                        let most = if job == "when_full: promote" { SNAPSHOT_MS } else { CREATE_MS };
                        assert!(ms <= i128::from(most) + 2_500, "without a good backup for {ms} ms");
                    }
                    if !job.contains("promote") {
                        assert_eq!(account.executed(PROMOTE).count(), 0);
                    }
                    if !job.contains("rotate") {
                        assert_eq!(account.executed(DELETE).count(), 0);
                    }
                    let freed = account.said(Kind::QuotaFreed).len();
                    assert_eq!(freed, account.executed(DELETE).count(), "deletions told");
                    let promoted = account.said(Kind::BackupPromoted).len();
                    assert_eq!(promoted, account.executed(PROMOTE).count(), "promotions told");
                    played += 1;
                }
            }
        }
    }
    // Under quota 1, and 2 with the vendor's own: rotation every night, promotion in the first.
    assert_eq!((played, windows), (48, 3 + 4 + 2));
}

#[tokio::test(start_paused = true)]
async fn what_no_rule_would_keep_makes_room_first_and_the_floor_stays() {
    for when_full in ["wait", "fail", "rotate", "promote"] {
        let job: &'static str =
            Box::leak(format!("when_full: {when_full}; keep: {{ last: 2 }}").into_boxed_str());
        let account = Nights { job, quota: 2, nights: 5, ..Nights::default() }.play().await;
        assert_eq!(account.ends(), ["completed"; 5], "{when_full}");
        let fewest = account.good()[1..].iter().map(|(_, good)| *good).min();
        assert_eq!(fewest, Some(1), "{when_full}");
        assert_eq!(account.said(Kind::QuotaFreed).len(), 3, "{when_full}");
        assert_eq!(account.executed(PROMOTE).count(), 0);
        assert!(account.said(Kind::BackupVanished).is_empty() && account.said(Kind::BackupGone).is_empty());
    }
    // The only good one stays, whatever the rules say.
    let job = "when_full: fail; keep: { last: 1 }";
    let account = Nights { job, quota: 1, nights: 3, ..Nights::default() }.play().await;
    assert_eq!(account.ends(), ["completed", "quota full", "quota full"]);
    assert_eq!(account.executed(DELETE).count(), 0);
}

/// The first `action` meets this.
fn first(action: &str, effect: Effect) -> Vec<Rule> {
    vec![Rule::on(action, effect).which(Which::Nth(1))]
}

fn error(code: &str) -> Effect {
    Effect::Error { code: code.to_owned(), message: String::new() }
}

#[tokio::test(start_paused = true)]
async fn lost_replies_and_refusals_of_a_deletion_delete_one_point_a_run() {
    let effects = [
        Effect::Timeout { executed: true },
        Effect::Drop { executed: false },
        Effect::NoResult,
        Effect::ErrorAfter { code: "InternalError".to_owned(), message: String::new() },
        error("ResourceBusy"),
        error("RequestLimitExceeded"),
    ];
    for effect in effects {
        println!("{effect:?}");
        let job = "when_full: rotate; allow_gap: true";
        let faults = first(DELETE, effect);
        let account = Nights { job, quota: 1, nights: 3, faults, ..Nights::default() }.play().await;
        assert_eq!(account.ends(), ["completed"; 3]);
        assert_eq!(account.executed(DELETE).count(), 2);
        account.assert_windows_are_told();
        assert_eq!(account.windows().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_reply_of_a_promotion_never_leads_to_a_second() {
    let lost = [
        Effect::Timeout { executed: true },
        Effect::Drop { executed: true },
        Effect::TruncatedJson { executed: true },
        Effect::NoResult,
        Effect::ErrorAfter { code: "InternalError".to_owned(), message: String::new() },
        Effect::Timeout { executed: false },
        Effect::Drop { executed: false },
        error("InternalError"),
        error("ResourceUnavailable.TooManyCreatingSnapshot"),
        error("InsufficientSnapshotQuota"),
    ];
    for effect in lost {
        for promotion in [Promotion::WhenNormal, Promotion::AtOnce] {
            println!("{effect:?} {promotion:?}");
            let (job, faults) = ("when_full: promote; promoted_keep: 30d", first(PROMOTE, effect.clone()));
            let account =
                Nights { job, quota: 1, nights: 3, promotion, faults, ..Nights::default() }.play().await;
            assert_eq!(account.ends(), ["completed"; 3]);
            account.assert_promoted_once();
            account.assert_windows_are_told();
            assert_eq!(account.executed(PROMOTE).count(), 2);
            for snapshot in &account.ledger.snapshots {
                let deadline: Timestamp = snapshot.deadline.as_deref().unwrap().parse().unwrap();
                let lives = deadline.duration_since(snapshot.created).as_secs();
                assert!((30 * 86_400 - 60..=30 * 86_400).contains(&lives), "{lives} s");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_promotion_that_vanishes_or_never_ends_is_not_taken_for_a_backup() {
    let (job, quota, nights) = ("when_full: promote", 2, 4);
    let faults = first(PROMOTE, Effect::Vanish);
    let account = Nights { job, quota, nights, faults, ..Nights::default() }.play().await;
    assert_eq!(account.ends(), ["completed"; 4]);
    let good = account.ledger.snapshots.iter().filter(|snapshot| snapshot.state == "NORMAL").count();
    assert_eq!((good, account.ledger.backups.len()), (2, 2));

    // The point is there still, and so is the snapshot that never ends: each later run waits for it in vain.
    let faults = first(PROMOTE, Effect::Stuck);
    let account = Nights { job, quota, nights, faults, ..Nights::default() }.play().await;
    let why = "promotion incomplete: complete_within passed before the snapshot was NORMAL";
    assert_eq!(account.ends(), ["completed", "completed", why, why]);
    assert_eq!(account.ledger.snapshots.len(), 1);
    assert_eq!(account.ledger.backups.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_waits_asks_the_disk_and_not_the_create_and_goes_on_when_a_point_has_gone() {
    let nights = Nights { quota: 1, nights: 2, ..Nights::default() };
    let world = nights.world();
    let daemon = world.start(&Arc::default()).await.unwrap();
    let second_night = Duration::from_secs(86_400 + 3 * 3600);
    tokio::time::sleep(second_night).await;
    let creates = |world: &World| world.sim.ledger().requests_of(CREATE).count();
    // In three hours: the first at 2:30, the others at the long pauses.
    let before = creates(&world);
    assert!((3..=16).contains(&before), "{before} creates");
    let asked = world.sim.ledger().requests_of("DescribeDisks").count();
    assert!(asked >= 150, "the disk was asked for {asked} times");
    let gone = world.sim.ledger().backups[0].backup_id.clone();
    assert!(world.sim.remove_backup(&gone));
    tokio::time::sleep(Duration::from_secs(150 + CREATE_MS / 1_000)).await;
    assert_eq!(creates(&world), before + 1);
    let rows = world.rows(None).await.unwrap();
    assert!(rows.iter().all(|row| matches!(row.run.state, State::Completed { .. })), "{rows:#?}");
    daemon.stop().await;
}

#[tokio::test(start_paused = true)]
async fn the_warning_comes_before_the_night_on_which_it_breaks() {
    for (job, quota, vendors_daily, warns) in [
        ("when_full: wait", 3, false, true),
        ("when_full: wait", 3, true, true),
        ("when_full: fail", 7, false, true),
        ("when_full: wait; keep: { last: 3 }", 3, true, true),
        ("when_full: wait; keep: { last: 3 }", 5, true, false),
        ("when_full: rotate", 2, true, true),
        ("when_full: rotate", 3, true, false),
        ("when_full: promote", 2, true, false),
    ] {
        println!("{job}, quota {quota}");
        let asked = Nights { job, quota, vendors_daily, nights: quota + 2, ..Nights::default() };
        let account = asked.play().await;
        let place = |kind| account.events.iter().position(|event| event.kind == kind);
        let (warned, full, failed) =
            (place(Kind::QuotaWarning), place(Kind::QuotaFull), place(Kind::BackupFailed));
        assert_eq!(warned.is_some(), warns);
        assert_eq!(failed.is_some(), warns, "what breaks is warned of, and what is warned of breaks");
        let Some(warned) = warned else { continue };
        let first_bad = full.into_iter().chain(failed).min().unwrap();
        let between = &account.events[warned..first_bad];
        let planned = between.iter().filter(|event| event.kind == Kind::RunPlanned).count();
        assert!(planned >= 2, "only {planned} due instants between the warning and the first full quota");
        let message = &account.events[warned].message;
        assert!(message.contains(" in flight + 1 for the vendor's own; the disk's quota is"), "{message}");
        assert_eq!(account.events[warned].fields.disk_id.as_deref(), Some(DISK));
    }
}

#[tokio::test(start_paused = true)]
async fn promoted_snapshots_join_retention_unless_they_have_a_deadline() {
    let nights = 7;
    for (job, kept) in [
        ("when_full: promote; keep: { last: 3 }", 3),
        ("when_full: promote; promoted_keep: 30d; keep: { last: 3 }", 7),
        ("when_full: promote", 7),
    ] {
        let account = Nights { job, quota: 1, nights, ..Nights::default() }.play().await;
        assert_eq!(account.ends(), ["completed"; 7], "{job}");
        let there: Vec<&str> = account
            .ledger
            .snapshots
            .iter()
            .filter(|snapshot| snapshot.state == "NORMAL")
            .map(|snapshot| snapshot.name.as_str())
            .chain(account.ledger.backups.iter().map(|backup| backup.name.as_str()))
            .collect();
        let name = |row: &Row| backup_core::BackupName::of(&row.owner, &row.run.id).to_string();
        let newest: Vec<String> = account.rows[account.rows.len() - kept..].iter().map(name).collect();
        assert_eq!(there, newest, "{job}");
        let deleted = account.executed("DeleteSnapshots").count();
        assert_eq!((deleted, account.executed(DELETE).count()), (7 - kept, 0), "{job}");
        assert_eq!(account.said(Kind::RetentionDeleted).len(), 7 - kept);
        account.assert_promoted_once();
    }
}

#[tokio::test(start_paused = true)]
async fn the_sum_is_made_again_at_a_reload_and_each_day() {
    let job = |job| Nights { job, quota: 5, ..Nights::default() };
    let world = job("when_full: wait; keep: { last: 3 }").world();
    let warned =
        |world: &World| world.log.events().iter().filter(|event| event.kind == Kind::QuotaWarning).count();
    let daemon = world.start(&Arc::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(warned(&world), 0);
    world.set_config((*job("when_full: wait; keep: { last: 4 }").world().config()).clone());
    daemon.reload(&world).await.unwrap();
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(warned(&world), 1, "at the reload");
    tokio::time::sleep(Duration::from_secs(3 * 86_400)).await;
    assert_eq!(warned(&world), 4, "and on each of three days");
    daemon.stop().await;
    // What was seen, and for which job it will not do, is there for others to read.
    let shelves = world.journal.read(|store| store.shelves()).await.unwrap();
    let [(target, SeenShelf { disk, quota: 5, count, short: Some(job) })] = &shelves[..] else {
        panic!("{shelves:?}")
    };
    assert_eq!((target.as_str(), disk.as_str(), job.as_str()), ("default", DISK, "db"));
    assert!((1..=5).contains(count), "{count}");
}
