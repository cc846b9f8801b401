//! The disks, as the cloud lists them.
//!
//! Responsible for the same as `cloud`: to ask, and to translate what is answered. It refuses to say which disks a job
//! has.

use std::collections::BTreeMap;

use backup_core::selection::{Attributes, Conditions};
use backup_core::{DiskId, InstanceId, InvalidId};
use cbs::limiter::Priority;
use cbs::{DisksQuery, Filter};

use super::Cloud;
use crate::report::chain;

/// The most ids in one call.
const IDS_IN_A_CALL: usize = 100;
/// The fewest values that any of the cloud's filters is known to take.
const VALUES_IN_A_FILTER: usize = 5;
/// The most filters that a call is known to take.
const FILTERS_IN_A_CALL: usize = 10;

/// How full a disk is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shelf {
    /// How many backup points it may have.
    pub quota: u64,
    /// How many it has, whoever made them.
    pub count: u64,
}

/// A disk as the cloud describes it.
#[derive(Clone, Debug)]
pub struct FoundDisk {
    /// The disk.
    pub id: DiskId,
    /// What conditions ask of it.
    pub attributes: Attributes,
    /// How many backups it may have; none where the cloud does not say.
    pub backup_quota: Option<u64>,
    /// How many it has, likewise.
    pub backup_count: Option<u64>,
}

impl FoundDisk {
    fn of(disk: cbs::Disk) -> Result<Self, String> {
        let id = disk.id.parse().map_err(|error: InvalidId| error.to_string())?;
        let mut instances: Vec<InstanceId> = Vec::new();
        for instance in std::iter::once(&disk.instance_id).chain(&disk.instance_ids) {
            // Empty where it is attached to none.
            if let Ok(instance) = instance.parse()
                && !instances.contains(&instance)
            {
                instances.push(instance);
            }
        }
        let attributes = Attributes {
            name: disk.name,
            zone: disk.placement.zone,
            project: disk.placement.project_id,
            instances,
            usage: disk.usage,
            state: disk.state.as_str().to_owned(),
            tags: disk.tags,
        };
        Ok(Self { id, attributes, backup_quota: disk.backup_quota, backup_count: disk.backup_count })
    }

    /// The instance that it is attached to, the first of several.
    #[must_use]
    pub fn instance(&self) -> Option<&InstanceId> {
        self.attributes.instances.first()
    }
}

/// The cloud's filters for conditions, where it has one that means the same and takes as many values.
#[must_use]
pub fn narrowed(conditions: &Conditions) -> Vec<Filter> {
    let texts = |values: &[u64]| values.iter().map(ToString::to_string).collect::<Vec<_>>();
    let instances: Vec<String> = conditions.instances.iter().map(ToString::to_string).collect();
    let mut filters = vec![
        Filter::new("zone", &conditions.zones),
        Filter::new("project-id", texts(&conditions.projects)),
        Filter::new("instance-id", instances),
        Filter::new("disk-usage", &conditions.usages),
    ];
    filters.extend(conditions.tags.iter().map(|tag| Filter::new(format!("tag:{}", tag.key), &tag.values)));
    filters.retain(|filter| (1..=VALUES_IN_A_FILTER).contains(&filter.values.len()));
    filters.truncate(FILTERS_IN_A_CALL);
    filters
}

impl Cloud {
    /// Lists the disks that meet conditions, as far as the cloud's own filters go: it may show more of them. The order
    /// is the cloud's.
    ///
    /// # Errors
    /// Why there is no complete listing, in words.
    pub async fn disks(&self, narrowed: &[Filter], priority: Priority) -> Result<Vec<FoundDisk>, String> {
        let query = DisksQuery::Where(narrowed.to_vec());
        let listed = self.heed(self.client.list_disks(&query, priority).await);
        listed.map_err(|error| chain(&error))?.into_iter().map(FoundDisk::of).collect()
    }

    /// Looks disks up by their ids: those that exist.
    ///
    /// # Errors
    /// Why that is not known of all of them, in words.
    pub async fn disks_by_id(&self, ids: &[DiskId], priority: Priority) -> Result<Vec<FoundDisk>, String> {
        let mut asked: Vec<&[DiskId]> = ids.chunks(IDS_IN_A_CALL).rev().collect();
        let mut found = Vec::new();
        while let Some(ids) = asked.pop() {
            let query = DisksQuery::ByIds(ids.iter().map(ToString::to_string).collect());
            match self.heed(self.client.list_disks(&query, priority).await) {
                Ok(listed) => {
                    for disk in listed {
                        found.push(FoundDisk::of(disk)?);
                    }
                }
                // One that is gone may spoil the answer for all: it is found by halves.
                Err(error) if matches!(error.class, cbs::Class::Gone) => {
                    let (left, right) = ids.split_at(ids.len() / 2);
                    asked.extend(
                        [right, left].into_iter().filter(|half| !half.is_empty() && half.len() < ids.len()),
                    );
                }
                Err(error) => return Err(chain(&error)),
            }
        }
        Ok(found)
    }

    /// How full these disks are; those that the cloud does not know, or says nothing of, are left out.
    ///
    /// # Errors
    /// Why there is no answer, in words.
    pub async fn shelves(
        &self,
        disks: &[DiskId],
        priority: Priority,
    ) -> Result<BTreeMap<DiskId, Shelf>, String> {
        let shelf =
            |disk: FoundDisk| Some((disk.id, Shelf { quota: disk.backup_quota?, count: disk.backup_count? }));
        let mut shelves = BTreeMap::new();
        // Of each answer little is kept: a disk with its tags takes a kilobyte.
        for ids in disks.chunks(IDS_IN_A_CALL) {
            shelves.extend(self.disks_by_id(ids, priority).await?.into_iter().filter_map(shelf));
        }
        Ok(shelves)
    }
}
