//! Replies of the cloud, headers included: whatever they hold, a call ends, and nothing is made of them that is not there.

#![no_main]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use cbs::credentials::Environment;
use cbs::limiter::LaneSettings;
use cbs::{
    Action, BackupsQuery, Class, Client, Clock, DisksQuery, HttpRequest, HttpResponse, Lanes, Ports, Priority,
    Settings, Transport, TransportError,
};
use futures_util::future::{BoxFuture, FutureExt, ready};
use libfuzzer_sys::fuzz_target;

struct Noon;

impl Clock for Noon {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_545_000)
    }
}

/// Gives the same reply to every call.
struct Always(HttpResponse);

impl Transport for Always {
    fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
        ready(Ok(self.0.clone())).boxed()
    }
}

fuzz_target!(|body: &[u8]| {
    let header = Some(String::from_utf8_lossy(body).into_owned());
    let reply = HttpResponse {
        status: 200,
        date: header.clone(),
        content_type: header.clone(),
        retry_after: header,
        body: Bytes::copy_from_slice(body),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(calls(reply));
});

async fn calls(reply: HttpResponse) {
    let client = Client::new(
        Settings::new("ap-guangzhou", "100001").expect("a region"),
        Ports {
            credentials: Arc::new(Environment::new(|name| (!name.contains("TOKEN")).then(|| "AKIDfuzz".to_owned()))),
            transport: Arc::new(Always(reply)),
            clock: Arc::new(Noon),
            lanes: Arc::new(Lanes::new(LaneSettings::default())),
        },
    );
    let permit = client.lane(Action::CreateDiskBackup).acquire(Priority::NewCreate).await;
    match client.create_disk_backup(permit, "disk-1a2b3c4d", "ops1_db_20261124T183000Z").await {
        Ok(accepted) => assert!(!accepted.backup_id.trim().is_empty()),
        // Only a code says that nothing was made.
        Err(error) => assert!(error.code.is_some() || error.class == Class::Ambiguous, "{error:?}"),
    }
    if let Ok(backups) = client.list_disk_backups(&BackupsQuery::All, Priority::Tracking).await {
        let ids: BTreeSet<&str> = backups.iter().map(|backup| &*backup.id).collect();
        assert!(ids.len() == backups.len() && !ids.contains(""));
    }
    if let Ok(disks) = client.list_disks(&DisksQuery::Where(Vec::new()), Priority::Reconcile).await {
        let ids: BTreeSet<&str> = disks.iter().map(|disk| &*disk.id).collect();
        assert!(ids.len() == disks.len() && !ids.contains(""));
    }
}
