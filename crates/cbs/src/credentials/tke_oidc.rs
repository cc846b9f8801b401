//! The credential of a role, issued to a workload of a Kubernetes cluster.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use serde::Serialize;

use super::assume_role::seconds;
use super::{CredentialsError, Issue, Issued, Sts, files};

const REGION: &str = "TKE_REGION";
const PROVIDER: &str = "TKE_PROVIDER_ID";
const TOKEN_FILE: &str = "TKE_WEB_IDENTITY_TOKEN_FILE";
const ROLE: &str = "TKE_ROLE_ARN";

/// AssumeRoleWithWebIdentity, unsigned: the cluster's token in a file, which the cluster renews and which is read anew
/// at each renewal, is exchanged for the credential of a role. Renewed at 90 % of its life, with five minutes left if
/// it is long enough for that.
///
/// Where from, as what and with which token comes from the variables that TKE sets in a pod.
pub struct TkeOidc {
    sts: Sts,
    given: Given,
    session_name: String,
    duration: Duration,
}

/// Where each comes from, if it was found.
#[derive(Clone, Debug)]
struct Given {
    region: Option<String>,
    provider: Option<String>,
    token_file: Option<PathBuf>,
    role: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Parameters<'a> {
    provider_id: &'a str,
    web_identity_token: &'a str,
    role_arn: &'a str,
    role_session_name: &'a str,
    #[serde(serialize_with = "seconds")]
    duration_seconds: Duration,
}

impl TkeOidc {
    const ACTION: &str = "AssumeRoleWithWebIdentity";

    /// What the variables say; `lookup` finds them in the environment. The region is theirs too.
    #[must_use]
    pub fn new(
        sts: Sts,
        session_name: impl Into<String>,
        duration: Duration,
        lookup: impl Fn(&str) -> Option<String>,
    ) -> Self {
        let set = |name| lookup(name).filter(|value| !value.is_empty());
        let given = Given {
            region: set(REGION),
            provider: set(PROVIDER),
            token_file: set(TOKEN_FILE).map(PathBuf::from),
            role: set(ROLE),
        };
        Self { sts, given, session_name: session_name.into(), duration }
    }

    async fn ask(&self) -> Result<Issued, CredentialsError> {
        let (region, provider, token_file, role) = match &self.given {
            Given {
                region: Some(region),
                provider: Some(provider),
                token_file: Some(token_file),
                role: Some(role),
            } => (region, provider, token_file, role),
            given => return Err(given.lacking()),
        };
        let token = files::text(token_file).await?;
        let token = token.trim();
        if token.is_empty() {
            return Err(files::invalid(token_file, "it is empty"));
        }
        let parameters = Parameters {
            provider_id: provider,
            web_identity_token: token,
            role_arn: role,
            role_session_name: &self.session_name,
            duration_seconds: self.duration,
        };
        let sts = self.sts.clone().region(region);
        sts.ask(Self::ACTION, &parameters, None, &[token]).await.map_err(|refusal| sts.error(refusal))
    }
}

impl Given {
    /// Which variables are not set: none at all is another thing than some.
    fn lacking(&self) -> CredentialsError {
        let all = [
            (REGION, self.region.is_some()),
            (PROVIDER, self.provider.is_some()),
            (TOKEN_FILE, self.token_file.is_some()),
            (ROLE, self.role.is_some()),
        ];
        let names = |wanted| {
            all.iter().filter(|(_, set)| *set == wanted).map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
        };
        if all.iter().all(|(_, set)| !set) {
            let looked_for = format!("{} in the environment", names(false));
            return CredentialsError::NotConfigured { looked_for };
        }
        let (place, what) = ("the environment", format!("{} is set, {} is not", names(true), names(false)));
        CredentialsError::Invalid { place: place.to_owned(), what }
    }
}

impl Issue for TkeOidc {
    fn issue(&self) -> BoxFuture<'_, Result<Issued, CredentialsError>> {
        self.ask().boxed()
    }

    fn margin(&self, life: Duration) -> Duration {
        (life / 10).max(Duration::from_secs(300).min(life / 3))
    }
}

impl fmt::Debug for TkeOidc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TkeOidc").field(&self.sts).finish()
    }
}
