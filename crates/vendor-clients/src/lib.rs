//! For tests: runs Python scripts that hold others' work against ours: the vendor's own SDK and command line, and
//! croniter's reading of cron expressions.
//!
//! They live in a virtual environment under the build's target directory, made anew when `requirements.txt`
//! changes. It takes python3 and a package index, once.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use sha2::{Digest, Sha256};

/// Runs a script with these arguments and this input to its end, and gives its output.
///
/// `tmpdir` is the `CARGO_TARGET_TMPDIR` of the test, which Cargo tells to tests only.
///
/// # Panics
/// If the environment cannot be made, or the script fails.
#[must_use]
pub fn run(tmpdir: &str, script: impl AsRef<Path>, arguments: &[&str], input: &str) -> String {
    let python = python(tmpdir);
    let mut python = Command::new(&python)
        .arg(script.as_ref())
        .args(arguments)
        // A proxy of the machine's is not for the loopback.
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1")
        // A signature's date is of UTC wherever its maker is.
        .env("TZ", "Asia/Shanghai")
        .env("PYTHONIOENCODING", "utf-8")
        // Nothing is to be written beside the scripts.
        .env("PYTHONPYCACHEPREFIX", python.with_file_name("pycache"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = python.stdin.take().unwrap();
    let output = thread::scope(|scope| {
        // A script that fails early does not read: its own complaint says more than a broken pipe.
        scope.spawn(move || stdin.write_all(input.as_bytes()));
        python.wait_with_output().unwrap()
    });
    let (found, complaint) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{found}{complaint}");
    found.into_owned()
}

/// The Python of the environment.
fn python(tmpdir: &str) -> PathBuf {
    let requirements = Path::new(env!("CARGO_MANIFEST_DIR")).join("requirements.txt");
    let key = hex::encode(Sha256::digest(fs::read(&requirements).unwrap()));
    let home = Path::new(tmpdir).with_file_name("vendor-clients");
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
