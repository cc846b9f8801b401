//! The command line: its words, and one file for each command.
//!
//! Responsible for arguments, output and exit codes. It refuses to decide: commands ask the journal, the
//! configuration and `backup_core`.

mod backup;
mod backups;
mod check;
mod demo;
mod exit;
mod forecast;
mod history;
mod log_level;
mod man;
mod manual;
mod next;
mod notify_test;
mod online;
mod open;
mod pause;
mod request;
mod restore;
mod run;
mod simulate;
mod status;
mod table;

use std::path::PathBuf;
use std::sync::Arc;

use backup_core::{DiskId, JobName};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};

use exit::Exit;

use crate::report::Report;
use crate::report::log::{self, Filter, Format, Levels, Log, Logging};

/// Scheduled backups of Tencent Cloud disks (CBS): each made once, followed to its end, accounted for
#[derive(Parser)]
#[command(name = "cbs-backupd", version, max_term_width = 100)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE", default_value = "/etc/cbs-backupd/config.yaml")]
    #[arg(env = "CBS_BACKUPD_CONFIG")]
    config: PathBuf,
    /// How log lines look: `text`, `json`, `journald`, or `auto`, which is journald's own way where standard error goes there,
    /// else text on a terminal and JSON otherwise
    #[arg(long, global = true, value_name = "FORMAT", default_value = "auto", hide_possible_values = true)]
    log_format: Format,
    /// What is logged: a level, or a filter such as `warn,cbs=debug`; default is the configuration's `log`, and info
    #[arg(long, global = true, value_name = "FILTER", env = "CBS_BACKUPD_LOG")]
    log_level: Option<Filter>,
    /// The log that these two set up
    #[arg(skip)]
    logging: Logging,
}

impl Global {
    /// Where events go, and what of them is logged.
    fn ears(&self) -> (Arc<dyn Report>, Levels) {
        (Arc::new(Log::new(&self.logging, open::clock())), self.logging.levels.clone())
    }
}

#[derive(Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    Run,
    /// Check the configuration and show when each job is next due
    Check(check::Arguments),
    /// Show the coming due instants of every job and disk
    Next(next::Arguments),
    /// Look ahead: what the coming days bring, and what breaks; exit code 1 when something does
    Forecast(forecast::Arguments),
    /// Make a backup of disks now, and wait until it is good
    Backup(backup::BackupArguments),
    /// Try a run again that failed or was skipped, and wait for its end
    Retry(backup::RetryArguments),
    /// Put a disk back to a backup of it; what was written since is lost
    Restore(restore::Arguments),
    /// Show past and present runs
    History(history::Arguments),
    /// Show how every job stands; exit code 1 when something is late or failed
    Status(status::Arguments),
    /// Show what backups there are in the cloud: ours, those of jobs that are gone, and others
    Backups(backups::BackupsArguments),
    /// Delete the backups that no rule of their job's `keep` keeps
    Prune(backups::PruneArguments),
    /// Send a test to every notifier, or to one, and say what came back; exit code 1 where it was not taken
    NotifyTest(notify_test::Arguments),
    /// Hold the runs of a job or a disk until `resume`
    Pause(pause::Arguments),
    /// Let the runs of a paused job or disk start again
    Resume(pause::Arguments),
    /// Show what a running daemon logs, or change it, for a time or until it ends
    LogLevel(log_level::Arguments),
    /// Watch a night of 600 disks against a simulated cloud; needs no account and no configuration
    Demo(demo::Arguments),
    /// Simulate a year in which everything goes wrong, and check that every promise is kept; needs no account and no
    /// configuration
    Simulate(simulate::Arguments),
    /// Print a completion script for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the man pages to a folder
    #[command(hide = true)]
    Man {
        /// The folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

#[derive(Args)]
#[group(required = true, multiple = false)]
struct SubjectArguments {
    /// A job's name
    #[arg(long, value_name = "JOB")]
    job: Option<JobName>,
    /// A disk
    #[arg(long, value_name = "DISK")]
    disk: Option<DiskId>,
}

/// Carries out the command line that the process was given.
pub fn main() -> std::process::ExitCode {
    let matches = man::with_examples(Cli::command()).get_matches();
    let Cli { mut global, command } = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    global.logging = match log::start(global.log_format, global.log_level.clone()) {
        Ok(logging) => logging,
        Err(error) => {
            eprintln!("cbs-backupd: the log cannot be set up: {error}");
            return Exit::InputOutput.into();
        }
    };
    let outcome = match command {
        Command::Run => run::run(&global),
        Command::Check(arguments) => check::check(&global, &arguments),
        Command::Next(arguments) => next::next(&global, &arguments),
        Command::Forecast(arguments) => forecast::forecast(&global, &arguments),
        Command::Backup(arguments) => backup::backup(&global, arguments),
        Command::Retry(arguments) => backup::retry(&global, arguments),
        Command::Restore(arguments) => restore::restore(&global, arguments),
        Command::History(arguments) => history::history(&global, &arguments),
        Command::Status(arguments) => status::status(&global, &arguments),
        Command::Backups(arguments) => backups::backups(&global, arguments),
        Command::Prune(arguments) => backups::prune(&global, arguments),
        Command::NotifyTest(arguments) => notify_test::notify_test(&global, &arguments),
        Command::Pause(arguments) => pause::pause(&global, arguments),
        Command::Resume(arguments) => pause::resume(&global, arguments),
        Command::LogLevel(arguments) => log_level::log_level(&global, arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Simulate(arguments) => simulate::simulate(&arguments),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "cbs-backupd", &mut std::io::stdout());
            Ok(Exit::Good)
        }
        Command::Man { folder } => man::man(Cli::command(), &folder),
    };
    global.logging.drain();
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}
