//! What the client signs with, and where it comes from.
//!
//! Responsible for a well-formed credential that never shows its key or token. One file a source: those that find a
//! credential ([`Environment`], [`SdkFile`], [`Tccli`], [`Systemd`]), those that have one issued for a time
//! ([`CvmRole`], [`AssumeRole`], [`TkeOidc`]; [`Renewing`] keeps it and renews it), and [`Chain`], the first of several.
//! It refuses to say whether the cloud accepts a credential.

mod assume_role;
mod chain;
mod cvm_role;
mod environment;
mod file;
mod files;
mod renewing;
mod sts;
mod systemd;
mod tccli;
mod tke_oidc;

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use secrecy::{ExposeSecret, SecretString};

pub use self::assume_role::{AssumeRole, Role};
pub use self::chain::Chain;
pub use self::cvm_role::CvmRole;
pub use self::environment::Environment;
pub use self::file::SdkFile;
pub use self::renewing::{Draw, Renewing};
pub use self::sts::Sts;
pub use self::systemd::Systemd;
pub use self::tccli::Tccli;
pub use self::tke_oidc::TkeOidc;

/// An id, its key, and the token that belongs to both where they are temporary: always taken as one.
#[derive(Clone)]
pub struct Credentials {
    id: String,
    key: SecretString,
    token: Option<SecretString>,
    expires: Option<Timestamp>,
}

/// Why a text cannot be part of a credential. The text is not shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the {part} {fault}")]
pub struct Malformed {
    part: &'static str,
    fault: &'static str,
}

impl Credentials {
    /// A credential without an end.
    ///
    /// # Errors
    /// If a part is empty or has white space, a control character or one outside ASCII: it could not be sent.
    pub fn new(id: String, key: SecretString, token: Option<SecretString>) -> Result<Self, Malformed> {
        well_formed("secret id", &id)?;
        well_formed("secret key", key.expose_secret())?;
        if let Some(token) = &token {
            well_formed("token", token.expose_secret())?;
        }
        Ok(Self { id, key, token, expires: None })
    }

    /// The same credential, valid until then.
    #[must_use]
    pub fn until(self, expires: Timestamp) -> Self {
        Self { expires: Some(expires), ..self }
    }

    /// The id, which is no secret: every request shows it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &SecretString {
        &self.key
    }

    /// The session's token, if the credential is temporary.
    #[must_use]
    pub fn token(&self) -> Option<&SecretString> {
        self.token.as_ref()
    }

    /// When it ends, if it is known to.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        self.expires
    }

    /// Whether the cloud would take both for one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        fn parts(of: &Credentials) -> (&str, &str, Option<&str>) {
            (&of.id, of.key.expose_secret(), of.token.as_ref().map(ExposeSecret::expose_secret))
        }
        parts(self) == parts(other)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("id", &self.id)
            .field("expires", &self.expires)
            .finish_non_exhaustive()
    }
}

fn well_formed(part: &'static str, text: &str) -> Result<(), Malformed> {
    let fault = if text.is_empty() {
        "is empty"
    } else if text.contains(char::is_whitespace) {
        "contains white space"
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        "contains a character that is not printable ASCII"
    } else {
        return Ok(());
    };
    Err(Malformed { part, fault })
}

/// A source of credentials.
pub trait ProvideCredentials: Send + Sync + fmt::Debug {
    /// The credential to sign with now. Called for every request: a source that has to ask someone keeps what it
    /// got.
    ///
    /// # Errors
    /// If there is none.
    fn provide(&self) -> BoxFuture<'_, Result<Credentials, CredentialsError>>;

    /// The cloud refused this credential: the source is not to answer with what it kept, if it can do better.
    fn refused(&self, _credentials: &Credentials) {}

    /// Sees to what may be done before the next request, such as a renewal that is due. To be called now and then by
    /// who wants no request to wait for it; it does not wait itself. To be called inside a runtime.
    fn tend(&self) {}

    /// How renewals go; none where nothing is ever renewed.
    fn health(&self) -> Option<Health> {
        None
    }
}

/// How renewals of a temporary credential go.
#[derive(Clone, Debug, Default)]
pub struct Health {
    /// How many there were; the first credential counts as one.
    pub renewals: u64,
    /// When the next one is due.
    pub next: Option<Timestamp>,
    /// When the credential at hand ends.
    pub expires: Option<Timestamp>,
    /// Why it is not renewed: once that has failed several times, or there is no valid credential left.
    pub trouble: Option<Arc<CredentialsError>>,
}

/// A source that has temporary credentials issued.
pub trait Issue: Send + Sync + fmt::Debug {
    /// Asks for a credential. The source bounds the time that this takes.
    ///
    /// # Errors
    /// If there is none.
    fn issue(&self) -> BoxFuture<'_, Result<Issued, CredentialsError>>;

    /// How much of the life of a credential shall be left when the next one is asked for.
    fn margin(&self, life: Duration) -> Duration;
}

/// A temporary credential as it was issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The credential.
    pub credentials: Credentials,
    /// When it ends.
    pub expires: Timestamp,
    /// What time it was for the issuer, if it said so.
    pub date: Option<Timestamp>,
}

/// A source has no credential.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// The source is not in use: a chain may ask the next one.
    #[error("no credential found: looked for {looked_for}")]
    NotConfigured {
        /// What was looked for, and where.
        looked_for: String,
    },
    /// The source is in use, and wrong.
    #[error("{place}: {what}")]
    Invalid {
        /// Where.
        place: String,
        /// What is wrong there, as a fragment.
        what: String,
    },
    /// The source could not be read.
    #[error("could not read {path}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Who was asked for a credential gave none.
    #[error("{place}: {what}")]
    Unavailable {
        /// Who was asked.
        place: String,
        /// What came instead, as a fragment.
        what: String,
    },
    /// As it was a moment ago; it is not tried again yet.
    #[error(transparent)]
    Again(Arc<CredentialsError>),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_could_not_be_sent_is_refused_without_being_shown() {
        let refusal = |id: &str, key: &str, token: Option<&str>| {
            Credentials::new(id.into(), key.into(), token.map(Into::into)).unwrap_err().to_string()
        };
        assert_eq!(refusal("", "key", None), "the secret id is empty");
        assert_eq!(refusal("id\n", "key", None), "the secret id contains white space");
        assert_eq!(refusal("id", " key", None), "the secret key contains white space");
        assert_eq!(refusal("id", "", None), "the secret key is empty");
        assert_eq!(
            refusal("id", "kéy", None),
            "the secret key contains a character that is not printable ASCII"
        );
        assert_eq!(refusal("id", "key", Some("")), "the token is empty");
    }
}
