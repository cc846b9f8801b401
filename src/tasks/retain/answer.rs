//! What commands ask about the backups in the cloud: what there is, and to delete what no rule keeps.
//!
//! Responsible for which disks a request is about, and for its answer. It refuses to answer before all is done: a
//! request that is cut short is taken up again by the next process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backup_core::{BackupName, DiskId, TargetName};
use cbs::limiter::Priority;
use futures_util::future::join_all;

use super::AT_ONCE;
use super::pass::{Gate, Judged, Passed, judge, pass};
use crate::app::{App, Settings};
use crate::cloud::Cloud;
use crate::journal::{Answer, Change, Listed, Which};

/// Takes up a request, and answers it.
pub(super) async fn answer(
    app: &App,
    gates: &BTreeMap<TargetName, Arc<Gate>>,
    number: i64,
    which: &Which,
    delete: bool,
) {
    let mut found = Found::default();
    let clouds: Vec<(TargetName, Cloud)> =
        app.settings().clouds.iter().map(|(name, cloud)| (name.clone(), cloud.clone())).collect();
    for (target, cloud) in &clouds {
        let Some(gate) = gates.get(target) else { continue };
        match disks(app, target, cloud, which, &mut found).await {
            Ok(disks) => {
                let passes = disks.chunks(AT_ONCE).map(|disks| pass(app, cloud, gate, disks, which, delete));
                for passed in join_all(passes).await {
                    found.take(target, passed);
                }
            }
            Err(problem) => found.problems.push(format!("{target}: {problem}")),
        }
    }
    if app.stop.is_cancelled() {
        return;
    }
    let Found { backups, problems, .. } = found;
    app.persist(Change::Answer(number, Answer::Backups { backups, problems })).await;
}

#[derive(Default)]
struct Found {
    backups: Vec<Listed>,
    problems: Vec<String>,
    /// Two targets may lead to one account.
    seen: BTreeSet<String>,
}

impl Found {
    fn take(&mut self, target: &TargetName, passed: Result<Passed, String>) {
        match passed {
            Ok(passed) => {
                for (disk, shelf) in passed.shelves {
                    self.add(target, &disk, &shelf);
                }
                self.problems.extend(passed.problems);
            }
            Err(problem) => self.problems.push(format!("{target}: {problem}")),
        }
    }

    fn add(&mut self, target: &TargetName, disk: &DiskId, shelf: &[Judged]) {
        for judged in shelf {
            if self.seen.insert(judged.stored.id.to_string()) {
                self.backups.push(listed(target, disk, judged));
            }
        }
    }
}

/// The disks of a target that are looked at one by one. Where all there is was asked for, it is found here already.
async fn disks(
    app: &App,
    target: &TargetName,
    cloud: &Cloud,
    which: &Which,
    found: &mut Found,
) -> Result<Vec<DiskId>, String> {
    let settings = app.settings();
    let Settings { config, fleet, .. } = &*settings;
    if let Some(disk) = &which.disk {
        let holds = |name: &TargetName| {
            config.jobs.iter().any(|job| job.target == *name && fleet.holds(&job.name, disk))
        };
        // One that no job holds may be anybody's.
        let is_asked = holds(target) || !config.targets.keys().any(holds);
        return Ok(is_asked.then(|| disk.clone()).into_iter().collect());
    }
    if !which.all && !which.orphans {
        return Ok(configured(&settings, target, which).into_iter().collect());
    }
    let listed = tokio::select! {
        biased;
        () = app.stop.cancelled() => return Err("stopped".to_owned()),
        listed = cloud.stored(None, Priority::Command) => listed,
    };
    let mut listed = listed.map_err(|problem| format!("cannot be listed: {problem}"))?;
    if which.orphans {
        let is_ours = |name: &str| name.parse::<BackupName>().is_ok_and(|name| name.owner == config.owner);
        listed.retain(|_, stored| stored.iter().any(|stored| is_ours(&stored.name)));
        let mut disks = configured(&settings, target, which);
        disks.extend(listed.into_keys());
        return Ok(disks.into_iter().collect());
    }
    for (disk, stored) in listed {
        let shelf = judge(app, &disk, stored, None, which).await;
        found.add(target, &disk, &shelf.map_err(|error| crate::report::chain(&*error))?);
    }
    Ok(Vec::new())
}

/// The disks of the jobs of a target.
fn configured(settings: &Settings, target: &TargetName, which: &Which) -> BTreeSet<DiskId> {
    let is_wanted = |name| which.job.as_ref().is_none_or(|job| job == name);
    let jobs = settings.config.jobs.iter().filter(|job| job.target == *target && is_wanted(&job.name));
    jobs.flat_map(|job| settings.fleet.of(&job.name).disks().map(|on| on.disk.clone())).collect()
}

fn listed(target: &TargetName, disk: &DiskId, judged: &Judged) -> Listed {
    let Judged { stored, ours, has_job, goes, deleted } = judged;
    let run = ours.as_ref().map(|(run, _)| run);
    let kind = match (run, has_job) {
        (None, _) => "other",
        (Some(_), true) => "ours",
        (Some(_), false) => "orphan",
    };
    Listed {
        id: stored.id.to_string(),
        name: stored.name.clone(),
        disk_id: disk.to_string(),
        target: target.to_string(),
        state: stored.state.as_str().to_owned(),
        created: stored.created,
        size_gib: stored.size_gib,
        kind: kind.to_owned(),
        job: run.map(|run| run.job.to_string()),
        run: run.map(ToString::to_string),
        verdict: judged.verdict(),
        delete: *goes,
        deleted: *deleted,
    }
}
