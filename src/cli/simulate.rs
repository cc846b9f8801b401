//! `simulate`: a year of the whole daemon in a minute, with everything going wrong that can.

use std::io::Write as _;

use clap::Args;
use jiff::Timestamp;

use super::exit::{Exit, Failure, Outcome};
use super::{open, table};
use crate::report::Event;
use crate::simulate::{Listener, Plan, Tamper, simulate as carry_out};

#[derive(Args)]
pub(super) struct Arguments {
    /// What everything is drawn from: the same seed gives the same simulation
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// How many days, 1 to 3650
    #[arg(long, value_name = "D", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    days: u32,
    /// How many disks, 1 to 5000
    #[arg(long, value_name = "M", default_value_t = 12, value_parser = clap::value_parser!(u16).range(1..=5000))]
    disks: u16,
    /// How many simulations, of seeds one after another
    #[arg(long, value_name = "K", default_value_t = 1)]
    runs_of_seeds: u64,
    /// Print all that the daemons say, on standard error; of the lines of a disk or a day, `grep` finds those
    #[arg(long)]
    log: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn print(at: Timestamp, event: &Event) {
    let of = event.fields.run.as_deref().unwrap_or_default();
    // Whoever no longer reads it does not mind.
    let _ = writeln!(std::io::stderr(), "{at} {} {of} {}", event.kind.name(), event.message);
}

pub(super) fn simulate(arguments: &Arguments) -> Outcome {
    let mut summaries = Vec::new();
    let clock = open::clock();
    for seed in (arguments.seed..).take(usize::try_from(arguments.runs_of_seeds).unwrap_or(usize::MAX)) {
        let plan = Plan {
            listener: arguments.log.then_some(print as Listener),
            ..Plan::new(seed, arguments.days, usize::from(arguments.disks))
        };
        let began = clock.mono();
        let summary = carry_out(&plan, Tamper::default()).map_err(|error| Failure::io("simulate", &error))?;
        if !arguments.json {
            table::print(&summary)?;
            let took = clock.mono().saturating_sub(began);
            table::print(format_args!("It took {:.1} s.\n", took.as_secs_f64()))?;
        }
        summaries.push(summary);
    }
    if arguments.json {
        table::print_json(&summaries)?;
    }
    Ok(if summaries.iter().all(crate::simulate::Summary::is_good) { Exit::Good } else { Exit::Late })
}
