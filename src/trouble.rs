//! What is wrong: one judgement for the gauges, the alerts, the page and the JSON form.

mod judge;
pub mod kinds;
#[cfg(test)]
mod tests;

pub use judge::{Judge, Trouble};
pub use kinds::{Kind, Severity};
