//! Answers which disks jobs are about, and how many backups they have and may have.
//!
//! Responsible for asking the cloud for a person (`check --online`), one target after the other and behind everything
//! else in their lanes. It refuses to change anything: what is in force is the affair of `discover`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backup_core::DiskId;
use cbs::Priority;

use crate::app::App;
use crate::cloud::{Cloud, FoundDisk, narrowed};
use crate::config::Disks;
use crate::journal::{Answer, Change, Inspected, InspectedDisk, ToInspect};

/// Answers a request. It waits for the cloud, and so for nobody.
pub async fn inspect(app: Arc<App>, number: i64, jobs: Vec<ToInspect>) {
    let mut inspected = Vec::with_capacity(jobs.len());
    for asked in jobs {
        let ToInspect { job, target, disks } = asked;
        let found = match app.cloud(&target) {
            Some(cloud) => tokio::select! {
                biased;
                () = app.stop.cancelled() => return,
                found = find(&cloud, &disks) => found,
            },
            None => Err(format!("the daemon does not know target {target} yet: reload it first")),
        };
        let (disks, unknown, problem) = match found {
            Ok((disks, unknown)) => (disks, unknown, None),
            Err(problem) => (Vec::new(), Vec::new(), Some(problem)),
        };
        inspected.push(Inspected { job, target, disks, unknown, problem });
    }
    app.persist(Change::Answer(number, Answer::Fleet { jobs: inspected })).await;
}

/// The disks that there are, by their ids, and those that are named and are not there.
async fn find(cloud: &Cloud, disks: &Disks) -> Result<(Vec<InspectedDisk>, Vec<DiskId>), String> {
    let found = match disks {
        Disks::Listed(named) => cloud.disks_by_id(named, Priority::Command).await?,
        Disks::Selected(selection) => {
            let mut found = cloud.disks(&narrowed(&selection.of), Priority::Command).await?;
            found.retain(|disk| selection.selects(&disk.id, &disk.attributes));
            found
        }
    };
    let found: BTreeMap<DiskId, InspectedDisk> =
        found.into_iter().map(|disk| (disk.id.clone(), describe(disk))).collect();
    let unknown = match disks {
        Disks::Listed(named) => {
            let named: BTreeSet<&DiskId> = named.iter().collect();
            named.into_iter().filter(|disk| !found.contains_key(*disk)).cloned().collect()
        }
        Disks::Selected(_) => Vec::new(),
    };
    Ok((found.into_values().collect(), unknown))
}

fn describe(disk: FoundDisk) -> InspectedDisk {
    let instance_id = disk.instance().cloned();
    InspectedDisk {
        disk_id: disk.id,
        name: disk.attributes.name,
        zone: disk.attributes.zone,
        instance_id,
        state: disk.attributes.state,
        backup_quota: disk.backup_quota,
        backup_count: disk.backup_count,
    }
}
