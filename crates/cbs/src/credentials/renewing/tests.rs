//! Renewals under a clock that stands until someone waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use futures_util::future::join_all;
use tokio::time::{Instant, sleep, timeout};

use super::*;

const LIFE: Duration = Duration::from_secs(1_800);
const MARGIN: Duration = Duration::from_secs(300);
/// How long an answer takes.
const TAKES: Duration = Duration::from_millis(200);

/// A clock that follows tokio's, and can be set.
struct Settable {
    began: Instant,
    set_by: Mutex<i64>,
}

impl Clock for Settable {
    fn now(&self) -> SystemTime {
        let at = 1_795_545_000_i64 + *self.set_by.lock().unwrap();
        SystemTime::UNIX_EPOCH + Duration::from_secs(at.try_into().unwrap()) + self.began.elapsed()
    }
}

/// What the issuer does, in order; a new credential once the list is at its end.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Fails,
    Hangs,
    GivesTheSame,
}

#[derive(Debug, Default)]
struct Issuer {
    asked: AtomicU64,
    number: AtomicU64,
    turns: Mutex<VecDeque<Turn>>,
    fails: Mutex<bool>,
    /// How far its clock is ahead of a right one, in seconds; it says so in its date.
    date: Mutex<Option<Timestamp>>,
    last: Mutex<Option<Issued>>,
}

#[derive(Clone)]
struct World {
    issuer: Arc<Issuer>,
    clock: Arc<Settable>,
}

#[derive(Debug)]
struct Port(Arc<Issuer>, Now);

#[derive(Clone)]
struct Now(Arc<Settable>);

impl fmt::Debug for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Now")
    }
}

impl Issue for Port {
    fn issue(&self) -> BoxFuture<'_, Result<Issued, CredentialsError>> {
        async move {
            self.0.asked.fetch_add(1, Ordering::Relaxed);
            let turn = self.0.turns.lock().unwrap().pop_front();
            sleep(if matches!(turn, Some(Turn::Hangs)) { Duration::from_secs(3_600) } else { TAKES }).await;
            if matches!(turn, Some(Turn::Fails)) || *self.0.fails.lock().unwrap() {
                let (place, what) = ("issuer".to_owned(), "down".to_owned());
                return Err(CredentialsError::Unavailable { place, what });
            }
            let last = self.0.last.lock().unwrap().clone();
            if let (Some(Turn::GivesTheSame), Some(last)) = (turn, last) {
                return Ok(last);
            }
            let number = self.0.number.fetch_add(1, Ordering::Relaxed) + 1;
            let date = *self.0.date.lock().unwrap();
            let now = date.unwrap_or_else(|| self.1.0.now().try_into().unwrap());
            let token = Some(format!("token{number}").into());
            let credentials =
                Credentials::new(format!("id{number}"), format!("key{number}").into(), token).unwrap();
            let issued = Issued { credentials, expires: now + LIFE, date };
            *self.0.last.lock().unwrap() = Some(issued.clone());
            Ok(issued)
        }
        .boxed()
    }

    fn margin(&self, life: Duration) -> Duration {
        MARGIN.min(life / 2)
    }
}

impl World {
    #[expect(clippy::disallowed_methods, reason = "the origin of a test's paused time")]
    fn new() -> Self {
        let clock = Settable { began: Instant::now(), set_by: Mutex::default() };
        Self { issuer: Arc::default(), clock: Arc::new(clock) }
    }

    fn renewing(&self, drawn: u64) -> Renewing {
        let port = Port(Arc::clone(&self.issuer), Now(Arc::clone(&self.clock)));
        Renewing::new(port, self.clock.clone(), Arc::new(move || drawn))
    }

    fn asked(&self) -> u64 {
        self.issuer.asked.load(Ordering::Relaxed)
    }

    fn then(&self, turns: &[Turn]) {
        self.issuer.turns.lock().unwrap().extend(turns);
    }

    fn fails(&self, fails: bool) {
        *self.issuer.fails.lock().unwrap() = fails;
    }

    fn set_by(&self, seconds: i64) {
        *self.clock.set_by.lock().unwrap() += seconds;
    }
}

async fn id(source: &Renewing) -> String {
    source.provide().await.map_or_else(|error| error.to_string(), |found| found.id().to_owned())
}

/// Whether a call is answered at once.
async fn at_once(source: &Renewing) -> Option<String> {
    timeout(Duration::ZERO, id(source)).await.ok()
}

#[tokio::test(start_paused = true)]
async fn all_callers_share_one_question_and_nobody_waits_for_a_renewal() {
    let world = World::new();
    let source = world.renewing(0);
    let first = join_all((0..100).map(|_| id(&source))).await;
    assert!(first.iter().all(|id| id == "id1"), "{first:?}");
    assert_eq!(world.asked(), 1);

    sleep(LIFE - MARGIN - TAKES).await;
    assert_eq!((at_once(&source).await.as_deref(), world.asked()), (Some("id1"), 1), "too early");
    sleep(TAKES).await;
    let old = join_all((0..100).map(|_| at_once(&source))).await;
    assert!(old.iter().all(|id| id.as_deref() == Some("id1")), "{old:?}");
    sleep(2 * TAKES).await;
    assert_eq!((at_once(&source).await.as_deref(), world.asked()), (Some("id2"), 2));
    assert_eq!(source.health().unwrap().renewals, 2);
}

#[tokio::test(start_paused = true)]
async fn id_key_and_token_are_of_one_credential() {
    use secrecy::ExposeSecret;
    let world = World::new();
    let source = Arc::new(world.renewing(0));
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..6_000 {
        let found = source.provide().await.unwrap();
        let number = found.id().strip_prefix("id").unwrap();
        assert_eq!(found.key().expose_secret(), format!("key{number}"));
        assert_eq!(found.token().unwrap().expose_secret(), format!("token{number}"));
        ids.insert(found.id().to_owned());
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(ids.len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_fifth_of_the_margin_is_jitter_and_the_rest_is_kept() {
    let world = World::new();
    for (drawn, later) in [(0, 0), (30_000, 30_000), (60_000, 60_000), (60_001, 0)] {
        let source = world.renewing(drawn);
        id(&source).await;
        let health = source.health().unwrap();
        let left = health.expires.unwrap().duration_since(health.next.unwrap());
        assert_eq!(left.as_millis(), 300_000 - later);
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_leaves_the_old_one_while_it_is_valid_and_is_tried_again() {
    let world = World::new();
    let source = world.renewing(u64::MAX);
    id(&source).await;
    world.fails(true);
    sleep(LIFE - MARGIN + MARGIN / 5).await;
    let left = MARGIN - MARGIN / 5;
    let mut troubled = None;
    for second in 0..left.as_secs() - 1 {
        assert_eq!(at_once(&source).await.as_deref(), Some("id1"), "after {second} s");
        if source.health().unwrap().trouble.is_some() {
            troubled.get_or_insert((second, world.asked() - 1));
        }
        sleep(Duration::from_secs(1)).await;
    }
    let attempts = world.asked() - 1;
    // 1 to 30 s apart: not at each of the calls.
    assert!((8..=20).contains(&attempts), "{attempts} attempts in {left:?}");
    // A single failure is no trouble.
    assert!(troubled.is_some_and(|(_, attempts)| attempts == 3), "{troubled:?}");

    sleep(Duration::from_secs(61)).await;
    assert_eq!(id(&source).await, "issuer: down");
    let before = world.asked();
    assert_eq!(at_once(&source).await.as_deref(), Some("issuer: down"), "it hammers");
    assert_eq!(world.asked(), before);
    assert!(source.health().unwrap().trouble.is_some());

    world.fails(false);
    sleep(LONGEST_WAIT).await;
    assert_eq!(id(&source).await, "id2");
    assert!(source.health().unwrap().trouble.is_none());
}

#[tokio::test(start_paused = true)]
async fn without_a_credential_the_first_failure_is_everybodys() {
    let world = World::new();
    world.then(&[Turn::Fails]);
    let source = world.renewing(0);
    let answers = join_all((0..100).map(|_| id(&source))).await;
    assert!(answers.iter().all(|answer| answer == "issuer: down"), "{answers:?}");
    assert_eq!(world.asked(), 1);
    assert!(source.health().unwrap().trouble.is_some());
}

#[tokio::test(start_paused = true)]
async fn what_the_cloud_refuses_is_renewed_once_for_all_who_were_refused() {
    let world = World::new();
    let source = world.renewing(0);
    let old = source.provide().await.unwrap();
    sleep(Duration::from_secs(60)).await;
    let again = join_all((0..50).map(|_| async {
        source.refused(&old);
        id(&source).await
    }))
    .await;
    assert!(again.iter().all(|id| id == "id2"), "{again:?}");
    assert_eq!(world.asked(), 2);

    // The next one is refused as well: not the credential is at fault.
    let young = source.provide().await.unwrap();
    source.refused(&young);
    assert_eq!((id(&source).await.as_str(), world.asked()), ("id2", 2), "it hammers");
    source.refused(&old);
    assert_eq!(world.asked(), 2);
    sleep(Duration::from_secs(31)).await;
    source.refused(&young);
    assert_eq!((id(&source).await.as_str(), world.asked()), ("id3", 3));
}

#[tokio::test(start_paused = true)]
async fn a_refused_one_stays_in_use_where_no_other_is_to_be_had() {
    let world = World::new();
    let source = world.renewing(0);
    let only = source.provide().await.unwrap();
    sleep(Duration::from_secs(60)).await;
    world.then(&[Turn::Fails]);
    source.refused(&only);
    assert_eq!((id(&source).await.as_str(), world.asked()), ("id1", 2));
    assert_eq!(at_once(&source).await.as_deref(), Some("id1"));
    sleep(Duration::from_secs(2)).await;
    assert_eq!((id(&source).await.as_str(), world.asked()), ("id2", 3));
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_gives_the_same_again_is_asked_now_and_then() {
    let world = World::new();
    let source = world.renewing(0);
    id(&source).await;
    world.then(&[Turn::GivesTheSame; 4]);
    sleep(LIFE - MARGIN).await;
    for _ in 0..MARGIN.as_secs() {
        assert!(at_once(&source).await.is_some());
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(id(&source).await, "id2");
    assert_eq!((world.asked(), source.health().unwrap().renewals), (6, 2));
}

#[tokio::test(start_paused = true)]
async fn who_tends_it_needs_no_call() {
    let world = World::new();
    let source = world.renewing(0);
    source.tend();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(world.asked(), 0, "nobody wants it yet");
    id(&source).await;
    for _ in 0..12 * 3_600 {
        source.tend();
        sleep(Duration::from_secs(1)).await;
    }
    // Every 25 minutes.
    assert_eq!(world.asked(), 1 + 28);
    assert!(at_once(&source).await.is_some());
    // And where it was lost altogether, it comes back.
    world.fails(true);
    for _ in 0..3_600 {
        source.tend();
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(at_once(&source).await.as_deref(), Some("issuer: down"));
    world.fails(false);
    for _ in 0..31 {
        source.tend();
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(at_once(&source).await.as_deref(), Some("id30"));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_gives_up_leaves_the_way_free() {
    let world = World::new();
    world.then(&[Turn::Hangs]);
    let source = world.renewing(0);
    let impatient = timeout(Duration::from_secs(5), id(&source));
    let patient = async {
        sleep(Duration::from_secs(1)).await;
        id(&source).await
    };
    let (impatient, patient) = tokio::join!(impatient, patient);
    assert!(impatient.is_err());
    assert_eq!((patient.as_str(), world.asked()), ("id1", 2));
}

#[tokio::test(start_paused = true)]
async fn a_wrong_clock_and_one_that_is_set_do_not_matter() {
    for behind in [-7_200, 7_200] {
        let world = World::new();
        let right: Timestamp = world.clock.now().try_into().unwrap();
        world.set_by(behind);
        *world.issuer.date.lock().unwrap() = Some(right);
        let source = world.renewing(0);
        id(&source).await;
        sleep(LIFE - MARGIN - Duration::from_secs(1)).await;
        assert_eq!((at_once(&source).await.as_deref(), world.asked()), (Some("id1"), 1), "{behind}");
        sleep(Duration::from_secs(1)).await;
        id(&source).await;
        sleep(TAKES).await;
        assert_eq!(world.asked(), 2, "{behind}");
    }
    let world = World::new();
    let source = world.renewing(0);
    id(&source).await;
    world.set_by(-3_600);
    assert_eq!(at_once(&source).await.as_deref(), Some("id1"));
    sleep(2 * TAKES).await;
    assert_eq!((at_once(&source).await.as_deref(), world.asked()), (Some("id2"), 2));
    // A wait is not prolonged by a clock that is set back.
    world.fails(true);
    world.set_by(86_400);
    assert_eq!(id(&source).await, "issuer: down");
    world.set_by(-43_200);
    world.fails(false);
    assert_eq!(id(&source).await, "id3");
}

#[tokio::test(start_paused = true)]
async fn nothing_of_it_shows_a_secret() {
    let world = World::new();
    let source = world.renewing(0);
    let found = source.provide().await.unwrap();
    let shown = format!("{source:?} {found:?} {:?}", source.health());
    assert!(!shown.contains("key1") && !shown.contains("token1"), "{shown}");
}
