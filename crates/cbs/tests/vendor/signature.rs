//! The vendor's Python SDK and this crate sign the same bytes alike, and would send the same request.
//!
//! `signature.py` asks the SDK.

use std::collections::BTreeMap;

use cbs::{Action, BackupsQuery, DisksQuery, Filter, HttpRequest, Page, Priority};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ID, KEY, Recorder, client, run};

const TOKEN: &str = "a/token+with=all.sorts-of_characters";

/// Around midnight in UTC: of a day, of a leap day, of a year.
const TIMES: [&str; 7] = [
    "2026-11-24T18:30:00Z",
    "2026-11-24T23:59:59Z",
    "2026-11-25T00:00:00Z",
    "2024-02-29T23:59:59Z",
    "2024-03-01T00:00:00Z",
    "2026-12-31T23:59:59Z",
    "2027-01-01T00:00:00Z",
];

/// Endpoints, and the host that the SDK is to call for each.
const ENDPOINTS: [(&str, &str); 5] = [
    ("https://cbs.tencentcloudapi.com", "cbs.tencentcloudapi.com"),
    ("https://cbs.ap-guangzhou.tencentcloudapi.com", "cbs.ap-guangzhou.tencentcloudapi.com"),
    ("https://cbs.intl.tencentcloudapi.com:443", "cbs.intl.tencentcloudapi.com"),
    ("https://localhost:8443", "localhost:8443"),
    ("http://127.0.0.1:18080", "127.0.0.1:18080"),
];

/// A call for the SDK to make.
#[derive(Clone, Debug, Serialize)]
struct Call {
    id: &'static str,
    key: &'static str,
    token: Option<&'static str>,
    host: String,
    at: i64,
    action: String,
    body: String,
}

/// What the SDK made of it.
#[derive(Debug, Deserialize)]
struct Answer {
    /// What it sends.
    headers: BTreeMap<String, String>,
    /// The body's content, as its typed request has it.
    fields: Value,
    /// The `Authorization` if the action is signed, too.
    with_the_action: String,
}

fn ask_the_sdk(calls: &[Call]) -> Vec<Answer> {
    let answers = run("signature.py", &serde_json::to_string(calls).unwrap());
    let answers: Vec<Answer> = serde_json::from_str(&answers).unwrap();
    assert_eq!(answers.len(), calls.len());
    answers
}

/// The `Authorization` that this crate makes with these headers signed.
fn authorization(call: &Call, signed: &[&str]) -> String {
    let headers: Vec<(&str, &str)> = signed
        .iter()
        .map(|name| match *name {
            "Content-Type" => (*name, "application/json"),
            "Host" => (*name, &*call.host),
            _ => (*name, &*call.action),
        })
        .collect();
    let at = Timestamp::from_second(call.at).unwrap();
    cbs::sign::authorization(ID, &KEY.into(), "cbs", at, &headers, call.body.as_bytes())
}

#[test]
fn the_sdk_signs_the_same_bytes_alike() {
    let bodies = [
        ("DescribeDisks", "{}".to_owned()),
        ("DescribeDiskBackups", r#"{ "Limit" : 1,  "Offset":0 }"#.to_owned()),
        ("CreateDiskBackup", r#"{"DiskId":"disk-1a2b3c4d","DiskBackupName":"备份 é 🦀"}"#.to_owned()),
        (
            "CreateDiskBackup",
            r#"{"DiskId": "disk-1a2b3c4d", "DiskBackupName": "\u5907\u4efd\ud83e\udd80"}"#.to_owned(),
        ),
        (
            "CreateDiskBackup",
            r#"{"DiskId":"d","DiskBackupName":"\"\\\/\b\f\n\r\t\u0000\u001f <>&'"}"#.to_owned(),
        ),
        ("CreateDiskBackup", format!(r#"{{"DiskId":"d","DiskBackupName":"{}"}}"#, "x".repeat(60))),
        ("CreateDiskBackup", format!(r#"{{"DiskId":"d","DiskBackupName":"{}"}}"#, "备".repeat(100))),
        ("DeleteDiskBackups", r#"{"DiskBackupIds":["dbp-1"]}"#.to_owned()),
    ];
    let mut calls = Vec::new();
    for (action, body) in &bodies {
        for (_, host) in ENDPOINTS {
            for token in [None, Some(TOKEN)] {
                calls.extend(TIMES.map(|at| Call {
                    id: ID,
                    key: KEY,
                    token,
                    host: host.to_owned(),
                    at: at.parse::<Timestamp>().unwrap().as_second(),
                    action: (*action).to_owned(),
                    body: body.clone(),
                }));
            }
        }
    }
    for (call, answer) in calls.iter().zip(ask_the_sdk(&calls)) {
        assert_eq!(
            authorization(call, &["Content-Type", "Host"]),
            answer.headers["Authorization"],
            "{call:?}"
        );
        let with_the_action = authorization(call, &["Content-Type", "Host", "X-TC-Action"]);
        assert_eq!(with_the_action, answer.with_the_action, "{call:?}");
    }
    println!("{} requests signed alike", calls.len());
}

/// What the client sends for one call of each kind.
async fn sent_by_the_client(endpoint: &str, at: Timestamp, token: Option<&'static str>) -> Vec<HttpRequest> {
    // What any action takes for an answer.
    let answer = r#"{"Response":{"DiskBackupId":"dbp-1","TotalCount":0,"RequestId":"r"}}"#;
    let recorder = Recorder::new(Action::ALL.map(|action| (action.to_string(), answer.to_owned())).into());
    let client = client(&recorder, endpoint, at, token);

    let (sixty, hundred) = (format!("ops1_{}_20261124T183000Z", "j".repeat(38)), "备".repeat(100));
    assert_eq!((sixty.chars().count(), hundred.chars().count()), (60, 100));
    for name in [&*sixty, &*hundred, "备份 é 🦀", "\"\\/\u{8}\n\t\u{0}\u{1f}\u{7f}\u{2028} <>&'", ""] {
        let permit = client.lane(Action::CreateDiskBackup).acquire(Priority::NewCreate).await;
        client.create_disk_backup(permit, "disk-1a2b3c4d", name).await.unwrap();
    }
    let ids = || vec!["disk-1a2b3c4d".to_owned(), "disk-5e6f7a8b".to_owned()];
    for query in
        [BackupsQuery::ByIds(vec!["dbp-1".to_owned()]), BackupsQuery::ByDisks(ids()), BackupsQuery::All]
    {
        client.describe_disk_backups(&query, Page::from(200), Priority::Tracking).await.unwrap();
    }
    let tagged =
        vec![Filter::new("tag:备份", ["每晚"]), Filter::new("disk-usage", ["DATA_DISK", "SYSTEM_DISK"])];
    for query in [DisksQuery::ByIds(ids()), DisksQuery::Where(tagged), DisksQuery::Where(vec![])] {
        client.describe_disks(&query, Page::default(), Priority::Reconcile).await.unwrap();
    }
    client.delete_disk_backup("dbp-1", Priority::Retention).await.unwrap();
    recorder.sent.lock().unwrap().clone()
}

#[tokio::test(start_paused = true)]
async fn the_client_sends_what_the_sdk_would_send() {
    let (mut requests, mut calls) = (Vec::new(), Vec::new());
    for (index, at) in TIMES.iter().enumerate() {
        let (at, token) = (at.parse().unwrap(), (index % 2 == 1).then_some(TOKEN));
        let (endpoint, host) = ENDPOINTS[index % ENDPOINTS.len()];
        for request in sent_by_the_client(endpoint, at, token).await {
            calls.push(Call {
                id: ID,
                key: KEY,
                token,
                host: host.to_owned(),
                at: at.as_second(),
                action: request.header("X-TC-Action").unwrap().to_owned(),
                body: String::from_utf8(request.body.to_vec()).unwrap(),
            });
            requests.push(request);
        }
    }

    for ((request, call), answer) in requests.iter().zip(&calls).zip(ask_the_sdk(&calls)) {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(body, answer.fields, "{call:?}");
        assert_eq!(request.header("Authorization"), Some(&*answer.with_the_action), "{call:?}");

        let mut ours: BTreeMap<String, String> =
            request.headers.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut theirs = answer.headers;
        // Who calls is told apart; the trace is the SDK's own; what is signed is compared above.
        for own in ["Authorization", "X-TC-RequestClient", "X-TC-TraceId"] {
            ours.remove(own);
            theirs.remove(own);
        }
        assert_eq!(ours, theirs, "{call:?}");
    }
    println!("{} requests of the client are those of the SDK", calls.len());
}
