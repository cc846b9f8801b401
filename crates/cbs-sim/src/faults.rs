//! What goes wrong, and when: a script of rules.
//!
//! Responsible for saying which effects a request meets. It refuses to carry them out: `sim` does. A script is
//! deterministic: the same requests at the same instants under the same seed meet the same effects.
//!
//! `limit` and `clock_skew` are looked at when a request arrives; all others only once it has passed every check
//! and would reach the back end, so that `executed` means what it says.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::random::Random;

/// One line of the script: which requests, and what they meet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The action; any, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Requests that concern one of these disks; any, where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<String>,
    /// In force from so many milliseconds after the script was set.
    #[serde(default)]
    pub from_ms: u64,
    /// In force until so many milliseconds after the script was set, exclusively; for ever, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<u64>,
    /// Which of the requests that match all of the above.
    #[serde(default)]
    pub which: Which,
    /// What they meet.
    pub effect: Effect,
}

impl Rule {
    /// A rule for every request of `action`, to be narrowed by struct update.
    #[must_use]
    pub fn on(action: &str, effect: Effect) -> Self {
        Self { action: Some(action.to_owned()), ..Self::always(effect) }
    }

    /// A rule for every request.
    #[must_use]
    pub fn always(effect: Effect) -> Self {
        Self { action: None, disks: Vec::new(), from_ms: 0, until_ms: None, which: Which::All, effect }
    }

    /// The same rule for only some of its requests.
    #[must_use]
    pub fn which(self, which: Which) -> Self {
        Self { which, ..self }
    }
}

/// Which of the requests that a rule matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Which {
    /// All of them.
    #[default]
    All,
    /// The n-th, counted from 1.
    Nth(u64),
    /// The first n.
    First(u64),
    /// Every n-th: n, 2n, 3n … (0 is none).
    Every(u64),
    /// Each with this probability, drawn from the world's seed.
    Probability(f64),
}

/// What a request meets. `executed` says whether the back end has done its work before the reply is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// An API error in place of the work.
    Error {
        /// The vendor's code.
        code: String,
        /// The text beside it.
        #[serde(default)]
        message: String,
    },
    /// The work is done, and an API error says that it is not.
    ErrorAfter {
        /// The vendor's code.
        code: String,
        /// The text beside it.
        #[serde(default)]
        message: String,
    },
    /// A gateway's answer, no API answer.
    Http {
        /// The HTTP status.
        status: u16,
        /// An HTML page, say.
        #[serde(default)]
        body: String,
        /// Whether the work is done.
        #[serde(default)]
        executed: bool,
    },
    /// A complete reply whose JSON ends in its middle.
    TruncatedJson {
        /// Whether the work is done.
        executed: bool,
    },
    /// A reply that promises more bytes than it has: the connection ends in the middle of the body.
    ShortBody {
        /// Whether the work is done.
        executed: bool,
    },
    /// The connection is closed without a reply.
    Drop {
        /// Whether the work is done.
        executed: bool,
    },
    /// The connection is reset without a reply.
    Reset {
        /// Whether the work is done.
        executed: bool,
    },
    /// No reply ever; the connection stays open.
    Timeout {
        /// Whether the work is done.
        executed: bool,
    },
    /// The work is done, and the reply has neither `Error` nor a result.
    NoResult,
    /// The reply comes so much later.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// The backup that this request creates disappears while it is CREATING.
    Vanish,
    /// The backup that this request creates stays CREATING for ever.
    Stuck,
    /// The server's own idea of now is off: for the age of signatures and for `Date`.
    ClockSkew {
        /// Seconds; positive is ahead.
        seconds: i32,
    },
    /// The action's rate limit is at most this: others draw on the same bucket.
    Limit {
        /// Requests a second.
        per_second: u32,
    },
}

impl Effect {
    fn is_condition(&self) -> bool {
        matches!(self, Self::ClockSkew { .. } | Self::Limit { .. })
    }

    /// Whether the work is not done.
    pub(crate) fn prevents(&self) -> bool {
        matches!(
            self,
            Self::Error { .. }
                | Self::Http { executed: false, .. }
                | Self::TruncatedJson { executed: false }
                | Self::ShortBody { executed: false }
                | Self::Drop { executed: false }
                | Self::Reset { executed: false }
                | Self::Timeout { executed: false }
        )
    }

    /// The word that stands for it in the script and in the ledger.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Error { .. } => "error",
            Self::ErrorAfter { .. } => "error_after",
            Self::Http { .. } => "http",
            Self::TruncatedJson { .. } => "truncated_json",
            Self::ShortBody { .. } => "short_body",
            Self::Drop { .. } => "drop",
            Self::Reset { .. } => "reset",
            Self::Timeout { .. } => "timeout",
            Self::NoResult => "no_result",
            Self::Slow { .. } => "slow",
            Self::Vanish => "vanish",
            Self::Stuck => "stuck",
            Self::ClockSkew { .. } => "clock_skew",
            Self::Limit { .. } => "limit",
        }
    }
}

/// The script in force, with what its rules have counted.
#[derive(Debug)]
pub(crate) struct Faults {
    since: Timestamp,
    rules: Vec<Counting>,
}

#[derive(Debug)]
struct Counting {
    rule: Rule,
    matched: u64,
    random: Random,
}

/// What holds while a request is judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    pub(crate) skew_seconds: i32,
    pub(crate) limit: Option<u32>,
}

impl Conditions {
    /// What the server takes `now` for.
    pub(crate) fn skewed(self, now: Timestamp) -> Timestamp {
        now.checked_add(SignedDuration::from_secs(self.skew_seconds.into())).unwrap_or(now)
    }
}

/// What befalls a request that has passed the checks.
#[derive(Debug, Default)]
pub(crate) struct Accidents {
    pub(crate) slower: Duration,
    pub(crate) fate: Fate,
    /// What becomes of the reply.
    pub(crate) reply: Option<Effect>,
}

/// How a backup that is being created ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Fate {
    #[default]
    Normal,
    Vanish,
    Stuck,
}

impl Faults {
    pub(crate) fn new(rules: Vec<Rule>, seed: u64, since: Timestamp) -> Self {
        let counting = |(place, rule)| Counting { rule, matched: 0, random: Random::new(seed, place) };
        Self { since, rules: (1_000..).zip(rules).map(counting).collect() }
    }

    pub(crate) fn conditions(&mut self, now: Timestamp, action: &str, disks: &[String]) -> Conditions {
        let mut conditions = Conditions::default();
        for effect in self.met(now, action, disks, true) {
            match effect {
                Effect::ClockSkew { seconds } => conditions.skew_seconds += seconds,
                Effect::Limit { per_second } => {
                    conditions.limit =
                        Some(conditions.limit.map_or(*per_second, |limit| limit.min(*per_second)));
                }
                _ => {}
            }
        }
        conditions
    }

    pub(crate) fn accidents(&mut self, now: Timestamp, action: &str, disks: &[String]) -> Accidents {
        let mut accidents = Accidents::default();
        for effect in self.met(now, action, disks, false) {
            match effect {
                Effect::Slow { ms } => accidents.slower += Duration::from_millis(*ms),
                Effect::Vanish => accidents.fate = Fate::Vanish,
                Effect::Stuck => accidents.fate = Fate::Stuck,
                other => accidents.reply = accidents.reply.or_else(|| Some(other.clone())),
            }
        }
        accidents
    }

    fn met(
        &mut self,
        now: Timestamp,
        action: &str,
        disks: &[String],
        conditions: bool,
    ) -> impl Iterator<Item = &Effect> {
        let age = u64::try_from(now.duration_since(self.since).as_millis()).unwrap_or(0);
        self.rules
            .iter_mut()
            .filter(move |counting| counting.rule.effect.is_condition() == conditions)
            .filter_map(move |counting| counting.meets(age, action, disks).then_some(&counting.rule.effect))
    }
}

impl Counting {
    fn meets(&mut self, age_ms: u64, action: &str, disks: &[String]) -> bool {
        let rule = &self.rule;
        let matches = rule.action.as_deref().is_none_or(|wanted| wanted == action)
            && (rule.disks.is_empty() || disks.iter().any(|disk| rule.disks.contains(disk)))
            && age_ms >= rule.from_ms
            && rule.until_ms.is_none_or(|until| age_ms < until);
        if !matches {
            return false;
        }
        self.matched += 1;
        match rule.which {
            Which::All => true,
            Which::Nth(n) => self.matched == n,
            Which::First(n) => self.matched <= n,
            Which::Every(n) => n != 0 && self.matched.is_multiple_of(n),
            Which::Probability(p) => self.random.chance(p),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::UNIX_EPOCH;

    fn fired(which: Which, seed: u64) -> Vec<u64> {
        let mut faults =
            Faults::new(vec![Rule::always(Effect::Drop { executed: true }).which(which)], seed, START);
        (1..=6).filter(|_| faults.accidents(START, "A", &[]).reply.is_some()).collect()
    }

    #[test]
    fn a_rule_fires_for_the_requests_that_it_names() {
        assert_eq!(fired(Which::All, 1), [1, 2, 3, 4, 5, 6]);
        assert_eq!(fired(Which::Nth(2), 1), [2]);
        assert_eq!(fired(Which::First(2), 1), [1, 2]);
        assert_eq!(fired(Which::Every(3), 1), [3, 6]);
        assert_eq!(fired(Which::Every(0), 1), Vec::<u64>::new());
        assert_eq!(fired(Which::Probability(0.5), 1), fired(Which::Probability(0.5), 1));
        assert!(
            (1..20).any(|seed| fired(Which::Probability(0.5), seed) != fired(Which::Probability(0.5), 0))
        );
    }

    #[test]
    fn a_rule_keeps_to_its_action_its_disks_and_its_window() {
        let rule = Rule {
            disks: vec!["disk-1".to_owned()],
            from_ms: 1_000,
            until_ms: Some(2_000),
            ..Rule::on("A", Effect::Vanish)
        };
        let mut faults = Faults::new(vec![rule], 0, START);
        let mut vanishes = |ms, action: &str, disk: &str| {
            let now = Timestamp::from_millisecond(ms).unwrap();
            faults.accidents(now, action, &[disk.to_owned()]).fate == Fate::Vanish
        };
        assert!(vanishes(1_000, "A", "disk-1"));
        assert!(vanishes(1_999, "A", "disk-1"));
        assert!(!vanishes(999, "A", "disk-1"));
        assert!(!vanishes(2_000, "A", "disk-1"));
        assert!(!vanishes(1_000, "B", "disk-1"));
        assert!(!vanishes(1_000, "A", "disk-2"));
    }

    #[test]
    fn the_first_rule_that_replaces_the_reply_wins_and_the_lowest_limit_counts() {
        let limit = |per_second| Rule::always(Effect::Limit { per_second });
        let rules = vec![
            Rule::always(Effect::NoResult),
            Rule::always(Effect::Drop { executed: false }),
            Rule::always(Effect::Slow { ms: 5 }),
            Rule::always(Effect::Slow { ms: 6 }),
            limit(3),
            limit(7),
        ];
        let mut faults = Faults::new(rules, 0, START);
        let accidents = faults.accidents(START, "A", &[]);
        assert_eq!(accidents.reply, Some(Effect::NoResult));
        assert_eq!(accidents.slower, Duration::from_millis(11));
        assert_eq!(faults.conditions(START, "A", &[]), Conditions { skew_seconds: 0, limit: Some(3) });
    }

    #[test]
    fn the_readme_shows_a_rule_for_each_effect() {
        let readme = include_str!("../README.md");
        let script = readme.split("```json").nth(1).and_then(|rest| rest.split("```").next()).unwrap();
        let rules: Vec<Rule> = serde_json::from_str(script).unwrap();
        let shown: Vec<_> = rules.iter().map(|rule| rule.effect.name()).collect();
        let all = "error error_after http truncated_json short_body drop reset timeout no_result slow vanish stuck \
                   clock_skew limit";
        assert_eq!(shown.join(" "), all);
        for rule in &rules {
            let written = serde_json::to_value(&rule.effect).unwrap();
            let word = written.as_str().or_else(|| Some(written.as_object()?.keys().next()?)).unwrap();
            assert_eq!(word, rule.effect.name());
        }
    }

    #[test]
    fn a_script_reads_from_json_and_a_mistyped_key_is_refused() {
        let read = |json: &str| serde_json::from_str::<Vec<Rule>>(json);
        let script = r#"[{"action":"CreateDiskBackup","which":{"nth":2},"effect":{"drop":{"executed":true}}},
            {"which":{"probability":0.5},"effect":"vanish"},{"until_ms":9,"effect":{"limit":{"per_second":3}}}]"#;
        let rules = read(script).unwrap();
        assert_eq!(
            rules[0],
            Rule::on("CreateDiskBackup", Effect::Drop { executed: true }).which(Which::Nth(2))
        );
        assert_eq!(read(&serde_json::to_string(&rules).unwrap()).unwrap(), rules);
        for wrong in [
            r#"[{"acton":"A","effect":"vanish"}]"#,
            r#"[{"effect":{"drop":{"executed":true,"after":1}}}]"#,
            r#"[{"effect":"explode"}]"#,
            r#"[{"action":"A"}]"#,
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
