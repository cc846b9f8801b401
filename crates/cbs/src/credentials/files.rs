//! What the sources that read files share.
//!
//! Responsible for reading files again when they have changed and only then, and for keeping what was read last
//! where they can no longer be read or make no sense: someone may be writing them. It refuses to know what stands in
//! them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use zeroize::Zeroizing;

use super::{Credentials, CredentialsError};

/// What tells one content of a file from another without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) path: PathBuf,
    modified: Option<SystemTime>,
    len: u64,
}

/// The version of a file, if it is there.
pub(super) async fn version(path: &Path) -> Result<Option<Version>, CredentialsError> {
    match tokio::fs::metadata(path).await {
        Ok(meta) => {
            Ok(Some(Version { path: path.to_owned(), modified: meta.modified().ok(), len: meta.len() }))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(unreadable(path, error)),
    }
}

/// The text of a file.
pub(super) async fn text(path: &Path) -> Result<Zeroizing<String>, CredentialsError> {
    let read = tokio::fs::read_to_string(path).await;
    read.map(Zeroizing::new).map_err(|error| unreadable(path, error))
}

fn unreadable(path: &Path, source: io::Error) -> CredentialsError {
    CredentialsError::Unreadable { path: path.to_owned(), source }
}

/// What is wrong in a file.
pub(super) fn invalid(path: &Path, what: impl ToString) -> CredentialsError {
    CredentialsError::Invalid { place: path.display().to_string(), what: what.to_string() }
}

/// The credential that was read last, and from which versions of which files.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Option<(Vec<Version>, Credentials)>>);

impl Kept {
    /// The credential that is in these files: what was kept, if they are still those; what `parse` makes of their
    /// texts, if not. Files that change while they are read are not taken for one credential.
    pub(super) async fn read(
        &self,
        found: Result<Vec<Version>, CredentialsError>,
        parse: impl FnOnce(&[Zeroizing<String>]) -> Result<Credentials, CredentialsError>,
    ) -> Result<Credentials, CredentialsError> {
        let kept = self.kept().clone();
        match (load(found, kept.as_ref(), parse).await, kept) {
            (Ok(read), _) => {
                let credentials = read.1.clone();
                *self.kept() = Some(read);
                Ok(credentials)
            }
            (Err(_), Some((_, credentials))) => Ok(credentials),
            (Err(error), None) => Err(error),
        }
    }

    /// The cloud refused this credential: what is in the files counts, and nothing else.
    pub(super) fn forget(&self, refused: &Credentials) {
        self.kept().take_if(|(_, credentials)| credentials.is(refused));
    }

    fn kept(&self) -> MutexGuard<'_, Option<(Vec<Version>, Credentials)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn load(
    found: Result<Vec<Version>, CredentialsError>,
    kept: Option<&(Vec<Version>, Credentials)>,
    parse: impl FnOnce(&[Zeroizing<String>]) -> Result<Credentials, CredentialsError>,
) -> Result<(Vec<Version>, Credentials), CredentialsError> {
    let versions = found?;
    if let Some(kept) = kept.filter(|(known, _)| *known == versions) {
        return Ok(kept.clone());
    }
    let mut texts = Vec::with_capacity(versions.len());
    for file in &versions {
        texts.push(text(&file.path).await?);
    }
    for file in &versions {
        if version(&file.path).await?.as_ref() != Some(file) {
            return Err(invalid(&file.path, "it changed while it was read"));
        }
    }
    let credentials = parse(&texts)?;
    Ok((versions, credentials))
}
