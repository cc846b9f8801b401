//! What commands ask for becomes runs once, whatever happens on the way.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use cbs_backupd::app::{App, Idle, Parts, Settings};
use cbs_backupd::clock::{SteppedClock, Time};
use cbs_backupd::config::Config;
use cbs_backupd::journal::{
    Answer, Blocking, Change, FILE, Filter, Inventory, Journal, Request, Row, Sqlite,
};
use cbs_backupd::random::Random;
use cbs_backupd::report::log::Levels;
use cbs_backupd::report::{Event, Report};
use cbs_backupd::tasks::requests::take_up_all;
use jiff::Timestamp;

struct Deaf;

impl Report for Deaf {
    fn report(&self, _: &Event) {}
}

/// An app over the journal in `folder`.
fn app(folder: &Path) -> Arc<App> {
    let text = "owner: ops1\ntimezone: UTC\ntargets:\n  default: { region: ap-guangzhou }\n\
                jobs:\n  - name: db\n    disks: [disk-1a2b3c4d, disk-5e6f7a8b]\n    schedule: \"0 0 29 2 *\"\n";
    let config = Arc::new(Config::parse("test.yaml", text, &BTreeMap::new()).unwrap());
    let clock = Arc::new(SteppedClock::new("2026-11-24T00:00:00Z".parse().unwrap()));
    let parts = Parts {
        time: Time::new(clock, 1),
        random: Random::from_seed(1),
        journal: Journal::new(Box::new(Sqlite::open(&folder.join(FILE)).unwrap()), Blocking::Inline),
        report: Arc::new(Deaf),
        levels: Levels::default(),
        deliver: Arc::new(cbs_backupd::notify::Nobody),
        idle: Idle::default(),
    };
    App::new(parts, Settings::new(config, BTreeMap::new(), &Inventory::default()))
}

async fn ask(app: &App, request_id: &str, body: Request) -> i64 {
    let change = Change::Request { request_id: request_id.to_owned(), body, made_at: Timestamp::UNIX_EPOCH };
    app.write(change).await.unwrap();
    let id = request_id.to_owned();
    app.parts.journal.read(move |store| store.request_number(&id)).await.unwrap().unwrap()
}

async fn rows(app: &App) -> Vec<Row> {
    let all = Filter { limit: 100, ..Filter::default() };
    app.parts.journal.read(move |store| store.history(&all)).await.unwrap()
}

async fn answer(app: &App, number: i64) -> Option<Answer> {
    app.parts.journal.read(move |store| store.answer(number)).await.unwrap()
}

#[tokio::test]
async fn a_request_whose_answer_could_not_be_written_is_not_done_twice() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path());
    let disks = vec!["disk-1a2b3c4d".parse().unwrap(), "disk-5e6f7a8b".parse().unwrap()];
    let number = ask(&app, "once", Request::Backup { disks, job: None }).await;

    let beside = rusqlite::Connection::open(folder.path().join(FILE)).unwrap();
    let full = "CREATE TRIGGER full BEFORE UPDATE ON requests BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    beside.execute_batch(full).unwrap();
    assert!(take_up_all(&app, true).await.is_err());
    beside.execute_batch("DROP TRIGGER full").unwrap();
    take_up_all(&app, true).await.unwrap();

    let rows = rows(&app).await;
    assert_eq!(rows.len(), 2);
    let Some(Answer::Runs { runs }) = answer(&app, number).await else { panic!("no runs") };
    assert!(rows.iter().all(|row| runs.contains(&row.run.id.to_string())));
}

#[tokio::test]
async fn two_requests_of_one_second_are_two_runs() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path());
    for request_id in ["first", "second"] {
        let disks = vec!["disk-1a2b3c4d".parse().unwrap()];
        ask(&app, request_id, Request::Backup { disks, job: None }).await;
    }
    take_up_all(&app, true).await.unwrap();
    let dues: Vec<_> = rows(&app).await.iter().map(|row| row.run.id.due.as_second()).collect();
    assert_eq!(dues.len(), 2);
    assert_eq!(dues[0], dues[1] + 1);
}

#[tokio::test]
async fn a_run_that_goes_on_needs_no_retry() {
    let folder = tempfile::tempdir().unwrap();
    let app = app(folder.path());
    let disks = vec!["disk-1a2b3c4d".parse().unwrap()];
    ask(&app, "backup", Request::Backup { disks, job: None }).await;
    take_up_all(&app, true).await.unwrap();
    let run = rows(&app).await[0].run.id.to_string();
    let number = ask(&app, "retry", Request::Retry { run: run.clone() }).await;
    take_up_all(&app, true).await.unwrap();
    assert_eq!(answer(&app, number).await, Some(Answer::Runs { runs: vec![run] }));
    assert_eq!(rows(&app).await.len(), 1);
}
