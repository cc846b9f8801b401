//! What will happen: the same decisions over virtual time.
//!
//! Responsible for walking through coming days event by event: runs become due, start after spread and blackout, queue
//! for their lane, take their time, fill quotas, and let retention delete. What is decided is asked of the functions
//! that the daemon asks: `Schedule`, [`start_at`], [`held`], [`catch_up`], [`next_step`] and [`crate::retention::plan`]. It
//! refuses to know what goes wrong: the cloud answers at once and every backup takes the same time.

mod report;
mod room;
mod scene;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use jiff::Timestamp;

pub use report::{Day, Forecast, Hour, News, Problem, Trouble, What};
pub use scene::{Disk, Job, OnJob, Scene};

use crate::catch_up::{CaughtUp, catch_up};
use crate::id::{DiskId, RunId};
use crate::moment::Now;
use crate::next_step::{Facts, Step, next_step};
use crate::retention::{Point, PointId};
use crate::run::{Run, Sighting, State, WhenFull, later};
use crate::schedule::{held, start_at};
use report::Report;
use room::{full, has_room};

/// What happens, in the order in which things happen at one instant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// A backup becomes NORMAL.
    Good(u64),
    /// Retention looks at a disk.
    Retain(usize),
    /// A job is due.
    Due(usize),
    /// A run may want something done; first by the order of starts.
    Attend(Timestamp, u64),
    /// A lane may release a create.
    Serve(usize),
}

/// A run that has not ended.
struct Live {
    run: Run,
    job: usize,
    disk: usize,
    /// The lane's queue has it.
    queued: bool,
    /// It found the quota full, and waits for a point to go.
    full: bool,
}

struct Shelf {
    id: DiskId,
    /// The jobs that hold it.
    jobs: Vec<usize>,
    known: Disk,
    /// The run whose backup is being made.
    busy: Option<u64>,
    /// Open runs, in the order of their due instants.
    open: VecDeque<u64>,
    /// When each job's last good backup of it was made.
    good: BTreeMap<usize, Timestamp>,
}

struct Lane {
    spacing: Duration,
    queue: VecDeque<u64>,
    free: Timestamp,
    /// Its next service is in the heap.
    called: bool,
    busy: Option<Busy>,
}

/// A stretch in which a lane is never without a queue.
#[derive(Clone, Copy)]
struct Busy {
    peak: usize,
    peak_at: Timestamp,
    last: Timestamp,
}

/// Looks ahead. `news` takes what happens to each backup, in order.
pub fn forecast(scene: &Scene<'_>, news: &mut dyn FnMut(News)) -> Forecast {
    let mut world = World::new(scene, news);
    while let Some(Reverse((at, event))) = world.events.pop() {
        if at >= scene.until {
            break;
        }
        world.now = at;
        match event {
            Event::Due(job) => world.due(job),
            Event::Attend(_, run) => world.attend(run),
            Event::Serve(lane) => world.serve(lane),
            Event::Good(run) => world.good(run),
            Event::Retain(disk) => world.retain(disk),
        }
    }
    world.end()
}

struct World<'a, 's> {
    scene: &'s Scene<'a>,
    now: Timestamp,
    events: BinaryHeap<Reverse<(Timestamp, Event)>>,
    runs: HashMap<u64, Live>,
    next_run: u64,
    disks: Vec<Shelf>,
    /// The disks of each job, by their place in `disks`.
    of_job: Vec<Vec<usize>>,
    /// Jobs that keep anything hold the disk.
    kept: Vec<bool>,
    lanes: Vec<Lane>,
    report: Report<'s>,
    news: &'s mut dyn FnMut(News),
}

impl<'a, 's> World<'a, 's> {
    fn new(scene: &'s Scene<'a>, news: &'s mut dyn FnMut(News)) -> Self {
        let mut places: BTreeMap<&DiskId, usize> = BTreeMap::new();
        let mut disks = Vec::new();
        let mut kept = Vec::new();
        let mut of_job = Vec::new();
        for (index, job) in scene.jobs.iter().enumerate() {
            let mut of_this = Vec::with_capacity(job.disks.len());
            for OnJob { disk: id, .. } in &job.disks {
                let place = *places.entry(*id).or_insert_with(|| {
                    let known = scene.disks.get(*id).cloned().unwrap_or_default();
                    disks.push(Shelf {
                        id: (*id).clone(),
                        jobs: Vec::new(),
                        known,
                        busy: None,
                        open: VecDeque::new(),
                        good: BTreeMap::new(),
                    });
                    kept.push(false);
                    disks.len() - 1
                });
                disks[place].jobs.push(index);
                kept[place] |= !job.keep.is_empty();
                of_this.push(place);
            }
            of_job.push(of_this);
        }
        let lane = |spacing: &Duration| Lane {
            spacing: *spacing,
            queue: VecDeque::new(),
            free: scene.from,
            called: false,
            busy: None,
        };
        let mut world = Self {
            scene,
            now: scene.from,
            events: BinaryHeap::new(),
            runs: HashMap::new(),
            next_run: 0,
            lanes: scene.lanes.iter().map(lane).collect(),
            report: Report::new(scene, disks.iter().map(|shelf| shelf.known.points.len()).sum()),
            disks,
            of_job,
            kept,
            news,
        };
        for (index, job) in scene.jobs.iter().enumerate() {
            for disk in &world.of_job[index] {
                let shelf = &mut world.disks[*disk];
                let of_job = shelf.known.points.iter().filter(|point| point.run.job == *job.name);
                let good = of_job.filter(|point| point.sighting == Sighting::Normal);
                if let Some(last) = good.map(|point| point.run.due).max() {
                    shelf.good.insert(index, last);
                }
            }
            world.call_due(index);
        }
        for disk in 0..world.disks.len() {
            if world.kept[disk] && !world.disks[disk].known.points.is_empty() {
                world.events.push(Reverse((scene.from, Event::Retain(disk))));
            }
        }
        world
    }

    fn call_due(&mut self, job: usize) {
        if let Some(due) = self.scene.jobs[job].schedule.next_after(self.now) {
            self.events.push(Reverse((due, Event::Due(job))));
        }
    }

    /// As the planner: a run for each disk.
    fn due(&mut self, index: usize) {
        let (scene, due) = (self.scene, self.now);
        let job = &scene.jobs[index];
        for place in 0..self.of_job[index].len() {
            let disk = self.of_job[index][place];
            let id = RunId { job: job.name.clone(), disk: self.disks[disk].id.clone(), due };
            let spread_by = job.disks[place].spread_by;
            let start =
                |due| start_at(due, job.name, spread_by, job.spread, job.blackout, job.schedule.zone());
            let CaughtUp { run: Some((_, start_at)), .. } =
                catch_up([due], start, job.missed, job.policy.start_within, due)
            else {
                continue;
            };
            self.report.due(due);
            let run = Run::planned(id, start_at, job.policy.clone());
            let number = self.next_run;
            self.next_run += 1;
            self.runs.insert(number, Live { run, job: index, disk, queued: false, full: false });
            self.disks[disk].open.push_back(number);
            self.attend_at(start_at, number);
            // Its predecessor may have been overtaken.
            let before = self.disks[disk].open.iter().rev().skip(1).find(|run| self.runs[*run].job == index);
            if let Some(before) = before.copied() {
                self.attend_at(start_at, before);
            }
        }
        self.call_due(index);
    }

    fn attend_at(&mut self, at: Timestamp, run: u64) {
        if let Some(live) = self.runs.get(&run) {
            self.events.push(Reverse((at, Event::Attend(live.run.start_at, run))));
        }
    }

    /// What the run wants done now.
    fn step(&self, number: u64) -> Option<Step> {
        let Live { run, job, disk, .. } = self.runs.get(&number)?;
        let (job, shelf) = (&self.scene.jobs[*job], &self.disks[*disk]);
        let now = Now {
            wall: self.now,
            epoch: 1,
            up: Duration::try_from(self.now.duration_since(self.scene.from)).unwrap_or_default(),
            started: self.scene.from,
        };
        let superseded = shelf.open.iter().any(|other| {
            let other = &self.runs[other].run;
            other.id.job == run.id.job && other.id.due > run.id.due && other.start_at <= self.now
        });
        let facts = Facts {
            disk_busy: shelf.busy.is_some(),
            superseded,
            held_until: held(self.now, run.start_at, job.blackout, job.schedule.zone()),
            ..Facts::default()
        };
        Some(next_step(run, &now, facts))
    }

    /// As the submitter: a run that may be made stands in its lane; the others wait or end.
    fn attend(&mut self, number: u64) {
        let Some(step) = self.step(number) else { return };
        let Some(live) = self.runs.get_mut(&number) else { return };
        if self.disks[live.disk].busy == Some(number) || live.queued {
            return;
        }
        match step {
            // Nothing that is foreseen takes away what it waits for.
            Step::Create if live.full => {
                let deadline = later(live.run.deadline(), Duration::from_millis(1));
                self.attend_at(deadline, number);
            }
            Step::Create => {
                live.queued = true;
                let lane_index = self.scene.jobs[live.job].lane;
                let lane = &mut self.lanes[lane_index];
                lane.queue.push_back(number);
                let waiting = lane.queue.len();
                let busy = lane.busy.get_or_insert(Busy { peak: 0, peak_at: self.now, last: self.now });
                if waiting > busy.peak {
                    (busy.peak, busy.peak_at) = (waiting, self.now);
                }
                self.call(lane_index);
            }
            step => self.wait_or_end(number, step),
        }
    }

    fn wait_or_end(&mut self, number: u64, step: Step) {
        match step {
            // The end of the backup that holds the disk wakes it.
            Step::Wait(_) if self.holder(number).is_some() => {}
            Step::Wait(wait) => self.attend_at(later(self.now, wait), number),
            Step::Skip(_) => self.trouble(number, Trouble::Superseded),
            Step::OutOfTime(_) => match self.runs.get(&number).map(|live| (live.full, live.disk)) {
                Some((true, disk)) => {
                    let trouble = full(&self.disks[disk]);
                    self.trouble(number, trouble);
                }
                _ => self.trouble(number, Trouble::Late),
            },
            _ => {}
        }
    }

    fn holder(&self, number: u64) -> Option<u64> {
        let live = self.runs.get(&number)?;
        self.disks[live.disk].busy.filter(|_| live.run.start_at <= self.now)
    }

    fn call(&mut self, lane: usize) {
        let Lane { free, called, queue, .. } = &mut self.lanes[lane];
        if !*called && !queue.is_empty() {
            *called = true;
            self.events.push(Reverse((self.now.max(*free), Event::Serve(lane))));
        }
    }

    /// As the limiter: one create, and the next a spacing later.
    fn serve(&mut self, index: usize) {
        self.lanes[index].called = false;
        while let Some(number) = self.lanes[index].queue.pop_front() {
            if let Some(live) = self.runs.get_mut(&number) {
                live.queued = false;
            }
            match self.step(number) {
                None => {}
                Some(Step::Create) => {
                    let now = self.now;
                    let lane = &mut self.lanes[index];
                    lane.free = later(now, lane.spacing);
                    if let Some(busy) = &mut lane.busy {
                        busy.last = now;
                    }
                    self.create(number);
                    break;
                }
                Some(step) => self.wait_or_end(number, step),
            }
        }
        if self.lanes[index].queue.is_empty() {
            if let Some(Busy { peak, peak_at, last }) = self.lanes[index].busy.take() {
                self.report.queued(peak, peak_at, last);
            }
        } else {
            self.call(index);
        }
    }

    /// The create: the quota admits it, or the job's policy makes room, or it does not come to be.
    fn create(&mut self, number: u64) {
        let Some(live) = self.runs.get(&number) else { return };
        let (job, disk, due) = (live.job, live.disk, live.run.id.due);
        self.report.waited(self.now, live.run.start_at);
        let when_full = self.scene.jobs[job].policy.when_full;
        let room = has_room(&self.disks[disk]) || self.make_room(number);
        if !room {
            let trouble = full(&self.disks[disk]);
            if when_full == WhenFull::Wait {
                self.report.noted(due, self.now, job, &self.disks[disk].id, trouble);
                if let Some(live) = self.runs.get_mut(&number) {
                    live.full = true;
                }
                self.attend(number);
            } else {
                self.trouble(number, trouble);
            }
            return;
        }
        self.disks[disk].busy = Some(number);
        self.events.push(Reverse((later(self.now, self.scene.takes), Event::Good(number))));
    }

    /// The backup is NORMAL.
    fn good(&mut self, number: u64) {
        let Some(live) = self.runs.remove(&number) else { return };
        let (scene, job, disk) = (self.scene, live.job, live.disk);
        let shelf = &mut self.disks[disk];
        shelf.busy = None;
        shelf.open.retain(|run| *run != number);
        if let Ok(id) = format!("dbp-{number:08x}").parse() {
            let run = live.run.id.clone();
            shelf.known.points.push(Point { id: PointId::Backup(id), run, sighting: Sighting::Normal });
        }
        let since = shelf.good.insert(job, self.now);
        self.report.completed(live.run.id.due, self.now);
        self.too_old(job, disk, since, live.run.id.due);
        for waiting in self.disks[disk].open.clone() {
            self.attend_at(self.now, waiting);
        }
        if self.kept[disk] {
            self.events.push(Reverse((later(self.now, scene.settle), Event::Retain(disk))));
        }
        self.tell(disk, live.run.id, What::Good);
    }

    /// Whether the last good backup grew older than the objective before this instant.
    fn too_old(&mut self, job: usize, disk: usize, since: Option<Timestamp>, due: Timestamp) {
        let Some(objective) = self.scene.jobs[job].objective else { return };
        let since = since.unwrap_or(self.scene.from);
        let age = Duration::try_from(self.now.duration_since(since)).unwrap_or_default();
        if age > objective {
            let trouble = Trouble::Objective { age, objective };
            self.report.noted(due, self.now, job, &self.disks[disk].id, trouble);
        }
    }

    fn tell(&mut self, disk: usize, run: RunId, what: What) {
        let left = self.disks[disk].known.points.len();
        (self.news)(News { at: self.now, run, what, left });
    }

    /// The run ends without a backup.
    fn trouble(&mut self, number: u64, trouble: Trouble) {
        let Some(live) = self.runs.remove(&number) else { return };
        let shelf = &mut self.disks[live.disk];
        shelf.open.retain(|run| *run != number);
        debug_assert!(matches!(live.run.state, State::Planned { .. }));
        let noted = live.full && matches!(trouble, Trouble::QuotaFull { .. });
        self.report.without(live.run.id.due, &trouble);
        if !noted {
            self.report.noted(live.run.id.due, self.now, live.job, &self.disks[live.disk].id, trouble);
        }
    }

    fn end(mut self) -> Forecast {
        self.now = self.scene.until;
        for lane in &mut self.lanes {
            if let Some(Busy { peak, peak_at, last }) = lane.busy.take() {
                self.report.queued(peak, peak_at, last);
            }
        }
        for job in 0..self.scene.jobs.len() {
            for place in 0..self.of_job[job].len() {
                let disk = self.of_job[job][place];
                let since = self.disks[disk].good.get(&job).copied();
                self.too_old(job, disk, since, self.scene.until);
            }
        }
        self.report.finish(self.runs.len())
    }
}

#[cfg(test)]
mod tests;
