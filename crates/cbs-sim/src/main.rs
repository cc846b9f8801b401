//! `cbs-sim`, the simulator as a program: a state file in, a TCP port and a ledger out.

#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use cbs_sim::{Sim, World, server};
use clap::Parser;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

/// A stand-in for the API of Tencent Cloud Block Storage, on a TCP port of this machine.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Where to listen; port 0 takes a free one. The first line of the output says which.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The cloud to begin with, in JSON: credentials, disks, limits, timings, faults.
    #[arg(long, value_name = "FILE")]
    state: PathBuf,
    /// Where to write the ledger at the end.
    #[arg(long, value_name = "FILE")]
    ledger: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cbs-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    let file = arguments.state.display();
    let state =
        std::fs::read_to_string(&arguments.state).map_err(|error| format!("cannot read {file}: {error}"))?;
    let world: World = state.parse().map_err(|error| format!("{file}: {error}"))?;
    #[expect(clippy::disallowed_methods, reason = "the one place where the simulator meets the real clock")]
    let sim = Sim::new(world, Arc::new(jiff::Timestamp::now));

    // Before the first line: who reads it may stop us at once.
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let listener = TcpListener::bind(arguments.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", arguments.listen))?;
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "listening on http://{}", listener.local_addr()?)?;
    stdout.flush()?;
    drop(stdout);

    let shutdown = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server::serve(listener, sim.clone(), shutdown).await?;
    if let Some(path) = arguments.ledger {
        std::fs::write(&path, serde_json::to_string_pretty(&sim.ledger())?)
            .map_err(|error| format!("cannot write {}: {error}", path.display()))?;
    }
    Ok(())
}
