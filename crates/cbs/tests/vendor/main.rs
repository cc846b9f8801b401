//! The vendor's own Python SDK and command line judge this crate: what it sends and what it reads.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use cbs::credentials::Environment;
use cbs::limiter::LaneSettings;
use cbs::{Client, Clock, HttpRequest, HttpResponse, Lanes, Ports, Settings, Transport, TransportError};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;

mod answers;
mod credentials;
mod signature;

const ID: &str = "AKIDz8krbsJ5yKBZQpn74WFkmLPx3EXAMPLE";
const KEY: &str = "Gu5t9xGARNpq86cd98joQYCN3EXAMPLE";

/// The output of a script of this directory.
fn run(script: &str, input: &str) -> String {
    let script = format!("{}/tests/vendor/{script}", env!("CARGO_MANIFEST_DIR"));
    vendor_clients::run(env!("CARGO_TARGET_TMPDIR"), script, &[], input)
}

/// Stands still at the very end of a second, which no signature may round up.
struct At(Timestamp);

impl Clock for At {
    fn now(&self) -> SystemTime {
        SystemTime::from(self.0) + Duration::from_nanos(999_999_999)
    }
}

/// Keeps what is sent, and answers by action.
struct Recorder {
    sent: Mutex<Vec<HttpRequest>>,
    answers: BTreeMap<String, String>,
}

impl Recorder {
    fn new(answers: BTreeMap<String, String>) -> Arc<Self> {
        Arc::new(Self { sent: Mutex::default(), answers })
    }
}

impl Transport for Recorder {
    fn send(&self, request: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let body = self.answers[request.header("X-TC-Action").unwrap()].clone().into();
        self.sent.lock().unwrap().push(request);
        futures_util::future::ready(Ok(HttpResponse { status: 200, body, ..HttpResponse::default() })).boxed()
    }
}

fn client(transport: &Arc<Recorder>, endpoint: &str, at: Timestamp, token: Option<&'static str>) -> Client {
    let credentials = Environment::new(move |name| match name {
        "TENCENTCLOUD_SECRET_ID" => Some(ID.to_owned()),
        "TENCENTCLOUD_SECRET_KEY" => Some(KEY.to_owned()),
        "TENCENTCLOUD_TOKEN" => token.map(ToOwned::to_owned),
        _ => None,
    });
    let mut settings = Settings::new("ap-guangzhou", "100001").unwrap();
    settings.endpoint = endpoint.parse().unwrap();
    let ports = Ports {
        credentials: Arc::new(credentials),
        transport: Arc::clone(transport) as _,
        clock: Arc::new(At(at)),
        lanes: Arc::new(Lanes::new(LaneSettings::default())),
    };
    Client::new(settings, ports)
}
