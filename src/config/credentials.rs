//! The `credentials` of a target: where the credential comes from. No secret ever stands in the file.

use std::time::Duration;

use cbs::credentials::{CvmRole, Sts};

use super::fields::{Expected, Fields, absolute, add, duration, or, text};
use super::mistakes::Mistakes;
use super::targets::endpoint;
use super::tree::Node;
use super::{AssumedRole, CredentialSource};

/// What `source` may be.
const SOURCES: [&str; 8] =
    ["auto", "environment", "file", "tccli", "systemd", "cvm-role", "assume-role", "tke-oidc"];

/// The keys besides `source`, and with which sources they go.
const KEYS: [(&str, &[&str]); 10] = [
    ("path", &["file", "tccli"]),
    ("profile", &["file", "tccli"]),
    ("prefix", &["systemd"]),
    ("role", &["cvm-role"]),
    ("role_arn", &["assume-role"]),
    ("external_id", &["assume-role"]),
    ("from", &["assume-role"]),
    ("session_name", &["assume-role", "tke-oidc"]),
    ("duration", &["assume-role", "tke-oidc"]),
    ("endpoint", &["cvm-role", "assume-role", "tke-oidc"]),
];

/// How the cloud's audit log names what is done with a role's credential.
const SESSION: &str = "cbs-backupd";
/// The cloud's own default.
const DURATION: Duration = Duration::from_secs(7_200);

pub(super) fn credentials(node: &Node, mistakes: &mut Mistakes) -> Option<CredentialSource> {
    source(node, &SOURCES, mistakes)
}

/// Reads a source, which is to be one of `allowed`.
fn source(node: &Node, allowed: &[&'static str], mistakes: &mut Mistakes) -> Option<CredentialSource> {
    let mut fields = Fields::of(node, "a mapping such as `{ source: environment }`", mistakes)?;
    let word = fields.required("source", "source: environment", mistakes, |node| {
        let word = text(node).unwrap_or_default();
        allowed.iter().find(|known| **known == word).copied().ok_or_else(|| one_of(allowed))
    });
    let read = word.and_then(|word| match word {
        "auto" => Some(CredentialSource::Auto),
        "environment" => Some(CredentialSource::Environment),
        "file" => {
            let path = fields.optional("path", mistakes, absolute);
            let profile = or(&mut fields, "profile", "default".to_owned(), mistakes, owned)?;
            Some(CredentialSource::File { path, profile })
        }
        "tccli" => {
            let path = fields.optional("path", mistakes, absolute);
            let profile = fields.optional("profile", mistakes, profile_name);
            if let (Some(_), Some(node)) = (&path, fields.node("profile")) {
                let what = "`profile` finds the file that `path` names already; expected one of them";
                add(mistakes, node, what.to_owned());
            }
            Some(CredentialSource::Tccli { path, profile })
        }
        "systemd" => {
            let prefix = or(&mut fields, "prefix", String::new(), mistakes, prefix)?;
            Some(CredentialSource::Systemd { prefix })
        }
        "cvm-role" => {
            let role = fields.optional("role", mistakes, word_of("+=,.@-_", "the name of a role"));
            let endpoint = or(
                &mut fields,
                "endpoint",
                CvmRole::ENDPOINT.to_owned(),
                mistakes,
                endpoint_like(CvmRole::ENDPOINT),
            )?;
            Some(CredentialSource::CvmRole { role, endpoint })
        }
        "assume-role" => assumed(&mut fields, mistakes).map(Box::new).map(CredentialSource::AssumeRole),
        _ => {
            let (session_name, duration, endpoint) = session(&mut fields, mistakes)?;
            Some(CredentialSource::TkeOidc { session_name, duration, endpoint })
        }
    });
    for (key, sources) in KEYS {
        if let (Some(word), Some(node)) = (word, fields.node(key))
            && !sources.contains(&word)
        {
            let goes = one_of(sources);
            let what = format!("`{key}` goes with the source {goes} alone; expected that, or no `{key}`");
            add(mistakes, node, what);
        }
    }
    fields.finish(mistakes);
    read
}

fn assumed(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<AssumedRole> {
    let role_arn =
        fields.required("role_arn", "role_arn: qcs::cam::uin/100000000001:roleName/backup", mistakes, arn);
    let external_id = fields.optional(
        "external_id",
        mistakes,
        word_of("_+=,.@:/-", "2 to 128 letters, digits and `_+=,.@:/-`"),
    );
    let from = match fields.node("from") {
        None => Some(CredentialSource::Environment),
        // One role by another is not carried out: each would be renewed for the other.
        Some(node) => {
            let allowed: Vec<_> = SOURCES.into_iter().filter(|source| *source != "assume-role").collect();
            source(node, &allowed, mistakes)
        }
    };
    let session = session(fields, mistakes);
    let (session_name, duration, endpoint) = session?;
    Some(AssumedRole { from: from?, role_arn: role_arn?, external_id, session_name, duration, endpoint })
}

/// What both kinds of role have: the session's name, how long a credential lives, and who issues it.
fn session(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<(String, Duration, String)> {
    let name = word_of("_+=,.@-", "a name of 2 to 128 letters, digits and `_+=,.@-`");
    let session_name = or(fields, "session_name", SESSION.to_owned(), mistakes, name);
    let duration = or(fields, "duration", DURATION, mistakes, duration("15m", "12h"));
    let endpoint = or(fields, "endpoint", Sts::ENDPOINT.to_owned(), mistakes, endpoint_like(Sts::ENDPOINT));
    Some((session_name?, duration?, endpoint?))
}

/// `a`, `b` or `c`
pub(super) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => quoted.concat(),
    }
}

fn endpoint_like(example: &'static str) -> impl Fn(&Node) -> Result<String, Expected> {
    move |node| endpoint(node).map_err(|_| format!("scheme and host, such as `{example}`"))
}

fn owned(node: &Node) -> Result<String, Expected> {
    text(node).map(str::to_owned)
}

/// A text of 2 to 128 letters, digits and these.
fn word_of(others: &'static str, expected: &'static str) -> impl Fn(&Node) -> Result<String, Expected> {
    move |node| {
        let fits = |c: char| c.is_ascii_alphanumeric() || others.contains(c);
        let word = text(node).ok().filter(|word| (2..=128).contains(&word.len()) && word.chars().all(fits));
        word.map(str::to_owned).ok_or_else(|| expected.to_owned())
    }
}

fn arn(node: &Node) -> Result<String, Expected> {
    let fits = |arn: &&str| {
        arn.starts_with("qcs::") && arn.contains(":role") && arn.bytes().all(|byte| byte.is_ascii_graphic())
    };
    let found = text(node).ok().filter(fits);
    found
        .map(str::to_owned)
        .ok_or_else(|| "a role's ARN, such as `qcs::cam::uin/100000000001:roleName/backup`".to_owned())
}

/// Part of a file's name.
pub(super) fn file_name(node: &Node) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let name = text(node).ok().filter(|name| name.len() <= 100 && name.chars().all(fits))?;
    (!name.starts_with('.')).then(|| name.to_owned())
}

fn profile_name(node: &Node) -> Result<String, Expected> {
    file_name(node).filter(|name| !name.is_empty()).ok_or_else(|| "the name of a profile of tccli".to_owned())
}

fn prefix(node: &Node) -> Result<String, Expected> {
    file_name(node).ok_or_else(|| "the beginning of a file's name: letters, digits and `-_.`".to_owned())
}
