//! Fault scripts: what goes wrong, for whom, when and how often.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::cloud::Dice;

/// One rule of a fault script. It applies to a request that matches all that it names; the first rule that
/// applies is carried out.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// To this action alone.
    #[serde(default)]
    pub action: Option<String>,
    /// To these disks alone.
    #[serde(default)]
    pub disks: Option<BTreeSet<String>>,
    /// From so many seconds after the start.
    #[serde(default)]
    pub from_s: f64,
    /// Up to so many seconds after the start.
    #[serde(default)]
    pub until_s: Option<f64>,
    /// Not to the first so many matching requests.
    #[serde(default)]
    pub skip: u32,
    /// To so many matching requests at most.
    #[serde(default)]
    pub times: Option<u32>,
    /// `skip` and `times` count for each disk by itself.
    #[serde(default)]
    pub each_disk: bool,
    /// With this probability.
    #[serde(default)]
    pub chance: Option<f64>,
    /// What happens.
    pub effect: Effect,
}

impl Rule {
    /// A rule for an action, without further conditions.
    #[must_use]
    pub fn on(action: &str, effect: Effect) -> Self {
        Self {
            action: Some(action.to_owned()),
            disks: None,
            from_s: 0.0,
            until_s: None,
            skip: 0,
            times: None,
            each_disk: false,
            chance: None,
            effect,
        }
    }

    /// The first `times` matching requests only.
    #[must_use]
    pub fn times(self, times: u32) -> Self {
        Self { times: Some(times), ..self }
    }

    /// These disks only.
    #[must_use]
    pub fn disks<'a>(self, disks: impl IntoIterator<Item = &'a str>) -> Self {
        Self { disks: Some(disks.into_iter().map(str::to_owned).collect()), ..self }
    }
}

/// What happens to a request. `executed` says whether the cloud does what was asked all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Refused with this code; not executed.
    Error {
        /// The code.
        code: String,
    },
    /// Executed, and answered with this code.
    ErrorAfter {
        /// The code.
        code: String,
    },
    /// A gateway's answer, in HTML.
    Http {
        /// The status.
        status: u16,
        /// See [`Effect`].
        executed: bool,
    },
    /// A complete reply that holds half of the JSON.
    TruncatedJson {
        /// See [`Effect`].
        executed: bool,
    },
    /// A reply that ends before its Content-Length.
    ShortBody {
        /// See [`Effect`].
        executed: bool,
    },
    /// A reply with neither Error nor result; executed.
    NoResult {},
    /// The connection is closed without a reply.
    Drop {
        /// See [`Effect`].
        executed: bool,
    },
    /// The connection is reset.
    Reset {
        /// See [`Effect`].
        executed: bool,
    },
    /// No reply ever.
    Timeout {
        /// See [`Effect`].
        executed: bool,
    },
    /// Executed, and answered so much later.
    Slow {
        /// Milliseconds.
        ms: u64,
    },
    /// The backup goes away while it is CREATING.
    Vanish {},
    /// The backup never leaves CREATING.
    Stuck {},
    /// The server's clock is off, for whoever comes while the rule's time lasts.
    ClockSkew {
        /// Seconds ahead.
        seconds: i64,
    },
    /// The limit is this, while the rule's time lasts: others use the bucket.
    Limit {
        /// Calls in any one second.
        per_second: u32,
    },
}

impl Effect {
    /// Whether it is about the time rather than about one request.
    pub(crate) fn is_of_time(&self) -> bool {
        matches!(self, Self::ClockSkew { .. } | Self::Limit { .. })
    }
}

/// A fault script and how far it has been played.
#[derive(Debug, Default)]
pub(crate) struct Script {
    rules: Vec<(Rule, BTreeMap<String, u32>)>,
}

impl Script {
    pub(crate) fn new(rules: Vec<Rule>) -> Self {
        Self { rules: rules.into_iter().map(|rule| (rule, BTreeMap::new())).collect() }
    }

    /// The effects of time at so many seconds after the start, for an action.
    pub(crate) fn of_time(&self, action: &str, elapsed: f64) -> impl Iterator<Item = &Effect> {
        self.rules.iter().filter_map(move |(rule, _)| {
            (rule.effect.is_of_time() && in_time(rule, elapsed) && is_action(rule, action))
                .then_some(&rule.effect)
        })
    }

    /// The effect on one request, if any.
    pub(crate) fn next(
        &mut self,
        action: &str,
        disk: Option<&str>,
        elapsed: f64,
        dice: &mut Dice,
    ) -> Option<Effect> {
        for (rule, counts) in &mut self.rules {
            let fits = !rule.effect.is_of_time()
                && in_time(rule, elapsed)
                && is_action(rule, action)
                && rule.disks.as_ref().is_none_or(|disks| disk.is_some_and(|disk| disks.contains(disk)));
            if !fits {
                continue;
            }
            let count = counts.entry(if rule.each_disk {
                disk.unwrap_or_default().to_owned()
            } else {
                String::new()
            });
            let count = count.or_default();
            if rule.times.is_some_and(|times| *count >= rule.skip.saturating_add(times)) {
                continue;
            }
            if rule.chance.is_some_and(|chance| dice.unit() >= chance) {
                continue;
            }
            *count += 1;
            if *count > rule.skip {
                return Some(rule.effect.clone());
            }
        }
        None
    }
}

fn in_time(rule: &Rule, elapsed: f64) -> bool {
    elapsed >= rule.from_s && rule.until_s.is_none_or(|until| elapsed < until)
}

fn is_action(rule: &Rule, action: &str) -> bool {
    rule.action.as_ref().is_none_or(|wanted| wanted == action)
}
