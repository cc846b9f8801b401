//! Who is told what, and how often: whole daemons under a paused clock, with notifiers that take what they are sent,
//! refuse it, or never answer.

#![expect(clippy::unwrap_used, reason = "a test's helpers fail as its body does")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cbs_backupd::app::Idle;
use cbs_backupd::clock::{Clock as _, SteppedClock};
use cbs_backupd::config::{Config, Mail, Ping, Secret, Webhook};
use cbs_backupd::notify::message::{Message, Sort};
use cbs_backupd::notify::{Beat, Deliver, Delivered, Signal, Undelivered};
use cbs_backupd::report::{Event, Kind};
use cbs_backupd::simulate::{Beginning, Life, Network, Tamper, World, key};
use cbs_sim::{Disk, Effect, Rule, Timings, Which};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::ExposeSecret as _;

const CREATE: &str = "CreateDiskBackup";
/// Ten seconds before the first round is due.
const START: &str = "2026-11-24T01:59:50Z";
const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

/// How somebody behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manners {
    Takes,
    Refuses,
    NeverAnswers,
}

/// All who are told, and what they were.
struct Office {
    clock: Arc<SteppedClock>,
    manners: Mutex<BTreeMap<String, Manners>>,
    messages: Mutex<Vec<(Timestamp, String, Message)>>,
    beats: Mutex<Vec<(Timestamp, String, Beat)>>,
    attempts: Mutex<Vec<(Timestamp, String)>>,
}

impl Office {
    /// What becomes of something that is sent to `to`.
    fn meet(&self, to: &str, take: impl FnOnce(Timestamp)) -> BoxFuture<'static, Delivered> {
        let now = self.clock.wall();
        self.attempts.lock().unwrap().push((now, to.to_owned()));
        match self.manners.lock().unwrap().get(to).copied().unwrap_or(Manners::Takes) {
            Manners::Takes => {
                take(now);
                std::future::ready(Ok(())).boxed()
            }
            Manners::Refuses => std::future::ready(Err(Undelivered("refused".to_owned()))).boxed(),
            Manners::NeverAnswers => std::future::pending().boxed(),
        }
    }

    fn set(&self, to: &str, manners: Manners) {
        self.manners.lock().unwrap().insert(to.to_owned(), manners);
    }

    /// The messages that `to` took.
    fn messages(&self, to: &str) -> Vec<Message> {
        let all = self.messages.lock().unwrap();
        all.iter().filter(|(_, known, _)| known == to).map(|(.., message)| message.clone()).collect()
    }

    /// What they were, and their titles without what stands before each.
    fn titles(&self, to: &str) -> Vec<(Sort, String)> {
        let short = |title: &str| title.trim_start_matches("cbs-backupd ops1: ").to_owned();
        self.messages(to).iter().map(|message| (message.kind, short(&message.title))).collect()
    }

    fn beats(&self, to: &str) -> Vec<Beat> {
        let all = self.beats.lock().unwrap();
        all.iter().filter(|(_, known, _)| known == to).map(|(.., beat)| beat.clone()).collect()
    }

    fn signals(&self, to: &str) -> Vec<Signal> {
        self.beats(to).iter().map(|beat| beat.signal).collect()
    }

    fn attempts(&self, to: &str) -> Vec<Timestamp> {
        self.attempts.lock().unwrap().iter().filter(|(_, known)| known == to).map(|(at, _)| *at).collect()
    }
}

fn host(secret: &Secret) -> String {
    let Secret::Here(url) = secret else { panic!("{secret:?}") };
    url.expose_secret().trim_start_matches("https://").split('/').next().unwrap().to_owned()
}

impl Deliver for Office {
    fn ping<'a>(&'a self, ping: &'a Ping, beat: &'a Beat) -> BoxFuture<'a, Delivered> {
        let to = host(&ping.url);
        self.meet(&to, |now| self.beats.lock().unwrap().push((now, to.clone(), beat.clone())))
    }

    fn post<'a>(&'a self, hook: &'a Webhook, message: &'a Message) -> BoxFuture<'a, Delivered> {
        let to = host(&hook.url);
        self.meet(&to, |now| self.messages.lock().unwrap().push((now, to.clone(), message.clone())))
    }

    fn mail<'a>(&'a self, mail: &'a Mail, message: &'a Message) -> BoxFuture<'a, Delivered> {
        let to = mail.server.clone();
        self.meet(&to, |now| self.messages.lock().unwrap().push((now, to.clone(), message.clone())))
    }
}

/// What a story begins with.
struct Story {
    disks: usize,
    schedule: &'static str,
    /// More keys of the job.
    job: &'static str,
    notify: &'static str,
    faults: Vec<Rule>,
    manners: &'static [(&'static str, Manners)],
}

const CHAT: &str = "  chat: { kind: webhook, url: https://chat/T0K3N-OF-THE-HOOK }\n";

impl Default for Story {
    fn default() -> Self {
        Self { disks: 1, schedule: "0 * * * *", job: "", notify: CHAT, faults: Vec::new(), manners: &[] }
    }
}

/// Creates that the cloud will never do.
fn fails(which: Which) -> Vec<Rule> {
    let code = "InvalidParameter".to_owned();
    vec![Rule::on(CREATE, Effect::Error { code, message: "as scripted".to_owned() }).which(which)]
}

fn config(story: &Story) -> Config {
    let disks: Vec<String> = (0..story.disks).map(disk).collect();
    let notify = if story.notify.is_empty() { String::new() } else { format!("notify:\n{}", story.notify) };
    let text = format!(
        "owner: ops1\nsettle: 30s\ntargets:\n  default: {{ region: ap-guangzhou }}\n{notify}\
         jobs:\n  - name: db\n    disks: [{}]\n    schedule: {}\n    complete_within: 30m\n{}",
        disks.join(", "),
        serde_json::to_string(story.schedule).unwrap(),
        story.job,
    );
    Config::parse("story.yaml", &text, &BTreeMap::new()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn disk(number: usize) -> String {
    format!("disk-{number:08x}")
}

fn begin(story: Story) -> (World, Arc<Office>) {
    let world = World::new(Beginning {
        start: START.parse().unwrap(),
        config: config(&story),
        cloud: cbs_sim::World {
            credentials: vec![key(0)],
            timings: Timings {
                create_ms: (20_000, 40_000),
                visible_ms: (0, 1_500),
                reply_ms: (5, 60),
                ..Timings::default()
            },
            disks: (0..story.disks).map(|number| Disk { quota: 100, ..Disk::new(&disk(number)) }).collect(),
            faults: story.faults,
            ..cbs_sim::World::default()
        },
        network: Network::default(),
        seed: 1,
        idle: Idle { hop: Duration::from_secs(30), watch: Duration::from_secs(5) },
        keep_events: true,
        listener: None,
        tamper: Tamper::default(),
    })
    .unwrap();
    let manners = story.manners.iter().map(|(to, manners)| ((*to).to_owned(), *manners)).collect();
    let office = Arc::new(Office {
        clock: Arc::clone(&world.clock),
        manners: Mutex::new(manners),
        messages: Mutex::default(),
        beats: Mutex::default(),
        attempts: Mutex::default(),
    });
    world.set_deliver(Arc::clone(&office) as Arc<dyn Deliver>);
    (world, office)
}

fn said(world: &World, kind: Kind) -> Vec<Event> {
    world.log.events().into_iter().filter(|event| event.kind == kind).collect()
}

/// Plays a story for so long.
async fn play(story: Story, time: Duration) -> (World, Arc<Office>) {
    let (world, office) = begin(story);
    let daemon = world.start(&Arc::default()).await.unwrap();
    tokio::time::sleep(time).await;
    daemon.stop().await;
    assert_eq!(said(&world, Kind::DaemonFault), []);
    (world, office)
}

fn trouble(title: &str) -> (Sort, String) {
    (Sort::Trouble, title.to_owned())
}

fn recovery(title: &str) -> (Sort, String) {
    (Sort::Recovery, title.to_owned())
}

#[tokio::test(start_paused = true)]
async fn the_first_failure_and_the_recovery_speak_and_nothing_between() {
    let story = Story { faults: fails(Which::First(3)), ..Story::default() };
    let (world, office) = play(story, 5 * HOUR).await;
    assert_eq!(office.titles("chat"), [trouble("db: 1 disk failed"), recovery("db: 1 disk recovered")]);
    let [first, last] = &office.messages("chat")[..] else { panic!() };
    let named = &first.jobs[0].failed.disks[0];
    assert_eq!(named.disk_id.to_string(), disk(0));
    assert_eq!(named.due, Some("2026-11-24T02:00:00Z".parse().unwrap()));
    assert_eq!(named.reason.as_deref(), Some("refused: permanent (InvalidParameter)"));
    assert!(first.at < "2026-11-24T02:01:00Z".parse().unwrap(), "{}", first.at);
    assert!(last.at < "2026-11-24T05:02:00Z".parse().unwrap(), "{}", last.at);
    assert_ne!(first.id, last.id);
    assert_eq!(said(&world, Kind::BackupFailed).len(), 3);
    assert_eq!(said(&world, Kind::NotifySent).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn many_disks_that_fail_are_one_message() {
    let story = Story { disks: 600, schedule: "0 2 * * *", faults: fails(Which::All), ..Story::default() };
    let (_, office) = play(story, HOUR).await;
    assert_eq!(office.titles("chat"), [trouble("db: 600 disks failed")]);
    let message = &office.messages("chat")[0];
    assert_eq!((message.jobs[0].failed.count, message.jobs[0].failed.disks.len()), (600, 10));
    assert!(message.text.len() < 2_000, "{}", message.text);
}

#[tokio::test(start_paused = true)]
async fn news_are_held_no_longer_than_the_job_says_they_may_be() {
    // The first disk fails at once; the second is tried again for hours.
    let code = "ResourceBusy".to_owned();
    let busy = Rule::on(CREATE, Effect::Error { code, message: String::new() });
    let mut faults = fails(Which::Nth(1));
    faults.push(busy);
    let story = Story { disks: 2, schedule: "0 2 * * *", faults, ..Story::default() };
    let (_, office) = play(story, HOUR).await;
    assert_eq!(office.titles("chat"), [trouble("db: 1 disk failed")]);
    let at = office.messages("chat")[0].at;
    let held = at.duration_since("2026-11-24T02:00:00Z".parse().unwrap()).as_secs();
    assert!((300..340).contains(&held), "{held} s");
}

#[tokio::test(start_paused = true)]
async fn a_restart_repeats_nothing() {
    let (world, office) = begin(Story {
        faults: fails(Which::First(3)),
        job: "    ping: https://round/uuid\n",
        ..Story::default()
    });
    for _ in 0..50 {
        let daemon = world.start(&Arc::default()).await.unwrap();
        tokio::time::sleep(7 * MINUTE).await;
        daemon.stop().await;
    }
    assert_eq!(office.titles("chat"), [trouble("db: 1 disk failed"), recovery("db: 1 disk recovered")]);
    use Signal::{Fail, Start, Success};
    let signals = office.signals("round");
    let ends: Vec<Signal> = signals.iter().copied().filter(|signal| *signal != Start).collect();
    assert_eq!(ends, [Fail, Fail, Fail, Success, Success, Success]);
    // That a round begins is not said of one that has ended before anybody looked.
    assert!((3..=6).contains(&(signals.len() - ends.len())), "{signals:?}");
}

/// A daemon dies at each boundary of its effects in turn, and another takes over: nothing is left out, and only what was
/// under way when it died may be said twice.
#[tokio::test(start_paused = true)]
async fn a_crash_leaves_nothing_out_and_repeats_one_word_at_most() {
    let story = || Story {
        schedule: "0 2 * * *",
        faults: fails(Which::First(1)),
        job: "    ping: https://round/uuid\n",
        ..Story::default()
    };
    let mut repeats = 0;
    for boundary in 1.. {
        let (world, office) = begin(story());
        // The job is known before its round is due.
        let before = world.start(&Arc::default()).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        before.stop().await;
        let life = Arc::new(Life::until(boundary));
        let first = world.start(&life).await;
        let dead = world.clock.mono() + 5 * MINUTE;
        while !life.has_ended() && world.clock.mono() < dead {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let whole = !life.has_ended();
        drop(first);
        let daemon = world.start(&Arc::default()).await.unwrap();
        tokio::time::sleep(10 * MINUTE).await;
        daemon.stop().await;
        let titles = office.titles("chat");
        let signals = office.signals("round");
        let is_known = said(&world, Kind::BackupFailed).len() + said(&world, Kind::BackupCompleted).len();
        assert!(is_known > 0, "boundary {boundary}");
        let once = |count: usize| (1..=2).contains(&count);
        let count = |signal| signals.iter().filter(|known| **known == signal).count();
        // The cloud may have met its fault before the daemon died: then the disk has a backup, and all is well.
        if said(&world, Kind::BackupFailed).is_empty() {
            assert_eq!((titles.len(), count(Signal::Fail)), (0, 0), "boundary {boundary}");
            assert!(once(count(Signal::Success)), "boundary {boundary}: {signals:?}");
        } else {
            assert!(
                once(titles.len()) && once(count(Signal::Fail)),
                "boundary {boundary}: {titles:?} {signals:?}"
            );
            assert!(titles.iter().all(|title| *title == trouble("db: 1 disk failed")), "{titles:?}");
            let ids: Vec<String> = office.messages("chat").into_iter().map(|message| message.id).collect();
            assert!(ids.iter().all(|id| *id == ids[0]), "a repetition is known by its id: {ids:?}");
        }
        assert!(titles.len() + signals.len() <= 4, "boundary {boundary}: {titles:?} {signals:?}");
        repeats += usize::from(titles.len() == 2 || count(Signal::Fail) == 2 || count(Signal::Start) == 2);
        if whole {
            assert!(boundary > 20, "{boundary} boundaries");
            break;
        }
    }
    assert!(repeats >= 3, "nothing was ever repeated: {repeats}");
}

#[tokio::test(start_paused = true)]
async fn a_notifier_that_never_answers_delays_no_backup_and_nobody_else() {
    const SILENT: &str = "  chat: { kind: webhook, url: https://chat/T0K3N }\n  hole: { kind: webhook, url: https://hole/T0K3N }\n  \
                          alive: { kind: ping, url: https://hole2/T0K3N, every: 30s }\n";
    // In each of three rounds other disks fail, so that there is always something to tell.
    let story =
        |notify, job| Story { disks: 40, faults: fails(Which::Every(3)), notify, job, ..Story::default() };
    let (quiet, _) = play(story("", ""), 3 * HOUR).await;
    let (world, office) = begin(story(SILENT, "    ping: https://hole3/uuid\n"));
    for to in ["hole", "hole2", "hole3"] {
        office.set(to, Manners::NeverAnswers);
    }
    let daemon = world.start(&Arc::default()).await.unwrap();
    tokio::time::sleep(3 * HOUR).await;
    daemon.stop().await;
    // To the millisecond: when each create arrived, and when each backup was made.
    let creates = |world: &World| -> Vec<(Timestamp, Option<String>)> {
        let ledger = world.sim.ledger();
        ledger.requests_of(CREATE).map(|request| (request.arrival, request.disk_id.clone())).collect()
    };
    assert_eq!(creates(&world).len(), 120);
    assert_eq!(creates(&world), creates(&quiet));
    assert!(office.messages("chat").len() >= 3, "{:?}", office.titles("chat"));
    assert!(["hole", "hole2", "hole3"].iter().all(|to| office.attempts(to).len() > 5));
    assert_eq!(said(&world, Kind::NotifyFailed).len(), 3, "each is said once");
    let why = &said(&world, Kind::NotifyFailed)[0].message;
    assert!(why.ends_with("cannot be told: no answer within 10 s"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_notifier_that_was_down_is_told_how_things_stand_when_it_is_back() {
    let (world, office) = begin(Story {
        faults: fails(Which::First(3)),
        manners: &[("chat", Manners::Refuses)],
        ..Story::default()
    });
    let daemon = world.start(&Arc::default()).await.unwrap();
    tokio::time::sleep(2 * HOUR + 30 * MINUTE).await;
    assert_eq!(office.titles("chat"), []);
    let tries = office.attempts("chat");
    let pauses: Vec<i64> = tries.windows(2).map(|two| two[1].duration_since(two[0]).as_secs()).collect();
    assert!(pauses[0] < 20 && pauses.last().is_some_and(|last| (900..940).contains(last)), "{pauses:?}");
    office.set("chat", Manners::Takes);
    tokio::time::sleep(20 * MINUTE).await;
    assert_eq!(office.titles("chat"), [trouble("db: 1 disk failed")]);
    daemon.stop().await;
    let spoken =
        |kind| said(&world, kind).iter().map(|event| event.fields.notifier.clone()).collect::<Vec<_>>();
    assert_eq!(spoken(Kind::NotifyFailed), [Some("chat".to_owned())]);
    assert_eq!(spoken(Kind::NotifyRecovered), [Some("chat".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn each_round_begins_and_ends_once_and_its_failure_says_which_disks_and_why() {
    let faults = fails(Which::Nth(2));
    let story =
        Story { disks: 3, faults, job: "    ping: https://round/uuid\n", notify: "", ..Story::default() };
    let (_, office) = play(story, 2 * HOUR).await;
    use Signal::{Fail, Start, Success};
    assert_eq!(office.signals("round"), [Start, Fail, Start, Success]);
    let beats = office.beats("round");
    let [first, failed, second, good] = &beats[..] else { panic!() };
    assert_eq!((&first.run, &second.run), (&failed.run, &good.run));
    assert_ne!(first.run, second.run);
    let lines: Vec<&str> = failed.text.lines().collect();
    let [what, which] = lines[..] else { panic!("{lines:?}") };
    assert_eq!(what, "db: 1 disk without a good backup of 2026-11-24T02:00:00Z");
    assert!(
        which.ends_with(": refused: permanent (InvalidParameter)") && which.starts_with("disk-"),
        "{which}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_job_tells_those_that_it_names() {
    const TWO: &str = "  chat: { kind: webhook, url: https://chat/T0K3N }\n  \
                       post: { kind: mail, server: post, from: a@example.com, to: b@example.com }\n";
    for (job, chat, post) in [("", 1, 1), ("    notify: [post]\n", 0, 1), ("    notify: []\n", 0, 0)] {
        let story = Story { faults: fails(Which::First(1)), notify: TWO, job, ..Story::default() };
        let (_, office) = play(story, HOUR / 2).await;
        assert_eq!((office.messages("chat").len(), office.messages("post").len()), (chat, post), "{job}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_passed_objective_speaks_and_stops_the_daemons_own_ping() {
    const NOTIFY: &str = "  chat: { kind: webhook, url: https://chat/T0K3N, remind: 6h }\n  \
                          alive: { kind: ping, url: https://alive/T0K3N, every: 5m }\n";
    let faults = fails(Which::All).into_iter().map(|rule| rule.which(Which::First(40))).collect();
    let story = Story { faults, notify: NOTIFY, job: "    objective: 3h\n", ..Story::default() };
    let (world, office) = begin(story);
    let daemon = world.start(&Arc::default()).await.unwrap();
    tokio::time::sleep(14 * HOUR).await;
    // Nothing was owed before the first run ended.
    assert_eq!(office.signals("alive").len(), 1);
    let still = (Sort::Reminder, "db: still 1 disk failed, still 1 disk beyond objective".to_owned());
    let expected = [trouble("db: 1 disk failed, 1 disk beyond objective"), still.clone(), still];
    assert_eq!(office.titles("chat"), expected);
    tokio::time::sleep(30 * HOUR).await;
    daemon.stop().await;
    assert_eq!(office.titles("chat").last(), Some(&recovery("db: 1 disk recovered")));
    let beats = office.signals("alive").len();
    assert!((30..60).contains(&beats), "every five minutes since it is well again: {beats}");
    assert_eq!(said(&world, Kind::NotifySent).len(), office.titles("chat").len(), "a ping is no news");
}

#[tokio::test(start_paused = true)]
async fn a_credential_that_is_refused_is_told_and_that_it_is_good_again() {
    let (world, office) = begin(Story::default());
    world.set_key(1);
    let daemon = world.start(&Arc::default()).await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    daemon.stop().await;
    let failing = trouble("credentials failing, target default");
    assert_eq!(office.titles("chat"), std::slice::from_ref(&failing));
    // Until it is known better, nobody is told anything.
    let daemon = world.start(&Arc::default()).await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    daemon.stop().await;
    assert_eq!(office.titles("chat"), std::slice::from_ref(&failing));
    world.set_key(0);
    let daemon = world.start(&Arc::default()).await.unwrap();
    tokio::time::sleep(10 * MINUTE).await;
    daemon.stop().await;
    assert_eq!(office.titles("chat"), [failing, recovery("credentials good again, target default")]);
}

#[tokio::test(start_paused = true)]
async fn a_cloud_that_is_away_for_long_is_told_and_one_that_is_away_for_a_moment_is_not() {
    let (world, office) = begin(Story { schedule: "0 2 * * *", ..Story::default() });
    let daemon = world.start(&Arc::default()).await.unwrap();
    let host = "cbs.ap-guangzhou.tencentcloudapi.com".to_owned();
    let away = Network { refusing: [host].into(), ..Network::default() };
    tokio::time::sleep(5 * Duration::from_secs(1)).await;
    world.net.set(away.clone());
    tokio::time::sleep(5 * MINUTE).await;
    world.net.set(Network::default());
    tokio::time::sleep(2 * HOUR).await;
    assert_eq!(office.titles("chat"), []);
    // The last call before all is quiet fails, and the cloud is back before anybody calls again.
    world.net.set(away.clone());
    tokio::time::sleep(8 * HOUR).await;
    assert_eq!(office.titles("chat"), [trouble("cloud unreachable, target default")]);
    world.net.set(Network::default());
    tokio::time::sleep(10 * MINUTE).await;
    daemon.stop().await;
    assert_eq!(office.titles("chat")[1..], [recovery("cloud reachable again, target default")]);
}

#[tokio::test(start_paused = true)]
async fn what_was_told_to_those_who_are_gone_is_forgotten() {
    let faults = || fails(Which::All);
    let (world, office) = begin(Story { faults: faults(), ..Story::default() });
    let daemon = world.start(&Arc::default()).await.unwrap();
    tokio::time::sleep(HOUR / 2).await;
    let told = async || world.journal.read(|store| store.told()).await.unwrap().len();
    assert_eq!(told().await, 1);
    world.set_config(config(&Story { notify: "", faults: faults(), ..Story::default() }));
    daemon.reload(&world).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    assert_eq!(told().await, 0);
    world.set_config(config(&Story { faults: faults(), ..Story::default() }));
    daemon.reload(&world).await.unwrap();
    tokio::time::sleep(MINUTE).await;
    daemon.stop().await;
    assert_eq!(office.titles("chat").len(), 2, "whoever is new hears how things stand");
}
