//! A client for Tencent Cloud Block Storage: signing, credentials, typed calls, typed errors, rate limits.

#![forbid(unsafe_code)]

pub mod action;
pub mod credentials;
pub mod error;
pub mod limiter;
pub mod sign;
pub mod transport;

pub use action::Action;
pub use error::{Class, Error};
