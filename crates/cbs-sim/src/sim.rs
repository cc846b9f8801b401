//! The simulated cloud as its clients meet it: a request goes in, an outcome comes out, the ledger grows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::actions::{Answer, Call};
use crate::cloud::{Cloud, Place};
use crate::error::ApiError;
use crate::faults::{Accidents, Effect, Faults, Rule};
use crate::issuer::Issuer;
use crate::judge::{Admitted, Judge};
use crate::ledger::{Ledger, RequestRecord};
use crate::metadata;
use crate::random::Random;
use crate::request::{Outcome, Reply, Request, Response};
use crate::world::{Credential, Disk, Machine, Role, World};

/// The wall clock of the server.
pub trait Clock: Send + Sync {
    /// The instant.
    fn now(&self) -> Timestamp;
}

impl<F: Fn() -> Timestamp + Send + Sync> Clock for F {
    fn now(&self) -> Timestamp {
        self()
    }
}

/// A simulated cloud. Clones share it.
#[derive(Clone)]
pub struct Sim {
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<State>>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim").finish_non_exhaustive()
    }
}

struct State {
    /// The seeds of the fault scripts to come: with one seed for all, the first requests of each would meet what those of
    /// the one before met.
    scripts: Random,
    cloud: Cloud,
    judge: Judge,
    faults: Faults,
    request_ids: Random,
    network: Random,
    reply_ms: (u64, u64),
    requests: Vec<RequestRecord>,
}

impl Sim {
    /// A cloud that begins as `world` says.
    #[must_use]
    pub fn new(world: World, clock: Arc<dyn Clock>) -> Self {
        let World { seed, credentials, rate_limits, timings, choices, disks, faults, roles, machine } = world;
        let reply_ms = timings.reply_ms;
        let state = State {
            scripts: Random::new(seed, 5),
            cloud: Cloud::new(seed, timings, choices, disks, Issuer::new(roles, machine, seed)),
            judge: Judge::new(credentials, rate_limits),
            faults: Faults::new(faults, seed, clock.now()),
            request_ids: Random::new(seed, 2),
            network: Random::new(seed, 3),
            reply_ms,
            requests: Vec::new(),
        };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// Judges and executes a request that arrives now, and says what the network shall do about it.
    #[must_use]
    pub fn handle(&self, request: &Request) -> Reply {
        self.state().handle(request, self.clock.now())
    }

    /// The account so far.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        let now = self.clock.now();
        let mut state = self.state();
        state.cloud.rotate(now);
        let (backups, gone) = state.cloud.records(now);
        let snapshots = state.cloud.snapshots.records(now);
        Ledger { requests: state.requests.clone(), backups, gone, snapshots }
    }

    /// The account since it was last taken so: requests, and backups that are gone, are forgotten. For long
    /// simulations, whose whole account would fill the memory.
    #[must_use]
    pub fn take_ledger(&self) -> Ledger {
        let now = self.clock.now();
        let mut state = self.state();
        state.cloud.rotate(now);
        let (backups, _) = state.cloud.records(now);
        let snapshots = state.cloud.snapshots.records(now);
        let gone = state.cloud.take_gone(now);
        Ledger { requests: std::mem::take(&mut state.requests), backups, gone, snapshots }
    }

    /// Replaces the fault script; its counters and windows begin now, and its draws are new ones.
    pub fn set_faults(&self, rules: Vec<Rule>) {
        let now = self.clock.now();
        let mut state = self.state();
        let seed = state.scripts.next();
        state.faults = Faults::new(rules, seed, now);
    }

    /// Sets how many requests of `action` a second are let through, for each caller.
    pub fn set_rate_limit(&self, action: &str, per_second: u32) {
        self.state().judge.limits.insert(action.to_owned(), per_second);
    }

    /// Replaces the credentials that are accepted.
    pub fn set_credentials(&self, credentials: Vec<Credential>) {
        self.state().judge.credentials = credentials;
    }

    /// Replaces the roles that can be assumed. What was issued stays good.
    pub fn set_roles(&self, roles: Vec<Role>) {
        self.state().cloud.issuer.roles = roles;
    }

    /// Replaces the machine that the metadata service tells of.
    pub fn set_machine(&self, machine: Machine) {
        self.state().cloud.issuer.machine = machine;
    }

    /// Ends all temporary credentials before their time.
    pub fn end_issued(&self) {
        let now = self.clock.now();
        self.state().cloud.issuer.end_all(now);
    }

    /// Adds a disk, or changes it: the backups that it has stay, those that it brings are added.
    pub fn put_disk(&self, disk: Disk) {
        self.state().cloud.put_disk(disk);
    }

    /// Takes a disk away with its backups; says whether it was there.
    pub fn remove_disk(&self, id: &str) -> bool {
        let now = self.clock.now();
        self.state().cloud.remove_disk(id, now)
    }

    /// Deletes a backup behind its maker's back; says whether it was there.
    pub fn remove_backup(&self, id: &str) -> bool {
        let now = self.clock.now();
        self.state().cloud.remove_backup(id, now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a request is about, as far as it can be told before it is judged.
#[derive(Default)]
struct Subject {
    disks: Vec<String>,
    name: Option<String>,
    backup: Option<String>,
}

impl Subject {
    fn of(body: &Value, cloud: &Cloud) -> Self {
        let strings = |value: &Value| -> Vec<String> {
            let all = value.as_array().map(Vec::as_slice).unwrap_or_default();
            all.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let one = |key: &str| body[key].as_str().map(str::to_owned);
        let mut backups = strings(&body["DiskBackupIds"]);
        backups.extend(one("DiskBackupId"));
        let mut disks: Vec<_> = one("DiskId").into_iter().chain(strings(&body["DiskIds"])).collect();
        for filter in body["Filters"].as_array().into_iter().flatten() {
            match filter["Name"].as_str() {
                Some("disk-id") => disks.extend(strings(&filter["Values"])),
                Some("disk-backup-id") => backups.extend(strings(&filter["Values"])),
                _ => {}
            }
        }
        backups.extend(one("DiskBackupId"));
        disks.extend(backups.iter().filter_map(|backup| cloud.home_of(backup)).map(str::to_owned));
        Self {
            disks,
            name: one("DiskBackupName").or_else(|| one("SnapshotName")),
            backup: backups.into_iter().next(),
        }
    }
}

impl State {
    fn handle(&mut self, request: &Request, now: Timestamp) -> Reply {
        if let Some(role) = metadata::role_asked_for(request) {
            return self.tell_metadata(role, now);
        }
        self.cloud.rotate(now);
        let action = request.header("X-TC-Action").unwrap_or_default();
        let body: Option<Value> = serde_json::from_slice(&request.body).ok();
        let subject = body.as_ref().map(|body| Subject::of(body, &self.cloud)).unwrap_or_default();
        let conditions = self.faults.conditions(now, action, &subject.disks);
        let verdict = self.judge.judge(request, body.as_ref(), now, conditions, &self.cloud.issuer);

        let mut record = RequestRecord {
            arrival: now,
            action: action.to_owned(),
            disk_id: subject.disks.first().cloned(),
            name: subject.name,
            code: None,
            executed: false,
            replied: true,
            fault: None,
            identity: verdict.identity,
            host: request.header("Host").unwrap_or_default().to_lowercase(),
            backup_id: subject.backup,
            request_id: self.request_ids.uuid(),
        };
        let mut delay = Duration::from_millis(self.network.between(self.reply_ms));
        let date = conditions.skewed(now);
        let outcome = match verdict.result {
            Err(error) => Outcome::Respond(answered(Err(error), &mut record, date)),
            Ok(admitted) => {
                let accidents = self.faults.accidents(now, action, &subject.disks);
                delay += accidents.slower;
                self.execute(&admitted, accidents, &mut record, now, date)
            }
        };
        record.replied = matches!(outcome, Outcome::Respond(_));
        self.requests.push(record);
        Reply { delay, outcome }
    }

    /// Does the work, unless a fault forbids it, and lets the fault have the reply.
    fn execute(
        &mut self,
        admitted: &Admitted<'_>,
        Accidents { fate, reply: fault, .. }: Accidents,
        record: &mut RequestRecord,
        now: Timestamp,
        date: Timestamp,
    ) -> Outcome {
        let Admitted { action, region, params } = admitted;
        let caller = record.identity.clone().unwrap_or_default();
        let place = Place { region, caller: &caller };
        record.fault = fault.as_ref().map(|effect| effect.name().to_owned());
        let forbidden = match &fault {
            Some(Effect::Error { code, message }) => Some(ApiError::new(code, message)),
            // No one will read this answer; it stands for the work that was not done.
            Some(fault) if fault.prevents() => Some(ApiError::new("InternalError", "The request was lost.")),
            _ => None,
        };
        let result = match forbidden {
            Some(error) => Err(error),
            None => (action.run)(&mut self.cloud, &Call { now, place, params, fate }),
        };
        record.executed = result.is_ok();
        if let Ok(answer) = &result
            && let Some(id) = answer.get("DiskBackupId").and_then(Value::as_str)
        {
            record.backup_id = Some(id.to_owned());
        }

        let answer = answered(result, record, date);
        match fault {
            Some(Effect::ErrorAfter { code, message }) => {
                Outcome::Respond(answered(Err(ApiError::new(&code, message)), record, date))
            }
            Some(Effect::NoResult) => Outcome::Respond(answered(Ok(Answer::new()), record, date)),
            fault => delivered(answer, fault, date),
        }
    }

    /// Answers a question of the metadata service.
    fn tell_metadata(&mut self, role: &str, now: Timestamp) -> Reply {
        let accidents = self.faults.accidents(now, metadata::ACTION, &[]);
        let delay = Duration::from_millis(self.network.between(self.reply_ms)) + accidents.slower;
        let fault = accidents.reply;
        let prevented = fault.as_ref().is_some_and(Effect::prevents);
        let (status, body) = match fault.as_ref().and_then(metadata::in_place) {
            Some(forbidden) => forbidden,
            None if prevented => metadata::nothing(),
            None => metadata::answer(&mut self.cloud.issuer, role, now),
        };
        let answer = Response { status, ..response("text/plain", body, now) };
        let name = fault.as_ref().map(|effect| effect.name().to_owned());
        let outcome = delivered(answer, fault, now);
        self.requests.push(RequestRecord {
            arrival: now,
            host: String::new(),
            action: metadata::ACTION.to_owned(),
            disk_id: None,
            name: Some(role.to_owned()).filter(|role| !role.is_empty()),
            code: (status == 404).then(|| "NotFound".to_owned()),
            executed: !prevented && status == 200,
            replied: matches!(outcome, Outcome::Respond(_)),
            fault: name,
            identity: None,
            backup_id: None,
            request_id: self.request_ids.uuid(),
        });
        Reply { delay, outcome }
    }
}

/// What the network makes of an answer.
fn delivered(answer: Response, fault: Option<Effect>, date: Timestamp) -> Outcome {
    match fault {
        Some(Effect::Http { status, body, .. }) => {
            Outcome::Respond(Response { status, ..response("text/html", body, date) })
        }
        Some(Effect::TruncatedJson { .. }) => {
            let half = answer.body.slice(..answer.body.len() / 2);
            Outcome::Respond(Response { body: half, ..answer })
        }
        Some(Effect::ShortBody { .. }) => {
            let half = answer.body.len() / 2;
            Outcome::TruncatedBody(answer, half)
        }
        Some(Effect::Drop { .. }) => Outcome::DropConnection,
        Some(Effect::Reset { .. }) => Outcome::ResetConnection,
        Some(Effect::Timeout { .. }) => Outcome::NeverReply,
        _ => Outcome::Respond(answer),
    }
}

/// The API's answer, noted in the record.
fn answered(result: Result<Answer, ApiError>, record: &mut RequestRecord, date: Timestamp) -> Response {
    let mut answer = match result {
        Ok(answer) => answer,
        Err(ApiError { code, message }) => {
            record.code = Some(code.clone());
            Answer::from_iter([("Error".to_owned(), json!({"Code": code, "Message": message}))])
        }
    };
    answer.insert("RequestId".to_owned(), record.request_id.clone().into());
    #[expect(clippy::expect_used, reason = "its keys are texts")]
    let body = serde_json::to_vec(&BTreeMap::from([("Response", &answer)])).expect("an answer is plain JSON");
    // No charset: with one, the vendor's Python SDK does not notice errors.
    response("application/json", body, date)
}

fn response(content_type: &str, body: impl Into<Bytes>, date: Timestamp) -> Response {
    let date = date.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
    let headers = [("Content-Type", content_type), ("Date", &date)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec();
    Response { status: 200, headers, body: body.into() }
}
