//! The credential of a role, issued to who has another credential.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use secrecy::ExposeSecret;
use serde::Serialize;

use super::sts::Refusal;
use super::{Credentials, CredentialsError, Issue, Issued, ProvideCredentials, Sts};

/// A role, and how it is taken.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Role {
    /// `qcs::cam::uin/…:roleName/…`
    #[serde(rename = "RoleArn")]
    pub arn: String,
    /// Shown in the cloud's audit log.
    #[serde(rename = "RoleSessionName")]
    pub session_name: String,
    /// How long a credential is to live.
    #[serde(rename = "DurationSeconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// What the role's owner asks of others' accounts, if anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

pub(super) fn seconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(duration.as_secs())
}

/// AssumeRole: a credential of its own, `base`, asks for that of a role. Renewed at half of its life.
#[derive(Debug)]
pub struct AssumeRole {
    base: Arc<dyn ProvideCredentials>,
    sts: Sts,
    role: Role,
}

impl AssumeRole {
    const ACTION: &str = "AssumeRole";

    /// The credential of `role`, for who has `base`.
    #[must_use]
    pub fn new(base: Arc<dyn ProvideCredentials>, sts: Sts, role: Role) -> Self {
        Self { base, sts, role }
    }

    async fn ask(&self) -> Result<Issued, CredentialsError> {
        let mut signer = self.base.provide().await?;
        let mut answer = self.ask_as(&signer).await;
        // The base may be temporary too, and have ended.
        if let Err(Refusal { code: Some(code), .. }) = &answer
            && matches!(&**code, "AuthFailure.TokenFailure" | "AuthFailure.SecretIdNotFound")
        {
            self.base.refused(&signer);
            let renewed = self.base.provide().await?;
            if !renewed.is(&signer) {
                signer = renewed;
                answer = self.ask_as(&signer).await;
            }
        }
        answer.map_err(|refusal| self.sts.error(refusal))
    }

    async fn ask_as(&self, signer: &Credentials) -> Result<Issued, Refusal> {
        let token = signer.token().map_or("", |token| token.expose_secret());
        self.sts.ask(Self::ACTION, &self.role, Some(signer), &[token]).await
    }
}

impl Issue for AssumeRole {
    fn issue(&self) -> BoxFuture<'_, Result<Issued, CredentialsError>> {
        self.ask().boxed()
    }

    fn margin(&self, life: Duration) -> Duration {
        life / 2
    }
}
