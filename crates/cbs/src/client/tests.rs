use std::error::Error as _;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use proptest::prelude::*;
use serde_json::json;
use tokio::time::sleep;

use super::*;
use crate::credentials::{CredentialsError, Environment};
use crate::limiter::Priority;
use crate::testing::{
    KEY, NOW, Script, Silence, TOKEN, client, client_with, create, environment, json_reply,
};
use crate::{DisksQuery, Page};

#[tokio::test(start_paused = true)]
async fn a_create_goes_out_signed_and_on_a_connection_of_its_own() {
    let script = Arc::new(Script::default().then_json(json!({"DiskBackupId": "dbp-1", "RequestId": "r-1"})));
    let client = client_with(Arc::clone(&script) as _, environment(true));
    let accepted = create(&client).await.unwrap();
    assert_eq!((accepted.backup_id.as_str(), accepted.request_id.as_deref()), ("dbp-1", Some("r-1")));

    let [request] = &*script.requests() else { panic!("one request") };
    assert!(request.fresh_connection);
    assert_eq!(request.endpoint, "https://cbs.ap-guangzhou.tencentcloudapi.com");
    assert_eq!(
        &request.body[..],
        br#"{"DiskId":"disk-1a2b3c4d","DiskBackupName":"ops1_db_20261124T183000Z"}"#
    );
    let sent_at = NOW + 1; // after the lane's quiet second
    let authorization = sign::authorization(
        "AKIDtest",
        &KEY.into(),
        "cbs",
        Timestamp::from_second(sent_at).unwrap(),
        &[
            ("content-type", "application/json"),
            ("host", "cbs.ap-guangzhou.tencentcloudapi.com"),
            ("x-tc-action", "CreateDiskBackup"),
        ],
        &request.body,
    );
    let mut headers = request.headers.clone();
    headers.sort();
    assert_eq!(
        headers,
        [
            ("Authorization", authorization),
            ("Content-Type", "application/json".to_owned()),
            ("Host", "cbs.ap-guangzhou.tencentcloudapi.com".to_owned()),
            ("X-TC-Action", "CreateDiskBackup".to_owned()),
            ("X-TC-Language", "en-US".to_owned()),
            ("X-TC-Region", "ap-guangzhou".to_owned()),
            ("X-TC-RequestClient", "cbs-backupd_0.1.0".to_owned()),
            ("X-TC-Timestamp", sent_at.to_string()),
            ("X-TC-Token", TOKEN.to_owned()),
            ("X-TC-Version", "2017-03-12".to_owned()),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waited_long_is_signed_when_it_is_sent() {
    let script = Arc::new(Script::default().then_json(json!({"DiskBackupId": "dbp-1"})));
    let client = client(&script);
    let permit = client.lane(Action::CreateDiskBackup).acquire(Priority::NewCreate).await;
    sleep(Duration::from_secs(600)).await;
    client.create_disk_backup(permit, "disk-1", "n").await.unwrap();
    assert_eq!(script.requests()[0].header("x-tc-timestamp"), Some(&*(NOW + 600).to_string()));
}

#[tokio::test(start_paused = true)]
async fn only_a_reply_with_an_id_and_without_an_error_is_an_acceptance() {
    for response in [
        json!({}),
        json!({"RequestId": "r"}),
        json!({"DiskBackupId": "dbp-1", "RequestId": null}),
        json!({"DiskBackupId": null}),
        json!({"DiskBackupId": ""}),
        json!({"DiskBackupId": " "}),
        json!({"DiskBackupId": 7}),
        json!({"DiskBackupId": ["dbp-1"]}),
        json!({"DiskBackupId": "dbp-1", "Error": {"Code": "InternalError", "Message": ""}}),
        json!({"DiskBackupId": "dbp-1", "Error": {}}),
        json!({"DiskBackupId": "dbp-1", "Error": false}),
    ] {
        let script = Arc::new(Script::default().then_json(response.clone()));
        let error = create(&client(&script)).await.unwrap_err();
        assert_eq!((error.class, error.sent), (Class::Ambiguous, crate::Sent::Maybe), "{response}");
        assert_eq!(script.requests().len(), 1, "a create is never sent again on its own");
    }
    let script = Arc::new(Script::default().then_json(json!({"DiskBackupId": "dbp-1", "Error": null})));
    assert!(create(&client(&script)).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_bound_on_a_call_holds_for_any_transport() {
    let client = client_with(Arc::new(Silence), environment(false));
    let error = create(&client).await.unwrap_err();
    assert_eq!(error.class, Class::Ambiguous);
    assert_eq!(error.to_string(), "CreateDiskBackup failed: no complete reply in time");
    let error = client
        .describe_disks(&DisksQuery::Where(vec![]), Page::default(), Priority::Reconcile)
        .await
        .unwrap_err();
    assert_eq!(error.class, Class::Unavailable);
    assert_eq!(client.lane(Action::CreateDiskBackup).snapshot().in_flight, 0);
}

fn dated(code: Option<&'static str>, date: &'static str) -> Result<HttpResponse, TransportError> {
    let response = match code {
        Some(code) => json!({"Error": {"Code": code, "Message": ""}}),
        None => json!({"DiskBackupId": "dbp-1"}),
    };
    Ok(HttpResponse { date: Some(date.to_owned()), ..json_reply(&response) })
}

/// An hour after [`NOW`], less the lane's quiet second.
const AN_HOUR_AHEAD: &str = "Tue, 24 Nov 2026 19:30:01 GMT";

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_off_is_corrected_once_within_the_call() {
    let expired = Some("AuthFailure.SignatureExpire");
    let script = Script::default()
        .then(move |_| dated(expired, AN_HOUR_AHEAD))
        .then(move |_| dated(None, AN_HOUR_AHEAD));
    let script = Arc::new(script);
    let client = client(&script);
    assert_eq!(client.server_offset(), None);
    create(&client).await.unwrap();
    create(&client).await.unwrap();
    let timestamps: Vec<i64> = script
        .requests()
        .iter()
        .map(|request| request.header("X-TC-Timestamp").unwrap().parse::<i64>().unwrap() - NOW)
        .collect();
    assert_eq!(timestamps, [1, 3601, 3601]);
    assert_eq!(client.lane(Action::CreateDiskBackup).snapshot().released, 3, "each send takes a turn");
    assert_eq!(client.server_offset().unwrap().as_secs(), 3599);

    client.forget_server_time();
    assert_eq!(client.server_offset(), None);
    create(&client).await.unwrap();
    assert_eq!(script.requests()[3].header("X-TC-Timestamp"), Some(&*(NOW + 1).to_string()));

    let script = Arc::new(Script::default().then(move |_| dated(expired, AN_HOUR_AHEAD)));
    let error = create(&self::client(&script)).await.unwrap_err();
    assert_eq!((error.class, script.requests().len()), (Class::Clock, 2));
}

#[tokio::test(start_paused = true)]
async fn a_date_alone_changes_no_signature() {
    let script = Arc::new(Script::default().then(|_| dated(None, AN_HOUR_AHEAD)));
    let client = client(&script);
    create(&client).await.unwrap();
    create(&client).await.unwrap();
    assert_eq!(script.requests()[1].header("X-TC-Timestamp"), Some(&*(NOW + 1).to_string()));
    assert_eq!(client.server_offset(), Some(SignedDuration::new(3599, 949_000_000)));
}

#[tokio::test(start_paused = true)]
async fn an_expired_signature_without_a_date_is_not_sent_again() {
    let script = Arc::new(Script::default().then_code("AuthFailure.SignatureExpire"));
    let error = create(&client(&script)).await.unwrap_err();
    assert_eq!((error.class, script.requests().len()), (Class::Clock, 1));
}

/// Has another credential once the first was refused, if it has several.
#[derive(Debug)]
struct Renewing(Mutex<Vec<&'static str>>);

impl ProvideCredentials for Renewing {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        let id = self.0.lock().unwrap().last().unwrap().to_string();
        async move { Ok(Credentials::new(id, KEY.into(), None).unwrap()) }.boxed()
    }

    fn refused(&self, credentials: &Credentials) {
        let mut ids = self.0.lock().unwrap();
        if ids.len() > 1 && ids.last() == Some(&credentials.id()) {
            ids.pop();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refused_credential_is_renewed_once_if_there_is_another() {
    for (code, class) in
        [("AuthFailure.TokenFailure", Class::Credentials), ("AuthFailure.SecretIdNotFound", Class::Refused)]
    {
        let with = |script: &Arc<Script>, ids: &[&'static str]| {
            client_with(Arc::clone(script) as _, Arc::new(Renewing(Mutex::new(ids.to_vec()))))
        };
        let ids = |script: &Script| -> Vec<bool> {
            let is_new = |request: &HttpRequest| request.header("Authorization").unwrap().contains("=new/");
            script.requests().iter().map(is_new).collect()
        };
        let script = Arc::new(Script::default().then_code(code).then_json(json!({"DiskBackupId": "dbp-1"})));
        create(&with(&script, &["new", "old"])).await.unwrap();
        assert_eq!(ids(&script), [false, true]);

        let script = Arc::new(Script::default().then_code(code));
        let error = create(&with(&script, &["newer", "new", "old"])).await.unwrap_err();
        assert_eq!((error.class, ids(&script)), (class, vec![false, true]));

        let script = Arc::new(Script::default().then_code(code));
        let error = create(&with(&script, &["old"])).await.unwrap_err();
        assert_eq!((error.class, ids(&script)), (class, vec![false]));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_credential_nothing_is_sent() {
    let script = Arc::new(Script::default());
    let client = client_with(Arc::clone(&script) as _, Arc::new(Environment::new(|_| None)));
    let error = create(&client).await.unwrap_err();
    assert_eq!((error.class, error.sent), (Class::Credentials, crate::Sent::No));
    assert!(error.source().unwrap().to_string().contains("TENCENTCLOUD_SECRET_ID"));
    assert_eq!(client.lane(Action::CreateDiskBackup).snapshot().released, 0);
}

#[tokio::test(start_paused = true)]
async fn a_throttle_slows_the_lane_of_its_action_only() {
    let script = Arc::new(Script::default().then_code("RequestLimitExceeded.UinLimitExceeded"));
    let client = client(&script);
    let error = create(&client).await.unwrap_err();
    assert_eq!((error.class, error.retry_after), (Class::Throttled, Some(Duration::from_secs(2))));
    assert_eq!(client.lane(Action::CreateDiskBackup).snapshot().rate, 10.0);
    assert_eq!(client.lane(Action::DescribeDiskBackups).snapshot().rate, 20.0);
    assert_eq!(client.lane(Action::DescribeDisks).snapshot().rate, 100.0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_of_another_lane_is_refused() {
    let script = Arc::new(Script::default());
    let client = client(&script);
    let permit = client.lane(Action::DescribeDisks).acquire(Priority::Command).await;
    let error = client.create_disk_backup(permit, "disk-1", "n").await.unwrap_err();
    assert_eq!((error.class, error.sent), (Class::NotSent, crate::Sent::No));
}

#[tokio::test(start_paused = true)]
async fn no_secret_is_ever_shown() {
    let script = Script::default().then(|request| {
        let quoted = request.header("X-TC-Token").unwrap();
        let error = json!({"Code": "AuthFailure.TokenFailure", "Message": format!("bad token {quoted}!")});
        Ok(json_reply(&json!({ "Error": error })))
    });
    let script = Arc::new(script);
    let environment = environment(true);
    let client = client_with(Arc::clone(&script) as _, Arc::clone(&environment) as _);
    let error = create(&client).await.unwrap_err();
    let request = script.requests().remove(0);
    let signature = request.header("Authorization").unwrap().rsplit_once('=').unwrap().1.to_owned();
    let credentials = environment.provide().await.unwrap();
    let malformed = Credentials::new("id".into(), format!("{KEY} ").into(), None).unwrap_err();

    let shown = [
        format!("{client:?} {client:#?}"),
        format!("{error} {error:?} {error:#?}"),
        format!("{request:?} {request:#?}"),
        format!("{credentials:?} {credentials:#?}"),
        format!("{environment:?} {malformed} {malformed:?}"),
        format!("{:?} {:?}", client.lane(Action::CreateDiskBackup), client.endpoint()),
    ];
    for text in &shown {
        for secret in [KEY, TOKEN, &signature] {
            assert!(!text.contains(secret), "{text}");
        }
    }
    assert!(error.message.contains("(token)"));
}

#[test]
fn what_the_header_may_not_carry_is_replaced() {
    assert_eq!(header_text("cbs-backupd_1.0 (é)"), "cbs-backupd_1.0 -----".replace("-----", "---"));
    assert_eq!(header_text(&"x".repeat(200)).len(), 128);
}

/// JSON of any shape, fond of the names that replies have.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let name = prop_oneof![
        Just("Error".to_owned()),
        Just("Code".to_owned()),
        Just("DiskBackupId".to_owned()),
        Just("RequestId".to_owned()),
        Just("Response".to_owned()),
        "[A-Za-z]{0,3}",
    ];
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        "[ -~]{0,8}".prop_map(Into::into),
        Just("dbp-1".into()),
        Just("ResourceBusy".into()),
    ];
    leaf.prop_recursive(3, 24, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::btree_map(name.clone(), inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn no_reply_becomes_a_false_success(
        response in any_json(),
        wrapped: bool,
        status in prop_oneof![4 => Just(200_u16), 1 => any::<u16>()],
        cut in 0_usize..200,
        flip: Option<(prop::sample::Index, u8)>,
    ) {
        let body = if wrapped { json!({ "Response": response }) } else { response };
        let mut bytes = body.to_string().into_bytes();
        if cut < 50 {
            bytes.truncate(cut);
        }
        if let Some((index, byte)) = flip && !bytes.is_empty() {
            let index = index.index(bytes.len());
            bytes[index] = byte;
        }
        let bytes = Bytes::from(bytes);
        let read: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
        let reply = HttpResponse { status, body: bytes, ..HttpResponse::default() };
        let result = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap()
            .block_on(async {
                let script = Arc::new(Script::default().then(move |_| Ok(reply.clone())));
                create(&client(&script)).await
            });
        let response = read.as_ref().and_then(|read| read.get("Response"));
        let field = |name| response.and_then(|response| response.get(name));
        let text = |name| field(name).and_then(serde_json::Value::as_str).is_some_and(|text| !text.trim().is_empty());
        let success = status == 200
            && field("Error").is_none_or(serde_json::Value::is_null)
            && text("RequestId")
            && text("DiskBackupId");
        prop_assert_eq!(result.is_ok(), success);
    }
}
