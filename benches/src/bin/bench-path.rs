//! `bench-path PATH TURNS`: goes a path so many times, for callgrind (`.ci/guard`). What is got ready before does not
//! count: callgrind is to watch [`turns_that_count`] alone.
//!
//! `bench-path writes TURNS FILE...` writes to the journals in those files, in turn, and prints how long each took, in
//! microseconds, a line for each round.

use std::path::PathBuf;
use std::time::Instant;

use benchmarks::{Looks, Planning, Replies, Standings, Writes, config, next_steps, sign, states, yaml};
use clap::Parser;

#[derive(Parser)]
struct Arguments {
    /// Which path
    path: String,
    /// How often
    turns: u32,
    /// The journals' files, of `writes`
    files: Vec<PathBuf>,
}

fn main() {
    let Arguments { path, turns, files } = Arguments::parse();
    if !files.is_empty() {
        return timed(turns, &mut files.iter().map(|file| Writes::new(Some(file))).collect::<Vec<_>>());
    }
    let mut turn: Box<dyn FnMut()> = match &*path {
        "planning-10-of-1000" => planning(1_000, 10),
        "planning-10-of-10000" => planning(10_000, 10),
        "planning-100-of-1000" => planning(1_000, 100),
        "next-step" => {
            let states = states();
            Box::new(move || next_steps(&states))
        }
        "signing" => Box::new(|| drop(sign())),
        "listing-of-100" => {
            let replies = Replies::default();
            Box::new(move || replies.turn())
        }
        "writes" => {
            let mut writes = Writes::new(None);
            Box::new(move || writes.turn())
        }
        "writes-after-300" => {
            let mut writes = Writes::new(None);
            (0..300).for_each(|_| writes.turn());
            Box::new(move || writes.turn())
        }
        "looks-after-10" => {
            let mut looks = Looks::after(10);
            Box::new(move || looks.turn())
        }
        "looks-after-1000" => {
            let mut looks = Looks::after(1_000);
            Box::new(move || looks.turn())
        }
        "standings-of-100" => {
            let standings = Standings::new(100);
            Box::new(move || standings.turn())
        }
        "history-among-100" => {
            let standings = Standings::new(100);
            Box::new(move || standings.history())
        }
        "history-among-1000" => {
            let standings = Standings::new(1_000);
            Box::new(move || standings.history())
        }
        "yaml-of-100" => {
            let text = yaml(100);
            Box::new(move || drop(config(&text)))
        }
        "yaml-of-1000" => {
            let text = yaml(1_000);
            Box::new(move || drop(config(&text)))
        }
        other => panic!("there is no path {other}"),
    };
    // The first one makes what the others find: statements, caches.
    turn();
    turns_that_count(turns, &mut turn);
}

fn planning(disks: usize, due: usize) -> Box<dyn FnMut()> {
    let mut planning = Planning::new(disks, due);
    Box::new(move || {
        let plans = planning.turn();
        planning.end(plans);
    })
}

#[inline(never)]
fn turns_that_count(turns: u32, turn: &mut dyn FnMut()) {
    for _ in 0..turns {
        turn();
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
fn timed(turns: u32, journals: &mut [Writes]) {
    for _ in 0..turns {
        let took = journals.iter_mut().map(|writes| {
            let began = Instant::now();
            writes.turn();
            began.elapsed().as_micros().to_string()
        });
        println!("{}", took.collect::<Vec<_>>().join(" "));
    }
}
