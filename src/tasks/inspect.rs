//! Answers which disks jobs are about, and how many backups they have and may have.
//!
//! Responsible for asking the cloud for a person (`check --online`), one target after the other and behind everything
//! else in their lanes. It refuses to change anything: what is in force is the affair of `discover`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backup_core::{DiskId, TargetName};
use cbs::{Filter, Priority};

use crate::app::App;
use crate::cloud::{Cloud, FoundDisk, narrowed};
use crate::config::Disks;
use crate::journal::{Answer, Change, Inspected, InspectedDisk, ToInspect};

/// What was listed for a request so far, by target and by what it was narrowed to: jobs share it.
type Listings = Vec<((TargetName, Vec<Filter>), Vec<FoundDisk>)>;

/// Answers a request. It waits for the cloud, and so for nobody.
pub async fn inspect(app: Arc<App>, number: i64, jobs: Vec<ToInspect>) {
    let mut inspected = Vec::with_capacity(jobs.len());
    let mut listings = Listings::new();
    for asked in jobs {
        let found = match app.cloud(&asked.target) {
            Some(cloud) => tokio::select! {
                biased;
                () = app.stop.cancelled() => return,
                found = find(&cloud, &asked, &mut listings) => found,
            },
            None => Err(format!("the daemon does not know target {} yet: reload it first", asked.target)),
        };
        let ToInspect { job, target, disks } = asked;
        let (found, problem) = match found {
            Ok(found) => (found, None),
            Err(problem) => (BTreeMap::new(), Some(problem)),
        };
        let named: BTreeSet<DiskId> = match disks {
            Disks::Listed(named) if problem.is_none() => named.into_iter().collect(),
            _ => BTreeSet::new(),
        };
        let unknown = named.into_iter().filter(|disk| !found.contains_key(disk)).collect();
        inspected.push(Inspected { job, target, disks: found.into_values().collect(), unknown, problem });
    }
    app.persist(Change::Answer(number, Answer::Fleet { jobs: inspected })).await;
}

/// The disks of a job that there are.
async fn find(
    cloud: &Cloud,
    asked: &ToInspect,
    listings: &mut Listings,
) -> Result<BTreeMap<DiskId, InspectedDisk>, String> {
    let by_id = |found: &FoundDisk| (found.id.clone(), describe(found));
    match &asked.disks {
        Disks::Listed(named) => {
            Ok(cloud.disks_by_id(named, Priority::Command).await?.iter().map(by_id).collect())
        }
        Disks::Selected(selection) => {
            let key = (asked.target.clone(), narrowed(&selection.of));
            let at = match listings.iter().position(|(known, _)| *known == key) {
                Some(at) => at,
                None => {
                    let found = cloud.disks(&key.1, Priority::Command).await?;
                    listings.push((key, found));
                    listings.len() - 1
                }
            };
            let selected = listings[at].1.iter().filter(|disk| selection.selects(&disk.id, &disk.attributes));
            Ok(selected.map(by_id).collect())
        }
    }
}

fn describe(disk: &FoundDisk) -> InspectedDisk {
    let FoundDisk { id, attributes, .. } = disk;
    InspectedDisk {
        disk_id: id.clone(),
        name: attributes.name.clone(),
        zone: attributes.zone.clone(),
        instance_id: disk.instance().cloned(),
        state: attributes.state.clone(),
        backup_quota: disk.backup_quota,
        backup_count: disk.backup_count,
    }
}
