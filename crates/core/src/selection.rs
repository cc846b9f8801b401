//! Which disks a job is about, where it selects them by what they are.
//!
//! Responsible for whether a disk meets a job's conditions, and for what a new complete listing means for the disks
//! that the job held: who joins, who may leave, and when so many would that the listing is not believed. It refuses
//! to let a disk go on the word of a single listing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::id::{DiskId, InstanceId};

/// The vendor's state of a disk in the recycle bin.
const RECYCLED: &str = "TORECYCLE";
/// A disk leaves that was missing from so many complete listings in a row, if a look-up by its id agrees.
pub const LEAVES_AFTER: u32 = 2;

/// A disk as the cloud describes it, as far as conditions ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Its name.
    pub name: String,
    /// Its availability zone.
    pub zone: String,
    /// The number of its project.
    pub project: u64,
    /// What it is attached to, the first one first.
    pub instances: Vec<InstanceId>,
    /// `SYSTEM_DISK` or `DATA_DISK`.
    pub usage: String,
    /// Its state, in the vendor's words.
    pub state: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A tag of this key has one of these values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tag {
    /// The key.
    pub key: String,
    /// Any of these.
    pub values: Vec<String>,
}

impl Tag {
    fn is_on(&self, disk: &Attributes) -> bool {
        disk.tags.get(&self.key).is_some_and(|value| self.values.contains(value))
    }
}

/// Conditions on a disk: all of them must hold; each holds by any of its values, and one without values is none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    /// All of these tags.
    pub tags: Vec<Tag>,
    /// At least one of these tags.
    pub any_tags: Vec<Tag>,
    /// Availability zones.
    pub zones: Vec<String>,
    /// Projects, by number.
    pub projects: Vec<u64>,
    /// Instances that it is attached to.
    pub instances: Vec<InstanceId>,
    /// Patterns of its name.
    pub names: Vec<Pattern>,
    /// Usages, in the vendor's words.
    pub usages: Vec<String>,
    /// States, in the vendor's words. Where none is named, any but the recycle bin.
    pub states: Vec<String>,
}

impl Conditions {
    /// Whether nothing at all is asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether a disk meets them.
    #[must_use]
    pub fn hold_for(&self, disk: &Attributes) -> bool {
        fn any<T>(values: &[T], holds: impl FnMut(&T) -> bool) -> bool {
            values.is_empty() || values.iter().any(holds)
        }
        self.tags.iter().all(|tag| tag.is_on(disk))
            && any(&self.any_tags, |tag| tag.is_on(disk))
            && any(&self.zones, |zone| *zone == disk.zone)
            && any(&self.projects, |project| *project == disk.project)
            && any(&self.instances, |instance| disk.instances.contains(instance))
            && any(&self.names, |pattern| pattern.matches(&disk.name))
            && any(&self.usages, |usage| *usage == disk.usage)
            && any(&self.states, |state| *state == disk.state)
    }
}

/// What a job selects: the disks that meet `of`, but for some.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// What they must meet.
    pub of: Conditions,
    /// Disks that are left out.
    pub but_disks: Vec<DiskId>,
    /// Disks that meet any of these are left out.
    pub but: Vec<Conditions>,
}

impl Selection {
    /// Whether it selects a disk.
    #[must_use]
    pub fn selects(&self, id: &DiskId, disk: &Attributes) -> bool {
        let is_kept = disk.state != RECYCLED || !self.of.states.is_empty();
        is_kept
            && self.of.hold_for(disk)
            && !self.but_disks.contains(id)
            && !self.but.iter().any(|conditions| conditions.hold_for(disk))
    }
}

/// A pattern of names: `*` stands for any text, `?` for any one character, and everything else for itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

impl Pattern {
    /// A pattern. Every text is one.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Whether the whole of `name` is of this pattern. Takes no longer than their lengths multiplied.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name): (Vec<char>, Vec<char>) = (self.0.chars().collect(), name.chars().collect());
        let (mut at, mut in_name) = (0, 0);
        // Where the last `*` was, and how much of the name it has taken so far.
        let mut star: Option<(usize, usize)> = None;
        while in_name < name.len() {
            match pattern.get(at) {
                Some('*') => {
                    star = Some((at, in_name));
                    at += 1;
                }
                Some(c) if *c == '?' || *c == name[in_name] => {
                    at += 1;
                    in_name += 1;
                }
                _ => {
                    let Some((star_at, taken)) = star else { return false };
                    star = Some((star_at, taken + 1));
                    (at, in_name) = (star_at + 1, taken + 1);
                }
            }
        }
        pattern[at..].iter().all(|c| *c == '*')
    }
}

/// A disk that a job holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The instance that it is attached to, the first of several.
    pub instance: Option<InstanceId>,
    /// From how many complete listings in a row it was missing.
    pub missing: u32,
}

/// What a complete listing means for a job.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refresh {
    /// Disks that are new, or of which something else is known than before.
    pub changed: BTreeMap<DiskId, Member>,
    /// Those of them that are new.
    pub joined: Vec<DiskId>,
    /// Disks that leave.
    pub left: Vec<DiskId>,
    /// Disks to be looked up by their ids: those that are not selected then leave too.
    pub in_doubt: Vec<DiskId>,
    /// So many would leave at once that none does.
    pub refused: Option<Refused>,
}

/// A loss that is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// How many disks would have left.
    pub would_leave: usize,
    /// Of how many.
    pub of: usize,
    /// How many may leave at once.
    pub at_most: usize,
}

/// What the disks that a complete listing shows as selected mean for a job that holds `known`; at most `max_loss`
/// percent of them may leave at once, though one always may.
///
/// Disks that join do so whatever else the listing lacks.
#[must_use]
pub fn refresh(
    known: &BTreeMap<DiskId, Member>,
    listed: &BTreeMap<DiskId, Option<InstanceId>>,
    max_loss: u32,
) -> Refresh {
    let mut found = Refresh::default();
    for (disk, instance) in listed {
        let member = Member { instance: instance.clone(), missing: 0 };
        match known.get(disk) {
            Some(before) if *before == member => continue,
            Some(_) => {}
            None => found.joined.push(disk.clone()),
        }
        found.changed.insert(disk.clone(), member);
    }
    for (disk, member) in known.iter().filter(|(disk, _)| !listed.contains_key(*disk)) {
        let missing = (member.missing + 1).min(LEAVES_AFTER);
        if missing != member.missing {
            found.changed.insert(disk.clone(), Member { missing, ..member.clone() });
        }
        if missing == LEAVES_AFTER {
            found.in_doubt.push(disk.clone());
        }
    }
    let percent = usize::try_from(max_loss).unwrap_or(usize::MAX);
    let at_most = (known.len().saturating_mul(percent) / 100).max(1);
    if found.in_doubt.len() > at_most {
        let would_leave = found.in_doubt.len();
        found.refused = Some(Refused { would_leave, of: known.len(), at_most });
        found.in_doubt.clear();
    }
    found
}

/// The same where something else is selected than before: whoever is not listed leaves, for a person wants it so.
#[must_use]
pub fn reselect(known: &BTreeMap<DiskId, Member>, listed: &BTreeMap<DiskId, Option<InstanceId>>) -> Refresh {
    let Refresh { mut changed, joined, .. } = refresh(known, listed, 100);
    changed.retain(|disk, _| listed.contains_key(disk));
    let left = known.keys().filter(|disk| !listed.contains_key(*disk)).cloned().collect();
    Refresh { changed, joined, left, ..Refresh::default() }
}

impl Refresh {
    /// Those in doubt were looked up by their ids: these of them are selected, and the others leave.
    pub fn settle(&mut self, selected: &BTreeMap<DiskId, Option<InstanceId>>) {
        for disk in std::mem::take(&mut self.in_doubt) {
            match selected.get(&disk) {
                Some(instance) => {
                    self.changed.insert(disk, Member { instance: instance.clone(), missing: 0 });
                }
                None => {
                    self.changed.remove(&disk);
                    self.left.push(disk);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
