//! The `notify` section, and the keys of a job that say who is told of it.
//!
//! Responsible for notifiers that can be tried, and for secrets that need not stand in the file. It refuses a password
//! that would go over the network in the clear.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use backup_core::NotifierName;
use secrecy::SecretString;

use super::credentials::{file_name, one_of};
use super::fields::{Expected, Fields, NAME, absolute, add, duration, number, or, parsed, text, wrong};
use super::mistakes::Mistakes;
use super::tree::{Node, Value};

/// Somebody who is told of troubles.
#[derive(Clone, Debug)]
pub struct Notifier {
    /// The bound on one delivery.
    pub timeout: Duration,
    /// How it is reached.
    pub channel: Channel,
}

/// How a notifier is reached.
#[derive(Clone, Debug)]
pub enum Channel {
    /// A dead man's switch for the daemon as a whole.
    Ping {
        /// What is pinged.
        ping: Ping,
        /// How often, while all is well.
        every: Duration,
    },
    /// A message, by a POST.
    Webhook {
        /// Where.
        hook: Webhook,
        /// When.
        manner: Manner,
    },
    /// A message, by mail.
    Mail {
        /// By whom, and to whom.
        mail: Box<Mail>,
        /// When.
        manner: Manner,
    },
}

/// When messages are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Manner {
    /// How long news of a job are held while runs of it are under way.
    pub gather: Duration,
    /// After how long what is still so is told again.
    pub remind: Option<Duration>,
}

/// What is pinged.
#[derive(Clone, Debug)]
pub struct Ping {
    /// Its address.
    pub url: Secret,
    /// What it expects.
    pub style: Style,
}

/// What a dead man's switch expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// `URL/start`, `URL` and `URL/fail`, with a body: healthchecks.io and what is like it.
    #[default]
    Healthchecks,
    /// `URL?status=up|down&msg=…`.
    UptimeKuma,
}

/// Where a message is posted.
#[derive(Clone, Debug)]
pub struct Webhook {
    /// Its address.
    pub url: Secret,
    /// The body that it expects.
    pub template: Template,
    /// What signs it.
    pub secret: Option<Secret>,
}

/// The body that a hook expects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Template {
    /// The documented one.
    #[default]
    Json,
    /// Slack's, and of what is like it.
    Slack,
    /// WeCom's group robot.
    Wecom,
    /// DingTalk's group robot.
    Dingtalk,
    /// Feishu's, or Lark's, group robot.
    Feishu,
}

/// How mail is sent.
#[derive(Clone, Debug)]
pub struct Mail {
    /// The server's name.
    pub server: String,
    /// Its port.
    pub port: u16,
    /// How the connection is protected.
    pub tls: Tls,
    /// Who logs in, and with which password.
    pub login: Option<(String, Secret)>,
    /// The sender.
    pub from: lettre::message::Mailbox,
    /// The recipients.
    pub to: Vec<lettre::message::Mailbox>,
}

/// How a connection to a mail server is protected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// From its second command on; without it nothing is sent.
    #[default]
    Starttls,
    /// From its first byte on.
    Tls,
    /// Not at all.
    None,
}

/// A secret, or where it is. It is read when it is needed: one that changes is followed, one that is missing stops
/// nothing else.
#[derive(Clone)]
pub enum Secret {
    /// In the configuration itself.
    Here(SecretString),
    /// In a file, without the line's end.
    File(PathBuf),
    /// In a variable of the environment.
    Variable(String),
    /// In a file that systemd hands to its service.
    Credential(String),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Here(_) => f.write_str("Here(not shown)"),
            Self::File(path) => write!(f, "File({})", path.display()),
            Self::Variable(name) => write!(f, "Variable({name})"),
            Self::Credential(name) => write!(f, "Credential({name})"),
        }
    }
}

impl Channel {
    /// What kind it is, as the file has it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ping { .. } => "ping",
            Self::Webhook { .. } => "webhook",
            Self::Mail { .. } => "mail",
        }
    }

    /// When messages are sent; none where none ever is.
    #[must_use]
    pub fn manner(&self) -> Option<Manner> {
        match self {
            Self::Ping { .. } => None,
            Self::Webhook { manner, .. } | Self::Mail { manner, .. } => Some(*manner),
        }
    }
}

/// Notifiers by name; one whose own values are wrong is none, so that jobs may still name it.
pub(super) type Notifiers = BTreeMap<NotifierName, Option<Notifier>>;

/// The bound on one delivery, where nothing is said.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);
const EXAMPLE: &str = "`chat: { kind: webhook, url_file: /etc/cbs-backupd/chat.url }`";

pub(super) fn notifiers(node: &Node, mistakes: &mut Mistakes) -> Notifiers {
    let mut notifiers = Notifiers::new();
    let Value::Map(entries) = &node.value else {
        let found = node.describe();
        add(mistakes, node, format!("`notify`: expected a mapping such as {EXAMPLE}, found {found}"));
        return notifiers;
    };
    for (key, node) in entries {
        let read = notifier(node, mistakes);
        match key.text.parse() {
            Ok(name) => {
                notifiers.insert(name, read);
            }
            Err(_) => mistakes.add(&key.place, format!("notifier `{}`: expected {NAME}", key.text)),
        }
    }
    notifiers
}

fn notifier(node: &Node, mistakes: &mut Mistakes) -> Option<Notifier> {
    let mut fields = Fields::of(node, "a mapping with `kind`", mistakes)?;
    let kind = fields.required("kind", "kind: webhook", mistakes, word(&["webhook", "mail", "ping"]));
    let timeout = or(&mut fields, "timeout", TIMEOUT, mistakes, duration("1s", "1m"));
    let channel = kind.and_then(|kind| match kind {
        "webhook" => {
            let hook = webhook(&mut fields, mistakes);
            let manner = manner(&mut fields, mistakes);
            Some(Channel::Webhook { hook: hook?, manner: manner? })
        }
        "mail" => {
            let mail = mail(&mut fields, mistakes).map(Box::new);
            let manner = manner(&mut fields, mistakes);
            Some(Channel::Mail { mail: mail?, manner: manner? })
        }
        _ => {
            let ping = pinged(&mut fields, mistakes);
            let every = Duration::from_secs(300);
            let every = or(&mut fields, "every", every, mistakes, duration("30s", "1d"));
            Some(Channel::Ping { ping: ping?, every: every? })
        }
    });
    if kind.is_some() {
        fields.finish(mistakes);
    }
    Some(Notifier { timeout: timeout?, channel: channel? })
}

fn manner(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<Manner> {
    let gather = or(fields, "gather", Duration::from_secs(300), mistakes, duration("0s", "1h"));
    let remind = or(fields, "remind", None, mistakes, |node| duration("1h", "30d")(node).map(Some));
    Some(Manner { gather: gather?, remind: remind? })
}

fn webhook(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<Webhook> {
    const TEMPLATES: [(&str, Template); 5] = [
        ("json", Template::Json),
        ("slack", Template::Slack),
        ("wecom", Template::Wecom),
        ("dingtalk", Template::Dingtalk),
        ("feishu", Template::Feishu),
    ];
    let url = url(fields, mistakes);
    let template = choice(fields, "template", &TEMPLATES, mistakes);
    let secret = secret(fields, ["secret_file", "secret_env", "secret_credential"], mistakes);
    let signs = matches!(template, None | Some(Template::Dingtalk | Template::Feishu));
    for key in ["secret_file", "secret_env", "secret_credential"] {
        if let Some(node) = fields.node(key).filter(|_| !signs) {
            let what = format!(
                "`{key}` goes with `template: dingtalk` or `feishu` alone; expected that, or no `{key}`"
            );
            add(mistakes, node, what);
        }
    }
    Some(Webhook { url: url?, template: template?, secret: secret? })
}

fn mail(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<Mail> {
    const TLS: [(&str, Tls); 3] = [("starttls", Tls::Starttls), ("tls", Tls::Tls), ("none", Tls::None)];
    let server = fields.required("server", "server: smtp.example.com", mistakes, host);
    let tls = choice(fields, "tls", &TLS, mistakes);
    let port = match tls {
        Some(Tls::Tls) => 465,
        Some(Tls::None) => 25,
        Some(Tls::Starttls) | None => 587,
    };
    let port = or(fields, "port", port, mistakes, |node| {
        let port = number(1, u32::from(u16::MAX))(node)?;
        Ok(u16::try_from(port).unwrap_or(u16::MAX))
    });
    let username = fields.optional("username", mistakes, |node| text(node).map(str::to_owned));
    let password = secret(fields, ["password_file", "password_env", "password_credential"], mistakes);
    let login = match (username, password) {
        (Some(username), Some(Some(password))) => Some(Some((username, password))),
        (None, Some(None)) => Some(None),
        // One that could not be read is the mistake to mend.
        (_, None) => None,
        (Some(_), Some(None)) => {
            let what = "`username` goes with a password; expected `password_file`, `password_env` or `password_credential`";
            mistakes.add(fields.place(), what);
            None
        }
        (None, Some(Some(_))) => {
            mistakes.add(fields.place(), "a password goes with `username`; expected that, too");
            None
        }
    };
    if let (Some(Some(_)), Some(Tls::None), Some(server)) = (&login, tls, &server)
        && !is_this_machine(server)
    {
        let what = format!(
            "the password would go to `{server}` in the clear; expected `tls: starttls` or `tls: tls`"
        );
        mistakes.add(fields.place(), what);
    }
    let from = fields.required("from", "from: cbs-backupd@example.com", mistakes, mailbox);
    let to = fields.required("to", "to: [ops@example.com]", mistakes, mailboxes);
    Some(Mail { server: server?, port: port?, tls: tls?, login: login?, from: from?, to: to? })
}

/// `ping` of a job: an address, or where it is.
pub(super) fn job_ping(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<Option<Ping>> {
    let Some(node) = fields.node("ping") else { return Some(None) };
    if let Value::Text(_) = node.value {
        let url = address(node).map_err(|expected| wrong(mistakes, "ping", node, &expected)).ok()?;
        return Some(Some(Ping { url, style: Style::default() }));
    }
    let mut fields =
        Fields::of(node, "a URL, or a mapping such as `{ url_file: /etc/cbs-backupd/db.url }`", mistakes)?;
    let ping = pinged(&mut fields, mistakes);
    fields.finish(mistakes);
    ping.map(Some)
}

/// `notify` of a job: who is told of it; none where all are.
pub(super) fn job_notifiers(
    fields: &mut Fields<'_>,
    notifiers: &Notifiers,
    mistakes: &mut Mistakes,
) -> Option<Vec<NotifierName>> {
    let node = fields.node("notify")?;
    let speaks = |notifier: &Option<Notifier>| {
        notifier.as_ref().is_none_or(|notifier| notifier.channel.manner().is_some())
    };
    let names = || {
        let names: Vec<_> =
            notifiers.iter().filter(|(_, known)| speaks(known)).map(|(name, _)| name.as_str()).collect();
        if names.is_empty() { "there is none".to_owned() } else { one_of(&names) }
    };
    let Value::List(items) = &node.value else {
        wrong(mistakes, "notify", node, "a list of notifiers, such as `[chat]`; `[]` for none");
        return None;
    };
    let mut chosen = Vec::new();
    for item in items {
        let found = text(item).ok().and_then(|text| notifiers.iter().find(|(name, _)| name.as_str() == text));
        match found {
            Some((name, known)) if speaks(known) => chosen.push(name.clone()),
            Some((name, _)) => {
                let what = format!(
                    "`notify`: `{name}` pings for the daemon as a whole; a job has a `ping` of its own"
                );
                add(mistakes, item, what);
            }
            None => wrong(mistakes, "notify", item, &format!("a webhook or mail of this file ({})", names())),
        }
    }
    Some(chosen)
}

fn pinged(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<Ping> {
    const STYLES: [(&str, Style); 2] =
        [("healthchecks", Style::Healthchecks), ("uptime-kuma", Style::UptimeKuma)];
    let url = url(fields, mistakes);
    let style = choice(fields, "style", &STYLES, mistakes);
    Some(Ping { url: url?, style: style? })
}

fn url(fields: &mut Fields<'_>, mistakes: &mut Mistakes) -> Option<Secret> {
    let elsewhere = ["url_file", "url_env", "url_credential"];
    let here = fields.node("url");
    match (here, secret(fields, elsewhere, mistakes)?) {
        (Some(node), None) => address(node).map_err(|expected| wrong(mistakes, "url", node, &expected)).ok(),
        (None, Some(secret)) => Some(secret),
        (Some(_), Some(_)) => {
            mistakes.add(fields.place(), "a URL here and one elsewhere; expected one of them");
            None
        }
        (None, None) => {
            let what = "`url` is missing; expected one of `url`, `url_file`, `url_env` and `url_credential`";
            mistakes.add(fields.place(), what);
            None
        }
    }
}

/// A secret that stands elsewhere; none where there is none. `keys` name a file, a variable, a credential.
fn secret(
    fields: &mut Fields<'_>,
    keys: [&'static str; 3],
    mistakes: &mut Mistakes,
) -> Option<Option<Secret>> {
    let [file, variable, credential] = keys;
    let there: Vec<&str> = keys.into_iter().filter(|key| fields.node(key).is_some()).collect();
    if there.len() > 1 {
        mistakes.add(fields.place(), format!("{}: expected one of them", one_of(&there)));
        return None;
    }
    let read = [
        fields.optional(file, mistakes, |node| absolute(node).map(Secret::File)),
        fields.optional(variable, mistakes, |node| variable_name(node).map(Secret::Variable)),
        fields.optional(credential, mistakes, |node| {
            let name = file_name(node).filter(|name| !name.is_empty());
            name.map(Secret::Credential).ok_or_else(|| "the name of a credential of systemd".to_owned())
        }),
    ];
    let read = read.into_iter().flatten().next();
    if read.is_none() && !there.is_empty() { None } else { Some(read) }
}

fn address(node: &Node) -> Result<Secret, Expected> {
    let expected = || "an address such as `https://hc-ping.com/…`".to_owned();
    let text = text(node).map_err(|_| expected())?;
    crate::notify::check_address(text).map_err(|_| expected())?;
    Ok(Secret::Here(text.into()))
}

fn variable_name(node: &Node) -> Result<String, Expected> {
    let fits = |name: &&str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
    };
    let name = text(node).ok().filter(fits).map(str::to_owned);
    name.ok_or_else(|| "the name of a variable of the environment".to_owned())
}

fn host(node: &Node) -> Result<String, Expected> {
    let fits = |host: &&str| {
        !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-:".contains(&byte))
    };
    let host = text(node).ok().filter(fits).map(str::to_owned);
    host.ok_or_else(|| "the name of a mail server, such as `smtp.example.com`".to_owned())
}

fn is_this_machine(server: &str) -> bool {
    server == "localhost" || server.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn mailbox(node: &Node) -> Result<lettre::message::Mailbox, Expected> {
    parsed("a mail address, such as `ops@example.com` or `Ops <ops@example.com>`")(node)
}

fn mailboxes(node: &Node) -> Result<Vec<lettre::message::Mailbox>, Expected> {
    match &node.value {
        Value::List(items) if !items.is_empty() => {
            let none = |item: &Node, expected: Expected| format!("{expected}; {} is none", item.describe());
            items.iter().map(|item| mailbox(item).map_err(|expected| none(item, expected))).collect()
        }
        Value::Text(_) => Ok(vec![mailbox(node)?]),
        _ => Err("a list of mail addresses, such as `[ops@example.com]`".to_owned()),
    }
}

/// One of these words.
fn word(words: &'static [&'static str]) -> impl Fn(&Node) -> Result<&'static str, Expected> {
    move |node| {
        let word = text(node).ok().and_then(|text| words.iter().find(|word| **word == text));
        word.copied().ok_or_else(|| one_of(words))
    }
}

/// What one of these words stands for; the default where there is none.
fn choice<T: Copy + Default>(
    fields: &mut Fields<'_>,
    key: &'static str,
    words: &[(&'static str, T)],
    mistakes: &mut Mistakes,
) -> Option<T> {
    or(fields, key, T::default(), mistakes, |node| {
        let found = text(node).ok().and_then(|text| words.iter().find(|(word, _)| *word == text));
        let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        found.map(|(_, value)| *value).ok_or_else(|| one_of(&all))
    })
}
