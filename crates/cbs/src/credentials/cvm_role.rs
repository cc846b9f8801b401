//! The credential of the role that is bound to this machine.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::timeout;

use super::sts::with_causes;
use super::{Credentials, CredentialsError, Issue, Issued};
use crate::client::Endpoint;
use crate::reply;
use crate::transport::{Fetch, HttpResponse};

const PATH: &str = "/latest/meta-data/cam/security-credentials/";
/// For each question: the service is on this machine's own host, or is not there at all.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The role of a cloud machine (CVM), from its metadata service. Renewed when five minutes are left, or half of what
/// was left when it was read, if that is less: the service may go on giving the same credential for a while.
#[derive(Debug)]
pub struct CvmRole {
    fetch: Arc<dyn Fetch>,
    endpoint: Endpoint,
    role: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    tmp_secret_id: Option<String>,
    tmp_secret_key: Option<SecretString>,
    token: Option<SecretString>,
    expired_time: Option<i64>,
    code: Option<String>,
}

impl CvmRole {
    /// Where the service is.
    pub const ENDPOINT: &str = "http://metadata.tencentyun.com";

    /// The role of this name, or the one that the service names.
    #[must_use]
    pub fn new(fetch: Arc<dyn Fetch>, endpoint: Endpoint, role: Option<String>) -> Self {
        Self { fetch, endpoint, role }
    }

    async fn ask(&self) -> Result<Issued, CredentialsError> {
        let role = match &self.role {
            Some(role) => role.clone(),
            None => self.ask_name().await?,
        };
        let answer = self.get(&role).await?;
        match answer.status {
            200 => read(&answer).map_err(|what| self.unavailable(what)),
            404 => Err(self.unavailable(format!("this machine has no role `{role}`"))),
            status => Err(self.unavailable(format!("status {status}"))),
        }
    }

    async fn ask_name(&self) -> Result<String, CredentialsError> {
        let answer = self.get("").await?;
        match answer.status {
            200 => name(&answer.body).ok_or_else(|| self.unavailable("the name of the role is not one")),
            404 => Err(CredentialsError::NotConfigured { looked_for: "a role of this machine".to_owned() }),
            status => Err(self.unavailable(format!("status {status}"))),
        }
    }

    async fn get(&self, role: &str) -> Result<HttpResponse, CredentialsError> {
        let url = format!("{}{PATH}{role}", self.endpoint);
        match timeout(TIMEOUT, self.fetch.get(url)).await {
            Ok(answer) => answer.map_err(|error| self.unavailable(with_causes(&error))),
            Err(_) => Err(self.unavailable(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    fn unavailable(&self, what: impl Into<String>) -> CredentialsError {
        CredentialsError::Unavailable { place: self.endpoint.host().to_owned(), what: what.into() }
    }
}

impl Issue for CvmRole {
    fn issue(&self) -> BoxFuture<'_, Result<Issued, CredentialsError>> {
        self.ask().boxed()
    }

    fn margin(&self, life: Duration) -> Duration {
        Duration::from_secs(300).min(life / 2)
    }
}

/// A name that may stand in a path.
fn name(body: &Bytes) -> Option<String> {
    let name = std::str::from_utf8(body).ok()?.trim();
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"+=,.@-_".contains(&byte);
    let good = (1..=128).contains(&name.len()) && name.bytes().all(fits) && name != "." && name != "..";
    good.then(|| name.to_owned())
}

/// Reads an answer. Says what is wrong as a fragment that shows no value: the words of serde would.
fn read(answer: &HttpResponse) -> Result<Issued, String> {
    let not_expected = || "the answer is not what was asked for".to_owned();
    let read: Answer = serde_json::from_slice(&answer.body).map_err(|_| not_expected())?;
    if read.code.as_deref() != Some("Success") {
        let code: String = read.code.unwrap_or_default().chars().take(60).collect();
        return Err(format!("there is no credential (`{code}`)"));
    }
    let (Some(id), Some(key), Some(token), Some(expires)) =
        (read.tmp_secret_id, read.tmp_secret_key, read.token, read.expired_time)
    else {
        return Err(not_expected());
    };
    let expires = Timestamp::from_second(expires).map_err(|_| not_expected())?;
    let credentials = Credentials::new(id, key, Some(token)).map_err(|malformed| malformed.to_string())?;
    Ok(Issued { credentials, expires, date: reply::server_time(answer) })
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::{pending, ready};
    use secrecy::ExposeSecret;

    use super::*;
    use crate::transport::TransportError;

    /// Answers a path with what it says for it, and notes what was asked.
    #[derive(Debug, Default)]
    struct Service {
        /// Ends of paths, each with status and body; a path that is not here gets no answer at all.
        answers: Vec<(&'static str, u16, &'static str)>,
        asked: Mutex<Vec<String>>,
    }

    impl Fetch for Service {
        fn get(&self, url: String) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
            self.asked.lock().unwrap().push(url.clone());
            let Some((_, status, body)) = self.answers.iter().find(|(end, ..)| url.ends_with(end)) else {
                return pending().boxed();
            };
            let date = Some("Tue, 24 Nov 2026 18:30:00 GMT".to_owned());
            let body = (*body).into();
            ready(Ok(HttpResponse { status: *status, date, body, ..HttpResponse::default() })).boxed()
        }
    }

    const GOOD: &str = r#"{"TmpSecretId": "AKIDtmp", "TmpSecretKey": "hunter2", "Token": "hunter3",
        "ExpiredTime": 1795546800, "Expiration": "2026-11-24T19:00:00Z", "Code": "Success"}"#;

    async fn ask(
        answers: Vec<(&'static str, u16, &'static str)>,
        role: Option<&str>,
    ) -> (Result<Issued, String>, Vec<String>) {
        let service = Arc::new(Service { answers, ..Service::default() });
        let endpoint = CvmRole::ENDPOINT.parse().unwrap();
        let source = CvmRole::new(service.clone(), endpoint, role.map(str::to_owned));
        let answer = source.issue().await.map_err(|error| {
            let text = error.to_string();
            assert!(!format!("{text} {error:?}").contains("hunter"), "{text}");
            text
        });
        let asked = service.asked.lock().unwrap();
        (answer, asked.iter().map(|url| url.strip_prefix(CvmRole::ENDPOINT).unwrap().to_owned()).collect())
    }

    #[tokio::test]
    async fn the_role_is_asked_for_unless_it_is_known() {
        let (answer, asked) = ask(vec![("/", 200, "backup-role\n"), ("/backup-role", 200, GOOD)], None).await;
        assert_eq!(asked, [PATH.to_owned(), format!("{PATH}backup-role")]);
        let issued = answer.unwrap();
        assert_eq!(issued.credentials.id(), "AKIDtmp");
        assert_eq!(issued.credentials.key().expose_secret(), "hunter2");
        assert_eq!(issued.credentials.token().unwrap().expose_secret(), "hunter3");
        assert_eq!(issued.expires.duration_since(issued.date.unwrap()).as_secs(), 1_800);
        let (answer, asked) = ask(vec![("/known", 200, GOOD)], Some("known")).await;
        assert_eq!((answer.is_ok(), asked), (true, vec![format!("{PATH}known")]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_credential_is_said_without_a_value() {
        let role = Some("r");
        for (answers, role, expected) in [
            (vec![("/", 404, "")], None, "no credential found: looked for a role of this machine"),
            (vec![("/r", 404, "")], role, "metadata.tencentyun.com: this machine has no role `r`"),
            (vec![("/r", 502, "<html>")], role, "metadata.tencentyun.com: status 502"),
            (vec![("/", 302, "")], None, "metadata.tencentyun.com: status 302"),
            (
                vec![("/", 200, "<html>hunter2</html>")],
                None,
                "metadata.tencentyun.com: the name of the role is not one",
            ),
            (vec![("/", 200, "..")], None, "metadata.tencentyun.com: the name of the role is not one"),
            (
                vec![("/r", 200, r#"{"Code": "InternalError"}"#)],
                role,
                "metadata.tencentyun.com: there is no credential (`InternalError`)",
            ),
            (
                vec![("/r", 200, r#"{"Code": "Success", "TmpSecretKey": ["hunter2"]}"#)],
                role,
                "metadata.tencentyun.com: the answer is not what was asked for",
            ),
            (
                vec![("/r", 200, r#"{"Code": "Success", "TmpSecretKey": "hunter2"}"#)],
                role,
                "metadata.tencentyun.com: the answer is not what was asked for",
            ),
            (vec![], None, "metadata.tencentyun.com: no answer within 2 s"),
        ] {
            assert_eq!(ask(answers, role).await.0.unwrap_err(), expected);
        }
    }
}
