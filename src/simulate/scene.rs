//! What is backed up: jobs and disks, drawn from the seed, and how their configuration changes in a year.
//!
//! Responsible for the text of the configuration file, so that a simulation reads it as a daemon does, and for the
//! disks of the cloud. It refuses to know what goes wrong.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use cbs_sim::{BackupState, Choices, CreateTime, Disk, ExistingBackup, MissingIds, Timings};
use jiff::Timestamp;

use super::SimulationError;
use super::world::key;
use crate::config::Config;
use crate::random::Random;

/// Zones of the nightly jobs: without DST, with DST over 02:30, with a DST of half an hour.
const ZONES: [&str; 5] =
    ["Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"];
/// The disks of the jobs that run more often than nightly.
const FREQUENT_DISKS: usize = 2;
/// How many backups a disk may hold. Somebody removes old ones each day.
const QUOTA: u32 = 80;
/// How late listings show a new backup, at most: a cloud that is quick, one that is slow, one at its worst.
const VISIBLE_MS: [u64; 3] = [1_500, 20_000, 120_000];

/// The jobs and disks of a simulated year.
pub(super) struct Scene {
    disks: Vec<String>,
    jobs: Vec<Job>,
    settle: &'static str,
}

struct Job {
    name: String,
    cron: String,
    zone: &'static str,
    missed: &'static str,
    start_within: &'static str,
    complete_within: &'static str,
    spread: &'static str,
    when_full: &'static str,
    /// How many backups stay on each disk; none says that all do.
    keep: Option<u32>,
    disks: Vec<usize>,
    /// Of its disks, the one that is left out.
    without: Option<usize>,
    is_out: bool,
}

impl Scene {
    /// A scene of so many disks.
    pub(super) fn draw(random: &Random, disks: usize, settle: &'static str) -> Self {
        let disks: Vec<String> = (0..disks.max(1)).map(|n| format!("disk-{:08x}", 0x5a00_0000 + n)).collect();
        let shares = disks.len().min(3);
        let mut jobs: Vec<Job> = (0..shares)
            .map(|share| Job {
                name: format!("night-{share}"),
                cron: nightly(random),
                zone: random.pick(ZONES),
                missed: random.pick(["run-once", "run-once", "skip"]),
                start_within: random.pick(["1h", "3h", "6h"]),
                complete_within: random.pick(["1h", "2h", "4h"]),
                spread: random.pick(["0s", "10m", "1h"]),
                when_full: random.pick(["wait", "wait", "fail"]),
                keep: None,
                disks: (0..disks.len()).filter(|disk| disk % shares == share).collect(),
                without: None,
                is_out: false,
            })
            .collect();
        for (name, cron, keep) in [("hourly", "15 * * * *", 5), ("quarterly", "0 */6 * * *", 2)] {
            let any = || random.between((0, disks.len() as u64 - 1)) as usize;
            let mut few: Vec<usize> = (0..FREQUENT_DISKS).map(|_| any()).collect();
            few.sort_unstable();
            few.dedup();
            jobs.push(Job {
                name: name.to_owned(),
                cron: cron.to_owned(),
                zone: random.pick(ZONES),
                missed: random.pick(["run-once", "skip"]),
                start_within: random.pick(["20m", "1h", "2h"]),
                complete_within: random.pick(["30m", "1h"]),
                spread: "0s",
                when_full: random.pick(["wait", "fail"]),
                keep: Some(keep),
                disks: few,
                without: None,
                is_out: false,
            });
        }
        Self { disks, jobs, settle }
    }

    /// Somebody edits the configuration file.
    pub(super) fn edit(&mut self, random: &Random) {
        // What was taken out comes back next time.
        if let Some(job) = self.jobs.iter_mut().find(|job| job.is_out) {
            job.is_out = false;
            return;
        }
        // The first job is never taken out: there must be one.
        let at = random.between((0, self.jobs.len() as u64 - 1)) as usize;
        let job = &mut self.jobs[at];
        match random.between((0, 4)) {
            0 if job.name.starts_with("night") => job.cron = nightly(random),
            1 if at > 0 => job.is_out = !job.is_out,
            2 => job.zone = random.pick(ZONES),
            3 => job.spread = random.pick(["0s", "10m", "1h"]),
            _ => {
                job.without = match job.without {
                    None => Some(random.between((0, job.disks.len() as u64 - 1)) as usize),
                    Some(_) => None,
                }
            }
        }
    }

    /// The configuration as it is now.
    pub(super) fn config(&self) -> Result<Config, SimulationError> {
        Config::parse("simulated.yaml", &self.text(), &BTreeMap::new())
            .map_err(|errors| SimulationError::Scene(errors.to_string()))
    }

    fn text(&self) -> String {
        let mut text = format!(
            "owner: sim1\nsettle: {}\ntargets:\n  default: {{ region: ap-guangzhou }}\njobs:\n",
            self.settle
        );
        for job in self.jobs.iter().filter(|job| !job.is_out) {
            let disks: Vec<&str> = job
                .disks
                .iter()
                .enumerate()
                .filter(|(place, _)| Some(*place) != job.without)
                .map(|(_, disk)| self.disks[*disk].as_str())
                .collect();
            if disks.is_empty() && job.name != "night-0" {
                continue;
            }
            let disks = if disks.is_empty() { self.disks[0].clone() } else { disks.join(", ") };
            let Job { name, cron, zone, missed, start_within, complete_within, spread, when_full, .. } = job;
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "  - name: {name}\n    disks: [{disks}]\n    schedule: {{ cron: \"{cron}\", timezone: {zone}, \
                 missed: {missed}, start_within: {start_within}, spread: {spread} }}\n    \
                 complete_within: {complete_within}\n    when_full: {when_full}"
            );
            if let Some(keep) = job.keep {
                let _ = writeln!(text, "    keep: {{ last: {keep} }}");
            }
        }
        text
    }

    /// The cloud that these disks are in.
    pub(super) fn cloud(&self, random: &Random) -> cbs_sim::World {
        cbs_sim::World {
            seed: random.draw(),
            credentials: vec![key(0)],
            timings: Timings {
                create_ms: (5_000, 90_000),
                visible_ms: (0, random.pick(VISIBLE_MS)),
                reply_ms: (5, 400),
                ..Timings::default()
            },
            choices: Choices {
                one_creation_at_a_time: random.chance(700),
                missing_ids: random.pick([MissingIds::Omit, MissingIds::Error]),
                create_time: random.pick([CreateTime::Beijing, CreateTime::Rfc3339]),
            },
            disks: self.disks.iter().map(|id| disk(id)).collect(),
            ..cbs_sim::World::default()
        }
    }
}

/// A disk on which somebody has left a backup.
fn disk(id: &str) -> Disk {
    let by_hand = ExistingBackup {
        id: id.replace("disk", "dbp"),
        name: "by hand".to_owned(),
        created: Timestamp::UNIX_EPOCH,
        state: BackupState::Normal,
    };
    Disk { quota: QUOTA, backups: vec![by_hand], ..Disk::new(id) }
}

/// Some time of the night; often 02:30, which DST changes skip and repeat.
fn nightly(random: &Random) -> String {
    if random.chance(500) { "30 2 * * *".to_owned() } else { format!("{} 1 * * *", random.between((0, 59))) }
}
