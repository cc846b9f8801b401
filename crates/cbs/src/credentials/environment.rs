//! Credentials from the environment.

use std::fmt;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::{Credentials, CredentialsError, ProvideCredentials};

const ID: &str = "TENCENTCLOUD_SECRET_ID";
const KEY: &str = "TENCENTCLOUD_SECRET_KEY";
/// Clients of the vendor differ; the first that is set counts.
const TOKENS: [&str; 3] = ["TENCENTCLOUD_TOKEN", "TENCENTCLOUD_SECURITY_TOKEN", "TENCENTCLOUD_SESSION_TOKEN"];

type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The variables that the vendor's own clients read.
pub struct Environment {
    lookup: Box<Lookup>,
}

impl Environment {
    /// A source that finds variables with `lookup`, such as `|name| std::env::var(name).ok()`.
    #[must_use]
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { lookup: Box::new(lookup) }
    }

    fn read(&self) -> Result<Credentials, CredentialsError> {
        let set = |name: &str| (self.lookup)(name).filter(|value| !value.is_empty());
        let invalid = |what: String| CredentialsError::Invalid { place: "the environment".to_owned(), what };
        match (set(ID), set(KEY)) {
            (None, None) => Err(CredentialsError::NotConfigured {
                looked_for: format!("{ID} and {KEY} in the environment"),
            }),
            (None, Some(_)) => Err(invalid(format!("{KEY} is set, {ID} is not"))),
            (Some(_), None) => Err(invalid(format!("{ID} is set, {KEY} is not"))),
            (Some(id), Some(key)) => {
                let token = TOKENS.iter().find_map(|name| set(name));
                Credentials::new(id, key.into(), token.map(Into::into))
                    .map_err(|malformed| invalid(malformed.to_string()))
            }
        }
    }
}

impl ProvideCredentials for Environment {
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>> {
        ready(self.read()).boxed()
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Environment")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use secrecy::ExposeSecret;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Credentials, CredentialsError> {
        let variables: BTreeMap<String, String> =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Environment::new(move |name| variables.get(name).cloned()).read()
    }

    #[test]
    fn id_key_and_any_of_three_names_for_the_token() {
        let plain = read(&[(ID, "id"), (KEY, "key")]).unwrap();
        assert_eq!((plain.id(), plain.key().expose_secret()), ("id", "key"));
        assert!(plain.token().is_none());
        for name in TOKENS {
            let temporary = read(&[(ID, "id"), (KEY, "key"), (name, "token")]).unwrap();
            assert_eq!(temporary.token().unwrap().expose_secret(), "token", "{name}");
        }
    }

    #[test]
    fn what_is_missing_is_said_by_name() {
        let error = read(&[(ID, "")]).unwrap_err();
        assert!(matches!(error, CredentialsError::NotConfigured { .. }));
        assert_eq!(
            error.to_string(),
            "no credential found: looked for TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY in the environment"
        );
        assert_eq!(
            read(&[(KEY, "hunter2")]).unwrap_err().to_string(),
            "the environment: TENCENTCLOUD_SECRET_KEY is set, TENCENTCLOUD_SECRET_ID is not"
        );
        assert_eq!(
            read(&[(ID, "id"), (KEY, "")]).unwrap_err().to_string(),
            "the environment: TENCENTCLOUD_SECRET_ID is set, TENCENTCLOUD_SECRET_KEY is not"
        );
        assert_eq!(
            read(&[(ID, "id"), (KEY, "hunter2\n")]).unwrap_err().to_string(),
            "the environment: the secret key contains white space"
        );
    }
}
