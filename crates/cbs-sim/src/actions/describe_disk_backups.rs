//! DescribeDiskBackups: the backups that are visible by now, by ids or by filters.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use serde_json::{Value, json};

use super::{Action, Answer, Call, listing};
use crate::cloud::{Backup, Cloud, Shelf, backup_not_found};
use crate::error::ApiError;
use crate::params::{Field, Filter, Kind, Selection};
use crate::world::{CreateTime, MissingIds};

pub(super) const ACTION: Action = Action {
    name: "DescribeDiskBackups",
    limit: 20,
    fields: &[
        Field::optional("DiskBackupIds", Kind::Texts),
        Field::optional("Filters", Kind::Filters),
        Field::optional("Offset", Kind::Number),
        Field::optional("Limit", Kind::Number),
        Field::optional("Order", Kind::Text),
        Field::optional("OrderField", Kind::Text),
    ],
    run,
};

fn run(cloud: &mut Cloud, call: &Call<'_>) -> Result<Answer, ApiError> {
    let mut found = match call.params.selection("DiskBackupIds")? {
        Selection::Ids(ids) => by_ids(cloud, call, &ids)?,
        Selection::Filters(filters) => by_filters(cloud, call, &filters)?,
    };
    call.params.order(&mut found, &["CREATE_TIME"], |(_, backup)| backup.created)?;
    let (total, page) = call.params.page(found)?;
    let shape = cloud.choices.create_time;
    let items = page.into_iter().map(|(shelf, backup)| view(shelf, backup, call.now, shape)).collect();
    Ok(listing("DiskBackupSet", (total, items)))
}

type Found<'a> = Vec<(&'a Shelf, &'a Backup)>;

fn by_ids<'a>(cloud: &'a Cloud, call: &Call<'_>, ids: &[&str]) -> Result<Found<'a>, ApiError> {
    let mut found = Found::new();
    for id in ids {
        let backup = cloud.backup(call.place, id, call.now).filter(|backup| backup.is_visible(call.now));
        match backup.and_then(|backup| Some((cloud.disk(call.place, &backup.disk)?, backup))) {
            Some(pair) => found.push(pair),
            None if cloud.choices.missing_ids == MissingIds::Error => return Err(backup_not_found(id)),
            None => {}
        }
    }
    Ok(found)
}

fn by_filters<'a>(cloud: &'a Cloud, call: &Call<'_>, filters: &[Filter<'_>]) -> Result<Found<'a>, ApiError> {
    if let Some(filter) =
        filters.iter().find(|filter| !matches!(filter.name, "disk-backup-id" | "disk-id" | "disk-usage"))
    {
        return Err(filter.unknown());
    }
    let admits = |name: &str, value: &str| {
        filters.iter().filter(|filter| filter.name == name).all(|filter| filter.admits(value))
    };
    // Of few disks, as is usual, without a look at all the others; in the order of all.
    let shelves: Vec<&Shelf> = match filters.iter().find(|filter| filter.name == "disk-id") {
        Some(Filter { values, .. }) => {
            let ids: BTreeSet<&str> = values.iter().copied().collect();
            ids.into_iter().filter_map(|id| cloud.disk(call.place, id)).collect()
        }
        None => cloud.disks_in(call.place).collect(),
    };
    Ok(shelves
        .into_iter()
        .filter(|shelf| admits("disk-id", &shelf.disk.id) && admits("disk-usage", &shelf.disk.usage))
        .flat_map(|shelf| shelf.existing(call.now).map(move |backup| (shelf, backup)))
        .filter(|(_, backup)| backup.is_visible(call.now) && admits("disk-backup-id", &backup.id))
        .collect())
}

fn view(shelf: &Shelf, backup: &Backup, now: Timestamp, shape: CreateTime) -> Value {
    let disk = &shelf.disk;
    json!({
        "DiskBackupId": backup.id,
        "DiskId": disk.id,
        "DiskSize": disk.size,
        "DiskUsage": disk.usage,
        "DiskBackupName": backup.name,
        "DiskBackupState": shelf.state_of(backup, now),
        "Percent": u8::try_from(backup.percent(now)).unwrap_or(0),
        "CreateTime": create_time(backup.created, shape),
        "Encrypt": false,
    })
}

pub(super) fn create_time(created: Timestamp, shape: CreateTime) -> String {
    match shape {
        CreateTime::Beijing => {
            created.to_zoned(TimeZone::fixed(Offset::constant(8))).strftime("%Y-%m-%d %H:%M:%S").to_string()
        }
        CreateTime::Rfc3339 => created.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_time_has_the_two_shapes_of_real_replies() {
        let created = "2025-03-27T06:00:13Z".parse().unwrap();
        assert_eq!(create_time(created, CreateTime::Beijing), "2025-03-27 14:00:13");
        assert_eq!(create_time(created, CreateTime::Rfc3339), "2025-03-27T06:00:13+00:00");
    }
}
