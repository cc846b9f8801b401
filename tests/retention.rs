//! What is deleted of a disk's backups, and what never is: whole daemons over weeks, against the simulated cloud.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backup_core::retention::{Point, PointId, Verdict, plan};
use backup_core::run::Sighting;
use backup_core::{DiskId, JobName};
use cbs_backupd::app::Idle;
use cbs_backupd::clock::Clock as _;
use cbs_backupd::config::Config;
use cbs_backupd::journal::{Answer, Change, Listed, Request, Which as Asked};
use cbs_backupd::report::{Event, Kind};
use cbs_backupd::simulate::{Beginning, Life, Living, Network, Tamper, World, key};
use cbs_sim::{BackupState, Choices, Disk, Effect, ExistingBackup, Rule, Timings, Which};
use jiff::{SignedDuration, Timestamp};

const DELETE: &str = "DeleteDiskBackups";
const START: &str = "2026-11-24T02:29:50Z";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// Jobs as YAML lines below `jobs:`.
fn config(jobs: &str) -> Config {
    let text = format!(
        "owner: ops1\ntimezone: Asia/Shanghai\nsettle: 30s\ntargets:\n  default: {{ region: ap-guangzhou }}\njobs:\n{jobs}"
    );
    Config::parse("retention.yaml", &text, &BTreeMap::new()).unwrap_or_else(|errors| panic!("{errors}"))
}

/// A job that is due at 02:30 UTC.
fn job(name: &str, disks: &str, keep: &str) -> String {
    let schedule = "{ cron: \"30 2 * * *\", timezone: UTC }";
    format!("  - name: {name}\n    disks: [{disks}]\n    schedule: {schedule}\n{keep}")
}

fn daily(disks: &str, keep: &str) -> String {
    job("db", disks, &format!("    keep: {keep}\n"))
}

fn world(jobs: &str, disks: Vec<Disk>, faults: Vec<Rule>) -> World {
    world_that_takes(60_000, jobs, disks, faults)
}

/// A backup takes so many milliseconds.
fn world_that_takes(create_ms: u64, jobs: &str, disks: Vec<Disk>, faults: Vec<Rule>) -> World {
    World::new(Beginning {
        start: START.parse().unwrap(),
        config: config(jobs),
        cloud: cbs_sim::World {
            credentials: vec![key(0)],
            timings: Timings {
                create_ms: (create_ms, create_ms),
                visible_ms: (0, 1_000),
                reply_ms: (20, 20),
                ..Timings::default()
            },
            choices: Choices { one_creation_at_a_time: false, ..Choices::default() },
            disks,
            faults,
            ..cbs_sim::World::default()
        },
        network: Network::default(),
        seed: 1,
        idle: Idle { hop: HOUR, watch: MINUTE },
        keep_events: true,
        listener: None,
        tamper: Tamper::default(),
    })
    .unwrap()
}

fn disk(id: &str, backups: Vec<ExistingBackup>) -> Disk {
    Disk { quota: 50, backups, ..Disk::new(id) }
}

fn existing(id: &str, name: &str, state: BackupState) -> ExistingBackup {
    let created = "2026-11-20T00:00:00Z".parse().unwrap();
    ExistingBackup { id: id.to_owned(), name: name.to_owned(), created, state }
}

async fn start(world: &World) -> Living {
    world.start(&Arc::new(Life::default())).await.unwrap()
}

fn said(world: &World, kind: Kind) -> Vec<Event> {
    world.log.events().into_iter().filter(|event| event.kind == kind).collect()
}

fn names(world: &World, disk: &str) -> BTreeSet<String> {
    world.sim.ledger().backups_of(disk).map(|backup| backup.name.clone()).collect()
}

fn ids(world: &World, disk: &str) -> Vec<String> {
    let mut ids: Vec<String> =
        world.sim.ledger().backups_of(disk).map(|backup| backup.backup_id.clone()).collect();
    ids.sort();
    ids
}

/// Nothing was said or done that should not be; of what was deleted, nobody says that it was lost.
fn assert_orderly(world: &World) {
    assert_eq!(world.witness.objections(), Vec::<String>::new());
    for kind in [Kind::DaemonFault, Kind::BackupGone, Kind::BackupVanished, Kind::BackupFailed] {
        assert_eq!(said(world, kind), []);
    }
}

/// Leaves a request, and waits for its answer.
async fn ask(world: &World, request: Request) -> Vec<Listed> {
    let made_at = world.clock.wall();
    let id = made_at.to_string();
    let change = Change::Request { request_id: id.clone(), body: request, made_at };
    world.journal.write(change).await.unwrap();
    let number = world.journal.read(move |store| store.request_number(&id)).await.unwrap().unwrap();
    for _ in 0..1_000 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match world.journal.read(move |store| store.answer(number)).await.unwrap() {
            Some(Answer::Backups { backups, problems }) => {
                assert_eq!(problems, Vec::<String>::new());
                return backups;
            }
            Some(other) => panic!("{other:?}"),
            None => {}
        }
    }
    panic!("no answer");
}

#[tokio::test(start_paused = true)]
async fn weeks_of_dailies_leave_what_the_plan_says() {
    let days = 40;
    let world = world(
        &daily("disk-1", "{ last: 2, daily: 4, weekly: 3, monthly: 2 }"),
        vec![disk("disk-1", vec![])],
        vec![],
    );
    let living = start(&world).await;
    for _ in 0..days {
        tokio::time::sleep(DAY).await;
        let ledger = world.sim.ledger();
        assert!(
            ledger.backups.iter().any(|backup| backup.state == "NORMAL"),
            "a night without a good backup"
        );
        assert!(ledger.backups.len() <= 2 + 4 + 3 + 2, "{:#?}", ledger.backups);
    }
    living.stop().await;

    // As if nothing had ever been deleted.
    let first: Timestamp = "2026-11-24T02:30:00Z".parse().unwrap();
    let disk: DiskId = "disk-1".parse().unwrap();
    let all: Vec<Point> = (0..days)
        .map(|day| {
            let due = first + SignedDuration::from_hours(24 * day);
            let name = due.strftime("ops1_db_%Y%m%dT%H%M%SZ").to_string();
            let id = PointId::Backup(format!("dbp-{day}").parse().unwrap());
            Point::of(&"ops1".parse().unwrap(), &disk, id, &name, Sighting::Normal).unwrap()
        })
        .collect();
    let config = world.config();
    let rules = |_: &JobName| Some((config.jobs[0].keep.clone(), config.jobs[0].schedule.zone().clone()));
    let kept: BTreeSet<PointId> = plan(&all, &rules, world.clock.wall())
        .into_iter()
        .filter_map(|(id, verdict)| matches!(verdict, Verdict::Kept(_)).then_some(id))
        .collect();
    let expected: BTreeSet<String> = all
        .iter()
        .filter(|point| kept.contains(&point.id))
        .map(|point| point.run.due.strftime("ops1_db_%Y%m%dT%H%M%SZ").to_string())
        .collect();
    assert_eq!(names(&world, "disk-1"), expected);
    let gone = usize::try_from(days).unwrap() - expected.len();
    assert!(gone > 30);
    let ledger = world.sim.ledger();
    assert_eq!((ledger.gone.len(), ledger.requests_of(DELETE).count()), (gone, gone));
    let deleted = said(&world, Kind::RetentionDeleted);
    assert_eq!(deleted.len(), gone);
    assert!(deleted.iter().all(|event| event.message == "not kept by any rule"), "{deleted:#?}");
    assert!(said(&world, Kind::RetentionKept).len() >= 30);
    assert_orderly(&world);
    // What was deleted by the rules is not waited for, and not counted as good.
    let known = world.journal.read(move |store| store.to_compare(&disk, &[])).await.unwrap();
    assert_eq!(known.len(), expected.len());
}

/// The second listing comes no earlier than the settle after the first, and the deletes after that.
#[tokio::test(start_paused = true)]
async fn nothing_goes_before_what_stays_was_good_in_two_listings() {
    let world = world(&daily("disk-1", "{ last: 1 }"), vec![disk("disk-1", vec![])], vec![]);
    let living = start(&world).await;
    tokio::time::sleep(2 * DAY).await;
    living.stop().await;
    let ledger = world.sim.ledger();
    let [delete] = ledger.requests_of(DELETE).collect::<Vec<_>>()[..] else { panic!("{ledger:#?}") };
    let [backup] = &ledger.backups[..] else { panic!("{ledger:#?}") };
    // It took a minute to become NORMAL.
    let normal = backup.created + SignedDuration::from_secs(25);
    let waited = delete.arrival.duration_since(normal);
    assert!(waited >= SignedDuration::from_secs(30), "{waited}");
    let between = |listing: &&cbs_sim::RequestRecord| (normal..delete.arrival).contains(&listing.arrival);
    let listings: Vec<Timestamp> =
        ledger.requests_of("DescribeDiskBackups").filter(between).map(|listing| listing.arrival).collect();
    let (first, last) = (listings[0], *listings.last().unwrap());
    assert!(last.duration_since(first) >= SignedDuration::from_secs(30), "{listings:?}");
    assert!(delete.arrival.duration_since(last) < SignedDuration::from_secs(5), "the last listing is fresh");
    assert_orderly(&world);
}

/// A backup that became good between the two listings does not make others go yet.
#[tokio::test(start_paused = true)]
async fn what_was_good_in_one_listing_alone_does_not_count_yet() {
    let old =
        |day| existing(&format!("dbp-{day}"), &format!("ops1_db_202611{day}T023000Z"), BackupState::Normal);
    let disks = vec![disk("disk-1", vec![old(22), old(23)])];
    let world = world_that_takes(25_000, &daily("disk-1", "{ last: 1 }"), disks, vec![]);
    let living = start(&world).await;
    tokio::time::sleep(HOUR).await;
    living.stop().await;
    let ledger = world.sim.ledger();
    let deletes: Vec<(&str, Timestamp)> = ledger
        .requests_of(DELETE)
        .map(|request| (request.backup_id.as_deref().unwrap(), request.arrival))
        .collect();
    let [("dbp-22", first), ("dbp-23", second)] = deletes[..] else { panic!("{deletes:?}") };
    let normal = ledger.backups[0].created + SignedDuration::from_secs(25);
    assert!(normal < first, "else this shows nothing: {normal} {first}");
    let listings = ledger.requests_of("DescribeDiskBackups").map(|listing| listing.arrival);
    let seen = listings.filter(|arrival| *arrival >= normal).min().unwrap();
    assert!(second.duration_since(seen) >= SignedDuration::from_secs(30), "{seen} {second}");
    assert_orderly(&world);
}

/// Everything that may stand on a disk, and what a `prune` of all that may go leaves of it.
#[tokio::test(start_paused = true)]
async fn prune_deletes_nothing_of_others_and_nothing_that_is_not_normal() {
    use BackupState::{Creating, Normal, Rollbacking};
    let all_kinds = |n: u32| {
        vec![
            existing(&format!("dbp-a{n}"), "ops1_db_20261119T023000Z", Normal),
            existing(&format!("dbp-b{n}"), "ops1_db_20261120T023000Z", Normal),
            existing(&format!("dbp-c{n}"), "ops1_db_20261121T023000Z", Normal),
            existing(&format!("dbp-d{n}"), "ops1_db_20261118T023000Z", Creating),
            existing(&format!("dbp-e{n}"), "ops1_old_20261101T023000Z", Normal),
            existing(&format!("dbp-f{n}"), "ops1_old_20261102T023000Z", Creating),
            existing(&format!("dbp-g{n}"), "ops2_db_20261101T023000Z", Normal),
            existing(&format!("dbp-h{n}"), "before the upgrade", Normal),
            existing(&format!("dbp-i{n}"), "", Normal),
            existing(&format!("dbp-j{n}"), "ops1_manual_20261101T023000Z", Normal),
        ]
    };
    let rolled = {
        let mut backups = all_kinds(2);
        backups.push(existing("dbp-k2", "ops1_db_20261117T023000Z", Rollbacking));
        backups
    };
    let disks = vec![disk("disk-1", all_kinds(1)), disk("disk-2", rolled), disk("disk-3", all_kinds(3))];
    let world = world(&daily("disk-1, disk-2", "{ last: 2 }"), disks, vec![]);
    let before = ids(&world, "disk-2");
    let living = start(&world).await;
    tokio::time::sleep(2 * HOUR).await;
    // By itself: the rules of the job, on the disks of the job; nothing where a rollback is under way.
    let left = |n: u32, gone: &[&str]| -> Vec<String> {
        all_kinds(n).into_iter().map(|backup| backup.id).filter(|id| !gone.contains(&id.as_str())).collect()
    };
    let without_new = |disk| {
        let mut ids = ids(&world, disk);
        ids.retain(|id| id.len() == "dbp-a1".len());
        ids
    };
    assert_eq!(without_new("disk-1"), left(1, &["dbp-a1"]));
    assert_eq!(without_new("disk-2"), before);
    assert_eq!(without_new("disk-3"), left(3, &[]), "no job holds it");

    let preview = ask(&world, Request::Backups(Asked { orphans: true, ..Asked::default() })).await;
    let orphans = Asked { orphans: true, ..Asked::default() };
    let done = ask(&world, Request::Prune(orphans)).await;
    living.stop().await;
    assert_eq!(without_new("disk-1"), left(1, &["dbp-a1", "dbp-e1"]));
    assert_eq!(without_new("disk-2"), before);
    // All of our good ones there are orphans, but for `manual`: the newest good one stays.
    assert_eq!(without_new("disk-3"), left(3, &["dbp-a3", "dbp-b3", "dbp-e3"]));

    let verdict = |list: &[Listed], id: &str| {
        let found = list.iter().find(|listed| listed.id == id).unwrap();
        (found.kind.clone(), found.verdict.clone().unwrap_or_default())
    };
    for (id, kind, expected) in [
        ("dbp-e1", "orphan", "delete: its job is gone"),
        ("dbp-d1", "ours", "refused: not NORMAL"),
        ("dbp-f1", "orphan", "refused: not NORMAL"),
        ("dbp-g1", "other", ""),
        ("dbp-h1", "other", ""),
        ("dbp-i1", "other", ""),
        ("dbp-j1", "ours", "refused: its job has no `keep`"),
        ("dbp-c1", "ours", "kept: last 1"),
        ("dbp-b1", "ours", "kept: last 2"),
        ("dbp-a2", "ours", "refused: its disk is being rolled back"),
        ("dbp-k2", "ours", "refused: not NORMAL"),
        ("dbp-c3", "orphan", "refused: last good one"),
    ] {
        assert_eq!(verdict(&preview, id), (kind.to_owned(), expected.to_owned()), "{id}");
    }
    let deleted: BTreeSet<&str> =
        done.iter().filter(|listed| listed.deleted == Some(true)).map(|listed| listed.id.as_str()).collect();
    assert_eq!(deleted, ["dbp-e1", "dbp-a3", "dbp-b3", "dbp-e3"].into());
    assert_orderly(&world);
}

#[tokio::test(start_paused = true)]
async fn prune_heeds_disk_and_job_and_waits_for_no_daemon_to_have_done_it() {
    let old = |n: u32| {
        ["db", "web"].map(|job| {
            existing(&format!("dbp-{job}{n}"), &format!("ops1_{job}_20261119T023000Z"), BackupState::Normal)
        })
    };
    let jobs = job("db", "disk-1, disk-2", "") + &job("web", "disk-1, disk-2", "");
    let world = world(&jobs, vec![disk("disk-1", old(1).into()), disk("disk-2", old(2).into())], vec![]);
    let living = start(&world).await;
    tokio::time::sleep(2 * HOUR).await;
    let keep = "    keep: { last: 1 }\n";
    world.set_config(config(&(job("db", "disk-1, disk-2", keep) + &job("web", "disk-1, disk-2", keep))));
    living.reload(&world).unwrap();
    let only = Asked {
        disk: Some("disk-2".parse().unwrap()),
        job: Some("web".parse().unwrap()),
        ..Asked::default()
    };
    let listed = ask(&world, Request::Backups(only.clone())).await;
    assert_eq!(
        listed.iter().filter(|listed| listed.delete).map(|listed| &*listed.id).collect::<Vec<_>>(),
        ["dbp-web2"]
    );
    assert!(listed.iter().all(|listed| listed.disk_id == "disk-2"));
    living.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_delete_whose_reply_is_lost_is_said_once_and_nobody_is_asked_who_did_it() {
    for executed in [true, false] {
        let lost = Rule::on(DELETE, Effect::Timeout { executed }).which(Which::Nth(1));
        let world = world(&daily("disk-1", "{ last: 1 }"), vec![disk("disk-1", vec![])], vec![lost]);
        let living = start(&world).await;
        // Long enough for three listings that do not show it.
        tokio::time::sleep(DAY + 22 * HOUR).await;
        living.stop().await;
        assert_eq!(names(&world, "disk-1"), ["ops1_db_20261125T023000Z".to_owned()].into());
        let deleted = said(&world, Kind::RetentionDeleted);
        assert_eq!(deleted.len(), 1, "{deleted:#?}");
        assert_eq!(deleted[0].fields.run.as_deref(), Some("db/disk-1/20261124T023000Z"));
        assert_eq!(said(&world, Kind::RetentionFailed).len(), 1);
        assert_orderly(&world);
    }
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_refused_is_tried_again_and_holds_up_nobody() {
    let refused = Effect::Error { code: "UnauthorizedOperation".to_owned(), message: String::new() };
    let rule = Rule { disks: vec!["disk-1".to_owned()], ..Rule::on(DELETE, refused) };
    let disks = vec![disk("disk-1", vec![]), disk("disk-2", vec![])];
    let world = world(&daily("disk-1, disk-2", "{ last: 1 }"), disks, vec![rule]);
    let living = start(&world).await;
    tokio::time::sleep(2 * DAY).await;
    assert_eq!((names(&world, "disk-1").len(), names(&world, "disk-2").len()), (2, 1));
    let tries = world.sim.ledger().requests_of(DELETE).count();
    assert!((5..60).contains(&tries), "{tries} deletes in a day");
    assert!(!said(&world, Kind::RetentionFailed).is_empty());
    world.sim.set_faults(vec![]);
    tokio::time::sleep(2 * HOUR).await;
    living.stop().await;
    assert_eq!(names(&world, "disk-1").len(), 1);
    assert_orderly(&world);
}

#[tokio::test(start_paused = true)]
async fn what_is_old_goes_though_no_run_completes_but_never_the_last_good_one() {
    let world = world(&daily("disk-1", "{ within: 2d }"), vec![disk("disk-1", vec![])], vec![]);
    let living = start(&world).await;
    tokio::time::sleep(3 * DAY).await;
    assert_eq!(names(&world, "disk-1").len(), 2, "{:#?}", names(&world, "disk-1"));
    // From now on none is made.
    let broken = Effect::Error { code: "InvalidDisk.Busy".to_owned(), message: String::new() };
    world.sim.set_faults(vec![Rule::on("CreateDiskBackup", broken)]);
    tokio::time::sleep(10 * DAY).await;
    living.stop().await;
    assert_eq!(names(&world, "disk-1"), ["ops1_db_20261126T023000Z".to_owned()].into());
    assert_eq!(world.witness.objections(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn without_a_clock_that_can_be_believed_nothing_goes() {
    let world = world(&daily("disk-1", "{ within: 7d }"), vec![disk("disk-1", vec![])], vec![]);
    let living = start(&world).await;
    tokio::time::sleep(3 * DAY).await;
    assert_eq!(names(&world, "disk-1").len(), 3);
    world.clock.step(SignedDuration::from_hours(24 * 365));
    tokio::time::sleep(20 * HOUR).await;
    assert_eq!(names(&world, "disk-1").len(), 3);
    living.stop().await;
    assert!(!said(&world, Kind::ClockWrong).is_empty());
    assert_orderly(&world);
}

#[tokio::test(start_paused = true)]
async fn a_job_that_goes_leaves_its_backups_and_one_without_keep_deletes_nothing() {
    let keep = "    keep: { last: 1 }\n";
    let both = job("db", "disk-1", keep) + &job("web", "disk-2", "");
    let world = world(&both, vec![disk("disk-1", vec![]), disk("disk-2", vec![])], vec![]);
    let living = start(&world).await;
    tokio::time::sleep(HOUR).await;
    world.set_config(config(&job("web", "disk-2", "")));
    living.reload(&world).unwrap();
    tokio::time::sleep(4 * DAY).await;
    living.stop().await;
    assert_eq!((names(&world, "disk-1").len(), names(&world, "disk-2").len()), (1, 5));
    assert_eq!(world.sim.ledger().requests_of(DELETE).count(), 0);
    assert_orderly(&world);
}

/// Another installation uses our `owner`: of two backups of a name, the one that the journal does not name is not ours.
#[tokio::test(start_paused = true)]
async fn of_two_backups_of_a_name_the_one_that_the_journal_does_not_have_stays() {
    let same = |id| existing(id, "ops1_db_20261120T023000Z", BackupState::Normal);
    let world = world(
        &daily("disk-1", "{ last: 1 }"),
        vec![disk("disk-1", vec![same("dbp-a"), same("dbp-b")])],
        vec![],
    );
    let living = start(&world).await;
    tokio::time::sleep(DAY).await;
    living.stop().await;
    let left = ids(&world, "disk-1");
    assert_eq!(left.iter().filter(|id| ["dbp-a", "dbp-b"].contains(&id.as_str())).count(), 1, "{left:?}");
    assert_eq!(said(&world, Kind::RetentionDeleted).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_was_to_go_and_is_kept_after_all_is_said_to_be_gone_when_another_deletes_it() {
    let refused = Effect::Error { code: "UnauthorizedOperation".to_owned(), message: String::new() };
    let disks = vec![disk("disk-1", vec![])];
    let world = world(&daily("disk-1", "{ last: 1 }"), disks, vec![Rule::on(DELETE, refused)]);
    let living = start(&world).await;
    tokio::time::sleep(DAY + 2 * HOUR).await;
    assert_eq!(said(&world, Kind::RetentionFailed).len(), 1);
    world.set_config(config(&daily("disk-1", "{ last: 9 }")));
    living.reload(&world).unwrap();
    tokio::time::sleep(7 * HOUR).await;
    let first = ids(&world, "disk-1");
    assert_eq!(first.len(), 2);
    let old = world.sim.ledger().backups[0].backup_id.clone();
    assert!(world.sim.remove_backup(&old));
    tokio::time::sleep(20 * HOUR).await;
    living.stop().await;
    assert_eq!(said(&world, Kind::RetentionDeleted), []);
    assert_eq!(said(&world, Kind::BackupGone).len(), 1);
    assert_eq!(world.witness.objections(), Vec::<String>::new());
}

#[tokio::test(start_paused = true)]
async fn a_reload_stops_what_the_old_rules_had_begun() {
    let old =
        |day| existing(&format!("dbp-{day}"), &format!("ops1_db_202611{day}T023000Z"), BackupState::Normal);
    let slow = Rule::on(DELETE, Effect::Slow { ms: 10_000 }).which(Which::First(1));
    let disks = vec![disk("disk-1", (15..24).map(old).collect())];
    let world = world(&daily("disk-1", "{ last: 1 }"), disks, vec![slow]);
    let living = start(&world).await;
    while world.sim.ledger().requests_of(DELETE).count() == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    world.set_config(config(&daily("disk-1", "{ last: 30 }")));
    living.reload(&world).unwrap();
    tokio::time::sleep(DAY / 2).await;
    living.stop().await;
    assert_eq!(world.sim.ledger().requests_of(DELETE).count(), 1);
    assert_eq!(said(&world, Kind::RetentionFailed), []);
    assert_orderly(&world);
}
