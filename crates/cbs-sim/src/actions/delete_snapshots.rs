//! DeleteSnapshots: all of them or none, and NORMAL ones alone.

use super::{Action, Answer, Call};
use crate::cloud::Cloud;
use crate::error::ApiError;
use crate::params::{Field, Kind, missing};

pub(super) const ACTION: Action = Action {
    name: "DeleteSnapshots",
    limit: 20,
    fields: &[Field::required("SnapshotIds", Kind::Texts), Field::optional("DeleteBindImages", Kind::Flag)],
    run,
};

fn run(cloud: &mut Cloud, call: &Call<'_>) -> Result<Answer, ApiError> {
    let ids = call.params.texts("SnapshotIds").ok_or_else(|| missing("SnapshotIds"))?;
    cloud.snapshots.delete(call.place.region, &ids, call.now)?;
    Ok(Answer::new())
}
