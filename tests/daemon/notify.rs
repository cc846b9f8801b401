//! Notifiers over TCP: the binary against hooks, pings and a mail server of this test.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::process::{KEY, Setup, World, contains_secret, disk};

/// A request: its first line, and its body.
type Request = (String, String);

/// A server that hands over what it is sent, and answers as `answer` says.
fn http(answer: impl Fn(&str) -> String + Send + 'static) -> (String, Receiver<Request>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let Some(request) = read_request(&stream) else { continue };
            let reply = answer(&request.0);
            let _ = (&stream).write_all(reply.as_bytes());
            if sender.send(request).is_err() {
                return;
            }
        }
    });
    (url, received)
}

fn read_request(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok()?;
    let mut length = 0;
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some(value) = header.to_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((first.trim().trim_end_matches(" HTTP/1.1").to_owned(), String::from_utf8(body).ok()?))
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// A mail server: what each client said, up to the end of its mail.
fn smtp(extensions: &'static [&'static str]) -> (u16, Receiver<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, received) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut said = Vec::new();
            let mut reply = |text: &str| stream.write_all(text.as_bytes());
            let _ = reply("220 here\r\n");
            let mut is_data = false;
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or_default() == 0 {
                    break;
                }
                let line = line.trim_end().to_owned();
                let word = line.split(' ').next().unwrap_or_default().to_uppercase();
                let _ = match (is_data, &*word) {
                    (true, ".") => {
                        is_data = false;
                        reply("250 taken\r\n")
                    }
                    (true, _) => Ok(()),
                    (false, "EHLO") => {
                        let all: String = extensions.iter().map(|name| format!("250-{name}\r\n")).collect();
                        reply(&format!("250-here\r\n{all}250 8BITMIME\r\n"))
                    }
                    (false, "AUTH") => reply("235 welcome\r\n"),
                    (false, "DATA") => {
                        is_data = true;
                        reply("354 go on\r\n")
                    }
                    (false, "QUIT") => reply("221 bye\r\n"),
                    (false, _) => reply("250 fine\r\n"),
                };
                said.push(line);
            }
            if sender.send(said).is_err() {
                return;
            }
        }
    });
    (port, received)
}

impl World {
    /// Adds to the configuration, and to its job.
    fn add(&self, notify: &str, job: &str) {
        let text = std::fs::read_to_string(self.config()).unwrap();
        std::fs::write(self.config(), format!("notify:\n{notify}{text}{job}")).unwrap();
    }

    /// A file that holds a secret.
    fn secret(&self, name: &str, text: &str) -> String {
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }
}

#[test]
fn a_failure_reaches_hook_and_mail_and_no_secret_of_theirs_anything_else() {
    let fault = r#"[{"action":"CreateDiskBackup","effect":{"error":{"code":"InvalidParameter"}}}]"#;
    let world = World::new(Setup { disks: 2, faults: fault, ..Setup::default() });
    let (hook, posted) = http(|_| ok("ok"));
    let (port, mailed) = smtp(&["AUTH PLAIN LOGIN"]);
    // Wherever a token stands, it is the key that `contains_secret` looks for.
    let hook = world.secret("hook", &format!("{hook}/{KEY}\n"));
    let password = world.secret("password", KEY);
    world.add(
        &format!(
            "  chat: {{ kind: webhook, url_file: {hook} }}\n  post: {{ kind: mail, server: 127.0.0.1, port: {port}, \
             tls: none, username: ops, password_file: {password}, from: daemon@example.com, to: [ops@example.com] }}\n  \
             none: {{ kind: webhook, url: \"http://127.0.0.1:1/{KEY}\" }}\n"
        ),
        "",
    );
    let mut daemon = world.daemon();
    let runs = world.run(&["backup", &disk(0), &disk(1), "--json"]);
    assert_eq!(runs.status.code(), Some(1));

    let (first, body) = posted.recv().unwrap();
    assert_eq!(first, format!("POST /{KEY}"));
    let message: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&message["version"], &message["kind"], &message["owner"]),
        (&1.into(), &"trouble".into(), &"ops1".into())
    );
    let job = &message["jobs"][0];
    assert_eq!((&job["job"], &job["disks"], &job["failed"]["count"]), (&"db".into(), &2.into(), &2.into()));
    assert_eq!(job["failed"]["disks"][0]["disk_id"], disk(0));
    assert_eq!(job["failed"]["disks"][0]["reason"], "refused: permanent (InvalidParameter)");
    assert!(message["title"].as_str().unwrap().ends_with("db: 2 disks failed"), "{message}");

    let said = mailed.recv().unwrap();
    let has = |line: &str| said.iter().any(|known| known == line);
    assert!(said.iter().any(|line| line.starts_with("AUTH PLAIN ")), "{said:?}");
    assert!(has("MAIL FROM:<daemon@example.com>") && has("RCPT TO:<ops@example.com>"), "{said:?}");
    assert!(has("Subject: cbs-backupd ops1: db: 2 disks failed"), "{said:?}");
    assert!(said.iter().any(|line| line.starts_with(&format!("  {} due ", disk(0)))), "{said:?}");

    // `until` looks for the secret in every line of the log.
    daemon.signal("TERM");
    let mut failed = 0;
    while let Some(line) = daemon.next() {
        if line["event"] == "notify.failed" {
            assert_eq!(line["notifier"], "none");
            failed += 1;
        }
    }
    assert!(failed <= 1, "said once: {failed}");
    for entry in std::fs::read_dir(world.state_dir()).unwrap() {
        assert!(!contains_secret(&std::fs::read(entry.unwrap().path()).unwrap()));
    }
}

#[test]
fn a_test_says_of_each_notifier_what_came_back() {
    let world = World::new(Setup::default());
    let (good, received) = http(|request| {
        match request {
        line if line.contains("/wecom/") => ok(&format!(r#"{{"errcode":93000,"errmsg":"no robot {KEY}"}}"#)),
        line if line.contains("/moved/") => {
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_owned()
        }
        line if line.contains("/gone/") => format!("HTTP/1.1 404 Not Found\r\nContent-Length: {}\r\n\r\n/gone/{KEY}", KEY.len() + 6),
        line if line.contains("/push/") => ok(r#"{"ok":true}"#),
        _ => ok("ok"),
    }
    });
    let (port, mailed) = smtp(&[]);
    let (plain, unsent) = smtp(&["AUTH PLAIN"]);
    let password = world.secret("password", KEY);
    world.add(
        &format!(
            "  a-slack: {{ kind: webhook, template: slack, url: \"{good}/slack/{KEY}\" }}\n  \
             b-wecom: {{ kind: webhook, template: wecom, url: \"{good}/wecom/send?key={KEY}\" }}\n  \
             c-moved: {{ kind: webhook, url: \"{good}/moved/{KEY}\" }}\n  \
             d-gone: {{ kind: webhook, url: \"{good}/gone/{KEY}\" }}\n  \
             e-nobody: {{ kind: webhook, url: \"http://127.0.0.1:1/{KEY}\" }}\n  \
             f-missing: {{ kind: webhook, url_file: /nowhere/url }}\n  \
             g-post: {{ kind: mail, server: localhost, port: {port}, tls: none, from: a@b.c, to: d@e.f }}\n  \
             h-clear: {{ kind: mail, server: localhost, port: {plain}, username: ops, password_file: {password}, from: a@b.c, to: d@e.f }}\n  \
             i-alive: {{ kind: ping, style: uptime-kuma, url: \"{good}/push/{KEY}?status=up&msg=OK&ping=\" }}\n"
        ),
        &format!("    ping: \"{good}/uuid\"\n"),
    );
    let output = world.run(&["notify-test"]);
    assert_eq!(output.status.code(), Some(1));
    let shown = String::from_utf8(output.stdout).unwrap();
    let results: Vec<(&str, String)> = shown
        .lines()
        .skip(1)
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((words.next()?, words.skip(1).collect::<Vec<_>>().join(" ")))
        })
        .collect();
    let result = |name: &str| {
        &*results.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name}: {shown}")).1
    };
    for name in ["a-slack", "g-post", "i-alive", "ping:db"] {
        assert_eq!(result(name), "taken", "{shown}");
    }
    assert_eq!(result("b-wecom"), "not taken: refused: 93000 no robot ***");
    assert_eq!(result("c-moved"), "not taken: HTTP 302: a redirect, which is not followed");
    assert_eq!(result("d-gone"), "not taken: HTTP 404");
    assert!(result("e-nobody").contains("Connection refused"), "{shown}");
    assert!(
        result("f-missing").starts_with("not taken: /nowhere/url cannot be read: No such file"),
        "{shown}"
    );
    assert!(result("h-clear").contains("STARTTLS"), "{shown}");
    assert!(shown.ends_with("6 of 10 notifiers did not take it\n"), "{shown}");

    let lines: Vec<String> = received.try_iter().map(|(line, _)| line).collect();
    assert!(lines.contains(&"POST /uuid/log".to_owned()), "a test pings nobody awake: {lines:?}");
    assert!(
        lines.contains(&format!("GET /push/{KEY}?status=up&msg=cbs-backupd+ops1%3A+a+test")),
        "{lines:?}"
    );
    assert!(mailed.recv().unwrap().contains(&"Subject: cbs-backupd ops1: a test".to_owned()));
    let said = unsent.recv().unwrap();
    assert!(!said.iter().any(|line| line.starts_with("AUTH") || line.starts_with("MAIL")), "{said:?}");

    assert_eq!(world.run(&["notify-test", "a-slack"]).status.code(), Some(0));
    let unknown = world.run(&["notify-test", "nobody"]);
    assert_eq!(unknown.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("expected one of: `a-slack`"));
}

#[test]
fn a_secret_may_come_from_the_environment_or_from_systemd() {
    let world = World::new(Setup::default());
    let (good, received) = http(|_| ok("ok"));
    world.secret("hook", &format!("{good}/from-systemd\n"));
    world.add(
        "  layered: { kind: webhook }\n  named: { kind: webhook, url_env: HOOK }\n  \
         systemd: { kind: webhook, url_credential: hook }\n",
        "",
    );
    let mut command = world.command(&["notify-test"]);
    command
        .env("CBS_BACKUPD__NOTIFY__LAYERED__URL", format!("{good}/layered"))
        .env("HOOK", format!("{good}/named"))
        .env("CREDENTIALS_DIRECTORY", world.folder.path());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    let mut lines: Vec<String> = received.try_iter().map(|(line, _)| line).collect();
    lines.sort();
    assert_eq!(lines, ["POST /from-systemd", "POST /layered", "POST /named"]);
}

#[tokio::test]
async fn a_round_is_pinged_as_healthchecks_expects() {
    use cbs_backupd::config::{Ping, Secret, Style};
    use cbs_backupd::notify::{Beat, Deliver as _, Network, Signal};

    let (url, received) = http(|_| ok("OK"));
    let url = Secret::Here(format!("{url}/uuid").into());
    let ping = Ping { url, style: Style::Healthchecks };
    let network = Network::new(std::collections::BTreeMap::new()).unwrap();
    for signal in [Signal::Start, Signal::Success, Signal::Fail] {
        let beat = Beat { signal, run: Some("a-b".to_owned()), text: format!("{signal:?}") };
        network.ping(&ping, &beat).await.unwrap();
    }
    let requests: Vec<Request> = received.try_iter().collect();
    let expected = [("start?rid=a-b", "Start"), ("?rid=a-b", "Success"), ("fail?rid=a-b", "Fail")];
    let expected = expected.map(|(word, text)| {
        let slash = if word.starts_with('?') { "" } else { "/" };
        (format!("POST /uuid{slash}{word}"), text.to_owned())
    });
    assert_eq!(requests, expected);
    assert!(!format!("{ping:?}").contains("uuid"), "{ping:?}");
}
