//! Mail, by SMTP.
//!
//! Responsible for a plain text that any reader shows, and for TLS where the configuration asks for it: without it
//! nothing is sent.

use std::time::SystemTime;

use lettre::message::header::ContentType;
use lettre::message::{Mailbox, Mailboxes};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as SmtpTls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Message as Letter, Tokio1Executor};
use secrecy::{ExposeSecret as _, SecretString};

use super::message::Message;
use super::{Delivered, Undelivered};
use crate::config::{Mail, Tls};
use crate::report::chain;

/// Sends a message.
pub(super) async fn send(mail: &Mail, login: Option<(String, SecretString)>, message: &Message) -> Delivered {
    let parameters = || {
        TlsParameters::new(mail.server.clone())
            .map_err(|error| Undelivered(format!("TLS could not be set up: {}", chain(&error))))
    };
    let tls = match mail.tls {
        Tls::Starttls => SmtpTls::Required(parameters()?),
        Tls::Tls => SmtpTls::Wrapper(parameters()?),
        Tls::None => SmtpTls::None,
    };
    let mut transport =
        AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&mail.server).port(mail.port).tls(tls);
    if let Some((name, password)) = &login {
        let password = password.expose_secret().to_owned();
        transport = transport.credentials(Credentials::new(name.clone(), password));
    }
    let sent = transport.build().send(letter(mail, message)?).await;
    sent.map(drop).map_err(|error| {
        let mut why = chain(&error);
        if let Some((_, password)) = &login {
            why = why.replace(password.expose_secret(), "***");
        }
        Undelivered(why.replace(char::is_control, " "))
    })
}

fn letter(mail: &Mail, message: &Message) -> Result<Letter, Undelivered> {
    let to: Mailboxes = mail.to.iter().cloned().collect();
    let at = |mailbox: &Mailbox| mailbox.email.domain().to_owned();
    Letter::builder()
        .from(mail.from.clone())
        .mailbox(lettre::message::header::To::from(to))
        .subject(message.title.clone())
        .date(SystemTime::from(message.at))
        // A message that is sent twice, since nobody could know that it had arrived, is one to who reads it.
        .message_id(Some(format!("<{}@{}>", message.id, at(&mail.from))))
        .header(ContentType::TEXT_PLAIN)
        .body(message.text.clone())
        .map_err(|error| Undelivered(format!("the mail: {}", chain(&error))))
}
