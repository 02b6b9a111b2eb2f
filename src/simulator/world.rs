//! The model of the platform: groups, keys and pipelines, and who may read what.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;
use tokio::time::Instant;

use super::answers::{self, Page};
use super::catalogue;
use super::demo;
use super::group::SimulatedGroup;
use super::identity;
use super::living::{Condition, Life};
use super::pipeline::SimulatedPipeline;
use super::refusal::Refusal;
use super::scenario::Scenario;
use crate::api::Operation;
use crate::rate::Bucket;

/// The requests per second (also the burst) that [`Scenario::RateLimited`] allows per key.
const ALLOWED_PER_SECOND: f64 = 2.0;
/// How long a key is refused after it exceeded the limit.
const REFUSED_FOR: Duration = Duration::from_secs(2);

struct Entry {
    pipeline: SimulatedPipeline,
    /// Its index among all pipelines that its group has ever had.
    index: usize,
    life: Life,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    Service { group: usize },
    ReadOnly,
}

struct Key {
    kind: KeyKind,
    revoked: bool,
    limiter: Limiter,
}

/// Refuses a key that exceeds the limit, for [`REFUSED_FOR`].
struct Limiter {
    /// The instant of the world's time zero.
    epoch: Instant,
    bucket: Bucket,
    refused_until: Duration,
}

impl Default for Limiter {
    fn default() -> Self {
        let epoch = Instant::now();
        let bucket = Bucket::new(ALLOWED_PER_SECOND, ALLOWED_PER_SECOND, epoch.into_std());
        Self { epoch, bucket, refused_until: Duration::ZERO }
    }
}

impl Limiter {
    fn ask(&mut self, now: Duration) -> Result<(), Refusal> {
        if now >= self.refused_until {
            if self.bucket.take((self.epoch + now).into_std()).is_ok() {
                return Ok(());
            }
            self.refused_until = now + REFUSED_FOR;
        }
        let wait = self.refused_until.saturating_sub(now);
        Err(Refusal::RateLimited { retry_after: wait.as_millis().div_ceil(1_000) })
    }
}

/// The sender of a request whose key was accepted.
#[derive(Clone, Copy)]
pub(super) struct Caller {
    group: usize,
}

/// The whole simulated platform.
pub(super) struct World {
    seed: u64,
    /// The wall-clock time of the simulator's start, in Unix seconds.
    epoch: i64,
    scenario: Scenario,
    /// When it began.
    scenario_began: Duration,
    groups: Vec<SimulatedGroup>,
    pipelines: HashMap<String, Entry>,
    keys: Vec<Key>,
    key_by_text: HashMap<String, usize>,
    /// In [`Scenario::RevokedKey`], keys with a lower index are revoked.
    revoked_before: usize,
    demo: bool,
}

impl World {
    /// A healthy world with this many groups, this many pipelines in each, and no keys.
    pub(super) fn new(seed: u64, groups: usize, pipelines: usize) -> Self {
        let mut world = Self {
            seed,
            epoch: Timestamp::now().as_second(),
            scenario: Scenario::Healthy,
            scenario_began: Duration::ZERO,
            groups: Vec::new(),
            pipelines: HashMap::new(),
            keys: Vec::new(),
            key_by_text: HashMap::new(),
            revoked_before: 0,
            demo: false,
        };
        for group in 0..groups {
            world.fill_group(
                group,
                (0..pipelines).map(|index| SimulatedPipeline::generated(seed, group, index)),
                Duration::ZERO,
            );
        }
        world
    }

    pub(super) const fn scenario(&self) -> Scenario {
        self.scenario
    }

    pub(super) fn set_scenario(&mut self, now: Duration, scenario: Scenario) {
        self.scenario = scenario;
        self.scenario_began = now;
        self.revoked_before = self.keys.len();
        if scenario == Scenario::Demo && !self.demo {
            self.install_demo(now);
        }
        for entry in self.pipelines.values_mut() {
            let size = initial_size(&self.groups, entry.pipeline.group());
            entry.life.change(now, condition(scenario, &entry.pipeline, entry.index, size));
        }
    }

    /// Replaces the fleet with the demo's, and adds the demo's keys.
    fn install_demo(&mut self, now: Duration) {
        self.demo = true;
        self.pipelines.clear();
        self.groups.clear();
        for group in [demo::PROD, demo::STAGING] {
            self.fill_group(group, demo::pipelines(self.seed, group).into_iter(), now);
        }
        self.update_group(demo::STAGING, |group| group.offers_usage = false);
        self.add_service_key(demo::DEMO_KEY_PROD, demo::PROD);
        self.add_service_key(demo::DEMO_KEY_STAGING, demo::STAGING);
        self.add_service_key(demo::DEMO_KEY_REVOKED, demo::PROD);
        self.revoke_key(demo::DEMO_KEY_REVOKED);
    }

    fn fill_group(&mut self, index: usize, pipelines: impl ExactSizeIterator<Item = SimulatedPipeline>, now: Duration) {
        self.ensure_group(index).initial_size = pipelines.len();
        for pipeline in pipelines {
            self.add_pipeline(now, pipeline);
        }
    }

    fn ensure_group(&mut self, index: usize) -> &mut SimulatedGroup {
        while self.groups.len() <= index {
            self.groups.push(SimulatedGroup::new(self.seed, self.groups.len()));
        }
        &mut self.groups[index]
    }

    pub(super) fn update_group(&mut self, index: usize, f: impl FnOnce(&mut SimulatedGroup)) {
        if let Some(group) = self.groups.get_mut(index) {
            f(group);
        }
    }

    pub(super) fn pipeline_ids(&self, group: usize) -> Vec<String> {
        self.groups.get(group).map(|group| group.order.clone()).unwrap_or_default()
    }

    /// Adds a pipeline at the end of its group's list; one with the same id is replaced.
    pub(super) fn add_pipeline(&mut self, now: Duration, pipeline: SimulatedPipeline) {
        self.remove_pipeline(pipeline.id());
        let scenario = self.scenario;
        let group = self.ensure_group(pipeline.group());
        let index = group.ever;
        group.ever += 1;
        group.order.push(pipeline.id().to_owned());
        let life = Life::new(
            identity::hash(pipeline.id()),
            catalogue::chain_of(&pipeline.topic),
            condition(scenario, &pipeline, index, group.initial_size),
            now,
        );
        let entry = Entry { index, life, pipeline };
        self.pipelines.insert(entry.pipeline.id().to_owned(), entry);
    }

    pub(super) fn remove_pipeline(&mut self, id: &str) {
        if let Some(entry) = self.pipelines.remove(id)
            && let Some(group) = self.groups.get_mut(entry.pipeline.group())
        {
            group.order.retain(|existing| existing != id);
        }
    }

    pub(super) fn update_pipeline(&mut self, now: Duration, id: &str, f: impl FnOnce(&mut SimulatedPipeline)) {
        let Some(entry) = self.pipelines.get_mut(id) else {
            return;
        };
        f(&mut entry.pipeline);
        let size = initial_size(&self.groups, entry.pipeline.group());
        let condition = condition(self.scenario, &entry.pipeline, entry.index, size);
        entry.life.change(now, condition);
    }

    pub(super) fn restart_worker(&mut self, now: Duration, id: &str) {
        if let Some(entry) = self.pipelines.get_mut(id) {
            entry.life.restart(now);
        }
    }

    pub(super) fn add_service_key(&mut self, text: &str, group: usize) {
        self.ensure_group(group);
        self.add_key(text, KeyKind::Service { group });
    }

    pub(super) fn add_read_only_key(&mut self, text: &str) {
        self.add_key(text, KeyKind::ReadOnly);
    }

    fn add_key(&mut self, text: &str, kind: KeyKind) {
        self.key_by_text.insert(text.to_owned(), self.keys.len());
        self.keys.push(Key { kind, revoked: false, limiter: Limiter::default() });
    }

    pub(super) fn revoke_key(&mut self, text: &str) {
        if let Some(index) = self.key_index(text) {
            self.revoke_key_at(index);
        }
    }

    /// Returns whether the key exists.
    pub(super) fn revoke_key_at(&mut self, index: usize) -> bool {
        match self.keys.get_mut(index) {
            Some(key) => {
                key.revoked = true;
                true
            }
            None => false,
        }
    }

    pub(super) fn key_index(&self, text: &str) -> Option<usize> {
        self.key_by_text.get(text).copied()
    }

    /// By the index of the key.
    pub(super) fn revoked_keys(&self) -> Vec<bool> {
        (0..self.keys.len()).map(|index| self.is_revoked(index)).collect()
    }

    fn is_revoked(&self, index: usize) -> bool {
        self.keys.get(index).is_none_or(|key| key.revoked)
            || (self.scenario == Scenario::RevokedKey && index < self.revoked_before)
    }

    /// Checks the key with this index (Pipeline REST API overview: authentication).
    pub(super) fn admit(&mut self, now: Duration, key: Option<usize>) -> Result<Caller, Refusal> {
        let index = key.filter(|index| !self.is_revoked(*index)).ok_or(Refusal::Unauthorized)?;
        let scenario = self.scenario;
        let key = self.keys.get_mut(index).ok_or(Refusal::Unauthorized)?;
        if scenario == Scenario::RateLimited {
            key.limiter.ask(now)?;
        }
        match key.kind {
            KeyKind::Service { group } if scenario != Scenario::ReadOnlyKey => Ok(Caller { group }),
            _ => Err(Refusal::ReadOnlyKey),
        }
    }

    /// `data` of a page of the list.
    pub(super) fn list(&self, caller: Caller, page: Page) -> Value {
        let group = self.groups.get(caller.group).filter(|_| self.scenario != Scenario::Empty);
        let mut order: Vec<&String> = group.iter().flat_map(|group| &group.order).collect();
        if page.shuffled {
            fastrand::shuffle(&mut order);
        }
        let start = page.number.saturating_sub(1).saturating_mul(page.size).min(order.len());
        let end = start.saturating_add(page.size).min(order.len());
        let items = order[start..end]
            .iter()
            .filter_map(|id| self.pipelines.get(*id))
            .filter_map(|entry| {
                let pipeline = &entry.pipeline;
                let object = answers::pipeline(pipeline, group?, self.scenario.over_limit(caller.group));
                Some(pipeline.apply_overrides(Operation::List, object))
            })
            .collect();
        answers::page(items, page, order.len(), end < order.len())
    }

    /// `data` of the usage of the caller's account.
    pub(super) fn usage(&self, now: Duration, caller: Caller) -> Result<Value, Refusal> {
        let group = self.groups.get(caller.group).filter(|group| group.offers_usage).ok_or(Refusal::UnknownPath)?;
        let consumed = self.scenario.credits_consumed(now.saturating_sub(self.scenario_began));
        Ok(answers::usage(group, consumed, self.epoch + now.as_secs() as i64))
    }

    /// `data` of a response about one pipeline.
    pub(super) fn probe(
        &mut self,
        now: Duration,
        caller: Caller,
        operation: Operation,
        id: &str,
    ) -> Result<Value, Refusal> {
        let entry =
            self.pipelines.get_mut(id).filter(|_| self.scenario != Scenario::Empty).ok_or(Refusal::UnknownPipeline)?;
        let (pipeline, life) = (&entry.pipeline, &mut entry.life);
        if pipeline.group() != caller.group || life.condition() == Condition::Foreign {
            return Err(Refusal::ForeignPipeline);
        }
        life.advance(now);
        let answer = match operation {
            Operation::Status => answers::status(pipeline, life, self.epoch),
            Operation::Metrics => answers::metrics(pipeline, life),
            Operation::DestinationHealth => answers::destination_health(life.condition(), now, self.epoch),
            // These are not about one pipeline.
            Operation::List | Operation::Usage => return Err(Refusal::UnknownPath),
        };
        Ok(pipeline.apply_overrides(operation, answer))
    }
}

fn initial_size(groups: &[SimulatedGroup], index: usize) -> usize {
    groups.get(index).map_or(0, |group| group.initial_size)
}

/// The condition of a pipeline: its own; else paused, if its user wants that; else the scenario's.
fn condition(scenario: Scenario, pipeline: &SimulatedPipeline, index: usize, size: usize) -> Condition {
    match pipeline.condition {
        Condition::Well if pipeline.intent == "paused" => Condition::Paused,
        Condition::Well => scenario.condition(pipeline, index, size),
        own => own,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limited_key_is_refused_until_it_has_waited() {
        let mut limiter = Limiter::default();
        let mut ask = |millis| limiter.ask(Duration::from_millis(millis));
        assert!(ask(5_000).is_ok() && ask(5_100).is_ok());
        assert_eq!(ask(5_200), Err(Refusal::RateLimited { retry_after: 2 }));
        assert_eq!(ask(6_300), Err(Refusal::RateLimited { retry_after: 1 }));
        assert!(ask(7_200).is_ok());
        for request in 0..100 {
            assert!(ask(8_000 + request * 500).is_ok(), "2 per second are fine");
        }
    }
}
