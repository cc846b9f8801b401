//! Backups.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::listing::{Listing, Page, read_all};
use super::{Filter, create_time, id, open_enum, or_default};
use crate::action::Action;
use crate::client::Client;
use crate::error::{Class, Error};
use crate::limiter::{Permit, Priority};

open_enum! {
    /// The state of a backup. There is none for a failure: such a backup vanishes.
    BackupState {
        /// It is being made.
        Creating = "CREATING",
        /// It is good.
        Normal = "NORMAL",
        /// The disk is being rolled back to it.
        Rollbacking = "ROLLBACKING",
    }
}

/// A backup, as the cloud lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DiskBackup {
    /// `dbp-…`.
    #[serde(rename = "DiskBackupId", deserialize_with = "id")]
    pub id: String,
    /// The disk that it is of.
    #[serde(default, deserialize_with = "or_default")]
    pub disk_id: String,
    /// The name that it was given; empty if none.
    #[serde(rename = "DiskBackupName", default, deserialize_with = "or_default")]
    pub name: String,
    /// Its state.
    #[serde(rename = "DiskBackupState", default, deserialize_with = "or_default")]
    pub state: BackupState,
    /// How much of it is made, in percent.
    #[serde(default)]
    pub percent: Option<u64>,
    /// The size of the disk, in GiB.
    #[serde(rename = "DiskSize", default)]
    pub disk_size_gib: Option<u64>,
    /// `SYSTEM_DISK` or `DATA_DISK`.
    #[serde(default, deserialize_with = "or_default")]
    pub disk_usage: String,
    /// When it was asked for, if that can be read.
    #[serde(rename = "CreateTime", default, deserialize_with = "create_time")]
    pub created: Option<Timestamp>,
    /// Whether it is encrypted.
    #[serde(rename = "Encrypt", default, deserialize_with = "or_default")]
    pub encrypted: bool,
}

/// Which backups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BackupsQuery {
    /// Those with these ids.
    ByIds(Vec<String>),
    /// Those of any of these disks.
    ByDisks(Vec<String>),
    /// All of the region.
    All,
}

/// A create that the cloud accepted. Accepted is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The id of the backup that is being made.
    pub backup_id: String,
    /// The cloud's id of the request.
    pub request_id: Option<String>,
}

/// How a backup ceased to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// By this call.
    Deleted,
    /// Earlier: there was none.
    WasGone,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CreateDiskBackup<'a> {
    disk_id: &'a str,
    disk_backup_name: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteDiskBackups<'a> {
    disk_backup_ids: [&'a str; 1],
}

/// What becomes of the instance that a disk is attached to, while it is rolled back. The cloud knows the fields for an
/// attached disk alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Power {
    /// It is shut down first.
    pub stop: bool,
    /// And started afterwards.
    pub start: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ApplyDiskBackup<'a> {
    disk_backup_id: &'a str,
    disk_id: &'a str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    auto_stop_instance: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    auto_start_instance: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeDiskBackups<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    disk_backup_ids: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<[Filter; 1]>,
    offset: u64,
    limit: u64,
    order: &'static str,
    order_field: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DiskBackups {
    total_count: u64,
    #[serde(default, deserialize_with = "or_default")]
    disk_backup_set: Vec<DiskBackup>,
}

impl Client {
    /// Asks for a backup of a disk, by a permit of [`Client::lane`]. Nothing that could be seen by the cloud
    /// happens before the permit departs.
    ///
    /// # Errors
    /// Of class [`Class::Ambiguous`] if the backup may be made all the same.
    pub async fn create_disk_backup(
        &self,
        permit: Permit,
        disk_id: &str,
        name: &str,
    ) -> Result<Accepted, Error> {
        let action = Action::CreateDiskBackup;
        let content =
            self.call(action, permit, &CreateDiskBackup { disk_id, disk_backup_name: name }).await?;
        let backup_id = content.text("DiskBackupId");
        let request_id = content.request_id;
        match backup_id {
            Some(backup_id) => Ok(Accepted { backup_id, request_id }),
            None => Err(Error { request_id, ..Error::unusable(action, "the reply has no id of a backup") }),
        }
    }

    /// A page of backups, newest first. No ids are no backups, and cost no call.
    ///
    /// # Errors
    /// If it could not be read.
    pub async fn describe_disk_backups(
        &self,
        query: &BackupsQuery,
        page: Page,
        priority: Priority,
    ) -> Result<Listing<DiskBackup>, Error> {
        let action = Action::DescribeDiskBackups;
        let (disk_backup_ids, filters) = match query {
            // An empty list would not narrow the query at all.
            BackupsQuery::ByIds(none) | BackupsQuery::ByDisks(none) if none.is_empty() => {
                return Ok(Listing::empty());
            }
            BackupsQuery::ByIds(ids) => (Some(&**ids), None),
            BackupsQuery::ByDisks(disks) => (None, Some([Filter::new("disk-id", disks)])),
            BackupsQuery::All => (None, None),
        };
        let parameters = DescribeDiskBackups {
            disk_backup_ids,
            filters,
            offset: page.offset,
            limit: page.limit,
            order: "DESC",
            order_field: "CREATE_TIME",
        };
        let permit = self.lane(action).acquire(priority).await;
        let content = self.call(action, permit, &parameters).await?;
        let (DiskBackups { total_count: total, disk_backup_set: items }, request_id) =
            content.decode(action)?;
        Ok(Listing { total, items, request_id })
    }

    /// All backups that the query means, newest first: a complete listing, or an error.
    ///
    /// # Errors
    /// If a page could not be read, or the listing did not hold still.
    pub async fn list_disk_backups(
        &self,
        query: &BackupsQuery,
        priority: Priority,
    ) -> Result<Vec<DiskBackup>, Error> {
        read_all(
            Action::DescribeDiskBackups,
            |backup: &DiskBackup| &*backup.id,
            |page| self.describe_disk_backups(query, page, priority),
        )
        .await
    }

    /// Asks for a disk to be put back to what it was at one of its backups, by a permit of [`Client::lane`]: what was
    /// written since is lost. Accepted is not done. Gives the cloud's id of the request.
    ///
    /// # Errors
    /// Of class [`Class::Ambiguous`] if it may be done all the same: look at the disk before anything else.
    pub async fn apply_disk_backup(
        &self,
        permit: Permit,
        backup_id: &str,
        disk_id: &str,
        power: Power,
    ) -> Result<Option<String>, Error> {
        let parameters = ApplyDiskBackup {
            disk_backup_id: backup_id,
            disk_id,
            auto_stop_instance: power.stop,
            auto_start_instance: power.start,
        };
        Ok(self.call(Action::ApplyDiskBackup, permit, &parameters).await?.request_id)
    }

    /// Deletes a backup. One that is not there counts as deleted.
    ///
    /// # Errors
    /// If it was not deleted, or may not have been. Trying again is harmless.
    pub async fn delete_disk_backup(&self, backup_id: &str, priority: Priority) -> Result<Deleted, Error> {
        let action = Action::DeleteDiskBackups;
        let permit = self.lane(action).acquire(priority).await;
        match self.call(action, permit, &DeleteDiskBackups { disk_backup_ids: [backup_id] }).await {
            Ok(_) => Ok(Deleted::Deleted),
            Err(error) if error.class == Class::Gone => Ok(Deleted::WasGone),
            Err(error) => Err(error),
        }
    }
}
