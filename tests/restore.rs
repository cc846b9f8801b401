//! Disks that are put back to a backup, against the simulated cloud: what must hold first, what a lost reply and a crash
//! lead to, and that backups and rollbacks of a disk keep out of each other's way.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backup_core::restore::{Failure, State};
use cbs_backupd::app::Idle;
use cbs_backupd::clock::Clock as _;
use cbs_backupd::config::Config;
use cbs_backupd::journal::{Answer, Change, Request, RestoreAsk, RestoreRow};
use cbs_backupd::report::Kind;
use cbs_backupd::simulate::{Beginning, Life, Network, Tamper, World, key};
use cbs_sim::{BackupState, Disk, DiskState, Effect, ExistingBackup, Rule, Timings, Which};

const APPLY: &str = "ApplyDiskBackup";
const DISK: &str = "disk-1";
const POINT: &str = "dbp-1";

fn disk(id: &str, point: &str) -> Disk {
    let (name, created) = ("ops1_db_20261123T023000Z".to_owned(), "2026-11-23T02:30:01Z".parse().unwrap());
    let backups = vec![ExistingBackup { id: point.to_owned(), name, created, state: BackupState::Normal }];
    Disk { state: DiskState::Unattached, backups, ..Disk::new(id) }
}

/// Ten seconds before a backup of one disk is due.
fn world(disks: Vec<Disk>, effect: Option<Effect>) -> World {
    let text = "owner: ops1\nsettle: 30s\ntargets:\n  default: { region: ap-guangzhou }\n\
                jobs:\n  - name: db\n    disks: [disk-1]\n    schedule: \"30 2 * * *\"\n";
    let faults = effect.map(|effect| Rule::on(APPLY, effect).which(Which::First(1)));
    World::new(Beginning {
        start: "2026-11-24T02:29:50Z".parse().unwrap(),
        config: Config::parse("restore.yaml", text, &BTreeMap::new()).unwrap(),
        cloud: cbs_sim::World {
            credentials: vec![key(0)],
            timings: Timings {
                create_ms: (8_000, 8_000),
                reply_ms: (20, 20),
                rollback_ms: (40_000, 40_000),
                ..Timings::default()
            },
            disks,
            faults: faults.into_iter().collect(),
            ..cbs_sim::World::default()
        },
        network: Network { on_its_way_ms: (40, 40), ..Network::default() },
        seed: 1,
        idle: Idle { hop: Duration::from_secs(30), watch: Duration::from_secs(1) },
        keep_events: true,
        listener: None,
        tamper: Tamper::default(),
    })
    .unwrap()
}

fn ask(disk: &str, backup: &str) -> RestoreAsk {
    let (disk, backup) = (disk.parse().unwrap(), backup.parse().unwrap());
    RestoreAsk { disk, backup, target: None, auto_stop: false, auto_start: false }
}

/// Leaves a request, as a command does.
async fn request(world: &World, id: &str, body: Request) -> i64 {
    let change =
        Change::Request { request_id: id.to_owned(), body, made_at: "2026-11-24T02:29:50Z".parse().unwrap() };
    world.journal.write(change).await.unwrap();
    let id = id.to_owned();
    world.journal.read(move |store| store.request_number(&id)).await.unwrap().unwrap()
}

async fn answer(world: &World, number: i64) -> Answer {
    loop {
        if let Some(answer) = world.journal.read(move |store| store.answer(number)).await.unwrap() {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn ended(world: &World, number: i64) -> RestoreRow {
    for _ in 0..10_000 {
        let row = world.journal.read(move |store| store.restore(number)).await.unwrap();
        if let Some(row) = row.filter(|row| row.ended_at.is_some()) {
            return row;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("not ended: {:?}", world.journal.read(move |store| store.restore(number)).await);
}

/// A restore from the request to its end.
async fn restored(world: &World, ask: RestoreAsk) -> RestoreRow {
    let number = request(world, "restore", Request::Restore(ask)).await;
    assert_eq!(answer(world, number).await, Answer::Restore { number });
    ended(world, number).await
}

fn asked(world: &World) -> usize {
    world.sim.ledger().requests_of(APPLY).count()
}

fn said(world: &World, kind: Kind) -> usize {
    world.log.events().iter().filter(|event| event.kind == kind).count()
}

#[tokio::test(start_paused = true)]
async fn a_disk_is_put_back_and_its_due_backup_waits_for_it() {
    let world = world(vec![disk(DISK, POINT)], None);
    let daemon = world.start(&Arc::default()).await.unwrap();
    let row = restored(&world, ask(DISK, POINT)).await;
    assert_eq!((row.restore.state, row.restore.attempts), (State::Completed, 1));
    let took = row.ended_at.unwrap().duration_since(row.asked_at).as_secs();
    assert!((40..46).contains(&took), "{took} s");
    // Its backup was due ten seconds after the start, in the midst of it: it came after, and nothing failed.
    while said(&world, Kind::BackupCompleted) == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let ledger = world.sim.ledger();
    assert!(ledger.requests.iter().all(|request| request.code.is_none()), "{:#?}", ledger.requests);
    let create = ledger.requests_of("CreateDiskBackup").next().unwrap();
    assert!(create.arrival >= row.ended_at.unwrap());
    daemon.stop().await;
    for kind in [Kind::RestoreRequested, Kind::RestoreCompleted] {
        assert_eq!(said(&world, kind), 1, "{kind:?}");
    }
    assert_eq!((asked(&world), said(&world, Kind::BackupRetry)), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn what_must_hold_is_looked_at_before_anything_is_asked_for() {
    let being_made = || Disk { backups: Vec::new(), ..disk(DISK, POINT) };
    for (disks, wanted, backup, word) in [
        (vec![disk(DISK, POINT), disk("disk-2", "dbp-2")], DISK, "dbp-2", "is of disk-2"),
        (vec![disk(DISK, POINT)], "disk-2", POINT, "there is no disk disk-2"),
        (vec![disk(DISK, POINT)], DISK, "dbp-9", "there is no backup dbp-9"),
        (
            vec![Disk {
                state: DiskState::Attached,
                instances: vec!["ins-1".to_owned()],
                ..disk(DISK, POINT)
            }],
            DISK,
            POINT,
            "is attached to ins-1",
        ),
        (vec![Disk { state: DiskState::Expanding, ..disk(DISK, POINT) }], DISK, POINT, "is EXPANDING"),
        (
            vec![Disk { state: DiskState::Rollbacking, ..disk(DISK, POINT) }],
            DISK,
            POINT,
            "rolled back already",
        ),
        (vec![being_made()], DISK, POINT, "there is no backup"),
    ] {
        let world = world(disks, None);
        let daemon = world.start(&Arc::default()).await.unwrap();
        let look = request(&world, "look", Request::InspectRestore(ask(wanted, backup))).await;
        let Answer::Inspected { problem: Some(problem), .. } = answer(&world, look).await else {
            panic!("{word}")
        };
        assert!(problem.contains(word), "{problem}");
        let row = restored(&world, ask(wanted, backup)).await;
        let State::Failed { why: Failure::Refused(why) } = row.restore.state else { panic!("{row:?}") };
        assert_eq!(why, problem);
        daemon.stop().await;
        assert_eq!((asked(&world), said(&world, Kind::RestoreFailed)), (0, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_whose_backup_is_being_made_is_not_put_back() {
    let world = world(vec![disk(DISK, POINT)], None);
    let daemon = world.start(&Arc::default()).await.unwrap();
    while said(&world, Kind::BackupAccepted) == 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let point = world.sim.ledger().backups.last().unwrap().backup_id.clone();
    let look = request(&world, "look", Request::InspectRestore(ask(DISK, POINT))).await;
    let Answer::Inspected { problem: Some(problem), .. } = answer(&world, look).await else { panic!() };
    assert!(problem.contains("a backup of it is being made (run db/disk-1/20261124T023000Z)"), "{problem}");
    for (number, (backup, word)) in
        [(POINT, "a backup of the disk"), (&point, "is CREATING")].into_iter().enumerate()
    {
        let number = request(&world, &number.to_string(), Request::Restore(ask(DISK, backup))).await;
        let State::Failed { why: Failure::Refused(why) } = ended(&world, number).await.restore.state else {
            panic!("{word}")
        };
        assert!(why.contains(word), "{why}");
    }
    daemon.stop().await;
    assert_eq!(asked(&world), 0);
}

#[tokio::test(start_paused = true)]
async fn an_attached_disk_is_put_back_with_its_instance_shut_down() {
    let attached =
        Disk { state: DiskState::Attached, instances: vec!["ins-1".to_owned()], ..disk(DISK, POINT) };
    let world = world(vec![attached], None);
    let daemon = world.start(&Arc::default()).await.unwrap();
    let row = restored(&world, RestoreAsk { auto_stop: true, ..ask(DISK, POINT) }).await;
    assert_eq!(row.restore.state, State::Completed);
    daemon.stop().await;
}

/// Whatever happened to the reply, one call was made at most that had an effect.
#[tokio::test(start_paused = true)]
async fn after_a_lost_reply_the_disk_is_looked_at_and_never_put_back_again() {
    for effect in [
        Effect::Timeout { executed: true },
        Effect::Drop { executed: true },
        Effect::NoResult,
        Effect::ErrorAfter { code: "InternalError".to_owned(), message: "done all the same".to_owned() },
    ] {
        println!("{effect:?}");
        let world = world(vec![disk(DISK, POINT)], Some(effect));
        let daemon = world.start(&Arc::default()).await.unwrap();
        let row = restored(&world, ask(DISK, POINT)).await;
        assert_eq!((row.restore.state, row.restore.attempts, asked(&world)), (State::Completed, 1, 1));
        daemon.stop().await;
    }
    // Not carried out, and no word of it: the outcome stays unknown, and a person judges.
    for effect in [Effect::Timeout { executed: false }, Effect::Drop { executed: false }] {
        let world = world(vec![disk(DISK, POINT)], Some(effect));
        let daemon = world.start(&Arc::default()).await.unwrap();
        let row = restored(&world, ask(DISK, POINT)).await;
        assert_eq!(row.restore.state, State::Failed { why: Failure::OutcomeUnknown });
        assert_eq!(asked(&world), 1);
        daemon.stop().await;
        assert_eq!(said(&world, Kind::RestoreFailed), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_throttled_rollback_is_asked_for_again_and_a_refused_one_is_not() {
    let error = |code: &str| Effect::Error { code: code.to_owned(), message: "as scripted".to_owned() };
    let throttled = world(vec![disk(DISK, POINT)], Some(error("RequestLimitExceeded")));
    let daemon = throttled.start(&Arc::default()).await.unwrap();
    let row = restored(&throttled, ask(DISK, POINT)).await;
    assert_eq!((row.restore.state, row.restore.attempts), (State::Completed, 2));
    daemon.stop().await;

    let refused = world(vec![disk(DISK, POINT)], Some(error("UnauthorizedOperation")));
    let daemon = refused.start(&Arc::default()).await.unwrap();
    let row = restored(&refused, ask(DISK, POINT)).await;
    let State::Failed { why: Failure::Refused(why) } = row.restore.state else { panic!("{row:?}") };
    assert!(why.contains("UnauthorizedOperation: as scripted"), "{why}");
    daemon.stop().await;
    assert_eq!(asked(&refused), 1);
}

/// A daemon dies at each effect boundary in turn, and another takes over.
#[tokio::test(start_paused = true)]
async fn a_daemon_that_dies_in_the_midst_never_has_a_disk_put_back_twice() {
    let mut outcomes = BTreeMap::new();
    for boundary in 1.. {
        let world = world(vec![disk(DISK, POINT)], None);
        let number = request(&world, "restore", Request::Restore(ask(DISK, POINT))).await;
        let life = Arc::new(Life::until(boundary));
        let first = world.start(&life).await;
        let survived = tokio::select! {
            biased;
            () = life.ended() => false,
            _ = ended(&world, number) => true,
        };
        drop(first);
        tokio::time::sleep(Duration::from_millis(50)).await;
        let second = world.start(&Arc::default()).await.unwrap();
        let row = ended(&world, number).await;
        second.stop().await;
        assert!(asked(&world) <= 1, "boundary {boundary}: asked {} times", asked(&world));
        let executed = world.sim.ledger().requests_of(APPLY).filter(|request| request.executed).count();
        match &row.restore.state {
            State::Completed => assert_eq!(executed, 1, "boundary {boundary}"),
            // It died between the intent and the call.
            State::Failed { why: Failure::OutcomeUnknown } => assert_eq!(executed, 0, "boundary {boundary}"),
            other => panic!("boundary {boundary}: {other:?}"),
        }
        let told = said(&world, Kind::RestoreCompleted) + said(&world, Kind::RestoreFailed);
        assert!((1..=2).contains(&told), "boundary {boundary}: told {told} times");
        *outcomes.entry(row.restore.state.name()).or_insert(0) += 1;
        if survived {
            break;
        }
    }
    println!("{outcomes:?}");
    assert!(outcomes["completed"] > 10 && outcomes["failed"] >= 1, "{outcomes:?}");
}

/// Retention would delete it, and leaves it alone for as long as a person wants the disk put back to it.
#[tokio::test(start_paused = true)]
async fn a_backup_that_a_disk_is_to_be_put_back_to_is_not_deleted() {
    let scene = |throttles| {
        let newer = ExistingBackup {
            id: "dbp-2".to_owned(),
            name: "ops1_db_20261123T143000Z".to_owned(),
            created: "2026-11-23T14:30:01Z".parse().unwrap(),
            state: BackupState::Normal,
        };
        let mut disk = disk(DISK, POINT);
        disk.backups.push(newer);
        let world = world(vec![disk], None);
        let keep = "owner: ops1\nsettle: 30s\ntargets:\n  default: { region: ap-guangzhou }\njobs:\n  \
                    - { name: db, disks: [disk-1], schedule: \"0 0 29 2 *\", keep: { last: 1 } }\n";
        world.set_config(Config::parse("keep.yaml", keep, &BTreeMap::new()).unwrap());
        let busy = Effect::Error { code: "RequestLimitExceeded".to_owned(), message: String::new() };
        world.sim.set_faults(vec![Rule::on(APPLY, busy).which(Which::First(throttles))]);
        world
    };
    let deleted = async |world: &World| {
        while said(world, Kind::RetentionDeleted) == 0 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        world.clock.mono()
    };
    // When it goes where nobody wants it.
    let alone = scene(0);
    let began = alone.clock.mono();
    let daemon = alone.start(&Arc::default()).await.unwrap();
    let goes = deleted(&alone).await - began;
    daemon.stop().await;
    assert!(goes > Duration::from_secs(10), "{goes:?}");

    // Wanted a little before, and for half a minute not to be had.
    let world = scene(4);
    let began = world.clock.mono();
    let daemon = world.start(&Arc::default()).await.unwrap();
    tokio::time::sleep(goes - Duration::from_secs(5)).await;
    let row = restored(&world, ask(DISK, POINT)).await;
    assert_eq!((row.restore.state, row.restore.attempts), (State::Completed, 5));
    assert_eq!(said(&world, Kind::RetentionDeleted), 0);
    // And then it goes.
    assert!(deleted(&world).await - began > goes + Duration::from_secs(25 + 40));
    daemon.stop().await;
}
