//! The judge: whether what must always hold did, by the cloud's ledger, the journal and the log.
//!
//! Responsible for every invariant that can be checked from outside, period by period: what was judged is
//! forgotten, so that a year fits into memory. It trusts no figure of the daemon that it can compute itself.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use backup_core::run::{Failure, Skip, State};
use backup_core::{BackupId, BackupName, DiskId, JobName, RunId};
use cbs_sim::{BackupRecord, Ledger};
use jiff::{SignedDuration, Timestamp};

use super::CREATE;
use super::dues::Dues;
use super::kept::{Kept, is_foreign};
use super::report::Summary;
use super::world::World;
use crate::clock::Clock as _;
use crate::config::Config;
use crate::fleet::Fleet;
use crate::journal::{Row, SharedError};
use crate::report::Kind;

/// A daemon that has been up for so long has had the time to do what was left to it.
const SETTLED_IN: SignedDuration = SignedDuration::from_mins(10);
/// By how much its clock may have been off when an instant was written down, both ways.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_mins(150);
/// Backups are removed so long after their run was judged.
const KEPT: SignedDuration = SignedDuration::from_hours(24);

/// How the daemon was when it was judged.
pub(super) struct Attendance {
    /// Since when it is up, if it is.
    pub(super) up_since: Option<Timestamp>,
    /// Whether what it is told to do is in its journal.
    pub(super) is_in_line: bool,
    /// For how long it was down in the last days.
    pub(super) downtime: SignedDuration,
    /// When it was down, or its clock may have been wrong, in the last days.
    pub(super) absences: Vec<(Timestamp, Timestamp)>,
    /// How many daemons died so far.
    pub(super) crashes: u64,
}

/// The judge.
#[derive(Default)]
pub(super) struct Judge {
    dues: Dues,
    kept: Kept,
    /// Runs that were judged and whose backups may still be there.
    closed: BTreeMap<RunId, Closed>,
    /// No row that is due earlier is of interest.
    horizon: Option<Timestamp>,
    accounted: Option<Timestamp>,
    arrivals: VecDeque<Timestamp>,
    starts: Vec<Timestamp>,
    lags: Vec<u64>,
    summary: Summary,
    wrong: Vec<String>,
}

/// A run that was judged.
struct Closed {
    at: Timestamp,
    backup: Option<BackupId>,
    /// Whether a backup may exist that its row does not vouch for.
    in_doubt: bool,
}

impl Judge {
    /// A configuration is in force.
    pub(super) fn learn(&mut self, config: &Config) {
        self.kept.learn(config);
    }

    pub(super) fn daemon_started(&mut self, at: Timestamp) {
        self.starts.push(at);
    }

    /// The figures, and the objections.
    pub(super) fn conclude(mut self, world: &World) -> Summary {
        let mut summary = self.summary;
        summary.violations = world.witness.objections();
        summary.violations.append(&mut self.wrong);
        summary.peak_released = world.witness.most_in_a_second();
        summary.fingerprint = world.log.fingerprint();
        summary.deleted = self.kept.count;
        summary.events = world.log.kinds();
        summary.adopted = summary.events.get(Kind::BackupAdopted.name()).copied().unwrap_or_default();
        self.lags.sort_unstable();
        let at =
            |part: usize| self.lags.get((self.lags.len() * part / 100).min(self.lags.len() - 1)).copied();
        if !self.lags.is_empty() {
            summary.lag_median_ms = at(50).unwrap_or_default();
            summary.lag_99_ms = at(99).unwrap_or_default();
            summary.lag_worst_ms = at(100).unwrap_or_default();
        }
        summary
    }

    /// Whether anything was wrong so far.
    pub(super) fn objects(&self, world: &World) -> bool {
        !self.wrong.is_empty() || !world.witness.objections().is_empty()
    }

    /// Judges what has happened since the last time.
    pub(super) async fn judge(&mut self, world: &World, attendance: Attendance) -> Result<(), SharedError> {
        let now = world.truth.wall();
        let is_settled = attendance.up_since.is_some_and(|since| now.duration_since(since) >= SETTLED_IN);
        let ledger = world.sim.take_ledger();
        let rows = world.rows(self.horizon).await?;
        self.wrong.extend(world.log.take_faults().into_iter().map(|line| format!("the log says: {line}")));
        if let Err(error) = self.dues.take(world.witness.take_owed()) {
            self.wrong.push(error);
        }
        self.count_requests(&ledger);
        self.kept.judge(&ledger, &mut self.wrong);
        self.judge_rows(world, &rows, &ledger, now, is_settled, &attendance);
        self.judge_backups(&rows, &ledger);
        // One that cannot tell the time plans nothing: what is due meanwhile is accounted for once it can.
        if is_settled && attendance.is_in_line {
            let daemons = world.clock.wall();
            let limit = before(now.min(daemons), CLOCK_SLACK);
            let counted = self.dues.account(&rows, limit, &attendance.absences, &mut self.wrong);
            self.summary.due += counted.dues;
            self.summary.misses += counted.misses;
            self.accounted = Some(limit);
        }
        if attendance.is_in_line {
            self.judge_watermarks(world).await?;
        }
        self.tidy(world, &rows, &ledger, now);
        Ok(())
    }

    fn count_requests(&mut self, ledger: &Ledger) {
        for request in &ledger.requests {
            let is_create = request.action == CREATE;
            let faults = if is_create {
                self.summary.creates += 1;
                &mut self.summary.create_faults
            } else {
                self.summary.other_requests += 1;
                &mut self.summary.other_faults
            };
            let fate = match (request.fault.as_deref(), request.code.as_deref(), request.executed) {
                (Some("error" | "error_after"), Some(code), _) | (None, Some(code), _) => {
                    Some(code.to_owned())
                }
                (Some(fault), _, true) => Some(format!("{fault}, executed")),
                (Some(fault), _, false) => Some(format!("{fault}, not executed")),
                (None, None, _) => None,
            };
            if let Some(fate) = fate {
                *faults.entry(fate).or_default() += 1;
            }
            if is_create {
                let second = SignedDuration::from_secs(1);
                while self
                    .arrivals
                    .front()
                    .is_some_and(|first| request.arrival.duration_since(*first) >= second)
                {
                    self.arrivals.pop_front();
                }
                self.arrivals.push_back(request.arrival);
                self.summary.peak_arrivals = self.summary.peak_arrivals.max(self.arrivals.len());
            }
        }
    }

    fn judge_rows(
        &mut self,
        world: &World,
        rows: &[Row],
        ledger: &Ledger,
        now: Timestamp,
        is_settled: bool,
        attendance: &Attendance,
    ) {
        let backups: BTreeMap<&str, &BackupRecord> =
            ledger.backups.iter().map(|backup| (backup.backup_id.as_str(), backup)).collect();
        for row in rows {
            if self.closed.contains_key(&row.run.id) {
                continue;
            }
            let run = row.run.id.to_string();
            let Some(ended) = row.ended_at else {
                if is_settled && let Some(why) = overdue(row, now, attendance.downtime) {
                    self.wrong.push(format!("run {run} is {} and {why}", row.run.state.name()));
                }
                continue;
            };
            if !world.log.has_end(&run) {
                if is_settled && now.duration_since(ended) > CLOCK_SLACK {
                    self.wrong.push(format!("run {run} ended at {ended}, and nobody said so"));
                }
                continue;
            }
            let told = world.log.take_ends(&run);
            self.judge_told(row, &run, &told, attendance.crashes);
            self.close(row, &run, &backups, now);
        }
    }

    fn judge_told(&mut self, row: &Row, run: &str, told: &[Kind], crashes: u64) {
        let right: &[Kind] = match row.run.state {
            State::Completed { late: false, .. } => &[Kind::BackupCompleted],
            // It had ended otherwise before.
            State::Completed { late: true, .. } => &[Kind::BackupFailed, Kind::RunSkipped, Kind::BackupLate],
            State::Failed { .. } => &[Kind::BackupFailed],
            _ => &[Kind::RunSkipped],
        };
        if told.iter().any(|kind| !right.contains(kind)) {
            let state = row.run.state.name();
            self.wrong.push(format!("run {run} is {state}, and its end was told as {told:?}"));
        }
        // A late one's earlier end is another: both may be told before anybody looks.
        let ends = right.iter().filter(|kind| told.contains(kind)).count();
        let again = told.len().saturating_sub(ends.max(1)) as u64;
        if again > crashes {
            self.wrong.push(format!("the end of run {run} was told {} times", told.len()));
        }
        self.summary.told_again += again.min(1);
    }

    /// A run has ended, and its end was told.
    fn close(&mut self, row: &Row, run: &str, backups: &BTreeMap<&str, &BackupRecord>, now: Timestamp) {
        let name = BackupName::of(&row.owner, &row.run.id).to_string();
        let summary = &mut self.summary;
        let mut in_doubt = false;
        match &row.run.state {
            State::Completed { backup, .. } => {
                summary.completed += 1;
                match backups.get(backup.as_str()) {
                    None if self.kept.has_deleted(backup.as_str()) => {}
                    None => self.wrong.push(format!("run {run} completed, and its {backup} is not there")),
                    Some(there) if there.state != "NORMAL" => {
                        self.wrong.push(format!("run {run} completed, and its {backup} is {}", there.state));
                    }
                    Some(there) if there.name != name || there.disk_id != row.run.id.disk.as_str() => {
                        self.wrong.push(format!("run {run} completed with another's backup: {there:?}"));
                    }
                    Some(_) => {}
                }
            }
            State::Failed { why, .. } => {
                *summary.failed.entry(why.to_string()).or_default() += 1;
                in_doubt = matches!(why, Failure::OutcomeUnknown | Failure::Incomplete | Failure::Vanished);
            }
            State::Skipped { why } => {
                let why = match why {
                    Skip::Missed(_) => "missed".to_owned(),
                    why => why.to_string(),
                };
                *summary.skipped.entry(why).or_default() += 1;
            }
            _ => {}
        }
        if let Some(began) = row.began_at {
            let up = self.starts.partition_point(|start| *start <= began);
            let up = up.checked_sub(1).and_then(|at| self.starts.get(at)).copied().unwrap_or(Timestamp::MIN);
            let lag = began.duration_since(row.run.start_at.max(up)).as_millis();
            self.lags.push(u64::try_from(lag).unwrap_or_default());
        }
        let backup = row.run.state.backup().cloned();
        self.closed.insert(row.run.id.clone(), Closed { at: now, backup, in_doubt });
    }

    /// Each backup belongs to a run, and no run has two.
    fn judge_backups(&mut self, rows: &[Row], ledger: &Ledger) {
        let open: BTreeSet<&RunId> = rows.iter().map(|row| &row.run.id).collect();
        let mut copies: BTreeMap<(&str, &str), u64> = BTreeMap::new();
        for backup in ledger.backups.iter().filter(|backup| !is_foreign(&backup.name)) {
            *copies.entry((&backup.disk_id, &backup.name)).or_default() += 1;
            let Some(run) = run_of(backup) else {
                self.wrong.push(format!("a backup that is no run's: {backup:?}"));
                continue;
            };
            match self.closed.get(&run) {
                Some(closed) if closed.in_doubt => {}
                Some(closed) => {
                    if closed.backup.as_ref().map(BackupId::as_str) != Some(backup.backup_id.as_str()) {
                        self.wrong
                            .push(format!("run {run} has ended without a backup that is there: {backup:?}"));
                    }
                }
                None if open.contains(&run) => {}
                None => self.wrong.push(format!("a backup whose run {run} nobody knows: {backup:?}")),
            }
        }
        for ((disk, name), count) in copies.into_iter().filter(|(_, count)| *count > 1) {
            self.summary.duplicates += 1;
            self.wrong.push(format!("{count} backups of disk {disk} are named {name}"));
        }
    }

    /// The journal has a watermark for each job on each disk of the configuration, by its schedule, and no other.
    async fn judge_watermarks(&mut self, world: &World) -> Result<(), SharedError> {
        let marks = world.journal.read(|store| store.watermarks()).await?;
        let planned: BTreeMap<(&JobName, &DiskId), &str> =
            marks.iter().map(|mark| ((&mark.job, &mark.disk), mark.schedule.as_str())).collect();
        let config = world.config();
        let fleet = Fleet::resolve(&config, &world.journal.read(|store| store.inventory()).await?);
        let mut configured: BTreeMap<(&JobName, &DiskId), &str> = BTreeMap::new();
        for job in &config.jobs {
            let disks = fleet.of(&job.name).disks();
            configured.extend(disks.map(|on| ((&job.name, &on.disk), job.schedule.as_str())));
        }
        if planned != configured || planned != self.dues.configured() {
            let lost: Vec<_> = configured.iter().filter(|(key, by)| planned.get(key) != Some(by)).collect();
            let stray: Vec<_> = planned.iter().filter(|(key, by)| configured.get(key) != Some(by)).collect();
            self.wrong.push(format!(
                "configured, and not planned so: {lost:?}; planned, and not configured so: {stray:?}"
            ));
        }
        Ok(())
    }

    /// Forgets what was judged, and removes old backups as an operator would: before the quota is full.
    fn tidy(&mut self, world: &World, rows: &[Row], ledger: &Ledger, now: Timestamp) {
        let due = |row: &&Row| !self.closed.contains_key(&row.run.id);
        let oldest_open = rows.iter().filter(due).map(|row| row.run.id.due).min();
        // In whole seconds, as due instants are.
        let second = |at: Timestamp| Timestamp::from_second(at.as_second()).unwrap_or(at);
        let accounted = self.accounted.map(|limit| second(before(limit, KEPT)));
        let horizon = accounted.map(|limit| oldest_open.map_or(limit, |open| open.min(limit)));
        // Never back, though the daemon's clock may be: what was judged is forgotten.
        self.horizon = self.horizon.max(horizon);
        let mut there = BTreeSet::new();
        for backup in &ledger.backups {
            let Some(run) = run_of(backup) else { continue };
            let is_old = |closed: &Closed| backup.state != "NORMAL" || now.duration_since(closed.at) >= KEPT;
            if self.closed.get(&run).is_some_and(is_old) {
                world.sim.remove_backup(&backup.backup_id);
            } else {
                there.insert(run);
            }
        }
        let horizon = self.horizon;
        self.closed.retain(|run, _| there.contains(run) || horizon.is_none_or(|horizon| run.due >= horizon));
    }

    /// Judges what is left after a calm day.
    pub(super) async fn judge_kept(&mut self, world: &World) -> Result<(), SharedError> {
        let rows = world.rows(None).await?;
        self.kept.conclude(&world.config(), &rows, &world.sim.ledger(), &mut self.wrong);
        Ok(())
    }

    pub(super) fn summary(&mut self) -> &mut Summary {
        &mut self.summary
    }

    pub(super) fn object(&mut self, what: String) {
        self.wrong.push(what);
    }
}

/// Why a run that has not ended should have.
fn overdue(row: &Row, now: Timestamp, downtime: SignedDuration) -> Option<String> {
    let signed = |duration| SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX);
    let policy = &row.run.policy;
    let slack = downtime.saturating_add(CLOCK_SLACK);
    let deadline = after(row.run.deadline(), slack);
    match row.run.state {
        State::Planned { .. } | State::Absent { .. } => {
            (now > deadline).then(|| format!("could start until {}", row.run.deadline()))
        }
        // The last attempt may be looked for as long as a backup may take, be found, and take as long.
        _ => {
            let patience = signed(policy.complete_within).saturating_mul(2);
            let latest = after(deadline, patience);
            (now > latest).then(|| format!("should have ended by {latest}"))
        }
    }
}

fn run_of(backup: &BackupRecord) -> Option<RunId> {
    let disk: DiskId = backup.disk_id.parse().ok()?;
    Some(backup.name.parse::<BackupName>().ok()?.run_on(disk))
}

fn before(instant: Timestamp, by: SignedDuration) -> Timestamp {
    instant.saturating_sub(by).unwrap_or(Timestamp::MIN)
}

fn after(instant: Timestamp, by: SignedDuration) -> Timestamp {
    instant.saturating_add(by).unwrap_or(Timestamp::MAX)
}
