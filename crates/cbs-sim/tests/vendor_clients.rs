//! The vendor's own SDK and command line, driven by `vendor/vendor_clients.py`, against the program.
//!
//! With `--nocapture` it prints each case, what was asked in it and what was answered.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const VENDOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vendor");

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

    let script = Path::new(VENDOR).join("vendor_clients.py");
    let cases = vendor_clients::run(env!("CARGO_TARGET_TMPDIR"), script, &[endpoint], "");
    println!("{cases}");
    assert_eq!(cases.lines().filter(|line| line.starts_with("ok ")).count(), 21, "a case was lost: {cases}");
}
