//! ApplyDiskBackup: puts a disk back to what it was at one of its backups. It takes its time.

use super::{Action, Answer, Call};
use crate::cloud::{Cloud, Rollback};
use crate::error::ApiError;
use crate::params::{Field, Kind};

pub(super) const ACTION: Action = Action {
    name: "ApplyDiskBackup",
    limit: 20,
    fields: &[
        Field::required("DiskBackupId", Kind::Text),
        Field::required("DiskId", Kind::Text),
        Field::optional("AutoStopInstance", Kind::Flag),
        Field::optional("AutoStartInstance", Kind::Flag),
    ],
    run,
};

fn run(cloud: &mut Cloud, call: &Call<'_>) -> Result<Answer, ApiError> {
    let backup = call.params.required_text("DiskBackupId")?;
    let disk = call.params.required_text("DiskId")?;
    let (stop, start) = (call.params.flag("AutoStopInstance"), call.params.flag("AutoStartInstance"));
    if start && !stop {
        return Err(ApiError::new("InvalidParameter", "`AutoStartInstance` needs `AutoStopInstance`."));
    }
    cloud.roll_back(call.place, &Rollback { disk, backup, stop, start }, call.now)?;
    Ok(Answer::new())
}
