//! Which filter is in force, and by whose word.
//!
//! Responsible for the order of those who may say it: the configuration, over it the command line (or its environment
//! variable), and over both a person's request, for a time or until the daemon ends. It refuses to remember a request beyond
//! the process: a daemon that starts anew logs as it is configured to.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;

use super::Filter;

/// The filters; cheap to clone. The default one filters nothing: no log was set up.
#[derive(Clone, Default)]
pub struct Levels(Arc<Mutex<State>>);

/// Puts a filter in force.
type Apply = Box<dyn Fn(&Filter) + Send>;

#[derive(Default)]
struct State {
    apply: Option<Apply>,
    configured: Filter,
    given: Option<Filter>,
    asked: Option<Asked>,
}

#[derive(Clone)]
struct Asked {
    filter: Filter,
    until: Option<Until>,
}

/// When a request ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Until {
    /// By the monotonic clock, which decides.
    pub mono: Duration,
    /// By the wall clock, for people.
    pub wall: Timestamp,
}

/// Who says what is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `log: { level: … }`, or nobody.
    Configuration,
    /// `--log-level`, or its environment variable.
    CommandLine,
    /// The command `log-level`.
    Request,
}

impl By {
    /// As the log names it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Configuration => "configuration",
            Self::CommandLine => "command line",
            Self::Request => "request",
        }
    }
}

/// What is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// The filter.
    pub filter: Filter,
    /// By whose word.
    pub by: By,
    /// Until when, where a time was said.
    pub until: Option<Timestamp>,
}

impl fmt::Display for Chosen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, by {}", self.filter, self.by.as_str())?;
        self.until.map_or(Ok(()), |until| write!(f, " until {until:.0}"))
    }
}

impl Levels {
    /// The filters of a log that `apply` tells what it is to let through; `given` is the command line's.
    pub(super) fn new(apply: impl Fn(&Filter) + Send + 'static, given: Option<Filter>) -> Self {
        Self(Arc::new(Mutex::new(State { apply: Some(Box::new(apply)), given, ..State::default() })))
    }

    /// The configuration says this. What is in force then, if that is something else than before.
    pub fn configure(&self, filter: &Filter) -> Option<Chosen> {
        self.change(|state| state.configured = filter.clone())
    }

    /// A person asks for this.
    pub fn ask(&self, filter: Filter, until: Option<Until>) -> Option<Chosen> {
        self.change(|state| state.asked = Some(Asked { filter, until }))
    }

    /// A person asks no longer.
    pub fn reset(&self) -> Option<Chosen> {
        self.change(|state| state.asked = None)
    }

    /// A request whose time is over is forgotten.
    pub fn expire(&self, now: Duration) -> Option<Chosen> {
        let over = |asked: &Asked| asked.until.is_some_and(|until| until.mono <= now);
        self.change(|state| state.asked = state.asked.take().filter(|asked| !over(asked)))
    }

    /// What is in force.
    #[must_use]
    pub fn chosen(&self) -> Chosen {
        self.state().chosen()
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> Option<Chosen> {
        let mut state = self.state();
        let before = state.chosen();
        change(&mut state);
        let after = state.chosen();
        if before.filter != after.filter
            && let Some(apply) = &state.apply
        {
            apply(&after.filter);
        }
        (before != after).then_some(after)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn chosen(&self) -> Chosen {
        let of = |by, filter: &Filter, until| Chosen { filter: filter.clone(), by, until };
        match (&self.asked, &self.given) {
            (Some(asked), _) => of(By::Request, &asked.filter, asked.until.map(|until| until.wall)),
            (None, Some(given)) => of(By::CommandLine, given, None),
            (None, None) => of(By::Configuration, &self.configured, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> Filter {
        text.parse().unwrap()
    }

    #[test]
    fn a_request_is_over_the_command_line_and_that_over_the_configuration() {
        let applied = Arc::new(Mutex::new(Vec::new()));
        let hear = Arc::clone(&applied);
        let levels = Levels::new(move |filter| hear.lock().unwrap().push(filter.to_string()), None);
        assert_eq!(levels.configure(&filter("info")), None, "as it was");
        assert_eq!(levels.configure(&filter("warn")).unwrap().by, By::Configuration);
        let until = Until { mono: Duration::from_secs(60), wall: "2026-11-24T18:31:00Z".parse().unwrap() };
        let asked = levels.ask(filter("debug"), Some(until)).unwrap();
        assert_eq!(asked.to_string(), "debug, by request until 2026-11-24T18:31:00Z");
        assert_eq!(levels.configure(&filter("error")), None, "the request stands");
        assert_eq!(levels.expire(Duration::from_secs(59)), None);
        assert_eq!(levels.expire(Duration::from_secs(60)).unwrap().to_string(), "error, by configuration");
        levels.ask(filter("trace"), None);
        assert_eq!(levels.expire(Duration::MAX), None, "no time was said");
        assert_eq!(levels.reset().unwrap().filter, filter("error"));
        assert_eq!(*applied.lock().unwrap(), ["warn", "debug", "error", "trace", "error"]);

        let levels = Levels::new(|_| (), Some(filter("debug")));
        assert_eq!(levels.configure(&filter("error")), None);
        assert_eq!(levels.chosen().by, By::CommandLine);
    }
}
