//! The exit statuses of the contract.

use std::process::ExitCode;

use crate::api;

/// The result of a command. The statuses of failures are ordered by importance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Success = 0,
    /// A failure that no other status covers.
    Failure = 1,
    /// The command line, the configuration or a key's source is wrong.
    Configuration = 2,
    /// The API responded 401 to a key.
    Unauthorized = 3,
    /// The API responded 403 to a key.
    Forbidden = 4,
    /// No complete response arrived.
    Unreachable = 5,
    /// The response was not a list.
    Unreadable = 6,
}

impl From<&api::Error> for Status {
    fn from(error: &api::Error) -> Self {
        match error {
            api::Error::Unauthorized(_) => Self::Unauthorized,
            api::Error::Forbidden(_) => Self::Forbidden,
            error if error.answered() => Self::Unreadable,
            _ => Self::Unreachable,
        }
    }
}

impl Status {
    /// The status of several accounts: of those that fail, the lowest counts.
    pub(super) fn of_all(statuses: impl IntoIterator<Item = Self>) -> Self {
        statuses.into_iter().filter(|status| *status != Self::Success).min().unwrap_or(Self::Success)
    }
}

impl From<Status> for ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status as u8)
    }
}
