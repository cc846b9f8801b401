//! The calls that make room on a disk whose quota is full.
//!
//! Responsible for the same as `cloud`: to ask, and to translate what is answered. It refuses to choose what goes.

use std::collections::{BTreeMap, HashMap};

use backup_core::quota::ListedSnapshot;
use backup_core::retention::PointId;
use backup_core::retry::Class;
use backup_core::run::{PromotionLook, PromotionReply, Sighting};
use backup_core::{BackupId, DiskId, InvalidId, SnapshotId};
use cbs::api::NewSnapshot;
use cbs::limiter::{Permit, Priority};
use cbs::{Action, BackupState, BackupsQuery, Snapshot, SnapshotState, SnapshotsQuery};
use jiff::Timestamp;

use super::{Cloud, Stored, class};
use crate::report::chain;

/// What a promotion was answered.
pub struct PromotionAnswered {
    /// For the run.
    pub reply: PromotionReply,
    /// The cloud's id of the request.
    pub request_id: Option<String>,
    /// For the log.
    pub message: String,
}

impl Cloud {
    /// All snapshots of a disk, newest first.
    ///
    /// # Errors
    /// Why there is no complete listing, in words.
    pub async fn snapshots(&self, disk: &DiskId) -> Result<Vec<ListedSnapshot>, String> {
        let query = SnapshotsQuery::ByDisks(vec![disk.to_string()]);
        let listed = self.heed(self.client.list_snapshots(&query, Priority::UnresolvedCreate).await);
        let listed = listed.map_err(|error| chain(&error))?.into_iter();
        let of_disk = listed.filter(|snapshot| snapshot.disk_id == disk.as_str());
        of_disk
            .map(|snapshot| {
                let id = snapshot.id.parse().map_err(|error: InvalidId| error.to_string())?;
                let sighting = sighting(&snapshot);
                Ok(ListedSnapshot { snapshot: id, name: snapshot.name, sighting })
            })
            .collect()
    }

    /// All snapshots of these disks (ten at most, by the cloud's documentation), newest first, by whoever made them.
    ///
    /// # Errors
    /// Why there is no complete listing, in words.
    pub async fn stored_snapshots(
        &self,
        disks: &[DiskId],
        priority: Priority,
    ) -> Result<BTreeMap<DiskId, Vec<Stored>>, String> {
        let query = SnapshotsQuery::ByDisks(disks.iter().map(ToString::to_string).collect());
        let listed = self.heed(self.client.list_snapshots(&query, priority).await);
        let mut by_disk: BTreeMap<DiskId, Vec<Stored>> = BTreeMap::new();
        for snapshot in listed.map_err(|error| chain(&error))? {
            let readable = |error: InvalidId| error.to_string();
            let disk: DiskId = snapshot.disk_id.parse().map_err(readable)?;
            by_disk.entry(disk).or_default().push(Stored {
                id: PointId::Snapshot(snapshot.id.parse().map_err(readable)?),
                sighting: sighting(&snapshot),
                name: snapshot.name,
                state: BackupState::from(snapshot.state.as_str().to_owned()),
                created: snapshot.created,
                size_gib: None,
            });
        }
        Ok(by_disk)
    }

    /// Deletes a backup point; one that is gone already is as good as deleted.
    ///
    /// # Errors
    /// The kind of setback, and what was answered in words. Trying again is harmless.
    pub async fn make_room(&self, backup: &BackupId) -> Result<(), (Class, String)> {
        let deleted = self.client.delete_disk_backup(backup.as_str(), Priority::UnresolvedCreate).await;
        self.heed(deleted).map(drop).map_err(|error| (class(error.class), chain(&error)))
    }

    /// Whether a backup point is in no listing any more.
    ///
    /// # Errors
    /// Why that is not known, in words.
    pub async fn is_gone(&self, backup: &BackupId) -> Result<bool, String> {
        let query = BackupsQuery::ByIds(vec![backup.to_string()]);
        match self.heed(self.client.list_disk_backups(&query, Priority::UnresolvedCreate).await) {
            Ok(listed) => Ok(listed.is_empty()),
            Err(error) if error.class == cbs::Class::Gone => Ok(true),
            Err(error) => Err(chain(&error)),
        }
    }

    /// A turn in the lane of promotions; given back when dropped.
    pub async fn promotion_turn(&self) -> Permit {
        self.client.lane(Action::CreateSnapshot).acquire(Priority::UnresolvedCreate).await
    }

    /// Asks for a backup point to become a snapshot of this name.
    pub async fn promote(
        &self,
        turn: Permit,
        disk: &DiskId,
        point: &BackupId,
        name: &str,
        deadline: Option<Timestamp>,
    ) -> PromotionAnswered {
        let new = NewSnapshot { disk_id: disk.as_str(), backup_id: point.as_str(), name, deadline };
        match self.heed(self.client.create_snapshot(turn, &new).await) {
            Ok(accepted) => match accepted.snapshot_id.parse() {
                Ok(snapshot) => PromotionAnswered {
                    reply: PromotionReply::Accepted(snapshot),
                    request_id: accepted.request_id,
                    message: "accepted".to_owned(),
                },
                // It exists, whatever its id looks like: only a look-up by name can go on from here.
                Err(error) => PromotionAnswered {
                    reply: PromotionReply::Setback {
                        class: Class::Ambiguous,
                        code: None,
                        unknown: false,
                        hint: None,
                    },
                    request_id: accepted.request_id,
                    message: format!("accepted, but {error}"),
                },
            },
            Err(error) => PromotionAnswered {
                message: chain(&error),
                request_id: error.request_id.clone(),
                reply: PromotionReply::Setback {
                    class: class(error.class),
                    code: error.code,
                    unknown: !error.known,
                    hint: error.retry_after,
                },
            },
        }
    }

    /// Looks for a disk's snapshot of this name in a complete listing; what stands in the way, if anything does.
    pub async fn look_for_snapshot(&self, disk: &DiskId, name: &str) -> (PromotionLook, Option<String>) {
        let query = SnapshotsQuery::ByName { disk: disk.to_string(), name: name.to_owned() };
        let listed = match self.heed(self.client.list_snapshots(&query, Priority::UnresolvedCreate).await) {
            Ok(listed) => listed,
            Err(error) => return (PromotionLook::Incomplete, Some(chain(&error))),
        };
        // Whether the filter matches a part of a name is not documented.
        let of_name: Vec<&Snapshot> =
            listed.iter().filter(|found| found.name == name && found.disk_id == disk.as_str()).collect();
        let normal = of_name.iter().rev().find(|found| found.state == SnapshotState::Normal);
        match normal.or(of_name.last()).map(|found| (found.id.parse(), sighting(found))) {
            None => (PromotionLook::Nothing, None),
            Some((Ok(snapshot), sighting)) => (PromotionLook::Found(snapshot, sighting), None),
            Some((Err(error), _)) => (PromotionLook::Incomplete, Some(format!("{error}"))),
        }
    }

    /// Asks for snapshots by id: those that the answer names, and in which state.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn poll_snapshots(&self, ids: &[SnapshotId]) -> Result<HashMap<SnapshotId, Sighting>, String> {
        let query = SnapshotsQuery::ByIds(ids.iter().map(ToString::to_string).collect());
        match self.heed(self.client.list_snapshots(&query, Priority::Tracking).await) {
            Ok(listed) => Ok(listed
                .iter()
                .filter_map(|found| Some((found.id.parse().ok()?, sighting(found))))
                .collect()),
            // One that is gone may spoil the answer for all; each is then looked for by its disk and name.
            Err(error) if matches!(error.class, cbs::Class::Gone | cbs::Class::Permanent) => {
                Ok(HashMap::new())
            }
            Err(error) => Err(chain(&error)),
        }
    }
}

fn sighting(snapshot: &Snapshot) -> Sighting {
    if snapshot.state == SnapshotState::Normal { Sighting::Normal } else { Sighting::Unfinished }
}
