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
