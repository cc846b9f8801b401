//! A configuration file: read, or refused with mistakes that each have a place.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../tests/support/places.rs"]
mod places;

fuzz_target!(|text: &str| places::read_or_say_where(text));
