//! What a simulated cloud starts from: credentials, disks, limits, timings, faults. The program's state file.
//!
//! Responsible for the shape of the file (`example-state.json` shows all of it). Unknown keys are refused.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::faults::Rule;
use crate::rfc3339;

/// The beginning of a simulated cloud. What is left out of its JSON takes the default.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// Of every id, duration and probability: the same seed and the same requests give the same cloud.
    pub seed: u64,
    /// Whose requests are accepted.
    pub credentials: Vec<Credential>,
    /// Requests a second, by action, in place of the vendor's.
    pub rate_limits: BTreeMap<String, u32>,
    /// How long things take.
    pub timings: Timings,
    /// Where the vendor's behaviour is undocumented or has two forms.
    pub choices: Choices,
    /// The disks; where an id is repeated, the last.
    pub disks: Vec<Disk>,
    /// What goes wrong.
    pub faults: Vec<Rule>,
    /// The roles that the Security Token Service knows.
    pub roles: Vec<Role>,
    /// The machine whose metadata service this is.
    pub machine: Machine,
}

impl FromStr for World {
    type Err = serde_json::Error;

    fn from_str(json: &str) -> Result<Self, Self::Err> {
        serde_json::from_str(json)
    }
}

/// A key pair that the cloud accepts, and who it speaks for.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credential {
    /// The SecretId.
    pub secret_id: String,
    /// The SecretKey.
    pub secret_key: String,
    /// The session token that must come with it; none may come, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// The caller whose rate limits it draws on; the SecretId, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

impl Credential {
    pub(crate) fn identity(&self) -> &str {
        self.identity.as_deref().unwrap_or(&self.secret_id)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("secret_id", &self.secret_id).finish_non_exhaustive()
    }
}

/// A role, whose temporary credentials are issued to who may have them.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    /// `qcs::cam::uin/…:roleName/…`
    pub arn: String,
    /// What AssumeRole must name; nothing, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// What AssumeRoleWithWebIdentity must bring; nothing is enough, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub web_identity: Option<WebIdentity>,
    /// The caller whose rate limits its credentials draw on; the ARN, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// The token that an identity provider gives to a workload.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebIdentity {
    /// The provider's name.
    pub provider_id: String,
    /// The token of now.
    pub token: String,
}

impl fmt::Debug for WebIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebIdentity").field("provider_id", &self.provider_id).finish_non_exhaustive()
    }
}

/// A cloud machine, as its metadata service shows it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Machine {
    /// The name of the role that is bound to it, if any.
    pub role: Option<String>,
    /// How long its credentials live, in seconds.
    pub life_s: u64,
    /// With so many seconds left or less, the service shows a new one.
    pub rotate_s: u64,
}

impl Default for Machine {
    fn default() -> Self {
        Self { role: None, life_s: 7_200, rotate_s: 600 }
    }
}

/// Durations in milliseconds, each drawn evenly from `[shortest, longest]`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Timings {
    /// From an accepted create to NORMAL.
    pub create_ms: (u64, u64),
    /// From an accepted create to the first listing that shows it.
    pub visible_ms: (u64, u64),
    /// From the arrival of a request to its reply.
    pub reply_ms: (u64, u64),
    /// From an accepted snapshot to NORMAL.
    pub snapshot_ms: (u64, u64),
    /// From an accepted rollback to its end.
    pub rollback_ms: (u64, u64),
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            create_ms: (60_000, 60_000),
            visible_ms: (0, 0),
            reply_ms: (0, 0),
            snapshot_ms: (60_000, 60_000),
            rollback_ms: (60_000, 60_000),
        }
    }
}

/// Where a client must be right under either.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Choices {
    /// A second create on a disk that has one under way is `ResourceUnavailable.SnapshotCreating`.
    pub one_creation_at_a_time: bool,
    /// What a listing by ids makes of ids that do not exist.
    pub missing_ids: MissingIds,
    /// How backups show their CreateTime.
    pub create_time: CreateTime,
    /// When a backup that becomes a snapshot ceases to be one.
    pub promotion: Promotion,
    /// On every disk that has a quota, the vendor keeps an automatic backup of the day, and deletes the one of the day
    /// before.
    pub vendors_daily: bool,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            one_creation_at_a_time: true,
            missing_ids: MissingIds::default(),
            create_time: CreateTime::default(),
            promotion: Promotion::default(),
            vendors_daily: false,
        }
    }
}

/// What a listing by ids makes of ids that do not exist.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingIds {
    /// Leaves them out.
    #[default]
    Omit,
    /// Fails with `ResourceNotFound.NotFound`, or `InvalidDiskId.NotFound` for disks.
    Error,
}

/// When a backup that becomes a snapshot ceases to be one, and frees its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Promotion {
    /// When the snapshot is NORMAL.
    #[default]
    WhenNormal,
    /// When the snapshot is accepted.
    AtOnce,
}

/// The two shapes of CreateTime that real replies have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateTime {
    /// `2025-03-27 14:00:13`, eight hours ahead of UTC.
    #[default]
    Beijing,
    /// `2022-04-02T17:44:55+00:00`.
    Rfc3339,
}

/// A disk, with the backups that it already has.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// `disk-…`.
    pub id: String,
    /// Shown as DiskName.
    #[serde(default)]
    pub name: String,
    /// Whose it is: callers of another identity do not see it. All do, where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// Where it is: requests for other regions do not see it.
    #[serde(default = "default_region")]
    pub region: String,
    /// Inside the region.
    #[serde(default = "default_zone")]
    pub zone: String,
    /// The project's number.
    #[serde(default)]
    pub project: u64,
    /// How many backups it may hold.
    #[serde(default = "default_quota")]
    pub quota: u32,
    /// Shown as DiskState; backups are taken of ATTACHED and UNATTACHED disks only.
    #[serde(default)]
    pub state: DiskState,
    /// SYSTEM_DISK or DATA_DISK.
    #[serde(default = "default_usage")]
    pub usage: String,
    /// Shown as DiskType.
    #[serde(default = "default_type")]
    pub r#type: String,
    /// GiB.
    #[serde(default = "default_size")]
    pub size: u32,
    /// What it is attached to; more than one makes it shareable.
    #[serde(default)]
    pub instances: Vec<String>,
    /// Whether what it is attached to is shut down: an attached disk is rolled back only then.
    #[serde(default)]
    pub stopped: bool,
    /// Whether it can be detached. One that cannot came with its instance.
    #[serde(default = "default_portable")]
    pub portable: bool,
    /// Keys and values.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// Backups made by others, oldest first.
    #[serde(default)]
    pub backups: Vec<ExistingBackup>,
}

impl Disk {
    /// An attached data disk in ap-guangzhou with a quota of 3.
    #[must_use]
    pub fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: String::new(),
            account: None,
            region: default_region(),
            zone: default_zone(),
            project: 0,
            quota: default_quota(),
            state: DiskState::default(),
            usage: default_usage(),
            r#type: default_type(),
            size: default_size(),
            instances: Vec::new(),
            stopped: false,
            portable: true,
            tags: BTreeMap::new(),
            backups: Vec::new(),
        }
    }
}

fn default_region() -> String {
    "ap-guangzhou".to_owned()
}
fn default_zone() -> String {
    "ap-guangzhou-3".to_owned()
}
fn default_quota() -> u32 {
    3
}
fn default_usage() -> String {
    "DATA_DISK".to_owned()
}
fn default_type() -> String {
    "CLOUD_PREMIUM".to_owned()
}
fn default_portable() -> bool {
    true
}
fn default_size() -> u32 {
    50
}

/// The states of a disk, as the vendor names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the vendor's words")]
pub enum DiskState {
    #[default]
    Attached,
    Unattached,
    Attaching,
    Detaching,
    Expanding,
    Rollbacking,
    Torecycle,
    Dumping,
}

impl DiskState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Attached => "ATTACHED",
            Self::Unattached => "UNATTACHED",
            Self::Attaching => "ATTACHING",
            Self::Detaching => "DETACHING",
            Self::Expanding => "EXPANDING",
            Self::Rollbacking => "ROLLBACKING",
            Self::Torecycle => "TORECYCLE",
            Self::Dumping => "DUMPING",
        }
    }
}

/// A backup that is there from the start.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExistingBackup {
    /// `dbp-…`.
    pub id: String,
    /// Shown as DiskBackupName.
    pub name: String,
    /// When it was made.
    #[serde(with = "rfc3339")]
    pub created: Timestamp,
    /// Its state, for ever.
    #[serde(default)]
    pub state: BackupState,
}

/// The states of a backup, as the vendor names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "the vendor's words")]
pub enum BackupState {
    #[default]
    Normal,
    Creating,
    Rollbacking,
}
