//! The configuration: read, checked as a whole, and turned into what the daemon runs by.
//!
//! Responsible for a file whose every mistake is said at once, with its place and what was expected, and for
//! types that cannot hold a mistake. It refuses a file as a whole: nothing of a faulty one is used.

mod credentials;
mod fields;
mod jobs;
pub mod keys;
mod layers;
mod metrics;
mod mistakes;
mod notify;
mod read;
mod select;
mod targets;
mod tree;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backup_core::catch_up::Missed;
use backup_core::retention::Keep;
use backup_core::retry::RetryPolicy;
use backup_core::run::{Policy, WhenFull};
use backup_core::schedule::{self, Blackout, Schedule};
use backup_core::selection::Selection;
use backup_core::{DiskId, InstanceId, JobName, NotifierName, Owner, TargetName};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::report::log::Filter;
use credentials::one_of;
pub use metrics::{Listen, Metrics};
pub use mistakes::ConfigErrors;
pub use notify::{Channel, Mail, Manner, Notifier, Ping, Secret, Style, Template, Tls, Webhook};

const EMPTY: &str = "the file is empty; expected `owner`, `targets` and `jobs`";
/// A larger file is not a configuration.
const LARGEST: u64 = 64 << 20;

/// A configuration without mistakes.
#[derive(Clone, Debug)]
pub struct Config {
    /// The mark in every backup's name.
    pub owner: Owner,
    /// Where the journal and the lock are.
    pub state_dir: PathBuf,
    /// How long after an ambiguous attempt a listing may conclude that it had no effect.
    pub settle: Duration,
    /// How long ended runs stay in the journal.
    pub history_keep: Duration,
    /// How often the disks that jobs select are listed.
    pub discover_every: Duration,
    /// What is logged, where neither the command line nor a request says it.
    pub log_level: Filter,
    /// Added to the spacing of calls, against the network's jitter. Read at start alone.
    pub guard: Duration,
    /// How setbacks are waited out. Read at start alone.
    pub retry: RetryPolicy,
    /// Where metrics are to be had; nowhere where nothing is said.
    pub metrics: Option<Metrics>,
    /// Accounts in regions.
    pub targets: BTreeMap<TargetName, Target>,
    /// Who is told of troubles.
    pub notify: BTreeMap<NotifierName, Notifier>,
    /// What is backed up, and when.
    pub jobs: Vec<Job>,
}

/// An account in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The region, such as `ap-guangzhou`.
    pub region: String,
    /// Scheme and host of the API.
    pub endpoint: String,
    /// Where the credential comes from.
    pub credentials: CredentialSource,
    /// Calls a second, per action.
    pub rate_limit: u32,
    /// The bound on a connection.
    pub connect_timeout: Duration,
    /// The bound on a whole call.
    pub call_timeout: Duration,
}

/// Where a credential comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CredentialSource {
    /// The first of all others that needs nothing to be said of it and is in use.
    Auto,
    /// Environment variables.
    Environment,
    /// An ini file as the vendor's SDKs read it.
    File {
        /// The file; the SDKs' places where there is none.
        path: Option<PathBuf>,
        /// The section.
        profile: String,
    },
    /// A profile of the vendor's command line.
    Tccli {
        /// The file; that of the profile where there is none.
        path: Option<PathBuf>,
        /// The profile; the command line's own choice where there is none.
        profile: Option<String>,
    },
    /// Files that systemd hands to its service.
    Systemd {
        /// What stands before their names.
        prefix: String,
    },
    /// The role that is bound to this machine.
    CvmRole {
        /// The role; what the metadata service names where there is none.
        role: Option<String>,
        /// Scheme and host of the metadata service.
        endpoint: String,
    },
    /// A role that another credential may assume.
    AssumeRole(Box<AssumedRole>),
    /// The role of a workload of a TKE cluster.
    TkeOidc {
        /// How the cloud's audit log names the session.
        session_name: String,
        /// How long a credential lives.
        duration: Duration,
        /// Scheme and host of the Security Token Service.
        endpoint: String,
    },
}

/// A role that another credential may assume.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AssumedRole {
    /// Where that other credential comes from.
    pub from: CredentialSource,
    /// The role.
    pub role_arn: String,
    /// What its owner asks of other accounts.
    pub external_id: Option<String>,
    /// How the cloud's audit log names the session.
    pub session_name: String,
    /// How long a credential lives.
    pub duration: Duration,
    /// Scheme and host of the Security Token Service.
    pub endpoint: String,
}

/// A named entry: which disks, when.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its name.
    pub name: JobName,
    /// The account and region.
    pub target: TargetName,
    /// The disks.
    pub disks: Disks,
    /// How many percent of the selected disks may leave at once.
    pub max_loss: u32,
    /// In a full lane, runs of a job with a higher number start first.
    pub priority: u32,
    /// The job's name before: its watermarks go on under the new one.
    pub was: Option<JobName>,
    /// When it is due.
    pub schedule: Schedule,
    /// What follows downtime.
    pub missed: Missed,
    /// How long after its start an attempt may begin.
    pub start_within: Duration,
    /// Over how long the starts of its disks are spread.
    pub spread: Duration,
    /// Whether the disks of one instance start at one instant.
    pub together: bool,
    /// When nothing may start.
    pub blackout: Vec<Blackout>,
    /// How long a backup may take.
    pub complete_within: Duration,
    /// The greatest age of the last good backup.
    pub objective: Option<Duration>,
    /// What to do about a full quota.
    pub when_full: WhenFull,
    /// What stays of its backups; empty where nothing is deleted.
    pub keep: Keep,
    /// Who is told of its troubles; all webhooks and mails where nothing is said.
    pub notify: Option<Vec<NotifierName>>,
    /// What is pinged at each round.
    pub ping: Option<Ping>,
}

/// Which disks a job is about. What is in force is `crate::fleet::Fleet`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Disks {
    /// These.
    Listed(Vec<DiskId>),
    /// Those that are such, as the cloud lists them.
    Selected(Box<Selection>),
}

impl Job {
    /// How many percent of its disks may leave a job at once, where nothing is said.
    pub const MAX_LOSS: u32 = 20;
    /// The priority of a job, where nothing is said, and of runs that a person asks for on a disk that no job holds.
    pub const PRIORITY: u32 = 50;
    /// How long after its start an attempt may begin, where nothing is said.
    pub const START_WITHIN: Duration = Duration::from_secs(6 * 3600);
    /// The bound on a ping of its rounds.
    pub const PING_TIMEOUT: Duration = notify::TIMEOUT;
    /// How long a backup may take, where nothing is said.
    pub const COMPLETE_WITHIN: Duration = Duration::from_secs(24 * 3600);

    /// What a run of this job is planned with.
    #[must_use]
    pub fn policy(&self, config: &Config) -> Policy {
        Policy {
            start_within: self.start_within,
            complete_within: self.complete_within,
            settle: config.settle,
            when_full: self.when_full,
        }
    }

    /// What stays of its backups, and in which zone its days are; nothing is deleted where the first is empty.
    #[must_use]
    pub fn rules(&self) -> (Keep, TimeZone) {
        (self.keep.clone(), self.schedule.zone().clone())
    }

    /// When a run that is due at `due` starts on `disk`, which is attached to `instance`.
    #[must_use]
    pub fn start_at(&self, disk: &DiskId, instance: Option<&InstanceId>, due: Timestamp) -> Timestamp {
        let id = instance.filter(|_| self.together).map_or(disk.as_str(), InstanceId::as_str);
        schedule::start_at(due, &self.name, id, self.spread, &self.blackout, self.schedule.zone())
    }

    /// Whether the cloud is to be asked which disks these are, or where they are attached.
    #[must_use]
    pub fn wants_discovery(&self) -> bool {
        self.together || matches!(self.disks, Disks::Selected(_))
    }

    /// Whether this notifier is told of its troubles.
    #[must_use]
    pub fn tells(&self, notifier: &NotifierName) -> bool {
        self.notify.as_ref().is_none_or(|named| named.contains(notifier))
    }

    /// Until when a blackout holds a run of this job whose start was `start`.
    #[must_use]
    pub fn held_until(&self, now: Timestamp, start: Timestamp) -> Option<Timestamp> {
        schedule::held(now, start, &self.blackout, self.schedule.zone())
    }
}

impl Config {
    /// Reads a configuration file; `environment` is laid over its scalars (`CBS_BACKUPD__…`).
    ///
    /// # Errors
    /// All mistakes of the file, or why it could not be read.
    pub fn read(path: &Path, environment: &BTreeMap<String, String>) -> Result<Self, ConfigErrors> {
        let name = path.display().to_string();
        let unreadable =
            |error: std::io::Error| ConfigErrors::unreadable(&name, format_args!("cannot be read: {error}"));
        let about = std::fs::metadata(path).map_err(unreadable)?;
        if !about.is_file() && !about.file_type().is_fifo_like() {
            return Err(ConfigErrors::unreadable(&name, "is not a file; expected a YAML file"));
        }
        if about.len() > LARGEST {
            return Err(ConfigErrors::unreadable(
                &name,
                format_args!("is larger than {} MiB", LARGEST >> 20),
            ));
        }
        let bytes = std::fs::read(path).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let good = String::from_utf8_lossy(good);
            let (line, column) = (
                1 + good.matches('\n').count(),
                1 + good.rsplit('\n').next().map_or(0, |last| last.chars().count()),
            );
            ConfigErrors::unreadable(
                &format!("{name}:{line}:{column}"),
                "not UTF-8; expected a YAML file in UTF-8",
            )
        })?;
        Self::parse(&name, &text, environment)
    }

    /// Reads a configuration from `text`; `name` stands for the file in messages.
    ///
    /// # Errors
    /// All mistakes of the text.
    pub fn parse(
        name: &str,
        text: &str,
        environment: &BTreeMap<String, String>,
    ) -> Result<Self, ConfigErrors> {
        let mut mistakes = mistakes::Mistakes::default();
        let config = tree::parse(text, &mut mistakes)
            .map(|tree| layers::lay(tree, environment, &mut mistakes))
            .and_then(|tree| read::config(&tree, &mut mistakes));
        mistakes.or(name, text, config)
    }

    /// The target of whoever names none: the only one, or the one named `default`.
    #[must_use]
    pub fn default_target(&self) -> Option<&TargetName> {
        default_target(&self.targets)
    }

    /// What a run is planned with that a person asked for on a disk that no job holds.
    #[must_use]
    pub fn manual_policy(&self) -> Policy {
        Policy {
            start_within: Job::START_WITHIN,
            complete_within: Job::COMPLETE_WITHIN,
            settle: self.settle,
            when_full: WhenFull::default(),
        }
    }
}

fn default_target<T>(targets: &BTreeMap<TargetName, T>) -> Option<&TargetName> {
    let mut names = targets.keys();
    match (names.next(), names.next()) {
        (Some(only), None) => Some(only),
        _ => targets.keys().find(|name| name.as_str() == "default"),
    }
}

trait FifoLike {
    fn is_fifo_like(&self) -> bool;
}

impl FifoLike for std::fs::FileType {
    /// `/dev/stdin`, a pipe, a process substitution.
    fn is_fifo_like(&self) -> bool {
        use std::os::unix::fs::FileTypeExt as _;
        self.is_fifo() || self.is_char_device()
    }
}
