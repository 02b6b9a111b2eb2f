//! Asks the API again and again and writes what it says into the picture: one task per account.

mod account;
mod backoff;
mod budget;
mod changes;
mod listing;
mod schedule;

pub use account::Poller;
pub use budget::Budget;
pub use schedule::{Intervals, Pace, Probe, Schedule};
