//! The TCP front: carries out what the simulator says the network shall do, real drops and resets included.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use crate::faults::Rule;
use crate::sim::{Outcome, Request, Response, Sim};

const LARGEST_BODY: usize = 1 << 20;

/// Serves until `shutdown` ends. Connections still open then are closed.
///
/// `GET /_sim/ledger` answers with the ledger; `POST /_sim/faults` takes a JSON list of rules.
///
/// # Errors
/// When the listener fails.
pub async fn serve(listener: TcpListener, sim: Sim, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let mut connections = tokio::task::JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            accepted = listener.accept() => {
                let (stream, _) = accepted?;
                connections.spawn(connection(stream, sim.clone()));
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Why a connection ends without a reply.
#[derive(Debug, thiserror::Error)]
enum Ends {
    #[error("dropped")]
    Dropped,
    #[error("unreadable request")]
    Unreadable,
}

async fn connection(stream: TcpStream, sim: Sim) {
    // Small replies leave at once.
    let _ = stream.set_nodelay(true);
    let (reset, mut is_reset) = oneshot::channel::<()>();
    let reset = std::sync::Mutex::new(Some(reset));
    let service = service_fn(|request| {
        let sim = sim.clone();
        let reset = &reset;
        async move { answer(request, sim, reset).await }
    });
    let mut served =
        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = std::pin::Pin::new(&mut served).await;
    if is_reset.try_recv().is_ok() {
        // Closing with a zero linger sends RST rather than FIN.
        let _ = served.into_parts().io.into_inner().set_zero_linger();
    }
}

type Reset = std::sync::Mutex<Option<oneshot::Sender<()>>>;

async fn answer(
    request: hyper::Request<Incoming>,
    sim: Sim,
    reset: &Reset,
) -> Result<hyper::Response<Reply>, Ends> {
    let (parts, body) = request.into_parts();
    let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(|_| Ends::Unreadable)?.to_bytes();
    let path = parts.uri.path();
    if path.starts_with("/_sim/") {
        return Ok(control(parts.method.as_str(), path, &body, &sim));
    }
    let headers = parts.headers.iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let request =
        Request { method: parts.method.to_string(), path: path.to_owned(), headers: headers.collect(), body };
    let reply = sim.handle(&request);
    tokio::time::sleep(reply.delay).await;
    match reply.outcome {
        Outcome::Respond(response) => Ok(http(response, None)),
        Outcome::CutShort(response, sent) => Ok(http(response, Some(sent))),
        Outcome::Drop => Err(Ends::Dropped),
        Outcome::Reset => {
            if let Some(reset) = reset.lock().ok().and_then(|mut reset| reset.take()) {
                let _ = reset.send(());
            }
            Err(Ends::Dropped)
        }
        Outcome::Never => {
            // Longer than any client waits.
            tokio::time::sleep(Duration::from_secs(3600)).await;
            Err(Ends::Dropped)
        }
    }
}

fn control(method: &str, path: &str, body: &[u8], sim: &Sim) -> hyper::Response<Reply> {
    match (method, path) {
        ("GET", "/_sim/ledger") => as_json(200, &sim.ledger()),
        ("POST", "/_sim/faults") => match serde_json::from_slice::<Vec<Rule>>(body) {
            Ok(rules) => {
                let count = rules.len();
                sim.set_faults(rules);
                as_json(200, &serde_json::json!({ "rules": count }))
            }
            Err(error) => as_json(400, &serde_json::json!({ "error": error.to_string() })),
        },
        _ => as_json(404, &serde_json::json!({ "error": "expected GET /_sim/ledger or POST /_sim/faults" })),
    }
}

fn as_json(status: u16, value: &impl Serialize) -> hyper::Response<Reply> {
    let body = serde_json::to_vec(value).unwrap_or_default();
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    http(Response { status, headers, body: body.into() }, None)
}

fn http(response: Response, cut: Option<usize>) -> hyper::Response<Reply> {
    let mut http = hyper::Response::new(Reply { whole: Full::new(response.body), cut });
    *http.status_mut() = hyper::StatusCode::from_u16(response.status).unwrap_or_default();
    for (name, value) in response.headers {
        let name = hyper::header::HeaderName::try_from(name);
        if let (Ok(name), Ok(value)) = (name, hyper::header::HeaderValue::try_from(value)) {
            http.headers_mut().insert(name, value);
        }
    }
    http
}

/// A body that may end before its announced length.
struct Reply {
    whole: Full<Bytes>,
    cut: Option<usize>,
}

impl Body for Reply {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let cut = self.cut;
        let frame = std::pin::Pin::new(&mut self.whole).poll_frame(context);
        frame.map(|frame| match (frame, cut) {
            (Some(Ok(frame)), Some(cut)) => {
                frame.into_data().ok().map(|data| Ok(Frame::data(data.slice(..cut.min(data.len())))))
            }
            (None, Some(_)) => Some(Err(io::Error::other("cut short"))),
            (frame, _) => frame.map(|frame| frame.map_err(|never: Infallible| match never {})),
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.whole.size_hint()
    }
}
