use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

use futures_util::FutureExt;
use futures_util::future::{join_all, poll_fn};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{advance, sleep, timeout};

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn rate(calls_a_second: u32) -> NonZeroU32 {
    NonZeroU32::new(calls_a_second).unwrap()
}

fn lane(calls_a_second: u32) -> Arc<Lane> {
    Arc::new(Lane::new(rate(calls_a_second), LaneSettings::default()))
}

/// Goes through the lane at once: acquires, departs, ends.
async fn pass(lane: &Arc<Lane>, priority: Priority) -> Instant {
    let departure = lane.acquire(priority).await.depart().await;
    departure.0.departed.unwrap()
}

/// The most instants that lie in any half-open second.
fn most_in_a_second(instants: &[Instant]) -> usize {
    instants
        .iter()
        .enumerate()
        .map(|(index, first)| instants[index..].iter().take_while(|other| **other - *first < SECOND).count())
        .max()
        .unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn a_thousand_waiters_leave_one_by_one_in_order_and_wake_no_others() {
    let lane = lane(20);
    let start = now();
    let polls = RefCell::new(0);
    let order = RefCell::new(Vec::new());
    let waiters = (0..1000).map(|index| {
        let (lane, polls, order) = (&lane, &polls, &order);
        async move {
            let mut passing = pin!(pass(lane, Priority::NewCreate));
            let left = poll_fn(|context| {
                *polls.borrow_mut() += 1;
                passing.as_mut().poll(context)
            });
            let left = left.await;
            order.borrow_mut().push(index);
            left
        }
    });
    let left = join_all(waiters).await;

    assert_eq!(left[0] - start, SECOND, "the first call comes after a quiet second");
    for pair in left.windows(2) {
        assert_eq!(pair[1] - pair[0], Duration::from_millis(51));
    }
    assert_eq!(most_in_a_second(&left), 20);
    assert!(order.borrow().is_sorted());
    assert!(*polls.borrow() <= 4 * 1000, "{} polls", polls.borrow());
    assert_eq!(lane.snapshot().released, 1000);
}

#[tokio::test(start_paused = true)]
async fn spacing_holds_where_the_bytes_leave_however_long_a_permit_was_held() {
    let lane = lane(20);
    let mut left = Vec::new();
    for held in [0, 400, 0, 0, 30, 0, 2000, 0, 0, 50, 52, 0].map(Duration::from_millis) {
        let permit = lane.acquire(Priority::NewCreate).await;
        sleep(held).await;
        left.push(permit.depart().await.0.departed.unwrap());
    }
    for pair in left.windows(2) {
        assert!(pair[1] - pair[0] >= Duration::from_millis(51), "{pair:?}");
    }
    // A wait of less than the spacing costs nothing.
    assert_eq!(left[5] - left[4], Duration::from_millis(51));
    assert_eq!(left[4] - left[3], Duration::from_millis(51));
}

#[tokio::test(start_paused = true)]
async fn a_late_timer_does_not_lower_the_rate() {
    let lane = lane(20);
    let first = pass(&lane, Priority::NewCreate).await;
    for turn in 1..=200_u32 {
        let permit = lane.acquire(Priority::NewCreate).await;
        let late = Duration::from_micros(if turn % 2 == 1 { 900 } else { 0 });
        advance((first + turn * Duration::from_millis(51) + late).saturating_duration_since(now())).await;
        let left = permit.depart().await.0.departed.unwrap();
        assert_eq!(left - first, turn * Duration::from_millis(51) + late, "call {turn}");
    }
}

#[tokio::test(start_paused = true)]
async fn higher_classes_go_first_and_none_starves() {
    let lane = lane(20);
    let served = RefCell::new(Vec::new());
    let waiters =
        Priority::ALL.into_iter().rev().flat_map(|priority| (0..60).map(move |_| priority)).map(|priority| {
            let (lane, served) = (&lane, &served);
            async move {
                pass(lane, priority).await;
                served.borrow_mut().push(priority);
            }
        });
    join_all(waiters).await;
    let served = served.into_inner();

    // The very first got the permit before any other came.
    let contended = &served[1..];
    assert_eq!(contended[..16], [Priority::UnresolvedCreate; 16]);
    for priority in Priority::ALL {
        let turns: Vec<usize> = (0..contended.len()).filter(|turn| contended[*turn] == priority).collect();
        let longest = turns.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap();
        assert!(
            turns[0] <= 16 + 5 && longest <= 16 + 5,
            "{priority:?} waited {longest} turns, first {}",
            turns[0]
        );
    }
    let half = &contended[..100];
    let of = |priority| half.iter().filter(|served| **served == priority).count();
    assert!(of(Priority::UnresolvedCreate) > half.len() / 2);
}

#[tokio::test(start_paused = true)]
async fn callers_of_a_fast_lane_write_together_and_those_of_a_slow_one_one_by_one() {
    for (calls_a_second, together) in [(20, 1..=1), (99, 1..=1), (1000, 10..=20)] {
        let lane = lane(calls_a_second);
        // Who has a permit writes for a while: how many do so at once?
        let (writing, most) = (RefCell::new(0), RefCell::new(0));
        let callers = (0..200).map(|_| async {
            let permit = lane.acquire(Priority::NewCreate).await;
            *writing.borrow_mut() += 1;
            let now_writing = *writing.borrow();
            most.replace_with(|most| now_writing.max(*most));
            sleep(Duration::from_millis(4)).await;
            *writing.borrow_mut() -= 1;
            permit.depart().await.0.departed.unwrap()
        });
        let mut left = join_all(callers).await;
        left.sort();
        assert!(together.contains(&*most.borrow()), "{} at {calls_a_second} a second", most.borrow());
        let spacing = SECOND / calls_a_second + Duration::from_millis(1);
        assert!(left[199] - left[0] <= 199 * spacing + Duration::from_millis(5), "slower than its rate");
        assert!(most_in_a_second(&left) <= usize::try_from(calls_a_second).unwrap());
        assert_eq!(lane.snapshot().in_flight, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn who_gives_up_leaves_no_gap_and_loses_no_permit() {
    let lane = lane(20);
    let held = lane.acquire(Priority::Command).await;
    let mut queued = pin!(lane.acquire(Priority::NewCreate));
    assert!(queued.as_mut().now_or_never().is_none());
    {
        let mut given_up = Box::pin(lane.acquire(Priority::UnresolvedCreate));
        assert!(given_up.as_mut().now_or_never().is_none());
        assert_eq!(lane.snapshot().queued, 2);
    }
    assert_eq!(lane.snapshot().queued, 1);

    // Given up before departure, by dropping the permit, or the future that waits for the pace.
    drop(held);
    let permit = queued.await;
    assert!(permit.depart().now_or_never().is_none(), "the lane is still quiet");
    assert_eq!(lane.snapshot(), LaneSnapshot { released: 0, queued: 0, in_flight: 0, ..lane.snapshot() });

    // Given up with the permit already granted and not yet taken.
    let held = lane.acquire(Priority::Command).await;
    let mut granted = Box::pin(lane.acquire(Priority::NewCreate));
    assert!(granted.as_mut().now_or_never().is_none());
    drop(held);
    drop(granted);
    timeout(2 * SECOND, pass(&lane, Priority::Command)).await.expect("the permit was lost");
}

#[tokio::test(start_paused = true)]
async fn a_crowd_that_gives_up_at_once_is_passed_in_one_go() {
    let lane = lane(20);
    let held = lane.acquire(Priority::Command).await;
    let mut crowd: Vec<_> = (0..100_000).map(|_| Box::pin(lane.acquire(Priority::Tracking))).collect();
    for waiting in &mut crowd {
        assert!(waiting.now_or_never().is_none());
    }
    let mut last = pin!(lane.acquire(Priority::Command));
    assert!(last.as_mut().now_or_never().is_none());
    drop(crowd);
    drop(held);
    assert!(last.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_limit_may_be_set_anew() {
    let lane = lane(20);
    pass(&lane, Priority::Command).await;
    let gap = async || {
        let first = pass(&lane, Priority::Command).await;
        pass(&lane, Priority::Command).await - first
    };
    lane.set_limit(rate(10));
    assert_eq!(gap().await, Duration::from_millis(101));
    lane.set_limit(rate(50));
    assert_eq!(gap().await, Duration::from_millis(21));
    lane.acquire(Priority::Command).await.depart().await.throttled(None);
    lane.set_limit(rate(100));
    assert_eq!((lane.snapshot().limit, lane.snapshot().rate), (100.0, 25.0), "a slowed lane still climbs");
}

#[tokio::test(start_paused = true)]
async fn calls_in_flight_have_a_cap() {
    let settings = LaneSettings { in_flight: 2, ..LaneSettings::default() };
    let lane = Arc::new(Lane::new(rate(20), settings));
    let first = lane.acquire(Priority::Tracking).await.depart().await;
    let _second = lane.acquire(Priority::Tracking).await.depart().await;
    let mut third = pin!(lane.acquire(Priority::Tracking));
    assert!(timeout(60 * SECOND, third.as_mut()).await.is_err());
    assert_eq!(lane.snapshot().in_flight, 2);
    drop(first);
    assert!(third.now_or_never().is_some());
}

#[tokio::test(start_paused = true)]
async fn one_episode_halves_once() {
    let lane = lane(20);
    let mut condition = lane.condition();
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(lane.acquire(Priority::Tracking).await.depart().await);
    }
    for call in &calls {
        call.throttled(None);
    }
    let snapshot = lane.snapshot();
    assert_eq!((snapshot.rate, snapshot.throttles), (10.0, 1));
    assert_eq!(*condition.borrow_and_update(), Condition::Slowed { rate: 10.0 });

    let stopped = now();
    let next = lane.acquire(Priority::Tracking).await.depart().await;
    let pause = next.0.departed.unwrap() - stopped;
    assert!(pause >= SECOND && pause <= 2 * SECOND + Duration::from_millis(101), "{pause:?}");
    assert!(!condition.has_changed().unwrap());
    next.throttled(None);
    assert_eq!(*condition.borrow_and_update(), Condition::Slowed { rate: 5.0 });

    for _ in 0..10 {
        let call = lane.acquire(Priority::Tracking).await.depart().await;
        call.throttled(None);
    }
    assert_eq!(lane.snapshot().rate, 20.0 / 32.0, "a lane never stops for good");
}

#[tokio::test(start_paused = true)]
async fn the_cloud_may_ask_for_a_longer_pause_within_a_minute() {
    let lane = lane(20);
    for (asked, expected) in [(30, 30), (3600, 60)] {
        let call = lane.acquire(Priority::Tracking).await.depart().await;
        call.throttled(Some(Duration::from_secs(asked)));
        let stopped = now();
        assert_eq!(pass(&lane, Priority::Tracking).await - stopped, Duration::from_secs(expected));
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_lane_has_climbed_back_by_its_next_call() {
    let lane = lane(20);
    lane.acquire(Priority::Tracking).await.depart().await.throttled(None);
    let condition = lane.condition();
    sleep(STEPS_BACK).await;
    assert_eq!(*condition.borrow(), Condition::Slowed { rate: 10.0 });
    let first = pass(&lane, Priority::Tracking).await;
    assert_eq!(*condition.borrow(), Condition::Free);
    assert_eq!(pass(&lane, Priority::Tracking).await - first, Duration::from_millis(51));
}

/// From half the rate: ten steps of 5 s.
const STEPS_BACK: Duration = Duration::from_secs(50);

/// A bucket that counts arrivals in a sliding second, as others leave it to us.
struct Bucket {
    limit: usize,
    arrivals: VecDeque<Instant>,
}

impl Bucket {
    fn takes(&mut self) -> bool {
        let now = now();
        self.arrivals.retain(|arrival| now - *arrival < SECOND);
        self.arrivals.push_back(now);
        self.arrivals.len() <= self.limit
    }
}

#[tokio::test(start_paused = true)]
async fn a_lane_settles_below_a_smaller_bucket_and_recovers_when_it_grows() {
    LocalSet::new()
        .run_until(async {
            let lane = lane(20);
            let bucket = Rc::new(RefCell::new(Bucket { limit: 10, arrivals: VecDeque::new() }));
            let refused = Rc::new(RefCell::new(Vec::new()));
            // Calls that each take 150 ms to be answered, more than the lane lets through.
            for _ in 0..40 {
                let (lane, bucket, refused) = (Arc::clone(&lane), Rc::clone(&bucket), Rc::clone(&refused));
                spawn_local(async move {
                    loop {
                        let call = lane.acquire(Priority::Tracking).await.depart().await;
                        let taken = bucket.borrow_mut().takes();
                        sleep(Duration::from_millis(150)).await;
                        if !taken {
                            refused.borrow_mut().push(now());
                            call.throttled(None);
                        }
                    }
                });
            }
            let start = now();
            sleep(Duration::from_secs(120)).await;
            let refused = refused.take();
            let settled = refused.iter().filter(|at| **at - start > Duration::from_secs(5)).count();
            let released = lane.snapshot().released;
            assert!(!refused.is_empty());
            assert!(settled <= 20, "{settled} refused after it had settled");
            assert!(released > 120 * 6, "{released} released: too slow");

            bucket.borrow_mut().limit = 100;
            sleep(2 * STEPS_BACK).await;
            let before = lane.snapshot();
            assert_eq!(before.rate, 20.0);
            sleep(Duration::from_millis(51 * 100)).await;
            assert_eq!(lane.snapshot().released - before.released, 100);
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_lane_is_shared_by_key_at_the_lowest_rate_asked() {
    let lanes = Lanes::new(LaneSettings::default());
    let key = |host: &str| LaneKey {
        identity: "100001".into(),
        host: host.into(),
        action: Action::CreateDiskBackup,
    };
    let first = lanes.lane(key("cbs.tencentcloudapi.com"), rate(20));
    let second = lanes.lane(key("cbs.tencentcloudapi.com"), rate(5));
    let third = lanes.lane(key("cbs.tencentcloudapi.com"), rate(10));
    assert!(Arc::ptr_eq(&first, &second) && Arc::ptr_eq(&second, &third));
    assert_eq!(first.snapshot().limit, 5.0);
    assert!(!Arc::ptr_eq(&first, &lanes.lane(key("cbs.ap-shanghai.tencentcloudapi.com"), rate(20))));
    assert_eq!(lanes.all().len(), 2);
    // Read again, a configuration may ask for more; the lowest counts all the same.
    lanes.ask_anew();
    for (asked, limit) in [(40, 40.0), (30, 30.0), (50, 30.0)] {
        assert_eq!(lanes.lane(key("cbs.tencentcloudapi.com"), rate(asked)).snapshot().limit, limit);
    }
    lanes.ask_anew();
    let third = lanes.lane(key("cbs.tencentcloudapi.com"), rate(5));
    assert_eq!(first.snapshot().limit, 5.0);

    let left = pass(&first, Priority::Command).await;
    assert_eq!(pass(&third, Priority::Command).await - left, Duration::from_millis(201));
}

#[tokio::test(start_paused = true)]
async fn no_second_sees_more_than_the_limit_whatever_happens() {
    // Throttles, idle times and held permits at odd instants: none may bunch calls up.
    for seed in 0..20_u64 {
        let lane = Arc::new(Lane::new(rate(20), LaneSettings { seed, ..LaneSettings::default() }));
        let mut left = Vec::new();
        for turn in 0..400_u64 {
            let odd = (turn * 7919 + seed * 104_729) % 97;
            advance(Duration::from_millis(if odd < 5 { odd * 997 } else { 0 })).await;
            let permit = lane.acquire(Priority::Tracking).await;
            advance(Duration::from_millis(odd % 60)).await;
            let call = permit.depart().await;
            left.push(call.0.departed.unwrap());
            if odd == 42 {
                call.throttled(None);
            }
            yield_now().await;
        }
        assert!(most_in_a_second(&left) <= 20, "seed {seed}");
        assert!(left.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_millis(50)), "seed {seed}");
        let twenty = Duration::from_millis(20 * 51 - 1);
        assert!(left.windows(21).all(|calls| calls[20] - calls[0] >= twenty), "seed {seed}");
    }
}

#[test]
fn an_absurd_rate_is_no_panic() {
    let settings = LaneSettings { guard: Duration::ZERO, in_flight: 0, seed: u64::MAX };
    assert_eq!(Lane::new(NonZeroU32::MAX, settings).snapshot().rate, f64::from(u32::MAX));
}

#[test]
fn a_poll_of_a_permit_needs_no_runtime() {
    let lane = lane(20);
    let mut waiting = pin!(lane.acquire(Priority::Command));
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    assert!(matches!(waiting.as_mut().poll(context), Poll::Ready(_)));
}
