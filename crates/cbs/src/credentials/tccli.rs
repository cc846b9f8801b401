//! Credentials from a profile of the vendor's command line.

use std::path::PathBuf;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::files::{self, Kept};
use super::{Credentials, CredentialsError, ProvideCredentials};

/// `~/.tccli/PROFILE.credential`, JSON with `secretId`, `secretKey` and perhaps `token`.
///
/// It is read again when it has changed. A profile of a login (`tccli auth login`, `tccli sso login`) ends after hours,
/// and only `tccli` itself renews it, when it is used: such a one is for a person who tries something.
#[derive(Debug)]
pub struct Tccli {
    path: Option<PathBuf>,
    kept: Kept,
}

#[derive(Deserialize)]
struct Content {
    #[serde(default)]
    r#type: Option<String>,
    #[serde(rename = "secretId", default)]
    id: Option<String>,
    #[serde(rename = "secretKey", default)]
    key: Option<String>,
    #[serde(default)]
    token: Option<String>,
}

impl Tccli {
    /// The profile in this file.
    #[must_use]
    pub fn file(path: PathBuf) -> Self {
        Self { path: Some(path), kept: Kept::default() }
    }

    /// The profile of this name, or the one that the command line takes without one: `$TCCLI_PROFILE`, or `default`.
    /// `lookup` finds variables of the environment.
    #[must_use]
    pub fn profile(name: Option<&str>, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name| lookup(name).filter(|value| !value.is_empty());
        let name = name.map(str::to_owned).or_else(|| set("TCCLI_PROFILE"));
        let name = name.as_deref().unwrap_or("default");
        let path = set("HOME").map(|home| PathBuf::from(home).join(format!(".tccli/{name}.credential")));
        Self { path, kept: Kept::default() }
    }

    async fn read(&self) -> Result<Credentials, CredentialsError> {
        let Some(path) = &self.path else {
            let looked_for = "a profile of tccli (HOME is not set)".to_owned();
            return Err(CredentialsError::NotConfigured { looked_for });
        };
        let found = files::version(path).await.and_then(|found| {
            let looked_for = format!("the file {}", path.display());
            found.map(|found| vec![found]).ok_or(CredentialsError::NotConfigured { looked_for })
        });
        self.kept
            .read(found, |texts| {
                let text = texts.first().map_or("", |text| text.as_str());
                parse(text).map_err(|what| files::invalid(path, what))
            })
            .await
    }
}

impl ProvideCredentials for Tccli {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        self.read().boxed()
    }

    fn refused(&self, credentials: &Credentials) {
        self.kept.forget(credentials);
    }
}

/// Reads a profile. Says what is wrong as a fragment that shows no value: the words of serde would.
fn parse(text: &str) -> Result<Credentials, String> {
    let content: Content = serde_json::from_str(text).map_err(|error| match error.classify() {
        serde_json::error::Category::Data => "not what tccli writes: a value of another kind".to_owned(),
        kind => format!("not JSON ({kind:?}, line {})", error.line()),
    })?;
    let key = content.key.map(Zeroizing::new);
    if content.r#type.as_deref() == Some("cvm-role") {
        return Err("the profile takes the role of the machine; expected `source: cvm-role`".to_owned());
    }
    let id = content.id.ok_or("it has no secretId")?;
    let key = key.ok_or("it has no secretKey")?;
    let token = content.token.filter(|token| !token.is_empty());
    Credentials::new(id, key.as_str().into(), token.map(Into::into))
        .map_err(|malformed| malformed.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret;

    use super::*;

    #[tokio::test]
    async fn the_profile_is_found_and_read_again_when_it_changes() {
        let home = tempfile::tempdir().unwrap();
        let at_home = home.path().display().to_string();
        let lookup = |name: &str| match name {
            "HOME" => Some(at_home.clone()),
            "TCCLI_PROFILE" => Some("ops".to_owned()),
            _ => None,
        };
        let path = home.path().join(".tccli/ops.credential");
        let source = Tccli::profile(None, lookup);
        let error = source.provide().await.unwrap_err();
        assert!(matches!(error, CredentialsError::NotConfigured { .. }));
        assert_eq!(error.to_string(), format!("no credential found: looked for the file {}", path.display()));

        fs::create_dir(path.parent().unwrap()).unwrap();
        fs::write(&path, r#"{"secretId": "one", "secretKey": "k", "token": null}"#).unwrap();
        let first = source.provide().await.unwrap();
        assert_eq!((first.id(), first.key().expose_secret(), first.token().is_none()), ("one", "k", true));
        fs::write(
            &path,
            r#"{"type": "oauth", "secretId": "two", "secretKey": "k", "token": "t", "expiresAt": 1}"#,
        )
        .unwrap();
        let second = source.provide().await.unwrap();
        assert_eq!((second.id(), second.token().unwrap().expose_secret()), ("two", "t"));
        // Half written.
        fs::write(&path, r#"{"secretId": "#).unwrap();
        assert_eq!(source.provide().await.unwrap().id(), "two");
        source.refused(&second);
        let error = source.provide().await.unwrap_err().to_string();
        assert_eq!(error, format!("{}: not JSON (Eof, line 1)", path.display()));

        assert_eq!(
            Tccli::profile(Some("x"), |_| None).provide().await.unwrap_err().to_string(),
            "no credential found: looked for a profile of tccli (HOME is not set)"
        );
    }

    #[test]
    fn what_is_wrong_is_said_without_a_value() {
        let wrong = |text| parse(text).unwrap_err();
        assert_eq!(wrong(r#"{"secretId": "i"}"#), "it has no secretKey");
        assert_eq!(wrong(r#"{"secretKey": "hunter2"}"#), "it has no secretId");
        assert_eq!(
            wrong(r#"{"secretId": "i", "secretKey": ["hunter2"]}"#),
            "not what tccli writes: a value of another kind"
        );
        assert_eq!(
            wrong(r#"{"secretId": "i", "secretKey": "hunter 2"}"#),
            "the secret key contains white space"
        );
        assert_eq!(
            wrong(r#"{"type": "cvm-role"}"#),
            "the profile takes the role of the machine; expected `source: cvm-role`"
        );
    }
}
