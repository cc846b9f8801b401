//! Snapshots of backups, and the vendor's own backups.

use std::time::Duration;

use cbs_sim::{Choices, Disk, Effect, Promotion, Rule, World};
use serde_json::{Value, json};

use crate::support::{Caller, code, world};

const MINUTE: Duration = Duration::from_secs(60);
const CREATE: &str = "CreateDiskBackup";
const PROMOTE: &str = "CreateSnapshot";

fn create(caller: &Caller, name: &str) -> Value {
    caller.call(CREATE, &json!({"DiskId": "disk-1", "DiskBackupName": name}))
}

fn promote(caller: &Caller, backup: &Value) -> Value {
    let fields = json!({"DiskId": "disk-1", "DiskBackupId": backup["DiskBackupId"], "SnapshotName": "s"});
    caller.call(PROMOTE, &fields)
}

fn small(promotion: Promotion) -> World {
    let choices = Choices { promotion, ..Choices::default() };
    World { choices, ..world([Disk { quota: 1, ..Disk::new("disk-1") }]) }
}

fn states(caller: &Caller) -> (Vec<String>, Vec<String>) {
    let ledger = caller.sim.ledger();
    let gone = ledger.gone.iter().map(|backup| backup.state.clone()).collect();
    (ledger.snapshots.iter().map(|snapshot| snapshot.state.clone()).collect(), gone)
}

#[test]
fn a_backup_that_becomes_a_snapshot_frees_its_place_at_once_or_when_that_is_normal() {
    for (promotion, at_once) in [(Promotion::AtOnce, true), (Promotion::WhenNormal, false)] {
        let caller = Caller::new(small(promotion));
        let backup = create(&caller, "a");
        assert_eq!(code(&promote(&caller, &backup)), "ResourceUnavailable.DiskBackupCreating");
        caller.pass(MINUTE);
        assert_eq!(code(&promote(&caller, &backup)), "ok");
        let next = |name| code(&create(&caller, name));
        let expected = if at_once { "ok" } else { "ResourceInsufficient.OverQuota" };
        assert_eq!(next("b"), expected, "{promotion:?}");
        // It is no more idempotent than a create.
        let again = if at_once { "ResourceNotFound.NotFound" } else { "ok" };
        assert_eq!(code(&promote(&caller, &backup)), again, "{promotion:?}");
        caller.pass(MINUTE);
        let many = if at_once { 1 } else { 2 };
        assert_eq!(states(&caller), (vec!["NORMAL".to_owned(); many], vec!["PROMOTED".to_owned()]));
        if !at_once {
            assert_eq!(next("b"), "ok");
        }
    }
}

#[test]
fn a_snapshot_that_vanishes_leaves_the_backup_where_that_is_consumed_late() {
    for (promotion, left) in [(Promotion::WhenNormal, 1), (Promotion::AtOnce, 0)] {
        let caller = Caller::with_faults(small(promotion), [Rule::on(PROMOTE, Effect::Vanish)]);
        let backup = create(&caller, "a");
        caller.pass(MINUTE);
        promote(&caller, &backup);
        caller.pass(MINUTE);
        assert_eq!(states(&caller).0, ["VANISHED"]);
        assert_eq!(caller.sim.ledger().backups.len(), left, "{promotion:?}");
    }
}

#[test]
fn snapshots_that_are_not_normal_are_not_deleted_and_a_batch_is_whole() {
    let caller = Caller::new(small(Promotion::WhenNormal));
    let made = || caller.call(PROMOTE, &json!({"DiskId": "disk-1"}))["SnapshotId"].clone();
    let first = made();
    caller.pass(MINUTE);
    let both = json!({"SnapshotIds": [first, made()]});
    assert_eq!(caller.code("DeleteSnapshots", &both), "ResourceUnavailable.SnapshotCreating");
    assert_eq!(states(&caller).0, ["NORMAL", "CREATING"]);
    caller.pass(MINUTE);
    assert_eq!(caller.code("DeleteSnapshots", &both), "ok");
    assert_eq!(states(&caller).0, ["DELETED", "DELETED"]);
    let eleven: Vec<String> = (0..11).map(|number| format!("disk-{number}")).collect();
    let filter = json!({"Filters": [{"Name": "disk-id", "Values": eleven}]});
    assert_eq!(caller.code("DescribeSnapshots", &filter), "InvalidParameterValue");
}

#[test]
fn the_vendor_keeps_one_backup_of_the_day_where_there_is_room_and_takes_none_of_ours() {
    let choices = Choices { vendors_daily: true, ..Choices::default() };
    let disks = [Disk { quota: 2, ..Disk::new("disk-1") }, Disk { quota: 0, ..Disk::new("disk-2") }];
    // It is half past two in Beijing.
    let caller = Caller::new(World { choices, ..world(disks) });
    let names =
        || -> Vec<String> { caller.sim.ledger().backups.iter().map(|backup| backup.name.clone()).collect() };
    assert_eq!(names(), ["auto_20261125"]);
    assert_eq!(code(&create(&caller, "ours")), "ok");
    caller.pass(MINUTE);
    assert_eq!(code(&create(&caller, "more")), "ResourceInsufficient.OverQuota");
    caller.pass(Duration::from_secs(21 * 3600 + 28 * 60));
    assert_eq!(names(), ["auto_20261125", "ours"]);
    caller.pass(MINUTE);
    assert_eq!(names(), ["ours", "auto_20261126"]);
    assert_eq!(caller.sim.ledger().gone[0].name, "auto_20261125");
    // Without room it makes none.
    caller.sim.put_disk(Disk { quota: 1, ..Disk::new("disk-1") });
    caller.pass(Duration::from_secs(24 * 3600));
    assert_eq!(names(), ["ours"]);
}
