//! Requests to the daemon, through the journal.
//!
//! A running daemon takes one up within a second. Without one, the command that makes it acts as the daemon.

use std::time::Duration;

use super::exit::{Exit, Failure};
use super::open;
use crate::journal::{Answer, Change, Journal, Request, SharedError};

/// How often the journal is asked.
pub(super) const EVERY: Duration = Duration::from_millis(200);
/// A daemon that lives, and reaches the cloud, takes a request up long before.
pub(super) const TAKEN_UP_WITHIN: Duration = Duration::from_secs(30);

/// Leaves a request; its number. A repeat with the same id is the same request.
pub(super) async fn submit(
    journal: &Journal,
    body: Request,
    request_id: Option<String>,
) -> Result<i64, Failure> {
    let made_at = open::clock().wall();
    let unique = || format!("{}-{}", std::process::id(), made_at.as_nanosecond());
    let request_id = request_id.unwrap_or_else(unique);
    let id = request_id.clone();
    let failed = |error: SharedError| Failure::io("write the request", &*error);
    journal.write(Change::Request { request_id, body, made_at }).await.map_err(failed)?;
    let number = journal.read(move |store| store.request_number(&id)).await.map_err(failed)?;
    number.ok_or_else(|| Failure::new(Exit::InputOutput, "the request is not in the journal"))
}

/// The answer to a request, as soon as there is one.
pub(super) async fn answer(journal: &Journal, number: i64, within: Duration) -> Result<Answer, Failure> {
    let wait = async {
        loop {
            let answer = journal.read(move |store| store.answer(number)).await;
            match answer.map_err(|error| Failure::io("read the answer", &*error))? {
                Some(Answer::Refused { why }) => return Err(Failure::new(Exit::Usage, why)),
                Some(answer) => return Ok(answer),
                None => tokio::time::sleep(EVERY).await,
            }
        }
    };
    let late = |_| {
        Failure::new(
            Exit::InputOutput,
            format_args!(
                "the request was not taken up within {} s (the log says why); it is kept, and taken up once that is possible",
                within.as_secs()
            ),
        )
    };
    tokio::time::timeout(within, wait).await.unwrap_or_else(|elapsed| Err(late(elapsed)))
}
