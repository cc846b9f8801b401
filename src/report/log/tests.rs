use std::sync::mpsc;

use backup_core::RunId;
use jiff::Timestamp;

use super::*;
use crate::report::{Fan, Kind};

/// A clock that a test sets.
#[derive(Default)]
struct Hands(Mutex<Duration>);

impl Clock for Hands {
    fn wall(&self) -> Timestamp {
        Timestamp::UNIX_EPOCH
    }

    fn mono(&self) -> Duration {
        *self.0.lock().unwrap()
    }
}

/// What stands on JSON lines of events that are said at these seconds: of each line its event, run and `repeated`.
fn lines(said: impl IntoIterator<Item = (u64, Event)>) -> Vec<(String, Option<String>, Option<u64>)> {
    let (took, taken) = mpsc::channel();
    let sink = move |line: &[u8]| took.send(line.to_vec()).map(|()| line.len()).map_err(io::Error::other);
    let queue = Queue::start(Box::new(sink), |_, _| panic!("nothing is lost")).unwrap();
    let json = tracing_subscriber::fmt::layer().json().flatten_event(true).with_writer(Lines(queue.clone()));
    let clock = Arc::new(Hands::default());
    let log = Log { queue: Some(queue.clone()), clock: clock.clone(), repetition: Mutex::default() };
    tracing::subscriber::with_default(tracing_subscriber::registry().with(json), || {
        for (second, event) in said {
            *clock.0.lock().unwrap() = Duration::from_secs(second);
            log.report(&event);
        }
    });
    queue.drain(Duration::from_secs(60));
    let read = |line: Vec<u8>| {
        let line: serde_json::Value = serde_json::from_slice(&line).unwrap();
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        (text("event").unwrap(), text("run"), line["repeated"].as_u64())
    };
    taken.try_iter().map(read).collect()
}

fn of_run(kind: Kind, due: u64, class: &'static str) -> Event {
    let run: RunId = format!("db/disk-1/20261124T1830{due:02}Z").parse().unwrap();
    Event::of_run(kind, &run, format!("{due}")).with(|fields| fields.class = Some(class))
}

#[test]
fn the_same_trouble_of_a_run_is_said_at_growing_intervals_and_any_other_at_once() {
    let busy = |second| (second, of_run(Kind::BackupRetry, 1, "busy"));
    let said = lines([
        busy(0),
        busy(20),
        (21, of_run(Kind::BackupRetry, 2, "busy")),
        (22, of_run(Kind::BackupRetry, 1, "passing")),
        busy(40),
        busy(60),
        busy(100),
        busy(180),
    ]);
    let repeated: Vec<_> =
        said.iter().map(|(_, run, repeated)| (run.as_deref().unwrap(), *repeated)).collect();
    let [one, two] = ["db/disk-1/20261124T183001Z", "db/disk-1/20261124T183002Z"];
    assert_eq!(
        repeated,
        [(one, None), (two, None), (one, None), (one, Some(2)), (one, Some(1))],
        "first, another run, another cause, a minute later, two minutes later"
    );
}

#[test]
fn without_a_cause_in_fields_the_words_are_the_cause() {
    let fault = |message: &str| (0, Event::new(Kind::DaemonFault, message));
    assert_eq!(lines([fault("one"), fault("another"), fault("one")]).len(), 2);
}

/// Ends, changes of state, steps of a run: whatever is not said to go on.
#[test]
fn all_that_is_not_trouble_that_goes_on_is_said_each_time() {
    for kind in Kind::ALL.iter().filter(|kind| kind.said() != Say::Sparingly) {
        let said = lines([(0, of_run(*kind, 1, "busy")), (0, of_run(*kind, 1, "busy"))]);
        assert_eq!(said.len(), 2, "{kind:?}");
    }
    let sparingly: Vec<&str> =
        Kind::ALL.iter().filter(|kind| kind.said() == Say::Sparingly).map(|kind| kind.name()).collect();
    let expected = [
        "daemon.fault",
        "backup.retry",
        "owner.conflict",
        "backup.twin",
        "quota.full",
        "retention.failed",
        "journal.unreadable",
    ];
    assert_eq!(sparingly, expected);
}

#[test]
fn a_fan_has_the_receipts_of_all() {
    let queue = Queue::start(Box::new(|_| Err(io::ErrorKind::StorageFull.into())), |_, _| ()).unwrap();
    let log = |queue: Option<Queue>| -> Arc<dyn Report> {
        Arc::new(Log { queue, clock: Arc::new(Hands::default()), repetition: Mutex::default() })
    };
    let fan = Fan(vec![log(Some(queue.clone())), log(None)]);
    assert!(fan.receipt().is_good());
    queue.put(Weight::Owed, b"record".to_vec());
    assert!(!fan.receipt().is_good());
}
