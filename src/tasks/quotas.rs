//! Answers what the jobs' disks may hold: for `forecast --online`.
//!
//! Responsible for asking each target for the disks of its jobs. It refuses to conclude anything from the answer.

use std::collections::{BTreeMap, BTreeSet};

use backup_core::{DiskId, TargetName};
use cbs::limiter::Priority;

use crate::app::App;
use crate::journal::{Answer, Change, Quota};

/// Takes up a request, and answers it.
pub(super) async fn answer(app: &App, number: i64) {
    let settings = app.settings();
    let mut of_target: BTreeMap<&TargetName, BTreeSet<&DiskId>> = BTreeMap::new();
    for job in &settings.config.jobs {
        let disks = settings.fleet.of(&job.name).disks().map(|on| &on.disk);
        of_target.entry(&job.target).or_default().extend(disks);
    }
    let (mut quotas, mut problems) = (Vec::new(), Vec::new());
    for (target, disks) in of_target {
        let Some(cloud) = settings.clouds.get(target) else { continue };
        let disks: Vec<DiskId> = disks.into_iter().cloned().collect();
        match cloud.disks_by_id(&disks, Priority::Command).await {
            Ok(found) => {
                quotas
                    .extend(found.into_iter().map(|disk| Quota { disk: disk.id, quota: disk.backup_quota }));
            }
            Err(problem) => problems.push(format!("{target}: {problem}")),
        }
    }
    app.persist(Change::Answer(number, Answer::Quotas { quotas, problems })).await;
}
