//! Dead men's switches: healthchecks.io, what follows its convention, and Uptime Kuma.

use reqwest::{Client, RequestBuilder, Url};

use super::{Beat, Signal, clip};
use crate::config::Style;

/// A switch keeps so much of a text.
const LONGEST_TEXT: usize = 10_000;
/// And Uptime Kuma of a message.
const LONGEST_WORD: usize = 250;

/// What is sent; none where this switch has no word for it.
pub(super) fn request(client: &Client, url: Url, style: Style, beat: &Beat) -> Option<RequestBuilder> {
    match style {
        Style::Healthchecks => {
            Some(client.post(healthchecks(url, beat)).body(clip(&beat.text, LONGEST_TEXT)))
        }
        Style::UptimeKuma => uptime_kuma(url, beat).map(|url| client.get(url)),
    }
}

/// `https://hc-ping.com/UUID/start?rid=…`
fn healthchecks(mut url: Url, beat: &Beat) -> Url {
    let word = match beat.signal {
        Signal::Start => Some("start"),
        Signal::Success => None,
        Signal::Fail => Some("fail"),
        // It is kept, and changes nothing.
        Signal::Test => Some("log"),
    };
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(word);
    }
    if let Some(run) = &beat.run {
        url.query_pairs_mut().append_pair("rid", run);
    }
    url
}

/// `https://kuma/api/push/TOKEN?status=up&msg=…`, whatever stood there of it already.
fn uptime_kuma(mut url: Url, beat: &Beat) -> Option<Url> {
    let status = match beat.signal {
        Signal::Start => return None,
        Signal::Success | Signal::Test => "up",
        Signal::Fail => "down",
    };
    let others: Vec<(String, String)> = url
        .query_pairs()
        .filter(|(key, _)| !matches!(&**key, "status" | "msg" | "ping"))
        .map(|(key, value)| (key.into_owned(), value.into_owned()))
        .collect();
    let word = clip(beat.text.lines().next().unwrap_or_default(), LONGEST_WORD);
    url.query_pairs_mut()
        .clear()
        .extend_pairs(others)
        .append_pair("status", status)
        .append_pair("msg", &word);
    Some(url)
}

/// Whether the answer says that it was taken.
pub(super) fn read(style: Style, answer: &str) -> Result<(), String> {
    let said = match style {
        Style::Healthchecks => return Ok(()),
        Style::UptimeKuma => serde_json::from_str::<serde_json::Value>(answer).ok(),
    };
    match said.as_ref().and_then(|said| said["ok"].as_bool()) {
        Some(true) => Ok(()),
        _ => Err("the answer is not that of Uptime Kuma".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beat(signal: Signal) -> Beat {
        Beat {
            signal,
            run: Some("00000000-0000-8000-8000-000000000000".to_owned()),
            text: "why & how\nmore".to_owned(),
        }
    }

    #[test]
    fn the_word_stands_behind_the_path_and_before_the_query() {
        let url = |text: &str, signal| healthchecks(text.parse().unwrap(), &beat(signal)).to_string();
        let rid = "rid=00000000-0000-8000-8000-000000000000";
        assert_eq!(url("https://hc/uuid", Signal::Start), format!("https://hc/uuid/start?{rid}"));
        assert_eq!(url("https://hc/uuid/", Signal::Success), format!("https://hc/uuid?{rid}"));
        assert_eq!(
            url("https://hc/key/slug?create=1", Signal::Fail),
            format!("https://hc/key/slug/fail?create=1&{rid}")
        );
        assert_eq!(url("https://hc/uuid", Signal::Test), format!("https://hc/uuid/log?{rid}"));
    }

    #[test]
    fn a_push_address_is_taken_as_it_is_copied() {
        let url = |signal| {
            let copied = "https://kuma/api/push/T0K3N?status=up&msg=OK&ping=&x=1".parse().unwrap();
            uptime_kuma(copied, &beat(signal)).map(|url| url.to_string())
        };
        assert_eq!(url(Signal::Start), None);
        let said = |status| Some(format!("https://kuma/api/push/T0K3N?x=1&status={status}&msg=why+%26+how"));
        assert_eq!(url(Signal::Success), said("up"));
        assert_eq!(url(Signal::Fail), said("down"));
        assert_eq!(read(Style::UptimeKuma, r#"{"ok":true}"#), Ok(()));
        assert!(read(Style::UptimeKuma, r#"{"ok":false,"msg":"Monitor not found"}"#).is_err());
        assert!(read(Style::UptimeKuma, "<html>").is_err());
    }
}
