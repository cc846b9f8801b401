//! The account of what arrived and what came of it: the simulator's evidence against its clients.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::rfc3339;

/// Every request so far, in order of arrival, and every backup.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Ledger {
    /// Throttled, refused and faulted ones too.
    pub requests: Vec<RequestRecord>,
    /// Those that exist, visible in listings or not; by disk, oldest first.
    pub backups: Vec<BackupRecord>,
    /// Those that were deleted, have vanished, or were promoted.
    pub gone: Vec<BackupRecord>,
    /// Snapshots, those that are gone too; in the order of their creation.
    #[serde(default)]
    pub snapshots: Vec<SnapshotRecord>,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestRecord {
    /// By the server's clock, without skew.
    #[serde(with = "rfc3339")]
    pub arrival: Timestamp,
    /// `X-TC-Action`, as it came; empty where there was none.
    pub action: String,
    /// The first disk that it concerns.
    pub disk_id: Option<String>,
    /// The name that it gives to a backup.
    pub name: Option<String>,
    /// The API error that was answered, or would have been but for a fault; null if none.
    pub code: Option<String>,
    /// Whether the back end did its work; false for refused, throttled and failed ones.
    pub executed: bool,
    /// Whether a whole HTTP reply was sent.
    pub replied: bool,
    /// The effect of the rule that replaced the reply.
    pub fault: Option<String>,
    /// The caller, once known.
    pub identity: Option<String>,
    /// The host that it called.
    pub host: String,
    /// The backup that it made, or the first that it names.
    pub backup_id: Option<String>,
    /// The RequestId of the answer.
    pub request_id: String,
}

/// One backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    /// `dbp-…`.
    pub backup_id: String,
    /// `disk-…`.
    pub disk_id: String,
    /// DiskBackupName.
    pub name: String,
    /// CREATING, NORMAL or ROLLBACKING; for those that are gone, DELETED, VANISHED or PROMOTED.
    pub state: String,
    /// When it was accepted.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
}

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotRecord {
    /// `snap-…`.
    pub snapshot_id: String,
    /// `disk-…`.
    pub disk_id: String,
    /// SnapshotName.
    pub name: String,
    /// CREATING or NORMAL; for those that are gone, DELETED or VANISHED.
    pub state: String,
    /// The backup that it was made of; null where it was made of the disk.
    pub backup_id: Option<String>,
    /// When it was accepted.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// Deadline, as it was given.
    pub deadline: Option<String>,
}

impl Ledger {
    /// The most requests of `action` that arrived within any one second `[t, t + 1 s)`.
    #[must_use]
    pub fn peak_arrivals_in_any_second(&self, action: &str) -> usize {
        self.peak_arrivals_of(|request| request.action == action)
    }

    /// The same of the requests that `which` takes.
    #[must_use]
    pub fn peak_arrivals_of(&self, which: impl Fn(&RequestRecord) -> bool) -> usize {
        let mut arrivals: Vec<_> =
            self.requests.iter().filter(|request| which(request)).map(|r| r.arrival).collect();
        // A server's clock may have been set back.
        arrivals.sort_unstable();
        let mut first = 0;
        let mut peak = 0;
        for (last, arrival) in arrivals.iter().enumerate() {
            while arrival.duration_since(arrivals[first]) >= SignedDuration::from_secs(1) {
                first += 1;
            }
            peak = peak.max(last - first + 1);
        }
        peak
    }

    /// The backups of one disk that exist.
    pub fn backups_of<'a>(&'a self, disk_id: &'a str) -> impl Iterator<Item = &'a BackupRecord> {
        self.backups.iter().filter(move |backup| backup.disk_id == disk_id)
    }

    /// The requests of one action.
    pub fn requests_of<'a>(&'a self, action: &'a str) -> impl Iterator<Item = &'a RequestRecord> {
        self.requests.iter().filter(move |request| request.action == action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peak(arrivals_ms: &[i64]) -> usize {
        let request = |ms: &i64| RequestRecord {
            arrival: Timestamp::from_millisecond(*ms).unwrap(),
            action: "A".to_owned(),
            disk_id: None,
            name: None,
            code: None,
            executed: false,
            replied: true,
            fault: None,
            identity: None,
            host: String::new(),
            backup_id: None,
            request_id: String::new(),
        };
        let requests = arrivals_ms.iter().map(request).collect();
        Ledger { requests, backups: vec![], gone: vec![], snapshots: vec![] }.peak_arrivals_in_any_second("A")
    }

    #[test]
    fn the_peak_is_over_any_second_and_not_over_those_of_the_clock() {
        assert_eq!(peak(&[]), 0);
        assert_eq!(peak(&[0, 1000, 2000]), 1);
        assert_eq!(peak(&[900, 950, 1000, 1050, 1899, 1900]), 5);
        assert_eq!(peak(&[1050, 900, 5000]), 2);
    }
}
