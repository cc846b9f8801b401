//! What the back end does: states, quotas, visibility, listings.

use std::time::Duration;

use cbs_sim::{
    BackupState, Choices, CreateTime, Disk, DiskState, ExistingBackup, MissingIds, Sim, Timings, World,
};
use serde_json::{Value, json};

use crate::support::{Caller, ID, code, world};

const MINUTE: Duration = Duration::from_secs(60);

fn create(caller: &Caller, disk: &str, name: &str) -> Value {
    caller.call("CreateDiskBackup", &json!({"DiskId": disk, "DiskBackupName": name}))
}

fn created(caller: &Caller, disk: &str, name: &str) -> String {
    let answer = create(caller, disk, name);
    answer["DiskBackupId"].as_str().unwrap_or_else(|| panic!("not created: {answer}")).to_owned()
}

fn list(caller: &Caller, query: &Value) -> Value {
    caller.call("DescribeDiskBackups", query)
}

/// One property of every item of a listing's page.
fn each<'a>(answer: &'a Value, set: &str, key: &str) -> Vec<&'a str> {
    answer[set].as_array().unwrap().iter().map(|item| item[key].as_str().unwrap()).collect()
}

fn names(answer: &Value) -> Vec<&str> {
    each(answer, "DiskBackupSet", "DiskBackupName")
}

fn existing(id: &str, created: &str) -> ExistingBackup {
    let state = BackupState::Normal;
    ExistingBackup { id: id.to_owned(), name: id.to_owned(), created: created.parse().unwrap(), state }
}

/// A disk with so many old backups, one a day.
fn stocked(id: &str, backups: u32) -> Disk {
    let day = |n: u32| {
        existing(&format!("dbp-{n:03}"), &format!("2026-{:02}-{:02}T00:00:00Z", n / 28 + 1, n % 28 + 1))
    };
    Disk { quota: 1000, backups: (0..backups).map(day).collect(), ..Disk::new(id) }
}

#[test]
fn a_backup_is_creating_until_its_time_and_then_normal() {
    let caller = Caller::new(world([Disk { size: 70, ..Disk::new("disk-1") }]));
    let id = created(&caller, "disk-1", "n");
    let look = || list(&caller, &json!({"DiskBackupIds": [id]}))["DiskBackupSet"][0].clone();
    caller.pass(MINUTE / 2);
    assert_eq!(
        look(),
        json!({
            "DiskBackupId": id, "DiskId": "disk-1", "DiskSize": 70, "DiskUsage": "DATA_DISK", "DiskBackupName": "n",
            "DiskBackupState": "CREATING", "Percent": 50, "CreateTime": "2026-11-25 02:30:00", "Encrypt": false
        })
    );
    caller.pass(MINUTE / 2 - Duration::from_nanos(1));
    assert_eq!((&look()["DiskBackupState"], &look()["Percent"]), (&json!("CREATING"), &json!(99)));
    caller.pass(Duration::from_nanos(1));
    assert_eq!((&look()["DiskBackupState"], &look()["Percent"]), (&json!("NORMAL"), &json!(100)));
    assert_eq!(caller.sim.ledger().backups[0].state, "NORMAL");
}

#[test]
fn a_full_disk_takes_no_more_until_a_backup_goes() {
    let caller = Caller::new(world([
        Disk { quota: 1, ..Disk::new("disk-1") },
        Disk { quota: 0, ..Disk::new("disk-2") },
    ]));
    let id = created(&caller, "disk-1", "a");
    caller.pass(MINUTE);
    assert_eq!(code(&create(&caller, "disk-1", "b")), "ResourceInsufficient.OverQuota");
    assert_eq!(code(&create(&caller, "disk-2", "b")), "ResourceInsufficient.OverQuota");
    assert_eq!(caller.code("DeleteDiskBackups", &json!({"DiskBackupIds": [id]})), "ok");
    created(&caller, "disk-1", "b");
    let ledger = caller.sim.ledger();
    assert_eq!(ledger.backups_of("disk-1").map(|b| b.name.as_str()).collect::<Vec<_>>(), ["b"]);
    assert_eq!((ledger.gone[0].name.as_str(), ledger.gone[0].state.as_str()), ("a", "DELETED"));
    let delete = ledger.requests_of("DeleteDiskBackups").next().unwrap();
    assert_eq!((delete.disk_id.as_deref(), delete.backup_id.as_deref()), (Some("disk-1"), Some(id.as_str())));
}

#[test]
fn a_disk_takes_one_backup_at_a_time_unless_the_world_says_otherwise() {
    let caller = Caller::new(world([Disk::new("disk-1"), Disk::new("disk-2")]));
    created(&caller, "disk-1", "a");
    assert_eq!(code(&create(&caller, "disk-1", "b")), "ResourceUnavailable.SnapshotCreating");
    created(&caller, "disk-2", "b");

    let choices = Choices { one_creation_at_a_time: false, ..Choices::default() };
    let caller = Caller::new(World { choices, ..world([Disk::new("disk-1")]) });
    assert_ne!(created(&caller, "disk-1", "same"), created(&caller, "disk-1", "same"), "no idempotency");
}

#[test]
fn only_disks_at_rest_are_backed_up() {
    for (state, expected) in [
        (DiskState::Attached, "ok"),
        (DiskState::Unattached, "ok"),
        (DiskState::Rollbacking, "ResourceInUse.DiskRollbacking"),
        (DiskState::Attaching, "InvalidDisk.Busy"),
        (DiskState::Expanding, "InvalidDisk.Busy"),
        (DiskState::Torecycle, "InvalidDisk.Busy"),
    ] {
        let caller = Caller::new(world([Disk { state, ..Disk::new("disk-1") }]));
        assert_eq!(code(&create(&caller, "disk-1", "a")), expected, "{state:?}");
    }
}

#[test]
fn a_name_has_at_most_a_hundred_characters_of_any_script() {
    let caller = Caller::new(world([Disk::new("disk-1")]));
    assert_eq!(code(&create(&caller, "disk-1", &"备".repeat(101))), "InvalidParameterValue");
    created(&caller, "disk-1", &"备".repeat(100));
    assert_eq!(names(&list(&caller, &json!({}))), ["备".repeat(100)]);
}

#[test]
fn an_accepted_backup_holds_its_quota_before_it_is_visible() {
    let timings = Timings { visible_ms: (5_000, 5_000), create_ms: (0, 0), ..Timings::default() };
    let caller = Caller::new(World { timings, ..world([Disk { quota: 1, ..Disk::new("disk-1") }]) });
    let id = created(&caller, "disk-1", "a");
    caller.pass(Duration::from_millis(4_999));
    for query in
        [json!({"DiskBackupIds": [id]}), json!({"Filters": [{"Name": "disk-id", "Values": ["disk-1"]}]})]
    {
        assert_eq!(list(&caller, &query)["TotalCount"], 0, "{query}");
    }
    assert_eq!(code(&create(&caller, "disk-1", "b")), "ResourceInsufficient.OverQuota");
    caller.pass(Duration::from_millis(1));
    assert_eq!(names(&list(&caller, &json!({}))), ["a"]);
}

#[test]
fn backups_are_listed_in_pages_oldest_first_unless_asked_otherwise() {
    let caller = Caller::new(world([stocked("disk-1", 250)]));
    let page = |query: &Value| {
        let answer = list(&caller, query);
        assert_eq!(answer["TotalCount"], 250);
        let names = names(&answer);
        (names.len(), (*names.first().unwrap_or(&"")).to_owned(), (*names.last().unwrap_or(&"")).to_owned())
    };
    let of = |length, first: &str, last: &str| (length, first.to_owned(), last.to_owned());
    assert_eq!(page(&json!({})), of(20, "dbp-000", "dbp-019"));
    assert_eq!(page(&json!({"Limit": 100, "Offset": 200})), of(50, "dbp-200", "dbp-249"));
    assert_eq!(page(&json!({"Limit": 100, "Offset": 300})), of(0, "", ""));
    assert_eq!(
        page(&json!({"Order": "DESC", "OrderField": "CREATE_TIME", "Limit": 2})),
        of(2, "dbp-249", "dbp-248")
    );
    for wrong in [json!({"Limit": 101}), json!({"Order": "UP"}), json!({"OrderField": "NAME"})] {
        assert_eq!(code(&list(&caller, &wrong)), "InvalidParameterValue", "{wrong}");
    }
}

#[test]
fn backups_are_selected_by_ids_or_by_filters_and_never_by_both() {
    let disks = ["disk-1", "disk-2"].map(|id| Disk {
        usage: if id == "disk-1" { "SYSTEM_DISK" } else { "DATA_DISK" }.to_owned(),
        backups: vec![existing(&id.replace("disk", "dbp"), "2026-01-01T00:00:00Z")],
        ..Disk::new(id)
    });
    let caller = Caller::new(world(disks));
    let filter = |name: &str, value: &str| json!({"Name": name, "Values": [value]});
    for (query, expected) in [
        (json!({}), vec!["dbp-1", "dbp-2"]),
        (json!({"DiskBackupIds": ["dbp-2", "dbp-9"]}), vec!["dbp-2"]),
        (json!({"Filters": [filter("disk-id", "disk-2")]}), vec!["dbp-2"]),
        (json!({"Filters": [{"Name": "disk-id", "Values": ["disk-1", "disk-2"]}]}), vec!["dbp-1", "dbp-2"]),
        (json!({"Filters": [filter("disk-usage", "SYSTEM_DISK")]}), vec!["dbp-1"]),
        (json!({"Filters": [filter("disk-backup-id", "dbp-1")]}), vec!["dbp-1"]),
        (json!({"Filters": [filter("disk-backup-id", "dbp-1"), filter("disk-id", "disk-2")]}), vec![]),
        (json!({"DiskBackupIds": ["dbp-2"], "Filters": []}), vec!["dbp-2"]),
        (json!({"DiskBackupIds": null}), vec!["dbp-1", "dbp-2"]),
    ] {
        let answer = list(&caller, &query);
        assert_eq!(
            (names(&answer), &answer["TotalCount"]),
            (expected.clone(), &json!(expected.len())),
            "{query}"
        );
    }
    for (query, expected) in [
        (json!({"DiskBackupIds": ["dbp-1"], "Filters": [filter("disk-id", "disk-1")]}), "InvalidParameter"),
        (json!({"Filters": [filter("disk-backup-name", "a")]}), "InvalidFilter"),
        (json!({"Filters": [{"Name": "disk-id"}]}), "InvalidParameter"),
        (json!({"DiskBackupIds": "dbp-1"}), "InvalidParameter"),
        (json!({"Limit": -1}), "InvalidParameter"),
    ] {
        assert_eq!(code(&list(&caller, &query)), expected, "{query}");
    }
}

#[test]
fn missing_ids_are_left_out_or_an_error_as_the_world_says() {
    let choices =
        Choices { missing_ids: MissingIds::Error, create_time: CreateTime::Rfc3339, ..Choices::default() };
    let caller = Caller::new(World { choices, ..world([stocked("disk-1", 1)]) });
    assert_eq!(
        code(&list(&caller, &json!({"DiskBackupIds": ["dbp-000", "dbp-9"]}))),
        "ResourceNotFound.NotFound"
    );
    assert_eq!(caller.code("DescribeDisks", &json!({"DiskIds": ["disk-9"]})), "InvalidDiskId.NotFound");
    let answer = list(&caller, &json!({"DiskBackupIds": ["dbp-000"]}));
    assert_eq!(answer["DiskBackupSet"][0]["CreateTime"], "2026-01-01T00:00:00+00:00");

    let caller = Caller::new(world([stocked("disk-1", 1)]));
    assert_eq!(list(&caller, &json!({"DiskBackupIds": ["dbp-000", "dbp-9"]}))["TotalCount"], 1);
    assert_eq!(caller.call("DescribeDisks", &json!({"DiskIds": ["disk-1", "disk-9"]}))["TotalCount"], 1);
}

#[test]
fn a_batch_is_deleted_whole_or_not_at_all() {
    let caller = Caller::new(world([stocked("disk-1", 2)]));
    let delete = |ids: &[&str]| caller.code("DeleteDiskBackups", &json!({"DiskBackupIds": ids}));
    assert_eq!(delete(&["dbp-000", "dbp-9"]), "ResourceNotFound.NotFound");
    assert_eq!(delete(&[]), "MissingParameter");
    let creating = created(&caller, "disk-1", "c");
    assert_eq!(delete(&["dbp-000", &creating]), "ResourceUnavailable.DiskBackupCreating");
    assert_eq!(caller.sim.ledger().backups.len(), 3);
    assert_eq!(delete(&["dbp-000", "dbp-001"]), "ok");
    assert_eq!(delete(&["dbp-000"]), "ResourceNotFound.NotFound");
    assert_eq!(caller.sim.ledger().backups.len(), 1);
}

#[test]
fn what_is_not_normal_is_listed_so_and_not_deleted() {
    let in_state = |state, id: &str| ExistingBackup { state, ..existing(id, "2026-11-20T00:00:00Z") };
    let backups = vec![in_state(BackupState::Rollbacking, "dbp-1"), in_state(BackupState::Creating, "dbp-2")];
    let caller = Caller::new(world([Disk { backups, ..Disk::new("disk-1") }]));
    let listed = list(&caller, &json!({}));
    assert_eq!(each(&listed, "DiskBackupSet", "DiskBackupState"), ["ROLLBACKING", "CREATING"]);
    let delete = |id: &str| caller.code("DeleteDiskBackups", &json!({"DiskBackupIds": [id]}));
    assert_eq!(delete("dbp-1"), "ResourceInUse.DiskRollbacking");
    assert_eq!(delete("dbp-2"), "ResourceUnavailable.DiskBackupCreating");
    assert_eq!(caller.sim.ledger().backups.len(), 2);
}

#[test]
fn a_region_sees_its_own_disks_and_backups_only() {
    let elsewhere = Disk { region: "ap-shanghai".to_owned(), ..stocked("disk-1", 1) };
    let caller = Caller::new(world([elsewhere]));
    assert_eq!(code(&create(&caller, "disk-1", "a")), "InvalidDiskId.NotFound");
    assert_eq!(list(&caller, &json!({"DiskBackupIds": ["dbp-000"]}))["TotalCount"], 0);
    assert_eq!(caller.call("DescribeDisks", &json!({}))["TotalCount"], 0);
    assert_eq!(
        caller.code("DeleteDiskBackups", &json!({"DiskBackupIds": ["dbp-000"]})),
        "ResourceNotFound.NotFound"
    );
}

#[test]
fn a_caller_sees_the_disks_of_its_own_account_and_those_of_none() {
    let of = |account: &str, id: &str| Disk { account: Some(account.to_owned()), ..Disk::new(id) };
    let theirs = Disk { account: Some("other".to_owned()), ..stocked("disk-2", 1) };
    let caller = Caller::new(world([of(ID, "disk-1"), theirs, Disk::new("disk-3")]));
    let found = caller.call("DescribeDisks", &json!({}));
    assert_eq!(each(&found, "DiskSet", "DiskId"), ["disk-1", "disk-3"]);
    created(&caller, "disk-1", "a");
    assert_eq!(code(&create(&caller, "disk-2", "a")), "InvalidDiskId.NotFound");
    assert_eq!(list(&caller, &json!({"DiskBackupIds": ["dbp-000"]}))["TotalCount"], 0);
    assert_eq!(caller.sim.ledger().requests[0].host, caller.signer.host);
}

#[test]
fn disks_are_selected_by_their_properties() {
    let tagged = |id: &str, value: &str, instances: &[&str]| Disk {
        name: format!("name of {id}"),
        tags: [("backup".to_owned(), value.to_owned())].into(),
        instances: instances.iter().map(|id| (*id).to_owned()).collect(),
        ..Disk::new(id)
    };
    let system = Disk { usage: "SYSTEM_DISK".to_owned(), project: 7, ..Disk::new("disk-3") };
    let caller = Caller::new(world([
        tagged("disk-1", "nightly", &["ins-1"]),
        tagged("disk-2", "weekly", &["ins-1", "ins-2"]),
        system,
    ]));
    for (name, value, expected) in [
        ("disk-id", "disk-1", vec!["disk-1"]),
        ("disk-name", "name of disk-2", vec!["disk-2"]),
        ("disk-usage", "SYSTEM_DISK", vec!["disk-3"]),
        ("disk-state", "UNATTACHED", vec![]),
        ("project-id", "7", vec!["disk-3"]),
        ("zone", "ap-guangzhou-3", vec!["disk-1", "disk-2", "disk-3"]),
        ("zone", "ap-guangzhou-4", vec![]),
        ("disk-type", "CLOUD_PREMIUM", vec!["disk-1", "disk-2", "disk-3"]),
        ("disk-charge-type", "PREPAID", vec![]),
        ("portable", "FALSE", vec![]),
        ("instance-name", "web", vec![]),
        ("instance-id", "ins-2", vec!["disk-2"]),
        ("tag-key", "backup", vec!["disk-1", "disk-2"]),
        ("tag-value", "weekly", vec!["disk-2"]),
        ("tag:backup", "nightly", vec!["disk-1"]),
        ("tag:other", "nightly", vec![]),
    ] {
        let query = json!({"Filters": [{"Name": name, "Values": [value]}], "Order": "ASC"});
        assert_eq!(each(&caller.call("DescribeDisks", &query), "DiskSet", "DiskId"), expected, "{name}");
    }
    let query = json!({"Filters": [{"Name": "colour", "Values": ["red"]}]});
    assert_eq!(caller.code("DescribeDisks", &query), "InvalidFilter");

    created(&caller, "disk-2", "a");
    let disk = &caller.call("DescribeDisks", &json!({"DiskIds": ["disk-2"]}))["DiskSet"][0];
    assert_eq!((&disk["DiskBackupQuota"], &disk["DiskBackupCount"]), (&json!(3), &json!(1)));
    assert_eq!((&disk["InstanceId"], &disk["InstanceIdList"]), (&json!("ins-1"), &json!(["ins-1", "ins-2"])));
    assert_eq!(disk["Tags"], json!([{"Key": "backup", "Value": "weekly"}]));
}

#[test]
fn disks_and_backups_come_and_go_by_other_hands() {
    let caller = Caller::new(world([]));
    caller.sim.put_disk(stocked("disk-1", 1));
    let id = created(&caller, "disk-1", "a");
    caller.sim.put_disk(Disk { quota: 2, ..stocked("disk-1", 1) });
    assert_eq!(
        caller.sim.ledger().backups.len(),
        2,
        "what it had stays, what it brings again is not doubled"
    );
    caller.pass(MINUTE);
    assert_eq!(code(&create(&caller, "disk-1", "b")), "ResourceInsufficient.OverQuota");
    assert!(caller.sim.remove_backup(&id) && !caller.sim.remove_backup(&id));
    created(&caller, "disk-1", "b");
    assert!(caller.sim.remove_disk("disk-1") && !caller.sim.remove_disk("disk-1"));
    assert_eq!(code(&create(&caller, "disk-1", "c")), "InvalidDiskId.NotFound");
    let ledger = caller.sim.ledger();
    assert_eq!((ledger.backups.len(), ledger.gone.len()), (0, 3));
}

/// What a seed makes of three backups: ids and the instants at which they are NORMAL.
fn story(seed: u64) -> Vec<(String, usize)> {
    let timings = Timings { create_ms: (1_000, 100_000), ..Timings::default() };
    let caller = Caller::new(World { seed, timings, ..world(["disk-1", "disk-2", "disk-3"].map(Disk::new)) });
    let normal_after = |id: &str| {
        let normal =
            |sim: &Sim| sim.ledger().backups.iter().any(|b| b.backup_id == id && b.state == "NORMAL");
        (0..=100).find(|_| {
            caller.pass(Duration::from_secs(1));
            normal(&caller.sim)
        })
    };
    ["disk-1", "disk-2", "disk-3"]
        .map(|disk| {
            let id = created(&caller, disk, "a");
            let seconds = normal_after(&id).expect("NORMAL within its longest time");
            (id, seconds)
        })
        .to_vec()
}

#[test]
fn a_seed_tells_the_same_story_twice_and_another_seed_another() {
    assert_eq!(story(1), story(1));
    assert_ne!(story(1), story(2));
    let seconds: Vec<_> = story(1).into_iter().map(|(_, seconds)| seconds).collect();
    assert!(seconds.iter().any(|other| *other != seconds[0]), "backups differ: {seconds:?}");
}

fn roll_back(caller: &Caller, disk: &str, backup: &str) -> String {
    caller.code("ApplyDiskBackup", &json!({"DiskId": disk, "DiskBackupId": backup}))
}

#[test]
fn a_rollback_takes_its_time_and_shows_in_the_disk_and_in_the_backup() {
    let backups = vec![existing("dbp-1", "2026-11-23T00:00:00Z"), existing("dbp-2", "2026-11-24T00:00:00Z")];
    let disk = Disk { state: DiskState::Unattached, backups, ..Disk::new("disk-1") };
    let caller = Caller::new(world([disk]));
    let disk = || caller.call("DescribeDisks", &json!({"DiskIds": ["disk-1"]}))["DiskSet"][0].clone();
    let states = || {
        let listing = list(&caller, &json!({"Order": "ASC"}));
        each(&listing, "DiskBackupSet", "DiskBackupState").into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!((&disk()["RollbackPercent"], &disk()["Rollbacking"]), (&json!(100), &json!(false)));
    assert_eq!(roll_back(&caller, "disk-1", "dbp-1"), "ok");
    caller.pass(MINUTE / 4);
    assert_eq!(
        (&disk()["DiskState"], &disk()["RollbackPercent"], &disk()["Rollbacking"]),
        (&json!("ROLLBACKING"), &json!(25), &json!(true))
    );
    assert_eq!(states(), ["ROLLBACKING", "NORMAL"]);
    for (action, body) in [
        ("ApplyDiskBackup", json!({"DiskId": "disk-1", "DiskBackupId": "dbp-2"})),
        ("CreateDiskBackup", json!({"DiskId": "disk-1"})),
        ("DeleteDiskBackups", json!({"DiskBackupIds": ["dbp-1"]})),
    ] {
        assert_eq!(caller.code(action, &body), "ResourceInUse.DiskRollbacking", "{action}");
    }
    let rolling = json!({"Filters": [{"Name": "disk-state", "Values": ["ROLLBACKING"]}]});
    assert_eq!(caller.call("DescribeDisks", &rolling)["TotalCount"], 1);
    caller.pass(MINUTE * 3 / 4);
    assert_eq!((&disk()["DiskState"], &disk()["RollbackPercent"]), (&json!("UNATTACHED"), &json!(100)));
    assert_eq!(states(), ["NORMAL", "NORMAL"]);
}

#[test]
fn a_rollback_wants_its_own_disk_a_normal_backup_and_nobody_who_writes() {
    let caller = Caller::new(world([
        Disk { backups: vec![existing("dbp-1", "2026-11-23T00:00:00Z")], ..Disk::new("disk-1") },
        Disk { state: DiskState::Unattached, ..Disk::new("disk-2") },
        Disk { state: DiskState::Expanding, ..Disk::new("disk-3") },
    ]));
    assert_eq!(roll_back(&caller, "disk-9", "dbp-1"), "InvalidDiskId.NotFound");
    assert_eq!(roll_back(&caller, "disk-2", "dbp-9"), "ResourceNotFound.NotFound");
    assert_eq!(roll_back(&caller, "disk-2", "dbp-1"), "ResourceUnavailable.NotSupported");
    assert_eq!(roll_back(&caller, "disk-3", "dbp-1"), "InvalidDisk.Busy");
    let being_made = created(&caller, "disk-2", "n");
    assert_eq!(roll_back(&caller, "disk-2", &being_made), "ResourceBusy");
    // Attached: only with its instance stopped, by whomever.
    assert_eq!(roll_back(&caller, "disk-1", "dbp-1"), "InvalidDisk.Busy");
    let with = |stop: bool, start: bool| {
        let power = json!({"DiskId": "disk-1", "DiskBackupId": "dbp-1", "AutoStopInstance": stop, "AutoStartInstance": start});
        caller.code("ApplyDiskBackup", &power)
    };
    assert_eq!(with(false, true), "InvalidParameter");
    assert_eq!(with(true, false), "ok");
    caller.pass(MINUTE);
    // Its instance stays as it was left: stopped.
    assert_eq!(roll_back(&caller, "disk-1", "dbp-1"), "ok");
}
