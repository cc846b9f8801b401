//! A client of the simulator, with a signer of its own, and a clock that is set by hand.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cbs_sim::{Credential, Disk, Outcome, Request, Response, Rule, Sim, World};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::Value;
use sha2::{Digest, Sha256};

pub(crate) const ID: &str = "AKIDtest";
pub(crate) const KEY: &str = "test-key";
pub(crate) const START: &str = "2026-11-24T18:30:00Z";

/// A world with one credential and these disks.
pub(crate) fn world(disks: impl IntoIterator<Item = Disk>) -> World {
    World { credentials: vec![credential(ID, KEY)], disks: disks.into_iter().collect(), ..World::default() }
}

pub(crate) fn credential(id: &str, key: &str) -> Credential {
    Credential { secret_id: id.to_owned(), secret_key: key.to_owned(), token: None, identity: None }
}

/// A simulated cloud at [`START`], and a caller.
pub(crate) struct Caller {
    pub(crate) sim: Sim,
    clock: Arc<Mutex<Timestamp>>,
    pub(crate) signer: Signer,
}

impl Caller {
    pub(crate) fn new(world: World) -> Self {
        let clock = Arc::new(Mutex::new(START.parse::<Timestamp>().unwrap()));
        let hand = Arc::clone(&clock);
        let sim = Sim::new(world, Arc::new(move || *hand.lock().unwrap()));
        Self { sim, clock, signer: Signer::default() }
    }

    /// The same with a fault script.
    pub(crate) fn with_faults(world: World, faults: impl IntoIterator<Item = Rule>) -> Self {
        Self::new(World { faults: faults.into_iter().collect(), ..world })
    }

    pub(crate) fn now(&self) -> Timestamp {
        *self.clock.lock().unwrap()
    }

    pub(crate) fn pass(&self, time: Duration) {
        *self.clock.lock().unwrap() += time;
    }

    pub(crate) fn send(&self, action: &str, body: &Value) -> Outcome {
        self.sim.handle(&self.signer.sign(action, &body.to_string(), self.now())).outcome
    }

    pub(crate) fn respond(&self, action: &str, body: &Value) -> Response {
        match self.send(action, body) {
            Outcome::Respond(response) => response,
            other => panic!("no response: {other:?}"),
        }
    }

    /// The content of `Response`.
    pub(crate) fn call(&self, action: &str, body: &Value) -> Value {
        api(&self.respond(action, body))
    }

    /// The code of the answer, `ok` if it is no error.
    pub(crate) fn code(&self, action: &str, body: &Value) -> String {
        code(&self.call(action, body))
    }
}

pub(crate) fn api(response: &Response) -> Value {
    let body: Value = serde_json::from_slice(&response.body).unwrap();
    body["Response"].clone()
}

pub(crate) fn code(answer: &Value) -> String {
    answer["Error"]["Code"].as_str().unwrap_or("ok").to_owned()
}

/// Signs as the vendor's clients do.
#[derive(Clone)]
pub(crate) struct Signer {
    pub(crate) id: String,
    pub(crate) key: String,
    pub(crate) host: String,
    pub(crate) service: String,
    pub(crate) token: Option<String>,
}

impl Default for Signer {
    fn default() -> Self {
        let host = "cbs.tencentcloudapi.com".to_owned();
        Self { id: ID.to_owned(), key: KEY.to_owned(), host, service: "cbs".to_owned(), token: None }
    }
}

impl Signer {
    pub(crate) fn sign(&self, action: &str, body: &str, now: Timestamp) -> Request {
        let Self { id, key, host, service, token } = self;
        let version = if service == "sts" { "2018-08-13" } else { "2017-03-12" };
        let date = now.strftime("%Y-%m-%d").to_string();
        let scope = format!("{date}/{service}/tc3_request");
        let canonical = format!(
            "POST\n/\n\ncontent-type:application/json\nhost:{host}\n\ncontent-type;host\n{}",
            hex::encode(Sha256::digest(body))
        );
        let seconds = now.as_second().to_string();
        let text = format!(
            "TC3-HMAC-SHA256\n{seconds}\n{scope}\n{}",
            hex::encode(Sha256::digest(canonical.as_bytes()))
        );
        let key = [date.as_str(), service, "tc3_request", &text]
            .iter()
            .fold(format!("TC3{key}").into_bytes(), |key, part| hmac(&key, part));
        let authorization = format!(
            "TC3-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders=content-type;host, Signature={}",
            hex::encode(key)
        );
        let mut headers = vec![
            ("Content-Type", "application/json"),
            ("Host", host),
            ("X-TC-Action", action),
            ("X-TC-Version", version),
            ("X-TC-Region", "ap-guangzhou"),
            ("X-TC-Timestamp", &seconds),
            ("Authorization", &authorization),
        ];
        headers.extend(token.as_deref().map(|token| ("X-TC-Token", token)));
        Request::post(&headers, body.to_owned())
    }
}

fn hmac(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}
