//! When a disk's quota will be full: the sum, and the first create that finds it so.
//!
//! Responsible for the arithmetic that the preflight, `check --online` and the forecast share. It refuses to know a
//! cloud: counts and quotas are parameters.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::id::JobName;
use crate::retention::Keep;
use crate::run::WhenFull;
use crate::schedule::Schedule;

/// No sum looks further ahead than so many creates of a disk.
const STEPS: usize = 5_000;
/// Nor further than this.
const HORIZON: SignedDuration = SignedDuration::from_hours(400 * 24);
/// What comes within this is close ahead; and so are the next few creates of a disk, however far apart.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
const SOON_STEPS: usize = 3;
/// The backup that is being made.
const IN_FLIGHT: u64 = 1;
/// The vendor keeps an automatic point of the previous day on every disk that has a quota.
const VENDORS_OWN: u64 = 1;

/// What a job asks of each of its disks. To find the coming due instants is the dear part: once for all of them, and only
/// as far as they are asked for.
#[derive(Debug)]
pub struct Coming {
    /// How many backups its rules keep at most; none where it keeps everything.
    kept: Option<u64>,
    schedule: Schedule,
    /// The instant from which on it is due, and the last at which it is looked at.
    span: (Timestamp, Timestamp),
    /// The due instants that were found so far, and whether there are more.
    dues: Mutex<(Vec<Timestamp>, bool)>,
}

impl Coming {
    /// Of a job that is due by `schedule` and keeps so much, from `now` on.
    #[must_use]
    pub fn of(schedule: &Schedule, keep: &Keep, now: Timestamp) -> Self {
        let end = now.saturating_add(HORIZON).unwrap_or(Timestamp::MAX);
        let kept = kept_at_most(keep, schedule, now);
        Self { kept, schedule: schedule.clone(), span: (now, end), dues: Mutex::new((Vec::new(), true)) }
    }

    /// The coming due instant of this number, counted from 0.
    fn due(&self, number: usize) -> Option<Timestamp> {
        let (now, end) = self.span;
        let mut dues = self.dues.lock().unwrap_or_else(PoisonError::into_inner);
        let (found, more) = &mut *dues;
        while *more && found.len() <= number {
            let next = self.schedule.next_after(found.last().copied().unwrap_or(now));
            match next.filter(|due| *due <= end && found.len() < STEPS) {
                Some(due) => found.push(due),
                None => *more = false,
            }
        }
        found.get(number).copied()
    }
}

/// What a job asks of a disk.
#[derive(Clone, Debug)]
pub struct Demand<'a> {
    /// The job.
    pub job: &'a JobName,
    /// What it asks of each of its disks.
    pub coming: &'a Coming,
    /// What it does when the quota is full.
    pub when_full: WhenFull,
    /// How many good points of it the disk holds now.
    pub have: u64,
}

/// The sum of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// What each job keeps at most; none where it keeps everything.
    pub kept: Vec<(JobName, Option<u64>)>,
    /// Kept + in flight + the vendor's own; none where a job keeps everything.
    pub total: Option<u64>,
}

/// A create that finds the quota full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Full {
    /// The due instant of its run.
    pub due: Timestamp,
    /// Its job.
    pub job: JobName,
}

/// What is to be expected of a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forecast {
    /// How many points it may hold.
    pub quota: u64,
    /// How many it holds now, whoever made them.
    pub count: u64,
    /// What is needed.
    pub need: Need,
    /// The first create that finds the quota full.
    pub first_full: Option<Full>,
    /// The first for which the job's `when_full` and `keep` make no room.
    pub breaks: Option<Full>,
    /// Whether a person should know: something breaks, or a job that makes no room of its own finds the quota full.
    pub is_warning: bool,
    /// Whether that lies close ahead: to be said again and again.
    pub is_soon: bool,
}

/// How many backups a rule keeps at most; none where there is no rule. The `within` part is counted in due instants
/// from `now` on.
#[must_use]
pub fn kept_at_most(keep: &Keep, schedule: &Schedule, now: Timestamp) -> Option<u64> {
    if keep.is_empty() {
        return None;
    }
    let within = keep.within.map_or(0, |within| {
        let until = now.saturating_add(within).unwrap_or(Timestamp::MAX);
        schedule.after(now).take_while(|due| *due <= until).take(STEPS).count() as u64
    });
    let calendar = [keep.last, keep.hourly, keep.daily, keep.weekly, keep.monthly, keep.yearly];
    // The floor stays, whatever the rules.
    Some((calendar.into_iter().map(u64::from).sum::<u64>() + within).max(1))
}

/// What is to be expected of a disk of this `quota` that holds `count` points now, when these jobs go on.
///
/// Points that are no job's are taken to stay; where there is none, room for the vendor's own is set aside.
#[must_use]
pub fn forecast(quota: u64, count: u64, demands: &[Demand<'_>], now: Timestamp) -> Forecast {
    let kept: Vec<(JobName, Option<u64>)> =
        demands.iter().map(|demand| (demand.job.clone(), demand.coming.kept)).collect();
    let total: Option<u64> = kept.iter().map(|(_, kept)| *kept).sum();
    let need = Need { total: total.map(|kept| kept + IN_FLIGHT + VENDORS_OWN), kept };
    let (first_full, breaks) = (None, None);
    let mut expected = Forecast { quota, count, need, first_full, breaks, is_warning: false, is_soon: false };
    let ours: u64 = demands.iter().map(|demand| demand.have).sum();
    let others = count.saturating_sub(ours).max(VENDORS_OWN.min(quota));
    let is_enough = expected.need.total.is_some_and(|need| need <= quota);
    if is_enough && others <= VENDORS_OWN && count < quota {
        return expected;
    }
    let mut have: Vec<u64> = demands.iter().map(|demand| demand.have).collect();
    let mut passed = vec![0; demands.len()];
    let soon = now.saturating_add(SOON).unwrap_or(Timestamp::MAX);
    for step in 0..STEPS {
        let next = |(job, demand): (usize, &Demand<'_>)| Some((demand.coming.due(passed[job])?, job));
        let Some((due, job)) = demands.iter().enumerate().filter_map(next).min() else { break };
        passed[job] += 1;
        let (demand, most) = (&demands[job], expected.need.kept[job].1);
        let all: u64 = have.iter().sum();
        if others + all < quota {
            have[job] = most.map_or(have[job] + 1, |most| (have[job] + 1).min(most));
            continue;
        }
        let full = Full { due, job: demand.job.clone() };
        let makes_none = matches!(demand.when_full, WhenFull::Wait | WhenFull::Fail);
        let is_soon = due <= soon || step < SOON_STEPS;
        expected.is_warning |= makes_none;
        expected.is_soon |= makes_none && is_soon;
        // Its own oldest goes in its place: one that no rule keeps once the new one is there, or by rotation.
        let spare = all >= 2 && most.is_some_and(|most| have[job] >= most);
        let makes_room = have[job] > 0
            && match demand.when_full {
                WhenFull::Wait | WhenFull::Fail => spare,
                WhenFull::Rotate { allow_gap } => allow_gap || all >= 2,
                WhenFull::Promote { .. } => true,
            };
        expected.first_full.get_or_insert_with(|| full.clone());
        if !makes_room {
            expected.breaks = Some(full);
            expected.is_warning = true;
            expected.is_soon |= is_soon;
            break;
        }
    }
    expected
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.total {
            Some(total) => write!(f, "{total} = ")?,
            None => f.write_str("more than any quota: ")?,
        }
        for (index, (job, kept)) in self.kept.iter().enumerate() {
            let plus = if index == 0 { "" } else { " + " };
            match kept {
                Some(kept) => write!(f, "{plus}{kept} kept at most by {job}")?,
                None => write!(f, "{plus}all that {job} ever makes (it has no `keep`)")?,
            }
        }
        write!(f, " + {IN_FLIGHT} in flight + {VENDORS_OWN} for the vendor's own")
    }
}

impl fmt::Display for Forecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { quota, count, need, first_full, breaks, .. } = self;
        write!(f, "needed: {need}; the disk's quota is {quota}, and {count} are there")?;
        match (first_full, breaks) {
            (_, Some(Full { due, job })) => {
                write!(
                    f,
                    "; the backup of {job} that is due at {due} finds it full, and nothing makes room for it"
                )
            }
            (Some(Full { due, job }), None) => {
                write!(
                    f,
                    "; from the backup of {job} that is due at {due} on, an old one has to go before each new one"
                )
            }
            (None, None) => Ok(()),
        }
    }
}
