//! Man pages: of the program, of each command, and of the configuration.
//!
//! Responsible for making pages of the command line (`cli.rs`), the words of `manual.rs` and the table of keys
//! (`crate::config::keys`). `cbs-backupd man DIR` writes them; the committed ones are in `man/`, and a test compares.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

use super::exit::{Exit, Failure, Outcome};
use super::manual::{ENVIRONMENT, Example, FILES, Page, SIGNALS, page};
use crate::config::keys::{Key, SECTIONS, Section, Unset};

/// When the words of the manual were last revised.
const REVISED: &str = "2026-11-24";
const PROGRAM: &str = "cbs-backupd";
const CONFIG: &str = "cbs-backupd-config";

/// The command line with the examples of the manual in its help.
pub(super) fn with_examples(mut command: Command) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    for name in names {
        if let Some(page) = page(&name).filter(|page| !page.examples.is_empty()) {
            command = command.mut_subcommand(&name, |sub| {
                sub.after_help(format!("{}\n\nMore in {PROGRAM}-{name}(8).", examples_in_help(page.examples)))
            });
        }
    }
    let whole = page("").map_or(&[][..], |page| page.exits);
    let exits: Vec<String> = whole
        .iter()
        .map(|(exit, meaning)| format!("  {:>2}  {}", *exit as u8, in_general(*exit, meaning)))
        .collect();
    command.after_help(format!(
        "Exit codes:\n{}\n\nMore in {PROGRAM}(8) and {CONFIG}(5).",
        exits.join("\n").replace('`', "")
    ))
}

fn examples_in_help(examples: &[Example]) -> String {
    let lines = examples.iter().map(|(what, line)| format!("  {what}\n    {line}"));
    format!("Examples:\n{}", lines.collect::<Vec<_>>().join("\n"))
}

/// Writes all pages into a folder.
pub(super) fn man(command: Command, folder: &Path) -> Outcome {
    let failed =
        |error: io::Error| Failure::io(format_args!("write man pages to {}", folder.display()), &error);
    std::fs::create_dir_all(folder).map_err(failed)?;
    for (name, text) in pages(command).map_err(failed)? {
        std::fs::write(folder.join(name), text).map_err(failed)?;
    }
    Ok(Exit::Good)
}

/// All pages, by their files' names.
fn pages(command: Command) -> io::Result<BTreeMap<String, String>> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let shown = command.get_subcommands().filter(|sub| !sub.is_hide_set()).cloned();
    let mut pages: BTreeMap<String, String> =
        shown.map(|sub| of_command(sub, false)).collect::<io::Result<_>>()?;
    pages.extend([of_command(command, true)?, of_configuration()?]);
    Ok(pages)
}

fn of_command(command: Command, whole: bool) -> io::Result<(String, String)> {
    let name = if whole { "" } else { command.get_name() };
    let page = page(name);
    let title = command.get_display_name().unwrap_or(PROGRAM).to_owned();
    let command = command.mut_args(with_values);
    let man = titled(Man::new(command.clone()), &title, "8");
    let mut text = Vec::new();
    man.render_title(&mut text)?;
    man.render_name_section(&mut text)?;
    synopsis(&command, whole).to_writer(&mut text)?;
    match page {
        None => man.render_description_section(&mut text)?,
        Some(page) => {
            let mut roff = Roff::default();
            roff.control("SH", ["DESCRIPTION"]);
            paragraphs(&mut roff, page.text);
            roff.to_writer(&mut text)?;
        }
    }
    if whole {
        let mut roff = Roff::default();
        roff.control("SH", ["COMMANDS"]);
        for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set()) {
            let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
            item(&mut roff, vec![bold(sub.get_name())], &about);
        }
        roff.control("PP", []);
        roff.text(inlines("Each has a page of its own, such as `cbs-backupd-status(8)`."));
        roff.to_writer(&mut text)?;
    }
    man.render_options_section(&mut text)?;
    let mut roff = Roff::default();
    if whole {
        definitions(&mut roff, "SIGNALS", SIGNALS);
    }
    if let Some(page) = page {
        exits(&mut roff, page);
    }
    if whole {
        definitions(&mut roff, "ENVIRONMENT", ENVIRONMENT);
        definitions(&mut roff, "FILES", FILES);
    }
    if let Some(page) = page {
        examples(&mut roff, page.examples);
        see_also(
            &mut roff,
            std::iter::once("cbs-backupd(8)").filter(|_| !whole).chain(page.see.iter().copied()),
        );
    }
    roff.to_writer(&mut text)?;
    Ok((format!("{title}.8"), tidy(&without_backticks(&lossless(text)?))))
}

/// Paragraphs after a heading, or after another paragraph.
fn paragraphs(roff: &mut Roff, texts: &[&str]) {
    for (index, text) in texts.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text(inlines(text));
    }
}

/// An option with its possible values in its help: a list of them takes a page.
fn with_values(argument: Arg) -> Arg {
    let values = argument.get_possible_values();
    let values: Vec<&str> = values.iter().map(|value| value.get_name()).collect();
    if values.is_empty() || argument.is_hide_possible_values_set() || !argument.get_action().takes_values() {
        return argument;
    }
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let help = format!("{help}: {}", values.join(", "));
    argument.hide_possible_values(true).help(help)
}

fn titled(man: Man, title: &str, section: &str) -> Man {
    let source = format!("{PROGRAM} {}", env!("CARGO_PKG_VERSION"));
    man.title(title.to_uppercase())
        .section(section)
        .date(REVISED)
        .source(source)
        .manual("Backups of cloud disks")
}

/// The command line with its own options; those of every command are understood.
fn synopsis(command: &Command, whole: bool) -> Roff {
    let mut line = vec![bold(command.get_bin_name().unwrap_or(PROGRAM))];
    let own = |argument: &&Arg| {
        let every = argument.get_help_heading().is_some() || argument.get_id() == "help";
        !every && !argument.is_hide_set()
    };
    let in_group: Vec<_> = command.get_groups().filter(|group| group.is_required_set()).collect();
    let in_group: Vec<_> = in_group.iter().flat_map(|group| group.get_args()).collect();
    let (mut either, mut positional) = (Vec::new(), Vec::new());
    for argument in command.get_arguments().filter(own) {
        let value = argument.get_value_names().filter(|_| argument.get_action().takes_values());
        let value = value.map(|names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "));
        let mut one = Vec::new();
        if let Some(long) = argument.get_long() {
            one.push(bold(format!("--{long}")));
            one.extend(value.iter().flat_map(|value| [roman(" "), italic(value)]));
        } else {
            let more = argument.get_num_args().is_some_and(|number| number.max_values() > 1);
            one.extend([italic(value.unwrap_or_default()), roman(if more { "..." } else { "" })]);
        }
        if in_group.contains(&argument.get_id()) {
            either.extend((!either.is_empty()).then(|| roman(" | ")));
            either.extend(one);
        } else if argument.is_positional() {
            positional.push(roman(" "));
            positional.extend(one);
        } else if argument.is_required_set() {
            line.push(roman(" "));
            line.extend(one);
        } else {
            line.push(roman(" ["));
            line.extend(one);
            line.push(roman("]"));
        }
    }
    if !either.is_empty() {
        line.push(roman(" {"));
        line.extend(either);
        line.push(roman("}"));
    }
    line.extend(positional);
    if whole {
        line.extend([roman(" "), italic("COMMAND"), roman(" ["), italic("OPTION"), roman("...]")]);
    }
    let mut roff = Roff::default();
    roff.control("SH", ["SYNOPSIS"]);
    roff.text(line);
    roff
}

/// What an exit code says of a command, or of all where nothing is said of this one.
fn in_general(exit: Exit, meaning: &'static str) -> &'static str {
    if meaning.is_empty() { exit.meaning() } else { meaning }
}

fn exits(roff: &mut Roff, page: &Page) {
    roff.control("SH", ["EXIT STATUS"]);
    for (exit, meaning) in page.exits {
        item(roff, vec![bold((*exit as u8).to_string())], in_general(*exit, meaning));
    }
}

/// Examples, each a text of several lines with what it is for.
fn examples(roff: &mut Roff, examples: &[Example]) {
    roff.control("SH", ["EXAMPLES"]);
    for (index, (what, lines)) in examples.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text(inlines(what));
        roff.control("PP", []);
        roff.control("RS", ["4"]);
        roff.control("EX", []);
        for line in lines.lines() {
            roff.text([roman(line)]);
        }
        roff.control("EE", []);
        roff.control("RE", []);
    }
}

fn see_also<'a>(roff: &mut Roff, pages: impl Iterator<Item = &'a str>) {
    roff.control("SH", ["SEE ALSO"]);
    let mut seen = Vec::new();
    let mut line = Vec::new();
    for page in pages {
        if seen.contains(&page) {
            continue;
        }
        if !seen.is_empty() {
            line.push(roman(", "));
        }
        let (name, section) = page.split_once('(').unwrap_or((page, ""));
        line.extend([bold(name), roman(format!("({section}"))]);
        seen.push(page);
    }
    roff.text(line);
}

fn definitions(roff: &mut Roff, heading: &str, items: &[(&str, &str)]) {
    roff.control("SH", [heading]);
    for (name, meaning) in items {
        item(roff, vec![bold(*name)], meaning);
    }
}

fn item(roff: &mut Roff, name: Vec<Inline>, meaning: &str) {
    roff.control("TP", []);
    roff.text(name);
    roff.text(inlines(meaning));
}

/// cbs-backupd-config(5).
fn of_configuration() -> io::Result<(String, String)> {
    let mut text = Vec::new();
    titled(Man::new(Command::new(CONFIG)), CONFIG, "5").render_title(&mut text)?;
    let mut roff = Roff::default();
    roff.control("SH", ["NAME"]);
    roff.text([roman(format!("{CONFIG} - the configuration of {PROGRAM}"))]);
    roff.control("SH", ["SYNOPSIS"]);
    roff.text([italic("/etc/cbs-backupd/config.yaml")]);
    roff.control("SH", ["DESCRIPTION"]);
    paragraphs(&mut roff, DESCRIPTION);
    for Section { path, about, keys } in SECTIONS {
        roff.control("SH", [if path.is_empty() { "TOP OF THE FILE" } else { path }]);
        roff.text(inlines(about));
        keys.iter().for_each(|key| of_key(&mut roff, key));
    }
    examples(&mut roff, CONFIGURATIONS);
    definitions(&mut roff, "FILES", CONFIGURATION_FILES);
    see_also(&mut roff, ["cbs-backupd(8)", "cbs-backupd-check(8)", "cbs-backupd-next(8)"].into_iter());
    roff.to_writer(&mut text)?;
    Ok((format!("{CONFIG}.5"), tidy(&lossless(text)?)))
}

fn of_key(roff: &mut Roff, key: &Key) {
    roff.control("TP", []);
    roff.text([bold(key.name)]);
    let default = match key.default {
        Unset::Required => "required".to_owned(),
        Unset::Is(value) => format!("default `{value}`"),
        Unset::Means(what) if what.starts_with("required") => what.to_owned(),
        Unset::Means(what) => format!("default: {what}"),
    };
    roff.text(inlines(&format!("{}; {default}.", key.kind.shown())));
    roff.control("br", []);
    roff.text(inlines(key.meaning));
}

/// What stands in backticks is bold.
fn inlines(text: &str) -> Vec<Inline> {
    let parts = text.split('`').enumerate();
    parts
        .filter(|(_, part)| !part.is_empty())
        .map(|(index, part)| if index % 2 == 1 { bold(part) } else { roman(part) })
        .collect()
}

/// The same in what `clap_mangen` wrote of help texts: there a backtick is a backtick.
fn without_backticks(page: &str) -> String {
    let line = |line: &str| {
        let parts = line.split('`').enumerate();
        parts
            .map(|(index, part)| if index % 2 == 1 { format!("\\fB{part}\\fR") } else { part.to_owned() })
            .collect::<String>()
    };
    page.lines().map(|text| line(text) + "\n").collect()
}

/// The page without blanks at the ends of lines, and its running text in lines of 80 columns.
fn tidy(page: &str) -> String {
    const WIDTH: usize = 80;
    let mut tidy = String::with_capacity(page.len());
    let (mut verbatim, mut whole_line) = (false, false);
    for line in page.lines().map(str::trim_end) {
        let control = line.starts_with(['.', '\'']);
        verbatim = if control { line == ".EX" } else { verbatim };
        let mut column = 0;
        for word in line.split_inclusive(' ') {
            // A word that begins with these would be taken for a control.
            let breaks = !control && !verbatim && !whole_line && !word.starts_with(['.', '\'']);
            if breaks && column > 0 && column + word.trim_end().len() > WIDTH {
                tidy.truncate(tidy.trim_end().len());
                tidy.push('\n');
                column = 0;
            }
            tidy.push_str(word);
            column += word.len();
        }
        tidy.push('\n');
        // What follows these is one line.
        whole_line = line.starts_with(".TP") || line == ".SH NAME";
    }
    tidy
}

fn lossless(text: Vec<u8>) -> io::Result<String> {
    String::from_utf8(text).map_err(io::Error::other)
}

const DESCRIPTION: &[&str] = &[
    "A file in YAML. It is read at the start and at a reload (SIGHUP), and refused as a whole if anything in it is wrong: an unknown key, a key a second time, a value of another kind or out of its range. Each mistake is said with file, line, column and what was expected; `cbs-backupd check` says all of them without changing anything.",
    "Durations are numbers with units, the greatest first: 90s, 5m, 1h30m, 7d, 250ms. Times of day and cron expressions want quotes.",
    "Any single value outside `jobs` can be set by an environment variable instead, named by its path in upper case: CBS_BACKUPD__SETTLE=10m, CBS_BACKUPD__TARGETS__DEFAULT__RATE_LIMIT=10.",
    "Below, NAME and KIND stand for a name that is chosen or one of several, and [] for each item of a list.",
];

const CONFIGURATION_FILES: &[(&str, &str)] =
    &[("/etc/cbs-backupd/config.yaml", "Read where no other is named (`--config`, $CBS_BACKUPD_CONFIG).")];

const CONFIGURATIONS: &[Example] = &[
    ("The least:", include_str!("../../config/minimal.yaml")),
    (
        "Disks by their tags, spread over half an hour, a week of backups and a month of weekly ones, with an alarm where the last good backup is older than 26 hours:",
        SELECTED,
    ),
];

const SELECTED: &str = r#"owner: ops1
timezone: Asia/Shanghai
targets:
  default:
    region: ap-guangzhou
    credentials: { source: cvm-role }
jobs:
  - name: nightly
    select: { tags: { backup: nightly } }
    schedule: { cron: "30 2 * * *", spread: 30m, together: instance }
    objective: 26h
    keep: { daily: 7, weekly: 4 }
"#;
