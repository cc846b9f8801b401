//! What the listener is asked: `/metrics`, `/healthz`, `/readyz`.
//!
//! Responsible for the answers. A page is made by one at a time, on a thread that may block, and a young one is given
//! again: however many ask, and however slowly they read, it costs the daemon little.

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Response, StatusCode};
use jiff::Timestamp;
use tokio::sync::Mutex;

use super::state::State;
use super::{Counters, gauges};
use crate::app::App;
use crate::daemon::Vital;
use crate::report::{Event, Kind, Report};

/// So long a page is given again.
const YOUNG: Duration = Duration::from_secs(1);
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
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
    vital: Vital,
    started: Timestamp,
    page: Arc<Mutex<Option<Page>>>,
}

struct Page {
    /// By the monotonic clock.
    made: Duration,
    text: Bytes,
}

impl Endpoint {
    /// For a daemon that starts now.
    #[must_use]
    pub fn new(app: Arc<App>, counters: Arc<Counters>, progress: Arc<Progress>, vital: Vital) -> Self {
        let started = app.now().wall;
        Self { app, counters, progress, vital, started, page: Arc::default() }
    }

    /// The app that it answers for.
    pub(super) fn app(&self) -> &App {
        &self.app
    }

    /// The answer to a request.
    pub(super) async fn answer(self: &Arc<Self>, method: &Method, path: &str) -> Response<Full<Bytes>> {
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut refused = plain(StatusCode::METHOD_NOT_ALLOWED, "GET or HEAD");
            refused.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return refused;
        }
        match path {
            "/metrics" => match self.page().await {
                Ok(page) => with_type(StatusCode::OK, page, OPEN_METRICS),
                Err(error) => plain(StatusCode::INTERNAL_SERVER_ERROR, &error),
            },
            "/healthz" if self.vital.is_alive(&self.app) => plain(StatusCode::OK, "all tasks move"),
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

    async fn page(self: &Arc<Self>) -> Result<Bytes, String> {
        // The turn goes with the work: who gives up waiting does not let another begin beside it.
        let mut last = Arc::clone(&self.page).lock_owned().await;
        let now = self.app.parts.time.clock().mono();
        if let Some(page) = last.as_ref().filter(|page| now.saturating_sub(page.made) < YOUNG) {
            return Ok(page.text.clone());
        }
        let endpoint = Arc::clone(self);
        let made = tokio::task::spawn_blocking(move || {
            let text = endpoint.make().map_err(|error| format!("no page of metrics: {error}"))?;
            let text = Bytes::from(text);
            *last = Some(Page { made: now, text: text.clone() });
            Ok(text)
        });
        made.await.unwrap_or_else(|error| Err(format!("no page of metrics: {error}")))
    }

    fn make(&self) -> Result<String, std::fmt::Error> {
        let state = State::read(&self.app, self.started, self.unready());
        for job in &state.settings.config.jobs {
            self.counters.expect_job(job.name.as_str());
        }
        for target in state.settings.config.targets.keys() {
            self.counters.expect_target(target.as_str());
        }
        let mut text = String::new();
        self.counters.encode(&mut text)?;
        gauges::encode(state, &mut text)?;
        text.write_str("# EOF\n")?;
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
