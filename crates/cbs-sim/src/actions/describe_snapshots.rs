//! DescribeSnapshots: the snapshots that are visible by now, by ids or by filters.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::describe_disk_backups::create_time;
use super::{Action, Answer, Call, listing};
use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::params::{Field, Filter, Kind, Selection};
use crate::snapshots::{Snapshot, snapshot_not_found};
use crate::world::{CreateTime, Disk, MissingIds};

pub(super) const ACTION: Action = Action {
    name: "DescribeSnapshots",
    limit: 20,
    fields: &[
        Field::optional("SnapshotIds", Kind::Texts),
        Field::optional("Filters", Kind::Filters),
        Field::optional("Offset", Kind::Number),
        Field::optional("Limit", Kind::Number),
        Field::optional("Order", Kind::Text),
        Field::optional("OrderField", Kind::Text),
    ],
    run,
};

/// The vendor's, for `disk-id`.
const MOST_DISKS: usize = 10;
const FILTERS: [&str; 9] = [
    "snapshot-id",
    "snapshot-name",
    "snapshot-state",
    "disk-usage",
    "project-id",
    "disk-id",
    "zone",
    "encrypt",
    "snapshot-type",
];

fn run(cloud: &mut Cloud, call: &Call<'_>) -> Result<Answer, ApiError> {
    let mut found = match call.params.selection("SnapshotIds")? {
        Selection::Ids(ids) => by_ids(cloud, call, &ids)?,
        Selection::Filters(filters) => by_filters(cloud, call, &filters)?,
    };
    call.params.order(&mut found, &["CREATE_TIME"], |snapshot| snapshot.created)?;
    let (total, page) = call.params.page(found)?;
    let shape = cloud.choices.create_time;
    let view = |snapshot: &Snapshot| {
        let disk = cloud.disk(call.place, &snapshot.disk).map(|shelf| &shelf.disk);
        view(snapshot, disk, call.now, shape)
    };
    Ok(listing("SnapshotSet", (total, page.into_iter().map(view).collect())))
}

fn by_ids<'a>(cloud: &'a Cloud, call: &'a Call<'_>, ids: &[&str]) -> Result<Vec<&'a Snapshot>, ApiError> {
    let mut found = Vec::new();
    for id in ids {
        match cloud.snapshots.visible(call.place.region, call.now).find(|snapshot| snapshot.id == *id) {
            Some(snapshot) => found.push(snapshot),
            None if cloud.choices.missing_ids == MissingIds::Error => return Err(snapshot_not_found(id)),
            None => {}
        }
    }
    Ok(found)
}

fn by_filters<'a>(
    cloud: &'a Cloud,
    call: &'a Call<'_>,
    filters: &[Filter<'_>],
) -> Result<Vec<&'a Snapshot>, ApiError> {
    if let Some(filter) = filters.iter().find(|filter| !FILTERS.contains(&filter.name)) {
        return Err(filter.unknown());
    }
    if filters.iter().any(|filter| filter.name == "disk-id" && filter.values.len() > MOST_DISKS) {
        return Err(ApiError::invalid_value("Filters", "at most 10 values of `disk-id`"));
    }
    let admits = |filter: &Filter<'_>, snapshot: &Snapshot| {
        let disk = cloud.disk(call.place, &snapshot.disk).map(|shelf| &shelf.disk);
        match filter.name {
            "snapshot-id" => filter.admits(&snapshot.id),
            "snapshot-name" => filter.admits(&snapshot.name),
            "snapshot-state" => filter.admits(snapshot.state(call.now)),
            "disk-id" => filter.admits(&snapshot.disk),
            "disk-usage" => disk.is_some_and(|disk| filter.admits(&disk.usage)),
            "project-id" => disk.is_some_and(|disk| filter.admits(&disk.project.to_string())),
            "zone" => disk.is_some_and(|disk| filter.admits(&disk.zone)),
            "encrypt" => filter.values.iter().any(|value| value.eq_ignore_ascii_case("false")),
            _ => filter.admits("PRIVATE_SNAPSHOT"),
        }
    };
    let all = cloud.snapshots.visible(call.place.region, call.now);
    Ok(all.filter(|snapshot| filters.iter().all(|filter| admits(filter, snapshot))).collect())
}

fn view(snapshot: &Snapshot, disk: Option<&Disk>, now: Timestamp, shape: CreateTime) -> Value {
    let created = create_time(snapshot.created, shape);
    json!({
        "SnapshotId": snapshot.id,
        "SnapshotName": snapshot.name,
        "SnapshotState": snapshot.state(now),
        "SnapshotType": "PRIVATE_SNAPSHOT",
        "SnapshotMode": "STANDARD_SNAPSHOT",
        "DiskId": snapshot.disk,
        "DiskSize": disk.map_or(0, |disk| disk.size),
        "DiskUsage": disk.map_or("DATA_DISK", |disk| &disk.usage),
        "Percent": if snapshot.is_normal(now) { 100 } else { 50 },
        "CreateTime": created,
        "LatestModifyTime": created,
        "DeadlineTime": deadline(snapshot.deadline.as_deref(), shape),
        "IsPermanent": snapshot.deadline.is_none(),
        "IsLocked": false,
        "Encrypt": false,
        "CopyFromRemote": false,
        "CopyingToRegions": [],
        "Images": [],
        "ImageCount": 0,
        "ShareReference": 0,
        "TimeStartShare": "",
        "Tags": [],
        "AutoSnapshotPolicyId": "",
        "Placement": {
            "Zone": disk.map_or("", |disk| &disk.zone),
            "CageId": null,
            "CdcId": null,
            "CdcName": null,
            "DedicatedClusterId": "",
            "ProjectId": disk.map_or(0, |disk| disk.project),
            "ProjectName": null,
        },
    })
}

/// A deadline as it is shown; nothing for one that stays.
fn deadline(given: Option<&str>, shape: CreateTime) -> String {
    given.and_then(|text| text.parse().ok()).map(|at| create_time(at, shape)).unwrap_or_default()
}
