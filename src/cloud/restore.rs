//! The calls that put a disk back to a backup, and see how far that is.
//!
//! Responsible for the same as `cloud`: to ask, and to translate what is answered. It refuses to decide whether to.

use backup_core::restore::{self, Restore, Seen, SeenBackup, SeenDisk};
use backup_core::{BackupId, DiskId};
use cbs::limiter::{Permit, Priority};
use cbs::{Action, BackupsQuery, Disk, DiskBackup, DisksQuery, Power};

use super::Cloud;
use crate::report::chain;

impl Cloud {
    /// What the cloud shows of a disk and a backup.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn inspect(&self, disk: &DiskId, backup: &BackupId) -> Result<Seen, String> {
        // One that is gone may be an error rather than an empty listing.
        let gone = |error: &cbs::Error| matches!(error.class, cbs::Class::Gone | cbs::Class::Permanent);
        let query = DisksQuery::ByIds(vec![disk.to_string()]);
        let disk = match self.heed(self.client.list_disks(&query, Priority::Command).await) {
            Ok(disks) => disks.into_iter().find(|listed| listed.id == disk.as_str()),
            Err(error) if gone(&error) => None,
            Err(error) => return Err(chain(&error)),
        };
        let query = BackupsQuery::ByIds(vec![backup.to_string()]);
        let backup = match self.heed(self.client.list_disk_backups(&query, Priority::Command).await) {
            Ok(backups) => backups.into_iter().find(|listed| listed.id == backup.as_str()),
            Err(error) if gone(&error) => None,
            Err(error) => return Err(chain(&error)),
        };
        Ok(Seen { disk: disk.map(seen_disk), backup: backup.map(seen_backup) })
    }

    /// A turn in the lane of rollbacks; given back when dropped.
    pub async fn restore_turn(&self) -> Permit {
        self.client.lane(Action::ApplyDiskBackup).acquire(Priority::Command).await
    }

    /// Asks for a disk to be put back to a backup; how the call ended, and the cloud's id of the request.
    pub async fn restore(
        &self,
        turn: Permit,
        restore: &Restore,
        power: Power,
    ) -> (restore::Reply, Option<String>) {
        let (backup, disk) = (restore.backup.as_str(), restore.disk.as_str());
        match self.heed(self.client.apply_disk_backup(turn, backup, disk, power).await) {
            Ok(request_id) => (restore::Reply::Accepted, request_id),
            Err(error) => {
                let reply = match error.class {
                    cbs::Class::Ambiguous | cbs::Class::Unavailable => restore::Reply::Perhaps,
                    cbs::Class::Throttled | cbs::Class::NotSent => restore::Reply::NotYet(chain(&error)),
                    _ => restore::Reply::Refused(chain(&error)),
                };
                (reply, error.request_id)
            }
        }
    }
}

fn seen_disk(disk: Disk) -> SeenDisk {
    let mut instances = disk.instance_ids;
    if instances.is_empty() && !disk.instance_id.is_empty() {
        instances.push(disk.instance_id);
    }
    SeenDisk {
        name: disk.name,
        size_gib: disk.size_gib,
        state: disk.state.as_str().to_owned(),
        instances,
        portable: disk.portable,
        rolling: disk.rollbacking,
        percent: disk.rollback_percent,
        migrating: disk.migrating,
    }
}

fn seen_backup(backup: DiskBackup) -> SeenBackup {
    SeenBackup {
        name: backup.name,
        disk: backup.disk_id,
        state: backup.state.as_str().to_owned(),
        created: backup.created,
    }
}
