//! Exit codes, and the failures that lead to them.

use std::fmt;
use std::process::ExitCode;

use crate::journal::JournalError;
use crate::report::chain;

/// How a command ends. The numbers are a contract (`docs/stability.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// All is well.
    Good = 0,
    /// Something is late or failed.
    Late = 1,
    /// The command line makes no sense.
    Usage = 2,
    /// `status --check`: unknown; it follows Nagios, whose other codes are numbered as above.
    CheckUnknown = 3,
    /// Input or output failed.
    InputOutput = 74,
    /// Another daemon holds the journal.
    Held = 75,
    /// The configuration is faulty.
    BadConfiguration = 78,
}

impl Exit {
    /// `status --check`: a warning.
    pub(super) const CHECK_WARNING: Self = Self::Late;
    /// `status --check`: critical.
    pub(super) const CHECK_CRITICAL: Self = Self::Usage;

    /// What it says of a command in general.
    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Good => "All is well.",
            Self::Late => "Something is late or failed.",
            Self::Usage => "The command line, or what it asks for, makes no sense; nothing was done.",
            Self::InputOutput => "Input or output failed, the journal's included.",
            Self::Held => "Another daemon holds the journal.",
            Self::CheckUnknown => "`status --check` cannot tell.",
            Self::BadConfiguration => "The configuration is faulty; every mistake was said.",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(super) struct Failure {
    /// How it ends.
    pub(super) exit: Exit,
    text: String,
}

impl Failure {
    /// A failure, in words fit for `cbs-backupd: {text}`.
    pub(super) fn new(exit: Exit, text: impl fmt::Display) -> Self {
        Self { exit, text: format!("cbs-backupd: {text}") }
    }

    /// The same, with what there is to say besides.
    pub(super) fn with_hint(mut self, hint: Option<String>) -> Self {
        if let Some(hint) = hint {
            self.text = format!("{}; {hint}", self.text);
        }
        self
    }

    /// A failure whose text says all by itself.
    pub(super) fn verbatim(exit: Exit, text: impl fmt::Display) -> Self {
        Self { exit, text: text.to_string() }
    }

    /// The journal's own word says all.
    pub(super) fn journal(error: &JournalError) -> Self {
        Self::new(Exit::InputOutput, chain(error))
    }

    /// Input or output that failed, for what reason.
    pub(super) fn io(doing: impl fmt::Display, error: &dyn std::error::Error) -> Self {
        Self::new(Exit::InputOutput, format_args!("failed to {doing}: {}", chain(error)))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// What commands return.
pub(super) type Outcome = Result<Exit, Failure>;
