//! What the listener is asked: `/metrics`, `/healthz`, `/readyz`.
//!
//! Responsible for the answers. A page is made by one at a time, on a thread that may block, and a young one is given
//! again: however many ask, and however slowly they read, it costs the daemon little.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::format::Format;
use super::state::State;
use super::{Counters, gauges};
use crate::app::{App, PATIENCE, Settings};
use crate::report::{Event, Kind, Report};

/// So long a page is given again.
const YOUNG: Duration = Duration::from_secs(1);
const PLAIN: &str = "text/plain; charset=utf-8";

/// How far the daemon is, as its events say it.
#[derive(Default)]
pub struct Progress(AtomicU8);

const STARTING: u8 = 0;
const READY: u8 = 1;
const STOPPING: u8 = 2;

impl Report for Progress {
    fn report(&self, event: &Event) {
        match event.kind {
            Kind::DaemonReady => self.0.store(READY, Ordering::Relaxed),
            Kind::DaemonStopping => self.0.store(STOPPING, Ordering::Relaxed),
            _ => {}
        }
    }
}

/// Answers for a daemon.
pub struct Endpoint {
    app: Arc<App>,
    counters: Arc<Counters>,
    progress: Arc<Progress>,
    started: Timestamp,
    /// The last page of each format.
    open_metrics: Arc<Mutex<Option<Page>>>,
    prometheus: Arc<Mutex<Option<Page>>>,
}

struct Page {
    /// By the monotonic clock.
    made: Duration,
    settings: Arc<Settings>,
    text: Bytes,
}

impl Endpoint {
    /// For a daemon that starts now.
    #[must_use]
    pub fn new(app: Arc<App>, counters: Arc<Counters>, progress: Arc<Progress>) -> Self {
        let started = app.now().wall;
        let (open_metrics, prometheus) = Default::default();
        Self { app, counters, progress, started, open_metrics, prometheus }
    }

    /// The app that it answers for.
    pub(super) fn app(&self) -> &App {
        &self.app
    }

    /// The answer to a request.
    pub(super) async fn answer<T>(self: &Arc<Self>, request: &Request<T>) -> Response<Full<Bytes>> {
        let (method, path) = (request.method(), request.uri().path());
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match path {
            "/metrics" => {
                let accept = request.headers().get(ACCEPT).and_then(|accept| accept.to_str().ok());
                let format = Format::accepted(accept.unwrap_or_default());
                match self.page(format).await {
                    Ok(page) => with_type(StatusCode::OK, page, format.content_type()),
                    Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error),
                }
            }
            "/healthz" if self.app.hanging(PATIENCE).is_empty() => plain(StatusCode::OK, "all tasks move"),
            "/healthz" => plain(StatusCode::SERVICE_UNAVAILABLE, "a task hangs"),
            "/readyz" => match self.unready() {
                None => plain(StatusCode::OK, "ready"),
                Some(why) => plain(StatusCode::SERVICE_UNAVAILABLE, why),
            },
            _ => plain(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz"),
        }
    }

    /// Why due backups are not being made, if they are not.
    fn unready(&self) -> Option<&'static str> {
        match self.progress.0.load(Ordering::Relaxed) {
            STARTING => Some("starting"),
            STOPPING => Some("stopping: no new call is made"),
            _ if !self.app.is_writable() => Some("the journal cannot be written"),
            _ if crate::tasks::clock_check::is_wrong(&self.app) => Some("the clock is wrong, by the cloud's"),
            _ if !self.app.parts.time.is_trusted() => {
                Some("the clock is not confirmed: no cloud has answered yet")
            }
            _ => None,
        }
    }

    async fn page(self: &Arc<Self>, format: Format) -> Result<Bytes, String> {
        let last = match format {
            Format::OpenMetrics => &self.open_metrics,
            Format::Prometheus => &self.prometheus,
        };
        // The turn goes with the work: who gives up waiting does not let another begin beside it.
        let mut last = Arc::clone(last).lock_owned().await;
        let (now, settings) = (self.app.parts.time.clock().mono(), self.app.settings());
        let is_good =
            |page: &&Page| now.saturating_sub(page.made) < YOUNG && Arc::ptr_eq(&page.settings, &settings);
        if let Some(page) = last.as_ref().filter(is_good) {
            return Ok(page.text.clone());
        }
        let endpoint = Arc::clone(self);
        // The next page is about as large as this one, which is no longer needed.
        let room = last.take().map_or(0, |page| page.text.len() + page.text.len() / 16);
        let made = tokio::task::spawn_blocking(move || {
            let text = endpoint.make(format, room).map_err(|error| format!("no page of metrics: {error}"))?;
            let text = Bytes::from(text);
            *last = Some(Page { made: now, settings, text: text.clone() });
            Ok(text)
        });
        made.await.unwrap_or_else(|error| Err(format!("no page of metrics: {error}")))
    }

    fn make(&self, format: Format, room: usize) -> Result<String, std::fmt::Error> {
        let state = State::read(&self.app, self.started, self.unready());
        for job in &state.settings.config.jobs {
            self.counters.expect_job(job.name.as_str());
        }
        for target in state.settings.config.targets.keys() {
            self.counters.expect_target(target.as_str());
        }
        let mut text = String::with_capacity(room);
        self.counters.encode(&mut text)?;
        gauges::encode(state, &mut text)?;
        format.finish(&mut text);
        Ok(text)
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    with_type(status, Bytes::from(format!("{text}\n")), PLAIN)
}

fn with_type(status: StatusCode, body: Bytes, kind: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
