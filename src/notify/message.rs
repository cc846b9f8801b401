//! What a person is told: the documented JSON, and the same in words.
//!
//! Responsible for one message about many disks, however many there are: each list is bounded, and its count is not.

use std::fmt::Write as _;

use backup_core::notify::Condition;
use backup_core::{DiskId, JobName, Owner};
use jiff::Timestamp;
use serde::Serialize;

use crate::report::counted;

/// So many disks of a list are named.
pub const NAMED: usize = 10;
/// So many jobs are named in a title.
const IN_TITLE: usize = 3;

/// A message; its JSON is a contract (`docs/notifications.md`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Message {
    /// Of the contract.
    pub version: u32,
    /// The same in a message that is sent again because nobody could know that it had arrived.
    pub id: String,
    /// What it is.
    pub kind: Sort,
    /// The mark of the installation.
    pub owner: Owner,
    /// When it was written.
    pub at: Timestamp,
    /// In one line.
    pub title: String,
    /// In words.
    pub text: String,
    /// What there is of each job.
    pub jobs: Vec<JobNews>,
    /// What there is of the daemon as a whole.
    pub daemon: Vec<ConditionNews>,
}

/// What a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// Something is wrong.
    Trouble,
    /// All that it tells of is well again.
    Recovery,
    /// All that it tells of was told before, and is still so.
    Reminder,
    /// Somebody tries whether it arrives.
    Test,
}

/// What there is of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobNews {
    /// The job.
    pub job: JobName,
    /// How many disks it has.
    pub disks: usize,
    /// It was told before, and is still so.
    pub is_reminder: bool,
    /// Disks whose last run failed.
    pub failed: Listed,
    /// Disks whose last good backup is older than the job allows, or missing.
    pub beyond_objective: Listed,
    /// Disks that are well again.
    pub recovered: Listed,
}

/// Disks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Listed {
    /// How many there are.
    pub count: usize,
    /// The first of them, at most [`NAMED`].
    pub disks: Vec<ListedDisk>,
}

/// A disk of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ListedDisk {
    /// The disk.
    pub disk_id: DiskId,
    /// The due instant of the run that it is about.
    pub due: Option<Timestamp>,
    /// Why.
    pub reason: Option<String>,
}

/// What there is of the daemon as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConditionNews {
    /// What it is.
    pub condition: Condition,
    /// The target that it is about.
    pub target: Option<String>,
    /// It is so no more.
    pub is_over: bool,
    /// It was told before, and is still so.
    pub is_reminder: bool,
    /// In words.
    pub message: String,
}

impl Message {
    /// A message about these.
    #[must_use]
    pub fn about(
        id: String,
        owner: Owner,
        at: Timestamp,
        jobs: Vec<JobNews>,
        daemon: Vec<ConditionNews>,
    ) -> Self {
        let is_wrong = |job: &JobNews| job.failed.count + job.beyond_objective.count > 0;
        let new_trouble = jobs.iter().any(|job| !job.is_reminder && is_wrong(job))
            || daemon.iter().any(|news| !news.is_reminder && !news.is_over);
        let old_trouble =
            jobs.iter().any(|job| job.is_reminder) || daemon.iter().any(|news| news.is_reminder);
        let kind = match (new_trouble, old_trouble) {
            (true, _) => Sort::Trouble,
            (false, true) => Sort::Reminder,
            (false, false) => Sort::Recovery,
        };
        let (title, text) = (title(&owner, &jobs, &daemon), text(&jobs, &daemon));
        Self { version: 1, id, kind, owner, at, title, text, jobs, daemon }
    }

    /// A message that says no more than that it has arrived.
    #[must_use]
    pub fn test(owner: Owner, at: Timestamp) -> Self {
        Self {
            version: 1,
            id: format!("test-{}", at.as_millisecond()),
            kind: Sort::Test,
            title: format!("cbs-backupd {owner}: a test"),
            text: "Whoever reads this will be told of backups that fail. Nothing is wrong.".to_owned(),
            owner,
            at,
            jobs: Vec::new(),
            daemon: Vec::new(),
        }
    }
}

/// `cbs-backupd ops1: db: 600 disks failed; web: 1 disk recovered`
fn title(owner: &Owner, jobs: &[JobNews], daemon: &[ConditionNews]) -> String {
    let mut parts: Vec<String> = daemon.iter().map(ConditionNews::title).collect();
    for JobNews { job, is_reminder, failed, beyond_objective, recovered, .. } in jobs {
        let still = if *is_reminder { "still " } else { "" };
        let said = [(failed, "failed"), (beyond_objective, "beyond objective"), (recovered, "recovered")];
        let said: Vec<String> = said
            .into_iter()
            .filter(|(list, _)| list.count > 0)
            .map(|(list, what)| format!("{still}{} {what}", counted(list.count, "disk")))
            .collect();
        parts.push(format!("{job}: {}", said.join(", ")));
    }
    let more = parts.len().saturating_sub(IN_TITLE);
    parts.truncate(IN_TITLE);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    format!("cbs-backupd {owner}: {}{more}", parts.join("; "))
}

fn text(jobs: &[JobNews], daemon: &[ConditionNews]) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    for news in daemon {
        let _ = writeln!(text, "{}: {}", news.title(), news.message);
    }
    for JobNews { job, disks, is_reminder, failed, beyond_objective, recovered } in jobs {
        let still = if *is_reminder { "still " } else { "" };
        let of = format!("of {}", counted(*disks, "disk"));
        for (list, what) in [
            (failed, "without the last backup due"),
            (beyond_objective, "beyond the objective"),
            (recovered, "well again"),
        ] {
            if list.count == 0 {
                continue;
            }
            let _ = writeln!(text, "{job}: {still}{} {of} {what}", list.count);
            for ListedDisk { disk_id, due, reason } in &list.disks {
                let due = due.map(|due| format!(" due {due}")).unwrap_or_default();
                let reason = reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
                let _ = writeln!(text, "  {disk_id}{due}{reason}");
            }
            if list.count > list.disks.len() && !list.disks.is_empty() {
                let _ = writeln!(text, "  and {} more", list.count - list.disks.len());
            }
        }
    }
    text.truncate(text.trim_end().len());
    text
}

impl ConditionNews {
    /// `credentials (default) failing`
    fn title(&self) -> String {
        let what = match (self.condition, self.is_over) {
            (Condition::Credentials, false) => "credentials failing",
            (Condition::Credentials, true) => "credentials good again",
            (Condition::Cloud, false) => "cloud unreachable",
            (Condition::Cloud, true) => "cloud reachable again",
            (Condition::Clock, false) => "clock wrong",
            (Condition::Clock, true) => "clock right again",
            (Condition::Journal, false) => "journal unwritable",
            (Condition::Journal, true) => "journal writable again",
        };
        let still = if self.is_reminder { "still " } else { "" };
        let target = self.target.as_ref().map(|target| format!(", target {target}")).unwrap_or_default();
        format!("{still}{what}{target}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed(count: usize, reason: &str) -> Listed {
        let disk = |number| ListedDisk {
            disk_id: format!("disk-{number}").parse().unwrap(),
            due: Some("2026-11-24T18:30:00Z".parse().unwrap()),
            reason: Some(reason.to_owned()),
        };
        Listed { count, disks: (0..count.min(2)).map(disk).collect() }
    }

    fn news(job: &str, failed: Listed, recovered: Listed, is_reminder: bool) -> JobNews {
        let job = job.parse().unwrap();
        JobNews { job, disks: 600, is_reminder, failed, beyond_objective: Listed::default(), recovered }
    }

    fn message(jobs: Vec<JobNews>, daemon: Vec<ConditionNews>) -> Message {
        let at = "2026-11-24T18:31:00Z".parse().unwrap();
        Message::about("x".to_owned(), "ops1".parse().unwrap(), at, jobs, daemon)
    }

    #[test]
    fn many_disks_are_counted_and_few_are_named() {
        let said = message(vec![news("db", listed(600, "refused"), Listed::default(), false)], Vec::new());
        assert_eq!((said.kind, &*said.title), (Sort::Trouble, "cbs-backupd ops1: db: 600 disks failed"));
        assert_eq!(
            said.text,
            "db: 600 of 600 disks without the last backup due\n  disk-0 due 2026-11-24T18:30:00Z: refused\n  \
             disk-1 due 2026-11-24T18:30:00Z: refused\n  and 598 more"
        );
    }

    #[test]
    fn a_message_is_what_the_worst_of_it_is() {
        let well = news("a", Listed::default(), listed(1, "x"), false);
        let still = news("b", listed(2, "x"), Listed::default(), true);
        let over = ConditionNews {
            condition: Condition::Credentials,
            target: Some("default".to_owned()),
            is_over: true,
            is_reminder: false,
            message: "x".to_owned(),
        };
        assert_eq!(message(vec![well.clone()], vec![over.clone()]).kind, Sort::Recovery);
        assert_eq!(message(vec![well.clone(), still.clone()], Vec::new()).kind, Sort::Reminder);
        let begun =
            ConditionNews { is_over: false, condition: Condition::Clock, target: None, ..over.clone() };
        let all = message(vec![well, still], vec![over, begun]);
        assert_eq!(all.kind, Sort::Trouble);
        assert_eq!(
            all.title,
            "cbs-backupd ops1: credentials good again, target default; clock wrong; a: 1 disk recovered; and 1 more"
        );
        assert!(all.text.contains("b: still 2 of 600 disks"), "{}", all.text);
    }
}
