//! A simulated group: it owns pipelines and ServiceKeys, and pays for them.

use super::catalogue;
use super::identity;

#[derive(Clone, Debug)]
pub struct SimulatedGroup {
    /// `id`
    pub id: String,
    /// `name`
    pub name: String,
    /// `slug`
    pub slug: String,
    /// `is_paid`
    pub is_paid: bool,
    /// `is_over_limit`; a scenario can set it, too.
    pub is_over_limit: bool,
    /// `is_free_trial_expired`
    pub is_free_trial_expired: bool,
    /// Whether its keys may read the account's usage; otherwise they get 404.
    pub offers_usage: bool,
    /// Ids of its pipelines, in list order.
    pub(super) order: Vec<String>,
    /// How many pipelines it started with: "the first third" of a scenario refers to this.
    pub(super) initial_size: usize,
    /// How many pipelines it has ever had.
    pub(super) ever: usize,
}

impl SimulatedGroup {
    pub(super) fn new(seed: u64, index: usize) -> Self {
        let environment = catalogue::environment(index);
        Self {
            id: identity::group_id(seed, index),
            name: format!("Simulated {environment}"),
            slug: format!("simulated-{environment}"),
            is_paid: true,
            is_over_limit: false,
            is_free_trial_expired: false,
            offers_usage: true,
            order: Vec::new(),
            initial_size: 0,
            ever: 0,
        }
    }
}
