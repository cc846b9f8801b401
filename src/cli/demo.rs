//! `demo`.
use clap::Args;

use super::exit::{Exit, Outcome};

#[derive(Args)]
pub(super) struct Arguments {}

pub(super) fn demo(_: &Arguments) -> Outcome {
    Ok(Exit::Good)
}
