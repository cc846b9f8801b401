use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::testing::{Script, client};
use crate::{Action, Class, Priority};

#[tokio::test(start_paused = true)]
async fn what_is_not_there_counts_as_deleted() {
    let delete = async |script: Script| {
        let script = Arc::new(script);
        let client = client(&script);
        let deleted = client.delete_disk_backup("dbp-1", Priority::Retention).await;
        assert_eq!(script.bodies(), [json!({"DiskBackupIds": ["dbp-1"]})]);
        deleted.map_err(|error| error.class)
    };
    assert_eq!(delete(Script::default().then_json(json!({"RequestId": "r"}))).await, Ok(Deleted::Deleted));
    for code in ["ResourceNotFound", "ResourceNotFound.NotFound"] {
        assert_eq!(delete(Script::default().then_code(code)).await, Ok(Deleted::WasGone));
    }
    assert_eq!(delete(Script::default().then_code("InternalError")).await, Err(Class::Unavailable));
    assert_eq!(delete(Script::default().then_code("InvalidParameter")).await, Err(Class::Permanent));
}

#[tokio::test(start_paused = true)]
async fn backups_are_read_with_nulls_unknown_fields_and_unknown_states() {
    let script = Arc::new(Script::default().then_json(json!({
        "TotalCount": 3,
        "DiskBackupSet": [
            {"DiskBackupId": "dbp-3", "DiskId": "disk-1", "DiskBackupName": "n", "DiskBackupState": "NORMAL",
             "Percent": 100, "DiskSize": 50, "DiskUsage": "DATA_DISK", "CreateTime": "2025-03-27 14:00:13",
             "Encrypt": true, "Novelty": {"a": [1]}},
            {"DiskBackupId": "dbp-2", "DiskId": null, "DiskBackupName": null, "DiskBackupState": "THAWING",
             "Percent": null, "DiskSize": null, "DiskUsage": null, "CreateTime": null, "Encrypt": null},
            {"DiskBackupId": "dbp-1"},
        ],
        "RequestId": "r",
    })));
    let client = client(&script);
    let query = BackupsQuery::ByDisks(vec!["disk-1".into()]);
    let listing = client.describe_disk_backups(&query, Page::default(), Priority::Tracking).await.unwrap();
    assert_eq!((listing.total, listing.request_id.as_deref()), (3, Some("r")));
    let [full, null, bare] = &*listing.items else { panic!("three") };
    assert_eq!((full.state.clone(), full.percent, full.encrypted), (BackupState::Normal, Some(100), true));
    assert_eq!(full.created.unwrap().to_string(), "2025-03-27T06:00:13Z");
    assert_eq!(null.state, BackupState::Other("THAWING".into()));
    assert_eq!((null.disk_id.as_str(), null.percent), ("", None));
    assert_eq!((bare.id.as_str(), bare.state.as_str()), ("dbp-1", ""));
    assert_eq!(
        script.bodies(),
        [json!({"Filters": [{"Name": "disk-id", "Values": ["disk-1"]}], "Offset": 0, "Limit": 100,
                "Order": "DESC", "OrderField": "CREATE_TIME"})]
    );
    assert!(!script.requests()[0].fresh_connection);
}

#[tokio::test(start_paused = true)]
async fn disks_are_read_with_nulls_and_unknown_states() {
    let script = Arc::new(Script::default().then_json(json!({
        "TotalCount": 2,
        "DiskSet": [
            {"DiskId": "disk-1", "DiskState": "ATTACHED", "DiskSize": 50, "InstanceId": "ins-1",
             "InstanceIdList": null, "DiskBackupQuota": 1, "DiskBackupCount": 0, "Rollbacking": null,
             "Tags": [{"Key": "backup", "Value": "nightly"}, {"Key": "bare", "Value": null}],
             "Placement": {"Zone": "ap-guangzhou-3", "ProjectId": 0, "CageId": null}},
            {"DiskId": "disk-2", "DiskState": "DREAMING", "Tags": null, "Placement": null,
             "InstanceId": null, "DiskBackupQuota": null, "Migrating": true},
        ],
    })));
    let client = client(&script);
    let query = DisksQuery::Where(vec![Filter::new("tag:backup", ["nightly"])]);
    let disks = client.list_disks(&query, Priority::Reconcile).await.unwrap();
    assert_eq!((disks[0].state.clone(), disks[0].backup_quota), (DiskState::Attached, Some(1)));
    assert_eq!(disks[0].tags["backup"], "nightly");
    assert_eq!((disks[0].tags["bare"].as_str(), disks[0].placement.zone.as_str()), ("", "ap-guangzhou-3"));
    assert_eq!((disks[1].state.as_str(), disks[1].backup_quota), ("DREAMING", None));
    assert!(disks[1].migrating && disks[1].instance_ids.is_empty());
    assert_eq!(
        script.bodies(),
        [json!({"Filters": [{"Name": "tag:backup", "Values": ["nightly"]}], "Offset": 0, "Limit": 100})]
    );
}

#[tokio::test(start_paused = true)]
async fn a_query_for_no_ids_is_not_one_for_all() {
    let script = Arc::new(Script::default());
    let client = client(&script);
    for query in [BackupsQuery::ByIds(vec![]), BackupsQuery::ByDisks(vec![])] {
        assert_eq!(client.list_disk_backups(&query, Priority::Tracking).await.unwrap(), []);
    }
    assert_eq!(client.list_disks(&DisksQuery::ByIds(vec![]), Priority::Tracking).await.unwrap(), []);
}

#[tokio::test(start_paused = true)]
async fn a_listing_without_what_it_stands_on_is_no_listing() {
    for response in [
        json!({"DiskBackupSet": []}),
        json!({"TotalCount": null, "DiskBackupSet": []}),
        json!({"TotalCount": 1, "DiskBackupSet": [{"DiskBackupId": ""}]}),
        json!({"TotalCount": 1, "DiskBackupSet": [{"DiskBackupId": " "}]}),
        json!({"TotalCount": 1, "DiskBackupSet": [{"DiskBackupName": "n"}]}),
        json!({"TotalCount": 0, "DiskBackupSet": [], "RequestId": null}),
        json!({"TotalCount": 1, "DiskBackupSet": null}),
    ] {
        let script = Arc::new(Script::default().then_json(response.clone()));
        let error = client(&script).list_disk_backups(&BackupsQuery::All, Priority::Tracking).await;
        assert_eq!(error.unwrap_err().class, Class::Unavailable, "{response}");
    }
}

#[test]
fn a_state_is_read_and_written_by_the_clouds_word() {
    fn words<T: From<String> + Default + PartialEq + std::fmt::Debug>(
        known: &[&str],
        as_str: impl Fn(&T) -> &str,
        other: impl Fn(String) -> T,
    ) {
        for word in known {
            let state = T::from((*word).to_owned());
            assert_eq!(as_str(&state), *word);
            assert_ne!(state, other((*word).to_owned()), "{word} is not known");
        }
        assert_eq!(T::from("normal".to_owned()), other("normal".to_owned()));
        assert_eq!(T::default(), other(String::new()));
    }
    words(&["CREATING", "NORMAL", "ROLLBACKING"], BackupState::as_str, BackupState::Other);
    words(
        &[
            "UNATTACHED",
            "ATTACHING",
            "ATTACHED",
            "DETACHING",
            "EXPANDING",
            "ROLLBACKING",
            "TORECYCLE",
            "DUMPING",
        ],
        DiskState::as_str,
        DiskState::Other,
    );
}

#[test]
fn a_create_time_comes_in_two_shapes() {
    let read = |text| parse_create_time(text).map(|at| at.to_string());
    assert_eq!(read("2022-04-02T17:44:55+00:00").as_deref(), Some("2022-04-02T17:44:55Z"));
    assert_eq!(read("2022-04-02T17:44:55Z").as_deref(), Some("2022-04-02T17:44:55Z"));
    assert_eq!(read("2025-03-27 14:00:13").as_deref(), Some("2025-03-27T06:00:13Z"));
    for text in ["", "0000-00-00 00:00:00", "2025-02-30 14:00:13", "soon"] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rollback_is_asked_for_once_and_may_be_ambiguous() {
    let apply = async |script: Script, power: Power| {
        let script = Arc::new(script);
        let client = client(&script);
        let permit = client.lane(Action::ApplyDiskBackup).acquire(Priority::Command).await;
        let applied = client.apply_disk_backup(permit, "dbp-1", "disk-1", power).await;
        let [request] = &*script.requests() else { panic!("not once") };
        assert!(request.fresh_connection);
        (script.bodies().remove(0), applied.map_err(|error| error.class))
    };
    let done = || Script::default().then_json(json!({"RequestId": "r"}));
    let plain = json!({"DiskBackupId": "dbp-1", "DiskId": "disk-1"});
    assert_eq!(apply(done(), Power::default()).await, (plain.clone(), Ok(Some("r".to_owned()))));
    let (body, _) = apply(done(), Power { stop: true, start: true }).await;
    assert_eq!((&body["AutoStopInstance"], &body["AutoStartInstance"]), (&json!(true), &json!(true)));
    for (code, class) in [
        ("ResourceInUse.DiskRollbacking", Class::Busy),
        ("InvalidInstance.NotSupported", Class::Permanent),
        ("InternalError", Class::Ambiguous),
        ("NeverHeardOf", Class::Ambiguous),
    ] {
        assert_eq!(apply(Script::default().then_code(code), Power::default()).await.1, Err(class), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_asked_for_of_a_backup_and_is_ambiguous_where_the_reply_has_no_id() {
    let ask = async |script: Script, deadline: Option<Timestamp>| {
        let script = Arc::new(script);
        let client = client(&script);
        let permit = client.lane(Action::CreateSnapshot).acquire(Priority::UnresolvedCreate).await;
        let new = NewSnapshot { disk_id: "disk-1", backup_id: "dbp-1", name: "n", deadline };
        let answer = client.create_snapshot(permit, &new).await;
        (answer.map(|accepted| accepted.snapshot_id).map_err(|error| error.class), script.bodies())
    };
    let made = || Script::default().then_json(json!({"SnapshotId": "snap-1", "RequestId": "r"}));
    let plain = json!({"DiskId": "disk-1", "DiskBackupId": "dbp-1", "SnapshotName": "n"});
    assert_eq!(ask(made(), None).await, (Ok("snap-1".to_owned()), vec![plain.clone()]));
    let mut until = plain;
    until["Deadline"] = "2027-01-08T09:47:55+00:00".into();
    let deadline = "2027-01-08T09:47:55Z".parse().ok();
    assert_eq!(ask(made(), deadline).await.1, [until]);
    for id in [json!(null), json!(""), json!(7)] {
        let script = Script::default().then_json(json!({"SnapshotId": id, "RequestId": "r"}));
        assert_eq!(ask(script, None).await.0, Err(Class::Ambiguous));
    }
    for (code, class) in [
        ("InternalError", Class::Ambiguous),
        ("Strange.NobodyKnowsThis", Class::Ambiguous),
        ("InsufficientSnapshotQuota", Class::Scarce),
        ("ResourceNotFound.NotFound", Class::Gone),
    ] {
        assert_eq!(ask(Script::default().then_code(code), None).await.0, Err(class), "{code}");
    }
}

#[tokio::test(start_paused = true)]
async fn snapshots_are_read_with_nulls_and_unknown_states_and_asked_for_by_disk_and_name() {
    let script = Arc::new(Script::default().then_json(json!({
        "TotalCount": 2,
        "SnapshotSet": [
            {"SnapshotId": "snap-2", "DiskId": "disk-1", "SnapshotName": "n", "SnapshotState": "NORMAL",
             "Percent": 100, "CreateTime": "2023-03-09 10:45:11", "DeadlineTime": "2023-04-09 10:45:11", "Images": []},
            {"SnapshotId": "snap-1", "DiskId": null, "SnapshotName": null, "SnapshotState": "THAWING",
             "Percent": null, "CreateTime": null, "DeadlineTime": ""},
        ],
        "RequestId": "r",
    })));
    let client = client(&script);
    let query = SnapshotsQuery::ByName { disk: "disk-1".into(), name: "n".into() };
    let listing = client.describe_snapshots(&query, Page::default(), Priority::Tracking).await.unwrap();
    let [full, null] = &*listing.items else { panic!("two") };
    assert_eq!((full.state.clone(), full.name.as_str()), (SnapshotState::Normal, "n"));
    assert_eq!(full.deadline.unwrap().to_string(), "2023-04-09T02:45:11Z");
    assert_eq!((null.state.as_str(), null.deadline, null.disk_id.as_str()), ("THAWING", None, ""));
    let filters = json!([
        {"Name": "disk-id", "Values": ["disk-1"]}, {"Name": "snapshot-name", "Values": ["n"]}
    ]);
    assert_eq!(script.bodies()[0]["Filters"], filters);
    // No ids are no snapshots, and cost no call.
    for none in [SnapshotsQuery::ByIds(vec![]), SnapshotsQuery::ByDisks(vec![])] {
        assert_eq!(client.list_snapshots(&none, Priority::Tracking).await.unwrap(), []);
    }
    assert_eq!(script.bodies().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_that_is_not_there_counts_as_deleted() {
    let delete = async |script: Script| {
        let script = Arc::new(script);
        let deleted = client(&script).delete_snapshot("snap-1", Priority::Retention).await;
        assert_eq!(script.bodies(), [json!({"SnapshotIds": ["snap-1"]})]);
        deleted.map_err(|error| error.class)
    };
    assert_eq!(delete(Script::default().then_json(json!({"RequestId": "r"}))).await, Ok(Deleted::Deleted));
    assert_eq!(delete(Script::default().then_code("InvalidSnapshotId.NotFound")).await, Ok(Deleted::WasGone));
    let busy = Script::default().then_code("ResourceUnavailable.SnapshotCreating");
    assert_eq!(delete(busy).await, Err(Class::Busy));
}
