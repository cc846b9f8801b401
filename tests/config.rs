//! Configuration files: good ones are read, faulty ones are refused with all that is wrong with them.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cbs_backupd::config::{AssumedRole, Config, CredentialSource};

fn parse(text: &str) -> Result<Config, String> {
    Config::parse("config.yaml", text, &BTreeMap::new()).map_err(|errors| errors.to_string())
}

#[test]
fn the_documented_configurations_are_good() {
    for name in ["config.yaml", "minimal.yaml", "demo.yaml"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(name);
        Config::read(&path, &BTreeMap::new()).unwrap_or_else(|errors| panic!("{errors}"));
    }
}

/// The sample says what the defaults are: a file without those lines must mean the same.
#[test]
fn the_sample_states_the_defaults() {
    let sample = parse(include_str!("../config/config.yaml")).unwrap();
    let minimal = parse(include_str!("../config/minimal.yaml")).unwrap();
    assert_eq!(sample.retry, minimal.retry);
    assert_eq!(sample.settle, minimal.settle);
    assert_eq!(sample.history_keep, minimal.history_keep);
    assert_eq!(sample.state_dir, minimal.state_dir);
    assert_eq!(sample.discover_every, minimal.discover_every);
    // Of the job that states it.
    let selecting = sample.jobs.iter().find(|job| job.name.as_str() == "tagged").unwrap();
    assert_eq!(selecting.max_loss, minimal.jobs[0].max_loss);
    let default = sample.default_target().unwrap();
    assert_eq!(sample.targets[default], minimal.targets[default]);
}

/// Each `tests/config/bad/NAME.yaml` has its messages in `NAME.txt`, to the letter. `UPDATE=1` writes them anew.
#[test]
fn faulty_files_are_refused_with_all_that_is_wrong() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/bad");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    files.sort();
    assert!(files.len() >= 81);
    let mut wrong = Vec::new();
    for path in files {
        let name = path.file_name().unwrap().to_str().unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let shown = match Config::parse(name, &text, &BTreeMap::new()) {
            Ok(_) => "no mistake".to_owned(),
            Err(errors) => errors.to_string(),
        };
        let expected = path.with_extension("txt");
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&expected, format!("{shown}\n")).unwrap();
        }
        if std::fs::read_to_string(&expected).unwrap_or_default().trim_end() != shown {
            wrong.push(format!("--- {name}\n{shown}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn metrics_are_to_be_had_where_that_is_said_and_nowhere_otherwise() {
    let minimal = include_str!("../config/minimal.yaml");
    let listen = |section: &str| {
        let metrics = parse(&format!("{section}\n{minimal}")).unwrap().metrics;
        metrics.map(|metrics| (metrics.listen.to_string(), metrics.per_disk))
    };
    let loopback = "127.0.0.1:9750".to_owned();
    assert_eq!(listen(""), None);
    assert_eq!(listen("metrics: {}"), Some((loopback.clone(), true)));
    assert_eq!(listen("metrics: { per_disk: false }"), Some((loopback, false)));
    assert_eq!(listen("metrics: { listen: \"[::]:1\" }"), Some(("[::]:1".to_owned(), true)));
    let socket = "unix:/run/cbs-backupd/metrics.sock";
    assert_eq!(listen(&format!("metrics: {{ listen: {socket} }}")), Some((socket.to_owned(), true)));
}

#[test]
fn the_environment_is_laid_over_scalars_outside_jobs() {
    let environment = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    };
    let minimal = include_str!("../config/minimal.yaml");
    let config = Config::parse(
        "minimal.yaml",
        minimal,
        &environment(&[
            ("CBS_BACKUPD__TARGETS__DEFAULT__RATE_LIMIT", "10"),
            ("CBS_BACKUPD__SETTLE", "7m"),
            ("OTHER", "x"),
        ]),
    )
    .unwrap();
    assert_eq!(config.targets.values().next().unwrap().rate_limit, 10);
    assert_eq!(config.settle.as_secs(), 420);
    let errors = Config::parse(
        "minimal.yaml",
        minimal,
        &environment(&[
            ("CBS_BACKUPD__TARGETS__DEFAULT__RATE_LIMIT", "many"),
            ("CBS_BACKUPD__SETLE", "7m"),
            ("CBS_BACKUPD__JOBS__X", "1"),
        ]),
    )
    .unwrap_err()
    .to_string();
    for part in [
        "environment variable CBS_BACKUPD__TARGETS__DEFAULT__RATE_LIMIT: `rate_limit`: expected a whole number",
        "environment variable CBS_BACKUPD__SETLE: unknown key `setle`; did you mean `settle`?",
        "environment variable CBS_BACKUPD__JOBS__X: jobs are set in the file alone",
        "3 mistakes",
    ] {
        assert!(errors.contains(part), "{part}\n{errors}");
    }
}

#[test]
fn every_source_of_credentials_is_read_with_its_defaults() {
    let read = |source: &str| {
        let minimal = include_str!("../config/minimal.yaml");
        let text =
            minimal.replace("ap-guangzhou }", &format!("ap-guangzhou, credentials: {{ {source} }} }}"));
        assert_ne!(text, minimal);
        let config = parse(&text).unwrap_or_else(|errors| panic!("{errors}"));
        config.targets.values().next().unwrap().credentials.clone()
    };
    let (sts, hours) = ("https://sts.tencentcloudapi.com".to_owned(), Duration::from_secs(7_200));
    let session_name = "cbs-backupd".to_owned();
    assert_eq!(read("source: auto"), CredentialSource::Auto);
    assert_eq!(read("source: tccli"), CredentialSource::Tccli { path: None, profile: None });
    assert_eq!(
        read("source: tccli, profile: ops"),
        CredentialSource::Tccli { path: None, profile: Some("ops".to_owned()) }
    );
    assert_eq!(read("source: systemd, prefix: a-"), CredentialSource::Systemd { prefix: "a-".to_owned() });
    assert_eq!(
        read("source: cvm-role"),
        CredentialSource::CvmRole { role: None, endpoint: "http://metadata.tencentyun.com".to_owned() }
    );
    assert_eq!(
        read("source: tke-oidc"),
        CredentialSource::TkeOidc {
            session_name: session_name.clone(),
            duration: hours,
            endpoint: sts.clone()
        }
    );
    let role_arn = "qcs::cam::uin/1:roleName/x";
    let assumed = |from, external_id: Option<&str>| {
        CredentialSource::AssumeRole(Box::new(AssumedRole {
            from,
            role_arn: role_arn.to_owned(),
            external_id: external_id.map(str::to_owned),
            session_name: session_name.clone(),
            duration: hours,
            endpoint: sts.clone(),
        }))
    };
    let source = format!("source: assume-role, role_arn: '{role_arn}'");
    assert_eq!(read(&source), assumed(CredentialSource::Environment, None));
    assert_eq!(
        read(&format!("{source}, external_id: 'of:ours', from: {{ source: systemd }}")),
        assumed(CredentialSource::Systemd { prefix: String::new() }, Some("of:ours"))
    );
}

#[test]
fn a_file_that_is_not_utf_8_says_where() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("latin-1.yaml");
    std::fs::write(&path, b"owner: ops1\n# \xc3\xa9t\xe9\n").unwrap();
    let errors = Config::read(&path, &BTreeMap::new()).unwrap_err().to_string();
    assert!(errors.ends_with("latin-1.yaml:2:5: not UTF-8; expected a YAML file in UTF-8"), "{errors}");
}

#[test]
fn a_password_in_an_endpoint_is_never_shown() {
    let minimal = include_str!("../config/minimal.yaml");
    let text = minimal.replace("ap-guangzhou }", "ap-guangzhou, endpoint: 'https://root:VERYSECRET@host' }");
    let variable =
        ("CBS_BACKUPD__TARGETS__DEFAULT__ENDPOINT".to_owned(), "https://root:VERYSECRET@host".to_owned());
    for (text, environment) in [(&*text, BTreeMap::new()), (minimal, BTreeMap::from([variable]))] {
        let errors = Config::parse("config.yaml", text, &environment).unwrap_err().to_string();
        assert!(errors.contains("`endpoint`: expected") && !errors.contains("VERYSECRET"), "{errors}");
    }
}

#[test]
fn a_secret_in_the_file_is_never_shown() {
    let text = "owner: ops1\ntargets:\n  default:\n    region: ap-guangzhou\n    secret_key: VERYSECRET\n    \
                credentials: { source: VERYSECRET, secret_id: VERYSECRET }\n    token:\n      VERYSECRET: [\njobs: []\n";
    let errors = parse(text).unwrap_err();
    assert!(!errors.contains("VERYSECRET"), "{errors}");
    let errors = parse(&text.replace(": [\n", ": x\n")).unwrap_err();
    assert!(!errors.contains("VERYSECRET") && errors.contains("secret_key"), "{errors}");
}
