//! Temporary credentials: roles, the machine that one is bound to, and what was issued, until it ends.
//!
//! Responsible for who may have which role, and for how long a credential is good. It refuses to know requests.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::random::Random;
use crate::world::{Credential, Machine, Role};

/// The vendor's, in seconds.
const USUAL_LIFE: u64 = 7_200;
const LONGEST_LIFE: u64 = 43_200;
/// An id that has ended is known for so long; then it never was.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(1);

#[derive(Debug)]
pub(crate) struct Issuer {
    pub(crate) roles: Vec<Role>,
    pub(crate) machine: Machine,
    issued: Vec<Issued>,
    /// The one that the metadata service shows.
    shown: Option<Issued>,
    random: Random,
}

/// A temporary credential.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) credential: Credential,
    pub(crate) ends: Timestamp,
}

/// How a role is proved to be due to who asks for it.
pub(crate) enum Proof<'a> {
    /// A signed request, with the external id that it names.
    Signature(Option<&'a str>),
    /// A token of this identity provider.
    WebIdentity(&'a str, &'a str),
}

impl Issuer {
    pub(crate) fn new(roles: Vec<Role>, machine: Machine, seed: u64) -> Self {
        Self { roles, machine, issued: Vec::new(), shown: None, random: Random::new(seed, 40) }
    }

    /// What was issued and is remembered.
    pub(crate) fn issued(&self) -> impl Iterator<Item = (&Credential, Option<Timestamp>)> {
        self.issued.iter().map(|issued| (&issued.credential, Some(issued.ends)))
    }

    /// All that was issued ends now.
    pub(crate) fn end_all(&mut self, now: Timestamp) {
        for issued in &mut self.issued {
            issued.ends = issued.ends.min(now);
        }
        self.shown = None;
    }

    /// A credential of the role of this name, if the proof is good enough.
    pub(crate) fn assume(
        &mut self,
        arn: &str,
        proof: &Proof<'_>,
        seconds: Option<u64>,
        now: Timestamp,
    ) -> Result<Issued, ApiError> {
        let seconds = seconds.unwrap_or(USUAL_LIFE);
        if !(1..=LONGEST_LIFE).contains(&seconds) {
            return Err(ApiError::new(
                "InvalidParameter.ParamError",
                format!("DurationSeconds must be from 1 to {LONGEST_LIFE}."),
            ));
        }
        let role = self.roles.iter().find(|role| role.arn == arn);
        let role =
            role.ok_or_else(|| ApiError::new("ResourceNotFound.RoleNotFound", "The role does not exist."))?;
        match (proof, &role.web_identity) {
            (Proof::Signature(external_id), _) if *external_id == role.external_id.as_deref() => {}
            (Proof::Signature(_), _) => {
                return Err(ApiError::new(
                    "UnauthorizedOperation",
                    "You are not authorized to assume the role.",
                ));
            }
            (Proof::WebIdentity(provider, token), Some(known))
                if known.provider_id == *provider && known.token == *token => {}
            (Proof::WebIdentity(..), _) => {
                return Err(ApiError::new(
                    "InvalidParameter.WebIdentityTokenError",
                    "The web identity token is not valid.",
                ));
            }
        }
        let identity = role.identity.clone().unwrap_or_else(|| role.arn.clone());
        Ok(self.issue(identity, seconds, now))
    }

    /// What the metadata service shows of this role, if the machine has it: the same credential for a while.
    pub(crate) fn show(&mut self, role: &str, now: Timestamp) -> Option<Issued> {
        if self.machine.role.as_deref() != Some(role) {
            return None;
        }
        let left = |issued: &Issued| issued.ends.duration_since(now).as_secs();
        let enough = i64::try_from(self.machine.rotate_s).unwrap_or(i64::MAX);
        if let Some(shown) = self.shown.as_ref().filter(|shown| left(shown) > enough) {
            return Some(shown.clone());
        }
        let issued = self.issue(format!("role/{role}"), self.machine.life_s, now);
        self.shown = Some(issued.clone());
        Some(issued)
    }

    fn issue(&mut self, identity: String, seconds: u64, now: Timestamp) -> Issued {
        self.issued.retain(|issued| now.duration_since(issued.ends) < REMEMBERED);
        let suffix = |random: &mut Random| (0..4).map(|_| random.suffix()).collect::<String>();
        let random = &mut self.random;
        let credential = Credential {
            secret_id: format!("AKID{}", suffix(random)),
            secret_key: format!("key-{}", suffix(random)),
            token: Some(format!("token-{}", suffix(random))),
            identity: Some(identity),
        };
        let life = SignedDuration::from_secs(i64::try_from(seconds).unwrap_or(i64::MAX));
        // The vendor says ends in whole seconds.
        let whole = Timestamp::from_second(now.as_second()).unwrap_or(now);
        let issued = Issued { credential, ends: whole.saturating_add(life).unwrap_or(Timestamp::MAX) };
        self.issued.push(issued.clone());
        issued
    }
}

impl Issued {
    /// `2018-12-04T09:06:16Z`
    pub(crate) fn expiration(&self) -> String {
        self.ends.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// As the metadata service writes it.
    pub(crate) fn as_metadata(&self) -> Value {
        let Credential { secret_id, secret_key, token, .. } = &self.credential;
        json!({
            "TmpSecretId": secret_id,
            "TmpSecretKey": secret_key,
            "ExpiredTime": self.ends.as_second(),
            "Expiration": self.expiration(),
            "Token": token,
            "Code": "Success",
        })
    }
}
