//! A simulated year: daemons live, die and are started again, while the world around them changes.
//!
//! Responsible for the order of things. What happens is drawn by `chaos`, and judged by `judge`.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::chaos::{Chaos, End};
use super::judge::{Attendance, Judge};
use super::life::Life;
use super::report::Summary;
use super::scene::Scene;
use super::wire::Network;
use super::world::{Beginning, Living, Tamper, World, key};
use super::{Plan, SimulationError};
use crate::app::Idle;
use crate::clock::Clock as _;
use crate::journal::SharedError;
use crate::random::Random;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Nothing in a simulation happens unnoticed: tasks need not look around.
const IDLE: Idle = Idle { hop: Duration::from_secs(3600), watch: Duration::from_secs(3600) };
/// Downtime is remembered for as long as a run may be open.
const MEMORY: SignedDuration = SignedDuration::from_hours(5 * 24);
/// When years begin, give or take a day: most a few days before a DST change somewhere, so that short ones see one.
const STARTS: [&str; 8] = [
    "2027-01-01T00:00:00Z",
    "2027-03-10T00:00:00Z",
    "2027-03-24T00:00:00Z",
    "2027-04-01T00:00:00Z",
    "2027-09-01T00:00:00Z",
    "2027-09-29T00:00:00Z",
    "2027-10-27T00:00:00Z",
    "2027-11-03T00:00:00Z",
];
/// A clock that is wrong makes instants come early or late by as much as it is wrong.
const FURTHEST_STEP: SignedDuration = SignedDuration::from_mins(61);

/// Plays a plan. To be called in a runtime whose clock is paused.
pub(super) async fn play(plan: &Plan, tamper: Tamper) -> Result<Summary, SimulationError> {
    let mut year = Year::new(plan, tamper)?;
    let end = DAY * plan.days;
    while year.now() < end && !year.judge.objects(&year.world) {
        let (up_to, ended) = year.live(end).await?;
        if ended {
            let down = year.chaos.downtime();
            year.pass(up_to.saturating_add(down).min(end), None).await?;
            year.downs.push((year.left_at, year.world.clock.wall()));
        }
    }
    year.conclude().await
}

/// What is to happen, and when by the monotonic clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Weather,
    Judge,
    Edit,
    KeyGoes,
    KeyComes,
    Step,
    StepBack,
    Noticed,
}

struct Year {
    world: World,
    scene: Scene,
    random: Random,
    chaos: Chaos,
    judge: Judge,
    agenda: Vec<(Duration, Event)>,
    downs: Vec<(Timestamp, Timestamp)>,
    /// When the clock was set.
    steps: Vec<Timestamp>,
    up_since: Option<Timestamp>,
    /// When the last daemon died, or began to stop: from then on nothing new is planned. By its own clock, as all
    /// of `downs`: what is due is due by that.
    left_at: Timestamp,
    wrong_by: SignedDuration,
    key: u64,
}

impl Year {
    fn new(plan: &Plan, tamper: Tamper) -> Result<Self, SimulationError> {
        let random = Random::from_seed(plan.seed);
        let scene = Scene::draw(&random, plan.disks, plan.settle);
        let start: Timestamp = random
            .pick(STARTS)
            .parse()
            .map_err(|error: jiff::Error| SimulationError::Scene(error.to_string()))?;
        let start = start.saturating_add(Duration::from_millis(random.between((0, 86_400_000))));
        let start = start.map_err(|error| SimulationError::Scene(error.to_string()))?;
        let world = World::new(Beginning {
            start,
            config: scene.config()?,
            cloud: scene.cloud(&random),
            network: Network::default(),
            seed: random.draw(),
            idle: IDLE,
            keep_events: false,
            listener: plan.listener,
            tamper,
        })?;
        let chaos = Chaos::new(Random::from_seed(random.draw()));
        let agenda = vec![
            (Duration::ZERO, Event::Weather),
            (DAY, Event::Judge),
            (chaos.until_edit(), Event::Edit),
            (chaos.until_key(), Event::KeyGoes),
            (chaos.until_step(), Event::Step),
        ];
        let mut judge = Judge::default();
        judge.learn(&world.config());
        let summary = judge.summary();
        (summary.seed, summary.days, summary.disks) = (plan.seed, plan.days, plan.disks);
        Ok(Self {
            world,
            scene,
            random,
            chaos,
            judge,
            agenda,
            downs: Vec::new(),
            steps: Vec::new(),
            up_since: None,
            left_at: start,
            wrong_by: SignedDuration::ZERO,
            key: 0,
        })
    }

    fn now(&self) -> Duration {
        self.world.truth.mono()
    }

    /// A daemon lives, at most until `end`; when that was, and whether it died or was stopped before.
    async fn live(&mut self, end: Duration) -> Result<(Duration, bool), SimulationError> {
        let began = self.now();
        let life = Arc::new(Life::default());
        let ends = self.chaos.end();
        if let End::AtBoundary { after: Duration::ZERO, boundary } = ends {
            life.end_at(boundary);
        }
        let started = tokio::select! {
            biased;
            () = life.ended() => None,
            started = self.world.start(&life) => Some(started),
        };
        if let Some(living) = self.unless_dead(&life, started)? {
            let now = self.world.truth.wall();
            self.up_since = Some(now);
            self.judge.daemon_started(now);
            self.live_on(&living, ends, began, end).await?;
            self.left_at = self.world.clock.wall();
            match ends {
                End::InOrder(after) if self.now() >= began.saturating_add(after) => {
                    tokio::select! {
                        biased;
                        () = life.ended() => {}
                        () = living.stop() => {}
                    }
                    self.judge.summary().stops += 1;
                }
                _ if self.now() < end || life.has_ended() => self.judge.summary().crashes += 1,
                _ => {}
            }
        } else {
            self.left_at = self.world.clock.wall();
            self.judge.summary().crashes += 1;
        }
        life.end();
        self.judge.summary().boundaries += life.passed();
        self.up_since = None;
        Ok((self.now(), self.now() < end))
    }

    /// Lets a daemon live until its end comes.
    async fn live_on(
        &mut self,
        living: &Living,
        ends: End,
        began: Duration,
        end: Duration,
    ) -> Result<(), SimulationError> {
        let after = match ends {
            End::AtBoundary { after, boundary } => {
                self.pass(began.saturating_add(after).min(end), Some(living)).await?;
                if !after.is_zero() {
                    living.life().end_at(living.life().passed().saturating_add(boundary));
                }
                // Where nothing is due for so long, it lives to see another day.
                after.saturating_add(2 * DAY)
            }
            End::AtMoment(after) | End::InOrder(after) => after,
        };
        self.pass(began.saturating_add(after).min(end), Some(living)).await
    }

    /// Lets time pass up to `until`, or to the end of `living`.
    async fn pass(&mut self, until: Duration, living: Option<&Living>) -> Result<(), SimulationError> {
        loop {
            let next = self.agenda.iter().copied().min().filter(|(at, _)| *at <= until);
            let wake = next.map_or(until, |(at, _)| at);
            let sleep = tokio::time::sleep(wake.saturating_sub(self.now()));
            match living {
                None => sleep.await,
                Some(living) => tokio::select! {
                    biased;
                    () = living.life().ended() => return Ok(()),
                    () = sleep => {}
                },
            }
            let Some(next) = next else { return Ok(()) };
            self.agenda.retain(|event| *event != next);
            self.happen(next.1, living).await?;
            if self.judge.objects(&self.world) {
                return Ok(());
            }
        }
    }

    fn later(&mut self, after: Duration, event: Event) {
        self.agenda.push((self.now().saturating_add(after), event));
    }

    async fn happen(&mut self, event: Event, living: Option<&Living>) -> Result<(), SimulationError> {
        match event {
            Event::Weather => {
                self.world.sim.set_faults(self.chaos.faults());
                self.world.net.set(self.chaos.network());
                self.later(self.chaos.until_weather(), Event::Weather);
            }
            Event::Judge => {
                self.judge(living).await?;
                self.later(DAY, Event::Judge);
            }
            Event::Edit => {
                self.scene.edit(&self.random);
                self.world.set_config(self.scene.config()?);
                self.judge.learn(&self.world.config());
                self.judge.summary().edits += 1;
                if let Some(living) = living {
                    let reloaded = living.reload(&self.world).await;
                    self.unless_dead(living.life(), Some(reloaded))?;
                }
                self.later(self.chaos.until_edit(), Event::Edit);
            }
            Event::KeyGoes => {
                // Expired, or taken back: those who still sign with it are refused.
                self.world.sim.set_credentials(vec![key(self.key + 1)]);
                self.judge.summary().keys += 1;
                self.later(self.chaos.key_outage(), Event::KeyComes);
            }
            Event::KeyComes => {
                // Somebody notices, and lets both hold: daemons to come have the new one.
                self.key += 1;
                self.world.set_key(self.key);
                self.world.sim.set_credentials(vec![key(self.key - 1), key(self.key)]);
                self.later(self.chaos.until_key(), Event::KeyGoes);
            }
            Event::Step => {
                self.set_clock(self.chaos.step());
                self.later(self.chaos.until_step_back(), Event::StepBack);
            }
            Event::StepBack => {
                self.set_clock(-self.wrong_by);
                self.later(self.chaos.until_step(), Event::Step);
            }
            Event::Noticed => {
                if let Some(living) = living {
                    living.look_at_the_clock();
                }
            }
        }
        Ok(())
    }

    fn set_clock(&mut self, by: SignedDuration) {
        self.world.clock.step(by);
        self.wrong_by = self.wrong_by.saturating_add(by);
        self.steps.push(self.world.truth.wall());
        self.judge.summary().steps += 1;
        self.later(self.chaos.until_noticed(), Event::Noticed);
    }

    async fn judge(&mut self, living: Option<&Living>) -> Result<(), SimulationError> {
        let now = self.world.truth.wall();
        self.downs.retain(|(_, to)| now.duration_since(*to) < MEMORY);
        self.steps.retain(|at| now.duration_since(*at) < MEMORY);
        let around = |at: &Timestamp| {
            let (from, to) = (at.saturating_sub(FURTHEST_STEP), at.saturating_add(FURTHEST_STEP));
            Some((from.ok()?, to.ok()?))
        };
        // Due instants are by the daemon's clock, which may have been behind when it said, by the true one, that it cannot be
        // believed.
        let blind = self.world.log.blind(now.saturating_sub(MEMORY).unwrap_or(now));
        let blind =
            blind.into_iter().map(|(from, to)| (from.saturating_sub(FURTHEST_STEP).unwrap_or(from), to));
        let attendance = Attendance {
            up_since: self.up_since,
            is_in_line: living.is_some_and(Living::is_in_line),
            downtime: self.downs.iter().map(|(from, to)| to.duration_since(*from)).sum(),
            absences: self
                .downs
                .iter()
                .copied()
                .chain(self.steps.iter().filter_map(around))
                .chain(blind)
                .collect(),
            crashes: self.judge.summary().crashes,
        };
        Ok(self.judge.judge(&self.world, attendance).await?)
    }

    /// A day without misfortunes, in which all is brought to its end, and the last judgement.
    async fn conclude(mut self) -> Result<Summary, SimulationError> {
        self.world.sim.set_faults(Vec::new());
        self.world.net.set(Network::default());
        self.world.sim.set_credentials((0..=self.key + 1).map(key).collect());
        self.world.clock.step(-self.wrong_by);
        let until = self.now().saturating_add(DAY);
        self.agenda.clear();
        let life = Arc::new(Life::default());
        let started = Some(self.world.start(&life).await);
        if let Some(living) = self.unless_dead(&life, started)? {
            let now = self.world.truth.wall();
            self.up_since = Some(now);
            self.judge.daemon_started(now);
            if !self.judge.objects(&self.world) {
                self.pass(until, Some(&living)).await?;
            }
            self.judge(Some(&living)).await?;
            self.judge.judge_kept(&self.world).await?;
            living.stop().await;
        }
        self.judge.summary().boundaries += life.passed();
        Ok(self.judge.conclude(&self.world))
    }

    /// What was done, unless its doer died; a failure of one that lives is a fault of the daemon.
    fn unless_dead<T>(
        &mut self,
        life: &Life,
        done: Option<Result<T, SharedError>>,
    ) -> Result<Option<T>, SimulationError> {
        match done {
            Some(Ok(done)) => Ok(Some(done)),
            Some(Err(error)) if !life.has_ended() => {
                self.judge.object(format!("a daemon could not start or reload: {error}"));
                Ok(None)
            }
            _ => Ok(None),
        }
    }
}
