//! `run`: the daemon in the foreground, as systemd starts it.

mod service_manager;
mod soundness;
mod status_line;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::open::{self, Opened, Taken};
use crate::app::{App, Settings};
use crate::cloud;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::heartbeat::Heartbeat;
use crate::journal::FILE;
use crate::metrics::{Counters, Endpoint, Listener, Progress};
use crate::report::{Event, Fan, Kind, Report, counted};

use service_manager::Watch;
use status_line::status_line;

/// What the line of status says until a reload is good again.
const REJECTED: &str = "the last reload was rejected, see the log";

/// How long the watchdog waits for the log to take why it bites.
const HEARD_WITHIN: Duration = Duration::from_secs(1);

pub(super) fn run(global: &Global) -> Outcome {
    start(global).inspect_err(|failure| service_manager::refused(&failure.to_string()))
}

fn start(global: &Global) -> Outcome {
    let config = open::config(&global.config)?;
    let lock = open::lock(&config.state_dir);
    let _lock = match lock.map_err(|failure| failure.with_hint(other_folder(&config.state_dir)))? {
        Taken::Ours(lock) => lock,
        Taken::Held(holder) => {
            let place = config.state_dir.display();
            return Err(Failure::new(
                Exit::Held,
                format_args!("another daemon ({holder}) holds the journal in {place}"),
            ));
        }
    };
    let runtime = open::runtime()?;
    runtime.block_on(serve(global, config))
}

/// What may be wrong where the state directory cannot be written to: an instance's unit lets it write to its own alone.
fn other_folder(state_dir: &Path) -> Option<String> {
    let given = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from)?;
    let is_other = std::fs::canonicalize(&given).ok() != std::fs::canonicalize(state_dir).ok();
    is_other.then(|| format!("the unit may write to {} alone: set `state_dir` to it", given.display()))
}

async fn serve(global: &Global, config: Arc<Config>) -> Outcome {
    // Before all else: a signal that nobody listens to would end the process.
    let signals =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        return Err(Failure::new(Exit::InputOutput, "failed to listen for signals"));
    };
    let (log, levels) = global.ears();
    levels.configure(&config.log_level);
    let (counters, progress) = (Arc::<Counters>::default(), Arc::<Progress>::default());
    let report: Arc<dyn Report> =
        Arc::new(Fan(vec![log, Arc::clone(&counters) as _, Arc::clone(&progress) as _]));
    say_first(&config, global, &*report);
    let ears = (report, levels);
    let Opened { app, clouds } =
        open::app(Arc::clone(&config), open::clock(), ears, open::environment()).await?;
    let daemon = Daemon::start(Arc::clone(&app));
    let heartbeat =
        Heartbeat::start(&app).await.map_err(|error| Failure::io("start the heartbeat", &error))?;
    let watch = Watch::from_environment();
    let endpoint = Endpoint::new(Arc::clone(&app), counters, progress);
    let mut listener = Listener::new(endpoint);
    listener.follow(app.settings().config.metrics.as_ref()).await;
    app.say(&Event::new(Kind::DaemonReady, size(&app.settings())));
    service_manager::ready(&status_line(&app, None).await);

    let damage = soundness::damage(app.parts.time.clock(), config.state_dir.join(FILE));
    let mut damage = std::pin::pin!(damage);
    let mut damaged = None;
    let mut look = tokio::time::interval(watch.every);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut remark = None;
    let mut hung = false;
    loop {
        tokio::select! {
            () = next(&mut terminate) => break,
            () = next(&mut interrupt) => break,
            error = &mut damage => {
                app.say(&Event::new(Kind::JournalDamaged, error.to_string()));
                damaged = Some(error);
                break;
            }
            () = next(&mut hangup) => {
                service_manager::reloading();
                remark = (!reload(global, &app, &clouds).await).then_some(REJECTED);
                listener.follow(app.settings().config.metrics.as_ref()).await;
                service_manager::ready(&status_line(&app, remark).await);
            }
            _ = look.tick() => {
                let status = status_line(&app, remark).await;
                let hanging = app.hanging(watch.patience);
                if hanging.is_empty() {
                    hung = false;
                    service_manager::alive(&status);
                } else {
                    let hanging = in_words(&hanging);
                    if !std::mem::replace(&mut hung, true) {
                        app.say(&Event::new(Kind::DaemonFault, format!("{hanging}: the watchdog is told")));
                        // The watchdog ends the process at once.
                        let heard = app.parts.report.receipt().good();
                        let _ = tokio::time::timeout(HEARD_WITHIN, heard).await;
                    }
                    service_manager::hangs(&format!("{hanging}; {status}"));
                }
            }
        }
    }
    service_manager::stopping();
    app.say(&Event::new(Kind::DaemonStopping, "no new call is made; those under way are awaited"));
    daemon.stop().await;
    heartbeat.stop().await;
    listener.stop().await;
    damaged.map_or(Ok(Exit::Good), |error| Err(Failure::journal(&error)))
}

/// `the task Plan has not moved for 121 s`
fn in_words(hanging: &[(&'static str, Duration)]) -> String {
    let names: Vec<&str> = hanging.iter().map(|(name, _)| *name).collect();
    let longest = hanging.iter().map(|(_, time)| time.as_secs()).max().unwrap_or_default();
    let (tasks, have) = if names.len() == 1 { ("the task", "has") } else { ("the tasks", "have") };
    format!("{tasks} {} {have} not moved for {longest} s", names.join(", "))
}

async fn next(signal: &mut Signal) {
    // None would mean that signals can no longer be received; then there is nothing to wait for.
    if signal.recv().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// The first line: what is running, by which rules of time, and how it reaches the cloud.
fn say_first(config: &Config, global: &Global, report: &dyn Report) {
    let zones = crate::zones::in_force();
    let proxies = cloud::proxies(config);
    let through = if proxies.is_empty() { "no proxy".to_owned() } else { proxies.join(", ") };
    let message = format!(
        "cbs-backupd {}, configuration {}, journal in {}, {}, {through}",
        env!("CARGO_PKG_VERSION"),
        global.config.display(),
        config.state_dir.display(),
        zones.text,
    );
    report.report(&Event::new(Kind::DaemonStarting, message));
    if let Some(warning) = &zones.warning {
        report.report(&Event::new(Kind::ZonesOld, warning.clone()));
    }
}

/// Another configuration, if it has no mistakes; otherwise the old one stays in force. Says whether it is another.
async fn reload(global: &Global, app: &App, clouds: &cloud::Clouds) -> bool {
    let before = app.settings();
    let load = async {
        let config = open::config(&global.config)?;
        if config.state_dir != before.config.state_dir {
            return Err(Failure::new(
                Exit::BadConfiguration,
                "`state_dir` can be changed by a restart alone",
            ));
        }
        open::settings(&config, clouds, &app.parts.journal).await
    };
    let mut settings = match load.await {
        Ok(settings) => settings,
        Err(failure) => {
            let message = format!("the old configuration stays in force: {failure}");
            app.say(&Event::new(Kind::DaemonReloadRejected, message));
            return false;
        }
    };
    // Runs under way go on with the client that they had.
    for (name, cloud) in &before.clouds {
        settings.clouds.entry(name.clone()).or_insert_with(|| cloud.clone());
    }
    let size = size(&settings);
    app.say_level(app.parts.levels.configure(&settings.config.log_level));
    app.replace_settings(settings);
    app.say(&Event::new(Kind::DaemonReloaded, size));
    true
}

/// `2 jobs on 1 disk`
fn size(settings: &Settings) -> String {
    let jobs = counted(settings.config.jobs.len(), "job");
    let size = format!("{jobs} on {}", counted(settings.fleet.size(), "disk"));
    if settings.fleet.is_known() { size } else { format!("{size} so far") }
}
