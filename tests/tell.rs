//! What an outbox owes is recorded as said once the log has taken it, said once, and waited for without being stopped by it.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backup_core::run::Sighting;
use cbs_backupd::app::{App, Idle, Parts, Settings};
use cbs_backupd::clock::{SteppedClock, Time};
use cbs_backupd::config::Config;
use cbs_backupd::journal::{Blocking, Change, Inventory, Journal, Request, Row, Sqlite};
use cbs_backupd::random::Random;
use cbs_backupd::report::log::Levels;
use cbs_backupd::report::{Event, Kind, Receipt, Report};
use cbs_backupd::tasks::requests::take_up_all;
use cbs_backupd::tasks::tell::Tell;
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// A log that writes when the test says so, and in which others speak all the time.
struct Slow {
    ends: Mutex<Vec<Event>>,
    said: Mutex<u64>,
    written: watch::Sender<u64>,
}

impl Slow {
    /// How many ends were said.
    fn ends(&self) -> usize {
        self.ends.lock().unwrap().len()
    }
}

impl Report for Slow {
    fn report(&self, event: &Event) {
        *self.said.lock().unwrap() += 1;
        if event.kind == Kind::BackupCompleted {
            self.ends.lock().unwrap().push(event.clone());
        }
    }

    fn receipt(&self) -> Receipt {
        let mut said = self.said.lock().unwrap();
        let receipt = Receipt::of(*said, self.written.subscribe());
        *said += 1_000;
        receipt
    }
}

const FULL_BATCH: usize = 500;

/// Runs end, of which that was not told.
async fn end(app: &App, numbers: std::ops::Range<usize>) {
    let all = cbs_backupd::journal::Filter { limit: 1, ..Default::default() };
    let row = app.parts.journal.read(move |store| store.history(&all)).await.unwrap().remove(0);
    let ended = numbers.map(|number| {
        let mut run = row.run.clone();
        let later = SignedDuration::from_secs(i64::try_from(number).unwrap() + 1);
        run.id.due = run.id.due.checked_add(later).unwrap();
        let run = run.recovered(&app.now(), format!("dbp-{number}").parse().unwrap(), Sighting::Normal);
        Change::Ask(Row { run, ended_at: Some(app.now().wall), ..row.clone() })
    });
    app.write_all(ended.collect()).await.unwrap();
}

/// An app with so many completed runs that were not told, and its log.
async fn app(ends: usize) -> (Arc<App>, Arc<Slow>) {
    let text = "owner: ops1\ntimezone: UTC\ntargets:\n  default: { region: ap-guangzhou }\n\
                jobs:\n  - name: db\n    disks: [disk-1a2b3c4d]\n    schedule: \"0 0 29 2 *\"\n";
    let config = Arc::new(Config::parse("test.yaml", text, &BTreeMap::new()).unwrap());
    let clock = Arc::new(SteppedClock::new("2026-11-24T00:00:00Z".parse().unwrap()));
    let slow =
        Arc::new(Slow { ends: Mutex::default(), said: Mutex::default(), written: watch::Sender::new(0) });
    let parts = Parts {
        time: Time::new(clock, 1),
        random: Random::from_seed(1),
        journal: Journal::new(Box::new(Sqlite::in_memory().unwrap()), Blocking::Inline),
        report: slow.clone(),
        levels: Levels::default(),
        deliver: Arc::new(cbs_backupd::notify::Nobody),
        idle: Idle::default(),
    };
    let app = App::new(parts, Settings::new(config, BTreeMap::new(), &Inventory::default()));
    let body = Request::Backup { disks: vec!["disk-1a2b3c4d".parse().unwrap()], job: None };
    let asked = Change::Request { request_id: "once".to_owned(), body, made_at: Timestamp::UNIX_EPOCH };
    app.write(asked).await.unwrap();
    take_up_all(&app, true).await.unwrap();
    end(&app, 0..ends).await;
    (app, slow)
}

async fn unreported(app: &App) -> usize {
    app.parts.journal.read(|store| store.unreported(10_000)).await.unwrap().len()
}

#[tokio::test(start_paused = true)]
async fn an_end_is_recorded_once_the_log_has_it_and_said_no_second_time() {
    let (app, log) = app(3).await;
    let tell = Tell::default();
    for _ in 0..5 {
        assert_eq!(tell.tell_all(&app).await, Duration::ZERO);
        assert_eq!((log.ends(), unreported(&app).await), (3, 3));
    }
    // The log has come to the ends. What others have said since is not written, and is none of their business.
    let until_the_ends = log.said.lock().unwrap().saturating_sub(1_000);
    log.written.send_replace(until_the_ends);
    // A clone goes on where the task was, as at a stop.
    assert_eq!(tell.clone().tell_all(&app).await, Duration::MAX);
    assert_eq!((log.ends(), unreported(&app).await), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn while_the_log_is_stuck_nothing_is_added_to_what_waits_in_it() {
    let (app, log) = app(3).await;
    let tell = Tell::default();
    tell.tell_all(&app).await;
    end(&app, 10..15).await;
    assert_eq!(tell.tell_all(&app).await, Duration::ZERO);
    assert_eq!(log.ends(), 3);
    log.written.send_replace(u64::MAX);
    assert_eq!(tell.tell_all(&app).await, Duration::MAX);
    assert_eq!((log.ends(), unreported(&app).await), (8, 0));
}

/// Whatever waits, a log that is stuck holds one batch, and the outbox the rest.
#[tokio::test(start_paused = true)]
async fn no_more_is_said_than_a_batch_before_it_is_written() {
    let (app, log) = app(2 * FULL_BATCH + 1).await;
    let tell = Tell::default();
    for batches in 1..=2 {
        for _ in 0..3 {
            tell.tell_all(&app).await;
            assert_eq!(log.ends(), batches * FULL_BATCH);
        }
        log.written.send_replace(*log.said.lock().unwrap());
    }
    tell.tell_all(&app).await;
    log.written.send_replace(u64::MAX);
    assert_eq!(tell.tell_all(&app).await, Duration::MAX);
    assert_eq!((log.ends(), unreported(&app).await), (2 * FULL_BATCH + 1, 0));
}
