//! `cbs-sim`, the simulator as a program. Its first line on standard output says where it listens.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cbs_sim::{Clock, Sim, World, serve};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for the API of Tencent Cloud Block Storage (CBS).
///
/// `GET /_sim/ledger` shows what happened, `POST /_sim/faults` sets what goes wrong.
#[derive(Parser)]
#[command(name = "cbs-sim", version)]
struct Arguments {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: String,
    /// What the cloud is made of, JSON (see crates/cbs-sim/example-state.json)
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
}

struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the simulator's program reads the clock"
    )]
    fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::now()
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cbs-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), String> {
    let path = arguments.state.display();
    let text = std::fs::read_to_string(&arguments.state).map_err(|error| format!("{path}: {error}"))?;
    let world: World = serde_json::from_str(&text).map_err(|error| format!("{path}: {error}"))?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    runtime.block_on(async {
        let failed = |error: std::io::Error| format!("{}: {error}", arguments.listen);
        let listener = tokio::net::TcpListener::bind(&arguments.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let mut out = std::io::stdout();
        writeln!(out, "listening on http://{address}").and_then(|()| out.flush()).map_err(failed)?;
        let mut terminated = signal(SignalKind::terminate()).map_err(failed)?;
        let shutdown = async move {
            tokio::select! {
                _ = terminated.recv() => {}
                _ = tokio::signal::ctrl_c() => {}
            }
        };
        serve(listener, Sim::new(world, Arc::new(SystemClock)), shutdown).await.map_err(failed)
    })
}
