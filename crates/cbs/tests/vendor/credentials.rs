//! The sources read what the vendor documents of its service, and what its command line writes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cbs::credentials::{AssumeRole, Issue, ProvideCredentials, Role, Sts, Tccli, TkeOidc};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{At, Recorder, run};

#[derive(Deserialize)]
struct Vendors {
    answers: BTreeMap<String, String>,
    profile: String,
}

#[tokio::test]
async fn the_documented_credentials_are_read() {
    let vendors: Vendors = serde_json::from_str(&run("credentials.py", "")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ops.credential");
    std::fs::write(&path, vendors.profile).unwrap();
    let profile = Arc::new(Tccli::file(path.clone()));
    assert_eq!(profile.provide().await.unwrap().id(), "AKIDtccli");

    let recorder = Recorder::new(vendors.answers);
    let clock = Arc::new(At(Timestamp::UNIX_EPOCH));
    let sts = Sts::new(recorder, clock, Sts::ENDPOINT.parse().unwrap());
    let duration = Duration::from_secs(7_200);
    let role = Role {
        arn: "qcs::cam::uin/1:roleName/x".to_owned(),
        session_name: "s".to_owned(),
        duration,
        external_id: None,
    };
    let at = path.display().to_string();
    let pod = TkeOidc::new(sts.clone(), "s", duration, move |name| {
        Some(if name.ends_with("FILE") { at.clone() } else { "x".to_owned() })
    });
    for issued in [AssumeRole::new(profile, sts, role).issue().await.unwrap(), pod.issue().await.unwrap()] {
        assert_eq!(issued.credentials.id(), "AKID***");
        assert_eq!(issued.expires, "2018-12-04T09:06:16Z".parse().unwrap());
    }
}
