//! The fields that events are documented with are those that they have: none besides (simulations and scenarios object to
//! one), and, for the events of a simulated fortnight, none too many.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use cbs_backupd::report::{Event, Kind};
use cbs_backupd::simulate::{Plan, Tamper, simulate};
use jiff::Timestamp;

/// How often each kind was said, and with which fields.
static HEARD: Mutex<BTreeMap<&str, (u64, BTreeSet<&str>)>> = Mutex::new(BTreeMap::new());

/// A kind that was said so often has had all its fields,
const OFTEN: u64 = 20;
/// save those that take a rare setback.
const RARE: [(Kind, &str); 1] = [(Kind::BackupAdopted, "code")];

fn hear(_: Timestamp, event: &Event) {
    let mut heard = HEARD.lock().unwrap();
    let (times, fields) = heard.entry(event.kind.name()).or_default();
    *times += 1;
    fields.extend(event.fields.names());
}

#[test]
fn an_event_has_the_fields_that_it_is_documented_with() {
    let summary = simulate(&Plan { listener: Some(hear), ..Plan::new(1, 12, 6) }, Tamper::default()).unwrap();
    assert!(summary.is_good(), "{summary}");
    let heard = HEARD.lock().unwrap();
    let mut compared = 0;
    for kind in Kind::ALL {
        let Some((times, fields)) = heard.get(kind.name()) else { continue };
        for field in fields {
            assert!(
                kind.fields().any(|known| known == *field),
                "{} has an undocumented {field}",
                kind.name()
            );
        }
        if *times < OFTEN {
            continue;
        }
        compared += 1;
        for field in kind.fields() {
            let is_rare = RARE.contains(&(*kind, field)) || field == "repeated";
            assert!(is_rare || fields.contains(field), "{} never has {field}", kind.name());
        }
    }
    assert!(compared >= 12, "too few to compare: {compared}");
}
