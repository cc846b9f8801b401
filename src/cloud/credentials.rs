//! Sources of credentials, as the configuration asks for them.
//!
//! Responsible for one source for all targets that name it alike, across reloads: what it keeps and renews is theirs
//! together. To add a source, add an arm to [`Sources::build`] and to [`identity`].

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cbs::client::InvalidEndpoint;
use cbs::credentials::{
    AssumeRole, Chain, CvmRole, Draw, Environment, Issue, ProvideCredentials, Renewing, Role, SdkFile, Sts,
    Systemd, Tccli, TkeOidc,
};
use cbs::transport::{Failure, Fetch, ReqwestFetch, ReqwestTransport, Timeouts, Transport, TransportError};

use super::ForCloud;
use crate::clock::Clock;
use crate::config::{AssumedRole, CredentialSource};
use crate::random::Random;

/// A source, and how the log names it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Where the credential comes from; who calls, as far as limits go.
    pub name: String,
    /// The source.
    pub provider: Arc<dyn ProvideCredentials>,
}

impl Source {
    /// Whether it is the same one, and not only of the same name.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.provider, &other.provider)
    }
}

/// How those who issue temporary credentials are reached.
#[derive(Clone)]
pub struct Issuers {
    /// The Security Token Service.
    pub sts: Arc<dyn Transport>,
    /// The machine's metadata service.
    pub metadata: Arc<dyn Fetch>,
}

impl Issuers {
    /// Over the network.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn network() -> Result<Self, TransportError> {
        let failed = |error| TransportError::because(Failure::Invalid, error);
        let sts = ReqwestTransport::new(Timeouts::default()).map_err(failed)?;
        Ok(Self { sts: Arc::new(sts), metadata: Arc::new(ReqwestFetch::new().map_err(failed)?) })
    }
}

/// Makes the ways to issuers, where they are wanted.
pub type MakeIssuers = dyn Fn() -> Result<Issuers, TransportError> + Send + Sync;

/// The sources in use.
pub(super) struct Sources {
    clock: Arc<dyn Clock>,
    environment: Arc<BTreeMap<String, String>>,
    issuers: Box<MakeIssuers>,
    random: Arc<Random>,
    made: Mutex<BTreeMap<CredentialSource, Source>>,
}

impl Sources {
    pub(super) fn new(
        clock: Arc<dyn Clock>,
        environment: BTreeMap<String, String>,
        issuers: Box<MakeIssuers>,
        seed: u64,
    ) -> Self {
        let random = Arc::new(Random::from_seed(seed));
        Self { clock, environment: Arc::new(environment), issuers, random, made: Mutex::default() }
    }

    /// The source that all who ask for it alike share.
    pub(super) fn get(&self, wanted: &CredentialSource) -> Result<Source, TransportError> {
        if let Some(known) = self.made().get(wanted) {
            return Ok(known.clone());
        }
        let source = Source { name: identity(wanted), provider: self.build(wanted)? };
        self.made().insert(wanted.clone(), source.clone());
        Ok(source)
    }

    /// Forgets the sources that no longer serve anyone here; clients of old targets keep theirs.
    pub(super) fn keep_only(&self, wanted: &[&CredentialSource]) {
        let base = |source: &CredentialSource| {
            wanted
                .iter()
                .any(|user| matches!(user, CredentialSource::AssumeRole(role) if role.from == *source))
        };
        self.made().retain(|source, _| wanted.contains(&source) || base(source));
    }

    fn build(&self, source: &CredentialSource) -> Result<Arc<dyn ProvideCredentials>, TransportError> {
        Ok(match source {
            CredentialSource::Auto => Arc::new(Chain::new(self.chain()?)),
            CredentialSource::Environment => Arc::new(Environment::new(self.lookup())),
            CredentialSource::File { path, profile } => {
                let usual = || SdkFile::usual_paths(self.lookup());
                let paths = path.clone().map_or_else(usual, |path| vec![path]);
                Arc::new(SdkFile::first_of(paths).section(profile.clone()))
            }
            CredentialSource::Tccli { path: Some(path), .. } => Arc::new(Tccli::file(path.clone())),
            CredentialSource::Tccli { path: None, profile } => {
                Arc::new(Tccli::profile(profile.as_deref(), self.lookup()))
            }
            CredentialSource::Systemd { prefix } => Arc::new(Systemd::new(prefix.clone(), self.lookup())),
            CredentialSource::CvmRole { role, endpoint } => {
                let endpoint = endpoint.parse().map_err(invalid)?;
                self.renewing(CvmRole::new((self.issuers)()?.metadata, endpoint, role.clone()))
            }
            CredentialSource::AssumeRole(assumed) => {
                let AssumedRole { from, role_arn, external_id, session_name, duration, endpoint } =
                    &**assumed;
                let role = Role {
                    arn: role_arn.clone(),
                    session_name: session_name.clone(),
                    duration: *duration,
                    external_id: external_id.clone(),
                };
                self.renewing(AssumeRole::new(self.get(from)?.provider, self.sts(endpoint)?, role))
            }
            CredentialSource::TkeOidc { session_name, duration, endpoint } => {
                let sts = self.sts(endpoint)?;
                self.renewing(TkeOidc::new(sts, session_name.clone(), *duration, self.lookup()))
            }
        })
    }

    /// The order of `auto`: what a person sets by hand comes before what the machine is given, and a pod's role before
    /// that of the machine which the pod happens to run on.
    fn chain(&self) -> Result<Vec<Arc<dyn ProvideCredentials>>, TransportError> {
        let order = [
            CredentialSource::Environment,
            CredentialSource::File { path: None, profile: "default".to_owned() },
            CredentialSource::Tccli { path: None, profile: None },
            CredentialSource::Systemd { prefix: String::new() },
            CredentialSource::TkeOidc {
                session_name: "cbs-backupd".to_owned(),
                duration: Duration::from_secs(7_200),
                endpoint: Sts::ENDPOINT.to_owned(),
            },
            CredentialSource::CvmRole { role: None, endpoint: CvmRole::ENDPOINT.to_owned() },
        ];
        order.iter().map(|source| self.build(source)).collect()
    }

    fn renewing(&self, source: impl Issue + 'static) -> Arc<dyn ProvideCredentials> {
        let random = Arc::clone(&self.random);
        let draw: Draw = Arc::new(move || random.draw());
        Arc::new(Renewing::new(source, Arc::new(ForCloud(Arc::clone(&self.clock))), draw))
    }

    fn sts(&self, endpoint: &str) -> Result<Sts, TransportError> {
        let clock = Arc::new(ForCloud(Arc::clone(&self.clock)));
        Ok(Sts::new((self.issuers)()?.sts, clock, endpoint.parse().map_err(invalid)?))
    }

    fn lookup(&self) -> impl Fn(&str) -> Option<String> + Send + Sync + 'static {
        let environment = Arc::clone(&self.environment);
        move |name| environment.get(name).cloned()
    }

    fn made(&self) -> std::sync::MutexGuard<'_, BTreeMap<CredentialSource, Source>> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn invalid(error: InvalidEndpoint) -> TransportError {
    TransportError::because(Failure::Invalid, error)
}

/// Who calls, as far as limits go: targets whose credential comes from one place share their lanes.
pub(crate) fn identity(source: &CredentialSource) -> String {
    let at = |path: &Option<std::path::PathBuf>| {
        path.as_ref().map(|path| path.display().to_string()).unwrap_or_default()
    };
    match source {
        CredentialSource::Auto => "auto".to_owned(),
        CredentialSource::Environment => "environment".to_owned(),
        CredentialSource::File { path, profile } => format!("file:{}#{profile}", at(path)),
        CredentialSource::Tccli { path, profile } => {
            format!("tccli:{}#{}", at(path), profile.as_deref().unwrap_or_default())
        }
        CredentialSource::Systemd { prefix } => format!("systemd:{prefix}"),
        CredentialSource::CvmRole { role, .. } => format!("cvm-role:{}", role.as_deref().unwrap_or_default()),
        // However it is taken, a role is one caller.
        CredentialSource::AssumeRole(assumed) => format!("assume-role:{}", assumed.role_arn),
        CredentialSource::TkeOidc { .. } => "tke-oidc".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cbs::transport::{HttpRequest, HttpResponse};
    use futures_util::future::{BoxFuture, FutureExt as _, ready};
    use jiff::SignedDuration;

    use super::*;
    use crate::clock::SystemClock;

    fn sources() -> Sources {
        let clock = Arc::new(SystemClock::new(SignedDuration::ZERO));
        Sources::new(clock, BTreeMap::new(), Box::new(Issuers::network), 1)
    }

    fn role(from: CredentialSource, session: &str) -> CredentialSource {
        CredentialSource::AssumeRole(Box::new(AssumedRole {
            from,
            role_arn: "qcs::cam::uin/100:roleName/backup".to_owned(),
            external_id: None,
            session_name: session.to_owned(),
            duration: Duration::from_secs(900),
            endpoint: Sts::ENDPOINT.to_owned(),
        }))
    }

    /// Issues a credential of this id to anyone, as the service and as the machine; none if there is no id.
    #[derive(Clone, Debug)]
    struct Issuing(Option<&'static str>, &'static str);

    impl Issuing {
        fn reply(&self, id: Option<&str>) -> BoxFuture<'static, Result<HttpResponse, TransportError>> {
            let (status, body) = id.map_or((404, String::new()), |id| {
                let parts = format!(r#""TmpSecretId":"{id}","TmpSecretKey":"k","Token":"t""#);
                let end = r#""ExpiredTime":4102444800"#;
                let (sts, cvm) = (format!(r#""Credentials":{{{parts}}},{end}"#), format!(r#"{parts},{end}"#));
                (200, format!(r#"{{"Response":{{{sts}}},{cvm},"Code":"Success"}}"#))
            });
            ready(Ok(HttpResponse { status, body: body.into(), ..HttpResponse::default() })).boxed()
        }
    }

    impl Transport for Issuing {
        fn send(&self, _: HttpRequest) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
            self.reply(Some(self.1))
        }
    }

    impl Fetch for Issuing {
        fn get(&self, url: String) -> BoxFuture<'_, Result<HttpResponse, TransportError>> {
            match self.0 {
                Some(_) if url.ends_with('/') => {
                    let body = "backup".into();
                    ready(Ok(HttpResponse { status: 200, body, ..HttpResponse::default() })).boxed()
                }
                id => self.reply(id),
            }
        }
    }

    /// The id that `auto` finds with these variables, or what it says.
    async fn found(variables: &[(&str, &str)], machine: Option<&'static str>) -> String {
        let issuers = Issuing(machine, "of-the-pod");
        let make =
            move || Ok(Issuers { sts: Arc::new(issuers.clone()), metadata: Arc::new(issuers.clone()) });
        let environment =
            variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let clock = Arc::new(SystemClock::new(SignedDuration::ZERO));
        let sources = Sources::new(clock, environment, Box::new(make), 1);
        let source = sources.get(&CredentialSource::Auto).unwrap();
        let answer = source.provider.provide().await;
        answer.map_or_else(|error| error.to_string(), |found| found.id().to_owned())
    }

    #[tokio::test]
    async fn auto_takes_the_first_that_is_in_use() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write("sdk", "[default]\nsecret_id = of-the-sdk\nsecret_key = k\n");
        write(".tccli/default.credential", r#"{"secretId": "of-tccli", "secretKey": "k"}"#);
        write("systemd/secret_id", "of-systemd");
        write("systemd/secret_key", "k");
        write("pod-token", "t");
        // Each with what it takes to be in use, the first of the order first.
        let (sdk, systemd, token) = (at("sdk"), at("systemd"), at("pod-token"));
        let home = folder.path().display().to_string();
        let order: [(&str, &[(&str, &str)]); 5] = [
            (
                "of-the-environment",
                &[("TENCENTCLOUD_SECRET_ID", "of-the-environment"), ("TENCENTCLOUD_SECRET_KEY", "k")],
            ),
            ("of-the-sdk", &[("TENCENTCLOUD_CREDENTIALS_FILE", &sdk)]),
            ("of-tccli", &[("HOME", &home)]),
            ("of-systemd", &[("CREDENTIALS_DIRECTORY", &systemd)]),
            (
                "of-the-pod",
                &[
                    ("TKE_REGION", "r"),
                    ("TKE_PROVIDER_ID", "p"),
                    ("TKE_ROLE_ARN", "a"),
                    ("TKE_WEB_IDENTITY_TOKEN_FILE", &token),
                ],
            ),
        ];
        for first in 0..order.len() {
            let all: Vec<_> = order[first..].iter().flat_map(|(_, variables)| *variables).copied().collect();
            assert_eq!(found(&all, Some("of-the-machine")).await, order[first].0);
            // Half of it is a mistake, and no reason to go on to the next.
            if let [half, _, ..] = order[first].1 {
                let rest = order[first + 1..].iter().flat_map(|(_, variables)| *variables).copied();
                let said = found(&[*half].into_iter().chain(rest).collect::<Vec<_>>(), Some("m")).await;
                assert!(said.starts_with("the environment: "), "{said}");
            }
        }
        assert_eq!(found(&[], Some("of-the-machine")).await, "of-the-machine");
        let said = found(&[], None).await;
        let looked_for = [
            "TENCENTCLOUD_SECRET_ID and TENCENTCLOUD_SECRET_KEY in the environment",
            "the file /etc/tencentcloud/credentials",
            "a profile of tccli (HOME is not set)",
            "credentials of systemd (CREDENTIALS_DIRECTORY is not set)",
            "TKE_REGION, TKE_PROVIDER_ID, TKE_WEB_IDENTITY_TOKEN_FILE, TKE_ROLE_ARN in the environment",
            "a role of this machine",
        ];
        assert_eq!(said, format!("no credential found: looked for {}", looked_for.join(", ")));
    }

    #[test]
    fn who_asks_alike_shares_a_source_and_bases_are_shared_too() {
        let sources = sources();
        let same = |one: &Source, other: &Source| Arc::ptr_eq(&one.provider, &other.provider);
        let first = sources.get(&role(CredentialSource::Environment, "a")).unwrap();
        assert!(same(&first, &sources.get(&role(CredentialSource::Environment, "a")).unwrap()));
        let other = sources.get(&role(CredentialSource::Environment, "b")).unwrap();
        assert!(!same(&first, &other));
        assert_eq!(first.name, other.name, "one role draws on one limit");
        let base = sources.get(&CredentialSource::Environment).unwrap();

        sources.keep_only(&[&role(CredentialSource::Environment, "a")]);
        assert!(same(&first, &sources.get(&role(CredentialSource::Environment, "a")).unwrap()));
        assert!(same(&base, &sources.get(&CredentialSource::Environment).unwrap()));
        assert!(!same(&other, &sources.get(&role(CredentialSource::Environment, "b")).unwrap()));
    }
}
