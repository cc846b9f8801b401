//! The `jobs` section.

use std::collections::HashMap;
use std::time::Duration;

use backup_core::catch_up::Missed;
use backup_core::retention::Keep;
use backup_core::run::WhenFull;
use backup_core::schedule::{Blackout, Days, Schedule, ScheduleError};
use backup_core::{JobName, TargetName};
use jiff::civil::{Time, Weekday};

use super::fields::{
    Expected, Fields, NAME, add, duration, flag, number, or, parsed, text, wrong, zone_name,
};
use super::mistakes::{Mistakes, Place};
use super::notify::{Notifiers, job_notifiers, job_ping};
use super::targets::Targets;
use super::tree::{Node, Value};
use super::{Disks, Job, default_target, select};
use crate::zones;

/// Schedules that were read already: jobs that share one, share it in memory too.
type Known = HashMap<(String, String), Result<Schedule, ScheduleError>>;

/// What jobs refer to, or take over.
#[derive(Clone, Copy)]
pub(super) struct Around<'a> {
    pub(super) targets: &'a Targets,
    /// The zone of schedules that name none.
    pub(super) zone: &'a str,
    pub(super) notifiers: &'a Notifiers,
}

/// Reads all jobs; those that make no sense are in `mistakes` alone.
pub(super) fn jobs(node: &Node, around: Around<'_>, mistakes: &mut Mistakes) -> Vec<Job> {
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
    let jobs: Vec<Job> =
        items.iter().filter_map(|node| job(node, around, &mut names, &mut known, mistakes)).collect();
    check_names_before(items, &names, mistakes);
    jobs
}

/// `was` names a job that is no more, and one alone follows it.
fn check_names_before(items: &[Node], names: &HashMap<JobName, Place>, mistakes: &mut Mistakes) {
    let mut followed: HashMap<JobName, &Place> = HashMap::new();
    let entries = |node: &'_ Node| match &node.value {
        Value::Map(entries) => {
            entries.iter().find(|(key, _)| &*key.text == "was").map(|(_, was)| was.clone())
        }
        _ => None,
    };
    let before: Vec<Node> = items.iter().filter_map(entries).collect();
    for node in &before {
        let Some(was) = text(node).ok().and_then(|text| text.parse::<JobName>().ok()) else { continue };
        if let Some(Place::File(line, _)) = names.get(&was) {
            add(
                mistakes,
                node,
                format!("`was`: expected the name of a job that is no more; `{was}` is in line {line}"),
            );
        }
        if let Some(Place::File(line, _)) = followed.insert(was.clone(), &node.place) {
            add(mistakes, node, format!("`was: {was}` a second time; the first is in line {line}"));
        }
    }
}

fn job(
    node: &Node,
    around: Around<'_>,
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
    let target = target(&mut fields, around.targets, mistakes);
    let disks = select::which(&mut fields, mistakes);
    let max_loss = or(&mut fields, "max_loss", Job::MAX_LOSS, mistakes, number(0, 100));
    if let (Some(Disks::Listed(_)), Some(node)) = (&disks, fields.node("max_loss")) {
        add(
            mistakes,
            node,
            "`max_loss` goes with `select` alone; expected that, or no `max_loss`".to_owned(),
        );
    }
    let when = when(&mut fields, around.zone, known, mistakes);
    let complete_within =
        or(&mut fields, "complete_within", Job::COMPLETE_WITHIN, mistakes, duration("1s", "30d"));
    let objective = fields.optional("objective", mistakes, duration("1m", "3650d"));
    let priority = or(&mut fields, "priority", Job::PRIORITY, mistakes, number(0, 100));
    let was = fields.optional("was", mistakes, parsed(&format!("{NAME}: that of the job before")));
    let when_full = when_full(&mut fields, mistakes);
    let keep = fields.node("keep").map_or(Some(Keep::default()), |node| keep(node, mistakes));
    let notify = job_notifiers(&mut fields, around.notifiers, mistakes);
    let ping = job_ping(&mut fields, mistakes);
    fields.finish(mistakes);
    let when = when?;
    Some(Job {
        name: name?,
        target: target?,
        disks: disks?,
        max_loss: max_loss?,
        priority: priority?,
        was,
        schedule: when.schedule?,
        missed: when.missed?,
        start_within: when.start_within?,
        spread: when.spread?,
        together: when.together?,
        blackout: when.blackout,
        complete_within: complete_within?,
        objective,
        when_full: when_full?,
        keep: keep?,
        notify,
        ping: ping?,
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

/// The `schedule` of a job. A part is none where it is wrong.
struct When {
    schedule: Option<Schedule>,
    missed: Option<Missed>,
    start_within: Option<Duration>,
    spread: Option<Duration>,
    together: Option<bool>,
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
            together: Some(false),
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
    let together = or(&mut fields, "together", false, mistakes, |node| match text(node) {
        Ok("instance") => Ok(true),
        _ => Err("`instance`".to_owned()),
    });
    let blackout = fields
        .node("blackout")
        .map(|node| blackouts(node, spread.unwrap_or_default(), mistakes))
        .unwrap_or_default();
    fields.finish(mistakes);
    Some(When { schedule, missed, start_within, spread, together, blackout })
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

/// `when_full`, with the keys that go with one of its words alone.
fn when_full(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<WhenFull> {
    let chosen = or(fields, "when_full", WhenFull::default(), mistakes, |node| match text(node) {
        Ok("wait") => Ok(WhenFull::Wait),
        Ok("rotate") => Ok(WhenFull::Rotate { allow_gap: false }),
        Ok("promote") => Ok(WhenFull::Promote { keep: None }),
        Ok("fail") => Ok(WhenFull::Fail),
        _ => Err("`wait`, `rotate`, `promote` or `fail`".to_owned()),
    });
    let allow_gap = or(fields, "allow_gap", false, mistakes, flag);
    // The cloud takes no earlier deadline than a day from now.
    let keep = match fields.node("promoted_keep") {
        None => Some(None),
        Some(node) => match duration("25h", "36500d")(node) {
            Ok(keep) => Some(Some(keep)),
            Err(expected) => {
                wrong(mistakes, "promoted_keep", node, &expected);
                None
            }
        },
    };
    let goes = |rotates: bool| match chosen {
        Some(WhenFull::Rotate { .. }) => rotates,
        Some(WhenFull::Promote { .. }) => !rotates,
        Some(_) => false,
        // What could not be read is the mistake to mend.
        None => true,
    };
    for (key, rotates, word) in [("allow_gap", true, "rotate"), ("promoted_keep", false, "promote")] {
        if let Some(node) = fields.node(key).filter(|_| !goes(rotates)) {
            let what = format!("`{key}` goes with `when_full: {word}` alone; expected that, or no `{key}`");
            add(mistakes, node, what);
        }
    }
    match chosen? {
        WhenFull::Rotate { .. } => Some(WhenFull::Rotate { allow_gap: allow_gap? }),
        WhenFull::Promote { .. } => Some(WhenFull::Promote { keep: keep? }),
        other => Some(other),
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
    fields.finish(mistakes);
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
    fields.finish(mistakes);
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
