//! What a client sees on a TCP connection.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cbs_sim::{Disk, Effect, Ledger, Request, Rule, Sim, Which, server};
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::support::{START, Signer, world};

/// A server whose clock stands still at [`START`].
struct Server {
    address: SocketAddr,
    sim: Sim,
    shutdown: oneshot::Sender<()>,
    serving: JoinHandle<io::Result<()>>,
}

fn start() -> Timestamp {
    START.parse().unwrap()
}

impl Server {
    async fn new(faults: Vec<Rule>) -> Self {
        let sim = Sim::new(world([Disk::new("disk-1")]), Arc::new(start));
        sim.set_faults(faults);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (shutdown, over) = oneshot::channel::<()>();
        let serving = tokio::spawn(server::serve(listener, sim.clone(), async {
            let _ = over.await;
        }));
        Self { address, sim, shutdown, serving }
    }

    async fn connect(&self) -> Connection {
        Connection(TcpStream::connect(self.address).await.unwrap())
    }

    fn create(&self) -> Request {
        let signer = Signer { host: self.address.to_string(), ..Signer::default() };
        signer.sign("CreateDiskBackup", &json!({"DiskId": "disk-1"}).to_string(), start())
    }

    async fn control(&self, method: &str, route: &str, body: &str) -> (u16, Value) {
        let mut connection = self.connect().await;
        let path = format!("/_sim/{route}");
        let request =
            Request { method: method.to_owned(), path, ..Request::post(&[("Host", "sim")], body.to_owned()) };
        connection.send(&request).await;
        let (head, body) = connection.response().await;
        assert!(!head.text.contains("date: "), "of which clock? {}", head.text);
        (head.status, serde_json::from_slice(&body).unwrap())
    }
}

struct Connection(TcpStream);

struct Head {
    status: u16,
    text: String,
    length: usize,
}

impl Connection {
    async fn send(&mut self, request: &Request) {
        let headers: String =
            request.headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let Request { method, path, body, .. } = request;
        let head = format!("{method} {path} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
        self.0.write_all(head.as_bytes()).await.unwrap();
        self.0.write_all(body).await.unwrap();
    }

    async fn head(&mut self) -> Head {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.0.read_u8().await.unwrap());
        }
        let text = String::from_utf8(head).unwrap().to_lowercase();
        let status = text.split(' ').nth(1).unwrap().parse().unwrap();
        let length =
            text.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
        Head { status, text, length }
    }

    async fn response(&mut self) -> (Head, Vec<u8>) {
        let head = self.head().await;
        let mut body = vec![0; head.length];
        self.0.read_exact(&mut body).await.unwrap();
        (head, body)
    }

    /// All that comes until the connection ends.
    async fn rest(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = Vec::new();
        self.0.read_to_end(&mut rest).await.map(|_| rest)
    }
}

fn once(effect: Effect) -> Vec<Rule> {
    vec![Rule::always(effect).which(Which::First(1))]
}

#[tokio::test]
async fn a_connection_serves_many_requests_with_the_date_of_the_simulated_clock() {
    let server = Server::new(vec![]).await;
    let mut connection = server.connect().await;
    for expected in ["DiskBackupId", "ResourceUnavailable.SnapshotCreating"] {
        connection.send(&server.create()).await;
        let (head, body) = connection.response().await;
        assert_eq!(head.status, 200);
        assert_eq!(head.text.matches("date: ").count(), 1, "{}", head.text);
        assert!(head.text.contains("date: tue, 24 nov 2026 18:30:00 gmt\r\n"), "{}", head.text);
        assert!(head.text.contains("content-type: application/json\r\n"), "{}", head.text);
        assert!(String::from_utf8_lossy(&body).contains(expected));
    }
}

#[tokio::test]
async fn a_dropped_connection_ends_without_a_byte() {
    let server = Server::new(once(Effect::Drop { executed: true })).await;
    let mut connection = server.connect().await;
    connection.send(&server.create()).await;
    assert_eq!(connection.rest().await.unwrap(), b"");
    assert_eq!(server.sim.ledger().backups.len(), 1);
}

#[tokio::test]
async fn a_reset_connection_is_reset() {
    let server = Server::new(once(Effect::Reset { executed: false })).await;
    let mut connection = server.connect().await;
    connection.send(&server.create()).await;
    assert_eq!(connection.rest().await.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(server.sim.ledger().backups.len(), 0);
}

#[tokio::test]
async fn a_short_body_ends_before_its_length() {
    let server = Server::new(once(Effect::ShortBody { executed: true })).await;
    let mut connection = server.connect().await;
    connection.send(&server.create()).await;
    let head = connection.head().await;
    let rest = connection.rest().await.unwrap();
    assert_eq!((head.status, rest.len()), (200, head.length / 2));
}

#[tokio::test(start_paused = true)]
async fn a_slow_reply_comes_when_its_time_has_come() {
    let server = Server::new(once(Effect::Slow { ms: 60_000 })).await;
    let mut connection = server.connect().await;
    connection.send(&server.create()).await;
    let mut byte = [0];
    let early = timeout(Duration::from_millis(59_999), connection.0.peek(&mut byte)).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(connection.response().await.0.status, 200);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_a_minute() {
    let server = Server::new(vec![]).await;
    let mut connection = server.connect().await;
    connection.send(&server.create()).await;
    connection.response().await;
    let mut byte = [0];
    let early = timeout(Duration::from_secs(59), connection.0.peek(&mut byte)).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(timeout(Duration::from_secs(2), connection.rest()).await.unwrap().unwrap(), b"");
}

#[tokio::test]
async fn a_gateways_answer_keeps_its_status() {
    let body = "<html>".to_owned();
    let server = Server::new(once(Effect::Http { status: 502, body, executed: false })).await;
    let mut connection = server.connect().await;
    connection.send(&server.create()).await;
    let (head, body) = connection.response().await;
    assert_eq!((head.status, body.as_slice()), (502, b"<html>".as_slice()));
}

#[tokio::test]
async fn a_request_without_an_answer_holds_up_neither_others_nor_the_end() {
    let server = Server::new(once(Effect::Timeout { executed: true })).await;
    let mut held = server.connect().await;
    held.send(&server.create()).await;
    while server.sim.ledger().requests.is_empty() {
        tokio::task::yield_now().await;
    }
    let mut other = server.connect().await;
    other.send(&server.create()).await;
    assert_eq!(other.response().await.0.status, 200);
    server.shutdown.send(()).unwrap();
    server.serving.await.unwrap().unwrap();
    assert_eq!(held.rest().await.unwrap(), b"");
}

#[tokio::test]
async fn the_ledger_is_read_and_the_cloud_is_steered_over_http() {
    let server = Server::new(vec![]).await;
    let faults =
        json!([{"action": "CreateDiskBackup", "effect": {"error": {"code": "ResourceBusy"}}}]).to_string();
    assert_eq!(server.control("POST", "faults", &faults).await, (200, json!({})));
    let mut connection = server.connect().await;
    connection.send(&server.create()).await;
    connection.response().await;
    assert_eq!(server.control("POST", "faults", "[]").await, (200, json!({})));
    assert_eq!(server.control("POST", "disks", r#"[{"id": "disk-1", "quota": 0}]"#).await, (200, json!({})));
    connection.send(&server.create()).await;
    connection.response().await;
    assert_eq!(server.control("POST", "limits", r#"{"CreateDiskBackup": 0}"#).await, (200, json!({})));
    connection.send(&server.create()).await;
    connection.response().await;

    let (status, ledger) = server.control("GET", "ledger", "").await;
    assert_eq!(status, 200);
    assert_eq!(ledger["requests"][0]["arrival"], "2026-11-24T18:30:00.000000Z");
    let ledger: Ledger = serde_json::from_value(ledger).unwrap();
    let codes: Vec<_> = ledger.requests.iter().map(|request| request.code.as_deref().unwrap()).collect();
    assert_eq!(codes, ["ResourceBusy", "ResourceInsufficient.OverQuota", "RequestLimitExceeded"]);
    assert_eq!(ledger.requests, server.sim.ledger().requests);
}

#[tokio::test]
async fn a_wrong_script_is_refused_and_the_one_in_force_stays() {
    let server = Server::new(vec![Rule::always(Effect::Drop { executed: false })]).await;
    let (status, answer) = server.control("POST", "faults", r#"[{"acton": "x", "effect": "vanish"}]"#).await;
    assert_eq!(status, 400);
    assert!(answer["error"].as_str().unwrap().contains("acton"), "{answer}");
    assert_eq!(server.control("GET", "nothing", "").await.0, 404);
    let mut connection = server.connect().await;
    connection.send(&server.create()).await;
    assert_eq!(connection.rest().await.unwrap(), b"");
}
