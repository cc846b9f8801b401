//! The simulated cloud on a TCP port, HTTP/1.1 with keep-alive, and the routes that steer it.
//!
//! Responsible for doing to connections what an [`Outcome`] says. It refuses to decide anything.
//!
//! | route | |
//! |---|---|
//! | `GET /_sim/ledger` | the [`Ledger`](crate::Ledger) |
//! | `POST /_sim/faults` | replaces the fault script: a list of [`Rule`](crate::Rule)s |
//! | `POST /_sim/disks` | adds or changes disks: a list of [`Disk`](crate::Disk)s |
//! | `POST /_sim/limits` | sets rate limits: `{"CreateDiskBackup": 10}` |
//! | `POST /_sim/roles` | replaces the roles: a list of [`Role`](crate::Role)s |
//! | `POST /_sim/machine` | replaces the machine: a [`Machine`](crate::Machine) |
//! | `POST /_sim/end-issued` | ends all temporary credentials |

use std::collections::BTreeMap;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::de::DeserializeOwned;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::judge::LARGEST_BODY;
use crate::{Outcome, Request, Response, Sim};

/// After so much silence a connection is closed, as the vendor does.
const IDLE: Duration = Duration::from_secs(60);

/// Serves `sim` until `shutdown` is done; then cuts the connections that are still open.
///
/// # Errors
///
/// When the listener fails while no connection is open, whose end could mend it.
pub async fn serve(listener: TcpListener, sim: Sim, shutdown: impl Future<Output = ()>) -> io::Result<()> {
    let mut shutdown = pin!(shutdown);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(serve_connection(stream, sim.clone()));
                }
                // The client was gone before it was let in.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                // Out of file descriptors, say: the end of a connection gives one back.
                Err(error) => tokio::select! {
                    () = &mut shutdown => return Ok(()),
                    ended = connections.join_next() => if ended.is_none() { return Err(error) },
                },
            },
        }
    }
}

/// How a connection ends before its time.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the script drops this connection")]
    Drop,
    #[error("the script resets this connection")]
    Reset,
    #[error("the script ends this body early")]
    Body,
    #[error("cannot read the request")]
    Read(#[source] Box<dyn std::error::Error + Send + Sync>),
}

async fn serve_connection(stream: TcpStream, sim: Sim) {
    // Small replies must not wait for each other.
    let _ = stream.set_nodelay(true);
    let service = service_fn(|request| Box::pin(answer(request, &sim)));
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        // hyper's would be of the machine's clock.
        .auto_date_header(false)
        .serve_connection(TokioIo::new(stream), service);
    let end = std::future::poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
    let stream = connection.into_parts().io.into_inner();
    let cause = end.as_ref().err().and_then(std::error::Error::source);
    if let Some(Cut::Reset) = cause.and_then(|cause| cause.downcast_ref()) {
        let _ = stream.set_zero_linger();
    }
}

async fn answer(request: hyper::Request<Incoming>, sim: &Sim) -> Result<hyper::Response<Payload>, Cut> {
    let (head, body) = request.into_parts();
    // One byte more than is allowed, for the judge to refuse.
    let body = Limited::new(body, LARGEST_BODY + 1).collect().await.map_err(Cut::Read)?.to_bytes();
    if let Some(route) = head.uri.path().strip_prefix("/_sim/") {
        return Ok(http(control(sim, &head.method, route, &body), None));
    }
    let headers = head.headers.iter();
    let reply = sim.handle(&Request {
        method: head.method.to_string(),
        path: head.uri.path_and_query().map_or("", |path| path.as_str()).to_owned(),
        headers: headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body,
    });
    tokio::time::sleep(reply.delay).await;
    match reply.outcome {
        Outcome::Respond(response) => Ok(http(response, None)),
        Outcome::TruncatedBody(response, length) => Ok(http(response, Some(length))),
        Outcome::DropConnection => Err(Cut::Drop),
        Outcome::ResetConnection => Err(Cut::Reset),
        // Dropped by hyper once the client hangs up.
        Outcome::NeverReply => std::future::pending().await,
    }
}

/// A reply that announces its whole body, and is cut after `length` bytes of it.
fn http(Response { status, headers, body }: Response, length: Option<usize>) -> hyper::Response<Payload> {
    let announced = body.len();
    let sent = length.map_or_else(|| body.clone(), |length| body.slice(..length.min(announced)));
    let cut = if length.is_some() { Ending::Flush } else { Ending::Whole };
    let mut reply = hyper::Response::new(Payload { bytes: Some(sent), ending: cut });
    *reply.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in &headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            reply.headers_mut().insert(name, value);
        }
    }
    reply.headers_mut().insert(CONTENT_LENGTH, announced.into());
    reply
}

/// A body in one piece, whole or cut.
struct Payload {
    bytes: Option<Bytes>,
    ending: Ending,
}

enum Ending {
    Whole,
    /// Let hyper flush what it has: it would forget it at the error.
    Flush,
    Cut,
}

impl Body for Payload {
    type Data = Bytes;
    type Error = Cut;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Cut>>> {
        if let Some(bytes) = self.bytes.take() {
            return Poll::Ready(Some(Ok(Frame::data(bytes))));
        }
        match self.ending {
            Ending::Whole => Poll::Ready(None),
            Ending::Flush => {
                self.ending = Ending::Cut;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Ending::Cut => Poll::Ready(Some(Err(Cut::Body))),
        }
    }
}

fn control(sim: &Sim, method: &Method, route: &str, body: &[u8]) -> Response {
    let result = match (method, route) {
        (&Method::GET, "ledger") => serde_json::to_string(&sim.ledger()),
        (&Method::POST, "faults") => steer(body, |rules| sim.set_faults(rules)),
        (&Method::POST, "disks") => {
            steer(body, |disks: Vec<_>| disks.into_iter().for_each(|disk| sim.put_disk(disk)))
        }
        (&Method::POST, "limits") => steer(body, |limits: BTreeMap<String, u32>| {
            limits.iter().for_each(|(action, per_second)| sim.set_rate_limit(action, *per_second));
        }),
        (&Method::POST, "roles") => steer(body, |roles| sim.set_roles(roles)),
        (&Method::POST, "machine") => steer(body, |machine| sim.set_machine(machine)),
        (&Method::POST, "end-issued") => {
            sim.end_issued();
            Ok("{}".to_owned())
        }
        _ => return json(404, json!({"error": "no such route"}).to_string()),
    };
    match result {
        Ok(answer) => json(200, answer),
        Err(error) => json(400, json!({"error": error.to_string()}).to_string()),
    }
}

fn steer<T: DeserializeOwned>(body: &[u8], apply: impl FnOnce(T)) -> serde_json::Result<String> {
    apply(serde_json::from_slice(body)?);
    Ok("{}".to_owned())
}

fn json(status: u16, body: String) -> Response {
    let headers = vec![("Content-Type".to_owned(), "application/json".to_owned())];
    Response { status, headers, body: body.into() }
}
