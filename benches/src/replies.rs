//! Calls of the client, answered at once with what the cloud would say.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cbs::credentials::Environment;
use cbs::limiter::{LaneSettings, Lanes};
use cbs::transport::{HttpRequest, HttpResponse, Transport, TransportError};
use cbs::{BackupsQuery, Client, Clock, Ports, Priority, Settings};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use crate::DUE;

/// The most that one page of a listing has.
const PAGE: usize = 100;

struct Standing;

impl Clock for Standing {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(DUE.unsigned_abs())
    }
}

struct Answer(Bytes);

impl Transport for Answer {
    fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        let reply = HttpResponse {
            status: 200,
            content_type: Some("application/json".to_owned()),
            body: self.0.clone(),
            ..HttpResponse::default()
        };
        std::future::ready(Ok(reply)).boxed()
    }
}

/// A client to whom every listing shows a full page.
pub struct Replies {
    client: Client,
    runtime: Runtime,
}

impl Default for Replies {
    fn default() -> Self {
        let backup = |number| {
            json!({
                "DiskBackupId": format!("dbp-{number:08x}"), "DiskId": "disk-1a2b3c4d", "DiskSize": 50,
                "DiskBackupName": "ops1_nightly_20261124T183000Z", "DiskBackupState": "NORMAL", "Percent": 100,
                "DiskUsage": "DATA_DISK", "CreateTime": "2026-11-24T18:30:00Z", "Encrypt": false,
            })
        };
        let page: Vec<_> = (0..PAGE).map(backup).collect();
        let body = json!({"Response": {"TotalCount": PAGE, "DiskBackupSet": page, "RequestId": "r"}});
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let client = runtime.block_on(async {
            let credentials =
                Environment::new(|name| name.starts_with("TENCENTCLOUD_SECRET").then(|| "x".to_owned()));
            let ports = Ports {
                credentials: Arc::new(credentials),
                transport: Arc::new(Answer(body.to_string().into())),
                clock: Arc::new(Standing),
                lanes: Arc::new(Lanes::new(LaneSettings::default())),
            };
            Client::new(Settings::new("ap-guangzhou", "100001").unwrap(), ports)
        });
        Self { client, runtime }
    }
}

impl Replies {
    /// A listing, from its parameters to its typed content.
    pub fn turn(&self) {
        let query = BackupsQuery::ByDisks(vec!["disk-1a2b3c4d".to_owned()]);
        let listed =
            self.runtime.block_on(self.client.list_disk_backups(&query, Priority::Tracking)).unwrap();
        assert_eq!(listed.len(), PAGE);
    }
}
