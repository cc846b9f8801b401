//! Backup points: create, describe, delete.

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use serde_json::{Map, Value, json};

use super::{filters, invalid, page, text, texts};
use crate::cloud::{Backup, Fate};
use crate::judge::ApiError;
use crate::sim::Inner;
use crate::world::{CreateTimeShape, MissingIds};

const LONGEST_NAME: usize = 100;

pub(super) fn create(
    sim: &mut Inner,
    body: &Map<String, Value>,
    fate: Fate,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let id = text(body, "DiskId")?.unwrap_or_default();
    let name = text(body, "DiskBackupName")?.unwrap_or("unnamed");
    if name.chars().count() > LONGEST_NAME {
        return Err(invalid("`DiskBackupName` must have 100 characters at most."));
    }
    let disk = sim.cloud.disks.get(id).ok_or_else(|| {
        ApiError::new("InvalidDiskId.NotFound", format!("The specified disk `{id}` is not found."))
    })?;
    match disk.state.as_str() {
        "ATTACHED" | "UNATTACHED" => {}
        "ROLLBACKING" => {
            return Err(ApiError::new("ResourceInUse.DiskRollbacking", "The disk is rolling back."));
        }
        _ => return Err(ApiError::new("InvalidDisk.Busy", "The disk is busy.")),
    }
    let quota = disk.quota as usize;
    let existing: Vec<&Backup> = sim.cloud.of_disk(id, now).collect();
    if sim.world.one_at_a_time && existing.iter().any(|backup| !backup.is_normal(now)) {
        return Err(ApiError::new(
            "ResourceUnavailable.SnapshotCreating",
            "A backup of the disk is being created.",
        ));
    }
    if existing.len() >= quota {
        return Err(ApiError::new(
            "ResourceInsufficient.OverQuota",
            "The backup quota of the disk is used up.",
        ));
    }
    let (id, name) = (id.to_owned(), name.to_owned());
    let backup = sim.cloud.make(&id, &name, fate, &sim.world, &mut sim.dice, now);
    Ok(json!({ "DiskBackupId": backup }))
}

pub(super) fn describe(
    sim: &mut Inner,
    body: &Map<String, Value>,
    _: Fate,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let ids = texts(body.get("DiskBackupIds"), "DiskBackupIds")?;
    let filters = filters(body, |name| matches!(name, "disk-backup-id" | "disk-id" | "disk-usage"))?;
    if ids.is_some() && !filters.is_empty() {
        return Err(ApiError::new("InvalidParameter", "`DiskBackupIds` and `Filters` exclude each other."));
    }
    if ids.as_ref().is_some_and(|ids| ids.len() > 100) {
        return Err(invalid("`DiskBackupIds` must have 100 entries at most."));
    }
    let visible = |backup: &&Backup| backup.exists(now) && now >= backup.visible;
    let usage = |backup: &Backup| sim.cloud.disks.get(&backup.disk).map_or("", |disk| disk.usage.as_str());
    let wanted = |backup: &&Backup| {
        ids.as_ref().is_none_or(|ids| ids.contains(&backup.id))
            && filters.iter().all(|(name, values)| {
                let value = match name.as_str() {
                    "disk-backup-id" => &backup.id,
                    "disk-id" => &backup.disk,
                    _ => usage(backup),
                };
                values.iter().any(|wanted| wanted == value)
            })
    };
    // A listing of one disk need not look at the others'.
    let one_disk = match filters.as_slice() {
        [(name, values)] if name == "disk-id" && values.len() == 1 => values.first(),
        _ => None,
    };
    let mut found: Vec<&Backup> = match one_disk {
        Some(disk) => sim.cloud.of_disk(disk, now).filter(visible).collect(),
        None => sim.cloud.backups.iter().filter(visible).filter(wanted).collect(),
    };
    if let (MissingIds::Error, Some(ids)) = (sim.world.missing_ids, &ids)
        && let Some(missing) = ids.iter().find(|id| found.iter().all(|backup| backup.id != **id))
    {
        return Err(ApiError::new(
            "ResourceNotFound.NotFound",
            format!("The backup `{missing}` is not found."),
        ));
    }
    found.sort_by(|a, b| (b.created, &b.id).cmp(&(a.created, &a.id)));
    if text(body, "Order")? == Some("ASC") {
        found.reverse();
    }
    let total = found.len();
    let set: Vec<Value> = page(body, found)?.into_iter().map(|backup| show(sim, backup, now)).collect();
    Ok(json!({ "TotalCount": total, "DiskBackupSet": set }))
}

fn show(sim: &Inner, backup: &Backup, now: Timestamp) -> Value {
    let disk = sim.cloud.disks.get(&backup.disk);
    let created = match sim.world.create_time {
        CreateTimeShape::Local => {
            let beijing = TimeZone::fixed(Offset::constant(8));
            backup.created.to_zoned(beijing).strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        CreateTimeShape::Offset => backup.created.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string(),
    };
    json!({
        "DiskBackupId": backup.id,
        "DiskId": backup.disk,
        "DiskSize": disk.map(|disk| disk.size),
        "DiskUsage": disk.map(|disk| disk.usage.clone()),
        "DiskBackupName": backup.name,
        "DiskBackupState": backup.state(now),
        "Percent": backup.percent(now),
        "CreateTime": created,
        "Encrypt": false,
    })
}

pub(super) fn delete(
    sim: &mut Inner,
    body: &Map<String, Value>,
    _: Fate,
    now: Timestamp,
) -> Result<Value, ApiError> {
    let ids = texts(body.get("DiskBackupIds"), "DiskBackupIds")?.unwrap_or_default();
    let exists = |id: &String| sim.cloud.backups.iter().any(|backup| backup.id == *id && backup.exists(now));
    if let Some(missing) = ids.iter().find(|id| !exists(id)) {
        return Err(ApiError::new(
            "ResourceNotFound.NotFound",
            format!("The backup `{missing}` is not found."),
        ));
    }
    for id in &ids {
        sim.cloud.delete(id, now);
    }
    Ok(json!({}))
}
