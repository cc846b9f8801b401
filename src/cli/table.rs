//! Tables for people: aligned, without lines between.

use std::io::{IsTerminal as _, Write as _};

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};

use super::exit::Failure;

/// A table with these headings.
pub(super) fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if !std::io::stdout().is_terminal() {
        table.force_no_tty();
    }
    table.set_header(headings.iter().map(Cell::new));
    table
}

/// A run's state, in the colour of its meaning.
pub(super) fn state(name: &str) -> Cell {
    let cell = Cell::new(name);
    match name {
        "completed" => cell.fg(Color::Green),
        "failed" => cell.fg(Color::Red),
        "skipped" => cell.fg(Color::Yellow),
        _ => cell.fg(Color::Cyan),
    }
}

/// Prints to standard output. A reader that has gone away is no failure.
pub(super) fn print(text: impl std::fmt::Display) -> Result<(), Failure> {
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::io("write", &error)),
        _ => Ok(()),
    }
}

/// Prints rows of a table, trailing blanks taken off.
pub(super) fn print_table(table: &Table) -> Result<(), Failure> {
    let lines: Vec<String> = table.to_string().lines().map(|line| line.trim_end().to_owned()).collect();
    print(lines.join("\n"))
}

/// Prints JSON.
pub(super) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value).map_err(|error| Failure::io("write", &error))?;
    print(json)
}
