//! Asks the API again and again and writes what it says into the picture: one task per account.

mod account;
mod backoff;
mod budget;
mod changes;
mod listing;
mod pulse;
mod schedule;
mod suspicion;

pub use account::Poller;
pub use budget::Budget;
pub use pulse::Pulse;
pub use schedule::{Intervals, Pace, Probe, Schedule};

/// The part that only fuzzers and their seeds ask directly.
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing {
    use tokio::time::Instant;

    use super::listing::{Listing, Step};
    use crate::api::{ListPage, PipelineId};

    /// What a walk takes from a list that answers these pages in turn, for ever; and how many pages it asks for.
    pub(crate) fn walk(pages: &[ListPage], most: usize) -> (Vec<PipelineId>, usize) {
        let mut listing = Listing::new(most, Instant::now());
        let mut taken = Vec::new();
        for (index, page) in pages.iter().cycle().enumerate() {
            let Ok((new, step)) = listing.take(page.clone()) else { return (taken, index + 1) };
            taken.extend(new.into_iter().map(|(id, _)| id));
            if matches!(step, Step::End { .. }) {
                return (taken, index + 1);
            }
        }
        (taken, 0)
    }
}
