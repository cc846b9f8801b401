//! `run`: the daemon in the foreground, as systemd starts it.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Global;
use super::exit::{Exit, Failure, Outcome};
use super::open::{self, Opened, Taken};
use crate::app::{App, Settings};
use crate::cloud;
use crate::config::Config;
use crate::daemon::Daemon;
use crate::heartbeat::Heartbeat;
use crate::metrics::{Counters, Endpoint, Listener, Progress};
use crate::report::log::Log;
use crate::report::{Event, Fan, Kind, Report, counted};

/// How often systemd is told that all is well, at least.
const ALIVE_EVERY: Duration = Duration::from_secs(10);

pub(super) fn run(global: &Global) -> Outcome {
    let config = open::config(&global.config)?;
    let _lock = match open::lock(&config.state_dir)? {
        Taken::Ours(lock) => lock,
        Taken::Held(holder) => {
            let place = config.state_dir.display();
            return Err(Failure::new(
                Exit::Held,
                format_args!("another daemon ({holder}) holds the journal in {place}"),
            ));
        }
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::io("start", &error))?;
    runtime.block_on(serve(global, config))
}

async fn serve(global: &Global, config: Arc<Config>) -> Outcome {
    let (counters, progress) = (Arc::<Counters>::default(), Arc::<Progress>::default());
    let report: Arc<dyn Report> =
        Arc::new(Fan(vec![Arc::new(Log), Arc::clone(&counters) as _, Arc::clone(&progress) as _]));
    say_first(&config, global, &*report);
    let Opened { app, clouds } =
        open::app(Arc::clone(&config), open::clock(), report, open::environment()).await?;
    let signals =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()), signal(SignalKind::hangup()));
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = signals else {
        return Err(Failure::new(Exit::InputOutput, "failed to listen for signals"));
    };
    let daemon = Daemon::start(Arc::clone(&app));
    let heartbeat =
        Heartbeat::start(&app).await.map_err(|error| Failure::io("start the heartbeat", &error))?;
    let endpoint = Endpoint::new(Arc::clone(&app), counters, progress, daemon.vital());
    let mut listener = Listener::new(endpoint);
    listener.follow(app.settings().config.metrics.as_ref()).await;
    app.say(&Event::new(Kind::DaemonReady, size(&app.settings())));
    notify(&[NotifyState::Ready]);

    let mut alive = tokio::time::interval(ALIVE_EVERY);
    loop {
        tokio::select! {
            () = next(&mut terminate) => break,
            () = next(&mut interrupt) => break,
            () = next(&mut hangup) => {
                reload(global, &app, &clouds).await;
                listener.follow(app.settings().config.metrics.as_ref()).await;
            }
            _ = alive.tick() => {
                let status = status(&app).await;
                if daemon.is_alive() {
                    notify(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
                }
            }
        }
    }
    notify(&[NotifyState::Stopping]);
    app.say(&Event::new(Kind::DaemonStopping, "no new call is made; those under way are awaited"));
    daemon.stop().await;
    heartbeat.stop().await;
    listener.stop().await;
    Ok(Exit::Good)
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

/// Another configuration, if it has no mistakes; otherwise the old one stays in force.
async fn reload(global: &Global, app: &App, clouds: &cloud::Clouds) {
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
            return app.say(&Event::new(Kind::DaemonReloadRejected, message));
        }
    };
    // Runs under way go on with the client that they had.
    for (name, cloud) in &before.clouds {
        settings.clouds.entry(name.clone()).or_insert_with(|| cloud.clone());
    }
    let size = size(&settings);
    app.replace_settings(settings);
    app.say(&Event::new(Kind::DaemonReloaded, size));
}

/// `2 jobs on 1 disk`
fn size(settings: &Settings) -> String {
    let jobs = counted(settings.config.jobs.len(), "job");
    let size = format!("{jobs} on {}", counted(settings.fleet.size(), "disk"));
    if settings.fleet.is_known() { size } else { format!("{size} so far") }
}

/// `3 creating, 12 tracking; next due 2026-11-24T18:30:00Z`
async fn status(app: &App) -> String {
    let read = app.parts.journal.read(|store| Ok((store.open_counts()?, store.next_due()?))).await;
    let Ok((counts, next)) = read else { return "the journal cannot be read".to_owned() };
    let counts: Vec<String> = counts.iter().map(|(state, count)| format!("{count} {state}")).collect();
    let open = if counts.is_empty() { "idle".to_owned() } else { counts.join(", ") };
    next.map_or(open.clone(), |next| format!("{open}; next due {next}"))
}

fn notify(state: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell.
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!("systemd was not told: {error}");
    }
}
