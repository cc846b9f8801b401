//! Credentials that systemd hands to its service.

use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::files::{self, Kept, Version};
use super::{Credentials, CredentialsError, ProvideCredentials};

/// The files `secret_id`, `secret_key` and, for a temporary one, `token` in `$CREDENTIALS_DIRECTORY`, each holding the
/// bare value: what `LoadCredential=secret_id:/path` and `LoadCredentialEncrypted=` put there. A prefix in front of all
/// three names tells several credentials apart.
///
/// White space around a value is left out, for editors end files with a line break.
#[derive(Debug)]
pub struct Systemd {
    directory: Option<PathBuf>,
    prefix: String,
    kept: Kept,
}

impl Systemd {
    /// The files of this prefix; `lookup` finds variables of the environment.
    #[must_use]
    pub fn new(prefix: impl Into<String>, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let directory = lookup("CREDENTIALS_DIRECTORY").filter(|value| !value.is_empty()).map(PathBuf::from);
        Self { directory, prefix: prefix.into(), kept: Kept::default() }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join(format!("{}{name}", self.prefix)))
    }

    async fn read(&self) -> Result<Credentials, CredentialsError> {
        let paths = (self.path("secret_id"), self.path("secret_key"), self.path("token"));
        let (Some(id), Some(key), Some(token)) = paths else {
            let looked_for = "credentials of systemd (CREDENTIALS_DIRECTORY is not set)".to_owned();
            return Err(CredentialsError::NotConfigured { looked_for });
        };
        let found = find(&id, &key, &token).await;
        self.kept
            .read(found, |texts| {
                let value = |index: usize| texts.get(index).map(|text| text.trim().to_owned());
                let (id_value, key_value) = (value(0).unwrap_or_default(), value(1).unwrap_or_default());
                Credentials::new(id_value, key_value.into(), value(2).map(Into::into))
                    .map_err(|malformed| files::invalid(id.parent().unwrap_or(&id), malformed))
            })
            .await
    }
}

async fn find(id: &Path, key: &Path, token: &Path) -> Result<Vec<Version>, CredentialsError> {
    let found = (files::version(id).await?, files::version(key).await?);
    let (found_id, found_key) = match found {
        (Some(id), Some(key)) => (id, key),
        (None, None) => {
            let looked_for = format!("the files {} and {}", id.display(), key.display());
            return Err(CredentialsError::NotConfigured { looked_for });
        }
        (Some(_), None) => return Err(files::invalid(key, format!("it is not there, {} is", id.display()))),
        (None, Some(_)) => return Err(files::invalid(id, format!("it is not there, {} is", key.display()))),
    };
    let token = files::version(token).await?;
    Ok([found_id, found_key].into_iter().chain(token).collect())
}

impl ProvideCredentials for Systemd {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        self.read().boxed()
    }

    fn refused(&self, credentials: &Credentials) {
        self.kept.forget(credentials);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use secrecy::ExposeSecret;

    use super::*;

    #[tokio::test]
    async fn three_files_are_one_credential() {
        let folder = tempfile::tempdir().unwrap();
        let directory = folder.path().display().to_string();
        let lookup = |name: &str| (name == "CREDENTIALS_DIRECTORY").then(|| directory.clone());
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
        let source = Systemd::new("prod-", lookup);
        let error = source.provide().await.unwrap_err();
        assert!(matches!(error, CredentialsError::NotConfigured { .. }), "{error:?}");

        write("prod-secret_id", "AKIDone\n");
        let error = source.provide().await.unwrap_err().to_string();
        assert_eq!(
            error,
            format!("{directory}/prod-secret_key: it is not there, {directory}/prod-secret_id is")
        );
        write("prod-secret_key", "hunter2\n");
        write("secret_id", "another");
        let bare = source.provide().await.unwrap();
        assert_eq!((bare.id(), bare.key().expose_secret()), ("AKIDone", "hunter2"));
        assert!(bare.token().is_none());

        write("prod-token", "its-token\n");
        let temporary = source.provide().await.unwrap();
        assert_eq!(temporary.token().unwrap().expose_secret(), "its-token");

        write("prod-secret_key", "hunter 2");
        assert!(source.provide().await.unwrap().is(&temporary), "half a credential was taken");
        source.refused(&temporary);
        let error = source.provide().await.unwrap_err().to_string();
        assert_eq!(error, format!("{directory}: the secret key contains white space"));
    }

    #[tokio::test]
    async fn without_systemd_there_is_none() {
        let error = Systemd::new("", |_| None).provide().await.unwrap_err();
        assert!(matches!(error, CredentialsError::NotConfigured { .. }));
    }
}
