//! Credentials from the file that the vendor's SDKs read.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use super::files::{self, Kept};
use super::{Credentials, CredentialsError, ProvideCredentials};

/// The SDKs' ini file: `secret_id`, `secret_key` and optionally `token` in a section.
///
/// It is read again when it has changed. A file that can no longer be read, or says nothing sensible (someone may
/// be writing it), leaves what was read before in force until the cloud refuses that.
#[derive(Debug)]
pub struct SdkFile {
    paths: Vec<PathBuf>,
    section: String,
    kept: Kept,
}

impl SdkFile {
    /// The section `default` of the first of these files that exists.
    #[must_use]
    pub fn first_of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        Self { paths: paths.into_iter().collect(), section: "default".to_owned(), kept: Kept::default() }
    }

    /// The same files, another section.
    #[must_use]
    pub fn section(self, section: impl Into<String>) -> Self {
        Self { section: section.into(), ..self }
    }

    /// Where the SDKs look: `$TENCENTCLOUD_CREDENTIALS_FILE`, `~/.tencentcloud/credentials` and
    /// `/etc/tencentcloud/credentials`; `lookup` finds variables of the environment.
    #[must_use]
    pub fn usual_paths(lookup: impl Fn(&str) -> Option<String>) -> Vec<PathBuf> {
        let set = |name| lookup(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        [
            set("TENCENTCLOUD_CREDENTIALS_FILE"),
            set("HOME").map(|home| home.join(".tencentcloud/credentials")),
            Some(PathBuf::from("/etc/tencentcloud/credentials")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    async fn read(&self) -> Result<Credentials, CredentialsError> {
        let found = self.find().await;
        let path = found.as_ref().ok().and_then(|found| found.first()).map(|found| found.path.clone());
        let path = path.unwrap_or_default();
        self.kept
            .read(found, |texts| {
                let text = texts.first().map_or("", |text| text.as_str());
                parse(text, &self.section).map_err(|what| files::invalid(&path, what))
            })
            .await
    }

    async fn find(&self) -> Result<Vec<files::Version>, CredentialsError> {
        for path in &self.paths {
            if let Some(found) = files::version(path).await? {
                return Ok(vec![found]);
            }
        }
        Err(CredentialsError::NotConfigured { looked_for: listed(&self.paths) })
    }
}

impl ProvideCredentials for SdkFile {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        self.read().boxed()
    }

    fn refused(&self, credentials: &Credentials) {
        self.kept.forget(credentials);
    }
}

fn listed(paths: &[PathBuf]) -> String {
    let mut text = String::from("the file");
    for (index, path) in paths.iter().map(|path| Path::display(path)).enumerate() {
        let joint = if index == 0 { "" } else { " or" };
        let _ = write!(text, "{joint} {path}");
    }
    text
}

/// Reads a section. Says what is wrong as a fragment that shows no value.
fn parse(text: &str, section: &str) -> Result<Credentials, String> {
    let (mut id, mut key, mut token) = (None, None, None);
    let mut within = None;
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            within = Some(name.trim());
        } else if within == Some(section)
            && !line.starts_with(['#', ';'])
            && let Some((name, value)) = line.split_once(['=', ':'])
        {
            let value = Some(value.trim().to_owned());
            match &*name.trim().to_lowercase() {
                "secret_id" => id = value,
                "secret_key" => key = value,
                "token" => token = value.filter(|token| !token.is_empty()),
                _ => {}
            }
        }
    }
    let lacks = |name| format!("the section [{section}] has no {name}");
    let id = id.ok_or_else(|| lacks("secret_id"))?;
    let key = key.ok_or_else(|| lacks("secret_key"))?;
    Credentials::new(id, key.into(), token.map(Into::into))
        .map_err(|malformed| format!("{malformed} in the section [{section}]"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::SystemTime;

    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_section_is_read_among_others_and_comments() {
        let text = "# mine\n[other]\nsecret_id = no\n\n[default]\r\nSecret_Id = AKID1\n; note = x\nregion = y\nsecret_key: a=b:c\n[z]\nsecret_key=no";
        let read = parse(text, "default").unwrap();
        assert_eq!((read.id(), read.key().expose_secret()), ("AKID1", "a=b:c"));
        assert!(read.token().is_none());
        let temporary = parse("[p]\nsecret_id=i\nsecret_key=k\ntoken=t", "p").unwrap();
        assert_eq!(temporary.token().unwrap().expose_secret(), "t");
    }

    #[test]
    fn what_is_wrong_is_said_without_the_key() {
        let wrong = |text| parse(text, "default").unwrap_err();
        assert_eq!(wrong(""), "the section [default] has no secret_id");
        assert_eq!(wrong("secret_id = outside"), "the section [default] has no secret_id");
        assert_eq!(wrong("[default]\nsecret_id = i"), "the section [default] has no secret_key");
        assert_eq!(
            wrong("[default]\nsecret_id = i\nsecret_key = hunter 2"),
            "the secret key contains white space in the section [default]"
        );
    }

    #[test]
    fn the_usual_places() {
        let paths = SdkFile::usual_paths(|name| (name == "HOME").then(|| "/home/ops".to_owned()));
        assert_eq!(
            listed(&paths),
            "the file /home/ops/.tencentcloud/credentials or /etc/tencentcloud/credentials"
        );
    }

    #[tokio::test]
    async fn a_file_is_read_once_for_each_of_its_versions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("credentials");
        let source = SdkFile::first_of([path.clone()]).section("ops");
        let write = |id: &str, modified| {
            fs::write(&path, format!("[ops]\nsecret_id = {id}\nsecret_key = k")).unwrap();
            fs::File::options().append(true).open(&path).unwrap().set_modified(modified).unwrap();
        };
        let second = |seconds| SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        write("one", second(1));
        assert_eq!(source.provide().await.unwrap().id(), "one");
        write("two", second(1));
        assert_eq!(source.provide().await.unwrap().id(), "one", "it was read without a need");
        write("two", second(2));
        assert_eq!(source.provide().await.unwrap().id(), "two");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named_and_the_next_one_is_not_taken() {
        let dir = tempfile::tempdir().unwrap();
        let good = dir.path().join("credentials");
        fs::write(&good, "[default]\nsecret_id = i\nsecret_key = k").unwrap();
        for unreadable in [dir.path().to_owned(), good.join("below-a-file")] {
            let error = SdkFile::first_of([unreadable.clone(), good.clone()]).provide().await.unwrap_err();
            assert!(matches!(error, CredentialsError::Unreadable { .. }), "{error:?}");
            assert_eq!(error.to_string(), format!("could not read {}", unreadable.display()));
        }
    }

    #[tokio::test]
    async fn a_changed_file_is_read_again_and_a_broken_one_only_once_the_cloud_refused() {
        let dir = tempfile::tempdir().unwrap();
        let (absent, path) = (dir.path().join("absent"), dir.path().join("credentials"));
        let source = SdkFile::first_of([absent, path.clone()]);
        let error = source.provide().await.unwrap_err();
        assert!(error.to_string().contains("absent or "), "{error}");

        fs::write(&path, "[default]\nsecret_id = one\nsecret_key = k").unwrap();
        let first = source.provide().await.unwrap();
        assert_eq!(first.id(), "one");
        fs::write(&path, "[default]\nsecret_id = three\nsecret_key = k").unwrap();
        let second = source.provide().await.unwrap();
        assert_eq!(second.id(), "three");

        fs::write(&path, "[default]\n").unwrap();
        assert_eq!(source.provide().await.unwrap().id(), "three");
        source.refused(&first);
        assert_eq!(source.provide().await.unwrap().id(), "three", "another credential was refused");
        source.refused(&second);
        let error = source.provide().await.unwrap_err();
        assert_eq!(error.to_string(), format!("{}: the section [default] has no secret_id", path.display()));
    }
}
