//! The line that `systemctl status` shows: what the daemon is at, and what comes next.
//!
//! Responsible for saying it in one short line: `12 running, 3 waiting, next db-nightly 02:30`. It refuses to wait
//! for a journal that does not answer: the line then says so.

use std::time::Duration;

use backup_core::JobName;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::app::App;

/// How long the journal may take. The line is written by the loop that feeds the watchdog.
const PATIENCE: Duration = Duration::from_secs(1);

/// The line, now; `remark` goes with it.
pub(super) async fn status_line(app: &App, remark: Option<&str>) -> String {
    let read = app.parts.journal.read(|store| {
        // The first of all that will ever be due is the next.
        let next = store.due(Timestamp::MAX, 1)?;
        Ok((store.open_counts()?, next))
    });
    let mut remarks: Vec<&str> = remark.into_iter().collect();
    if !app.parts.time.is_trusted() {
        remarks.push("waiting for the cloud to confirm the clock");
    }
    let Ok(Ok((open, next))) = tokio::time::timeout(PATIENCE, read).await else {
        remarks.push("the journal does not answer");
        return remarks.join("; ");
    };
    let settings = app.settings();
    let next = next.into_iter().find_map(|watermark| {
        let job = settings.config.jobs.iter().find(|job| job.name == watermark.job)?;
        Some((watermark.job, watermark.next_due?, job.schedule.zone().clone()))
    });
    let work = work(&open, next.as_ref(), app.now().wall);
    remarks.push(&work);
    remarks.join("; ")
}

/// `12 running, 3 waiting, next db-nightly 02:30`
fn work(open: &[(String, u64)], next: Option<&(JobName, Timestamp, TimeZone)>, now: Timestamp) -> String {
    let waits = |state: &str| matches!(state, "planned" | "absent");
    let sum = |waiting: bool| -> u64 {
        open.iter().filter(|(state, _)| waits(state) == waiting).map(|(_, count)| count).sum()
    };
    let next = match next {
        Some((job, due, zone)) => format!("next {job} {}", time(*due, zone, now)),
        None => "nothing planned".to_owned(),
    };
    format!("{} running, {} waiting, {next}", sum(false), sum(true))
}

/// A due instant as its job's schedule has it, as short as it can be told from others.
fn time(due: Timestamp, zone: &TimeZone, now: Timestamp) -> String {
    let ahead = due.duration_since(now);
    let format = if ahead < SignedDuration::from_hours(24) {
        "%H:%M"
    } else if ahead < SignedDuration::from_hours(6 * 24) {
        "%a %H:%M"
    } else {
        "%Y-%m-%d %H:%M"
    };
    due.to_zoned(zone.clone()).strftime(format).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(due: &str) -> String {
        let zone = TimeZone::get("Asia/Shanghai").unwrap();
        let next = ("db-nightly".parse().unwrap(), due.parse().unwrap(), zone);
        work(&[], Some(&next), "2026-11-24T10:00:00Z".parse().unwrap())
    }

    #[test]
    fn what_has_an_attempt_or_a_backup_runs_and_the_rest_waits() {
        let open = [("absent", 1), ("creating", 4), ("freeing", 1), ("planned", 2), ("tracking", 7)]
            .map(|(state, count)| (state.to_owned(), count));
        assert_eq!(work(&open, None, Timestamp::UNIX_EPOCH), "12 running, 3 waiting, nothing planned");
    }

    #[test]
    fn the_next_is_told_in_the_zone_of_its_job_with_a_day_where_one_is_needed() {
        for (due, told) in [
            ("2026-11-24T18:30:00Z", "next db-nightly 02:30"),
            // In the past: the planner is about to take it.
            ("2026-11-24T09:59:00Z", "next db-nightly 17:59"),
            ("2026-11-25T18:30:00Z", "next db-nightly Thu 02:30"),
            ("2026-12-24T18:30:00Z", "next db-nightly 2026-12-25 02:30"),
        ] {
            assert_eq!(at(due), format!("0 running, 0 waiting, {told}"));
        }
    }
}
