//! Disks: describe.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{filters, page, texts};
use crate::cloud::Fate;
use crate::judge::ApiError;
use crate::sim::Inner;
use crate::world::DiskSpec;

const FILTERS: [&str; 13] = [
    "disk-usage",
    "disk-charge-type",
    "portable",
    "project-id",
    "disk-id",
    "disk-name",
    "disk-type",
    "disk-state",
    "instance-id",
    "instance-name",
    "zone",
    "tag-key",
    "tag-value",
];

pub(super) fn describe(
    sim: &mut Inner,
    body: &Map<String, Value>,
    _: Fate,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let ids = texts(body.get("DiskIds"), "DiskIds")?;
    let filters = filters(body, |name| FILTERS.contains(&name) || name.starts_with("tag:"))?;
    if ids.is_some() && !filters.is_empty() {
        return Err(ApiError::new("InvalidParameter", "`DiskIds` and `Filters` exclude each other."));
    }
    let wanted = |disk: &&DiskSpec| {
        ids.as_ref().is_none_or(|ids| ids.contains(&disk.id))
            && filters.iter().all(|(name, values)| values.iter().any(|value| has(disk, name, value)))
    };
    let found: Vec<&DiskSpec> = sim.cloud.disks.values().filter(wanted).collect();
    let total = found.len();
    let set: Vec<Value> = page(body, found)?.into_iter().map(|disk| show(sim, disk, now)).collect();
    Ok(json!({ "TotalCount": total, "DiskSet": set }))
}

fn has(disk: &DiskSpec, filter: &str, value: &str) -> bool {
    match filter {
        "disk-usage" => disk.usage == value,
        "disk-charge-type" => value == "POSTPAID_BY_HOUR",
        "portable" => (disk.usage == "DATA_DISK").to_string().eq_ignore_ascii_case(value),
        "project-id" => disk.project.to_string() == value,
        "disk-id" => disk.id == value,
        "disk-name" => disk.name == value,
        "disk-type" => value == "CLOUD_PREMIUM",
        "disk-state" => disk.state == value,
        "instance-id" => disk.instance.as_deref() == Some(value),
        "instance-name" => false,
        "zone" => disk.zone == value,
        "tag-key" => disk.tags.contains_key(value),
        "tag-value" => disk.tags.values().any(|tag| tag == value),
        tag => tag.strip_prefix("tag:").and_then(|key| disk.tags.get(key)).is_some_and(|tag| tag == value),
    }
}

/// All keys of the vendor's model, nulls included.
fn show(sim: &Inner, disk: &DiskSpec, now: Timestamp) -> Value {
    let tags: Vec<Value> =
        disk.tags.iter().map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    let instances: Vec<&str> = disk.instance.as_deref().into_iter().collect();
    json!({
        "DiskId": disk.id, "DiskName": disk.name, "DiskState": disk.state, "DiskUsage": disk.usage,
        "DiskType": "CLOUD_PREMIUM", "DiskSize": disk.size, "DiskChargeType": "POSTPAID_BY_HOUR",
        "DiskBackupQuota": disk.quota, "DiskBackupCount": sim.cloud.of_disk(&disk.id, now).count(),
        "InstanceId": disk.instance.as_deref().unwrap_or_default(), "InstanceIdList": instances,
        "Attached": disk.instance.is_some(), "AttachMode": "PF", "InstanceType": null, "LastAttachInsId": null,
        "Placement": {
            "Zone": disk.zone, "CageId": null, "CdcId": null, "CdcName": null, "DedicatedClusterId": null,
            "ProjectId": disk.project, "ProjectName": null,
        },
        "Tags": if tags.is_empty() { Value::Null } else { Value::Array(tags) },
        "Rollbacking": disk.state == "ROLLBACKING", "RollbackPercent": null, "Migrating": null,
        "MigratePercent": null, "SnapshotAbility": true, "SnapshotCount": 0, "SnapshotSize": 0,
        "AutoSnapshotPolicyIds": null, "ThroughputPerformance": 0, "BurstPerformance": false, "Encrypt": false,
        "EncryptType": null, "KmsKeyId": null, "Portable": disk.usage == "DATA_DISK", "Shareable": false,
        "DeleteWithInstance": false, "DeleteSnapshot": 0, "BackupDisk": true, "RenewFlag": "NOTIFY_AND_MANUAL_RENEW",
        "AutoRenewFlagError": null, "DeadlineTime": "", "DeadlineError": null, "DifferDaysOfDeadline": null,
        "IsReturnable": true, "ReturnFailCode": null, "ErrorPrompt": null, "CreateTime": "2024-01-01 00:00:00",
    })
}
