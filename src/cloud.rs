//! The cloud as tasks see it: what to ask, and answers in the words of `backup_core`.
//!
//! Responsible for one client a target, and for translating its replies and errors. It refuses to decide what
//! follows from them. Where credentials come from is `credentials.rs`.

mod credentials;
mod disks;
mod restore;
mod room;

use std::collections::{BTreeMap, HashMap};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use backup_core::reconcile::Listed;
use backup_core::retention::PointId;
use backup_core::retry::Class;
use backup_core::run::{Look, Reply, Sighting};
use backup_core::{BackupId, DiskId, InvalidId, TargetName};
use cbs::limiter::{Lane, LaneSettings, LaneSnapshot, Lanes, Permit, Priority};
use cbs::transport::{ReqwestTransport, Timeouts, Transport, TransportError, proxy_for};
use cbs::{Action, BackupState, BackupsQuery, Client, DiskBackup, DisksQuery, Page, Ports, Settings};
use jiff::{SignedDuration, Timestamp};

use self::credentials::Sources;
pub(crate) use self::credentials::identity;
pub use self::credentials::{Issuers, MakeIssuers, Source};
pub use self::disks::{FoundDisk, Shelf, narrowed};
pub use self::room::PromotionAnswered;
use crate::clock::Clock;
use crate::config::{Config, Target};
use crate::report::chain;

/// Codes that say that a backup of the disk is being made.
const BEING_MADE: [&str; 3] = [
    "ResourceUnavailable.SnapshotCreating",
    "ResourceUnavailable.DiskBackupCreating",
    "InvalidDisk.SnapshotCreating",
];

/// A target's client. Cheap to clone.
#[derive(Clone)]
pub struct Cloud {
    client: Client,
    /// What is wrong with the credential, by the last call that says something of it.
    credential: Arc<Mutex<Option<String>>>,
    /// Whether the last call was answered, whatever the answer; one that could not be signed says nothing.
    answers: Arc<AtomicBool>,
    source: Source,
}

/// A backup as the cloud lists it, whoever made it.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its id.
    pub id: PointId,
    /// Its name.
    pub name: String,
    /// Its state, in the cloud's word.
    pub state: BackupState,
    /// The same, as decisions see it.
    pub sighting: Sighting,
    /// When it was made, if that can be read.
    pub created: Option<Timestamp>,
    /// GiB of its disk.
    pub size_gib: Option<u64>,
}

/// What a create was answered.
pub struct Created {
    /// For the run.
    pub reply: Reply,
    /// The cloud's id of the request.
    pub request_id: Option<String>,
    /// For the log.
    pub message: String,
}

/// What a look-up showed.
pub struct Looked {
    /// For the run.
    pub look: Look,
    /// How many more backups of the disk bear the name.
    pub twins: usize,
    /// Why the listing is not complete, if it is not.
    pub problem: Option<String>,
}

impl Cloud {
    /// A turn in the lane of creates; given back when dropped.
    pub async fn create_turn(&self, priority: Priority) -> Permit {
        self.client.lane(Action::CreateDiskBackup).acquire(priority).await
    }

    /// Asks for a backup.
    pub async fn create(&self, turn: Permit, disk: &DiskId, name: &str) -> Created {
        match self.heed(self.client.create_disk_backup(turn, disk.as_str(), name).await) {
            Ok(accepted) => match accepted.backup_id.parse() {
                Ok(backup) => Created {
                    reply: Reply::Accepted(backup),
                    request_id: accepted.request_id,
                    message: "accepted".to_owned(),
                },
                // It exists, whatever its id looks like: only a look-up by name can go on from here.
                Err(error) => Created {
                    reply: setback(Class::Ambiguous, None, false, None),
                    request_id: accepted.request_id,
                    message: format!("accepted, but {error}"),
                },
            },
            Err(error) => Created {
                message: chain(&error),
                request_id: error.request_id.clone(),
                reply: setback(class(error.class), error.code, !error.known, error.retry_after),
            },
        }
    }

    /// Looks for a disk's backup of this name in a complete listing. Of several, a NORMAL one is taken, the oldest.
    pub async fn look(&self, disk: &DiskId, name: &str, priority: Priority) -> Looked {
        let query = BackupsQuery::ByDisks(vec![disk.to_string()]);
        let listed = match self.heed(self.client.list_disk_backups(&query, priority).await) {
            Ok(listed) => listed,
            Err(error) => return Looked { look: Look::Incomplete, twins: 0, problem: Some(chain(&error)) },
        };
        let ours: Vec<&DiskBackup> =
            listed.iter().filter(|backup| backup.name == name && backup.disk_id == disk.as_str()).collect();
        // Newest first: the last of them is the oldest.
        let chosen = ours.iter().rev().find(|backup| backup.state == BackupState::Normal).or(ours.last());
        match chosen.map(|backup| (backup.id.parse(), sighting(backup))) {
            None => Looked { look: Look::Nothing, twins: 0, problem: None },
            Some((Ok(backup), sighting)) => {
                Looked { look: Look::Found(backup, sighting), twins: ours.len() - 1, problem: None }
            }
            Some((Err(error), _)) => {
                Looked { look: Look::Incomplete, twins: 0, problem: Some(error.to_string()) }
            }
        }
    }

    /// Lists all backups of these disks, newest first.
    ///
    /// # Errors
    /// Why there is no complete listing, in words.
    pub async fn list(
        &self,
        disks: &[DiskId],
        priority: Priority,
    ) -> Result<BTreeMap<DiskId, Vec<Listed>>, String> {
        let query = BackupsQuery::ByDisks(disks.iter().map(ToString::to_string).collect());
        let listed = self.heed(self.client.list_disk_backups(&query, priority).await);
        let mut by_disk: BTreeMap<DiskId, Vec<Listed>> = BTreeMap::new();
        for backup in listed.map_err(|error| chain(&error))? {
            let readable = |error: InvalidId| error.to_string();
            let disk: DiskId = backup.disk_id.parse().map_err(readable)?;
            let (id, sighting) = (backup.id.parse().map_err(readable)?, sighting(&backup));
            by_disk.entry(disk).or_default().push(Listed { backup: id, name: backup.name, sighting });
        }
        Ok(by_disk)
    }

    /// Lists all that is kept of these disks, or of all disks of the region, newest first, by whoever made it.
    ///
    /// # Errors
    /// Why there is no complete listing, in words.
    pub async fn stored(
        &self,
        disks: Option<&[DiskId]>,
        priority: Priority,
    ) -> Result<BTreeMap<DiskId, Vec<Stored>>, String> {
        let query = disks.map_or(BackupsQuery::All, |disks| {
            BackupsQuery::ByDisks(disks.iter().map(ToString::to_string).collect())
        });
        let listed = self.heed(self.client.list_disk_backups(&query, priority).await);
        let mut by_disk: BTreeMap<DiskId, Vec<Stored>> = BTreeMap::new();
        for backup in listed.map_err(|error| chain(&error))? {
            let readable = |error: InvalidId| error.to_string();
            let disk: DiskId = backup.disk_id.parse().map_err(readable)?;
            by_disk.entry(disk).or_default().push(Stored {
                id: PointId::Backup(backup.id.parse().map_err(readable)?),
                sighting: sighting(&backup),
                name: backup.name,
                state: backup.state,
                created: backup.created,
                size_gib: backup.disk_size_gib,
            });
        }
        Ok(by_disk)
    }

    /// Deletes a backup; one that is gone already is as good as deleted.
    ///
    /// # Errors
    /// Why it may still be there, in words. Trying again is harmless.
    pub async fn delete(&self, point: &PointId) -> Result<(), String> {
        match point {
            PointId::Backup(backup) => {
                let deleted = self.client.delete_disk_backup(backup.as_str(), Priority::Retention).await;
                self.heed(deleted).map(drop).map_err(|error| chain(&error))
            }
            PointId::Snapshot(snapshot) => {
                let deleted = self.client.delete_snapshot(snapshot.as_str(), Priority::Retention).await;
                self.heed(deleted).map(drop).map_err(|error| chain(&error))
            }
        }
    }

    /// Asks for backups by id: those that the answer names, and in which state.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn poll(&self, ids: &[BackupId]) -> Result<HashMap<BackupId, Sighting>, String> {
        let query = BackupsQuery::ByIds(ids.iter().map(ToString::to_string).collect());
        match self.heed(self.client.list_disk_backups(&query, Priority::Tracking).await) {
            Ok(listed) => Ok(listed
                .iter()
                .filter_map(|backup| Some((backup.id.parse().ok()?, sighting(backup))))
                .collect()),
            // One that is gone may spoil the answer for all; each is then looked for by its disk and name.
            Err(error) if matches!(error.class, cbs::Class::Gone | cbs::Class::Permanent) => {
                Ok(HashMap::new())
            }
            Err(error) => Err(chain(&error)),
        }
    }

    /// Asks for nothing in particular: any answer, even a refusal, has the cloud's time.
    ///
    /// # Errors
    /// Why there was no answer, in words.
    pub async fn ask_time(&self) -> Result<(), String> {
        let page = Page { limit: 1, ..Page::from(0) };
        let all = DisksQuery::Where(Vec::new());
        match self.heed(self.client.describe_disks(&all, page, Priority::Command).await) {
            Ok(_) => Ok(()),
            Err(error) if error.request_id.is_some() => Ok(()),
            Err(error) => Err(chain(&error)),
        }
    }

    /// By how much the cloud's clock is ahead of ours, by its last reply.
    #[must_use]
    pub fn time_ahead(&self) -> Option<SignedDuration> {
        self.client.server_offset()
    }

    /// What was learnt of the cloud's clock no longer counts: ours was set.
    pub fn forget_time(&self) {
        self.client.forget_server_time();
    }

    /// Where its credential comes from.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// What is wrong with the credential, in words; none if it was good when it was last used.
    #[must_use]
    pub fn credential_problem(&self) -> Option<String> {
        self.credential.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether the last call was answered; true before the first.
    #[must_use]
    pub fn is_reachable(&self) -> bool {
        self.answers.load(Ordering::Relaxed)
    }

    /// Notes what an answer says of the credential, and that there was one.
    fn heed<T>(&self, answer: Result<T, cbs::Error>) -> Result<T, cbs::Error> {
        match &answer {
            Err(error) if error.request_id.is_none() && error.class == cbs::Class::Credentials => {}
            answer => {
                let answered = answer.as_ref().map_or_else(|error| error.request_id.is_some(), |_| true);
                self.answers.store(answered, Ordering::Relaxed);
            }
        }
        let problem = match &answer {
            Ok(_) => None,
            // Why there is none is for the source to say, once for all its targets.
            Err(error) if error.code.is_none() && self.source.provider.health().is_some() => return answer,
            Err(error) if is_of_the_credential(error) => Some(chain(error)),
            // Without a word of the cloud nothing is known; with another word it was good enough to be heard.
            Err(error) if error.request_id.is_none() => return answer,
            Err(_) => None,
        };
        *self.credential.lock().unwrap_or_else(PoisonError::into_inner) = problem;
        answer
    }

    /// The lanes of the actions that the daemon uses.
    pub fn lanes(&self) -> impl Iterator<Item = (&'static str, LaneSnapshot)> + '_ {
        let used = [
            Action::CreateDiskBackup,
            Action::DescribeDiskBackups,
            Action::DeleteDiskBackups,
            Action::CreateSnapshot,
            Action::DescribeSnapshots,
        ];
        used.into_iter().map(|action| {
            let lane: &Arc<Lane> = self.client.lane(action);
            (action.as_str(), lane.snapshot())
        })
    }
}

fn setback(class: Class, code: Option<String>, unknown: bool, hint: Option<Duration>) -> Reply {
    let sign_of_ours = code.as_deref().is_some_and(|code| BEING_MADE.contains(&code));
    Reply::Setback { class, code, unknown, sign_of_ours, hint }
}

/// Whether the credential itself is at fault, rather than what it may do.
fn is_of_the_credential(error: &cbs::Error) -> bool {
    let refused = error.class == cbs::Class::Refused
        && error.code.as_deref().is_some_and(|code| code.starts_with("AuthFailure"));
    refused || error.class == cbs::Class::Credentials
}

fn sighting(backup: &DiskBackup) -> Sighting {
    if backup.state == BackupState::Normal { Sighting::Normal } else { Sighting::Unfinished }
}

fn class(class: cbs::Class) -> Class {
    match class {
        cbs::Class::Throttled => Class::Throttled,
        cbs::Class::Busy => Class::Busy,
        cbs::Class::Quota => Class::Quota,
        cbs::Class::Scarce => Class::Scarce,
        cbs::Class::Clock => Class::Clock,
        cbs::Class::Credentials => Class::Credentials,
        cbs::Class::Refused => Class::Refused,
        cbs::Class::Permanent => Class::Permanent,
        cbs::Class::Gone => Class::Gone,
        cbs::Class::Unpaid => Class::Unpaid,
        cbs::Class::Ambiguous => Class::Ambiguous,
        cbs::Class::NotSent => Class::NotSent,
        cbs::Class::Unavailable => Class::Unavailable,
    }
}

/// Makes a target's transport.
pub type MakeTransport = dyn Fn(&Target) -> Result<Arc<dyn Transport>, TransportError> + Send + Sync;

/// Makes clients, and keeps what they share: a lane outlives the configuration that asked for it.
pub struct Clouds {
    lanes: Arc<Lanes>,
    clock: Arc<dyn Clock>,
    sources: Sources,
    transport: Box<MakeTransport>,
}

impl Clouds {
    /// Clients over the network.
    #[must_use]
    pub fn new(
        clock: Arc<dyn Clock>,
        environment: BTreeMap<String, String>,
        guard: Duration,
        seed: u64,
    ) -> Self {
        // Shared where the bounds are the same: each has certificates and a pool of its own, a megabyte or two.
        let made: Mutex<Vec<(Timeouts, Arc<ReqwestTransport>)>> = Mutex::default();
        Self::over(clock, environment, guard, seed, Issuers::network, move |target| {
            let timeouts = Timeouts { connect: target.connect_timeout, call: target.call_timeout };
            let mut made = made.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some((_, transport)) = made.iter().find(|(known, _)| *known == timeouts) {
                return Ok(Arc::clone(transport) as Arc<dyn Transport>);
            }
            let transport = ReqwestTransport::new(timeouts)
                .map_err(|error| TransportError::because(cbs::transport::Failure::Invalid, error))?;
            let transport = Arc::new(transport);
            made.push((timeouts, Arc::clone(&transport)));
            Ok(transport)
        })
    }

    /// Clients over another transport, with credentials of other issuers.
    pub fn over(
        clock: Arc<dyn Clock>,
        environment: BTreeMap<String, String>,
        guard: Duration,
        seed: u64,
        issuers: impl Fn() -> Result<Issuers, TransportError> + Send + Sync + 'static,
        transport: impl Fn(&Target) -> Result<Arc<dyn Transport>, TransportError> + Send + Sync + 'static,
    ) -> Self {
        let lanes = Arc::new(Lanes::new(LaneSettings { guard, seed, ..LaneSettings::default() }));
        // Another stream than that of the lanes.
        let sources = Sources::new(Arc::clone(&clock), environment, Box::new(issuers), !seed);
        Self { lanes, clock, sources, transport: Box::new(transport) }
    }

    /// A client for each target of a configuration, with lanes at the rates that it asks for.
    ///
    /// # Errors
    /// When a transport cannot be made.
    pub fn of(&self, config: &Config) -> Result<BTreeMap<TargetName, Cloud>, TransportError> {
        self.lanes.ask_anew();
        self.sources
            .keep_only(&config.targets.values().map(|target| &target.credentials).collect::<Vec<_>>());
        let each = |(name, target): (&TargetName, &Target)| Ok((name.clone(), self.cloud(target)?));
        config.targets.iter().map(each).collect()
    }

    fn cloud(&self, target: &Target) -> Result<Cloud, TransportError> {
        let endpoint = target.endpoint.parse().map_err(|error: cbs::client::InvalidEndpoint| {
            TransportError::because(cbs::transport::Failure::Invalid, error)
        })?;
        let source = self.sources.get(&target.credentials)?;
        let settings = Settings {
            region: target.region.clone(),
            endpoint,
            identity: source.name.clone(),
            rate_limit: NonZeroU32::new(target.rate_limit),
            timeout: target.call_timeout,
            request_client: format!("cbs-backupd_{}", env!("CARGO_PKG_VERSION")),
        };
        let ports = Ports {
            credentials: Arc::clone(&source.provider),
            transport: (self.transport)(target)?,
            clock: Arc::new(ForCloud(Arc::clone(&self.clock))),
            lanes: Arc::clone(&self.lanes),
        };
        let answers = Arc::new(AtomicBool::new(true));
        Ok(Cloud { client: Client::new(settings, ports), credential: Arc::default(), answers, source })
    }
}

/// The proxies through which the targets are reached, for the log.
#[must_use]
pub fn proxies(config: &Config) -> Vec<String> {
    let proxy = |target: &Target| {
        proxy_for(&target.endpoint).map(|proxy| format!("{} through {proxy}", target.endpoint))
    };
    config.targets.values().filter_map(proxy).collect()
}

/// The daemon's clock as the client reads it.
struct ForCloud(Arc<dyn Clock>);

impl cbs::Clock for ForCloud {
    fn now(&self) -> SystemTime {
        self.0.wall().into()
    }
}
