//! DescribeDisks: the disks of a region, by ids or by filters.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Action, Answer, Call, listing};
use crate::cloud::{Cloud, Shelf, disk_not_found};
use crate::error::ApiError;
use crate::params::{Field, Filter, Kind, Selection};
use crate::world::{Disk, DiskState, MissingIds};

pub(super) const ACTION: Action = Action {
    name: "DescribeDisks",
    limit: 100,
    fields: &[
        Field::optional("DiskIds", Kind::Texts),
        Field::optional("Filters", Kind::Filters),
        Field::optional("Offset", Kind::Number),
        Field::optional("Limit", Kind::Number),
        Field::optional("Order", Kind::Text),
        Field::optional("OrderField", Kind::Text),
        Field::optional("ReturnBindAutoSnapshotPolicy", Kind::Flag),
    ],
    run,
};

fn run(cloud: &mut Cloud, call: &Call<'_>) -> Result<Answer, ApiError> {
    let mut found = match call.params.selection("DiskIds")? {
        Selection::Ids(ids) => by_ids(cloud, call, &ids)?,
        Selection::Filters(filters) => by_filters(cloud, call, &filters)?,
    };
    // Paid by the hour, none has a deadline: by either field it is one order.
    call.params.order(&mut found, &["CREATE_TIME", "DEADLINE"], |shelf| &shelf.disk.id)?;
    let (total, page) = call.params.page(found)?;
    Ok(listing("DiskSet", (total, page.into_iter().map(|shelf| view(shelf, call.now)).collect())))
}

fn by_ids<'a>(cloud: &'a Cloud, call: &Call<'_>, ids: &[&str]) -> Result<Vec<&'a Shelf>, ApiError> {
    let mut found = Vec::new();
    for id in ids {
        match cloud.disk(call.place, id) {
            Some(shelf) => found.push(shelf),
            None if cloud.choices.missing_ids == MissingIds::Error => return Err(disk_not_found(id)),
            None => {}
        }
    }
    Ok(found)
}

fn by_filters<'a>(
    cloud: &'a Cloud,
    call: &Call<'_>,
    filters: &[Filter<'_>],
) -> Result<Vec<&'a Shelf>, ApiError> {
    let mut found = Vec::new();
    // Asked of a disk that does not exist, too: a wrong name is an error in an empty region.
    let nothing = Disk::new("");
    for filter in filters {
        admits(filter, &nothing, nothing.state)?;
    }
    'disks: for shelf in cloud.disks_in(call.place) {
        for filter in filters {
            if !admits(filter, &shelf.disk, shelf.state(call.now))? {
                continue 'disks;
            }
        }
        found.push(shelf);
    }
    Ok(found)
}

fn admits(filter: &Filter<'_>, disk: &Disk, state: DiskState) -> Result<bool, ApiError> {
    Ok(match filter.name {
        "disk-id" => filter.admits(&disk.id),
        "disk-name" => filter.admits(&disk.name),
        "disk-type" => filter.admits(&disk.r#type),
        "disk-state" => filter.admits(state.name()),
        "disk-usage" => filter.admits(&disk.usage),
        "disk-charge-type" => filter.admits(CHARGE_TYPE),
        "portable" => {
            let word = if disk.portable { "true" } else { "false" };
            filter.values.iter().any(|value| value.eq_ignore_ascii_case(word))
        }
        "project-id" => filter.admits(&disk.project.to_string()),
        "instance-id" => disk.instances.iter().any(|instance| filter.admits(instance)),
        "zone" => filter.admits(&disk.zone),
        // Nothing simulated has one.
        "instance-name" | "instance-ip-address" | "dedicated-cluster-id" | "cluster-group-id" => false,
        "tag-key" => disk.tags.keys().any(|key| filter.admits(key)),
        "tag-value" => disk.tags.values().any(|value| filter.admits(value)),
        name => match name.strip_prefix("tag:") {
            Some(key) => disk.tags.get(key).is_some_and(|value| filter.admits(value)),
            None => return Err(filter.unknown()),
        },
    })
}

const CHARGE_TYPE: &str = "POSTPAID_BY_HOUR";

/// All the keys of the vendor's models. Where a simulated disk has nothing to say: null, if the vendor documents
/// that it may be.
fn view(shelf: &Shelf, now: Timestamp) -> Value {
    let disk = &shelf.disk;
    let attached = !disk.instances.is_empty();
    let shareable = disk.instances.len() > 1;
    let state = shelf.state(now);
    let rollbacking = state == DiskState::Rollbacking;
    let tags: Vec<_> = disk.tags.iter().map(|(key, value)| json!({"Key": key, "Value": value})).collect();
    json!({
        "DeleteWithInstance": false,
        "RenewFlag": "NOTIFY_AND_MANUAL_RENEW",
        "DiskType": disk.r#type,
        "DiskState": state.name(),
        "SnapshotCount": 0,
        "AutoRenewFlagError": false,
        "Rollbacking": rollbacking,
        // For shareable disks only, as the vendor has it.
        "InstanceIdList": if shareable { disk.instances.as_slice() } else { &[] },
        "Encrypt": false,
        "DiskName": disk.name,
        "BackupDisk": false,
        "Tags": tags,
        "InstanceId": disk.instances.first().map_or("", String::as_str),
        "AttachMode": "PF",
        "AutoSnapshotPolicyIds": null,
        "ThroughputPerformance": 0,
        "Migrating": false,
        "DiskId": disk.id,
        "SnapshotSize": 0,
        "Placement": {
            "Zone": disk.zone,
            "CageId": null,
            "CdcId": null,
            "CdcName": null,
            "DedicatedClusterId": "",
            "ProjectId": disk.project,
            "ProjectName": null,
        },
        "IsReturnable": null,
        "DeadlineTime": "",
        "Attached": attached,
        "DiskSize": disk.size,
        "MigratePercent": 0,
        "DiskUsage": disk.usage,
        "DiskChargeType": CHARGE_TYPE,
        "Portable": disk.portable,
        "SnapshotAbility": true,
        "DeadlineError": false,
        "RollbackPercent": shelf.rollback_percent(now),
        "DifferDaysOfDeadline": null,
        // One that is paid by the hour cannot be returned.
        "ReturnFailCode": 10,
        "Shareable": shareable,
        "CreateTime": "2024-01-01 00:00:00",
        "DeleteSnapshot": 0,
        "DiskBackupQuota": disk.quota,
        "DiskBackupCount": shelf.existing(now).count(),
        "InstanceType": if attached { "CVM" } else { "" },
        "LastAttachInsId": null,
        "ErrorPrompt": "",
        "BurstPerformance": false,
        "EncryptType": "",
        "KmsKeyId": "",
    })
}
