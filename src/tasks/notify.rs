//! Tells notifiers what is to be told.
//!
//! Responsible for one look at a time, and for a line to each notifier: what it is sent, when it is tried again, and that
//! what it has taken is written down. It refuses to remember: what was told is in the journal, and a message that was
//! taken while the daemon died is sent once more. A line that is silent holds up no other, and nothing else.

mod draft;
mod line;
mod look;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backup_core::notify::{Round, Said, ToldRounds, next_ping};
use backup_core::{JobName, NotifierName, TargetName};
use futures_util::FutureExt as _;
use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use self::draft::{Draft, FirstSeen, Look};
use self::line::Line;
use self::look::{Facts, ROUNDS, Watched, conditions, key_of, ping_of};
use super::driver::{InFlight, Task};
use crate::app::{App, PATIENCE};
use crate::bell::Bell;
use crate::config::{Channel, Config, Job, Notifier, Ping};
use crate::journal::{Change, Told};
use crate::notify::message::NAMED;
use crate::notify::{Beat, Signal};
use crate::report::{Event, Kind, counted};

/// Two looks are no closer together, whatever happens meanwhile: a look reads how every disk stands.
const APART: Duration = Duration::from_secs(5);
/// How often a target that does not answer is asked whether it does, for want of other calls.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// The task.
#[derive(Default)]
pub struct Notify {
    lines: BTreeMap<String, Arc<Line>>,
    config: Option<Arc<Config>>,
    seen: FirstSeen,
    conditions: Watched,
    knew_time: bool,
    /// The rest by the monotonic clock.
    looked: Option<Duration>,
    pinged: BTreeMap<NotifierName, Duration>,
    asked: BTreeMap<TargetName, Duration>,
}

impl Task for Notify {
    const NEEDS_CLOCK: bool = false;

    fn bell(app: &App) -> &Bell {
        &app.pokes.notify
    }

    async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        let settings = app.settings();
        let config = &settings.config;
        let is_new = self.config.as_ref().is_none_or(|known| !Arc::ptr_eq(known, config));
        if self.lines.is_empty() && !is_new {
            return Duration::MAX;
        }
        let mono = app.parts.time.clock().mono();
        let rest = self.looked.map_or(Duration::ZERO, |looked| (looked + APART).saturating_sub(mono));
        let is_trusted = app.parts.time.is_trusted();
        let knew_time = std::mem::replace(&mut self.knew_time, is_trusted);
        let knows_time = is_trusted && !knew_time;
        if !rest.is_zero() && !is_new && !knows_time {
            return rest;
        }
        self.looked = Some(mono);
        let is_wanted = !config.notify.is_empty() || config.jobs.iter().any(|job| job.ping.is_some());
        let now = (is_trusted && is_wanted).then(|| app.now().wall);
        let read = {
            let settings = Arc::clone(&settings);
            app.parts.journal.read(move |store| Facts::read(store, &settings, now)).await
        };
        let facts = match read {
            Ok(facts) => facts,
            Err(error) => {
                app.journal_fault(&error);
                return APART;
            }
        };
        if is_new && !self.follow(app, config, &facts).await {
            return APART;
        }
        self.conditions.note(&conditions(app), told_conditions(&facts), mono);
        self.ask_unreachable(app, in_flight, mono);
        let look = Look {
            config,
            facts: &facts,
            conditions: &self.conditions,
            now: app.now().wall,
            mono,
            is_trusted: now.is_some(),
        };
        let mut wait = Duration::MAX;
        for (name, notifier) in &config.notify {
            let Some(line) = self.lines.get(name.as_str()) else { continue };
            let soon = match &notifier.channel {
                Channel::Ping { ping, every } => {
                    let last = self.pinged.get(name).copied();
                    let due = last.map_or(Duration::ZERO, |last| (last + *every).saturating_sub(mono));
                    let is_well =
                        look.is_trusted && app.hanging(PATIENCE).is_empty() && !facts.is_any_beyond();
                    if due.is_zero() && is_well && line.take(mono) {
                        self.pinged.insert(name.clone(), mono);
                        let alive = alive(Arc::clone(app), Arc::clone(line), name.clone(), notifier, ping);
                        in_flight.start(&[], alive);
                    }
                    match (due.is_zero(), is_well) {
                        (true, true) => APART,
                        // What is wrong is looked at as often as the heartbeat beats.
                        (true, false) => Duration::MAX,
                        (false, _) => due,
                    }
                }
                channel => {
                    let Some(manner) = channel.manner() else { continue };
                    if line.is_busy() {
                        continue;
                    }
                    let draft = Draft::of(name, manner, &look, &mut self.seen);
                    if let Some(change) = draft.silent(name) {
                        // What could not be written is found again.
                        let _ = app.write(change).await;
                    }
                    let is_pending = draft.is_pending || !draft.is_empty();
                    if !draft.is_empty() && line.take(mono) {
                        let tell =
                            tell(Arc::clone(app), Arc::clone(line), name.clone(), notifier.clone(), draft);
                        in_flight.start(&[], tell);
                    }
                    if is_pending { APART } else { Duration::MAX }
                }
            };
            wait = wait.min(soon);
        }
        if now.is_some() {
            for (job, ping) in config.jobs.iter().filter_map(|job| Some((job, job.ping.as_ref()?))) {
                wait = wait.min(self.ping_round(app, in_flight, job, ping, &facts, mono).await);
            }
        }
        wait
    }
}

impl Notify {
    /// Another configuration is in force; false where the journal could not follow.
    async fn follow(&mut self, app: &App, config: &Arc<Config>, facts: &Facts) -> bool {
        let jobs = config.jobs.iter().filter(|job| job.ping.is_some()).map(|job| ping_of(&job.name));
        let names: BTreeSet<String> = config.notify.keys().map(ToString::to_string).chain(jobs).collect();
        if facts.told.keys().any(|known| !names.contains(known)) {
            let change = Change::OnlyNotifiers(names.iter().cloned().collect());
            if app.write(change).await.is_err() {
                return false;
            }
        }
        self.lines.retain(|name, _| names.contains(name));
        // What was wrong may be mended: it is tried at once.
        self.lines.values().for_each(|line| line.hurry());
        for name in names {
            self.lines.entry(name).or_default();
        }
        self.config = Some(Arc::clone(config));
        true
    }

    /// A target that did not answer the last call may be asked nothing for hours.
    fn ask_unreachable(&mut self, app: &Arc<App>, in_flight: &mut InFlight, mono: Duration) {
        for (target, cloud) in &app.settings().clouds {
            if cloud.is_reachable() || !app.parts.time.is_trusted() {
                self.asked.remove(target);
                continue;
            }
            let asked = self.asked.entry(target.clone()).or_insert(mono);
            if mono >= *asked + ASK_AGAIN {
                *asked = mono;
                let (cloud, stop) = (cloud.clone(), app.stop.clone());
                in_flight.start(&[], async move {
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        // What came of it, the client keeps.
                        _ = cloud.ask_time() => {}
                    }
                });
            }
        }
    }

    /// Tells a job's own ping of its rounds.
    async fn ping_round(
        &self,
        app: &Arc<App>,
        in_flight: &mut InFlight,
        job: &Job,
        ping: &Ping,
        facts: &Facts,
        mono: Duration,
    ) -> Duration {
        let Some(line) = self.lines.get(&ping_of(&job.name)).filter(|line| !line.is_busy()) else {
            return Duration::MAX;
        };
        let Some(told) = facts.rounds_told(&job.name) else {
            let begin = ToldRounds::begin(app.in_force_since());
            // What could not be written is found again.
            let _ = app.write(rounds_told(&job.name, &begin, app.now().wall)).await;
            return APART;
        };
        let rounds: &[Round] = facts.rounds.get(&job.name).map_or(&[], Vec::as_slice);
        let there = told.of_these(rounds);
        if there != told {
            let _ = app.write(rounds_told(&job.name, &there, app.now().wall)).await;
        }
        let Some((due, said)) = next_ping(&there, rounds) else { return Duration::MAX };
        if line.take(mono) {
            let after = rounds_told(&job.name, &there.after(due, said), app.now().wall);
            let round = RoundBeat { job: job.name.clone(), due, said, ping: ping.clone(), after };
            in_flight.start(&[], beat(Arc::clone(app), Arc::clone(line), round));
        }
        APART
    }
}

/// The conditions that anybody was told of.
fn told_conditions(facts: &Facts) -> impl Iterator<Item = look::Key> {
    facts.told.values().flat_map(BTreeMap::keys).filter_map(|subject| key_of(subject))
}

fn rounds_told(job: &JobName, told: &ToldRounds, at: Timestamp) -> Change {
    // A map of plain values can be written.
    let body = serde_json::to_string(told).unwrap_or_default();
    let told = Told { subject: ROUNDS.to_owned(), body, at };
    Change::Told { notifier: ping_of(job), told: vec![told], forgotten: Vec::new() }
}

/// Sends a message, and writes down that it was taken.
async fn tell(app: Arc<App>, line: Arc<Line>, name: NotifierName, notifier: Notifier, draft: Draft) {
    let (message, told) = draft.message(&app, &name, app.now().wall).await;
    let deliver = &app.parts.deliver;
    let sending = match &notifier.channel {
        Channel::Webhook { hook, .. } => deliver.post(hook, &message),
        Channel::Mail { mail, .. } => deliver.mail(mail, &message),
        Channel::Ping { .. } => return line.free(),
    };
    if line.deliver(&app, name.as_str(), notifier.timeout, sending).await {
        let event = Event::new(Kind::NotifySent, format!("{name} was told: {}", message.title));
        app.say(&event.with(|fields| fields.notifier = Some(name.to_string())));
        app.persist(told).await;
    }
    line.free();
    app.pokes.notify.ring();
}

/// All is well.
fn alive(
    app: Arc<App>,
    line: Arc<Line>,
    name: NotifierName,
    notifier: &Notifier,
    ping: &Ping,
) -> impl Future<Output = ()> + Send + 'static {
    let (timeout, ping) = (notifier.timeout, ping.clone());
    let text = "all tasks move, and no disk is beyond its objective".to_owned();
    let beat = Beat { signal: Signal::Success, run: None, text };
    async move {
        line.deliver(&app, name.as_str(), timeout, app.parts.deliver.ping(&ping, &beat)).await;
        line.free();
    }
}

/// A word about a round.
struct RoundBeat {
    job: JobName,
    due: Timestamp,
    said: Said,
    ping: Ping,
    after: Change,
}

async fn beat(app: Arc<App>, line: Arc<Line>, round: RoundBeat) {
    let RoundBeat { job, due, said, ping, after } = round;
    let (signal, text) = match said {
        Said::Start => (Signal::Start, format!("{job}: the backups due {due} begin")),
        Said::Success => (Signal::Success, format!("{job}: all disks have a good backup of {due}")),
        Said::Fail => (Signal::Fail, why_failed(&app, &job, due).await),
    };
    let run = Some(run_id(&app.settings().config, &job, due));
    let (name, beat) = (ping_of(&job), Beat { signal, run, text });
    let sending = app.parts.deliver.ping(&ping, &beat).boxed();
    if line.deliver(&app, &name, Job::PING_TIMEOUT, sending).await {
        if signal == Signal::Fail {
            let event = Event::new(Kind::NotifySent, format!("{name} was told of the failure of {due}"));
            app.say(&event.with(|fields| {
                fields.notifier = Some(name.clone());
                fields.job = Some(job.to_string());
                fields.due = Some(due.to_string());
            }));
        }
        app.persist(after).await;
    }
    line.free();
    app.pokes.notify.ring();
}

/// Which disks of a round have no backup, and why.
async fn why_failed(app: &App, job: &JobName, due: Timestamp) -> String {
    let asked = job.clone();
    let found = app.parts.journal.read(move |store| {
        let round = store.rounds(&asked, due)?.into_iter().find(|round| round.due == due);
        Ok((round.map_or(0, |round| round.failed), store.without_backup(&asked, due, NAMED)?))
    });
    // Without the reasons it is told all the same.
    let (count, disks) = found.await.unwrap_or_default();
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut text = format!("{job}: {} without a good backup of {due}", counted(count, "disk"));
    for (disk, why) in &disks {
        text.push_str(&format!("\n{disk}: {why}"));
    }
    if count > disks.len() {
        text.push_str(&format!("\nand {} more", count - disks.len()));
    }
    text
}

/// A UUID that the begin and the end of a round have in common, also after a restart: of version 8, from a hash.
fn run_id(config: &Config, job: &JobName, due: Timestamp) -> String {
    let mut hash: [u8; 32] = Sha256::digest(format!("{} {job} {due}", config.owner)).into();
    hash[6] = (hash[6] & 0x0f) | 0x80;
    hash[8] = (hash[8] & 0x3f) | 0x80;
    let hex = hex::encode(&hash[..16]);
    [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-")
}
