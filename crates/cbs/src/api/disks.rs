//! Disks.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use super::listing::{Listing, Page, read_all};
use super::{Filter, create_time, id, open_enum, or_default};
use crate::action::Action;
use crate::client::Client;
use crate::error::Error;
use crate::limiter::Priority;

open_enum! {
    /// The state of a disk.
    DiskState {
        /// Attached to no instance.
        Unattached = "UNATTACHED",
        /// Being attached.
        Attaching = "ATTACHING",
        /// Attached to an instance.
        Attached = "ATTACHED",
        /// Being detached.
        Detaching = "DETACHING",
        /// Being enlarged.
        Expanding = "EXPANDING",
        /// Being rolled back.
        Rollbacking = "ROLLBACKING",
        /// In the recycle bin.
        ToRecycle = "TORECYCLE",
        /// Being copied.
        Dumping = "DUMPING",
    }
}

/// A disk, as the cloud lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Disk {
    /// `disk-…`.
    #[serde(rename = "DiskId", deserialize_with = "id")]
    pub id: String,
    /// Its name; empty if none.
    #[serde(rename = "DiskName", default, deserialize_with = "or_default")]
    pub name: String,
    /// Its state.
    #[serde(rename = "DiskState", default, deserialize_with = "or_default")]
    pub state: DiskState,
    /// `SYSTEM_DISK` or `DATA_DISK`.
    #[serde(rename = "DiskUsage", default, deserialize_with = "or_default")]
    pub usage: String,
    /// Its kind of storage, such as `CLOUD_PREMIUM`.
    #[serde(default, deserialize_with = "or_default")]
    pub disk_type: String,
    /// Its size, in GiB.
    #[serde(rename = "DiskSize", default)]
    pub size_gib: Option<u64>,
    /// The instance that it is attached to; empty if none.
    #[serde(default, deserialize_with = "or_default")]
    pub instance_id: String,
    /// All instances that it is attached to.
    #[serde(rename = "InstanceIdList", default, deserialize_with = "or_default")]
    pub instance_ids: Vec<String>,
    /// How many backups it may have.
    #[serde(rename = "DiskBackupQuota", default)]
    pub backup_quota: Option<u64>,
    /// How many backups it has.
    #[serde(rename = "DiskBackupCount", default)]
    pub backup_count: Option<u64>,
    /// Whether it is being rolled back.
    #[serde(default, deserialize_with = "or_default")]
    pub rollbacking: bool,
    /// How far that is, in percent.
    #[serde(default)]
    pub rollback_percent: Option<u64>,
    /// Whether it can be detached and attached elsewhere; one that came with its instance cannot.
    #[serde(default)]
    pub portable: Option<bool>,
    /// Whether it is being moved to another kind of storage.
    #[serde(default, deserialize_with = "or_default")]
    pub migrating: bool,
    /// Its tags.
    #[serde(default, deserialize_with = "tags")]
    pub tags: BTreeMap<String, String>,
    /// Where it is.
    #[serde(default, deserialize_with = "or_default")]
    pub placement: Placement,
    /// When it was made, if that can be read.
    #[serde(rename = "CreateTime", default, deserialize_with = "create_time")]
    pub created: Option<Timestamp>,
}

/// Where a disk is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Placement {
    /// The availability zone, such as `ap-guangzhou-3`.
    #[serde(deserialize_with = "or_default")]
    pub zone: String,
    /// The project; 0 is the default project.
    #[serde(deserialize_with = "or_default")]
    pub project_id: u64,
}

fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Tag {
        #[serde(default, deserialize_with = "or_default")]
        key: String,
        #[serde(default, deserialize_with = "or_default")]
        value: String,
    }
    let tags: Vec<Tag> = or_default(deserializer)?;
    Ok(tags.into_iter().map(|tag| (tag.key, tag.value)).collect())
}

/// Which disks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisksQuery {
    /// Those with these ids.
    ByIds(Vec<String>),
    /// Those that meet all of these conditions, such as `Filter::new("tag:backup", ["nightly"])`; without any,
    /// all of the region.
    Where(Vec<Filter>),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeDisks<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_ids: Option<&'a [String]>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    filters: &'a [Filter],
    offset: u64,
    limit: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Disks {
    total_count: u64,
    #[serde(default, deserialize_with = "or_default")]
    disk_set: Vec<Disk>,
}

impl Client {
    /// A page of disks. No ids are no disks, and cost no call.
    ///
    /// # Errors
    /// If it could not be read.
    pub async fn describe_disks(
        &self,
        query: &DisksQuery,
        page: Page,
        priority: Priority,
    ) -> Result<Listing<Disk>, Error> {
        let action = Action::DescribeDisks;
        let (disk_ids, filters) = match query {
            // An empty list would not narrow the query at all.
            DisksQuery::ByIds(ids) if ids.is_empty() => return Ok(Listing::empty()),
            DisksQuery::ByIds(ids) => (Some(&**ids), &[][..]),
            DisksQuery::Where(filters) => (None, &**filters),
        };
        let parameters = DescribeDisks { disk_ids, filters, offset: page.offset, limit: page.limit };
        let permit = self.lane(action).acquire(priority).await;
        let content = self.call(action, permit, &parameters).await?;
        let (Disks { total_count: total, disk_set: items }, request_id) = content.decode(action)?;
        Ok(Listing { total, items, request_id })
    }

    /// All disks that the query means: a complete listing, or an error.
    ///
    /// # Errors
    /// If a page could not be read, or the listing did not hold still.
    pub async fn list_disks(&self, query: &DisksQuery, priority: Priority) -> Result<Vec<Disk>, Error> {
        read_all(
            Action::DescribeDisks,
            |disk: &Disk| &*disk.id,
            |page| self.describe_disks(query, page, priority),
        )
        .await
    }
}
