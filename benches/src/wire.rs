//! Creates as the daemon sends them, without what it does before and after.

use cbs::transport::{HttpRequest, Timeouts, Transport as _};
use cbs::{Action, ReqwestTransport};
use jiff::Timestamp;
use serde_json::json;

use crate::disk;

/// A signer and a transport.
pub struct Wire {
    transport: ReqwestTransport,
    endpoint: String,
    fresh: bool,
}

impl Wire {
    /// To `endpoint`; each call on a connection of its own if `fresh`, and otherwise on those that there are.
    #[must_use]
    pub fn new(endpoint: String, fresh: bool) -> Self {
        Self { transport: ReqwestTransport::new(Timeouts::default()).unwrap(), endpoint, fresh }
    }

    /// Asks for a backup of the n-th disk; what is answered.
    ///
    /// # Panics
    /// If nothing is.
    pub async fn create(&self, number: usize) -> String {
        let body = json!({"DiskId": disk(number), "DiskBackupName": "nightly"}).to_string();
        let host = self.endpoint.trim_start_matches("http://").to_owned();
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
        let at = Timestamp::now();
        let signed = [
            ("Content-Type", "application/json"),
            ("Host", &*host),
            ("X-TC-Action", Action::CreateDiskBackup.as_str()),
        ];
        let key = "the-secret-key".into();
        let authorization =
            cbs::sign::authorization("AKIDbench", &key, Action::SERVICE, at, &signed, body.as_bytes());
        let mut headers: Vec<_> = signed.map(|(name, value)| (name, value.to_owned())).into();
        headers.extend([
            ("X-TC-Version", Action::VERSION.to_owned()),
            ("X-TC-Region", "ap-guangzhou".to_owned()),
            ("X-TC-Timestamp", at.as_second().to_string()),
            ("Authorization", authorization),
        ]);
        let request = HttpRequest {
            endpoint: self.endpoint.clone(),
            headers,
            body: body.into(),
            fresh_connection: self.fresh,
        };
        let reply = self.transport.send(request).await.unwrap();
        String::from_utf8_lossy(&reply.body).into_owned()
    }
}
