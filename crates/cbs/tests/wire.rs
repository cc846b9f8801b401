//! The client over TCP, against servers that behave as servers must not.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::error::Error as _;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cbs::credentials::Environment;
use cbs::limiter::LaneSettings;
use cbs::transport::{Failure, ReqwestFetch, Timeouts};
use cbs::{
    Accepted, Action, BackupsQuery, Class, Client, Clock, Error, Fetch, HttpRequest, Lanes, Page, Ports,
    Priority, ReqwestTransport, Sent, Settings, Transport, TransportError,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

struct Always;

impl Clock for Always {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_545_000)
    }
}

/// Long enough for a loaded machine where a reply is expected; tests of lateness use less.
const PATIENT: Duration = Duration::from_secs(60);
const IMPATIENT: Duration = Duration::from_millis(300);

fn transport(call: Duration) -> ReqwestTransport {
    ReqwestTransport::new(Timeouts { connect: PATIENT, call }).unwrap()
}

fn client(endpoint: &str, call: Duration) -> Client {
    let credentials = Environment::new(|name| match name {
        "TENCENTCLOUD_SECRET_ID" => Some("AKIDtest".to_owned()),
        "TENCENTCLOUD_SECRET_KEY" => Some("key".to_owned()),
        _ => None,
    });
    let mut settings = Settings::new("ap-guangzhou", "100001").unwrap();
    settings.endpoint = endpoint.parse().unwrap();
    // Here the transport is to notice; the client's own bound has a test of its own.
    settings.timeout = PATIENT * 2;
    let ports = Ports {
        credentials: Arc::new(credentials),
        transport: Arc::new(transport(call)),
        clock: Arc::new(Always),
        lanes: Arc::new(Lanes::new(LaneSettings::default())),
    };
    Client::new(settings, ports)
}

async fn create(client: &Client) -> Result<Accepted, Error> {
    let permit = client.lane(Action::CreateDiskBackup).acquire(Priority::NewCreate).await;
    client.create_disk_backup(permit, "disk-1a2b3c4d", "ops1_db_20261124T183000Z").await
}

/// Serves each connection with `serve`, which gets the number of the connection, from 0. Returns the endpoint.
async fn serve<F>(serve: impl Fn(usize, TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(serve(number, stream));
        }
    });
    address
}

/// Reads one request: head and body, as they came.
async fn read_request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|window| window == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut read).await.ok()? == 0 {
            return None;
        }
    };
    let mut body = read.split_off(end);
    let head = String::from_utf8(read).unwrap();
    let length: usize = header(&head, "content-length").map_or(0, |length| length.parse().unwrap());
    while body.len() < length {
        if stream.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some((head, body))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

const ACCEPTED: &str = r#"{"Response":{"DiskBackupId":"dbp-1","RequestId":"r"}}"#;

/// Creates against a server that reads the request, writes `reply` and closes.
async fn create_answered(reply: String) -> Result<Accepted, Error> {
    let address = serve(move |_, mut stream| {
        let reply = reply.clone();
        async move {
            read_request(&mut stream).await;
            let _ = stream.write_all(reply.as_bytes()).await;
        }
    })
    .await;
    create(&client(&format!("http://{address}"), PATIENT)).await
}

/// `failure` is that of the transport, if there was no reply.
#[track_caller]
fn assert_ambiguous(result: Result<Accepted, Error>, failure: Option<Failure>) {
    let error = result.unwrap_err();
    assert_eq!((error.class, error.sent), (Class::Ambiguous, Sent::Maybe), "{error:?}");
    let source = error.source().and_then(|source| source.downcast_ref::<TransportError>());
    assert_eq!(source.map(|source| source.failure), failure, "{error:?}");
}

#[tokio::test]
async fn the_signed_bytes_are_the_sent_bytes() {
    let (seen, mut requests) = mpsc::unbounded_channel();
    let address = serve(move |_, mut stream| {
        let seen = seen.clone();
        async move {
            seen.send(read_request(&mut stream).await.unwrap()).unwrap();
            stream.write_all(ok(ACCEPTED).as_bytes()).await.unwrap();
        }
    })
    .await;
    let accepted = create(&client(&format!("http://{address}"), PATIENT)).await.unwrap();
    assert_eq!(accepted.backup_id, "dbp-1");

    let (head, body) = requests.recv().await.unwrap();
    assert!(head.starts_with("POST / HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some(&*address.to_string()));
    assert_eq!(header(&head, "content-type"), Some("application/json"));
    let names = ["content-type", "host", "x-tc-action"];
    let signed = names.map(|name| (name, header(&head, name).unwrap()));
    let at = header(&head, "x-tc-timestamp").unwrap().parse().unwrap();
    let at = jiff::Timestamp::from_second(at).unwrap();
    let expected = cbs::sign::authorization("AKIDtest", &"key".into(), "cbs", at, &signed, &body);
    assert_eq!(header(&head, "authorization"), Some(&*expected));
    for name in names {
        let count = head.lines().filter(|line| line.to_lowercase().starts_with(&format!("{name}:"))).count();
        assert_eq!(count, 1, "{name} in {head}");
    }
}

#[tokio::test]
async fn a_connection_dropped_after_the_request_is_ambiguous() {
    assert_ambiguous(create_answered(String::new()).await, Some(Failure::Closed));
}

#[tokio::test]
async fn a_connection_that_is_reset_is_ambiguous() {
    let address = serve(|_, mut stream| async move {
        // Closing with bytes unread resets.
        let _ = stream.read(&mut [0]).await;
    })
    .await;
    assert_ambiguous(create(&client(&format!("http://{address}"), PATIENT)).await, Some(Failure::Closed));
}

#[tokio::test]
async fn a_reply_cut_short_is_ambiguous_even_if_it_says_all() {
    let reply = ok(ACCEPTED).replace("Content-Length: ", "Content-Length: 1");
    assert_ambiguous(create_answered(reply).await, Some(Failure::CutShort));
    assert_ambiguous(create_answered("HTTP/1.1 200 O".to_owned()).await, Some(Failure::Closed));
}

#[tokio::test]
async fn a_reply_that_drips_is_ended_by_the_bound_on_the_whole_call() {
    let address = serve(|_, mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n").await;
        while stream.write_all(b" ").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let client = client(&format!("http://{address}"), IMPATIENT);
    assert_ambiguous(create(&client).await, Some(Failure::TimedOut));
}

#[tokio::test]
async fn a_server_that_never_answers_is_ended_by_the_bound_on_the_whole_call() {
    let address = serve(|_, mut stream| async move {
        read_request(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let client = client(&format!("http://{address}"), IMPATIENT);
    assert_ambiguous(create(&client).await, Some(Failure::TimedOut));
}

#[tokio::test]
async fn a_reply_longer_than_any_is_given_up() {
    let address = serve(|_, mut stream| async move {
        read_request(&mut stream).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
        while stream.write_all(&[b' '; 65536]).await.is_ok() {}
    })
    .await;
    assert_ambiguous(create(&client(&format!("http://{address}"), PATIENT)).await, Some(Failure::TooLong));
}

#[tokio::test]
async fn a_gateways_page_is_ambiguous() {
    let page = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>";
    let result = create_answered(page.to_owned()).await;
    assert_eq!(result.as_ref().unwrap_err().message, "status 502 (text/html)");
    assert_ambiguous(result, None);
}

/// What a metadata service says is fetched with a bare GET, and from nowhere else.
#[tokio::test]
async fn a_fetch_is_bare_and_goes_nowhere_else() {
    let (heard, mut requests) = mpsc::unbounded_channel();
    let target = serve(move |number, mut stream| {
        let heard = heard.clone();
        async move {
            let (head, body) = read_request(&mut stream).await.unwrap();
            heard.send((head, body)).unwrap();
            let answer = match number {
                0 => ok("backup-role"),
                _ => "HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n".to_owned(),
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    })
    .await;
    let fetch = ReqwestFetch::new().unwrap();
    let url = format!("http://{target}/latest/meta-data/x/");
    let answer = fetch.get(url.clone()).await.unwrap();
    assert_eq!((answer.status, &*answer.body), (200, &b"backup-role"[..]));
    assert_eq!(fetch.get(url).await.unwrap().status, 302);
    let (head, body) = requests.recv().await.unwrap();
    assert!(head.starts_with("GET /latest/meta-data/x/ HTTP/1.1\r\n"), "{head}");
    assert!(body.is_empty() && header(&head, "authorization").is_none());
    requests.recv().await.unwrap();
    assert!(requests.try_recv().is_err(), "it was followed");
    let gone = fetch.get("http://127.0.0.1:9/".to_owned()).await.unwrap_err();
    assert_eq!(gone.failure, Failure::Connect);
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (seen, mut elsewhere) = mpsc::unbounded_channel::<()>();
    let target = serve(move |_, _| {
        let _ = seen.send(());
        async {}
    })
    .await;
    let redirect =
        format!("HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{target}/\r\nContent-Length: 0\r\n\r\n");
    assert_ambiguous(create_answered(redirect).await, None);
    assert!(elsewhere.try_recv().is_err(), "the signed request went elsewhere");
}

#[tokio::test]
async fn a_refused_connection_and_a_failed_handshake_send_nothing() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let refusing = listener.local_addr().unwrap();
    drop(listener);
    let without_tls = serve(|_, mut stream| async move {
        let _ = stream.write_all(b"220 not a TLS server\r\n").await;
        let _ = stream.read_to_end(&mut Vec::new()).await;
    })
    .await;
    for endpoint in [
        format!("http://{refusing}"),
        format!("https://{without_tls}"),
        "http://there-is-no-such-host.invalid".to_owned(),
    ] {
        let error = create(&client(&endpoint, PATIENT)).await.unwrap_err();
        assert_eq!((error.class, error.sent), (Class::NotSent, Sent::No), "{endpoint}: {error:?}");
    }
}

#[tokio::test]
async fn creates_have_connections_of_their_own_and_reads_share_one() {
    let (seen, mut calls) = mpsc::unbounded_channel();
    let address = serve(move |number, mut stream| {
        let seen = seen.clone();
        async move {
            while let Some((head, _)) = read_request(&mut stream).await {
                let action = header(&head, "x-tc-action").unwrap().to_owned();
                let body = match &*action {
                    "CreateDiskBackup" => ACCEPTED,
                    _ => r#"{"Response":{"TotalCount":0,"DiskBackupSet":[],"RequestId":"r"}}"#,
                };
                seen.send((action, number)).unwrap();
                stream.write_all(ok(body).as_bytes()).await.unwrap();
            }
        }
    })
    .await;
    let client = client(&format!("http://{address}"), PATIENT);
    for _ in 0..2 {
        create(&client).await.unwrap();
        client.describe_disk_backups(&BackupsQuery::All, Page::default(), Priority::Tracking).await.unwrap();
    }
    let mut seen = Vec::new();
    while let Ok(call) = calls.try_recv() {
        seen.push(call);
    }
    let of = |action: &str| -> Vec<usize> {
        seen.iter().filter(|(known, _)| known == action).map(|(_, number)| *number).collect()
    };
    let (creates, reads) = (of("CreateDiskBackup"), of("DescribeDiskBackups"));
    assert_ne!(creates[0], creates[1], "{seen:?}");
    assert!(creates.iter().all(|number| !reads.contains(number)), "{seen:?}");
    assert_eq!(reads[0], reads[1], "{seen:?}");
}

#[tokio::test]
async fn what_cannot_be_put_into_http_sends_nothing() {
    for (endpoint, token) in [("http://127.0.0.1:9", "a\nb"), ("http://", "token"), ("127.0.0.1:9", "token")]
    {
        let request = HttpRequest {
            endpoint: endpoint.to_owned(),
            headers: vec![("X-TC-Token", token.to_owned())],
            body: "{}".into(),
            fresh_connection: true,
        };
        let error = transport(PATIENT).send(request).await.unwrap_err();
        assert_eq!(
            (error.failure, error.failure.sent()),
            (Failure::Invalid, Sent::No),
            "{endpoint} {token:?}"
        );
    }
}
