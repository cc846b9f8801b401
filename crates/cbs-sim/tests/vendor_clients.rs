//! The vendor's own SDK and command line, driven by `vendor/vendor_clients.py`, against the program.
//!
//! They live in a virtual environment under the build's target directory, made anew when
//! `vendor/requirements.txt` changes. It takes python3 and a package index, once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use sha2::{Digest, Sha256};

const VENDOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vendor");

/// The Python of an environment that has the vendor's clients.
fn python() -> PathBuf {
    let requirements = Path::new(VENDOR).join("requirements.txt");
    let key = hex::encode(Sha256::digest(fs::read(&requirements).unwrap()));
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("vendor-clients");
    let environment = home.join(&key[..16]);
    let (python, complete) = (environment.join("bin/python"), environment.join("complete"));

    fs::create_dir_all(&home).unwrap();
    let lock = File::create(home.join("lock")).unwrap();
    lock.lock().unwrap();
    if !complete.exists() {
        succeed(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment));
        succeed(
            Command::new(&python)
                .args(["-m", "pip", "install", "--quiet", "--no-compile", "--requirement"])
                .arg(&requirements),
        );
        File::create(complete).unwrap();
    }
    python
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// Ends with the test, however that ends.
struct Simulator(Child);

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_vendors_clients_take_the_simulator_for_the_cloud() {
    let python = python();
    let state = Path::new(VENDOR).join("state.json");
    let mut simulator = Simulator(
        Command::new(env!("CARGO_BIN_EXE_cbs-sim"))
            .arg("--state")
            .arg(state)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut first = String::new();
    BufReader::new(simulator.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let endpoint = first.trim_end().strip_prefix("listening on ").unwrap();

    let output = Command::new(python)
        .arg(Path::new(VENDOR).join("vendor_clients.py"))
        .arg(endpoint)
        // A proxy of the machine's is not for the loopback.
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        .output()
        .unwrap();
    let (cases, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{cases}");
    assert!(output.status.success(), "{cases}{complaint}");
    assert_eq!(cases.lines().filter(|line| line.starts_with("ok ")).count(), 11, "a case was lost: {cases}");
}
