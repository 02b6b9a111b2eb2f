//! What must hold after every step. One file is one invariant, or a few that need the same memory.

mod alerts;
mod budget;
mod counters;
mod fair_share;
mod judgement;
mod key;
mod memory;
mod page;
mod parts;
mod readings;
mod silence;
mod truth;
mod usage;

use super::{Scene, Step};

/// Something that must always hold. It may remember what it has seen.
pub trait Invariant {
    fn name(&self) -> &'static str;

    /// # Errors
    /// What is wrong.
    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String>;
}

/// Every invariant, for a daemon with so many accounts.
pub fn all(accounts: usize) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(budget::Budget::new(accounts)),
        Box::new(silence::Silence::new(accounts)),
        Box::new(key::DeadKey::new(accounts)),
        Box::new(readings::Readings),
        Box::new(counters::Counters::default()),
        Box::new(fair_share::FairShare::new(accounts)),
        Box::new(judgement::Judgement::default()),
        Box::new(truth::Truth::default()),
        Box::new(usage::Usage::new(accounts)),
        Box::new(alerts::Alerts::default()),
        Box::new(parts::Parts::default()),
        Box::new(page::Page::default()),
        Box::new(memory::Memory::new(accounts)),
    ]
}
