//! `status --check`: how everything stands in one line, by the conventions of Nagios and Icinga.
//!
//! Responsible for the line, its figures and its exit code. It refuses to judge a disk by other rules than `status`:
//! those are `backup_core::freshness`.

use std::fmt::Write as _;

use backup_core::JobName;
use backup_core::freshness::{Severity, Trouble};
use jiff::{SignedDuration, Timestamp};

use super::super::exit::{Exit, Failure, Outcome};
use super::super::{Global, open, table};
use crate::standings::Standings;

/// So many troubles are named; the others are counted.
const NAMED: usize = 3;

pub(super) fn check(global: &Global, job: Option<&JobName>) -> Outcome {
    let line = match line_of(global, job) {
        Ok((severity, line)) => {
            table::print(&line)?;
            return Ok(exit(severity));
        }
        Err(failure) => failure.to_string(),
    };
    // All that a plugin says is one line, and `|` begins its figures.
    let why = line.trim().trim_start_matches("cbs-backupd: ").replace('|', "/");
    let first = why.lines().next().unwrap_or_default();
    let more = why.lines().filter(|line| !line.starts_with(' ') && !line.is_empty()).count();
    let more = if more > 1 { ", and more: see `cbs-backupd check`" } else { "" };
    table::print(format_args!("UNKNOWN - {first}{more}"))?;
    Ok(Exit::CheckUnknown)
}

fn exit(severity: Severity) -> Exit {
    match severity {
        Severity::Good => Exit::Good,
        Severity::Warning => Exit::CHECK_WARNING,
        Severity::Critical => Exit::CHECK_CRITICAL,
    }
}

fn line_of(global: &Global, job: Option<&JobName>) -> Result<(Severity, String), Failure> {
    let config = open::config(&global.config)?;
    let now = open::clock().wall();
    let running = open::is_held(&config.state_dir);
    let (_, mut standings) = super::standings(&config, now)?;
    if let Some(job) = job {
        standings.jobs.retain(|stands| stands.job == *job);
        standings.late.retain(|run| run.job == *job);
        if standings.jobs.is_empty() {
            return Err(Failure::new(Exit::Usage, format_args!("there is no job `{job}`")));
        }
    }
    Ok(line(&standings, running, now))
}

/// The line, and how bad it is.
fn line(standings: &Standings, running: bool, now: Timestamp) -> (Severity, String) {
    let mut troubles: Vec<(Severity, String)> = Vec::new();
    if !running {
        troubles.push((Severity::Critical, "no daemon runs".to_owned()));
    }
    for run in &standings.late {
        let is_held = |stands: &crate::standings::JobStands| {
            stands.job == run.job && stands.disks.iter().any(|disk| disk.disk == run.disk)
        };
        if !standings.jobs.iter().any(is_held) {
            troubles.push((Severity::Critical, format!("{} {}: {}", run.job, run.disk, Trouble::Late)));
        }
    }
    for stands in &standings.jobs {
        let job = &stands.job;
        if stands.disks.is_empty() {
            troubles.push((Severity::Warning, format!("{job} holds no disk")));
        }
        if stands.is_paused {
            troubles.push((Severity::Warning, format!("{job} is paused")));
        }
        for disk in &stands.disks {
            let named = |trouble: &Trouble| !(stands.is_paused && *trouble == Trouble::Paused);
            for trouble in disk.freshness.troubles.iter().filter(|trouble| named(trouble)) {
                troubles.push((trouble.severity(), format!("{job} {}: {trouble}", disk.disk)));
            }
        }
    }
    troubles.sort_by(|(a, _), (b, _)| b.cmp(a));
    let severity = troubles.first().map_or(Severity::Good, |(severity, _)| *severity);
    let figures = Figures::of(standings, now);
    let mut line = format!("{} - {figures}", label(severity));
    for (_, trouble) in troubles.iter().take(NAMED) {
        let _infallible = write!(line, "; {trouble}");
    }
    if troubles.len() > NAMED {
        let _infallible = write!(line, "; and {} more: see `cbs-backupd status`", troubles.len() - NAMED);
    }
    (severity, line + &figures.perfdata())
}

fn label(severity: Severity) -> &'static str {
    match severity {
        Severity::Good => "OK",
        Severity::Warning => "WARNING",
        Severity::Critical => "CRITICAL",
    }
}

/// What there is to count.
struct Figures {
    disks: usize,
    fresh: usize,
    without: usize,
    beyond: usize,
    late: usize,
    failing: usize,
    paused: usize,
    oldest: Option<SignedDuration>,
}

impl Figures {
    fn of(standings: &Standings, now: Timestamp) -> Self {
        let disks = || standings.jobs.iter().flat_map(|job| &job.disks);
        let having = |is_so: &dyn Fn(&Trouble) -> bool| {
            disks().filter(|disk| disk.freshness.troubles.iter().any(is_so)).count()
        };
        Self {
            disks: disks().count(),
            fresh: disks().filter(|disk| disk.last_good.is_some() && !disk.freshness.is_beyond()).count(),
            without: disks().filter(|disk| disk.last_good.is_none()).count(),
            beyond: disks().filter(|disk| disk.freshness.is_beyond()).count(),
            late: having(&|trouble| *trouble == Trouble::Late),
            failing: having(&|trouble| matches!(trouble, Trouble::Failed { .. })),
            paused: having(&|trouble| *trouble == Trouble::Paused),
            oldest: disks().filter_map(|disk| disk.last_good).min().map(|at| now.duration_since(at)),
        }
    }

    /// Label, value and unit; then from where on it is a warning, and critical.
    fn perfdata(&self) -> String {
        let Self { disks, fresh, without, beyond, late, failing, paused, oldest } = self;
        let oldest = oldest.map_or_else(String::new, |age| format!(" oldest={}s", age.as_secs().max(0)));
        format!(
            "|disks={disks} fresh={fresh} without={without} beyond={beyond};;0 late={late};;0 \
             failing={failing};0 paused={paused};0{oldest}"
        )
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { disks, fresh, .. } = self;
        write!(f, "{fresh} of {} have a fresh backup", crate::report::counted(*disks, "disk"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use backup_core::freshness::{Ended, Known};

    use super::*;
    use crate::standings::{DiskStands, JobStands};

    fn now() -> Timestamp {
        Timestamp::from_second(1_800_000_000).unwrap()
    }

    /// A good backup of an hour ago, and an objective of a day.
    fn good() -> Known {
        Known {
            last: Some(Ended::Completed),
            last_good: Some(now() - Duration::from_secs(3600)),
            objective: Some(Duration::from_secs(86_400)),
            ..Known::default()
        }
    }

    fn standings(disks: &[Known]) -> Standings {
        let stands = |(number, known): (usize, &Known)| DiskStands {
            disk: format!("disk-{number}").parse().unwrap(),
            last_good: known.last_good,
            last: None,
            freshness: known.judge(now()),
        };
        let disks = disks.iter().enumerate().map(stands).collect();
        let job = JobStands { job: "db".parse().unwrap(), is_paused: false, next_due: None, disks };
        Standings { jobs: vec![job], ..Standings::default() }
    }

    fn said(disks: &[Known], running: bool) -> String {
        let (severity, line) = line(&standings(disks), running, now());
        format!("{} {line}", exit(severity) as u8)
    }

    #[test]
    fn each_state_has_its_line_its_code_and_its_figures() {
        let figures = |changed: &str| {
            let usual = "disks=2 fresh=2 without=0 beyond=0;;0 late=0;;0 failing=0;0 paused=0;0 oldest=3600s";
            let value = |figure: &str| figure.split_once('=').map(|(name, _)| name.to_owned());
            let each = usual.split(' ').map(|figure| {
                changed.split(' ').find(|changed| value(changed) == value(figure)).unwrap_or(figure)
            });
            each.collect::<Vec<_>>().join(" ")
        };
        let cases = [
            (good(), true, "0 OK - 2 of 2 disks have a fresh backup", ""),
            (
                Known { is_paused: true, ..good() },
                true,
                "1 WARNING - 2 of 2 disks have a fresh backup; db disk-1: paused",
                "paused=1;0",
            ),
            (
                Known { last: Some(Ended::Failed), ..good() },
                true,
                "1 WARNING - 2 of 2 disks have a fresh backup; db disk-1: last run failed",
                "failing=1;0",
            ),
            (
                Known { last: Some(Ended::Failed), objective: None, ..good() },
                true,
                "2 CRITICAL - 2 of 2 disks have a fresh backup; db disk-1: last run failed",
                "failing=1;0",
            ),
            (
                Known { last_good: Some(now() - Duration::from_secs(90_000)), ..good() },
                true,
                "2 CRITICAL - 1 of 2 disks have a fresh backup; db disk-1: last good backup is 25h old, objective 24h",
                "fresh=1 beyond=1;;0 oldest=90000s",
            ),
            (
                Known { last_good: None, ..good() },
                true,
                "2 CRITICAL - 1 of 2 disks have a fresh backup; db disk-1: no good backup yet",
                "fresh=1 without=1 beyond=1;;0",
            ),
            (
                Known { last: None, last_good: None, ..good() },
                true,
                "0 OK - 1 of 2 disks have a fresh backup",
                "fresh=1 without=1",
            ),
            (
                Known { deadline: Some(now() - Duration::from_secs(1)), ..good() },
                true,
                "2 CRITICAL - 2 of 2 disks have a fresh backup; db disk-1: past start_within, not ended",
                "late=1;;0",
            ),
            (good(), false, "2 CRITICAL - 2 of 2 disks have a fresh backup; no daemon runs", ""),
        ];
        for (disk, running, expected, changed) in cases {
            assert_eq!(said(&[good(), disk], running), format!("{expected}|{}", figures(changed)));
        }
    }

    #[test]
    fn the_worst_is_named_first_and_what_is_too_much_is_counted() {
        let failing = Known { last: Some(Ended::Failed), ..good() };
        let beyond = Known { last_good: Some(now() - Duration::from_secs(90_000)), ..good() };
        let line = said(&[failing, failing, failing, failing, beyond], false);
        let (text, _) = line.split_once('|').unwrap();
        assert_eq!(
            text,
            "2 CRITICAL - 4 of 5 disks have a fresh backup; no daemon runs; db disk-4: last good backup is 25h old, \
             objective 24h; db disk-0: last run failed; and 3 more: see `cbs-backupd status`"
        );
    }

    #[test]
    fn a_job_is_said_once_and_one_without_disks_too() {
        let mut paused = standings(&[Known { is_paused: true, ..good() }; 2]);
        paused.jobs[0].is_paused = true;
        let (severity, text) = line(&paused, true, now());
        assert_eq!(severity, Severity::Warning);
        assert!(text.starts_with("WARNING - 2 of 2 disks have a fresh backup; db is paused|"), "{text}");
        let (severity, text) = line(&standings(&[]), true, now());
        assert_eq!(severity, Severity::Warning);
        assert!(text.starts_with("WARNING - 0 of 0 disks have a fresh backup; db holds no disk|"), "{text}");
        // A run of a job that the configuration does not know any more.
        let mut late = standings(&[good()]);
        late.late.push("old/disk-9/20261124T023000Z".parse().unwrap());
        let (severity, text) = line(&late, true, now());
        assert_eq!(severity, Severity::Critical);
        assert!(text.contains("; old disk-9: past start_within, not ended|"), "{text}");
    }
}
