//! Snapshots, of which a backup can become one: it is consumed, and its place on the disk is free.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::listing::{Listing, Page, read_all};
use super::{Deleted, Filter, create_time, id, open_enum, or_default};
use crate::action::Action;
use crate::client::Client;
use crate::error::{Class, Error};
use crate::limiter::{Permit, Priority};

open_enum! {
    /// The state of a snapshot.
    SnapshotState {
        /// It is being made.
        Creating = "CREATING",
        /// It is good.
        Normal = "NORMAL",
        /// A disk is being rolled back to it.
        Rollbacking = "ROLLBACKING",
        /// It comes from another region.
        CopyingFromRemote = "COPYING_FROM_REMOTE",
        /// What came from there is being checked.
        CheckingCopied = "CHECKING_COPIED",
        /// In the recycle bin.
        ToRecycle = "TORECYCLE",
    }
}

/// A snapshot, as the cloud lists it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Snapshot {
    /// `snap-…`.
    #[serde(rename = "SnapshotId", deserialize_with = "id")]
    pub id: String,
    /// The disk that it is of.
    #[serde(default, deserialize_with = "or_default")]
    pub disk_id: String,
    /// The name that it was given; empty if none.
    #[serde(rename = "SnapshotName", default, deserialize_with = "or_default")]
    pub name: String,
    /// Its state.
    #[serde(rename = "SnapshotState", default, deserialize_with = "or_default")]
    pub state: SnapshotState,
    /// How much of it is made, in percent.
    #[serde(default)]
    pub percent: Option<u64>,
    /// When it was asked for, if that can be read.
    #[serde(rename = "CreateTime", default, deserialize_with = "create_time")]
    pub created: Option<Timestamp>,
    /// When the cloud deletes it; none where it stays, or that cannot be read.
    #[serde(rename = "DeadlineTime", default, deserialize_with = "create_time")]
    pub deadline: Option<Timestamp>,
}

/// Which snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotsQuery {
    /// Those with these ids.
    ByIds(Vec<String>),
    /// Those of any of these disks: ten at most, by the cloud's documentation.
    ByDisks(Vec<String>),
    /// Those of a disk with a name.
    ByName {
        /// The disk.
        disk: String,
        /// The name.
        name: String,
    },
}

/// A snapshot that is to be made of a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewSnapshot<'a> {
    /// The disk that the backup is of.
    pub disk_id: &'a str,
    /// The backup.
    pub backup_id: &'a str,
    /// The snapshot's name: 60 characters at most.
    pub name: &'a str,
    /// When the cloud shall delete it: a day from now at the earliest.
    pub deadline: Option<Timestamp>,
}

/// A creation that the cloud accepted. Accepted is not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotAccepted {
    /// The id of the snapshot that is being made.
    pub snapshot_id: String,
    /// The cloud's id of the request.
    pub request_id: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CreateSnapshot<'a> {
    disk_id: &'a str,
    disk_backup_id: &'a str,
    snapshot_name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DeleteSnapshots<'a> {
    snapshot_ids: [&'a str; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeSnapshots<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_ids: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    filters: Option<Vec<Filter>>,
    offset: u64,
    limit: u64,
    order: &'static str,
    order_field: &'static str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Snapshots {
    total_count: u64,
    #[serde(default, deserialize_with = "or_default")]
    snapshot_set: Vec<Snapshot>,
}

impl Client {
    /// Asks for a snapshot of a backup, by a permit of [`Client::lane`]. Like a backup it is made twice if it is asked
    /// for twice.
    ///
    /// # Errors
    /// Of class [`Class::Ambiguous`] if the snapshot may be made all the same.
    pub async fn create_snapshot(
        &self,
        permit: Permit,
        new: &NewSnapshot<'_>,
    ) -> Result<SnapshotAccepted, Error> {
        let action = Action::CreateSnapshot;
        let parameters = CreateSnapshot {
            disk_id: new.disk_id,
            disk_backup_id: new.backup_id,
            snapshot_name: new.name,
            deadline: new.deadline.map(|at| at.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string()),
        };
        let content = self.call(action, permit, &parameters).await?;
        let snapshot_id = content.text("SnapshotId");
        let request_id = content.request_id;
        match snapshot_id {
            Some(snapshot_id) => Ok(SnapshotAccepted { snapshot_id, request_id }),
            None => Err(Error { request_id, ..Error::unusable(action, "the reply has no id of a snapshot") }),
        }
    }

    /// A page of snapshots, newest first. No ids are no snapshots, and cost no call.
    ///
    /// # Errors
    /// If it could not be read.
    pub async fn describe_snapshots(
        &self,
        query: &SnapshotsQuery,
        page: Page,
        priority: Priority,
    ) -> Result<Listing<Snapshot>, Error> {
        let action = Action::DescribeSnapshots;
        let (snapshot_ids, filters) = match query {
            // An empty list would not narrow the query at all.
            SnapshotsQuery::ByIds(none) | SnapshotsQuery::ByDisks(none) if none.is_empty() => {
                return Ok(Listing::empty());
            }
            SnapshotsQuery::ByIds(ids) => (Some(&**ids), None),
            SnapshotsQuery::ByDisks(disks) => (None, Some(vec![Filter::new("disk-id", disks)])),
            SnapshotsQuery::ByName { disk, name } => {
                (None, Some(vec![Filter::new("disk-id", [disk]), Filter::new("snapshot-name", [name])]))
            }
        };
        let parameters = DescribeSnapshots {
            snapshot_ids,
            filters,
            offset: page.offset,
            limit: page.limit,
            order: "DESC",
            order_field: "CREATE_TIME",
        };
        let permit = self.lane(action).acquire(priority).await;
        let content = self.call(action, permit, &parameters).await?;
        let (Snapshots { total_count: total, snapshot_set: items }, request_id) = content.decode(action)?;
        Ok(Listing { total, items, request_id })
    }

    /// All snapshots that the query means, newest first: a complete listing, or an error.
    ///
    /// # Errors
    /// If a page could not be read, or the listing did not hold still.
    pub async fn list_snapshots(
        &self,
        query: &SnapshotsQuery,
        priority: Priority,
    ) -> Result<Vec<Snapshot>, Error> {
        read_all(
            Action::DescribeSnapshots,
            |snapshot: &Snapshot| &*snapshot.id,
            |page| self.describe_snapshots(query, page, priority),
        )
        .await
    }

    /// Deletes a snapshot. One that is not there counts as deleted; one that is not NORMAL is refused.
    ///
    /// # Errors
    /// If it was not deleted, or may not have been. Trying again is harmless.
    pub async fn delete_snapshot(&self, snapshot_id: &str, priority: Priority) -> Result<Deleted, Error> {
        let action = Action::DeleteSnapshots;
        let permit = self.lane(action).acquire(priority).await;
        match self.call(action, permit, &DeleteSnapshots { snapshot_ids: [snapshot_id] }).await {
            Ok(_) => Ok(Deleted::Deleted),
            Err(error) if error.class == Class::Gone => Ok(Deleted::WasGone),
            Err(error) => Err(error),
        }
    }
}
