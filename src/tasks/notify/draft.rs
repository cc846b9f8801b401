//! What one notifier is to be told now.
//!
//! Responsible for putting together what `backup_core::notify` finds worth telling, and what is recorded once it was
//! taken. It refuses to send.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use backup_core::notify::{ToldOfJob, Turn, is_ripe, is_to_be_recalled, news, turn};
use backup_core::{DiskId, JobName, NotifierName, RunId};
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::look::{Facts, JobFacts, Watched, key_of, subject_of};
use crate::app::App;
use crate::config::{Config, Manner};
use crate::journal::{Change, Told};
use crate::notify::message::{ConditionNews, JobNews, Listed, ListedDisk, Message, NAMED};

/// When news of a job were first seen, by the monotonic clock.
pub(super) type FirstSeen = BTreeMap<(String, JobName), Duration>;

/// A message, and what is to be written down.
#[derive(Default)]
pub(super) struct Draft {
    jobs: Vec<JobNews>,
    daemon: Vec<ConditionNews>,
    /// What will have been told.
    told: Vec<Told>,
    /// What is not worth a word: it is written down at once.
    silent: Vec<Told>,
    forgotten: Vec<String>,
    /// What tells this message from all others to this notifier.
    id: Sha256,
    /// More may be to tell soon.
    pub(super) is_pending: bool,
}

/// What a look is about.
pub(super) struct Look<'a> {
    pub(super) config: &'a Config,
    pub(super) facts: &'a Facts,
    pub(super) conditions: &'a Watched,
    pub(super) now: Timestamp,
    pub(super) mono: Duration,
    /// The time is known: jobs can be judged.
    pub(super) is_trusted: bool,
}

impl Draft {
    /// What there is to tell `notifier`.
    pub(super) fn of(notifier: &NotifierName, manner: Manner, look: &Look<'_>, seen: &mut FirstSeen) -> Self {
        let mut draft = Self::default();
        draft.id.update(notifier.as_str());
        let told = look.facts.told.get(notifier.as_str());
        for (key, condition) in look.conditions.iter() {
            let before = told.and_then(|told| told.get(&subject_of(key)));
            let since = look.mono.saturating_sub(condition.since);
            let found = turn(key.0, condition.is_there, since, before.is_some());
            let recalled = before
                .filter(|before| condition.is_there && is_to_be_recalled(before.at, manner.remind, look.now));
            draft.is_pending |= condition.is_there != before.is_some() && found.is_none();
            if found.is_none() && recalled.is_none() {
                continue;
            }
            let is_over = found == Some(Turn::Ends);
            draft.mark(&subject_of(key), before, if is_over { "over" } else { "there" });
            if is_over {
                draft.forgotten.push(subject_of(key));
            } else {
                draft.told.push(told_now(subject_of(key), &condition.text, look.now));
            }
            draft.daemon.push(ConditionNews {
                condition: key.0,
                target: key.1.clone(),
                is_over,
                is_reminder: recalled.is_some(),
                message: if is_over { "it is over".to_owned() } else { condition.text.clone() },
            });
        }
        if look.is_trusted {
            for facts in &look.facts.jobs {
                let job = look.config.jobs.iter().find(|job| job.name == facts.job);
                if job.is_some_and(|job| job.tells(notifier)) {
                    draft.add_job(
                        notifier,
                        facts,
                        told.and_then(|told| told.get(&subject(&facts.job))),
                        manner,
                        look,
                        seen,
                    );
                }
            }
        }
        draft.forget(notifier, told, look.config);
        draft
    }

    fn add_job(
        &mut self,
        notifier: &NotifierName,
        facts: &JobFacts,
        before: Option<&Told>,
        manner: Manner,
        look: &Look<'_>,
        seen: &mut FirstSeen,
    ) {
        let was: ToldOfJob =
            before.and_then(|before| serde_json::from_str(&before.body).ok()).unwrap_or_default();
        let (news, after) = news(&facts.disks, &was);
        let key = (notifier.to_string(), facts.job.clone());
        let due = |disk: &DiskId| facts.disks.get(disk).and_then(|stands| stands.last).map(|(due, _)| due);
        let listed = |disks: Vec<&DiskId>, why: &dyn Fn(&DiskId) -> Option<String>, with_due: bool| Listed {
            count: disks.len(),
            disks: disks
                .into_iter()
                .take(NAMED)
                .map(|disk| ListedDisk {
                    disk_id: disk.clone(),
                    due: due(disk).filter(|_| with_due),
                    reason: why(disk),
                })
                .collect(),
        };
        let why_beyond = |disk: &DiskId| facts.beyond.get(disk).cloned();
        let mut job = JobNews {
            job: facts.job.clone(),
            disks: facts.disks.len(),
            is_reminder: false,
            failed: listed(news.failed.iter().collect(), &|_| None, true),
            beyond_objective: listed(news.beyond.iter().collect(), &why_beyond, false),
            recovered: listed(news.recovered.iter().collect(), &|_| None, false),
        };
        if news.is_empty() {
            seen.remove(&key);
            let recalled = before
                .filter(|before| !after.is_empty() && is_to_be_recalled(before.at, manner.remind, look.now));
            if recalled.is_none() {
                if after != was {
                    let at = before.map_or(look.now, |before| before.at);
                    self.silent.push(told_of(&facts.job, &after, at));
                }
                return;
            }
            let failed = after.iter().filter(|(_, told)| told.failed.is_some()).map(|(disk, _)| disk);
            let beyond = after.iter().filter(|(_, told)| told.beyond).map(|(disk, _)| disk);
            job.is_reminder = true;
            job.failed = listed(failed.collect(), &|_| None, true);
            job.beyond_objective = listed(beyond.collect(), &why_beyond, false);
        } else {
            let since = *seen.entry(key.clone()).or_insert(look.mono);
            if !is_ripe(facts.is_under_way, look.mono.saturating_sub(since), manner.gather) {
                self.is_pending = true;
                return;
            }
            seen.remove(&key);
        }
        let told = told_of(&facts.job, &after, look.now);
        self.mark(&told.subject, before, &told.body);
        self.told.push(told);
        self.jobs.push(job);
    }

    /// What was told of jobs, disks and targets that this notifier is told of no more.
    fn forget(&mut self, notifier: &NotifierName, told: Option<&BTreeMap<String, Told>>, config: &Config) {
        let jobs: BTreeSet<String> =
            config.jobs.iter().filter(|job| job.tells(notifier)).map(|job| subject(&job.name)).collect();
        let is_known = |subject: &str| match key_of(subject) {
            Some((_, Some(target))) => config.targets.keys().any(|known| known.as_str() == target),
            Some((_, None)) => true,
            None => jobs.contains(subject),
        };
        let gone = told.into_iter().flat_map(BTreeMap::keys).filter(|subject| !is_known(subject));
        let gone: Vec<String> = gone.cloned().collect();
        self.daemon.retain(|news| {
            news.target
                .as_ref()
                .is_none_or(|target| config.targets.keys().any(|known| known.as_str() == target))
        });
        self.forgotten.extend(gone);
    }

    fn mark(&mut self, subject: &str, before: Option<&Told>, after: &str) {
        let since = before.map_or(0, |before| before.at.as_millisecond());
        self.id.update(format!("\n{subject} {since} {after}"));
    }

    /// Whether there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.daemon.is_empty()
    }

    /// What is to be written down although nothing is sent.
    pub(super) fn silent(&self, notifier: &NotifierName) -> Option<Change> {
        let forgotten = if self.is_empty() { self.forgotten.clone() } else { Vec::new() };
        if self.silent.is_empty() && forgotten.is_empty() {
            return None;
        }
        Some(Change::Told { notifier: notifier.to_string(), told: self.silent.clone(), forgotten })
    }

    /// The message, with the reasons that the journal has, and what is to be written down once it was taken.
    pub(super) async fn message(
        self,
        app: &App,
        notifier: &NotifierName,
        now: Timestamp,
    ) -> (Message, Change) {
        let Self { mut jobs, daemon, told, forgotten, id, .. } = self;
        for news in &mut jobs {
            for disk in &mut news.failed.disks {
                let Some(due) = disk.due else { continue };
                let run = RunId { job: news.job.clone(), disk: disk.disk_id.clone(), due };
                let row = app.parts.journal.read(move |store| store.run(&run)).await;
                // Without its reason it is told all the same.
                disk.reason = row.ok().flatten().and_then(|row| row.run.state.reason());
            }
        }
        let id = hex::encode(&id.finalize()[..16]);
        let owner = app.settings().config.owner.clone();
        let message = Message::about(id, owner, now, jobs, daemon);
        (message, Change::Told { notifier: notifier.to_string(), told, forgotten })
    }
}

/// `job db`
fn subject(job: &JobName) -> String {
    format!("job {job}")
}

fn told_of(job: &JobName, after: &ToldOfJob, at: Timestamp) -> Told {
    // A map of plain values can be written.
    Told { subject: subject(job), body: serde_json::to_string(after).unwrap_or_default(), at }
}

fn told_now(subject: String, text: &str, at: Timestamp) -> Told {
    Told { subject, body: serde_json::Value::from(text).to_string(), at }
}
