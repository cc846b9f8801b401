//! Listens where the configuration says, and follows it.
//!
//! Responsible for connections: few at a time, each for a short time, so that whoever asks slowly, or for nothing,
//! holds no more than that. A place that is taken stops no backup: it is said, and tried again until it is free.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::Endpoint;
use crate::config::{Listen, Metrics};
use crate::report::{Event, Kind};

/// So many connections at once; others wait for one of them to end.
const CONNECTIONS: usize = 8;
/// So long a connection lasts, from its begin to the last byte of the answer.
const CONNECTION: Duration = Duration::from_secs(10);
/// So long a request's head may take.
const HEAD: Duration = Duration::from_secs(5);
/// So large a request may be.
const REQUEST: usize = 16 << 10;
/// The pause before a place that could not be had is tried again.
const AGAIN: Duration = Duration::from_secs(10);
/// Whoever reaches a socket in the file system may connect, as on the loopback address: its folder says who does.
const SOCKET_MODE: u32 = 0o666;

/// The listener of a daemon, if its configuration wants one.
pub struct Listener {
    endpoint: Arc<Endpoint>,
    running: Option<Running>,
}

struct Running {
    listen: Listen,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Listener {
    /// A listener that listens nowhere yet.
    #[must_use]
    pub fn new(endpoint: Endpoint) -> Self {
        Self { endpoint: Arc::new(endpoint), running: None }
    }

    /// Listens where `wanted` says, and nowhere else.
    pub async fn follow(&mut self, wanted: Option<&Metrics>) {
        let wanted = wanted.map(|metrics| &metrics.listen);
        if self.running.as_ref().map(|running| &running.listen) == wanted {
            return;
        }
        self.stop().await;
        self.running = wanted.map(|listen| {
            let stop = CancellationToken::new();
            let serving = serve(listen.clone(), Arc::clone(&self.endpoint), stop.clone());
            Running { listen: listen.clone(), stop, task: tokio::spawn(serving) }
        });
    }

    /// Listens nowhere any more.
    pub async fn stop(&mut self) {
        if let Some(Running { stop, task, .. }) = self.running.take() {
            stop.cancel();
            if let Err(error) = task.await {
                self.endpoint.app().fault(&error);
            }
        }
    }
}

async fn serve(listen: Listen, endpoint: Arc<Endpoint>, stop: CancellationToken) {
    let listening = listen_and_answer(listen, endpoint);
    let _stopped = stop.run_until_cancelled(listening).await;
}

async fn listen_and_answer(listen: Listen, endpoint: Arc<Endpoint>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let mut said = false;
    let bound = loop {
        match bind(&listen).await {
            Ok(bound) => break bound,
            Err(error) => {
                if !std::mem::replace(&mut said, true) {
                    let message = format!(
                        "no metrics on {listen}: {error}; backups are made all the same, and it is tried again every \
                         {AGAIN:?}: free it, or name another place as `metrics.listen` and reload"
                    );
                    endpoint.app().say(&Event::new(Kind::MetricsFailed, message));
                }
            }
        }
        tokio::time::sleep(AGAIN).await;
    };
    endpoint.app().say(&Event::new(Kind::MetricsListening, format!("metrics on {}", bound.place())));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        match bound.accept(&endpoint, permit).await {
            Ok(()) => {}
            Err(error) => {
                // Such as no more files: it passes, and until then there is nobody to answer to.
                tracing::debug!("a connection to the metrics could not be accepted: {error}");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

enum Bound {
    Tcp(TcpListener),
    Unix(UnixListener, Socket),
}

/// A socket of ours in the file system; it goes with the value.
struct Socket(PathBuf);

impl Drop for Socket {
    fn drop(&mut self) {
        let _gone_already = std::fs::remove_file(&self.0);
    }
}

async fn bind(listen: &Listen) -> io::Result<Bound> {
    match listen {
        Listen::Tcp(address) => TcpListener::bind(address).await.map(Bound::Tcp),
        Listen::Unix(path) => {
            remove_stale(path).await?;
            let listener = UnixListener::bind(path)?;
            let socket = Socket(path.clone());
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(SOCKET_MODE))?;
            Ok(Bound::Unix(listener, socket))
        }
    }
}

/// Removes a socket that nobody listens on: of a daemon that was killed. Anything else is left alone.
async fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = match std::fs::symlink_metadata(path) {
        Ok(about) => about.file_type().is_socket(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    if !is_socket {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is a file of that name, and it is no socket",
        ));
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(io::Error::new(io::ErrorKind::AddrInUse, "somebody listens there")),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path),
        Err(error) => Err(error),
    }
}

impl Bound {
    /// Where it is; the port is the one that the machine chose, where it was asked to.
    fn place(&self) -> String {
        match self {
            Self::Tcp(listener) => listener
                .local_addr()
                .map_or_else(|error| error.to_string(), |address| format!("http://{address}/metrics")),
            Self::Unix(_, Socket(path)) => format!("unix:{}", path.display()),
        }
    }

    /// Accepts a connection, which is answered aside.
    async fn accept(&self, endpoint: &Arc<Endpoint>, permit: OwnedSemaphorePermit) -> io::Result<()> {
        let endpoint = Arc::clone(endpoint);
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(answer(stream, endpoint, permit));
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                tokio::spawn(answer(stream, endpoint, permit));
            }
        }
        Ok(())
    }
}

async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    endpoint: Arc<Endpoint>,
    _permit: OwnedSemaphorePermit,
) {
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let endpoint = Arc::clone(&endpoint);
        async move {
            let answer = endpoint.answer(&request).await;
            Ok::<_, std::convert::Infallible>(answer)
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .keep_alive(false)
        .max_buf_size(REQUEST)
        .serve_connection(TokioIo::new(stream), service);
    // Whoever is too slow, or leaves, has lost no more than an answer.
    let _ended = tokio::time::timeout(CONNECTION, connection).await;
}
