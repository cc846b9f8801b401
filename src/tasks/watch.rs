//! Notices what nobody pokes for: requests of commands, a wall clock that was set, lanes that slow down,
//! credentials that fail.
//!
//! Responsible for looking once a second, cheaply.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use backup_core::TargetName;

use super::clock_check::ClockCheck;
use super::driver::{InFlight, Task};
use super::{inspect, requests};
use crate::app::App;
use crate::bell::Bell;
use crate::cloud::{Cloud, Source};
use crate::journal::ToInspect;
use crate::report::{Event, Kind, chain};

/// The task.
#[derive(Default)]
pub struct Watch {
    clock: ClockCheck,
    /// Targets whose credential was said to have failed.
    locked_out: BTreeSet<TargetName>,
    /// What was said of the sources that renew their credentials.
    renewed: Vec<Renewals>,
    slowed: BTreeMap<(TargetName, &'static str), bool>,
    /// Requests that are being answered.
    inspecting: BTreeSet<i64>,
}

/// What was said of a source.
struct Renewals {
    source: Source,
    /// How many renewals.
    count: u64,
    /// That it fails.
    failed: bool,
}

impl Task for Watch {
    const NEEDS_CLOCK: bool = false;

    fn bell(app: &App) -> &Bell {
        &app.pokes.watch
    }

    async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        let wait = self.clock.step(app, in_flight).await;
        app.say_level(app.parts.levels.expire(app.parts.time.clock().mono()));
        match requests::take_up_all(app, app.parts.time.is_trusted()).await {
            Ok(to_inspect) => self.inspect(app, to_inspect, in_flight),
            Err(error) => app.journal_fault(&error),
        }
        self.notice_lanes(app);
        self.notice_credentials(app);
        self.tend_credentials(app);
        app.parts.idle.watch.min(wait)
    }
}

impl Watch {
    /// Begins to answer the requests that are not being answered yet.
    fn inspect(&mut self, app: &Arc<App>, open: Vec<(i64, Vec<ToInspect>)>, in_flight: &mut InFlight) {
        self.inspecting.retain(|number| open.iter().any(|(open, _)| open == number));
        for (number, jobs) in open {
            if self.inspecting.insert(number) {
                in_flight.start(&[], inspect::inspect(Arc::clone(app), number, jobs));
            }
        }
    }

    fn notice_credentials(&mut self, app: &App) {
        for (target, cloud) in &app.settings().clouds {
            let (kind, message) = match cloud.credential_problem() {
                Some(problem) if self.locked_out.insert(target.clone()) => (Kind::CredentialsFailed, problem),
                None if self.locked_out.remove(target) => {
                    (Kind::CredentialsRefreshed, "the credential is good again".to_owned())
                }
                _ => continue,
            };
            app.say(&Event::new(kind, message).with(|fields| fields.target = Some(target.to_string())));
        }
    }

    /// Has credentials renewed that are due, whether a call wants them or not: none is to find one that has ended.
    fn tend_credentials(&mut self, app: &App) {
        let settings = app.settings();
        let in_use = |said: &Renewals| settings.clouds.values().any(|cloud| cloud.source().is(&said.source));
        self.renewed.retain(in_use);
        for source in settings.clouds.values().map(Cloud::source) {
            if !self.renewed.iter().any(|said| said.source.is(source)) {
                self.renewed.push(Renewals { source: source.clone(), count: 0, failed: false });
            }
        }
        for said in &mut self.renewed {
            let Source { name, provider } = &said.source;
            provider.tend();
            let Some(health) = provider.health() else { continue };
            let next = health.next.map_or_else(String::new, |next| format!("; next renewal {next:.0}"));
            match &health.trouble {
                Some(error) if !std::mem::replace(&mut said.failed, true) => {
                    let until = health.expires.map_or_else(
                        || "there is none".to_owned(),
                        |end| format!("the one at hand is good until {end:.0}"),
                    );
                    let message = format!("{name}: no new credential, {until}: {}", chain(&**error));
                    app.say(&Event::new(Kind::CredentialsFailed, message));
                }
                Some(_) => {}
                None if health.renewals != said.count || said.failed => {
                    let message = format!("{name}: a new credential{next}");
                    (said.count, said.failed) = (health.renewals, false);
                    app.say(&Event::new(Kind::CredentialsRefreshed, message));
                }
                None => {}
            }
        }
    }

    fn notice_lanes(&mut self, app: &App) {
        for (target, cloud) in &app.settings().clouds {
            for (action, lane) in cloud.lanes() {
                let slow = lane.rate < lane.limit;
                let was = self.slowed.insert((target.clone(), action), slow).unwrap_or(false);
                let (kind, message) = match (was, slow) {
                    (false, true) => (
                        Kind::LaneThrottled,
                        format!(
                            "{action}: the cloud throttles at {:.1} calls a second or less; \
                             others may share the limit; slowed to {:.1}",
                            lane.limit, lane.rate
                        ),
                    ),
                    (true, false) => {
                        (Kind::LaneRecovered, format!("{action}: back at {:.1} a second", lane.limit))
                    }
                    _ => continue,
                };
                app.say(&Event::new(kind, message).with(|fields| fields.target = Some(target.to_string())));
            }
        }
    }
}
