//! What the demo plays: disks, and what goes wrong with whom.

use std::collections::BTreeMap;
use std::path::PathBuf;

use backup_core::DiskId;
use cbs_sim::{Credential, Disk, Effect, Ledger, Rule, Timings, Which, World};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan as _};

use crate::cli::exit::{Exit, Failure};
use crate::config::{Config, Disks};

const ID: &str = "AKIDdemo";
const KEY: &str = "demo-key-of-a-simulated-cloud";
/// Disks that the cloud does not know: their runs must fail, and say so.
const HOPELESS: usize = 2;

/// A night's disks and misfortunes.
pub(super) struct Night {
    disks: Vec<String>,
}

impl Night {
    pub(super) fn of(disks: u32) -> Self {
        Self { disks: (0..disks).map(|number| format!("disk-{:08x}", 0x5a00_0000 + number)).collect() }
    }

    pub(super) fn size(&self) -> usize {
        self.disks.len()
    }

    pub(super) fn faults(&self) -> usize {
        self.script().len() + 1
    }

    pub(super) fn is_hopeless(&self, disk: &DiskId) -> bool {
        self.disks[..HOPELESS].iter().any(|hopeless| hopeless == disk.as_str())
    }

    /// Those that must have a backup in the morning.
    pub(super) fn good_disks(&self) -> impl Iterator<Item = &str> {
        self.disks[HOPELESS..].iter().map(String::as_str)
    }

    /// How many backups each disk has.
    pub(super) fn copies<'l>(&self, ledger: &'l Ledger) -> BTreeMap<&'l str, usize> {
        let mut copies = BTreeMap::new();
        for backup in &ledger.backups {
            *copies.entry(backup.disk_id.as_str()).or_default() += 1;
        }
        copies
    }

    pub(super) fn environment(&self) -> BTreeMap<String, String> {
        [("TENCENTCLOUD_SECRET_ID", ID), ("TENCENTCLOUD_SECRET_KEY", KEY)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    /// `config/demo.yaml` with this night's disks.
    pub(super) fn config(&self, endpoint: &str, state_dir: PathBuf) -> Result<Config, Failure> {
        let text = include_str!("../../../config/demo.yaml");
        let mut config = Config::parse("config/demo.yaml", text, &BTreeMap::new())
            .map_err(|errors| Failure::verbatim(Exit::BadConfiguration, errors))?;
        config.state_dir = state_dir;
        for target in config.targets.values_mut() {
            endpoint.clone_into(&mut target.endpoint);
        }
        let ids: Vec<DiskId> = self.disks.iter().filter_map(|disk| disk.parse().ok()).collect();
        let share = ids.len().div_ceil(config.jobs.len());
        for (job, disks) in config.jobs.iter_mut().zip(ids.chunks(share)) {
            job.disks = Disks::Listed(disks.to_vec());
        }
        Ok(config)
    }

    pub(super) fn world(&self) -> World {
        let disks = self.disks[HOPELESS..].iter().map(|id| Disk::new(id)).collect();
        World {
            seed: 7,
            credentials: vec![Credential {
                secret_id: ID.to_owned(),
                secret_key: KEY.to_owned(),
                token: None,
                identity: None,
            }],
            timings: Timings {
                create_ms: (2000, 6000),
                visible_ms: (0, 1500),
                reply_ms: (5, 60),
                ..Timings::default()
            },
            disks,
            faults: self.script(),
            ..World::default()
        }
    }

    /// Each misfortune strikes its own few disks, once each.
    fn script(&self) -> Vec<Rule> {
        let error = |code: &str| Effect::Error { code: code.to_owned(), message: "as scripted".to_owned() };
        let effects = [
            error("InvalidDisk.Busy"),
            error("ResourceBusy"),
            error("ResourceInUse.DiskRollbacking"),
            error("ResourceUnavailable.SnapshotCreating"),
            error("ResourceInsufficient.OverQuota"),
            error("LimitExceeded"),
            error("UnauthorizedOperation"),
            error("InvalidAccount.InsufficientBalance"),
            error("InternalError"),
            error("Strange.NobodyKnowsThis"),
            Effect::ErrorAfter { code: "InternalError".to_owned(), message: "done all the same".to_owned() },
            Effect::Http { status: 502, body: "<html>502 Bad Gateway</html>".to_owned(), executed: true },
            Effect::TruncatedJson { executed: true },
            Effect::ShortBody { executed: true },
            Effect::NoResult,
            Effect::Drop { executed: true },
            Effect::Drop { executed: false },
            Effect::Reset { executed: true },
            Effect::Timeout { executed: true },
            Effect::Timeout { executed: false },
            Effect::Vanish,
        ];
        let each = 3;
        let mut rules: Vec<Rule> = effects
            .into_iter()
            .zip(self.disks[HOPELESS..].chunks(each))
            .map(|(effect, disks)| Rule {
                disks: disks.to_vec(),
                ..Rule::on("CreateDiskBackup", effect).which(Which::First(disks.len() as u64))
            })
            .collect();
        // For a while somebody else uses half of the limit.
        rules.push(Rule {
            from_ms: 8_000,
            until_ms: Some(12_000),
            ..Rule::on("CreateDiskBackup", Effect::Limit { per_second: 10 })
        });
        rules
    }
}

/// How far the clock must be moved to show a few seconds before 02:30 in Shanghai.
pub(super) fn until_half_past_two(now: Timestamp) -> SignedDuration {
    let zone = TimeZone::fixed(jiff::tz::Offset::constant(8));
    let local = now.to_zoned(zone);
    let night = local.start_of_day().and_then(|day| day.checked_add(2.hours().minutes(29).seconds(57)));
    night.map(|night| night.timestamp().duration_since(now)).unwrap_or_default()
}
