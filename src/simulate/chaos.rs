//! What goes wrong, drawn from the seed: the weather of the cloud and of the network, and the misfortunes of the
//! machine that the daemon lives on.
//!
//! Responsible for choosing what and when. It refuses to do it: `year` does.

use std::time::Duration;

use cbs_sim::{Effect, Rule, Which};
use jiff::SignedDuration;

use super::CREATE;
use super::wire::Network;
use crate::random::Random;

const LOOK: &str = "DescribeDiskBackups";
const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;

/// How a life ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At this effect boundary, counted from the start of the life or, if later, from `after`.
    AtBoundary { after: Duration, boundary: u64 },
    /// At some moment.
    AtMoment(Duration),
    /// In good order.
    InOrder(Duration),
}

/// Draws misfortunes.
pub(super) struct Chaos {
    random: Random,
}

impl Chaos {
    pub(super) fn new(random: Random) -> Self {
        Self { random }
    }

    /// How, and after how long, the next life ends.
    pub(super) fn end(&self) -> End {
        let after = self.seconds(30, 36 * HOUR);
        match self.random.between((0, 9)) {
            0 => End::InOrder(after),
            1..=3 => End::AtMoment(after),
            // Some die while they start.
            4 => End::AtBoundary { after: Duration::ZERO, boundary: self.random.between((1, 30)) },
            _ => End::AtBoundary { after, boundary: self.random.between((1, 200)) },
        }
    }

    /// How long nobody is there.
    pub(super) fn downtime(&self) -> Duration {
        match self.random.between((0, 99)) {
            0..=59 => self.millis(100, 60_000),
            60..=84 => self.seconds(MINUTE, 30 * MINUTE),
            85..=96 => self.seconds(30 * MINUTE, 6 * HOUR),
            _ => self.seconds(6 * HOUR, 40 * HOUR),
        }
    }

    pub(super) fn until_edit(&self) -> Duration {
        self.seconds(HOUR, 4 * 24 * HOUR)
    }

    pub(super) fn until_weather(&self) -> Duration {
        self.seconds(HOUR, 12 * HOUR)
    }

    pub(super) fn until_key(&self) -> Duration {
        self.seconds(HOUR, 20 * 24 * HOUR)
    }

    pub(super) fn key_outage(&self) -> Duration {
        self.seconds(MINUTE, 30 * MINUTE)
    }

    pub(super) fn until_step(&self) -> Duration {
        self.seconds(HOUR, 4 * 24 * HOUR)
    }

    /// How long the clock is wrong after a step.
    pub(super) fn until_step_back(&self) -> Duration {
        self.seconds(MINUTE, 3 * HOUR)
    }

    /// How long a step goes unnoticed: the watcher looks once a second.
    pub(super) fn until_noticed(&self) -> Duration {
        self.millis(0, 1_000)
    }

    /// By how much the wall clock is set.
    pub(super) fn step(&self) -> SignedDuration {
        let seconds = match self.random.between((0, 9)) {
            0..=4 => self.random.between((3, MINUTE)),
            5..=7 => self.random.between((MINUTE, 5 * MINUTE)),
            _ => self.random.between((5 * MINUTE, HOUR)),
        };
        let by = SignedDuration::try_from(Duration::from_secs(seconds)).unwrap_or_default();
        if self.random.chance(500) { by } else { -by }
    }

    /// The network for a while.
    pub(super) fn network(&self) -> Network {
        Network {
            on_its_way_ms: self.random.pick([(1, 5), (1, 60), (20, 300)]),
            slow: self.random.pick([(0, (0, 0)), (10, (200, 20_000)), (50, (1_000, 14_000))]),
            no_connection: self.random.pick([0, 5, 20, 300]),
            ..Network::default()
        }
    }

    /// What the cloud does wrong for a while: always some of everything, at times much of one thing.
    pub(super) fn faults(&self) -> Vec<Rule> {
        let create = |effect, per_mille| some(CREATE, effect, per_mille);
        let look = |effect, per_mille| some(LOOK, effect, per_mille);
        let mut rules = Vec::new();
        match self.random.between((0, 11)) {
            0 => rules.push(create(lost_at_gateway(true), 500)),
            1 => rules.push(create(Effect::Timeout { executed: false }, 600)),
            2 => rules.push(look(error("InternalError"), 700)),
            3 => rules.push(look(Effect::Timeout { executed: true }, 300)),
            4 => rules.push(Rule::on(CREATE, Effect::Limit { per_second: 5 })),
            5 => rules.push(create(error("ResourceInsufficient.OverQuota"), 700)),
            6 => rules.push(create(error("InvalidDisk.Busy"), 700)),
            7 => rules.push(Rule::always(error("InternalError")).which(Which::Probability(0.5))),
            _ => {}
        }
        // One create in twenty and more meets each kind that leaves it in doubt, over all weathers, which give much of what
        // timeouts and gateways do. A rule further down sees only what met none above: its chance is of what is left.
        let both = [true, false];
        let in_doubt = both.into_iter().flat_map(|executed| {
            [
                (Effect::Drop { executed }, 45),
                (Effect::Timeout { executed }, 10),
                (lost_at_gateway(executed), 25),
                (Effect::TruncatedJson { executed }, 45),
                (Effect::Reset { executed }, 45),
                (Effect::ShortBody { executed }, 45),
            ]
        });
        let mut left = 1_000.0;
        for (effect, share) in in_doubt.chain([(Effect::NoResult, 90)]) {
            let share = f64::from(share);
            rules.push(Rule::on(CREATE, effect).which(Which::Probability(share / left)));
            left -= share;
        }
        rules.extend([
            create(error("InternalError"), 30),
            create(Effect::ErrorAfter { code: "InternalError".to_owned(), message: String::new() }, 20),
            create(error("RequestLimitExceeded"), 20),
            create(error("InvalidDisk.Busy"), 20),
            create(error("ResourceUnavailable.SnapshotCreating"), 10),
            create(error("ResourceInsufficient.OverQuota"), 10),
            create(error("LimitExceeded"), 5),
            create(error("UnauthorizedOperation"), 3),
            create(error("InvalidAccount.InsufficientBalance"), 3),
            create(error("AuthFailure.SignatureExpire"), 3),
            create(error("Strange.NobodyKnowsThis"), 3),
            create(error("InvalidParameter"), 1),
            create(Effect::Vanish, 15),
            create(Effect::Stuck, 3),
            create(Effect::Slow { ms: 10_000 }, 20),
            look(error("InternalError"), 40),
            look(error("RequestLimitExceeded"), 20),
            look(lost_at_gateway(true), 20),
            look(Effect::TruncatedJson { executed: true }, 20),
            look(Effect::Timeout { executed: true }, 20),
            look(Effect::Drop { executed: false }, 20),
        ]);
        rules
    }

    fn seconds(&self, shortest: u64, longest: u64) -> Duration {
        self.millis(shortest * 1_000, longest * 1_000)
    }

    fn millis(&self, shortest: u64, longest: u64) -> Duration {
        Duration::from_millis(self.random.between((shortest, longest)))
    }
}

fn some(action: &str, effect: Effect, per_mille: u32) -> Rule {
    Rule::on(action, effect).which(Which::Probability(f64::from(per_mille) / 1_000.0))
}

fn lost_at_gateway(executed: bool) -> Effect {
    Effect::Http { status: 502, body: "<html>502 Bad Gateway</html>".to_owned(), executed }
}

fn error(code: &str) -> Effect {
    Effect::Error { code: code.to_owned(), message: "as simulated".to_owned() }
}
