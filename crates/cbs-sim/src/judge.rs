//! Whether a request may reach the back end: the checks, in their order, and the rate limits.
//!
//! The order is the vendor's, as far as it is known: Authorization's shape, SecretId, token, age, signature, rate
//! limit, action, version, region, unknown field, missing field.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;
use serde_json::Value;

use crate::actions::{self, Action};
use crate::error::ApiError;
use crate::faults::Conditions;
use crate::issuer::Issuer;
use crate::params::{Params, missing};
use crate::request::Request;
use crate::verify::{Keys, verify};
use crate::world::Credential;

/// Bytes of a body, at most.
pub(crate) const LARGEST_BODY: usize = 10 << 20;

/// The vendor's.
const REGIONS: &[&str] = &[
    "ap-bangkok",
    "ap-beijing",
    "ap-beijing-fsi",
    "ap-chengdu",
    "ap-chongqing",
    "ap-guangzhou",
    "ap-hongkong",
    "ap-jakarta",
    "ap-mumbai",
    "ap-nanjing",
    "ap-seoul",
    "ap-shanghai",
    "ap-shanghai-fsi",
    "ap-shenzhen-fsi",
    "ap-singapore",
    "ap-taipei",
    "ap-tokyo",
    "eu-frankfurt",
    "na-ashburn",
    "na-siliconvalley",
    "na-toronto",
    "sa-saopaulo",
];

/// Judges requests, and remembers how many there were in this second.
#[derive(Debug)]
pub(crate) struct Judge {
    pub(crate) credentials: Vec<Credential>,
    /// By action, in place of the vendor's.
    pub(crate) limits: BTreeMap<String, u32>,
    windows: HashMap<Bucket, Window>,
    keys: Keys,
}

/// What shares a rate limit: the caller, the gateway, the action.
type Bucket = (String, String, String);

#[derive(Debug, Default)]
struct Window {
    second: i64,
    arrivals: u32,
}

/// A request that may reach the back end.
pub(crate) struct Admitted<'a> {
    pub(crate) action: &'static Action,
    pub(crate) region: &'a str,
    pub(crate) params: Params,
}

/// The answer to the checks, and the caller, if that much is known.
pub(crate) struct Verdict<'a> {
    pub(crate) identity: Option<String>,
    pub(crate) result: Result<Admitted<'a>, ApiError>,
}

impl Judge {
    pub(crate) fn new(credentials: Vec<Credential>, limits: BTreeMap<String, u32>) -> Self {
        Self { credentials, limits, windows: HashMap::new(), keys: Keys::default() }
    }

    pub(crate) fn judge<'a>(
        &mut self,
        request: &'a Request,
        body: Option<&Value>,
        now: Timestamp,
        conditions: Conditions,
        issuer: &Issuer,
    ) -> Verdict<'a> {
        let identity = match self.caller(request, now, conditions, issuer) {
            Ok(identity) => identity,
            Err(error) => return Verdict { identity: None, result: Err(error) },
        };
        let result = self.count(&identity, request, now, conditions).and_then(|()| admit(request, body));
        Verdict { identity: Some(identity), result }
    }

    fn caller(
        &mut self,
        request: &Request,
        now: Timestamp,
        conditions: Conditions,
        issuer: &Issuer,
    ) -> Result<String, ApiError> {
        if request.body.len() > LARGEST_BODY {
            return Err(ApiError::new("RequestSizeLimitExceeded", "The request is larger than 10 MB."));
        }
        if request.method != "POST" || request.path != "/" {
            return Err(ApiError::new("UnsupportedProtocol", "Only POST requests to `/` are supported."));
        }
        let action = request.header("X-TC-Action").unwrap_or_default();
        if action == actions::UNSIGNED && request.header("Authorization") == Some("SKIP") {
            return Ok("unsigned".to_owned());
        }
        let permanent = self.credentials.iter().map(|credential| (credential, None));
        let (service, _) = actions::service(action);
        verify(request, service, permanent.chain(issuer.issued()), conditions.skewed(now), &mut self.keys)
            .map(|credential| credential.identity().to_owned())
    }

    /// Counts an arrival in its second; an error, if there were enough before it.
    fn count(
        &mut self,
        identity: &str,
        request: &Request,
        now: Timestamp,
        conditions: Conditions,
    ) -> Result<(), ApiError> {
        let action = request.header("X-TC-Action").unwrap_or_default();
        let usual = self.limits.get(action).copied();
        let usual = usual.unwrap_or_else(|| actions::find(action).map_or(20, |action| action.limit));
        let limit = conditions.limit.map_or(usual, |limit| limit.min(usual));

        let second = now.as_second();
        let bucket = (identity.to_owned(), gateway(request), action.to_owned());
        let window = self.windows.entry(bucket).or_default();
        if window.second != second {
            *window = Window { second, arrivals: 0 };
        }
        window.arrivals += 1;
        if window.arrivals <= limit {
            return Ok(());
        }
        Err(ApiError::new(
            "RequestLimitExceeded",
            format!(
                "Your current request times equals to `{}` in a second, which exceeds the frequency limit `{limit}` \
                 for a second. Please reduce the frequency of calls.",
                window.arrivals
            ),
        ))
    }
}

/// The vendor's gateways are told apart by their names; by whatever name it is reached, a local server is one.
fn gateway(request: &Request) -> String {
    let host = request.header("Host").unwrap_or_default().to_lowercase();
    if host.ends_with(".tencentcloudapi.com") { host } else { "local".to_owned() }
}

fn admit<'a>(request: &'a Request, body: Option<&Value>) -> Result<Admitted<'a>, ApiError> {
    let header = |name| request.header(name).filter(|value| !value.is_empty()).ok_or_else(|| missing(name));
    let name = header("X-TC-Action")?;
    let action = actions::find(name).ok_or_else(|| {
        ApiError::new("InvalidAction", format!("The request action=`{name}` is invalid or not found."))
    })?;
    let version = header("X-TC-Version")?;
    if version != actions::service(name).1 {
        return Err(ApiError::new(
            "NoSuchVersion",
            format!("The version `{version}` of the API does not exist."),
        ));
    }
    let region = header("X-TC-Region")?;
    if !REGIONS.contains(&region) {
        return Err(ApiError::new("UnsupportedRegion", format!("The region `{region}` is not supported.")));
    }
    let params = Params::check(body.unwrap_or(&Value::Null), action.fields)?;
    Ok(Admitted { action, region, params })
}
