//! The simulator: one request in, one fate of its reply out.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::cloud::{Cloud, Dice, Fate};
use crate::faults::{Effect, Rule, Script};
use crate::judge::{self, ApiError};
use crate::ledger::{BackupRecord, Ledger, RequestRecord};
use crate::world::{Between, World};

/// The server's clock.
pub trait Clock: Send + Sync {
    /// Wall-clock time.
    fn now(&self) -> Timestamp;
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`.
    pub method: String,
    /// `/`.
    pub path: String,
    /// Names in any case.
    pub headers: Vec<(String, String)>,
    /// The raw body.
    pub body: Bytes,
}

impl Request {
    /// The value of a header, by its name in any case.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// A response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// Date and Content-Type.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Bytes,
}

/// What the network shall do with the reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Deliver it.
    Respond(Response),
    /// Close the connection without it.
    Drop,
    /// Reset the connection.
    Reset,
    /// Keep the caller waiting for ever.
    Never,
    /// Deliver the first so many bytes of its body, then close.
    CutShort(Response, usize),
}

/// An outcome, and how long it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// From arrival to the outcome.
    pub delay: Duration,
    /// The outcome.
    pub outcome: Outcome,
}

/// A simulated cloud. Cheap to clone: clones are one cloud.
#[derive(Clone)]
pub struct Sim(Arc<Mutex<Inner>>);

pub(crate) struct Inner {
    clock: Arc<dyn Clock>,
    pub(crate) world: World,
    pub(crate) cloud: Cloud,
    pub(crate) dice: Dice,
    script: Script,
    started: Timestamp,
    /// Arrivals of the last second that counted, by identity and action.
    arrivals: BTreeMap<(String, String), VecDeque<Timestamp>>,
    requests: Vec<RequestRecord>,
    number: u64,
}

impl Sim {
    /// A cloud of this world, by this clock.
    #[must_use]
    pub fn new(world: World, clock: Arc<dyn Clock>) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            started: clock.now(),
            cloud: Cloud::new(&world),
            dice: Dice::new(world.seed),
            script: Script::new(world.faults.clone()),
            arrivals: BTreeMap::new(),
            requests: Vec::new(),
            number: 0,
            world,
            clock,
        })))
    }

    /// Judges a request, does what it asks, and says what the network shall do.
    #[must_use]
    pub fn handle(&self, request: &Request) -> Reply {
        self.lock().handle(request)
    }

    /// What happened so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let inner = self.lock();
        let now = inner.clock.now();
        let backups =
            inner.cloud.backups.iter().filter(|backup| backup.exists(now)).map(|backup| BackupRecord {
                backup_id: backup.id.clone(),
                disk_id: backup.disk.clone(),
                name: backup.name.clone(),
                state: backup.state(now).to_owned(),
                created: backup.created,
            });
        Ledger { requests: inner.requests.clone(), backups: backups.collect() }
    }

    /// Plays another fault script from now on; its seconds count from now.
    pub fn set_faults(&self, rules: Vec<Rule>) {
        let mut inner = self.lock();
        inner.started = inner.clock.now();
        inner.script = Script::new(rules);
    }

    /// Deletes a backup behind everyone's back, as a person or the vendor's rotation does.
    pub fn delete_backup(&self, id: &str) {
        let mut inner = self.lock();
        let now = inner.clock.now();
        inner.cloud.delete(id, now);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn handle(&mut self, request: &Request) -> Reply {
        let now = self.clock.now();
        let elapsed = now.duration_since(self.started).as_secs_f64();
        let action = request.header("x-tc-action").unwrap_or_default().to_owned();
        let skew = self.skew(&action, elapsed);
        let server_now = now.saturating_add(SignedDuration::from_secs(skew)).unwrap_or(Timestamp::MAX);
        let body: Option<Value> = serde_json::from_slice(&request.body).ok();
        let text = |key: &str| body.as_ref().and_then(|body| body.get(key)?.as_str().map(str::to_owned));
        let mut record = RequestRecord {
            arrival: now,
            disk_id: text("DiskId"),
            name: text("DiskBackupName"),
            action,
            code: None,
            backup_id: None,
            replied: true,
            identity: None,
        };
        let (result, effect) = self.answer(request, body, now, server_now, elapsed, &mut record);
        if let Err(error) = &result {
            record.code = Some(error.code.clone());
        }
        self.number += 1;
        let reply = self.reply(result, effect.as_ref(), server_now);
        record.replied = matches!(reply.outcome, Outcome::Respond(_));
        self.requests.push(record);
        reply
    }

    /// Judges in the cloud's order, then plays the script, then does what was asked.
    fn answer(
        &mut self,
        request: &Request,
        body: Option<Value>,
        now: Timestamp,
        server_now: Timestamp,
        elapsed: f64,
        record: &mut RequestRecord,
    ) -> (Result<Value, ApiError>, Option<Effect>) {
        let admitted = judge::identity(request, &self.world, server_now).and_then(|identity| {
            record.identity = Some(identity.clone());
            self.count(&identity, &record.action, now, elapsed)
        });
        if let Err(error) = admitted {
            return (Err(error), None);
        }
        let call = match judge::call(request, body) {
            Ok(call) => call,
            Err(error) => return (Err(error), None),
        };
        let effect = self.script.next(&record.action, record.disk_id.as_deref(), elapsed, &mut self.dice);
        let fate = match &effect {
            Some(Effect::Vanish {}) => Fate::Vanishes,
            Some(Effect::Stuck {}) => Fate::Stuck,
            _ => Fate::Ordinary,
        };
        if let Some(error) = effect.as_ref().and_then(not_executed) {
            return (Err(error), effect);
        }
        let result = (call.run)(self, &call.body, fate, now);
        record.backup_id =
            result.as_ref().ok().and_then(|value| value.get("DiskBackupId")?.as_str().map(str::to_owned));
        match &effect {
            Some(Effect::ErrorAfter { code }) if result.is_ok() => {
                (Err(ApiError::new(code, "after the fact")), effect)
            }
            _ => (result, effect),
        }
    }

    /// Counts an arrival; the excess of any one second is refused.
    fn count(&mut self, identity: &str, action: &str, now: Timestamp, elapsed: f64) -> Result<(), ApiError> {
        let others = self.script.of_time(action, elapsed).find_map(|effect| match effect {
            Effect::Limit { per_second } => Some(*per_second),
            _ => None,
        });
        let limit = others.or(self.world.limits.get(action).copied()).unwrap_or(self.world.limit);
        let window = self.arrivals.entry((identity.to_owned(), action.to_owned())).or_default();
        while window.front().is_some_and(|first| now.duration_since(*first) >= SignedDuration::from_secs(1)) {
            window.pop_front();
        }
        window.push_back(now);
        let count = window.len();
        if count <= limit as usize {
            return Ok(());
        }
        // What was refused does not use up the limit.
        window.pop_back();
        Err(ApiError::new(
            "RequestLimitExceeded",
            format!(
                "Your current request times equals to `{count}` in a second, which exceeds the frequency limit \
                 `{limit}` for a second. Please reduce the frequency of calls."
            ),
        ))
    }

    fn skew(&self, action: &str, elapsed: f64) -> i64 {
        let of_time = self.script.of_time(action, elapsed);
        of_time
            .filter_map(
                |effect| if let Effect::ClockSkew { seconds } = effect { Some(*seconds) } else { None },
            )
            .sum()
    }

    fn reply(
        &mut self,
        result: Result<Value, ApiError>,
        effect: Option<&Effect>,
        server_now: Timestamp,
    ) -> Reply {
        let request_id =
            format!("{:08x}-0000-4000-8000-{:012x}", self.number, self.world.seed & 0xffff_ffff_ffff);
        let response = match result {
            Ok(mut value) => {
                value["RequestId"] = json!(request_id);
                value
            }
            Err(error) => json!({
                "Error": { "Code": error.code, "Message": error.message },
                "RequestId": request_id,
            }),
        };
        let whole = json!({ "Response": response }).to_string();
        let json = |body: Bytes| respond(200, "application/json", body, server_now);
        let outcome = match effect {
            Some(Effect::Http { status, .. }) => Outcome::Respond(respond(
                *status,
                "text/html",
                "<html><body><h1>Bad gateway</h1></body></html>".into(),
                server_now,
            )),
            Some(Effect::TruncatedJson { .. }) => {
                let half = whole.as_bytes()[..whole.len() / 2].to_vec();
                Outcome::Respond(json(half.into()))
            }
            Some(Effect::ShortBody { .. }) => {
                let half = whole.len() / 2;
                Outcome::CutShort(json(whole.into()), half)
            }
            Some(Effect::NoResult {}) => {
                Outcome::Respond(json(json!({ "Response": { "RequestId": request_id } }).to_string().into()))
            }
            Some(Effect::Drop { .. }) => Outcome::Drop,
            Some(Effect::Reset { .. }) => Outcome::Reset,
            Some(Effect::Timeout { .. }) => Outcome::Never,
            _ => Outcome::Respond(json(whole.into())),
        };
        let mut delay = self.dice.between(self.world.latency_ms);
        if let Some(Effect::Slow { ms }) = effect {
            delay += self.dice.between(Between { from: *ms, to: *ms });
        }
        Reply { delay: delay.unsigned_abs(), outcome }
    }
}

/// The refusal that an effect means, where it is not executed.
fn not_executed(effect: &Effect) -> Option<ApiError> {
    match effect {
        Effect::Error { code } => Some(ApiError::new(code, "as the script has it")),
        Effect::Http { executed: false, .. }
        | Effect::TruncatedJson { executed: false }
        | Effect::ShortBody { executed: false }
        | Effect::Drop { executed: false }
        | Effect::Reset { executed: false }
        | Effect::Timeout { executed: false } => Some(ApiError::new("InternalError", "as the script has it")),
        _ => None,
    }
}

fn respond(status: u16, content_type: &str, body: Bytes, server_now: Timestamp) -> Response {
    let date = server_now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    Response {
        status,
        headers: vec![("Date".to_owned(), date), ("Content-Type".to_owned(), content_type.to_owned())],
        body,
    }
}
