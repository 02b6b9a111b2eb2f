//! Why a command fails, and its exit status.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::Status;
use crate::api::ClientError;
use crate::config::ConfigError;
use crate::daemon;
use crate::http::{SystemdSocketError, Unhealthy};

#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("demo has its own configuration: leave out --config.file, or use it with serve")]
    ConfigFileOfDemo,
    #[error("{0} (--simulator.listen-address) is not loopback: a simulation is for this machine only")]
    NotLoopback(SocketAddr),
    #[error(transparent)]
    Daemon(#[from] daemon::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot listen on {address} ({flag}): {error}{}", remedy(error))]
    Listen { address: String, flag: &'static str, error: io::Error },
    #[error(transparent)]
    SystemdSocket(#[from] SystemdSocketError),
    #[error("cannot serve the simulation: {0}")]
    Simulation(io::Error),
    #[error(transparent)]
    Unhealthy(#[from] Unhealthy),
    #[error("cannot write {} (--output): {error}", file.display())]
    Write { file: PathBuf, error: io::Error },
    /// From [`print`](crate::output::print), which says what failed.
    #[error(transparent)]
    Print(#[from] io::Error),
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => ": another process listens there; choose another address, or stop that process",
        _ => "",
    }
}

impl Error {
    pub fn status(&self) -> Status {
        match self {
            Self::Config(_) | Self::ConfigFileOfDemo | Self::NotLoopback(_) => Status::Configuration,
            Self::Daemon(daemon::Error::Config(_) | daemon::Error::Key(..)) => Status::Configuration,
            Self::Daemon(daemon::Error::Client(_) | daemon::Error::Died(_) | daemon::Error::System(..))
            | Self::Client(_)
            | Self::Listen { .. }
            | Self::SystemdSocket(_)
            | Self::Simulation(_)
            | Self::Unhealthy(_)
            | Self::Write { .. }
            | Self::Print(_) => Status::Failure,
        }
    }
}
