//! What the comparison of journal and cloud makes good: lost journals, backups that come late, twins, what is gone.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backup_core::run::{Skip, State};
use cbs_backupd::app::Idle;
use cbs_backupd::config::Config;
use cbs_backupd::journal::{Blocking, FILE, Journal, Row, Sqlite};
use cbs_backupd::report::{Event, Kind};
use cbs_backupd::simulate::{Beginning, Life, Network, Tamper, World, key};
use cbs_sim::{Disk, Effect, Rule, Timings, Which};

const CREATE: &str = "CreateDiskBackup";
const LIST: &str = "DescribeDiskBackups";
const DISK: &str = "disk-1a2b3c4d";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What a world starts from: one disk, due at 02:30 each day, ten seconds before that.
struct Setup {
    settle: &'static str,
    complete_within: &'static str,
    visible_ms: (u64, u64),
    faults: Vec<Rule>,
}

impl Default for Setup {
    fn default() -> Self {
        Self { settle: "30s", complete_within: "1h", visible_ms: (0, 1_000), faults: Vec::new() }
    }
}

impl Setup {
    fn world(self) -> World {
        let text = format!(
            "owner: ops1\nsettle: {}\ntargets:\n  default: {{ region: ap-guangzhou }}\n\
             jobs:\n  - name: db\n    disks: [{DISK}]\n    schedule: \"30 2 * * *\"\n    complete_within: {}\n",
            self.settle, self.complete_within
        );
        World::new(Beginning {
            start: "2026-11-24T02:29:50Z".parse().unwrap(),
            config: Config::parse("night.yaml", &text, &BTreeMap::new()).unwrap(),
            cloud: cbs_sim::World {
                credentials: vec![key(0)],
                timings: Timings {
                    create_ms: (60_000, 60_000),
                    visible_ms: self.visible_ms,
                    reply_ms: (20, 20),
                    ..Timings::default()
                },
                disks: vec![Disk { quota: 10, ..Disk::new(DISK) }],
                faults: self.faults,
                ..cbs_sim::World::default()
            },
            network: Network::default(),
            seed: 1,
            idle: Idle::default(),
            keep_events: true,
            listener: None,
            tamper: Tamper::default(),
        })
        .unwrap()
    }
}

/// A daemon lives for so long.
async fn live(world: &World, time: Duration) {
    let living = world.start(&Arc::new(Life::default())).await.unwrap();
    tokio::time::sleep(time).await;
    living.stop().await;
}

async fn rows(world: &World) -> Vec<Row> {
    world.rows(None).await.unwrap()
}

fn said(world: &World, kind: Kind) -> Vec<Event> {
    world.log.events().into_iter().filter(|event| event.kind == kind).collect()
}

fn creates(world: &World) -> usize {
    world.sim.ledger().requests_of(CREATE).count()
}

/// Nothing was said that should not be.
fn assert_orderly(world: &World) {
    assert_eq!(world.witness.objections(), Vec::<String>::new());
    assert_eq!(said(world, Kind::DaemonFault), []);
}

#[tokio::test(start_paused = true)]
async fn a_journal_that_was_lost_comes_back_and_what_was_due_since_is_accounted_for() {
    let mut world = Setup::default().world();
    live(&world, HOUR).await;
    assert_eq!(creates(&world), 1);
    // Three days later, on a new machine: two instants were missed, the third may still start.
    world.lose_journal().unwrap();
    tokio::time::sleep(72 * HOUR).await;
    live(&world, HOUR).await;

    let rows = rows(&world).await;
    let states: Vec<&State> = rows.iter().map(|row| &row.run.state).collect();
    let [State::Completed { .. }, State::Skipped { why: Skip::Missed(misses) }, State::Completed { .. }] =
        states[..]
    else {
        panic!("{states:#?}")
    };
    assert_eq!(misses.count, 2);
    assert_eq!((rows[0].run.attempts, rows[2].run.attempts), (1, 0));
    assert_eq!(world.sim.ledger().backups.len(), 2);
    assert_eq!(said(&world, Kind::BackupAdopted).len(), 1);
    assert_eq!(said(&world, Kind::BackupCompleted).len(), 2, "the recovered one was told before");
    assert_orderly(&world);
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_was_being_made_when_the_journal_was_lost_is_followed_and_not_made_again() {
    let mut world = Setup { visible_ms: (20_000, 20_000), ..Setup::default() }.world();
    // Dies right after the create was accepted; it shows only after the next process has begun.
    let living = world.start(&Arc::new(Life::default())).await.unwrap();
    while creates(&world) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(living);
    world.lose_journal().unwrap();
    live(&world, HOUR).await;
    assert_eq!(creates(&world), 1);
    let rows = rows(&world).await;
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert!(matches!(rows[0].run.state, State::Completed { .. }));
    assert_orderly(&world);
}

#[tokio::test(start_paused = true)]
async fn a_copy_of_an_older_journal_does_not_make_what_the_cloud_has() {
    // Of the same evening, and not of the night.
    let before = Setup::default().world();
    live(&before, Duration::from_secs(5)).await;
    let mut world = Setup::default().world();
    live(&world, HOUR).await;
    assert_eq!(creates(&world), 1);
    world.put_journal(before.journal.clone());
    live(&world, HOUR).await;
    assert_eq!(creates(&world), 1, "{:#?}", world.log.events());
    assert!(matches!(rows(&world).await[0].run.state, State::Completed { .. }));
    assert_orderly(&world);
}

#[tokio::test(start_paused = true)]
async fn a_twin_that_is_surely_ours_goes_once_both_are_good() {
    // A settle shorter than the cloud's lag makes one: the first is not seen in time.
    let lost = Rule::on(CREATE, Effect::Timeout { executed: true }).which(Which::Nth(1));
    let setup =
        Setup { settle: "1s", visible_ms: (120_000, 120_000), faults: vec![lost], ..Setup::default() };
    let world = setup.world();
    let living = world.start(&Arc::new(Life::default())).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!(world.sim.ledger().backups.len(), 2);
    tokio::time::sleep(7 * HOUR).await;
    living.stop().await;

    let left = world.sim.ledger().backups;
    let [row] = &rows(&world).await[..] else { panic!() };
    assert_eq!(left.len(), 1);
    assert_eq!(Some(left[0].backup_id.as_str()), row.run.state.backup().map(|backup| backup.as_str()));
    assert_eq!(left[0].state, "NORMAL");
    let twins = said(&world, Kind::BackupTwin);
    assert!(twins.last().unwrap().message.contains("removed"), "{twins:#?}");
    assert_orderly(&world);
}

#[tokio::test(start_paused = true)]
async fn a_backup_that_is_found_after_its_run_has_failed_counts() {
    // The reply is lost, and for an hour and more nothing can be listed.
    let world = Setup {
        complete_within: "10m",
        faults: vec![Rule::on(CREATE, Effect::Timeout { executed: true }).which(Which::Nth(1))],
        ..Setup::default()
    }
    .world();
    let living = world.start(&Arc::new(Life::default())).await.unwrap();
    tokio::time::sleep(Duration::from_secs(8)).await;
    let error = Effect::Error { code: "InternalError".to_owned(), message: String::new() };
    let mut faults = vec![Rule::on(LIST, error).which(Which::All)];
    faults.push(Rule::on(CREATE, Effect::Timeout { executed: true }).which(Which::Nth(1)));
    world.sim.set_faults(faults);
    tokio::time::sleep(HOUR).await;
    let [row] = &rows(&world).await[..] else { panic!() };
    assert_eq!(row.run.state.reason().unwrap().split(':').next(), Some("outcome unknown"));
    world.sim.set_faults(Vec::new());
    tokio::time::sleep(7 * HOUR).await;
    living.stop().await;

    let [row] = &rows(&world).await[..] else { panic!() };
    assert!(matches!(row.run.state, State::Completed { late: true, .. }), "{row:#?}");
    assert_eq!((said(&world, Kind::BackupFailed).len(), said(&world, Kind::BackupLate).len()), (1, 1));
    assert_eq!(creates(&world), 1);
    assert_orderly(&world);
}

#[tokio::test(start_paused = true)]
async fn a_good_backup_that_is_gone_is_said_after_three_listings() {
    let world = Setup::default().world();
    let living = world.start(&Arc::new(Life::default())).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert!(world.sim.remove_backup(&world.sim.ledger().backups[0].backup_id));
    tokio::time::sleep(12 * HOUR).await;
    assert_eq!(said(&world, Kind::BackupVanished), []);
    tokio::time::sleep(7 * HOUR).await;
    living.stop().await;
    assert_eq!(said(&world, Kind::BackupVanished).len(), 1);
    assert_orderly(&world);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_planned_or_concluded_by_a_clock_that_is_a_year_ahead() {
    let year = jiff::SignedDuration::from_hours(365 * 24);
    let world = Setup::default().world();
    world.clock.step(year);
    let living = world.start(&Arc::new(Life::default())).await.unwrap();
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!((rows(&world).await.len(), creates(&world)), (0, 0));
    assert_eq!(said(&world, Kind::ClockWrong).len(), 1);
    // NTP sets it right, five minutes after the backup was due.
    world.clock.step(-year);
    tokio::time::sleep(5 * MINUTE).await;
    let [row] = &rows(&world).await[..] else { panic!() };
    assert!(matches!(row.run.state, State::Completed { .. }), "{row:#?}");
    assert_eq!((said(&world, Kind::ClockRight).len(), said(&world, Kind::ClockStepped).len()), (1, 1));
    // Ahead again, for a day, with nothing due: nothing is missed, nothing ends.
    world.clock.step(year);
    tokio::time::sleep(12 * HOUR).await;
    world.clock.step(-year);
    tokio::time::sleep(13 * HOUR).await;
    living.stop().await;
    let rows = rows(&world).await;
    assert_eq!(rows.len(), 2);
    assert!(rows.iter().all(|row| matches!(row.run.state, State::Completed { .. })), "{rows:#?}");
    assert_eq!(creates(&world), 2);
    assert_orderly(&world);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_slept_goes_on_where_it_was() {
    let world = Setup::default().world();
    let living = world.start(&Arc::new(Life::default())).await.unwrap();
    while creates(&world) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // Its clock stood still for a night and a day, and the world's did not; the backup was made meanwhile.
    let asleep = jiff::SignedDuration::from_hours(28);
    world.clock.step(asleep);
    world.truth.step(asleep);
    tokio::time::sleep(HOUR).await;
    living.stop().await;
    let rows = rows(&world).await;
    assert!(rows.iter().all(|row| matches!(row.run.state, State::Completed { .. })), "{rows:#?}");
    assert_eq!((rows.len(), creates(&world)), (2, 2));
    assert_orderly(&world);
}

#[tokio::test(start_paused = true)]
async fn without_the_cloud_nothing_is_planned_and_nothing_is_lost() {
    let error = Effect::Drop { executed: false };
    let world = Setup { faults: vec![Rule::always(error)], ..Setup::default() }.world();
    let living = world.start(&Arc::new(Life::default())).await.unwrap();
    tokio::time::sleep(HOUR).await;
    assert_eq!((rows(&world).await.len(), said(&world, Kind::CloudUnreachable).len()), (0, 1));
    world.sim.set_faults(Vec::new());
    tokio::time::sleep(10 * MINUTE).await;
    living.stop().await;
    let [row] = &rows(&world).await[..] else { panic!() };
    assert!(matches!(row.run.state, State::Completed { .. }), "{row:#?}");
    assert_eq!(said(&world, Kind::CloudReachable).len(), 1);
    assert_orderly(&world);
}

/// The journal is a file that refuses some writes until the connection's trigger is dropped.
fn refuse(world: &mut World, folder: &tempfile::TempDir) -> rusqlite::Connection {
    let path = folder.path().join(FILE);
    let store = Sqlite::open(&path).unwrap();
    world.put_journal(Journal::new(Box::new(store), Blocking::Inline));
    rusqlite::Connection::open(path).unwrap()
}

fn trigger(what: &str) -> String {
    format!("CREATE TRIGGER full BEFORE {what} BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END")
}

/// The failure was said once, and that it is over.
fn assert_ridden_out(world: &World) {
    let count = |kind| said(world, kind).len();
    assert_eq!((count(Kind::JournalUnwritable), count(Kind::JournalWritable)), (1, 1));
    assert_orderly(world);
}

#[tokio::test(start_paused = true)]
async fn what_a_listing_showed_and_could_not_be_written_is_asked_for_again_at_leisure() {
    let (mut world, folder) = (Setup::default().world(), tempfile::tempdir().unwrap());
    live(&world, 5 * MINUTE).await;
    let beside = refuse(&mut world, &folder);
    beside.execute_batch(&trigger("INSERT ON runs")).unwrap();
    let listings = || world.sim.ledger().requests_of(LIST).count();
    let before = listings();
    let living = world.start(&Arc::new(Life::default())).await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    assert!(listings() - before <= 22, "{} listings in ten minutes", listings() - before);
    beside.execute_batch("DROP TRIGGER full").unwrap();
    tokio::time::sleep(2 * MINUTE).await;
    living.stop().await;
    assert_eq!((rows(&world).await.len(), creates(&world)), (1, 1));
    assert_ridden_out(&world);
}

#[tokio::test(start_paused = true)]
async fn an_end_that_was_told_is_not_told_again_because_that_cannot_be_written() {
    let (mut world, folder) = (Setup::default().world(), tempfile::tempdir().unwrap());
    let beside = refuse(&mut world, &folder);
    beside.execute_batch(&trigger("UPDATE OF reported ON runs WHEN NEW.reported = 1")).unwrap();
    let living = world.start(&Arc::new(Life::default())).await.unwrap();
    tokio::time::sleep(30 * MINUTE).await;
    assert_eq!(said(&world, Kind::BackupCompleted).len(), 1);
    beside.execute_batch("DROP TRIGGER full").unwrap();
    tokio::time::sleep(MINUTE).await;
    living.stop().await;
    assert_eq!(said(&world, Kind::BackupCompleted).len(), 1);
    assert_ridden_out(&world);
}

#[tokio::test(start_paused = true)]
async fn a_new_epoch_that_cannot_be_written_is_waited_for() {
    let (mut world, folder) = (Setup::default().world(), tempfile::tempdir().unwrap());
    let beside = refuse(&mut world, &folder);
    let living = world.start(&Arc::new(Life::default())).await.unwrap();
    beside.execute_batch(&trigger("UPDATE OF number ON epoch")).unwrap();
    world.clock.step(jiff::SignedDuration::from_secs(-60));
    tokio::time::sleep(10 * MINUTE).await;
    assert_eq!(creates(&world), 0);
    beside.execute_batch("DROP TRIGGER full").unwrap();
    tokio::time::sleep(5 * MINUTE).await;
    living.stop().await;
    assert_eq!((rows(&world).await.len(), creates(&world)), (1, 1));
    assert_ridden_out(&world);
}
