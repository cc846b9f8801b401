use proptest::prelude::*;

use super::*;
use crate::transport::Failure;

fn class(code: &str, kind: Kind) -> Class {
    Meaning::of(code, kind).class
}

/// Written out again from the vendor's pages, and not derived from the table.
#[test]
fn every_documented_code_has_its_class_for_a_create() {
    let documented: [(Class, &[&str]); 11] = [
        (
            Class::Throttled,
            &[
                "RequestLimitExceeded",
                "RequestLimitExceeded.UinLimitExceeded",
                "RequestLimitExceeded.GlobalRegionUinLimitExceeded",
                "RequestLimitExceeded.IPLimitExceeded",
            ],
        ),
        (
            Class::Busy,
            &[
                "InvalidDisk.Busy",
                "ResourceBusy",
                "ResourceInUse",
                "ResourceInUse.DiskRollbacking",
                "ResourceInUse.Whatever",
                "ResourceUnavailable.SnapshotCreating",
                "ResourceUnavailable.TooManyCreatingSnapshot",
                "ResourceUnavailable.DiskBackupCreating",
                "InvalidDisk.SnapshotCreating",
            ],
        ),
        (Class::Quota, &["ResourceInsufficient.OverQuota"]),
        (
            Class::Scarce,
            &[
                "ResourceInsufficient",
                "ResourceInsufficient.Other",
                "LimitExceeded",
                "LimitExceeded.AttachedDisk",
                "InsufficientSnapshotQuota",
                "ResourceUnavailable.DiskSnapshotChainTooLarge",
            ],
        ),
        (Class::Clock, &["AuthFailure.SignatureExpire"]),
        (Class::Credentials, &["AuthFailure.TokenFailure"]),
        (
            Class::Refused,
            &[
                "AuthFailure",
                "AuthFailure.SecretIdNotFound",
                "AuthFailure.SignatureFailure",
                "AuthFailure.InvalidSecretId",
                "AuthFailure.MFAFailure",
                "AuthFailure.UnauthorizedOperation",
                "UnauthorizedOperation",
                "UnauthorizedOperation.NoPermission",
            ],
        ),
        (
            Class::Permanent,
            &[
                "InvalidParameter",
                "InvalidParameter.Format",
                "InvalidParameterValue",
                "InvalidParameterValue.LimitExceeded",
                "MissingParameter",
                "UnknownParameter",
                "InvalidFilter",
                "InvalidAction",
                "NoSuchVersion",
                "UnsupportedRegion",
                "UnsupportedOperation",
                "UnsupportedOperation.DetachPostpaidDisk",
                "InvalidDisk.NotSupported",
                "InvalidInstance.NotSupported",
                "InvalidDisk.NotSupportSnapshot",
                "ResourceUnavailable.NotSupported",
                "ResourceUnavailable.NotSupportSnapshot",
                "InvalidRequest",
                "RequestSizeLimitExceeded",
                "ActionOffline",
                "IpInBlacklist",
                "IpNotInWhitelist",
            ],
        ),
        (
            Class::Gone,
            &[
                "InvalidDiskId.NotFound",
                "InvalidSnapshotId.NotFound",
                "ResourceNotFound",
                "ResourceNotFound.NotFound",
            ],
        ),
        (
            Class::Unpaid,
            &["InvalidAccount.InsufficientBalance", "ResourceUnavailable.Expire", "InvalidDisk.Expire"],
        ),
        (
            Class::Ambiguous,
            &[
                "InternalError",
                "InternalError.ResourceOpFailed",
                "InternalErrorX",
                "ServiceUnavailable",
                "FailedOperation",
                "FailedOperation.Retry",
                "ResponseSizeLimitExceeded",
            ],
        ),
    ];
    for (expected, codes) in documented {
        for code in codes {
            let meaning = Meaning::of(code, Kind::Create);
            assert_eq!((meaning.class, meaning.known), (expected, true), "{code}");
        }
    }
    for (row, _) in CODES {
        let documented = documented.iter().flat_map(|(_, codes)| *codes);
        let prefix = row.trim_end_matches('*');
        assert!(documented.clone().any(|code| code.starts_with(prefix)), "{row} is in no documentation");
    }
}

/// Logs and metrics bear them.
#[test]
fn the_word_for_a_class_is_its_name() {
    use Class::*;
    for class in [
        Throttled,
        Busy,
        Quota,
        Scarce,
        Clock,
        Credentials,
        Refused,
        Permanent,
        Gone,
        Unpaid,
        Ambiguous,
        Unavailable,
    ] {
        assert_eq!(class.as_str(), format!("{class:?}").to_lowercase());
    }
    assert_eq!(NotSent.as_str(), "not_sent");
}

#[test]
fn no_row_hides_another() {
    for (index, (row, meaning)) in CODES.iter().enumerate() {
        for (earlier, other) in &CODES[..index] {
            assert_ne!(earlier, row);
            let hidden =
                row.ends_with('*') && earlier.strip_suffix('*').is_some_and(|it| row.starts_with(it));
            assert!(!hidden || meaning == other, "{earlier} hides {row}");
        }
    }
}

#[test]
fn what_one_more_send_may_cure() {
    let remedy = |code| Meaning::of(code, Kind::Create).remedy;
    assert_eq!(remedy("AuthFailure.SignatureExpire"), Some(Remedy::Clock));
    assert_eq!(remedy("AuthFailure.TokenFailure"), Some(Remedy::Credentials));
    assert_eq!(remedy("AuthFailure.SecretIdNotFound"), Some(Remedy::Credentials));
    assert_eq!(remedy("AuthFailure.SignatureFailure"), None);
}

#[test]
fn a_throttle_that_others_share_asks_for_a_longer_wait() {
    let pause = |code| Meaning::of(code, Kind::Create).pause;
    assert_eq!(pause("RequestLimitExceeded"), None);
    assert_eq!(pause("RequestLimitExceeded.UinLimitExceeded"), Some(Duration::from_secs(2)));
}

#[test]
fn an_unknown_code_is_ambiguous_for_a_create_and_says_so() {
    for code in ["", ".", "Surprise", "InvalidDisk", "InvalidDisk.Odd", "ResourceUnavailable", "resourcebusy"]
    {
        let meaning = Meaning::of(code, Kind::Create);
        assert_eq!((meaning.class, meaning.known), (Class::Ambiguous, false), "{code}");
        assert_eq!(class(code, Kind::Read), Class::Unavailable);
        assert_eq!(class(code, Kind::Delete), Class::Unavailable);
    }
}

#[test]
fn a_failure_of_the_network_is_ambiguous_only_where_bytes_may_have_left() {
    let class = |action, failure| Error::unanswered(action, TransportError::new(failure)).class;
    for failure in [Failure::Invalid, Failure::Connect] {
        assert_eq!(class(Action::CreateDiskBackup, failure), Class::NotSent);
        assert_eq!(class(Action::DescribeDisks, failure), Class::NotSent);
    }
    for failure in [Failure::TimedOut, Failure::Closed, Failure::CutShort, Failure::TooLong] {
        assert_eq!(class(Action::CreateDiskBackup, failure), Class::Ambiguous);
        assert_eq!(class(Action::DeleteDiskBackups, failure), Class::Unavailable);
        assert_eq!(class(Action::DescribeDisks, failure), Class::Unavailable);
    }
}

#[test]
fn an_error_reads_as_a_fragment_without_its_source() {
    let error = Error::answered(Action::CreateDiskBackup, "ResourceBusy".into(), "the disk is busy");
    assert_eq!(error.to_string(), "CreateDiskBackup ResourceBusy: the disk is busy");
    let error = Error::unanswered(
        Action::DescribeDisks,
        TransportError::because(Failure::Connect, "connection refused"),
    );
    assert_eq!(error.to_string(), "DescribeDisks failed: no connection");
    assert_eq!(error.source().unwrap().source().unwrap().to_string(), "connection refused");
}

proptest! {
    #[test]
    fn no_code_makes_a_read_or_a_delete_ambiguous(row in 0..CODES.len(), end in "[A-Za-z.]{0,12}") {
        let code = format!("{}{end}", CODES[row].0.trim_end_matches('*'));
        prop_assert_ne!(class(&code, Kind::Read), Class::Ambiguous);
        prop_assert_ne!(class(&code, Kind::Delete), Class::Ambiguous);
    }
}

/// `docs/setbacks.md` and the table say the same: each code of either is in the other, with its class.
#[test]
fn the_documentation_has_every_code_with_its_class() {
    let page = include_str!("../../../../docs/setbacks.md");
    let mut documented = Vec::new();
    for row in page.lines().filter(|line| line.starts_with("| `")) {
        let columns: Vec<&str> = row.split(" | ").collect();
        let class = columns[0].trim_matches(['|', ' ', '`']);
        let mut family = String::new();
        for code in columns[1].split('`').skip(1).step_by(2) {
            // `.Sub` stands for the family of the code before it.
            let code = if code.starts_with('.') { format!("{family}{code}") } else { code.to_owned() };
            family = code.split('.').next().unwrap().to_owned();
            assert_eq!(Meaning::of(&code.replace('*', ".Any"), Kind::Create).class.as_str(), class, "{code}");
            documented.push(code);
        }
    }
    for (code, _) in CODES {
        let named = documented.iter().any(|known| match known.strip_suffix('*') {
            Some(family) => code.starts_with(family),
            None => code == known || code.starts_with("RequestLimitExceeded."),
        });
        assert!(named, "docs/setbacks.md lacks {code}");
    }
}
