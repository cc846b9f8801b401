//! What happened, counted as it is said.
//!
//! Responsible for counters and histograms: they take events as the log does. It refuses to ask anybody anything.

use std::fmt::Write;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use super::table::{self, Metric};
use crate::report::{Event, Kind, Report};

type Labels = Vec<(&'static str, String)>;
type Family_ = Family<Labels, Counter>;

/// How late a first attempt may be: at once, within a lane's queue, and up to the usual `start_within` and beyond.
const LAGS: [f64; 10] = [0.1, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3_600.0, 10_800.0, 21_600.0];
/// How long a backup takes: seconds for little that changed, hours for a large first one.
const COMPLETIONS: [f64; 10] = [5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3_600.0, 14_400.0, 86_400.0];

/// The counters.
pub struct Counters {
    registry: Registry,
    events: Family_,
    runs_ended: Family_,
    attempts: Family_,
    notifications: Family_,
    start_lag: Histogram,
    completion: Histogram,
}

impl Default for Counters {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(table::PREFIX);
        let mut family = |metric: Metric| {
            let family = Family_::default();
            registry.register(metric.name, metric.help, family.clone());
            family
        };
        let events = family(table::EVENTS);
        let runs_ended = family(table::RUNS_ENDED);
        let attempts = family(table::ATTEMPTS);
        let notifications = family(table::NOTIFICATIONS);
        let mut histogram = |metric: Metric, buckets: [f64; 10]| {
            let histogram = Histogram::new(buckets);
            registry.register(metric.name, metric.help, histogram.clone());
            histogram
        };
        let start_lag = histogram(table::START_LAG, LAGS);
        let completion = histogram(table::COMPLETION, COMPLETIONS);
        // From zero on: the first of a kind is then seen as an increase.
        for kind in Kind::ALL {
            let _exists = events.get_or_create(&labels(table::EVENTS, [kind.name()]));
        }
        Self { registry, events, runs_ended, attempts, notifications, start_lag, completion }
    }
}

/// The values of a metric's labels, in their order.
fn labels<const N: usize>(metric: Metric, values: [&str; N]) -> Labels {
    metric.labels.iter().copied().zip(values.map(ToOwned::to_owned)).collect()
}

impl Counters {
    /// Writes them as text.
    ///
    /// # Errors
    /// When `text` fails.
    pub fn encode(&self, text: &mut impl Write) -> std::fmt::Result {
        prometheus_client::encoding::text::encode_registry(text, &self.registry)
    }

    /// A job and a target that there are: what may be counted of them begins at zero.
    pub fn expect_job(&self, job: &str) {
        let _exists = self.runs_ended.get_or_create(&labels(table::RUNS_ENDED, [job, "completed", ""]));
    }

    /// A target that there is.
    pub fn expect_target(&self, target: &str) {
        for outcome in ["accepted", "retry", "ambiguous"] {
            let _exists = self.attempts.get_or_create(&labels(table::ATTEMPTS, [target, outcome]));
        }
    }

    fn ended(&self, event: &Event, outcome: &str) {
        let job = event.fields.job.as_deref().unwrap_or_default();
        let reason = event.fields.why.unwrap_or_default();
        self.runs_ended.get_or_create(&labels(table::RUNS_ENDED, [job, outcome, reason])).inc();
    }

    fn attempted(&self, event: &Event, outcome: &str) {
        let target = event.fields.target.as_deref().unwrap_or_default();
        self.attempts.get_or_create(&labels(table::ATTEMPTS, [target, outcome])).inc();
    }
}

impl Report for Counters {
    fn report(&self, event: &Event) {
        self.events.get_or_create(&labels(table::EVENTS, [event.kind.name()])).inc();
        match event.kind {
            Kind::BackupCompleted => {
                self.ended(event, "completed");
                observe(&self.completion, event.fields.took_ms);
            }
            Kind::BackupFailed => self.ended(event, "failed"),
            Kind::RunSkipped => self.ended(event, "skipped"),
            Kind::BackupRequested if event.fields.attempt == Some(1) => {
                observe(&self.start_lag, event.fields.lag_ms);
            }
            Kind::BackupAccepted => self.attempted(event, "accepted"),
            Kind::BackupRetry => self.attempted(event, "retry"),
            Kind::BackupAmbiguous => self.attempted(event, "ambiguous"),
            _ => {}
        }
    }

    fn notified(&self, notifier: &str, outcome: &'static str) {
        self.notifications.get_or_create(&labels(table::NOTIFICATIONS, [notifier, outcome])).inc();
    }
}

/// Milliseconds, as seconds.
fn observe(histogram: &Histogram, millis: Option<u64>) {
    if let Some(millis) = millis {
        histogram.observe(std::time::Duration::from_millis(millis).as_secs_f64());
    }
}
