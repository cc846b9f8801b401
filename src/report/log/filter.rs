//! What is logged: a level, and levels of their own for some modules.
//!
//! Responsible for reading a filter, and for saying what is wrong with one. It refuses what `tracing` would take without a
//! word, such as a misspelt level, which it would take for the name of a module.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

use super::ALWAYS;

/// Written such as `info` or `warn,cbs=debug`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    level: LevelFilter,
    modules: Vec<(String, LevelFilter)>,
}

/// Everything as it should be is logged, and all that is not.
impl Default for Filter {
    fn default() -> Self {
        Self { level: LevelFilter::INFO, modules: Vec::new() }
    }
}

impl Filter {
    /// What a filter is, in words.
    pub const EXPECTED: &str = "a level (error, warn, info, debug, trace, off), or such as `warn,cbs=debug`: levels of modules besides";

    /// The same for `tracing`. What is said about the log itself is always let through; what the heartbeat's library says
    /// of itself is nothing that an operator could use.
    pub(super) fn targets(&self) -> Targets {
        let modules = self.modules.iter().map(|(module, level)| (module.as_str(), *level));
        Targets::new()
            .with_default(self.level)
            .with_target("tokio_cron_scheduler", self.level.min(LevelFilter::WARN))
            .with_targets(modules)
            .with_target(ALWAYS, LevelFilter::INFO)
    }
}

/// What is wrong with a filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It has a word that is no level.
    #[error("`{0}` is no level: expected {expected}", expected = Filter::EXPECTED)]
    Level(String),
    /// It has an assignment to what is no module.
    #[error("`{0}` is no name of a module: expected {expected}", expected = Filter::EXPECTED)]
    Module(String),
    /// It sets the level, or that of a module, twice.
    #[error("`{0}` sets again what was set before: expected {expected}", expected = Filter::EXPECTED)]
    Twice(String),
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut level = None;
        let mut modules: Vec<(String, LevelFilter)> = Vec::new();
        for part in text.split(',') {
            let part = part.trim();
            let Some((module, word)) = part.split_once('=') else {
                if level.replace(parse_level(part)?).is_some() {
                    return Err(FilterError::Twice(part.to_owned()));
                }
                continue;
            };
            let named = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
            if module.is_empty() || !module.chars().all(named) {
                return Err(FilterError::Module(module.to_owned()));
            }
            if modules.iter().any(|(known, _)| known == module) {
                return Err(FilterError::Twice(part.to_owned()));
            }
            modules.push((module.to_owned(), parse_level(word)?));
        }
        // Whoever sets a module's level alone wants the others as they are.
        Ok(Self { level: level.unwrap_or(LevelFilter::INFO), modules })
    }
}

fn parse_level(word: &str) -> Result<LevelFilter, FilterError> {
    // `tracing` takes numbers too.
    let word = word.trim();
    let level = if word.bytes().all(|byte| byte.is_ascii_alphabetic()) { word.parse().ok() } else { None };
    level.filter(|_| !word.is_empty()).ok_or_else(|| FilterError::Level(word.to_owned()))
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        self.modules.iter().try_for_each(|(module, level)| write!(f, ",{module}={level}"))
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn filter(text: &str) -> Filter {
        text.parse().unwrap()
    }

    #[test]
    fn a_filter_is_read_and_written() {
        for text in ["info", "off", "warn,cbs=debug", "info,hyper::client=trace,cbs=off"] {
            assert_eq!(filter(text).to_string(), text);
        }
        assert_eq!(filter("WARN , cbs=Debug").to_string(), "warn,cbs=debug");
        assert_eq!(filter("cbs=debug").to_string(), "info,cbs=debug");
        assert_eq!(Filter::default().to_string(), "info");
    }

    #[test]
    fn a_mistake_is_named() {
        for (text, named) in [
            ("inf", "`inf` is no level"),
            ("", "`` is no level"),
            ("3", "`3` is no level"),
            ("info,", "`` is no level"),
            ("cbs", "`cbs` is no level"),
            ("cbs=loud", "`loud` is no level"),
            ("cbs=", "`` is no level"),
            ("=debug", "`` is no name of a module"),
            ("cbs[span]=debug", "`cbs[span]` is no name of a module"),
            ("info,warn", "`warn` sets again"),
            ("cbs=info,cbs=warn", "`cbs=warn` sets again"),
        ] {
            let error = text.parse::<Filter>().unwrap_err().to_string();
            assert!(error.starts_with(named), "{text}: {error}");
        }
    }

    #[test]
    fn it_lets_through_what_it_says_and_what_is_said_about_the_log() {
        let targets = filter("warn,cbs=debug").targets();
        assert!(targets.would_enable("cbs::client", &Level::DEBUG));
        assert!(!targets.would_enable("hyper::client", &Level::INFO));
        let targets = filter("off").targets();
        assert!(targets.would_enable(ALWAYS, &Level::WARN));
        assert!(!targets.would_enable("cbs", &Level::ERROR));
        let targets = filter("trace").targets();
        assert!(!targets.would_enable("tokio_cron_scheduler::job", &Level::INFO));
        assert!(
            filter("info,tokio_cron_scheduler=info")
                .targets()
                .would_enable("tokio_cron_scheduler::job", &Level::INFO)
        );
    }
}
