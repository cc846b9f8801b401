//! Which tasks count as hanging: what the watchdog goes by.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cbs_backupd::app::{App, Idle, Parts, Settings};
use cbs_backupd::bell::Bell;
use cbs_backupd::clock::{SteppedClock, Time};
use cbs_backupd::config::Config;
use cbs_backupd::journal::{Blocking, FILE, Inventory, Journal, Sqlite};
use cbs_backupd::random::Random;
use cbs_backupd::report::log::Levels;
use cbs_backupd::report::{Event, Kind, Report};
use cbs_backupd::tasks::driver::{InFlight, Pulse, Task, drive};

#[derive(Default)]
struct Ears(Mutex<Vec<Event>>);

impl Report for Ears {
    fn report(&self, event: &Event) {
        self.0.lock().unwrap().push(event.clone());
    }
}

/// What a task does from its third step on.
enum Third {
    Sleeps,
    Hangs,
    Panics,
    PanicsOnce,
}

struct Player {
    third: Third,
    steps: u32,
}

impl Task for Player {
    const NEEDS_CLOCK: bool = false;

    fn bell(app: &App) -> &Bell {
        &app.pokes.compact
    }

    async fn step(&mut self, _: &Arc<App>, _: &mut InFlight) -> Duration {
        self.steps += 1;
        match self.third {
            Third::Hangs if self.steps >= 3 => std::future::pending().await,
            Third::Panics if self.steps >= 3 => panic!("step {}", self.steps),
            Third::PanicsOnce if self.steps == 3 => panic!("step 3"),
            // It would sleep longer than any task may.
            _ => Duration::from_hours(1),
        }
    }
}

/// For how long such a task is overdue ten minutes after its start, and what was said of it meanwhile.
async fn play(third: Third) -> (Duration, Vec<String>) {
    let folder = tempfile::tempdir().unwrap();
    let text = "owner: ops1\ntargets:\n  default: { region: ap-guangzhou }\n\
                jobs:\n  - name: db\n    disks: [disk-1a2b3c4d]\n    schedule: \"0 0 29 2 *\"\n";
    let config = Arc::new(Config::parse("test.yaml", text, &BTreeMap::new()).unwrap());
    let ears = Arc::new(Ears::default());
    let parts = Parts {
        time: Time::new(Arc::new(SteppedClock::new("2026-11-24T00:00:00Z".parse().unwrap())), 1),
        random: Random::from_seed(1),
        journal: Journal::new(Box::new(Sqlite::open(&folder.path().join(FILE)).unwrap()), Blocking::Inline),
        report: Arc::clone(&ears) as Arc<dyn Report>,
        levels: Levels::default(),
        deliver: Arc::new(cbs_backupd::notify::Nobody),
        idle: Idle::default(),
    };
    let app = App::new(parts, Settings::new(config, BTreeMap::new(), &Inventory::default()));
    let pulse = Arc::new(Pulse::default());
    let task = tokio::spawn(drive(Player { third, steps: 0 }, Arc::clone(&app), Arc::clone(&pulse)));
    // Never the very instant of a step.
    tokio::time::sleep(Duration::from_secs(605)).await;
    let overdue = pulse.overdue(&app);
    app.stop.cancel();
    task.abort();
    let said = ears.0.lock().unwrap().iter().map(|event| (event.kind, event.message.clone())).collect();
    let said: Vec<(Kind, String)> = said;
    assert!(said.iter().all(|(kind, _)| *kind == Kind::DaemonFault), "{said:?}");
    (overdue, said.into_iter().map(|(_, message)| message).collect())
}

#[tokio::test(start_paused = true)]
async fn a_task_that_sleeps_is_not_overdue_however_long_it_sleeps() {
    assert_eq!(play(Third::Sleeps).await, (Duration::ZERO, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_task_in_a_step_that_does_not_end_is_overdue_since_that_step_began() {
    // The steps begin at 0, 30 and 60 seconds.
    let (overdue, said) = play(Third::Hangs).await;
    assert_eq!((overdue.as_secs(), said.len()), (605 - 60, 0));
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_again_and_again_says_so_each_time_and_hangs() {
    let (overdue, said) = play(Third::Panics).await;
    assert_eq!((overdue.as_secs(), said[0].as_str()), (605 - 60, "the task Player panicked: step 3"));
    assert_eq!(said.len(), 19, "at 60, 90, … 600 seconds: {said:?}");
}

#[tokio::test(start_paused = true)]
async fn a_task_that_panics_once_goes_on() {
    let (overdue, said) = play(Third::PanicsOnce).await;
    assert_eq!((overdue, said.len()), (Duration::ZERO, 1));
}
