//! What went wrong with a call, and what that means for the caller.
//!
//! Responsible for one table from the cloud's codes to classes, and for the rule that a create whose outcome is
//! not known is ambiguous. It decides by codes, never by messages, and refuses to say how long to wait.

use std::error::Error as StdError;
use std::time::Duration;

use crate::action::{Action, Kind};
use crate::credentials::CredentialsError;
use crate::transport::{Sent, TransportError};

/// What kind of setback a call met, by the conduct that it calls for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Refused for its rate; not executed.
    Throttled,
    /// The disk is at something else; not executed.
    Busy,
    /// The disk's backup quota is full; not executed.
    Quota,
    /// A limit of the account or the region; not executed.
    Scarce,
    /// The signature's time was off, even after a correction; not executed.
    Clock,
    /// There was no valid credential, even after a refresh; not executed.
    Credentials,
    /// The credential may not do this; not executed.
    Refused,
    /// The request is wrong as it stands; not executed, and never will be.
    Permanent,
    /// What the call is about does not exist.
    Gone,
    /// The account or the disk is in arrears; not executed.
    Unpaid,
    /// A create or a rollback that may have had its effect.
    Ambiguous,
    /// No byte of it left.
    NotSent,
    /// A read or a delete without a usable answer. Asking again is harmless.
    Unavailable,
}

impl Class {
    /// The class as logs and metrics write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Throttled => "throttled",
            Self::Busy => "busy",
            Self::Quota => "quota",
            Self::Scarce => "scarce",
            Self::Clock => "clock",
            Self::Credentials => "credentials",
            Self::Refused => "refused",
            Self::Permanent => "permanent",
            Self::Gone => "gone",
            Self::Unpaid => "unpaid",
            Self::Ambiguous => "ambiguous",
            Self::NotSent => "not_sent",
            Self::Unavailable => "unavailable",
        }
    }
}

/// What may be put right within a call, once, before it is sent anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Correct our clock by the reply's date.
    Clock,
    /// Ask for other credentials.
    Credentials,
}

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meaning {
    pub(crate) class: Class,
    /// Whether the code is in the table.
    pub(crate) known: bool,
    pub(crate) remedy: Option<Remedy>,
    /// At least this long before the next call: of this one, and of all in its lane.
    pub(crate) pause: Option<Duration>,
}

impl Meaning {
    const fn new(class: Class) -> Self {
        Self { class, known: true, remedy: None, pause: None }
    }

    const fn remedied_by(self, remedy: Remedy) -> Self {
        Self { remedy: Some(remedy), ..self }
    }

    /// Others draw on the same bucket: slowing our lane alone does not empty it.
    const fn shared(self) -> Self {
        Self { pause: Some(Duration::from_secs(2)), ..self }
    }
}

const THROTTLED: Meaning = Meaning::new(Class::Throttled);
const BUSY: Meaning = Meaning::new(Class::Busy);
const QUOTA: Meaning = Meaning::new(Class::Quota);
const SCARCE: Meaning = Meaning::new(Class::Scarce);
const CLOCK: Meaning = Meaning::new(Class::Clock).remedied_by(Remedy::Clock);
const CREDENTIALS: Meaning = Meaning::new(Class::Credentials).remedied_by(Remedy::Credentials);
const REFUSED: Meaning = Meaning::new(Class::Refused);
const PERMANENT: Meaning = Meaning::new(Class::Permanent);
const GONE: Meaning = Meaning::new(Class::Gone);
const UNPAID: Meaning = Meaning::new(Class::Unpaid);
const AMBIGUOUS: Meaning = Meaning::new(Class::Ambiguous);
const UNKNOWN: Meaning = Meaning { known: false, ..AMBIGUOUS };

/// The meaning of each code for a create; a trailing `*` stands for any end. To teach the client a code, add a
/// row.
#[rustfmt::skip]
const CODES: &[(&str, Meaning)] = &[
    ("RequestLimitExceeded",                               THROTTLED),
    ("RequestLimitExceeded.UinLimitExceeded",              THROTTLED.shared()),
    ("RequestLimitExceeded.GlobalRegionUinLimitExceeded",  THROTTLED.shared()),
    ("RequestLimitExceeded.IPLimitExceeded",               THROTTLED.shared()),

    ("InvalidDisk.Busy",                                   BUSY),
    ("InvalidDisk.SnapshotCreating",                       BUSY),
    ("ResourceBusy",                                       BUSY),
    ("ResourceInUse",                                      BUSY),
    ("ResourceInUse.*",                                    BUSY),
    ("ResourceUnavailable.SnapshotCreating",               BUSY),
    ("ResourceUnavailable.TooManyCreatingSnapshot",        BUSY),
    ("ResourceUnavailable.DiskBackupCreating",             BUSY),

    ("ResourceInsufficient.OverQuota",                     QUOTA),

    ("ResourceInsufficient",                               SCARCE),
    ("LimitExceeded*",                                     SCARCE),
    ("InsufficientSnapshotQuota",                          SCARCE),
    ("ResourceUnavailable.DiskSnapshotChainTooLarge",      SCARCE),

    ("AuthFailure.SignatureExpire",                        CLOCK),

    ("AuthFailure.TokenFailure",                           CREDENTIALS),

    // A temporary id that the cloud has forgotten looks like one that never was.
    ("AuthFailure.SecretIdNotFound",                       REFUSED.remedied_by(Remedy::Credentials)),
    ("AuthFailure*",                                       REFUSED),
    ("UnauthorizedOperation*",                             REFUSED),

    ("InvalidParameter*",                                  PERMANENT),
    ("InvalidParameterValue*",                             PERMANENT),
    ("MissingParameter",                                   PERMANENT),
    ("UnknownParameter",                                   PERMANENT),
    ("InvalidFilter",                                      PERMANENT),
    ("InvalidAction",                                      PERMANENT),
    ("NoSuchVersion",                                      PERMANENT),
    ("UnsupportedRegion",                                  PERMANENT),
    ("UnsupportedOperation*",                              PERMANENT),
    ("InvalidDisk.NotSupported",                           PERMANENT),
    ("InvalidInstance.NotSupported",                       PERMANENT),
    ("InvalidDisk.NotSupportSnapshot",                     PERMANENT),
    ("ResourceUnavailable.NotSupported",                   PERMANENT),
    ("ResourceUnavailable.NotSupportSnapshot",             PERMANENT),
    ("InvalidRequest",                                     PERMANENT),
    ("RequestSizeLimitExceeded",                           PERMANENT),
    ("ActionOffline",                                      PERMANENT),
    ("IpInBlacklist",                                      PERMANENT),
    ("IpNotInWhitelist",                                   PERMANENT),

    ("InvalidDiskId.NotFound",                             GONE),
    ("InvalidSnapshotId.NotFound",                         GONE),
    ("ResourceNotFound*",                                  GONE),

    ("InvalidAccount.InsufficientBalance",                 UNPAID),
    ("ResourceUnavailable.Expire",                         UNPAID),
    ("InvalidDisk.Expire",                                 UNPAID),

    ("InternalError*",                                     AMBIGUOUS),
    ("ServiceUnavailable",                                 AMBIGUOUS),
    ("FailedOperation",                                    AMBIGUOUS),
    ("ResponseSizeLimitExceeded",                          AMBIGUOUS),
];

impl Meaning {
    /// The meaning of `code` for an action: by the full code first, then by the first wildcard that fits, then
    /// by the part before the first dot.
    pub(crate) fn of(code: &str, kind: Kind) -> Self {
        let family = code.split_once('.').map_or(code, |(family, _)| family);
        let meaning = exact(code).or_else(|| wildcard(code)).or_else(|| exact(family)).unwrap_or(UNKNOWN);
        Self { class: for_kind(meaning.class, kind), ..meaning }
    }
}

fn exact(code: &str) -> Option<Meaning> {
    CODES.iter().find(|(row, _)| *row == code).map(|(_, meaning)| *meaning)
}

fn wildcard(code: &str) -> Option<Meaning> {
    CODES
        .iter()
        .find(|(row, _)| row.strip_suffix('*').is_some_and(|prefix| code.starts_with(prefix)))
        .map(|(_, meaning)| *meaning)
}

/// Only a create and a rollback can be ambiguous.
fn for_kind(class: Class, kind: Kind) -> Class {
    match (class, kind) {
        (Class::Ambiguous, Kind::Read | Kind::Delete) => Class::Unavailable,
        (class, _) => class,
    }
}

/// A call that did not do what was asked, or may not have.
#[derive(Debug, thiserror::Error)]
#[error("{action} {}: {message}", code.as_deref().map_or("failed", |code| code))]
#[non_exhaustive]
pub struct Error {
    /// The action.
    pub action: Action,
    /// What it means for the caller.
    pub class: Class,
    /// The cloud's code, if it gave one.
    pub code: Option<String>,
    /// Whether the class stands on a fact: false for a code that is in no table, whose attempts the caller is
    /// to bound.
    pub known: bool,
    /// The cloud's words, or ours: a lower-case fragment where it is ours.
    pub message: String,
    /// The cloud's id of the request.
    pub request_id: Option<String>,
    /// Whether bytes of the request may have left.
    pub sent: Sent,
    /// The cloud asks for at least this long a wait before the next call.
    pub retry_after: Option<Duration>,
    /// What could have been put right within the call.
    pub(crate) remedy: Option<Remedy>,
    pub(crate) source: Option<Box<dyn StdError + Send + Sync>>,
}

/// A longer message, such as a page of a gateway, is cut.
const LONGEST_MESSAGE: usize = 500;

impl Error {
    /// The cloud gave a code.
    pub(crate) fn answered(action: Action, code: String, message: &str) -> Self {
        let meaning = Meaning::of(&code, action.kind());
        Self {
            code: Some(code),
            known: meaning.known,
            retry_after: meaning.pause,
            remedy: meaning.remedy,
            message: message.chars().take(LONGEST_MESSAGE).collect(),
            ..Self::of(action, meaning.class, String::new())
        }
    }

    /// A reply that tells nothing: it may be that of a success.
    pub(crate) fn unusable(action: Action, message: impl Into<String>) -> Self {
        Self::of(action, for_kind(Class::Ambiguous, action.kind()), message.into())
    }

    /// No reply.
    pub(crate) fn unanswered(action: Action, error: TransportError) -> Self {
        let sent = error.failure.sent();
        let class = match sent {
            Sent::No => Class::NotSent,
            Sent::Maybe => for_kind(Class::Ambiguous, action.kind()),
        };
        Self { sent, ..Self::of(action, class, error.failure.to_string()) }.because(error)
    }

    /// No credential to sign with.
    pub(crate) fn unsigned(action: Action, error: CredentialsError) -> Self {
        Self { sent: Sent::No, ..Self::of(action, Class::Credentials, "no credential".to_owned()) }
            .because(error)
    }

    /// Not even tried.
    pub(crate) fn untried(action: Action, message: &str) -> Self {
        Self { sent: Sent::No, ..Self::of(action, Class::NotSent, message.to_owned()) }
    }

    fn of(action: Action, class: Class, message: String) -> Self {
        Self {
            action,
            class,
            code: None,
            known: true,
            message,
            request_id: None,
            sent: Sent::Maybe,
            retry_after: None,
            remedy: None,
            source: None,
        }
    }

    fn because(self, source: impl StdError + Send + Sync + 'static) -> Self {
        Self { source: Some(Box::new(source)), ..self }
    }
}

#[cfg(test)]
mod tests;
