//! The `metrics` section.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use super::fields::{Expected, Fields, flag, or, text};
use super::mistakes::Mistakes;
use super::tree::Node;

/// Where metrics are to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metrics {
    /// The address, or the socket.
    pub listen: Listen,
    /// Whether each disk has series of its own.
    pub per_disk: bool,
}

/// What a listener listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An address with a port.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

impl Listen {
    /// The address where nothing is said: this machine's own programs reach it, and nobody else.
    pub const DEFAULT: Self = Self::Tcp(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9750));
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

pub(super) fn metrics(node: &Node, mistakes: &mut Mistakes) -> Option<Metrics> {
    let mut fields = Fields::of(node, "a mapping such as `{ listen: 127.0.0.1:9750 }`", mistakes)?;
    let listen = or(&mut fields, "listen", Listen::DEFAULT, mistakes, listen);
    let per_disk = or(&mut fields, "per_disk", true, mistakes, flag);
    fields.finish(mistakes);
    Some(Metrics { listen: listen?, per_disk: per_disk? })
}

/// Names are not looked up: what one of them leads to may be another tomorrow.
fn listen(node: &Node) -> Result<Listen, Expected> {
    let expected = || {
        "an IP address with a port, such as `127.0.0.1:9750` or `\"[::1]:9750\"`, or `unix:` with an absolute path"
            .to_owned()
    };
    let text = text(node).map_err(|_| expected())?;
    let listen = match text.strip_prefix("unix:") {
        Some(path) => Some(PathBuf::from(path)).filter(|path| path.is_absolute()).map(Listen::Unix),
        None => text.parse().ok().map(Listen::Tcp),
    };
    listen.ok_or_else(expected)
}
