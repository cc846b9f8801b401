//! One look at how everything stands, for all notifiers.
//!
//! Responsible for reading it from the journal, the clients and the clock. It refuses to judge.

use std::collections::BTreeMap;
use std::time::Duration;

use backup_core::freshness::{Ended, Trouble};
use backup_core::notify::{Condition, Round, Stands, ToldRounds};
use backup_core::{DiskId, JobName};
use jiff::{SignedDuration, Timestamp};

use crate::app::{App, Settings};
use crate::config::Job;
use crate::journal::{JournalError, Store, Told};
use crate::report::chain;
use crate::standings::Standings;
use crate::tasks::clock_check;

/// The subject of what a job's own ping is told.
pub(super) const ROUNDS: &str = "rounds";

/// How everything stands.
#[derive(Default)]
pub(super) struct Facts {
    /// The jobs, by their order in the configuration; none while the time is not known.
    pub(super) jobs: Vec<JobFacts>,
    /// What was told, by notifier and subject.
    pub(super) told: BTreeMap<String, BTreeMap<String, Told>>,
    /// The rounds of jobs that have a ping of their own, in their order.
    pub(super) rounds: BTreeMap<JobName, Vec<Round>>,
}

/// How a job stands.
pub(super) struct JobFacts {
    pub(super) job: JobName,
    pub(super) disks: BTreeMap<DiskId, Stands>,
    /// Why disks are beyond their objective.
    pub(super) beyond: BTreeMap<DiskId, String>,
    /// Runs of it have not ended.
    pub(super) is_under_way: bool,
}

/// The name by which what a job's own ping was told is kept.
pub(super) fn ping_of(job: &JobName) -> String {
    format!("ping:{job}")
}

impl Facts {
    /// As `store` has them at `now`; without `now`, what was told alone.
    pub(super) fn read(
        store: &dyn Store,
        settings: &Settings,
        now: Option<Timestamp>,
    ) -> Result<Self, JournalError> {
        let mut facts = Self::default();
        for (notifier, told) in store.told()? {
            facts.told.entry(notifier).or_default().insert(told.subject.clone(), told);
        }
        let Some(now) = now else { return Ok(facts) };
        let config = &settings.config;
        let last: BTreeMap<(JobName, DiskId), (Timestamp, Ended)> = store
            .standings()?
            .into_iter()
            .filter_map(|standing| Some(((standing.job, standing.disk), standing.last?)))
            .collect();
        let under_way = store.jobs_under_way()?;
        let standings = Standings::read(store, config, &settings.fleet, now)?;
        for (job, stands) in config.jobs.iter().zip(standings.jobs) {
            if job.ping.is_some()
                && let Some(told) = facts.rounds_told(&job.name)
            {
                let rounds = store.rounds(&job.name, told.from())?;
                facts.rounds.insert(job.name.clone(), nominal(job, &told, stands.next_due, rounds));
            }
            let mut beyond = BTreeMap::new();
            let mut disks = BTreeMap::new();
            for disk in stands.disks {
                let is_it = |trouble: &&Trouble| matches!(trouble, Trouble::Beyond { .. } | Trouble::NoneYet);
                let why = disk.freshness.troubles.iter().find(is_it).map(ToString::to_string);
                let last = last.get(&(job.name.clone(), disk.disk.clone())).copied();
                disks.insert(disk.disk.clone(), Stands { last, beyond: why.is_some() });
                beyond.extend(why.map(|why| (disk.disk, why)));
            }
            let is_under_way = under_way.contains(&job.name);
            facts.jobs.push(JobFacts { job: job.name.clone(), disks, beyond, is_under_way });
        }
        Ok(facts)
    }

    /// What a job's own ping was told.
    pub(super) fn rounds_told(&self, job: &JobName) -> Option<ToldRounds> {
        serde_json::from_str(&self.told.get(&ping_of(job))?.get(ROUNDS)?.body).ok()
    }

    /// Whether a disk has no backup that is young enough.
    pub(super) fn is_any_beyond(&self) -> bool {
        self.jobs.iter().any(|job| !job.beyond.is_empty())
    }
}

/// The rounds that a schedule owes: a run that a person asked for is none. One of which more disks are to be planned is
/// not over.
fn nominal(job: &Job, told: &ToldRounds, next_due: Option<Timestamp>, rounds: Vec<Round>) -> Vec<Round> {
    let is_due = |due: Timestamp| {
        let before = due.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(Timestamp::MIN);
        job.schedule.next_after(before) == Some(due)
    };
    let whole = |round: Round| Round {
        open: round.open + u64::from(next_due.is_some_and(|next| next <= round.due)),
        ..round
    };
    let counts = |round: &Round| told.said.contains_key(&round.due) || is_due(round.due);
    rounds.into_iter().filter(counts).map(whole).collect()
}

/// What a condition is about: itself, and a target.
pub(super) type Key = (Condition, Option<String>);

/// The conditions that there are now, in words.
pub(super) fn conditions(app: &App) -> BTreeMap<Key, String> {
    let mut there = BTreeMap::new();
    let settings = app.settings();
    // Clients of targets that the configuration no longer knows stay while runs of theirs are under way.
    for (target, cloud) in &settings.clouds {
        if !settings.config.targets.contains_key(target) {
            continue;
        }
        let renewal = || Some(chain(&**cloud.source().provider.health()?.trouble.as_ref()?));
        if let Some(problem) = cloud.credential_problem().or_else(renewal) {
            there.insert((Condition::Credentials, Some(target.to_string())), problem);
        }
        if !cloud.is_reachable() {
            let text = "the cloud does not answer; what is due is tried again by itself".to_owned();
            there.insert((Condition::Cloud, Some(target.to_string())), text);
        }
    }
    if clock_check::is_wrong(app) {
        let text =
            "the cloud's clock and this machine's differ; no backup is planned or made until they agree";
        there.insert((Condition::Clock, None), text.to_owned());
    }
    if !app.is_writable() {
        let text = "no backup is started until the journal can be written".to_owned();
        there.insert((Condition::Journal, None), text);
    }
    there
}

/// Since when each condition is there, or not.
#[derive(Default)]
pub(super) struct Watched(BTreeMap<Key, Seen>);

/// How a condition was last seen.
pub(super) struct Seen {
    pub(super) is_there: bool,
    /// By the monotonic clock.
    pub(super) since: Duration,
    pub(super) text: String,
}

impl Watched {
    /// Notes what is there now; of those that were told, it is noted that they are not.
    pub(super) fn note(
        &mut self,
        there: &BTreeMap<Key, String>,
        told: impl Iterator<Item = Key>,
        mono: Duration,
    ) {
        for key in told {
            self.0.entry(key).or_insert(Seen { is_there: false, since: mono, text: String::new() });
        }
        for (key, text) in there {
            let seen = self.0.entry(key.clone()).or_insert(Seen {
                is_there: true,
                since: mono,
                text: String::new(),
            });
            if !seen.is_there {
                (seen.is_there, seen.since) = (true, mono);
            }
            seen.text.clone_from(text);
        }
        for (key, seen) in &mut self.0 {
            if seen.is_there && !there.contains_key(key) {
                (seen.is_there, seen.since) = (false, mono);
            }
        }
    }

    /// All that were ever seen.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Key, &Seen)> {
        self.0.iter()
    }
}

/// `credentials default`
pub(super) fn subject_of((condition, target): &Key) -> String {
    match target {
        Some(target) => format!("{} {target}", condition.name()),
        None => condition.name().to_owned(),
    }
}

/// The condition of a subject, if it is one.
pub(super) fn key_of(subject: &str) -> Option<Key> {
    let (word, target) =
        subject.split_once(' ').map_or((subject, None), |(word, target)| (word, Some(target)));
    let condition = Condition::ALL.into_iter().find(|condition| condition.name() == word)?;
    Some((condition, target.map(str::to_owned)))
}
