//! The Security Token Service: temporary credentials of a role.
//!
//! Responsible for one request and its answer, and for the one correction of our clock that may come between. Who
//! asks for what belongs to the sources that use it. It refuses to repeat any word in which a secret could stand.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::timeout;

use super::{Credentials, CredentialsError, Issued};
use crate::client::{Clock, Endpoint};
use crate::reply;
use crate::sign;
use crate::transport::{HttpRequest, HttpResponse, Transport};

const SERVICE: &str = "sts";
const VERSION: &str = "2018-08-13";
const CONTENT_TYPE: &str = "application/json";
/// For a whole call.
const TIMEOUT: Duration = Duration::from_secs(10);
const LONGEST_MESSAGE: usize = 300;

/// The service at an endpoint.
#[derive(Clone)]
pub struct Sts {
    transport: Arc<dyn Transport>,
    clock: Arc<dyn Clock>,
    endpoint: Endpoint,
    region: String,
}

/// Why there is no credential.
pub(super) struct Refusal {
    /// The service's code, if it gave one.
    pub(super) code: Option<String>,
    what: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    credentials: Parts,
    expired_time: i64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Parts {
    tmp_secret_id: String,
    tmp_secret_key: SecretString,
    token: SecretString,
}

impl Sts {
    /// Where the service is.
    pub const ENDPOINT: &str = "https://sts.tencentcloudapi.com";
    /// The region of requests that belong to none: the vendor's own clients send this one.
    pub const REGION: &str = "ap-guangzhou";

    /// The service at `endpoint`, asked in [`Sts::REGION`].
    #[must_use]
    pub fn new(transport: Arc<dyn Transport>, clock: Arc<dyn Clock>, endpoint: Endpoint) -> Self {
        Self { transport, clock, endpoint, region: Self::REGION.to_owned() }
    }

    /// The same service, asked in another region.
    #[must_use]
    pub fn region(self, region: impl Into<String>) -> Self {
        Self { region: region.into(), ..self }
    }

    /// Asks for the credential of a role: as `signer`, or unsigned. What `secrets` says is left out of messages.
    pub(super) async fn ask(
        &self,
        action: &'static str,
        parameters: &impl Serialize,
        signer: Option<&Credentials>,
        secrets: &[&str],
    ) -> Result<Issued, Refusal> {
        let body = serde_json::to_vec(parameters).map(Bytes::from).expect("parameters are plain JSON");
        let ours: Timestamp = self.now();
        let mut answer = self.send(action, body.clone(), signer, ours).await?;
        if let (Err(refusal), Some(theirs)) = (read(&answer), reply::server_time(&answer))
            && refusal.code.as_deref() == Some("AuthFailure.SignatureExpire")
        {
            let ahead = theirs.duration_since(ours);
            let corrected = self.now().saturating_add(ahead).unwrap_or(Timestamp::MAX);
            answer = self.send(action, body, signer, corrected).await?;
        }
        read(&answer).map_err(|refusal| refusal.without(secrets))
    }

    async fn send(
        &self,
        action: &'static str,
        body: Bytes,
        signer: Option<&Credentials>,
        at: Timestamp,
    ) -> Result<HttpResponse, Refusal> {
        let sent = self.transport.send(self.request(action, body, signer, at));
        match timeout(TIMEOUT, sent).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(Refusal::because(with_causes(&error))),
            Err(_) => Err(Refusal::because(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    fn request(
        &self,
        action: &'static str,
        body: Bytes,
        signer: Option<&Credentials>,
        at: Timestamp,
    ) -> HttpRequest {
        let signed =
            [("Content-Type", CONTENT_TYPE), ("Host", self.endpoint.host()), ("X-TC-Action", action)];
        let authorization = signer.map_or_else(
            || "SKIP".to_owned(),
            |signer| sign::authorization(signer.id(), signer.key(), SERVICE, at, &signed, &body),
        );
        let mut headers: Vec<_> = signed.map(|(name, value)| (name, value.to_owned())).into();
        headers.extend([
            ("X-TC-Version", VERSION.to_owned()),
            ("X-TC-Region", self.region.clone()),
            ("X-TC-Timestamp", at.as_second().to_string()),
            ("X-TC-Language", "en-US".to_owned()),
            ("X-TC-RequestClient", concat!("cbs-backupd_", env!("CARGO_PKG_VERSION")).to_owned()),
            ("Authorization", authorization),
        ]);
        if let Some(token) = signer.and_then(Credentials::token) {
            headers.push(("X-TC-Token", token.expose_secret().to_owned()));
        }
        HttpRequest { endpoint: self.endpoint.to_string(), headers, body, fresh_connection: false }
    }

    /// A refusal as the error of a source.
    pub(super) fn error(&self, refusal: Refusal) -> CredentialsError {
        CredentialsError::Unavailable { place: self.endpoint.host().to_owned(), what: refusal.what }
    }

    fn now(&self) -> Timestamp {
        self.clock.now().try_into().unwrap_or(Timestamp::MAX)
    }
}

impl fmt::Debug for Sts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.endpoint.host())
    }
}

impl Refusal {
    fn because(what: impl Into<String>) -> Self {
        Self { code: None, what: what.into() }
    }

    fn without(mut self, secrets: &[&str]) -> Self {
        for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
            self.what = self.what.replace(secret, "(token)");
        }
        self.what = self.what.chars().take(LONGEST_MESSAGE).collect();
        self
    }
}

/// Reads an answer. The words of serde are not repeated: they quote what they do not understand.
fn read(answer: &HttpResponse) -> Result<Issued, Refusal> {
    if answer.status != 200 {
        return Err(Refusal::because(format!("status {}", answer.status)));
    }
    let not_expected = || Refusal::because("the reply is not what was asked for");
    let mut body: Value = serde_json::from_slice(&answer.body).map_err(|_| not_expected())?;
    let content = body.get_mut("Response").map(Value::take).ok_or_else(not_expected)?;
    match content.get("Error").filter(|error| !error.is_null()) {
        None => {}
        Some(error) => {
            let text = |key: &str| error.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (code, message) = (text("Code"), text("Message"));
            if code.is_empty() {
                return Err(not_expected());
            }
            return Err(Refusal { what: format!("{code}: {message}"), code: Some(code) });
        }
    }
    let Answer { credentials, expired_time } = serde_json::from_value(content).map_err(|_| not_expected())?;
    let Parts { tmp_secret_id, tmp_secret_key, token } = credentials;
    let expires = Timestamp::from_second(expired_time).map_err(|_| not_expected())?;
    let credentials = Credentials::new(tmp_secret_id, tmp_secret_key, Some(token))
        .map_err(|malformed| Refusal::because(malformed.to_string()))?;
    Ok(Issued { credentials, expires, date: reply::server_time(answer) })
}

/// An error and its causes.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{AssumeRole, Issue, ProvideCredentials, Role, SdkFile, TkeOidc};
    use super::*;
    use crate::testing::{KEY, Script, TOKEN, clock, environment, json_reply};
    use crate::transport::{Failure, TransportError};

    fn good() -> Value {
        json!({
            "Credentials": {"Token": "hunter3", "TmpSecretId": "AKIDtmp", "TmpSecretKey": "hunter2"},
            "ExpiredTime": 1_795_546_800, "Expiration": "2026-11-24T19:00:00Z", "RequestId": "r"
        })
    }

    fn sts(script: &Arc<Script>) -> Sts {
        Sts::new(Arc::clone(script) as _, clock(), Sts::ENDPOINT.parse().unwrap())
    }

    fn role(external_id: Option<&str>) -> Role {
        Role {
            arn: "qcs::cam::uin/100:roleName/backup".to_owned(),
            session_name: "cbs-backupd".to_owned(),
            duration: Duration::from_secs(1_800),
            external_id: external_id.map(str::to_owned),
        }
    }

    fn assume(script: &Arc<Script>) -> AssumeRole {
        AssumeRole::new(environment(true), sts(script), role(Some("of-ours")))
    }

    /// What it comes to, without a secret in it.
    async fn outcome(source: &impl Issue) -> String {
        let text = match source.issue().await {
            Ok(issued) => issued.credentials.id().to_owned(),
            Err(error) => error.to_string(),
        };
        let shown = format!("{text} {source:?}");
        assert!([KEY, TOKEN, "hunter"].iter().all(|secret| !shown.contains(secret)), "{shown}");
        text
    }

    #[tokio::test]
    async fn a_role_is_asked_for_by_a_signed_request_with_the_token_of_its_signer() {
        let script = Arc::new(Script::default().then_json(good()));
        assert_eq!(outcome(&assume(&script)).await, "AKIDtmp");
        let [request] = &script.requests()[..] else { panic!() };
        assert_eq!(request.endpoint, "https://sts.tencentcloudapi.com");
        let header = |name| request.header(name).unwrap_or_default();
        assert!(header("Authorization").contains("Credential=AKIDtest/2026-11-24/sts/tc3_request"));
        assert_eq!((header("X-TC-Token"), header("X-TC-Version")), (TOKEN, "2018-08-13"));
        assert_eq!((header("Host"), header("X-TC-Region")), ("sts.tencentcloudapi.com", "ap-guangzhou"));
        let expected = json!({"RoleArn": "qcs::cam::uin/100:roleName/backup", "RoleSessionName": "cbs-backupd",
            "DurationSeconds": 1_800, "ExternalId": "of-ours"});
        assert_eq!(script.bodies(), [expected]);
        let without = serde_json::to_value(role(None)).unwrap();
        assert!(without.get("ExternalId").is_none(), "a null was sent");
    }

    #[tokio::test]
    async fn our_clock_is_corrected_once() {
        let expired = || {
            let error = json!({"Error": {"Code": "AuthFailure.SignatureExpire", "Message": "m"}});
            let date = Some("Tue, 24 Nov 2026 20:30:00 GMT".to_owned());
            Ok(HttpResponse { date, ..json_reply(&error) })
        };
        let script = Arc::new(Script::default().then(move |_| expired()).then_json(good()));
        assert_eq!(outcome(&assume(&script)).await, "AKIDtmp");
        let stamps: Vec<i64> = script
            .requests()
            .iter()
            .map(|request| request.header("X-TC-Timestamp").unwrap().parse().unwrap())
            .collect();
        assert_eq!(stamps[1] - stamps[0], 7_200);
        let script = Arc::new(Script::default().then(move |_| expired()));
        let refused = "sts.tencentcloudapi.com: AuthFailure.SignatureExpire: m";
        assert_eq!((outcome(&assume(&script)).await.as_str(), script.requests().len()), (refused, 2));
    }

    #[tokio::test]
    async fn a_signer_that_is_refused_is_asked_for_another_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("credentials");
        let write = |id: &str| {
            std::fs::write(&path, format!("[default]\nsecret_id = {id}\nsecret_key = {KEY}\n")).unwrap();
        };
        write("AKIDold");
        let base = Arc::new(SdkFile::first_of([path.clone()]));
        base.provide().await.unwrap();
        // It is still the file's: there is nothing to try again with.
        let script = Arc::new(Script::default().then_code("AuthFailure.TokenFailure"));
        let refused = "sts.tencentcloudapi.com: AuthFailure.TokenFailure: words";
        let source = AssumeRole::new(base.clone(), sts(&script), role(None));
        assert_eq!((outcome(&source).await.as_str(), script.requests().len()), (refused, 1));

        let changes = Script::default().then({
            let path = path.clone();
            move |_| {
                let new = format!("[default]\nsecret_id = AKIDbrandnew\nsecret_key = {KEY}\n");
                std::fs::write(&path, new).unwrap();
                Ok(json_reply(&json!({"Error": {"Code": "AuthFailure.TokenFailure", "Message": "m"}})))
            }
        });
        let script = Arc::new(changes.then_json(good()));
        let source = AssumeRole::new(base, sts(&script), role(None));
        assert_eq!(outcome(&source).await, "AKIDtmp");
        assert!(script.requests()[1].header("Authorization").unwrap().contains("AKIDbrandnew"));
    }

    #[tokio::test]
    async fn what_is_no_credential_is_said_without_a_secret() {
        let mut keyless = good();
        keyless["Credentials"]["TmpSecretKey"] = json!(["hunter2"]);
        let mut spaced = good();
        spaced["Credentials"]["TmpSecretKey"] = "hunter 2".into();
        let quoted =
            json!({"Error": {"Code": "UnauthorizedOperation", "Message": format!("not with {TOKEN}")}});
        let host = "sts.tencentcloudapi.com";
        for (response, expected) in [
            (keyless, format!("{host}: the reply is not what was asked for")),
            (json!({}), format!("{host}: the reply is not what was asked for")),
            (json!({"Error": "hunter2"}), format!("{host}: the reply is not what was asked for")),
            (spaced, format!("{host}: the secret key contains white space")),
            (quoted, format!("{host}: UnauthorizedOperation: not with (token)")),
        ] {
            let script = Arc::new(Script::default().then_json(response));
            assert_eq!(outcome(&assume(&script)).await, expected);
        }
        let gateway = Script::default().then(|_| Ok(HttpResponse { status: 502, ..HttpResponse::default() }));
        assert_eq!(outcome(&assume(&Arc::new(gateway))).await, format!("{host}: status 502"));
        let nobody = Script::default().then(|_| Err(TransportError::because(Failure::Connect, "refused")));
        assert_eq!(outcome(&assume(&Arc::new(nobody))).await, format!("{host}: no connection: refused"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_says_nothing_is_not_waited_for() {
        let sts = Sts::new(Arc::new(crate::testing::Silence), clock(), Sts::ENDPOINT.parse().unwrap());
        let source = AssumeRole::new(environment(true), sts, role(None));
        assert_eq!(outcome(&source).await, "sts.tencentcloudapi.com: no answer within 10 s");
    }

    #[tokio::test]
    async fn a_workloads_token_is_read_anew_each_time_and_goes_unsigned() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let at = path.display().to_string();
        let lookup = |missing: &'static str| {
            let at = at.clone();
            move |name: &str| match name {
                _ if name == missing || missing == "all" => None,
                "TKE_REGION" => Some("ap-shanghai".to_owned()),
                "TKE_PROVIDER_ID" => Some("cls-1".to_owned()),
                "TKE_ROLE_ARN" => Some("qcs::cam::uin/100:roleName/pod".to_owned()),
                "TKE_WEB_IDENTITY_TOKEN_FILE" => Some(at.clone()),
                _ => None,
            }
        };
        let quoted =
            json!({"Error": {"Code": "InvalidParameter.WebIdentityTokenError", "Message": "hunter6!"}});
        let script = Arc::new(Script::default().then_json(good()).then_json(good()).then_json(quoted));
        let hour = Duration::from_secs(3_600);
        let source = |missing| TkeOidc::new(sts(&script), "pod-1", hour, lookup(missing));
        let pod = source("");
        for token in ["hunter4", "hunter5"] {
            std::fs::write(&path, format!("{token}\n")).unwrap();
            assert_eq!(outcome(&pod).await, "AKIDtmp");
        }
        let request = &script.requests()[0];
        assert_eq!(request.header("Authorization"), Some("SKIP"));
        assert_eq!(request.header("X-TC-Region"), Some("ap-shanghai"));
        assert_eq!(request.header("X-TC-Token"), None);
        let bodies = script.bodies();
        let expected = json!({"ProviderId": "cls-1", "WebIdentityToken": "hunter4",
            "RoleArn": "qcs::cam::uin/100:roleName/pod", "RoleSessionName": "pod-1", "DurationSeconds": 3_600});
        assert_eq!((&bodies[0], &bodies[1]["WebIdentityToken"]), (&expected, &json!("hunter5")));

        std::fs::write(&path, "hunter6").unwrap();
        let said = "sts.tencentcloudapi.com: InvalidParameter.WebIdentityTokenError: (token)!";
        assert_eq!(outcome(&pod).await, said);
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(outcome(&pod).await, format!("{at}: it is empty"));
        assert_eq!(
            outcome(&source("TKE_ROLE_ARN")).await,
            "the environment: TKE_REGION, TKE_PROVIDER_ID, TKE_WEB_IDENTITY_TOKEN_FILE is set, TKE_ROLE_ARN is not"
        );
        let error = source("all").issue().await.unwrap_err();
        assert!(matches!(error, CredentialsError::NotConfigured { .. }), "{error}");
    }

    #[test]
    fn refresh_points() {
        let script = Arc::new(Script::default());
        let tke = TkeOidc::new(sts(&script), "s", Duration::from_secs(7_200), |_| None);
        let left = |source: &dyn Issue, minutes: u64| {
            source.margin(Duration::from_secs(minutes * 60)).as_secs() / 60
        };
        assert_eq!((left(&tke, 120), left(&tke, 30), left(&tke, 9)), (12, 5, 3));
        assert_eq!((left(&assume(&script), 120), left(&assume(&script), 30)), (60, 15));
    }
}
