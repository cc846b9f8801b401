//! Records as journald takes them: with fields, by its native protocol.
//!
//! Responsible for noticing that standard error is journald's, and for the datagrams. It refuses to send from the thread
//! that speaks: records go through the queue like all others. `tracing-journald` sends from there, and waits there; and it
//! does not say whether journald took what it sent.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tracing::field::{Field, Visit};
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::queue::{Queue, Sink};
use super::weight;

/// Where journald listens.
pub(super) const SOCKET: &str = "/run/systemd/journal/socket";
const IDENTIFIER: &str = "cbs-backupd";
/// A longer value is cut: a datagram has room for some 200 KiB, and nobody reads so much in a line.
const LONGEST: usize = 32 << 10;

/// Whether what is written to standard error goes to journald: systemd then says which device and inode it is.
pub(super) fn is_stderr() -> bool {
    let stream = std::env::var("JOURNAL_STREAM").ok();
    let about = io::stderr().as_fd().try_clone_to_owned().map(std::fs::File::from);
    let about = about.and_then(|stderr| stderr.metadata());
    about.is_ok_and(|about| stream.as_deref() == Some(&format!("{}:{}", about.dev(), about.ino())))
}

/// Sends records to the socket at `path`.
///
/// # Errors
/// When nobody listens there.
pub(super) fn sink(path: &Path) -> io::Result<Sink> {
    let socket = UnixDatagram::unbound()?;
    // An empty one is nothing to journald. Whether it has a large buffer matters to no record of ours.
    socket.send_to(&[], path)?;
    let path = path.to_owned();
    // By the path each time: a journald that was started anew may listen on another socket of the same name.
    Ok(Box::new(move |record| socket.send_to(record, &path)))
}

/// Turns what is said into records.
pub(super) struct Native {
    pub(super) queue: Queue,
}

impl<S: Subscriber> Layer<S> for Native {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        self.queue.put(weight(event.metadata()), said.into_record(event.metadata()));
    }
}

/// What is said, with its fields encoded.
#[derive(Default)]
struct Said {
    message: String,
    event: Option<String>,
    /// The run, or else the disk, the job, the target: what a person wants to know first.
    subject: Option<(usize, String)>,
    fields: Vec<u8>,
}

/// Fields that say what an event is about, the most telling first.
const SUBJECTS: [&str; 4] = ["run", "disk_id", "job", "target"];

impl Said {
    fn into_record(self, metadata: &Metadata<'_>) -> Vec<u8> {
        let Self { message, event, subject, fields } = self;
        let mut record = fields;
        let priority = match *metadata.level() {
            Level::ERROR => "3",
            Level::WARN => "4",
            Level::INFO => "6",
            Level::DEBUG | Level::TRACE => "7",
        };
        put(&mut record, "PRIORITY", priority);
        put(&mut record, "SYSLOG_IDENTIFIER", IDENTIFIER);
        // journalctl shows no other field by itself.
        let about = subject.map_or_else(String::new, |(_, subject)| format!(" {subject}"));
        match event {
            Some(event) => put(&mut record, "MESSAGE", &format!("{event}{about}: {message}")),
            None => {
                put(&mut record, "MESSAGE", &message);
                put(&mut record, "CBS_MODULE", metadata.target());
            }
        }
        record
    }
}

impl Visit for Said {
    fn record_str(&mut self, field: &Field, value: &str) {
        let name = field.name();
        match name {
            "message" => return value.clone_into(&mut self.message),
            "event" => self.event = Some(value.to_owned()),
            _ => {}
        }
        if let Some(rank) = SUBJECTS.iter().position(|subject| *subject == name)
            && self.subject.as_ref().is_none_or(|(other, _)| rank < *other)
        {
            self.subject = Some((rank, value.to_owned()));
        }
        put(&mut self.fields, &key(name), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

/// `CBS_DISK_ID` for `disk_id`. journald drops fields whose names have anything but capitals, digits and underscores.
fn key(name: &str) -> String {
    let fit = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    let mut key = String::from("CBS_");
    key.extend(name.chars().map(fit));
    key.truncate(64);
    key
}

/// One field: on a line, or with its length where the value has lines of its own.
fn put(record: &mut Vec<u8>, key: &str, value: &str) {
    let value = cut(value);
    record.extend(key.as_bytes());
    if value.contains('\n') {
        let length = u64::try_from(value.len()).unwrap_or(u64::MAX);
        record.push(b'\n');
        record.extend(length.to_le_bytes());
    } else {
        record.push(b'=');
    }
    record.extend(value.as_bytes());
    record.push(b'\n');
}

/// As much of a value as is sent, between two characters.
fn cut(value: &str) -> &str {
    let mut end = value.len().min(LONGEST);
    while !value.is_char_boundary(end) {
        end -= 1;
    }
    &value[..end]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;
    use crate::report::log::{EVENT, OWED};

    /// A record as journald reads it.
    fn read(mut record: &[u8]) -> BTreeMap<String, String> {
        let mut fields = BTreeMap::new();
        while let Some(end) = record.iter().position(|byte| matches!(byte, b'=' | b'\n')) {
            let key = String::from_utf8(record[..end].to_vec()).unwrap();
            let (value, rest) = if record[end] == b'=' {
                let rest = &record[end + 1..];
                let length = rest.iter().position(|byte| *byte == b'\n').unwrap();
                (&rest[..length], &rest[length + 1..])
            } else {
                let length = u64::from_le_bytes(record[end + 1..end + 9].try_into().unwrap());
                let rest = &record[end + 9..];
                let length = usize::try_from(length).unwrap();
                assert_eq!(rest[length], b'\n');
                (&rest[..length], &rest[length + 1..])
            };
            assert_eq!(fields.insert(key, String::from_utf8(value.to_vec()).unwrap()), None);
            record = rest;
        }
        fields
    }

    /// What a journald that listens in a folder gets of what is said.
    fn heard(count: usize, say: impl FnOnce()) -> Vec<BTreeMap<String, String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let queue = Queue::start(sink(&path).unwrap(), |_, _| panic!("nothing is lost")).unwrap();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Native { queue }), say);
        let mut buffer = vec![0; 1 << 20];
        assert_eq!(journald.recv(&mut buffer).unwrap(), 0, "the question whether somebody listens");
        let mut next = || {
            let length = journald.recv(&mut buffer).unwrap();
            read(&buffer[..length])
        };
        (0..count).map(|_| next()).collect()
    }

    #[test]
    fn an_event_has_its_fields_under_names_that_journalctl_takes() {
        let none: Option<&str> = None;
        let said = heard(1, || {
            tracing::warn!(
                target: OWED,
                event = "backup.failed",
                job = "db-nightly",
                run = "db-nightly/disk-1/2026-11-24T18:30:00Z",
                attempt = Some(3_u32),
                code = none,
                "{}",
                "refused\nby the cloud"
            );
        });
        let expected = [
            ("CBS_ATTEMPT", "3"),
            ("CBS_EVENT", "backup.failed"),
            ("CBS_JOB", "db-nightly"),
            ("CBS_RUN", "db-nightly/disk-1/2026-11-24T18:30:00Z"),
            ("MESSAGE", "backup.failed db-nightly/disk-1/2026-11-24T18:30:00Z: refused\nby the cloud"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "cbs-backupd"),
        ];
        let expected = expected.map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(said, [BTreeMap::from(expected)]);
    }

    #[test]
    fn levels_are_priorities_and_a_diagnostic_line_names_its_module() {
        let said = heard(5, || {
            tracing::error!(target: EVENT, event = "e", "");
            tracing::warn!(target: EVENT, event = "e", "");
            tracing::info!(target: EVENT, event = "e", "");
            tracing::debug!(target: "hyper::client", r#type = "x", "text");
            tracing::trace!("text");
        });
        let priorities: Vec<&str> = said.iter().map(|fields| &*fields["PRIORITY"]).collect();
        assert_eq!(priorities, ["3", "4", "6", "7", "7"]);
        assert_eq!((&*said[3]["MESSAGE"], &*said[3]["CBS_MODULE"]), ("text", "hyper::client"));
    }

    #[test]
    fn a_long_value_is_cut_between_two_characters() {
        let long = "é".repeat(LONGEST);
        let said = heard(1, || tracing::info!("x{long}"));
        assert_eq!(said[0]["MESSAGE"].len(), LONGEST - 1);
        assert!(said[0]["MESSAGE"].ends_with('é'));
    }

    #[test]
    fn nobody_listens_and_it_is_said() {
        let folder = tempfile::tempdir().unwrap();
        assert!(sink(&folder.path().join("socket")).is_err());
    }
}
