//! Kill everywhere: a daemon dies at each effect boundary of a night in turn (before and after each write and each
//! call, before each line of the log), another one takes over, and every disk has one good backup in the end.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backup_core::BackupName;
use backup_core::retention::PointId;
use backup_core::run::State;
use cbs_backupd::app::Idle;
use cbs_backupd::config::Config;
use cbs_backupd::journal::Row;
use cbs_backupd::report::{Event, Kind};
use cbs_backupd::simulate::{Beginning, Life, Network, Tamper, World, key};
use cbs_sim::{
    BackupState, Choices, Disk, Effect, ExistingBackup, Promotion, RequestRecord, Rule, Timings, Which,
};
use jiff::{SignedDuration, Timestamp};

const CREATE: &str = "CreateDiskBackup";
const DELETE: &str = "DeleteDiskBackups";
const PROMOTE: &str = "CreateSnapshot";
const CREATE_MS: u64 = 8_000;
const DISKS: [&str; 2] = ["disk-1", "disk-2"];

/// What befalls a night.
#[derive(Clone, Debug, Default)]
struct Scene {
    /// The first create meets this.
    create: Option<Effect>,
    /// Each disk has a backup of the night before, and one is kept: the first delete meets this, if anything.
    deletes: Option<Option<Effect>>,
    /// Each disk has a backup of the night before, and a quota of one.
    full: Option<Full>,
}

/// What befalls full disks.
#[derive(Clone, Debug)]
struct Full {
    /// What the job says of it.
    job: &'static str,
    /// When a backup that becomes a snapshot frees its place.
    promotion: Promotion,
    /// The first such call meets this.
    fault: Option<(&'static str, Effect)>,
    /// There is a second old one, the older, and a quota of two: the other one stays.
    floor: bool,
}

impl Scene {
    /// How many old ones stay on each disk.
    fn stay(&self) -> usize {
        usize::from(self.full.as_ref().is_some_and(|full| full.floor))
    }

    fn has_old_ones(&self) -> bool {
        self.deletes.is_some() || self.full.is_some()
    }
}

/// A night of two disks, ten seconds before both are due.
fn world(scene: &Scene) -> World {
    let keep = match &scene.full {
        Some(full) => full.job,
        None if scene.deletes.is_some() => "    keep: { last: 1 }\n",
        None => "",
    };
    let text = format!(
        "owner: ops1\nsettle: 30s\ntargets:\n  default: {{ region: ap-guangzhou }}\n\
         jobs:\n  - name: db\n    disks: [{}]\n    schedule: \"30 2 * * *\"\n    complete_within: 1h\n{keep}",
        DISKS.join(", ")
    );
    let first = |action, effect: &Effect| Rule::on(action, effect.clone()).which(Which::First(1));
    let faults = scene.create.iter().map(|effect| first(CREATE, effect));
    let faults = faults.chain(scene.deletes.iter().flatten().map(|effect| first(DELETE, effect)));
    let faults = faults
        .chain(scene.full.iter().flat_map(|full| &full.fault).map(|(action, effect)| first(action, effect)));
    let quota = scene.full.as_ref().map_or(3, |full| if full.floor { 2 } else { 1 });
    let old = |id| match scene.stay() {
        _ if !scene.has_old_ones() => vec![],
        0 => vec![before(id, 23)],
        _ => vec![before(id, 22), before(id, 23)],
    };
    let disk = |id| Disk { backups: old(id), quota, ..Disk::new(id) };
    let promotion = scene.full.as_ref().map(|full| full.promotion).unwrap_or_default();
    World::new(Beginning {
        start: "2026-11-24T02:29:50Z".parse().unwrap(),
        config: Config::parse("night.yaml", &text, &BTreeMap::new()).unwrap(),
        cloud: cbs_sim::World {
            credentials: vec![key(0)],
            timings: Timings {
                create_ms: (CREATE_MS, CREATE_MS),
                visible_ms: (2_000, 2_000),
                reply_ms: (20, 20),
                snapshot_ms: (8_000, 8_000),
                ..Timings::default()
            },
            choices: Choices { promotion, ..Choices::default() },
            disks: DISKS.map(disk).to_vec(),
            faults: faults.collect(),
            ..cbs_sim::World::default()
        },
        network: Network { on_its_way_ms: (40, 40), ..Network::default() },
        seed: 1,
        idle: Idle { hop: Duration::from_secs(3600), watch: Duration::from_secs(3600) },
        keep_events: true,
        listener: None,
        tamper: Tamper::default(),
    })
    .unwrap()
}

/// The backup of a night of November.
fn before(disk: &str, day: u8) -> ExistingBackup {
    ExistingBackup {
        id: format!("{}n{day}", disk.replace("disk", "dbp")),
        name: format!("ops1_db_202611{day}T023000Z"),
        created: format!("2026-11-{day}T02:30:01Z").parse().unwrap(),
        state: BackupState::Normal,
    }
}

/// Waits for both runs to have ended and been told of, and for what is to go to have gone.
async fn until_ended(world: &World, scene: &Scene) {
    let runs = if scene.has_old_ones() { (2 + scene.stay()) * DISKS.len() } else { DISKS.len() };
    for _ in 0..1_000 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let rows = world.rows(None).await.unwrap();
        let all_ended = rows.len() == runs && rows.iter().all(|row| row.run.state.is_ended());
        if all_ended && world.sim.ledger().backups.len() == (1 + scene.stay()) * DISKS.len() {
            return;
        }
    }
    panic!("not ended: {:#?}", world.rows(None).await);
}

/// A daemon that dies at `boundary`, and another that takes over after `downtime`; how many boundaries the first
/// one passed.
async fn night(scene: &Scene, boundary: u64, downtime: Duration) -> u64 {
    let world = world(scene);
    // The job is known before: what was due before a job was first seen is owed by nobody.
    let early = world.start(&Arc::default()).await.unwrap();
    while world.journal.read(|store| store.watermarks()).await.unwrap().len() < DISKS.len() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    early.stop().await;
    let life = Arc::new(Life::until(boundary));
    let first = world.start(&life).await;
    tokio::select! {
        biased;
        () = life.ended() => {}
        () = until_ended(&world, scene) => {}
    }
    drop(first);
    tokio::time::sleep(downtime).await;
    let second = world.start(&Arc::default()).await.unwrap();
    until_ended(&world, scene).await;
    if scene.has_old_ones() {
        // Long enough for a delete whose reply was lost, and for three listings that do not show what went.
        tokio::time::sleep(Duration::from_secs(19 * 3600)).await;
    }
    second.stop().await;
    assert_kept(&world, scene).await;
    life.passed()
}

async fn assert_kept(world: &World, scene: &Scene) {
    assert_eq!(world.witness.objections(), Vec::<String>::new());
    let ledger = world.sim.ledger();
    assert_eq!(ledger.backups.len(), (1 + scene.stay()) * DISKS.len(), "{:#?}", ledger.backups);
    let events = world.log.events();
    let (rows, recovered): (Vec<_>, Vec<_>) =
        world.rows(None).await.unwrap().into_iter().partition(|row| row.run.attempts > 0);
    let deletes = !recovered.is_empty();
    if scene.full.is_some() {
        assert_room_was_made(world, &recovered, scene.stay());
    }
    for row in recovered.into_iter().filter(|_| scene.deletes.is_some()) {
        let run = row.run.id.to_string();
        let deleted = events.iter().filter(|event| {
            event.kind == Kind::RetentionDeleted && event.fields.run.as_deref() == Some(&run)
        });
        assert!(
            (1..=2).contains(&deleted.count()),
            "that {run}'s is deleted is told once, or again: {events:#?}"
        );
        let point = row.run.state.backup().cloned().map(PointId::Backup).unwrap();
        let deletion = world.journal.read(move |store| store.deletion(&point)).await.unwrap();
        assert!(deletion.is_some_and(|deletion| deletion.done));
    }
    for row in rows {
        let State::Completed { backup, .. } = &row.run.state else { panic!("not completed: {row:#?}") };
        let there = ledger.backups.iter().find(|there| there.backup_id == backup.as_str()).unwrap();
        assert_eq!(there.name, BackupName::of(&row.owner, &row.run.id).to_string());
        assert_eq!((there.disk_id.as_str(), there.state.as_str()), (row.run.id.disk.as_str(), "NORMAL"));
        let run = row.run.id.to_string();
        let ends = events
            .iter()
            .filter(|event| event.kind == Kind::BackupCompleted && event.fields.run.as_deref() == Some(&run));
        assert!(
            (1..=2).contains(&ends.count()),
            "the end of {run} is to be told once, or again after a crash"
        );
    }
    let wrong = |kind| match kind {
        Kind::DaemonFault | Kind::BackupFailed | Kind::BackupTwin | Kind::BackupGone => true,
        // What was to go is not said to have been lost.
        Kind::BackupVanished => deletes,
        _ => false,
    };
    assert!(!events.iter().any(|event| wrong(event.kind)), "{events:#?}");
}

/// Each disk's old backup has made room, once; that is told, and so is every window without a good backup.
fn assert_room_was_made(world: &World, old: &[Row], stay: usize) {
    let (ledger, events) = (world.sim.ledger(), world.log.events());
    let executed = |action, disk: &str| -> Vec<Timestamp> {
        let of_disk = ledger.requests_of(action).filter(|request| request.disk_id.as_deref() == Some(disk));
        of_disk.filter(|request| request.executed).map(|request| request.arrival).collect()
    };
    assert_eq!(old.len(), (1 + stay) * DISKS.len());
    let oldest = old.iter().map(|row| row.run.id.due).min();
    for row in old.iter().filter(|row| Some(row.run.id.due) == oldest) {
        let (disk, run) = (row.run.id.disk.as_str(), row.run.id.to_string());
        let point = row.run.state.backup().unwrap().as_str();
        let of_point = |kind: Kind| {
            let told = events.iter().filter(|event| event.kind == kind);
            told.filter(|event| event.fields.backup_id.as_deref() == Some(point)).count()
        };
        let promoted = executed(PROMOTE, disk);
        let (deleted, snapshots) = (
            executed(DELETE, disk),
            ledger.snapshots.iter().filter(|snapshot| snapshot.disk_id == disk).collect::<Vec<_>>(),
        );
        match (&deleted[..], &snapshots[..]) {
            ([_], []) => {
                let told = of_point(Kind::QuotaFreed);
                assert!((1..=2).contains(&told), "that {run}'s is deleted is told {told} times");
            }
            ([], [snapshot]) => {
                assert_eq!(promoted.len(), 1, "{run}'s is promoted twice");
                assert_eq!((snapshot.state.as_str(), snapshot.backup_id.as_deref()), ("NORMAL", Some(point)));
                assert_eq!(snapshot.name, BackupName::of(&row.owner, &row.run.id).to_string());
                let told = of_point(Kind::BackupPromoted);
                assert!((1..=2).contains(&told), "that {run}'s is promoted is told {told} times");
            }
            other => panic!("{run}'s did not make room once: {other:?}"),
        }
        let of_this = |request: &&RequestRecord| request.backup_id.as_deref() == Some(point);
        let deletes = ledger.requests_of(DELETE).filter(|request| request.executed).filter(of_this).count();
        assert_eq!(deletes, deleted.len(), "another one than the oldest was deleted");
        if stay > 0 {
            // The younger one was there all along.
            assert_eq!(of_point(Kind::GapBegan) + of_point(Kind::GapEnded), 0);
            continue;
        }
        // A second, where the first intent came to nothing; and one of them again after the crash.
        assert!((1..=3).contains(&of_point(Kind::GapBegan)), "{events:#?}");
        // No good backup from the deletion on, or from the acceptance of the snapshot on at most.
        let [made] = executed(CREATE, disk)[..] else { panic!("not one backup") };
        let from = deleted.into_iter().chain(promoted).next().unwrap();
        let to = if snapshots.is_empty() { made } else { from };
        let to = to + SignedDuration::from_millis(CREATE_MS.cast_signed());
        let is_whole = |event: &&Event| {
            let (_, window) = event.message.split_once("from ").unwrap();
            let (began, ended) = window.split_once(" to ").unwrap();
            began.parse::<Timestamp>().unwrap() <= from && ended.parse::<Timestamp>().unwrap() >= to
        };
        let told = events.iter().filter(|event| event.kind == Kind::GapEnded);
        let mut told = told.filter(|event| event.fields.backup_id.as_deref() == Some(point));
        assert!(told.any(|event| is_whole(&event)), "{from} to {to}: {events:#?}");
    }
}

async fn kill_everywhere(scene: Scene) {
    let all = night(&scene, u64::MAX, Duration::ZERO).await;
    assert!(all > 50, "only {all} boundaries");
    for boundary in 1..=all {
        // The bytes of the dead are still on their way, or have long arrived.
        for downtime in [Duration::from_millis(1), Duration::from_secs(20)] {
            println!("{scene:?}: killed at boundary {boundary} of {all}, down for {downtime:?}");
            night(&scene, boundary, downtime).await;
        }
    }
}

/// A night on full disks.
fn on_full_disks(job: &'static str, promotion: Promotion, fault: Option<(&'static str, Effect)>) -> Scene {
    Scene { full: Some(Full { job, promotion, fault, floor: false }), ..Scene::default() }
}

const ROTATE: &str = "    when_full: rotate\n    allow_gap: true\n";
const INTO_SNAPSHOTS: &str = "    when_full: promote\n";

#[tokio::test(start_paused = true)]
async fn when_old_ones_are_rotated() {
    kill_everywhere(on_full_disks(ROTATE, Promotion::WhenNormal, None)).await;
}

#[tokio::test(start_paused = true)]
async fn when_old_ones_are_rotated_and_no_gap_is_allowed() {
    let lost = (DELETE, Effect::Timeout { executed: true });
    let mut scene = on_full_disks("    when_full: rotate\n", Promotion::WhenNormal, Some(lost));
    scene.full.as_mut().unwrap().floor = true;
    kill_everywhere(scene).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_reply_of_a_rotation_is_lost() {
    let lost = (DELETE, Effect::Drop { executed: true });
    kill_everywhere(on_full_disks(ROTATE, Promotion::WhenNormal, Some(lost))).await;
}

#[tokio::test(start_paused = true)]
async fn when_old_ones_are_promoted() {
    for promotion in [Promotion::WhenNormal, Promotion::AtOnce] {
        kill_everywhere(on_full_disks(INTO_SNAPSHOTS, promotion, None)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_reply_of_a_promotion_is_lost() {
    for promotion in [Promotion::WhenNormal, Promotion::AtOnce] {
        let lost = (PROMOTE, Effect::Drop { executed: true });
        kill_everywhere(on_full_disks(INTO_SNAPSHOTS, promotion, Some(lost))).await;
    }
}

#[tokio::test(start_paused = true)]
async fn when_a_promotion_is_lost() {
    let lost = (PROMOTE, Effect::Drop { executed: false });
    kill_everywhere(on_full_disks(INTO_SNAPSHOTS, Promotion::WhenNormal, Some(lost))).await;
}

/// A night whose first create meets this.
fn making(effect: Effect) -> Scene {
    Scene { create: Some(effect), ..Scene::default() }
}

#[tokio::test(start_paused = true)]
async fn when_old_ones_go() {
    kill_everywhere(Scene { deletes: Some(None), ..Scene::default() }).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_reply_of_a_delete_is_lost() {
    let lost = Effect::Timeout { executed: true };
    kill_everywhere(Scene { deletes: Some(Some(lost)), ..Scene::default() }).await;
}

#[tokio::test(start_paused = true)]
async fn when_all_is_well() {
    kill_everywhere(Scene::default()).await;
}

#[tokio::test(start_paused = true)]
async fn when_a_reply_is_lost() {
    kill_everywhere(making(Effect::Timeout { executed: true })).await;
}

#[tokio::test(start_paused = true)]
async fn when_a_create_is_lost() {
    kill_everywhere(making(Effect::Drop { executed: false })).await;
}

#[tokio::test(start_paused = true)]
async fn when_a_backup_vanishes() {
    kill_everywhere(making(Effect::Vanish)).await;
}

#[tokio::test(start_paused = true)]
async fn when_the_cloud_throttles() {
    let code = "RequestLimitExceeded".to_owned();
    kill_everywhere(making(Effect::Error { code, message: String::new() })).await;
}
