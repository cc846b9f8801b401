//! What tests of this crate share: a transport that follows a script, and clients on it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::time::Instant;

use crate::credentials::{Environment, ProvideCredentials};
use crate::limiter::{LaneSettings, Lanes, Priority};
use crate::transport::{HttpRequest, HttpResponse, Transport, TransportError};
use crate::{Accepted, Action, Client, Clock, Error, Ports, Settings};

pub(crate) const KEY: &str = "5ecretKeyThatNobodyMaySee";
pub(crate) const TOKEN: &str = "5essionTokenThatNobodyMaySee";

/// 2026-11-24T18:30:00Z.
pub(crate) const NOW: i64 = 1_795_545_000;

/// A clock that follows tokio's, which tests pause.
pub(crate) struct FromNow(Instant);

impl Clock for FromNow {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW as u64) + self.0.elapsed()
    }
}

#[expect(clippy::disallowed_methods, reason = "the origin of a test's paused time")]
pub(crate) fn clock() -> Arc<dyn Clock> {
    Arc::new(FromNow(Instant::now()))
}

type Answer = Box<dyn Fn(&HttpRequest) -> Result<HttpResponse, TransportError> + Send>;

/// Answers in order, the last answer again and again.
#[derive(Default)]
pub(crate) struct Script {
    answers: Mutex<VecDeque<Answer>>,
    requests: Mutex<Vec<HttpRequest>>,
}

impl Script {
    pub(crate) fn then(
        self,
        answer: impl Fn(&HttpRequest) -> Result<HttpResponse, TransportError> + Send + 'static,
    ) -> Self {
        self.answers.lock().unwrap().push_back(Box::new(answer));
        self
    }

    pub(crate) fn then_json(self, response: serde_json::Value) -> Self {
        self.then(move |_| Ok(json_reply(&response)))
    }

    pub(crate) fn then_code(self, code: &'static str) -> Self {
        self.then_json(json!({"Error": {"Code": code, "Message": "words"}, "RequestId": "r"}))
    }

    pub(crate) fn requests(&self) -> Vec<HttpRequest> {
        self.requests.lock().unwrap().clone()
    }

    pub(crate) fn bodies(&self) -> Vec<serde_json::Value> {
        self.requests().iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    }
}

impl Transport for Script {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        async move {
            let mut answers = self.answers.lock().unwrap();
            let reply = answers.front().expect("a call that was not expected")(&request);
            if answers.len() > 1 {
                answers.pop_front();
            }
            self.requests.lock().unwrap().push(request);
            reply
        }
        .boxed()
    }
}

/// Never answers.
pub(crate) struct Silence;

impl Transport for Silence {
    fn send(&self, _request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        futures_util::future::pending().boxed()
    }
}

/// As the cloud replies: with the id of the request, whatever else there is.
pub(crate) fn json_reply(response: &serde_json::Value) -> HttpResponse {
    let mut response = response.clone();
    if let Some(fields) = response.as_object_mut() {
        fields.entry("RequestId").or_insert("r".into());
    }
    HttpResponse {
        status: 200,
        content_type: Some("application/json".into()),
        body: json!({ "Response": response }).to_string().into(),
        ..HttpResponse::default()
    }
}

pub(crate) fn environment(token: bool) -> Arc<Environment> {
    Arc::new(Environment::new(move |name| match name {
        "TENCENTCLOUD_SECRET_ID" => Some("AKIDtest".to_owned()),
        "TENCENTCLOUD_SECRET_KEY" => Some(KEY.to_owned()),
        "TENCENTCLOUD_TOKEN" => token.then(|| TOKEN.to_owned()),
        _ => None,
    }))
}

pub(crate) fn client_with(transport: Arc<dyn Transport>, credentials: Arc<dyn ProvideCredentials>) -> Client {
    let lanes = Arc::new(Lanes::new(LaneSettings::default()));
    let settings = Settings::new("ap-guangzhou", "100001").unwrap();
    Client::new(settings, Ports { credentials, transport, clock: clock(), lanes })
}

pub(crate) fn client(transport: &Arc<Script>) -> Client {
    client_with(Arc::clone(transport) as _, environment(false))
}

pub(crate) async fn create(client: &Client) -> Result<Accepted, Error> {
    let permit = client.lane(Action::CreateDiskBackup).acquire(Priority::NewCreate).await;
    client.create_disk_backup(permit, "disk-1a2b3c4d", "ops1_db_20261124T183000Z").await
}
