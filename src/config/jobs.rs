//! The `jobs` section.

use std::collections::HashMap;
use std::time::Duration;

use backup_core::catch_up::Missed;
use backup_core::retention::Keep;
use backup_core::run::WhenFull;
use backup_core::schedule::{Blackout, Days, Schedule, ScheduleError};
use backup_core::{DiskId, JobName, TargetName};
use jiff::civil::{Time, Weekday};

use super::fields::{Expected, Fields, NAME, add, duration, number, or, parsed, text, wrong, zone_name};
use super::mistakes::{Mistakes, Place};
use super::targets::Targets;
use super::tree::{Node, Value};
use super::{Job, default_target};
use crate::zones;

const DISK: &str = "a disk id (`disk-` and lower-case letters and digits, such as `disk-1a2b3c4d`)";

/// Keys that a coming version will know, with what to do until then. Each feature removes its row.
const LATER_IN_JOB: [(&str, &str); 4] = [
    ("select", "list the disks under `disks`"),
    ("exclude", "list the disks under `disks`"),
    ("priority", "jobs are served first come, first served"),
    ("was", "a renamed job is a new job"),
];
const LATER_IN_SCHEDULE: [(&str, &str); 1] =
    [("together", "leave `spread` out to start all disks of a job at once")];
const WHEN_FULL_LATER: [&str; 2] = ["rotate", "promote"];

/// Schedules that were read already: jobs that share one, share it in memory too.
type Known = HashMap<(String, String), Result<Schedule, ScheduleError>>;

/// Reads all jobs; those that make no sense are in `mistakes` alone.
pub(super) fn jobs(node: &Node, targets: &Targets, zone: &str, mistakes: &mut Mistakes) -> Vec<Job> {
    let Value::List(items) = &node.value else {
        add(
            mistakes,
            node,
            format!("`jobs`: expected a list of jobs (`- name: …`), found {}", node.describe()),
        );
        return Vec::new();
    };
    if items.is_empty() {
        add(mistakes, node, "`jobs` is empty; expected at least one job (`- name: …`)".to_owned());
    }
    let mut names = HashMap::new();
    let mut known = Known::new();
    items.iter().filter_map(|node| job(node, targets, zone, &mut names, &mut known, mistakes)).collect()
}

fn job(
    node: &Node,
    targets: &Targets,
    zone: &str,
    names: &mut HashMap<JobName, Place>,
    known: &mut Known,
    mistakes: &mut Mistakes,
) -> Option<Job> {
    let mut fields = Fields::of(node, "a job: a mapping with `name`, `disks` and `schedule`", mistakes)?;
    let name = fields.required("name", "name: db-nightly", mistakes, parsed(&format!("{NAME}, for a job")));
    if let (Some(name), Some(node)) = (&name, fields.node("name")) {
        if JobName::is_manual(name) {
            add(
                mistakes,
                node,
                "`manual` is the job of backups that a person asks for; expected another name".to_owned(),
            );
        } else if let Some(Place::File(line, _)) = names.insert(name.clone(), node.place.clone()) {
            add(mistakes, node, format!("job `{name}` a second time; the first is in line {line}"));
        }
    }
    let target = target(&mut fields, targets, mistakes);
    let disks = match fields.node("disks") {
        Some(node) => disks(node, mistakes),
        None => {
            mistakes
                .add(fields.place(), "`disks` is missing; expected a line such as `disks: [disk-1a2b3c4d]`");
            None
        }
    };
    let when = when(&mut fields, zone, known, mistakes);
    let complete_within =
        or(&mut fields, "complete_within", Job::COMPLETE_WITHIN, mistakes, duration("1s", "30d"));
    let objective = fields.optional("objective", mistakes, duration("1m", "3650d"));
    let when_full = or(&mut fields, "when_full", WhenFull::default(), mistakes, when_full);
    let keep = fields.node("keep").map_or(Some(Keep::default()), |node| keep(node, mistakes));
    fields.finish(&LATER_IN_JOB, mistakes);
    let when = when?;
    Some(Job {
        name: name?,
        target: target?,
        disks: disks?,
        schedule: when.schedule?,
        missed: when.missed?,
        start_within: when.start_within?,
        spread: when.spread?,
        blackout: when.blackout,
        complete_within: complete_within?,
        objective,
        when_full: when_full?,
        keep: keep?,
    })
}

fn target(fields: &mut Fields<'_>, targets: &Targets, mistakes: &mut Mistakes) -> Option<TargetName> {
    let names = || targets.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let Some(node) = fields.node("target") else {
        let target = default_target(targets).cloned();
        if target.is_none() && !targets.is_empty() {
            mistakes.add(
                fields.place(),
                format!("`target` is missing, and none is named `default`; expected one of {}", names()),
            );
        }
        return target;
    };
    let target = text(node).ok().and_then(|text| targets.keys().find(|name| name.as_str() == text)).cloned();
    // Where no target could be read, that is the mistake to mend.
    if target.is_none() && !targets.is_empty() {
        wrong(mistakes, "target", node, &format!("a target of this file ({})", names()));
    }
    target
}

fn disks(node: &Node, mistakes: &mut Mistakes) -> Option<Vec<DiskId>> {
    let Value::List(items) = &node.value else {
        wrong(mistakes, "disks", node, "a list of disk ids such as `[disk-1a2b3c4d]`");
        return None;
    };
    if items.is_empty() {
        add(mistakes, node, "`disks` is empty; expected at least one disk id".to_owned());
    }
    let mut seen: HashMap<DiskId, &Place> = HashMap::with_capacity(items.len());
    let mut disks = Vec::with_capacity(items.len());
    for item in items {
        match parsed::<DiskId>(DISK)(item) {
            Ok(disk) => match seen.insert(disk.clone(), &item.place) {
                Some(Place::File(line, _)) => {
                    add(
                        mistakes,
                        item,
                        format!("disk `{disk}` a second time in this job; the first is in line {line}"),
                    );
                }
                _ => disks.push(disk),
            },
            Err(expected) => wrong(mistakes, "disks", item, &expected),
        }
    }
    Some(disks)
}

/// The `schedule` of a job. A part is none where it is wrong.
struct When {
    schedule: Option<Schedule>,
    missed: Option<Missed>,
    start_within: Option<Duration>,
    spread: Option<Duration>,
    blackout: Vec<Blackout>,
}

fn when(fields: &mut Fields<'_>, zone: &str, known: &mut Known, mistakes: &mut Mistakes) -> Option<When> {
    let Some(node) = fields.node("schedule") else {
        mistakes
            .add(fields.place(), "`schedule` is missing; expected a line such as `schedule: \"30 2 * * *\"`");
        return None;
    };
    if let Value::Text(_) = node.value {
        return Some(When {
            schedule: schedule("schedule", node, zone, known, mistakes),
            missed: Some(Missed::default()),
            start_within: Some(Job::START_WITHIN),
            spread: Some(Duration::ZERO),
            blackout: Vec::new(),
        });
    }
    let mut fields =
        Fields::of(node, "a cron expression such as `\"30 2 * * *\"`, or a mapping with `cron`", mistakes)?;
    let zone = or(&mut fields, "timezone", zone.to_owned(), mistakes, zone_name);
    let schedule = match fields.node("cron") {
        // The expression is judged even where its zone is wrong.
        Some(node) => {
            let schedule = schedule("cron", node, zone.as_deref().unwrap_or("UTC"), known, mistakes);
            zone.and(schedule)
        }
        None => {
            mistakes.add(fields.place(), "`cron` is missing; expected a line such as `cron: \"30 2 * * *\"`");
            None
        }
    };
    let missed = or(&mut fields, "missed", Missed::default(), mistakes, |node| match text(node) {
        Ok("run-once") => Ok(Missed::RunOnce),
        Ok("skip") => Ok(Missed::Skip),
        _ => Err("`run-once` or `skip`".to_owned()),
    });
    let start_within = or(&mut fields, "start_within", Job::START_WITHIN, mistakes, duration("10s", "30d"));
    let spread = or(&mut fields, "spread", Duration::ZERO, mistakes, duration("0s", "24h"));
    let blackout = fields
        .node("blackout")
        .map(|node| blackouts(node, spread.unwrap_or_default(), mistakes))
        .unwrap_or_default();
    fields.finish(&LATER_IN_SCHEDULE, mistakes);
    Some(When { schedule, missed, start_within, spread, blackout })
}

fn schedule(
    key: &str,
    node: &Node,
    zone: &str,
    known: &mut Known,
    mistakes: &mut Mistakes,
) -> Option<Schedule> {
    let Ok(cron) = text(node) else {
        wrong(mistakes, key, node, "a cron expression such as `\"30 2 * * *\"`");
        return None;
    };
    let read = known
        .entry((cron.to_owned(), zone.to_owned()))
        .or_insert_with(|| Schedule::new(cron, zone, &zones::in_force().database));
    match read {
        Ok(schedule) => Some(schedule.clone()),
        Err(error) => {
            let example = "expected such as `30 2 * * *` (02:30 each day)";
            add(mistakes, node, format!("cron expression {}: {error}; {example}", node.describe()));
            None
        }
    }
}

fn when_full(node: &Node) -> Result<WhenFull, Expected> {
    match text(node) {
        Ok("wait") => Ok(WhenFull::Wait),
        Ok("fail") => Ok(WhenFull::Fail),
        Ok(later) if WHEN_FULL_LATER.contains(&later) => {
            Err(format!("`wait` or `fail` (`{later}` is not carried out by this version yet)"))
        }
        _ => Err("`wait` or `fail`".to_owned()),
    }
}

fn keep(node: &Node, mistakes: &mut Mistakes) -> Option<Keep> {
    const EXAMPLE: &str = "rules such as `{ last: 3 }` or `{ daily: 7, weekly: 4 }`";
    let mut fields = Fields::of(node, EXAMPLE, mistakes)?;
    let mut count = |key| match fields.node(key) {
        None => Some(0),
        Some(node) => number(1, 10_000)(node).map_err(|expected| wrong(mistakes, key, node, &expected)).ok(),
    };
    let (last, hourly, daily) = (count("last"), count("hourly"), count("daily"));
    let (weekly, monthly, yearly) = (count("weekly"), count("monthly"), count("yearly"));
    let within = match fields.node("within") {
        None => Some(None),
        Some(node) => duration("1h", "36500d")(node)
            .map_err(|expected| wrong(mistakes, "within", node, &expected))
            .ok()
            .map(Some),
    };
    if matches!(&node.value, Value::Map(entries) if entries.is_empty()) {
        add(mistakes, node, format!("`keep` has no rule; expected {EXAMPLE}"));
    }
    fields.finish(&[], mistakes);
    Some(Keep {
        last: last?,
        within: within?,
        hourly: hourly?,
        daily: daily?,
        weekly: weekly?,
        monthly: monthly?,
        yearly: yearly?,
    })
}

fn blackouts(node: &Node, spread: Duration, mistakes: &mut Mistakes) -> Vec<Blackout> {
    const EXAMPLE: &str =
        "a list of windows such as `[{ from: \"08:00\", to: \"18:00\", days: [mon, tue] }]`";
    let Value::List(items) = &node.value else {
        wrong(mistakes, "blackout", node, EXAMPLE);
        return Vec::new();
    };
    let blackouts: Vec<Blackout> = items.iter().filter_map(|item| blackout(item, mistakes)).collect();
    // Windows that could not be read are the mistake to mend first.
    let room = Blackout::room(&blackouts);
    if blackouts.len() == items.len() && room.is_zero() {
        add(
            mistakes,
            node,
            "`blackout` leaves no minute of the week to start in; expected at least one".to_owned(),
        );
    } else if blackouts.len() == items.len() && room < spread {
        let minutes = room.as_secs() / 60;
        add(
            mistakes,
            node,
            format!("`blackout` leaves {minutes}m of the week to start in; expected no less than `spread`"),
        );
    }
    blackouts
}

fn blackout(node: &Node, mistakes: &mut Mistakes) -> Option<Blackout> {
    let mut fields = Fields::of(node, "a window such as `{ from: \"08:00\", to: \"18:00\" }`", mistakes)?;
    let from = fields.required("from", "from: \"08:00\"", mistakes, time);
    let to = fields.required("to", "to: \"18:00\"", mistakes, time);
    let days = or(&mut fields, "days", Days::ALL, mistakes, days);
    fields.finish(&[], mistakes);
    Some(Blackout { from: from?, to: to?, days: days? })
}

fn time(node: &Node) -> Result<Time, Expected> {
    let expected = || "a time of day such as `\"08:00\"`".to_owned();
    let (hour, minute) = text(node).ok().and_then(|text| text.split_once(':')).ok_or_else(expected)?;
    let two = |digits: &str| (digits.len() == 2).then(|| digits.parse::<i8>().ok()).flatten();
    let (hour, minute) = (two(hour).ok_or_else(expected)?, two(minute).ok_or_else(expected)?);
    Time::new(hour, minute, 0, 0).map_err(|_| expected())
}

fn days(node: &Node) -> Result<Days, Expected> {
    const WEEK: [(&str, Weekday); 7] = [
        ("mon", Weekday::Monday),
        ("tue", Weekday::Tuesday),
        ("wed", Weekday::Wednesday),
        ("thu", Weekday::Thursday),
        ("fri", Weekday::Friday),
        ("sat", Weekday::Saturday),
        ("sun", Weekday::Sunday),
    ];
    let expected = || "a list of days out of mon, tue, wed, thu, fri, sat, sun".to_owned();
    let Value::List(items) = &node.value else { return Err(expected()) };
    let day = |item: &Node| {
        let word = text(item).ok()?;
        WEEK.iter().find(|(name, _)| *name == word).map(|(_, day)| *day)
    };
    if let Some(other) = items.iter().find(|item| day(item).is_none()) {
        return Err(format!("{}, and {} is none of them", expected(), other.describe()));
    }
    let days: Vec<Weekday> = items.iter().filter_map(day).collect();
    if days.is_empty() { Err(expected()) } else { Ok(Days::of(&days)) }
}
