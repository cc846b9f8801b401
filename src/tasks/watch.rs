//! Notices what nobody pokes for: requests of commands, a wall clock that was set, lanes that slow down.
//!
//! Responsible for looking once a second, cheaply.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use backup_core::TargetName;
use tokio::sync::Notify;

use super::driver::{InFlight, Task};
use super::requests;
use crate::app::App;
use crate::report::{Event, Kind};

/// The task.
#[derive(Default)]
pub struct Watch {
    slowed: BTreeMap<(TargetName, &'static str), bool>,
}

impl Task for Watch {
    fn bell(app: &App) -> &Notify {
        &app.pokes.watch
    }

    async fn step(&mut self, app: &Arc<App>, _: &mut InFlight) -> Duration {
        if let Err(error) = requests::take_up_all(app).await {
            app.fault(&*error);
        }
        notice_step(app).await;
        self.notice_lanes(app);
        app.parts.idle.watch
    }
}

/// After a step of the wall clock nothing that was measured before counts: a new epoch begins, and every run
/// is looked at anew.
async fn notice_step(app: &App) {
    let Some(by) = app.parts.time.stepped() else { return };
    match app.parts.journal.read(|store| store.begin_epoch()).await {
        Ok(number) => {
            app.parts.time.begin_epoch(number);
            app.say(&Event::new(Kind::ClockStepped, format!("the wall clock was set, by {by:#}")));
            app.pokes.all();
        }
        Err(error) => app.fault(&*error),
    }
}

impl Watch {
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
