//! Notifiers, as the configuration describes them.
//!
//! Responsible for types that cannot hold a mistake, and that show no secret.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;

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
