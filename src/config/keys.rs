//! Every key of the configuration: what it may be, what it is where nobody sets it, and what it means.
//!
//! Responsible for cbs-backupd-config(5). The readers do not ask this table: they are asked by `tests/manual.rs`, which
//! has them name the keys that they know, refuse a wrong value and take the default, and compares. So the table, the
//! readers and `config/config.yaml` say the same.

use super::one_of;
use crate::report::log::Filter;

/// What a key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A duration with units, from the first to the second.
    Duration(&'static str, &'static str),
    /// A whole number, from the first to the second.
    Number(u32, u32),
    /// One of these words.
    Words(&'static [&'static str]),
    /// A single value that is such, in the words of the message which refuses another.
    Single(&'static str),
    /// Something else: a list, a mapping, or one of several.
    Other(&'static str),
}

impl Kind {
    /// What the message says that was expected; none where that depends on the rest of the file.
    #[must_use]
    pub fn expected(self) -> Option<String> {
        match self {
            Self::Duration(least, most) => Some(format!(
                "a duration from {least} to {most}, written such as `90s`, `5m`, `1h30m` or `7d`"
            )),
            Self::Number(least, most) => Some(format!("a whole number from {least} to {most}")),
            Self::Words(words) => Some(one_of(words)),
            Self::Single(what) => Some(what.to_owned()),
            Self::Other(_) => None,
        }
    }

    /// The same, shorter, for a list of keys.
    #[must_use]
    pub fn shown(self) -> String {
        match self {
            Self::Duration(least, most) => format!("a duration, {least} to {most}"),
            Self::Number(least, most) => format!("a whole number, {least} to {most}"),
            Self::Words(words) => one_of(words),
            Self::Single(what) | Self::Other(what) => what.to_owned(),
        }
    }
}

/// What holds where nobody sets a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unset {
    /// The file is refused.
    Required,
    /// This value, in YAML.
    Is(&'static str),
    /// What these words say.
    Means(&'static str),
}

/// A key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its name.
    pub name: &'static str,
    /// What it may be.
    pub kind: Kind,
    /// What holds without it.
    pub default: Unset,
    /// What it means, in sentences.
    pub meaning: &'static str,
    /// A key beside it and its value, without which this one is refused.
    pub goes_with: Option<(&'static str, &'static str)>,
}

/// Keys that stand in one mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Where the mapping stands: `targets.NAME.credentials`; empty for the top of the file.
    pub path: &'static str,
    /// What it is about, in sentences.
    pub about: &'static str,
    /// Its keys, in the order of the manual.
    pub keys: &'static [Key],
}

const fn key(name: &'static str, kind: Kind, default: Unset, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning, goes_with: None }
}

const fn only(key: Key, with: (&'static str, &'static str)) -> Key {
    Key { goes_with: Some(with), ..key }
}

use Kind::{Duration, Number, Other, Single, Words};
use Unset::{Is, Means, Required};

const COUNT: Kind = Number(1, 10_000);
const WAIT: Kind = Duration("100ms", "1d");
const WAITS: Kind = Other("a mapping of `shortest`, `first` and `longest`");
const STS: &str = "https://sts.tencentcloudapi.com, and http://metadata.tencentyun.com for `cvm-role`";
const STATES: Kind = Other(
    "one or more of `attached`, `unattached`, `attaching`, `detaching`, `expanding`, `rollbacking`, `torecycle`, `dumping`",
);
const ADDRESS: Kind = Other("an absolute path");
const ADDRESSED: &str = "required, in one of four ways";
const ADDRESS_IS: &str = "A file with the address, which is a secret. Or `url_env`, a variable of the environment with it; `url_credential`, a credential of systemd; `url`, the address itself, where whoever reads this file can use it.";
const KIND: Key = key("kind", Words(&["webhook", "mail", "ping"]), Required, "How it is reached.");
const GATHER: Key = key(
    "gather",
    Duration("0s", "1h"),
    Is("5m"),
    "How long news of a job wait for more while runs of it are under way.",
);
const REMIND: Key =
    key("remind", Duration("1h", "30d"), Means("never"), "After how long what is still so is told again.");
const TIMEOUT: Key = key("timeout", Duration("1s", "1m"), Is("10s"), "The bound on one delivery.");
const STYLE: Key =
    key("style", Words(&["healthchecks", "uptime-kuma"]), Is("healthchecks"), "What is expected there.");
const SOURCES: Kind =
    Words(&["auto", "environment", "file", "tccli", "systemd", "cvm-role", "assume-role", "tke-oidc"]);

/// All keys.
#[rustfmt::skip]
pub const SECTIONS: &[Section] = &[
    Section {
        path: "",
        about: "What holds for the whole installation.",
        keys: &[
            key("owner", Single("1 to 8 lower-case letters and digits: the mark of this installation in every backup's name"), Required,
                "Two installations that back up disks of one account need two. It should never change: backups under another mark are not ours any more, and are neither counted nor deleted."),
            key("state_dir", Single("an absolute path"), Is("/var/lib/cbs-backupd"),
                "Where the journal and the lock are. Each instance needs its own. It can be changed by a restart alone."),
            key("timezone", Single("an IANA time zone, such as `Asia/Shanghai`"), Is("UTC"),
                "The zone of schedules that name none."),
            key("settle", Duration("1s", "1h"), Is("5m"),
                "How long after a lost reply a complete listing may conclude that no backup was made, and how far apart the two listings before a deletion are. Where the cloud's listings lag behind longer than this, a second backup could be made."),
            key("history_keep", Duration("1d", "36500d"), Is("400d"),
                "How long ended runs stay in the journal, save those whose backups still exist and the last good one of a disk."),
            key("discover_every", Duration("1m", "1d"), Is("10m"),
                "How often the disks that jobs select are listed."),
            key("guard", Duration("0ms", "1s"), Is("1ms"),
                "Added between two calls of one action, so that the network's jitter cannot push more than `rate_limit` of them into a second at the server. Read at start alone."),
            key("retry", Other("a mapping of kinds of setback"), Means("as below"),
                "How setbacks are waited out. Read at start alone."),
            key("log", Other("a mapping with `level`"), Is("{ level: info }"), "What is logged."),
            key("metrics", Other("a mapping such as `{ listen: 127.0.0.1:9750 }`"), Means("none"),
                "Where metrics are to be had, in OpenMetrics and in Prometheus's older text, with `/healthz` and `/readyz`."),
            key("targets", Other("a mapping of names to targets"), Required,
                "Accounts in regions. A name has 1 to 32 lower-case letters, digits and hyphens."),
            key("notify", Other("a mapping of names to notifiers"), Means("nobody is told"), "Who is told of troubles, and how."),
            key("jobs", Other("a list of jobs"), Required, "What is backed up, and when."),
        ],
    },
    Section {
        path: "log",
        about: "What is logged. `--log-level` goes before it at the start, and `cbs-backupd log-level` before both while the daemon runs.",
        keys: &[
            key("level", Single(Filter::EXPECTED), Is("info"), "Read again at a reload."),
        ],
    },
    Section {
        path: "metrics",
        about: "Where metrics are to be had. An empty mapping takes the defaults.",
        keys: &[
            key("listen", Single("an IP address with a port, such as `127.0.0.1:9750` or `\"[::1]:9750\"`, or `unix:` with an absolute path"), Is("127.0.0.1:9750"),
                "Whoever reaches it reads the names of jobs and disks, and no secret."),
            key("per_disk", Words(&["true", "false"]), Is("true"), "Whether each disk has series of its own."),
        ],
    },
    Section {
        path: "retry",
        about: "The waits before another attempt, by the kind of setback. Each wait is drawn evenly between `shortest` and a ceiling that starts at `first` and doubles, with each setback of the kind in a row, up to `longest`.",
        keys: &[
            key("throttled", WAITS, Is("{ shortest: 1s, first: 2s, longest: 1m }"), "Too many calls. The calls of the action slow down besides."),
            key("busy", WAITS, Is("{ shortest: 15s, first: 30s, longest: 10m }"), "The disk is at something else."),
            key("quota", WAITS, Is("{ shortest: 2m, first: 5m, longest: 30m }"), "The disk's backup quota is full."),
            key("scarce", WAITS, Is("{ shortest: 5m, first: 10m, longest: 1h }"), "A limit of the account or the region is reached."),
            key("person", WAITS, Is("{ shortest: 5m, first: 10m, longest: 1h }"), "Refused or unpaid: a person must act."),
            key("passing", WAITS, Is("{ shortest: 1s, first: 5s, longest: 5m }"), "Network, server, clock, credential."),
        ],
    },
    Section {
        path: "retry.KIND",
        about: "One kind of setback. `shortest` <= `first` <= `longest`; those that are not set keep the kind's default.",
        keys: &[
            key("shortest", WAIT, Means("the kind's"), "No wait is shorter."),
            key("first", WAIT, Means("the kind's"), "The ceiling of the first wait."),
            key("longest", WAIT, Means("the kind's"), "No wait is longer."),
        ],
    },
    Section {
        path: "targets.NAME",
        about: "An account in a region. A job without `target` uses the only target, or the one named `default`.",
        keys: &[
            key("region", Single("a region, such as `ap-guangzhou`"), Required, "Where the disks are."),
            key("endpoint", Single("scheme and host, such as `https://cbs.ap-guangzhou.tencentcloudapi.com`"), Means("from the region"),
                "The API. Plain `http://` is for tests: what is sent can be read on the way."),
            key("credentials", Other("a mapping with `source`"), Is("{ source: environment }"), "Where the credential comes from."),
            key("rate_limit", Number(1, 1000), Is("20"), "Calls a second, at most, for each action. Targets that share a credential and a host share the lowest of theirs."),
            key("connect_timeout", Duration("100ms", "1m"), Is("5s"), "The bound on opening a connection."),
            key("call_timeout", Duration("500ms", "100s"), Is("15s"), "The bound on a whole call."),
        ],
    },
    Section {
        path: "targets.NAME.credentials",
        about: "Where a target's credential comes from. No secret ever stands in this file. `assume-role` has another credential of the same form under `from`.",
        keys: &[
            key("source", SOURCES, Required,
                "`environment`: the variables under ENVIRONMENT of `cbs-backupd(8)`. `file`: an ini file as the vendor's SDKs read it. `tccli`: a profile of the vendor's command line. `systemd`: the files secret_id, secret_key and perhaps token in $CREDENTIALS_DIRECTORY. `cvm-role`: the role that is bound to this machine. `assume-role`: a role that another credential may assume. `tke-oidc`: the role of a pod of a TKE cluster. `auto`: the first of environment, file, tccli, systemd, tke-oidc and cvm-role that is in use."),
            only(key("path", Single("an absolute path"), Means("the SDKs' own places; for `tccli` that of the profile"), "The file, for `file` and `tccli`. It is read again when it changes."), ("source", "file")),
            only(key("profile", Other("a name"), Means("default"), "The section or profile, for `file` and `tccli`."), ("source", "file")),
            only(key("prefix", Single("the beginning of a file's name: letters, digits and `-_.`"), Means("none"), "For `systemd`: what stands before the names of the three files."), ("source", "systemd")),
            only(key("role", Single("the name of a role"), Means("the one that the machine names"), "For `cvm-role`."), ("source", "cvm-role")),
            only(key("role_arn", Single("a role's ARN, such as `qcs::cam::uin/100000000001:roleName/backup`"), Means("required with `assume-role`"), "The role that is assumed."), ("source", "assume-role")),
            only(key("external_id", Single("2 to 128 letters, digits and `_+=,.@:/-`"), Means("none"), "For `assume-role`: what the role's owner asks of other accounts."), ("source", "assume-role")),
            only(key("from", Other("a mapping with `source`"), Is("{ source: environment }"), "For `assume-role`: the credential that assumes it; any other source."), ("source", "assume-role")),
            only(key("session_name", Single("a name of 2 to 128 letters, digits and `_+=,.@-`"), Is("cbs-backupd"), "For `assume-role` and `tke-oidc`: the name in the cloud's audit log."), ("source", "tke-oidc")),
            only(key("duration", Duration("15m", "12h"), Is("2h"), "For `assume-role` and `tke-oidc`: how long a credential lives. It is renewed early."), ("source", "tke-oidc")),
            only(key("endpoint", Other("scheme and host"), Means(STS), "Who issues the credential, for `cvm-role`, `assume-role` and `tke-oidc`."), ("source", "tke-oidc")),
        ],
    },
    Section {
        path: "notify.WEBHOOK",
        about: "A notifier of the kind `webhook`: messages by HTTP, to a program or to a chat.",
        keys: &[
            KIND,
            key("url_file", ADDRESS, Means(ADDRESSED), ADDRESS_IS),
            key("template", Words(&["json", "slack", "wecom", "dingtalk", "feishu"]), Is("json"), "The body that is expected there."),
            only(key("secret_file", Other("an absolute path"), Means("none"), "With `dingtalk` and `feishu`: the key that signs. Or `secret_env`, `secret_credential`."), ("template", "dingtalk")),
            GATHER, REMIND, TIMEOUT,
        ],
    },
    Section {
        path: "notify.MAIL",
        about: "A notifier of the kind `mail`.",
        keys: &[
            KIND,
            key("server", Other("the name of a server, such as `smtp.example.com`"), Required, "The server that takes the mail."),
            key("tls", Words(&["starttls", "tls", "none"]), Is("starttls"), "How the connection is protected. No password goes over one that is not, save to this machine."),
            key("port", Number(1, 65535), Means("587, with `tls` 465, with `none` 25"), "Its port."),
            key("username", Other("a name"), Means("no login"), "Who logs in."),
            key("password_file", Other("an absolute path"), Means("no login"), "With `username`. Or `password_env`, `password_credential`."),
            key("from", Other("a mail address"), Required, "The sender."),
            key("to", Other("a list of mail addresses"), Required, "The recipients."),
            GATHER, REMIND, TIMEOUT,
        ],
    },
    Section {
        path: "notify.PING",
        about: "A notifier of the kind `ping`: a dead man's switch for the daemon as a whole. It is pinged while all tasks move and no disk is beyond its objective.",
        keys: &[
            KIND,
            key("url_file", ADDRESS, Means(ADDRESSED), ADDRESS_IS),
            STYLE,
            key("every", Duration("30s", "1d"), Is("5m"), "How often."),
            TIMEOUT,
        ],
    },
    Section {
        path: "jobs[]",
        about: "A job: which disks, when, and what stays.",
        keys: &[
            key("name", Single("a name of 1 to 32 lower-case letters, digits and hyphens, for a job"), Required,
                "It is part of the backups' names. A job under another name is a new job, unless `was` names the old one."),
            key("target", Other("the name of a target"), Means("the only one, or `default`"), "The account and region."),
            key("disks", Other("a list of disk ids"), Means("required, or `select`"), "These disks."),
            key("select", Other("a mapping of conditions"), Means("required, or `disks`"), "All disks that meet these conditions, as the cloud lists them."),
            key("exclude", Other("a list of disk ids and of mappings of conditions"), Means("none"), "With `select`: disks that are left out."),
            key("max_loss", Number(0, 100), Is("20"), "With `select`: how many percent of the disks may leave the job at once. A listing that would take more away is not believed, and said."),
            key("schedule", Other("a cron expression, or a mapping with `cron`"), Required, "When it is due."),
            key("complete_within", Duration("1s", "30d"), Is("24h"), "How long the cloud may take from the acceptance of a backup until it is NORMAL. Past it the run has failed; a backup that is good later still counts."),
            key("objective", Duration("1m", "3650d"), Means("none"), "The greatest age of a disk's last good backup. `status` ends with 1 where it is greater."),
            key("when_full", Words(&["wait", "rotate", "promote", "fail"]), Is("wait"),
                "What to do when the disk's backup quota is full, once what `keep` does not keep has made room. `wait`: until a place is free. `rotate`: delete the job's oldest backup. `promote`: turn the job's oldest backup into a snapshot. `fail`: the run fails."),
            only(key("allow_gap", Words(&["true", "false"]), Is("false"), "With `when_full: rotate`: whether even the last good backup of a disk may make room, so that there is none until the next is good."), ("when_full", "rotate")),
            only(key("promoted_keep", Duration("25h", "36500d"), Means("for ever"), "With `when_full: promote`: how long its snapshots live."), ("when_full", "promote")),
            key("keep", Other("a mapping of rules"), Means("all stay"), "What stays of the job's backups; the rest is deleted."),
            key("notify", Other("a list of notifiers"), Means("all webhooks and mails"), "Who is told of this job; `[]` is nobody."),
            key("ping", Other("a URL, or a mapping with `url_file`"), Means("none"), "What is told of each round of this job: its start, its success, its failure."),
            key("priority", Number(0, 100), Is("50"), "Of runs that wait for their turn to call, those with the higher number start first."),
            key("was", Single("a name of 1 to 32 lower-case letters, digits and hyphens: that of the job before"), Means("none"), "The job's name before. It goes on where that one was."),
        ],
    },
    Section {
        path: "jobs[].ping",
        about: "A dead man's switch for a job.",
        keys: &[key("url_file", ADDRESS, Means(ADDRESSED), ADDRESS_IS), STYLE],
    },
    Section {
        path: "jobs[].schedule",
        about: "When a job is due. `schedule: \"30 2 * * *\"` is short for `schedule: { cron: \"30 2 * * *\" }`.",
        keys: &[
            key("cron", Single("a cron expression such as `\"30 2 * * *\"`"), Required,
                "Minute, hour, day of the month, month, day of the week. A time that a change of clocks skips is due once, at the gap's end; one that it repeats is due once."),
            key("timezone", Single("an IANA time zone, such as `Asia/Shanghai`"), Means("that of the file"), "The zone of the expression, of `blackout` and of `keep`."),
            key("missed", Words(&["run-once", "skip"]), Is("run-once"), "After downtime: make the latest of the backups that were missed, if it may still start, or none."),
            key("start_within", Duration("10s", "30d"), Is("6h"), "No attempt begins later than this after the start."),
            key("together", Words(&["instance"]), Means("each disk by itself"), "The disks of one instance start at one instant."),
            key("spread", Duration("0s", "24h"), Is("0s"), "Over how long the starts of the job's disks are spread. Each disk starts at the same offset each day."),
            key("blackout", Other("a list of windows"), Means("none"), "Hours in which no attempt begins."),
        ],
    },
    Section {
        path: "jobs[].schedule.blackout[]",
        about: "A window of hours in the job's zone. One over midnight belongs to the day on which it begins.",
        keys: &[
            key("from", Single("a time of day such as `\"08:00\"`"), Required, "Its beginning."),
            key("to", Single("a time of day such as `\"08:00\"`"), Required, "Its end, which is outside. Equal to `from`, it is a whole day."),
            key("days", Other("a list out of mon, tue, wed, thu, fri, sat, sun"), Is("[mon, tue, wed, thu, fri, sat, sun]"), "The days on which it begins."),
        ],
    },
    Section {
        path: "jobs[].select",
        about: "Conditions, at least one. A disk is selected if it meets all of them, each by any of its values. A mapping under `exclude` has the same keys.",
        keys: &[
            key("tags", Other("a mapping of tags to a value or a list of values"), Means("any"), "It has all of these tags."),
            key("any_tags", Other("a mapping of tags to a value or a list of values"), Means("any"), "It has one of these tags at least."),
            key("zone", Other("one or more availability zones"), Means("any"), "It is in this zone, such as `ap-guangzhou-3`."),
            key("project", Other("one or more numbers"), Means("any"), "It is of the project of this number."),
            key("instance", Other("one or more instance ids"), Means("any"), "It is attached to this instance."),
            key("name", Other("one or more patterns"), Means("any"), "Its whole name is of this pattern: `*` is any text, `?` any character."),
            key("usage", Other("`system` or `data`"), Means("any"), "What the disk is for."),
            key("state", STATES, Means("any but `torecycle`"), "Its state."),
        ],
    },
    Section {
        path: "jobs[].keep",
        about: "Rules, at least one. A backup stays when any rule keeps it; each rule counts by itself. Hours, days, weeks, months and years are those of the job's zone. The last good backup of a disk always stays.",
        keys: &[
            key("last", COUNT, Means("none"), "The newest so many."),
            key("within", Duration("1h", "36500d"), Means("none"), "All that were due no longer ago."),
            key("hourly", COUNT, Means("none"), "The newest of each of so many hours that have one."),
            key("daily", COUNT, Means("none"), "The newest of each of so many days."),
            key("weekly", COUNT, Means("none"), "The newest of each of so many ISO weeks."),
            key("monthly", COUNT, Means("none"), "The newest of each of so many months."),
            key("yearly", COUNT, Means("none"), "The newest of each of so many years."),
        ],
    },
];
