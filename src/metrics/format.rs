//! The two texts in which metrics are given.
//!
//! Responsible for OpenMetrics where it is asked for, and for Prometheus's older text otherwise: programs that know no
//! other, and people with `curl`. They differ in how counters are described, and in how the text ends.

use super::table::{self, Type};

/// A text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.
    OpenMetrics,
    /// Prometheus's text format 0.0.4.
    Prometheus,
}

impl Format {
    /// The one that a request's `Accept` asks for.
    pub(super) fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// As a response names it.
    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// A text of families, as the library writes them, in this format.
    pub(super) fn finish(self, text: &mut String) {
        if self == Self::OpenMetrics {
            return text.push_str("# EOF\n");
        }
        // A page may be megabytes: no copy of it is made.
        for metric in table::ALL.iter().filter(|metric| metric.kind == Type::Counter) {
            for described in ["HELP", "TYPE"] {
                let line = format!("# {described} {}_{} ", table::PREFIX, metric.name);
                if let Some(at) = text.find(&line) {
                    text.insert_str(at + line.len() - 1, "_total");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAMILIES: &str = "# HELP cbs_backupd_events Events since the start.\n# TYPE cbs_backupd_events counter\n\
                            cbs_backupd_events_total{event=\"a\"} 1\n# HELP cbs_backupd_ready 1 if.\n\
                            # TYPE cbs_backupd_ready gauge\ncbs_backupd_ready 1\n";

    fn finished(format: Format) -> String {
        let mut text = FAMILIES.to_owned();
        format.finish(&mut text);
        text
    }

    #[test]
    fn open_metrics_is_given_to_those_who_ask_for_it() {
        let prometheus =
            "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Prometheus);
        assert_eq!(finished(Format::OpenMetrics), format!("{FAMILIES}# EOF\n"));
    }

    #[test]
    fn the_older_text_describes_a_counter_by_its_whole_name() {
        let expected = FAMILIES.replace("events ", "events_total ");
        assert_eq!(finished(Format::Prometheus), expected);
    }
}
