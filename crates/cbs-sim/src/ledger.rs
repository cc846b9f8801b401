//! What happened: every request that arrived, every backup that exists.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// A request that arrived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// When, by the server's true clock.
    pub arrival: Timestamp,
    /// The action.
    pub action: String,
    /// The disk that it names.
    pub disk_id: Option<String>,
    /// The backup name that it gives.
    pub name: Option<String>,
    /// The error code that was answered, or would have been.
    pub code: Option<String>,
    /// The backup that it made, whatever was answered.
    pub backup_id: Option<String>,
    /// Whether a whole reply left.
    pub replied: bool,
    /// Whose SecretId it was.
    pub identity: Option<String>,
}

/// A backup that exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    /// `dbp-…`.
    pub backup_id: String,
    /// Its disk.
    pub disk_id: String,
    /// Its name.
    pub name: String,
    /// CREATING or NORMAL.
    pub state: String,
    /// When it was made.
    pub created: Timestamp,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Requests in the order of their arrival.
    pub requests: Vec<RequestRecord>,
    /// Backups in the order in which they were made.
    pub backups: Vec<BackupRecord>,
}

impl Ledger {
    /// The most requests of an action that arrived within any one second.
    #[must_use]
    pub fn peak_in_a_second(&self, action: &str) -> usize {
        let arrivals: Vec<Timestamp> = self
            .requests
            .iter()
            .filter(|request| request.action == action)
            .map(|request| request.arrival)
            .collect();
        let mut from = 0;
        let mut peak = 0;
        for (to, arrival) in arrivals.iter().enumerate() {
            while arrival.duration_since(arrivals[from]) >= SignedDuration::from_secs(1) {
                from += 1;
            }
            peak = peak.max(to + 1 - from);
        }
        peak
    }

    /// How many requests of an action were answered with a code.
    #[must_use]
    pub fn answered(&self, action: &str, code: &str) -> usize {
        self.requests
            .iter()
            .filter(|request| request.action == action && request.code.as_deref() == Some(code))
            .count()
    }
}
