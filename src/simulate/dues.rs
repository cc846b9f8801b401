//! Which due instants are owed, computed anew from the schedules, and whether each is accounted for.
//!
//! Responsible for invariant 1: each due instant of a configured disk is one run or lies in one row of misses. It
//! knows from the witness which schedule held from when; what is due by it, it computes itself.

use std::collections::BTreeMap;

use backup_core::run::{Skip, State};
use backup_core::schedule::Schedule;
use backup_core::{DiskId, JobName};
use jiff::{SignedDuration, Timestamp};

use super::witness::Owed;
use crate::journal::Row;
use crate::zones;

/// A daemon that is there plans what is due within this.
const PROMPT: SignedDuration = SignedDuration::from_secs(10);

pub(super) type Pair = (JobName, DiskId);

/// What is owed on all disks.
#[derive(Default)]
pub(super) struct Dues {
    pairs: BTreeMap<Pair, Account>,
}

/// What is owed on one disk by one job.
struct Account {
    spans: Vec<Span>,
    /// Everything due up to here is accounted for.
    through: Timestamp,
    planned: Timestamp,
    /// Until then nobody knew what the cloud had of it, and nothing was planned; none if that is so now.
    began: Option<Timestamp>,
}

/// A stretch in which a schedule held.
struct Span {
    schedule: Schedule,
    after: Timestamp,
    /// The last instant of it, where it has ended.
    until: Option<Timestamp>,
    /// Due instants after this may have been planned, or not: the job was removed about then.
    loose_after: Option<Timestamp>,
}

/// What was accounted for.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counted {
    pub(super) dues: u64,
    pub(super) misses: u64,
}

impl Dues {
    /// Takes in what the witness saw.
    pub(super) fn take(&mut self, owed: Vec<Owed>) -> Result<(), String> {
        // Few schedules, many disks.
        let mut read: BTreeMap<String, Schedule> = BTreeMap::new();
        let mut read = |text: &str| {
            if let Some(known) = read.get(text) {
                return Ok(known.clone());
            }
            let schedule = Schedule::read(text, &zones::in_force().database)
                .map_err(|error| format!("schedule {text} of the journal: {error}"))?;
            read.insert(text.to_owned(), schedule.clone());
            Ok::<_, String>(schedule)
        };
        for change in owed {
            match change {
                Owed::From(mark, now) => {
                    let schedule = read(&mark.schedule)?;
                    let from = mark.planned_through;
                    let account = self.pairs.entry((mark.job, mark.disk)).or_insert_with(|| Account {
                        spans: Vec::new(),
                        through: from,
                        planned: from,
                        began: Some(from),
                    });
                    match (mark.next_due, account.began) {
                        (None, _) => account.began = None,
                        (Some(_), None) => account.began = Some(now),
                        (Some(_), Some(_)) => {}
                    }
                    account.close(from, None);
                    account.spans.push(Span { schedule, after: from, until: None, loose_after: None });
                }
                Owed::Planned(job, disk, through) => {
                    if let Some(account) = self.pairs.get_mut(&(job, disk)) {
                        account.planned = account.planned.max(through);
                    }
                }
                Owed::No(job, disk, at) => {
                    if let Some(account) = self.pairs.get_mut(&(job, disk)) {
                        let planned = account.planned;
                        account.close(at, Some(planned));
                    }
                }
            }
        }
        Ok(())
    }

    /// The pairs on which something is owed now, with the schedule of each.
    pub(super) fn configured(&self) -> BTreeMap<(&JobName, &DiskId), &str> {
        let open = |account: &Account| account.spans.last().is_some_and(|span| span.until.is_none());
        self.pairs
            .iter()
            .filter(|(_, account)| open(account))
            .filter_map(|((job, disk), account)| Some(((job, disk), account.spans.last()?.schedule.as_str())))
            .collect()
    }

    /// Accounts for everything due up to `limit`. `rows` are all rows since the last account, in any order.
    /// Only what came due in one of `absences` may be missed.
    pub(super) fn account(
        &mut self,
        rows: &[Row],
        limit: Timestamp,
        absences: &[(Timestamp, Timestamp)],
        wrong: &mut Vec<String>,
    ) -> Counted {
        let excused = |due: &Timestamp| {
            let late = due.saturating_add(PROMPT).unwrap_or(*due);
            absences.iter().any(|(from, to)| *from <= late && due <= to)
        };
        let mut by_pair: BTreeMap<(&JobName, &DiskId), Vec<&Row>> = BTreeMap::new();
        for row in rows {
            by_pair.entry((&row.run.id.job, &row.run.id.disk)).or_default().push(row);
        }
        let mut counted = Counted::default();
        for ((job, disk), account) in &mut self.pairs {
            let rows = by_pair.remove(&(job, disk)).unwrap_or_default();
            let Some(began) = account.began else { continue };
            let excused = |due: &Timestamp| *due <= began || excused(due);
            let mut object = |what| wrong.push(format!("{job} on {disk}: {what}"));
            account.settle(&rows, limit, &excused, &mut counted, &mut object);
        }
        for (job, disk) in by_pair.into_keys() {
            wrong.push(format!("{job} on {disk} was never configured, and has a run"));
        }
        counted
    }
}

impl Account {
    fn close(&mut self, at: Timestamp, loose_after: Option<Timestamp>) {
        let planned = self.planned;
        if let Some(span) = self.spans.last_mut()
            && span.until.is_none()
        {
            // What was planned ahead, by a clock that was wrong, was owed all the same.
            span.until = Some(at.max(planned));
            span.loose_after = loose_after;
        }
    }

    /// Due instants after `self.through` up to `limit`, in order; whether each must be accounted for.
    fn expected(&self, limit: Timestamp) -> BTreeMap<Timestamp, bool> {
        let mut expected = BTreeMap::new();
        for span in &self.spans {
            let until = span.until.map_or(limit, |until| until.min(limit));
            for due in span.schedule.after(span.after.max(self.through)).take_while(|due| *due <= until) {
                let must = span.loose_after.is_none_or(|loose| due <= loose);
                *expected.entry(due).or_insert(must) |= must;
            }
        }
        expected
    }

    fn settle(
        &mut self,
        rows: &[&Row],
        limit: Timestamp,
        excused: &dyn Fn(&Timestamp) -> bool,
        counted: &mut Counted,
        wrong: &mut dyn FnMut(String),
    ) {
        // A row of misses is taken as a whole, or not yet.
        let mut limit = limit;
        let spans: Vec<(Timestamp, Timestamp, Option<u32>)> =
            rows.iter().map(|row| span_of(row)).filter(|(_, to, _)| *to > self.through).collect();
        for (from, to, _) in &spans {
            if *from <= limit && limit < *to {
                limit = from.saturating_sub(SignedDuration::from_secs(1)).unwrap_or(limit);
            }
        }
        if limit <= self.through {
            return;
        }
        let expected = self.expected(limit);
        for (due, must) in &expected {
            let covers = spans.iter().filter(|(from, to, _)| from <= due && due <= to).count();
            match covers {
                0 if *must => wrong(format!("{due} was due, and there is neither a run nor a miss")),
                0 | 1 => {}
                _ => wrong(format!("{due} was due once, and is accounted for {covers} times")),
            }
            counted.dues += u64::from(covers > 0);
        }
        for (from, to, misses) in spans.iter().filter(|(_, to, _)| *to <= limit) {
            let inside = expected.range(*from..=*to).count();
            match misses {
                None if inside == 1 => {}
                None => wrong(format!("{to} was not due, and there is a run")),
                Some(count) => {
                    counted.misses += u64::from(*count);
                    for (due, _) in expected.range(*from..=*to).filter(|(due, _)| !excused(due)) {
                        wrong(format!("{due} was missed, and the daemon was there"));
                    }
                    let ends = expected.contains_key(from) && expected.contains_key(to);
                    if inside != *count as usize || !ends {
                        wrong(format!("{count} misses from {from} to {to}, and {inside} were due"));
                    }
                }
            }
        }
        self.through = limit;
        let through = self.through;
        self.spans.retain(|span| span.until.is_none_or(|until| until > through));
    }
}

/// The due instants that a row accounts for: first, last and, for misses, their number.
fn span_of(row: &Row) -> (Timestamp, Timestamp, Option<u32>) {
    match &row.run.state {
        State::Skipped { why: Skip::Missed(misses) } => (misses.from, misses.to, Some(misses.count)),
        _ => (row.run.id.due, row.run.id.due, None),
    }
}
