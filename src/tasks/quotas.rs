//! Answers what the jobs' disks may hold: for `forecast --online`.
//!
//! Responsible for asking each target for the disks of its jobs. It refuses to conclude anything from the answer.

use std::collections::{BTreeMap, BTreeSet};

use backup_core::{DiskId, TargetName};
use futures_util::future::join_all;

use crate::app::App;
use crate::journal::{Answer, Change};

/// Disks in one call (the cloud's limit).
const AT_ONCE: usize = 100;

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
        let answers = join_all(disks.chunks(AT_ONCE).map(|disks| cloud.quotas(disks))).await;
        for (disks, answer) in disks.chunks(AT_ONCE).zip(answers) {
            match answer {
                Ok(known) => quotas.extend(known),
                // One that is gone may spoil the answer for all: each by itself then.
                Err(_) => {
                    for answer in join_all(disks.chunks(1).map(|disk| cloud.quotas(disk))).await {
                        match answer {
                            Ok(known) => quotas.extend(known),
                            Err(problem) => problems.push(format!("{target}: {problem}")),
                        }
                    }
                }
            }
        }
    }
    problems.dedup();
    app.persist(Change::Answer(number, Answer::Quotas { quotas, problems })).await;
}
