//! The client reads the answers that the vendor documents.

use cbs::{Action, BackupState, BackupsQuery, Deleted, DiskState, DisksQuery, Page, Priority};
use jiff::Timestamp;

use crate::{Recorder, client, run};

#[tokio::test(start_paused = true)]
async fn the_documented_answers_are_read() {
    let documented = serde_json::from_str(&run("answers.py", "")).unwrap();
    let client =
        client(&Recorder::new(documented), "https://cbs.tencentcloudapi.com", Timestamp::UNIX_EPOCH, None);

    let permit = client.lane(Action::CreateDiskBackup).acquire(Priority::NewCreate).await;
    let accepted = client.create_disk_backup(permit, "disk-xxxxxxxx", "").await.unwrap();
    assert_eq!(accepted.backup_id, "dbp-xxxxxxxx");
    assert_eq!(accepted.request_id.as_deref(), Some("a79a4333-ac8e-426c-8cfe-2923c4010d64"));

    let [backup] = &*client.list_disk_backups(&BackupsQuery::All, Priority::Tracking).await.unwrap() else {
        panic!("one backup")
    };
    assert_eq!((&*backup.id, &*backup.disk_id), ("dbp-xxxxxxxx", "disk-xxxxxxxx"));
    assert_eq!((&*backup.name, &*backup.disk_usage), ("Diskbackup-20240101", "DATA_DISK"));
    assert_eq!((&backup.state, backup.percent), (&BackupState::Normal, Some(100)));
    assert_eq!((backup.disk_size_gib, backup.encrypted), (Some(100), false));
    assert_eq!(backup.created, Some("2022-04-02T17:44:55Z".parse().unwrap()));

    let query = DisksQuery::Where(vec![]);
    let disks = client.describe_disks(&query, Page::default(), Priority::Reconcile).await.unwrap();
    let [disk] = &*disks.items else { panic!("one disk") };
    assert_eq!((disks.total, &*disk.id, &*disk.name), (1, "disk-b94t5dzt", "my-data-disk"));
    assert_eq!((&disk.state, &*disk.usage), (&DiskState::Attached, "DATA_DISK"));
    assert_eq!((&*disk.disk_type, disk.size_gib), ("CLOUD_BSSD", Some(10)));
    assert_eq!((&*disk.instance_id, &*disk.instance_ids), ("", &["ins-agp4l0lx".to_owned()][..]));
    assert_eq!((disk.backup_quota, disk.backup_count), (Some(1), Some(1)));
    assert_eq!((disk.rollbacking, disk.migrating), (false, true));
    assert_eq!((&*disk.placement.zone, disk.placement.project_id), ("ap-guangzhou-3", 0));
    // Without an offset, it is Beijing time.
    assert_eq!(disk.created, Some("2018-09-26T09:36:07Z".parse().unwrap()));
    assert!(disk.tags.is_empty());

    let deleted = client.delete_disk_backup("dbp-xxxxxxxx", Priority::Retention).await;
    assert_eq!(deleted.unwrap(), Deleted::Deleted);
}
