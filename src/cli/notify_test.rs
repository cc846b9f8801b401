//! `notify-test`: does everybody who is to be told of a failure hear of it?
//!
//! Responsible for sending each notifier a test and for saying what came back, so that nobody needs to wait for a
//! failure. It needs no daemon, and changes nothing.

use std::time::Duration;

use backup_core::Owner;
use clap::Args;
use jiff::Timestamp;

use super::exit::{Exit, Failure, Outcome};
use super::{Global, open, table};
use crate::config::{Channel, Config, Job, Ping};
use crate::notify::message::Message;
use crate::notify::{Beat, Deliver, Delivered, Signal};
use crate::report::counted;

#[derive(Args)]
pub(super) struct Arguments {
    /// A notifier, or `ping:JOB` for the ping of a job; default: all
    #[arg(value_name = "NAME")]
    name: Option<String>,
}

/// Somebody who is tested.
struct Tested<'c> {
    name: String,
    kind: &'static str,
    timeout: Duration,
    way: Way<'c>,
}

enum Way<'c> {
    Notifier(&'c Channel),
    Ping(&'c Ping),
}

pub(super) fn notify_test(global: &Global, arguments: &Arguments) -> Outcome {
    let config = open::config(&global.config)?;
    let mut all = all(&config);
    if let Some(name) = &arguments.name {
        let names: Vec<String> = all.iter().map(|tested| format!("`{}`", tested.name)).collect();
        all.retain(|tested| tested.name == *name);
        if all.is_empty() {
            let known = if names.is_empty() { "there is none".to_owned() } else { names.join(", ") };
            let what = format_args!("there is no notifier `{name}`; expected one of: {known}");
            return Err(Failure::new(Exit::Usage, what));
        }
    }
    if all.is_empty() {
        table::print("there is nobody to tell: the configuration has no `notify`, and no job has a `ping`")?;
        return Ok(Exit::Good);
    }
    let deliver = open::notifiers(open::environment())?;
    let now = open::clock().wall();
    let runtime = open::runtime()?;
    let results = runtime.block_on(futures_util::future::join_all(
        all.iter().map(|tested| test(&*deliver, tested, &config.owner, now)),
    ));
    let mut shown = table::table(&["NAME", "KIND", "RESULT"]);
    let mut refused = 0;
    for (tested, result) in all.iter().zip(results) {
        let said = match result {
            Ok(()) => "taken".to_owned(),
            Err(why) => {
                refused += 1;
                format!("not taken: {why}")
            }
        };
        shown.add_row([tested.name.clone(), tested.kind.to_owned(), said]);
    }
    table::print_table(&shown)?;
    if refused > 0 {
        table::print(format_args!("{} of {} did not take it", refused, counted(all.len(), "notifier")))?;
    }
    Ok(if refused == 0 { Exit::Good } else { Exit::Late })
}

fn all(config: &Config) -> Vec<Tested<'_>> {
    let notifiers = config.notify.iter().map(|(name, notifier)| Tested {
        name: name.to_string(),
        kind: notifier.channel.kind(),
        timeout: notifier.timeout,
        way: Way::Notifier(&notifier.channel),
    });
    let pings = config.jobs.iter().filter_map(|job| {
        let ping = job.ping.as_ref()?;
        let name = format!("ping:{}", job.name);
        Some(Tested { name, kind: "ping", timeout: Job::PING_TIMEOUT, way: Way::Ping(ping) })
    });
    notifiers.chain(pings).collect()
}

async fn test(deliver: &dyn Deliver, tested: &Tested<'_>, owner: &Owner, now: Timestamp) -> Delivered {
    let message = Message::test(owner.clone(), now);
    let beat = Beat { signal: Signal::Test, run: None, text: message.title.clone() };
    let sending = match tested.way {
        Way::Notifier(Channel::Webhook { hook, .. }) => deliver.post(hook, &message),
        Way::Notifier(Channel::Mail { mail, .. }) => deliver.mail(mail, &message),
        Way::Notifier(Channel::Ping { ping, .. }) | Way::Ping(ping) => deliver.ping(ping, &beat),
    };
    let late =
        |_| Err(crate::notify::Undelivered(format!("no answer within {} s", tested.timeout.as_secs())));
    tokio::time::timeout(tested.timeout, sending).await.unwrap_or_else(late)
}
