//! `forecast`: what the coming days bring, by the configuration and, where asked, by what the cloud has now.

use std::collections::BTreeMap;
use std::time::Duration;

use backup_core::DiskId;
use backup_core::forecast::{self as core, Day, Forecast, News, Problem};
use clap::Args;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::exit::{Exit, Failure, Outcome};
use super::{Global, backups, open, table};
use crate::config::Config;
use crate::fleet::Fleet;
use crate::forecast::{assumed, point, scene, zone};
use crate::journal::{Answer, Request, Which};
use crate::report::counted;

/// The widest bar.
const BAR: usize = 50;
/// Problems that are shown of each kind.
const SHOWN: usize = 20;

#[derive(Args)]
pub(super) struct Arguments {
    /// How many days ahead, 1 to 400
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..=400))]
    days: u32,
    /// From this instant on (RFC 3339); from now on where none is given
    #[arg(long, value_name = "INSTANT")]
    from: Option<Timestamp>,
    /// Ask the cloud what backups there are, and what each disk may hold
    #[arg(long)]
    online: bool,
    /// Take it that each disk may hold so many backups; without this and --online no quota is known
    #[arg(long, value_name = "N", conflicts_with = "online")]
    quota: Option<u64>,
    /// How long a backup takes
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = duration)]
    takes: Duration,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let span: SignedDuration = text.parse().map_err(|_| "a duration such as `90s` or `5m`".to_owned())?;
    Duration::try_from(span).map_err(|_| "a duration that is not negative".to_owned())
}

pub(super) fn forecast(global: &Global, arguments: &Arguments) -> Outcome {
    let config = open::config(&global.config)?;
    let fleet = open::fleet(&config)?;
    let disks = match arguments.online {
        true => ask(global, &config, &fleet)?,
        false => assumed(&config, &fleet, arguments.quota),
    };
    let from = arguments.from.unwrap_or_else(|| open::clock().wall());
    let until = from.saturating_add(SignedDuration::from_hours(24 * i64::from(arguments.days)));
    let until = until.map_err(|error| Failure::new(Exit::Usage, error))?;
    let zone = zone(&config);
    let scene = scene(&config, &fleet, disks, (from, until), arguments.takes, zone.clone());
    let mut news = Vec::new();
    let forecast = core::forecast(&scene, &mut |happened| {
        if arguments.json {
            news.push(happened);
        }
    });
    if arguments.json {
        table::print_json(&Shown::of(&scene, &forecast, &news))?;
    } else {
        show(&scene, &forecast, &zone)?;
    }
    Ok(if forecast.problems.is_empty() { Exit::Good } else { Exit::Late })
}

/// What the cloud has of the jobs' disks.
fn ask(global: &Global, config: &Config, fleet: &Fleet) -> Result<BTreeMap<DiskId, core::Disk>, Failure> {
    let failed = |problems: &[String]| match problems {
        [] => Ok(()),
        problems => Err(Failure::new(Exit::InputOutput, problems.join("; "))),
    };
    let (listed, problems) = backups::ask(global, Request::Backups(Which::default()))?;
    failed(&problems)?;
    let Answer::Quotas { quotas, problems } = backups::ask_for(global, Request::Quotas)? else {
        return Err(Failure::new(Exit::InputOutput, "the answer is that of another request"));
    };
    failed(&problems)?;
    let mut disks = assumed(config, fleet, None);
    for known in quotas {
        disks.entry(known.disk).or_default().quota = known.quota;
    }
    for listed in listed {
        let Some(disk) = listed.disk_id.parse().ok().and_then(|id: DiskId| disks.get_mut(&id)) else {
            continue;
        };
        match point(&listed) {
            Some(point) => disk.points.push(point),
            // Snapshots take no place in the quota.
            None if listed.id.starts_with("dbp-") => disk.others += 1,
            None => {}
        }
    }
    Ok(disks)
}

fn show(scene: &core::Scene<'_>, forecast: &Forecast, zone: &TimeZone) -> Result<(), Failure> {
    let mut days = table::table(&[
        "DAY",
        "DUE",
        "GOOD",
        "FAILED",
        "SKIPPED",
        "DELETED",
        "KEPT",
        "QUEUE",
        "DRAINED",
        "LONGEST WAIT",
    ]);
    for day in &forecast.days {
        days.add_row(day_row(day, zone));
    }
    table::print_table(&days)?;
    let bars = bars(forecast, zone);
    if !bars.is_empty() {
        table::print(format_args!("\nRuns due in an hour of the day, at most:\n{}", bars.join("\n")))?;
    }
    if scene.disks.values().all(|disk| disk.quota.is_none()) {
        table::print("\nNo quota is known: --online asks the cloud, --quota N assumes one.")?;
    }
    if forecast.problems.is_empty() {
        return table::print("\nNothing breaks.");
    }
    table::print("\nThis breaks:")?;
    let mut problems = table::table(&["FIRST (UTC)", "JOB", "DISK", "TIMES", "WHY"]);
    for Problem { job, disk, due, trouble, times, .. } in forecast.problems.iter().take(SHOWN) {
        let (job, disk) = (job.to_string(), disk.to_string());
        problems.add_row([due.to_string(), job, disk, times.to_string(), trouble.to_string()]);
    }
    table::print_table(&problems)?;
    let more = forecast.problems.len().saturating_sub(SHOWN);
    if more > 0 {
        table::print(format_args!("and {} more (--json has all)", counted(more, "problem")))?;
    }
    Ok(())
}

fn day_row(day: &Day, zone: &TimeZone) -> [String; 10] {
    let drained = day.drained_at.map(|at| at.to_zoned(zone.clone()).strftime("%H:%M:%S").to_string());
    let wait = SignedDuration::from_secs(day.longest_wait.as_secs().cast_signed());
    let deleted = match day.promoted {
        0 => day.deleted.to_string(),
        promoted => format!("{} (+{promoted} promoted)", day.deleted),
    };
    [
        day.date.strftime("%a %Y-%m-%d").to_string(),
        day.due.to_string(),
        day.completed.to_string(),
        day.failed.to_string(),
        day.skipped.to_string(),
        deleted,
        day.kept.to_string(),
        day.peak_queue.to_string(),
        drained.unwrap_or_default(),
        format!("{wait:#}"),
    ]
}

/// A bar for each hour of the day.
fn bars(forecast: &Forecast, zone: &TimeZone) -> Vec<String> {
    let mut most: BTreeMap<i8, usize> = BTreeMap::new();
    for hour in &forecast.hours {
        let of_day = most.entry(hour.from.to_zoned(zone.clone()).hour()).or_default();
        *of_day = hour.due.max(*of_day);
    }
    let longest = most.values().copied().max().unwrap_or_default();
    let bar = |due: usize| "█".repeat((due * BAR).div_ceil(longest.max(1)));
    (0..24)
        .filter(|_| longest > 0)
        .map(|hour| {
            let due = most.get(&hour).copied().unwrap_or_default();
            format!("{hour:02}  {due:>7}  {}", bar(due)).trim_end().to_owned()
        })
        .collect()
}

#[derive(Serialize)]
struct Shown {
    from: Timestamp,
    until: Timestamp,
    days: Vec<ShownDay>,
    hours: Vec<ShownHour>,
    problems: Vec<ShownProblem>,
    backups: Vec<ShownNews>,
    open: usize,
}

#[derive(Serialize)]
struct ShownDay {
    date: String,
    due: usize,
    completed: usize,
    failed: usize,
    skipped: usize,
    deleted: usize,
    promoted: usize,
    kept: usize,
    peak_queue: usize,
    peak_at: Option<Timestamp>,
    drained_at: Option<Timestamp>,
    longest_wait_ms: u64,
}

#[derive(Serialize)]
struct ShownHour {
    from: Timestamp,
    due: usize,
}

#[derive(Serialize)]
struct ShownProblem {
    job: String,
    disk_id: String,
    due: Timestamp,
    at: Timestamp,
    kind: &'static str,
    why: String,
    times: u32,
}

#[derive(Serialize)]
struct ShownNews {
    at: Timestamp,
    run: String,
    what: &'static str,
    left: usize,
}

impl Shown {
    fn of(scene: &core::Scene<'_>, forecast: &Forecast, news: &[News]) -> Self {
        let day = |day: &Day| ShownDay {
            date: day.date.to_string(),
            due: day.due,
            completed: day.completed,
            failed: day.failed,
            skipped: day.skipped,
            deleted: day.deleted,
            promoted: day.promoted,
            kept: day.kept,
            peak_queue: day.peak_queue,
            peak_at: day.peak_at,
            drained_at: day.drained_at,
            longest_wait_ms: u64::try_from(day.longest_wait.as_millis()).unwrap_or(u64::MAX),
        };
        let problem = |problem: &Problem| ShownProblem {
            job: problem.job.to_string(),
            disk_id: problem.disk.to_string(),
            due: problem.due,
            at: problem.at,
            kind: problem.trouble.name(),
            why: problem.trouble.to_string(),
            times: problem.times,
        };
        let told = |news: &News| ShownNews {
            at: news.at,
            run: news.run.to_string(),
            what: news.what.name(),
            left: news.left,
        };
        Self {
            from: scene.from,
            until: scene.until,
            days: forecast.days.iter().map(day).collect(),
            hours: forecast.hours.iter().map(|hour| ShownHour { from: hour.from, due: hour.due }).collect(),
            problems: forecast.problems.iter().map(problem).collect(),
            backups: news.iter().map(told).collect(),
            open: forecast.open,
        }
    }
}
