//! `cargo bench -p benchmarks`: single paths, by themselves.

use benchmarks::{Planning, Replies, Standings, Writes, config, next_steps, sign, states, yaml};
use divan::{Bencher, black_box};

/// How many disks are due in each planning pass.
const DUE_AT_ONCE: usize = 100;

fn main() {
    divan::main();
}

/// It grows with what is due, and not with what there is.
#[divan::bench(args = [1_000, 10_000, 100_000, 1_000_000], sample_count = 20, sample_size = 1)]
fn planning_100_due(bencher: Bencher<'_, '_>, disks: usize) {
    passes(bencher, disks, DUE_AT_ONCE);
}

#[divan::bench(args = [1, 10, 100, 1_000], sample_count = 20, sample_size = 1)]
fn planning_of_1000(bencher: Bencher<'_, '_>, due: usize) {
    passes(bencher, 1_000, due);
}

fn passes(bencher: Bencher<'_, '_>, disks: usize, due: usize) {
    let planning = std::cell::RefCell::new(Planning::new(disks, due));
    let last = std::cell::RefCell::new(Vec::new());
    bencher
        .with_inputs(|| planning.borrow_mut().end(last.take()))
        .bench_local_values(|()| *last.borrow_mut() = planning.borrow_mut().turn());
}

#[divan::bench]
fn next_step_of_each_state(bencher: Bencher<'_, '_>) {
    let states = states();
    bencher.bench_local(|| next_steps(black_box(&states)));
}

#[divan::bench]
fn signing() -> String {
    sign()
}

#[divan::bench]
fn a_listing_of_100(bencher: Bencher<'_, '_>) {
    let replies = Replies::default();
    bencher.bench_local(|| replies.turn());
}

/// In memory: what SQLite and the encoding cost, and not the disk.
#[divan::bench]
fn writes_of_a_run(bencher: Bencher<'_, '_>) {
    let mut writes = Writes::new(None);
    bencher.bench_local(|| writes.turn());
}

#[divan::bench(args = [100, 1_000])]
fn standings(bencher: Bencher<'_, '_>, disks: usize) {
    let standings = Standings::new(disks);
    bencher.bench_local(|| standings.turn());
}

#[divan::bench(args = [1_000, 10_000], sample_count = 10, sample_size = 1)]
fn reading_yaml(bencher: Bencher<'_, '_>, disks: usize) {
    let text = yaml(disks);
    bencher.bench_local(|| config(black_box(&text)));
}
