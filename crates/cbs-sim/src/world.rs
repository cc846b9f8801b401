//! What a simulated cloud is made of: the file that `--state` names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::faults::Rule;

/// A simulated cloud before anything happened.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// Everything that varies is drawn from this.
    pub seed: u64,
    /// The credentials that are accepted.
    pub credentials: Vec<Account>,
    /// Calls that each identity may make in any one second, by action.
    pub limits: BTreeMap<String, u32>,
    /// The same for actions that are not named.
    pub limit: u32,
    /// How long a backup is CREATING, in milliseconds.
    pub create_ms: Between,
    /// How long an accepted backup stays invisible to listings, in milliseconds.
    pub visible_after_ms: Between,
    /// How long a reply takes, in milliseconds.
    pub latency_ms: Between,
    /// Whether a disk refuses a backup while another is CREATING (`ResourceUnavailable.SnapshotCreating`).
    pub one_at_a_time: bool,
    /// What asking for a backup that does not exist gives; undocumented.
    pub missing_ids: MissingIds,
    /// The shape of `CreateTime`; the cloud knows two.
    pub create_time: CreateTimeShape,
    /// The disks.
    pub disks: Vec<DiskSpec>,
    /// What goes wrong.
    pub faults: Vec<Rule>,
}

impl Default for World {
    fn default() -> Self {
        let account = Account { id: "AKIDsim".to_owned(), key: "simulated".to_owned(), token: None };
        Self {
            seed: 1,
            credentials: vec![account],
            limits: BTreeMap::from([("DescribeDisks".to_owned(), 100)]),
            limit: 20,
            create_ms: Between { from: 3000, to: 6000 },
            visible_after_ms: Between::default(),
            latency_ms: Between { from: 10, to: 40 },
            one_at_a_time: true,
            missing_ids: MissingIds::Omit,
            create_time: CreateTimeShape::Local,
            disks: Vec::new(),
            faults: Vec::new(),
        }
    }
}

/// A credential that is accepted.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Account {
    /// SecretId.
    pub id: String,
    /// SecretKey. The simulator's own: no secret.
    pub key: String,
    /// The token that must come with it.
    #[serde(default)]
    pub token: Option<String>,
}

/// A range that values are drawn from, both ends included.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Between {
    /// The least.
    pub from: u64,
    /// The greatest.
    pub to: u64,
}

/// What asking for a backup that does not exist gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingIds {
    /// The others.
    Omit,
    /// `ResourceNotFound.NotFound`.
    Error,
}

/// The shape of `CreateTime`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateTimeShape {
    /// `2025-03-27 14:00:13`, Beijing time.
    Local,
    /// `2022-04-02T17:44:55+00:00`.
    Offset,
}

/// A disk.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiskSpec {
    /// `disk-…`.
    pub id: String,
    /// Its name.
    pub name: String,
    /// How many backups it may hold.
    pub quota: u32,
    /// ATTACHED, UNATTACHED, or a state in which no backup can be made.
    pub state: String,
    /// SYSTEM_DISK or DATA_DISK.
    pub usage: String,
    /// In GiB.
    pub size: u64,
    /// The instance that it is attached to.
    pub instance: Option<String>,
    /// The availability zone.
    pub zone: String,
    /// The project.
    pub project: u64,
    /// Tags.
    pub tags: BTreeMap<String, String>,
}

impl Default for DiskSpec {
    fn default() -> Self {
        Self {
            id: String::new(),
            name: String::new(),
            quota: 7,
            state: "ATTACHED".to_owned(),
            usage: "DATA_DISK".to_owned(),
            size: 100,
            instance: None,
            zone: "ap-guangzhou-6".to_owned(),
            project: 0,
            tags: BTreeMap::new(),
        }
    }
}

impl DiskSpec {
    /// A disk with nothing special about it.
    #[must_use]
    pub fn plain(id: impl Into<String>) -> Self {
        let id = id.into();
        Self { name: id.clone(), id, ..Self::default() }
    }
}
