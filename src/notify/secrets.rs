//! Secrets of notifiers: read when they are needed, shown to nobody.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reqwest::Url;
use secrecy::SecretString;

use super::Undelivered;
use crate::config::Secret;

/// Reads a secret from where it is.
pub(super) async fn read(
    secret: &Secret,
    environment: &BTreeMap<String, String>,
) -> Result<SecretString, Undelivered> {
    match secret {
        Secret::Here(text) => Ok(text.clone()),
        Secret::File(path) => file(path).await,
        Secret::Variable(name) => {
            let value = environment.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
            value.map(SecretString::from).ok_or_else(|| {
                Undelivered(format!("the environment has no variable {name}, or an empty one"))
            })
        }
        Secret::Credential(name) => {
            let folder = environment.get("CREDENTIALS_DIRECTORY").ok_or_else(|| {
                Undelivered(format!("systemd hands no credentials to this process, and {name} is to be one"))
            })?;
            file(&PathBuf::from(folder).join(name)).await
        }
    }
}

async fn file(path: &Path) -> Result<SecretString, Undelivered> {
    let shown = path.display();
    let text = tokio::fs::read_to_string(path)
        .await
        .map_err(|error| Undelivered(format!("{shown} cannot be read: {error}")))?;
    match text.trim() {
        "" => Err(Undelivered(format!("{shown} is empty"))),
        secret => Ok(secret.into()),
    }
}

/// The shortest part of an address that may be a token.
const TOKEN: usize = 6;

/// `text` without the parts of an address in which a token may be.
pub(super) fn scrub(text: &str, url: &Url) -> String {
    let segments = url.path_segments().into_iter().flatten().map(str::to_owned);
    let values = url.query_pairs().map(|(_, value)| value.into_owned());
    let users = [url.username(), url.password().unwrap_or_default()].map(str::to_owned);
    let secret = segments.chain(values).chain(users).filter(|part| part.len() >= TOKEN);
    secret.fold(text.to_owned(), |text, part| text.replace(&part, "***"))
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn no_part_of_an_address_that_may_be_a_token_is_shown() {
        let url: Url =
            "https://user:hunter22@host/hooks/T0K3N-OF-OURS?access_token=s3cr3t-one".parse().unwrap();
        let text = scrub("no T0K3N-OF-OURS at host, nor s3cr3t-one, by hunter22", &url);
        assert_eq!(text, "no *** at host, nor ***, by ***");
    }

    #[tokio::test]
    async fn a_secret_is_read_from_where_it_is_and_its_absence_names_the_place_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("url");
        std::fs::write(&path, "https://host/token\n").unwrap();
        std::fs::write(folder.path().join("empty"), " \n").unwrap();
        let directory = folder.path().display().to_string();
        let environment = BTreeMap::from([
            ("HOOK".to_owned(), "from-environment".to_owned()),
            ("CREDENTIALS_DIRECTORY".to_owned(), directory.clone()),
        ]);
        let found = async |secret: Secret| {
            read(&secret, &environment)
                .await
                .map(|found| found.expose_secret().to_owned())
                .map_err(|why| why.0)
        };
        assert_eq!(found(Secret::Here("here".into())).await.unwrap(), "here");
        assert_eq!(found(Secret::File(path)).await.unwrap(), "https://host/token");
        assert_eq!(found(Secret::Variable("HOOK".to_owned())).await.unwrap(), "from-environment");
        assert_eq!(found(Secret::Credential("url".to_owned())).await.unwrap(), "https://host/token");
        let missing = found(Secret::File(folder.path().join("none"))).await.unwrap_err();
        assert!(missing.starts_with(&format!("{directory}/none cannot be read: No such file")), "{missing}");
        let empty = found(Secret::Credential("empty".to_owned())).await.unwrap_err();
        assert_eq!(empty, format!("{directory}/empty is empty"));
        let unset = found(Secret::Variable("NONE".to_owned())).await.unwrap_err();
        assert_eq!(unset, "the environment has no variable NONE, or an empty one");
        let nowhere = read(&Secret::Credential("url".to_owned()), &BTreeMap::new()).await.unwrap_err();
        assert!(nowhere.0.starts_with("systemd hands no credentials"), "{nowhere}");
    }
}
