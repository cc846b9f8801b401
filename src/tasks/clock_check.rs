//! Finds out whether the wall clock can be believed: at start, after it was set, and whenever a cloud's date
//! differs.
//!
//! Responsible for asking the clouds when nobody else does, for beginning an epoch once the clock is confirmed,
//! and for saying what is wrong. Until then nothing is planned, sent or concluded: see
//! [`super::driver::Task::NEEDS_CLOCK`].

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backup_core::TargetName;
use backup_core::clock_check::{Verdict, judge};
use jiff::SignedDuration;

use super::driver::InFlight;
use crate::app::App;
use crate::cloud::Cloud;
use crate::journal::SharedError;
use crate::report::{Event, Kind};

/// The pause between two questions to a cloud that does not answer, or disagrees.
const AGAIN_AFTER: Duration = Duration::from_secs(5);

/// What was found and said so far.
#[derive(Default)]
pub struct ClockCheck {
    said: Said,
    /// When the clouds were last asked, by the monotonic clock.
    asked: Option<Duration>,
    answers: Arc<Answers>,
}

/// Each is said once an episode.
#[derive(Default)]
struct Said {
    stepped: bool,
    wrong: bool,
    unreachable: bool,
}

/// What the questions brought, besides dates.
#[derive(Default)]
struct Answers {
    /// There was an answer, and no date in it.
    undated: AtomicBool,
    /// Why there was none at all, of each target that was asked in vain.
    problems: Mutex<BTreeMap<TargetName, String>>,
}

impl ClockCheck {
    /// Looks once; asks the clouds where that is needed. Says how long it may be left alone.
    pub async fn step(&mut self, app: &Arc<App>, in_flight: &mut InFlight) -> Duration {
        if let Some(by) = app.parts.time.stepped()
            && !std::mem::replace(&mut self.said.stepped, true)
        {
            app.say(&Event::new(Kind::ClockStepped, format!("the wall clock was set, by {by:#}")));
            self.doubt(app);
        }
        let trusted = app.parts.time.is_trusted();
        match self.verdict(app) {
            Verdict::Right if trusted => {}
            Verdict::Right => match trust(app).await {
                Ok(()) => self.end_episode(app),
                Err(error) => app.journal_fault(&error),
            },
            // One strange date may be a proxy's: the next answers decide.
            Verdict::Wrong(_) if trusted => self.doubt(app),
            Verdict::Wrong(by) => self.say_wrong(app, by),
            Verdict::Unknown if trusted => {}
            Verdict::Unknown => self.say_unreachable(app),
        }
        if app.parts.time.is_trusted() {
            return Duration::MAX;
        }
        self.ask(app, in_flight);
        AGAIN_AFTER
    }

    fn verdict(&self, app: &App) -> Verdict {
        let settings = app.settings();
        match judge(settings.clouds.values().filter_map(Cloud::time_ahead)) {
            // Nothing can be learnt from such a cloud; nothing speaks against the clock either.
            Verdict::Unknown if self.answers.undated.load(Ordering::Relaxed) => Verdict::Right,
            verdict => verdict,
        }
    }

    fn doubt(&mut self, app: &App) {
        app.parts.time.doubt();
        app.settings().clouds.values().for_each(Cloud::forget_time);
        self.answers = Arc::default();
        self.asked = None;
    }

    fn ask(&mut self, app: &Arc<App>, in_flight: &mut InFlight) {
        let now = app.parts.time.clock().mono();
        if self.asked.is_some_and(|asked| now < asked + AGAIN_AFTER) {
            return;
        }
        self.asked = Some(now);
        for (target, cloud) in &app.settings().clouds {
            in_flight
                .start(&[], ask(Arc::clone(app), target.clone(), cloud.clone(), Arc::clone(&self.answers)));
        }
    }

    fn say_wrong(&mut self, app: &App, by: SignedDuration) {
        if !std::mem::replace(&mut self.said.wrong, true) {
            let message = format!(
                "the cloud's clock is ahead of this machine's by {by:#}; no backup is planned or made until they agree"
            );
            app.say(&Event::new(Kind::ClockWrong, message));
        }
    }

    fn say_unreachable(&mut self, app: &App) {
        let problem = {
            let problems = self.answers.problems.lock().unwrap_or_else(PoisonError::into_inner);
            // One answer is enough, and each was asked at once: not before all of them have failed.
            let all_failed = app.settings().clouds.keys().all(|target| problems.contains_key(target));
            problems.values().next().filter(|_| all_failed).cloned()
        };
        if let Some(problem) = problem
            && !std::mem::replace(&mut self.said.unreachable, true)
        {
            let message = format!("no backup is planned or made before the cloud has answered: {problem}");
            app.say(&Event::new(Kind::CloudUnreachable, message));
        }
    }

    fn end_episode(&mut self, app: &App) {
        let Said { wrong, unreachable, .. } = std::mem::take(&mut self.said);
        if wrong {
            app.say(&Event::new(Kind::ClockRight, "the clocks agree again"));
        }
        if unreachable {
            app.say(&Event::new(Kind::CloudReachable, "the cloud answers"));
        }
    }
}

/// Whether all clouds that have answered say that the wall clock is wrong.
pub fn is_wrong(app: &App) -> bool {
    let settings = app.settings();
    !app.parts.time.is_trusted()
        && matches!(judge(settings.clouds.values().filter_map(Cloud::time_ahead)), Verdict::Wrong(_))
}

async fn ask(app: Arc<App>, target: TargetName, cloud: Cloud, answers: Arc<Answers>) {
    let answered = tokio::select! {
        biased;
        () = app.stop.cancelled() => return,
        answered = cloud.ask_time() => answered,
    };
    match answered {
        Ok(()) => answers.undated.store(cloud.time_ahead().is_none(), Ordering::Relaxed),
        Err(problem) => {
            answers.problems.lock().unwrap_or_else(PoisonError::into_inner).insert(target, problem);
        }
    }
}

/// The clock is right as it stands; a new epoch begins if it was set.
async fn trust(app: &App) -> Result<(), SharedError> {
    if app.parts.time.stepped().is_some() {
        let number = app.begin_epoch().await?;
        app.parts.time.begin_epoch(number);
    }
    app.parts.time.confirm();
    app.pokes.all();
    Ok(())
}
