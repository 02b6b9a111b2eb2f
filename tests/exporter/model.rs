//! A fleet that changes while it is polled, against a model of it: what the exposition shows is what the API said before a
//! change or after it, each answer as a whole, each pipeline once, and those that did not change all the time.

use std::collections::{BTreeMap, HashSet};
use std::time::Instant;

use crate::common::{Api, Exporter, Exposition, FAST, KEY, PATIENCE, environment, of};
use goldrush_exporter::simulator::{Endpoint, Fault, FaultMatcher, Options, SimulatedPipeline};
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

const KEYS: [&str; 2] = [KEY, "sk_test_canary_of_another_group"];
const ACCOUNTS: [&str; 2] = ["first", "second"];
const PROJECTS: [&str; 3] = ["analytics", "trading \"prod\"", ""];
const NAMES: [&str; 4] = ["swaps", "swaps\nof \\ two \"lines\"", "", "転送 🦀"];

/// What is true of a pipeline. Each number stands in every field of one endpoint's answers, so that half of an answer
/// would show.
#[derive(Clone, Debug, PartialEq)]
struct Truth {
    account: usize,
    project: usize,
    name: usize,
    status: u32,
    metrics: u32,
}

/// What happens to a fleet. A pipeline is chosen by its place among those that there are.
#[derive(Clone, Debug)]
enum Change {
    Create {
        account: usize,
        project: usize,
        name: usize,
    },
    Delete(usize),
    Rename(usize, usize),
    MoveProject(usize, usize),
    /// To the other group, which another account's key sees.
    MoveGroup(usize),
    Status(usize, u32),
    Metrics(usize, u32),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let place = 0..100_usize;
    let change = prop_oneof![
        3 => (0..ACCOUNTS.len(), 0..PROJECTS.len(), 0..NAMES.len())
            .prop_map(|(account, project, name)| Change::Create { account, project, name }),
        1 => place.clone().prop_map(Change::Delete),
        2 => (place.clone(), 0..NAMES.len()).prop_map(|(place, name)| Change::Rename(place, name)),
        2 => (place.clone(), 0..PROJECTS.len()).prop_map(|(place, project)| Change::MoveProject(place, project)),
        2 => place.clone().prop_map(Change::MoveGroup),
        1 => (place.clone(), 1..1000_u32).prop_map(|(place, number)| Change::Status(place, number)),
        1 => (place, 1..1000_u32).prop_map(|(place, number)| Change::Metrics(place, number)),
    ];
    prop::collection::vec(change, 8..16)
}

/// The fleet as it should be, and the API that it is made true in.
struct Model {
    api: Api,
    truths: BTreeMap<String, Truth>,
    created: usize,
}

impl Model {
    fn new() -> Self {
        let api = Api::start(Options {
            pipelines: 0,
            groups: ACCOUNTS.len(),
            max_page_size: 2,
            service_key: KEYS[0].to_owned(),
            ..Options::default()
        });
        api.simulator.add_service_key(KEYS[1], 1);
        let list = FaultMatcher { endpoint: Some(Endpoint::List), pipeline: None };
        api.simulator.set_fault(list, Some(Fault::ShuffledPages));
        Self { api, truths: BTreeMap::new(), created: 0 }
    }

    fn exporter(&self) -> Exporter {
        let mut all = environment(FAST);
        all.extend(environment(&[
            ("GOLDRUSH_EXPORTER__API__BASE_URL", &self.api.base_url()),
            ("GOLDRUSH_EXPORTER__POLL__DISCOVERY", "100ms"),
            ("GOLDRUSH_EXPORTER__ACCOUNTS__0__NAME", ACCOUNTS[0]),
            ("GOLDRUSH_EXPORTER__ACCOUNTS__0__SERVICE_KEY_ENV", "FIRST"),
            ("GOLDRUSH_EXPORTER__ACCOUNTS__1__NAME", ACCOUNTS[1]),
            ("GOLDRUSH_EXPORTER__ACCOUNTS__1__SERVICE_KEY_ENV", "SECOND"),
            ("FIRST", KEYS[0]),
            ("SECOND", KEYS[1]),
        ]));
        Exporter::start(&[], &all)
    }

    fn change(&mut self, change: &Change) {
        let chosen = |place: &usize| self.truths.keys().nth(place % self.truths.len().max(1)).cloned();
        let (id, truth) = match change {
            Change::Create { account, project, name } => {
                self.created += 1;
                let truth = Truth { account: *account, project: *project, name: *name, status: 1, metrics: 1 };
                (format!("pipe_{}", self.created), truth)
            }
            Change::Delete(place) => {
                let Some(id) = chosen(place) else { return };
                self.truths.remove(&id);
                return self.api.simulator.remove_pipeline(&id);
            }
            Change::Rename(place, _)
            | Change::MoveProject(place, _)
            | Change::MoveGroup(place)
            | Change::Status(place, _)
            | Change::Metrics(place, _) => {
                let Some(id) = chosen(place) else { return };
                let mut truth = self.truths[&id].clone();
                match change {
                    Change::Rename(_, name) => truth.name = *name,
                    Change::MoveProject(_, project) => truth.project = *project,
                    Change::MoveGroup(_) => truth.account = 1 - truth.account,
                    Change::Status(_, number) => truth.status = *number,
                    Change::Metrics(_, number) => truth.metrics = *number,
                    _ => unreachable!(),
                }
                (id, truth)
            }
        };
        let moved = self.truths.get(&id).is_none_or(|before| before.account != truth.account);
        self.truths.insert(id.clone(), truth.clone());
        let tell = |pipeline: &mut SimulatedPipeline| {
            pipeline.name = NAMES[truth.name].to_owned();
            pipeline.project = PROJECTS[truth.project].into();
            for field in ["replicas", "ready"] {
                pipeline.answer_with(Endpoint::Status, field, json!(truth.status));
            }
            for (field, _) in METRICS {
                pipeline.answer_with(Endpoint::Metrics, field, json!(truth.metrics));
            }
        };
        if moved {
            self.api.simulator.remove_pipeline(&id);
            let mut pipeline = SimulatedPipeline::new(id, truth.account);
            tell(&mut pipeline);
            self.api.simulator.add_pipeline(pipeline);
        } else {
            self.api.simulator.update_pipeline(&id, tell);
        }
    }
}

const METRICS: [(&str, &str); 6] = [
    ("records_consumed", "records_consumed"),
    ("last_offset", "last_offset"),
    ("last_block_height", "last_block_height"),
    ("pending_records", "pending_records"),
    ("records_per_second", "records_per_second"),
    ("normalization_errors", "dropped_records_total"),
];

/// The labels that a pipeline has, if that is true of it.
fn labels(id: &str, truth: &Truth) -> String {
    // Control characters in names become spaces.
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', " ");
    let Truth { account, project, name, .. } = truth;
    format!(
        "account=\"{}\",project=\"{}\",{},pipeline=\"{}\"",
        ACCOUNTS[*account],
        escape(PROJECTS[*project]),
        of(id),
        escape(NAMES[*name])
    )
}

/// The numbers of a pipeline's status and metrics.
type Numbers = (Option<u32>, Option<u32>);

/// What an exposition shows of the pipelines: their labels and numbers.
type Shown = BTreeMap<String, Numbers>;

/// Reads an exposition, which must be one that could be true.
fn shown(exposition: &Exposition) -> Result<Shown, String> {
    let mut samples = BTreeMap::new();
    for (sample, value) in exposition.samples() {
        if samples.insert(sample, value).is_some() {
            return Err(format!("{sample} stands there twice"));
        }
    }
    let of_pipelines = samples.keys().filter_map(|sample| sample.strip_prefix("goldrush_pipeline_probe_success{"));
    let infos = samples.keys().filter_map(|sample| sample.strip_prefix("goldrush_pipeline_forbidden{"));
    let all: HashSet<&str> = of_pipelines.map(|sample| sample.rsplit_once(",probe=").unwrap().0).collect();
    let labels: Vec<&str> = infos.map(|labels| labels.strip_suffix('}').unwrap()).collect();
    if let Some(strange) = all.iter().find(|sample| !labels.contains(sample)) {
        return Err(format!("{strange} is a pipeline in one family and none in another"));
    }
    let whole = |labels: &str, families: &[&str]| {
        let values: HashSet<Option<u32>> = families
            .iter()
            .map(|family| samples.get(format!("goldrush_pipeline_{family}{{{labels}}}").as_str()))
            .map(|value| value.map(|value| *value as u32))
            .collect();
        match values.into_iter().collect::<Vec<_>>()[..] {
            [value] => Ok(value),
            ref several => Err(format!("{labels} shows parts of several answers: {families:?} are {several:?}")),
        }
    };
    let metrics = METRICS.map(|(_, family)| family);
    labels
        .into_iter()
        .map(|labels| {
            Ok((labels.to_owned(), (whole(labels, &["replicas", "replicas_ready"])?, whole(labels, &metrics)?)))
        })
        .collect()
}

/// What an exposition should show once it has caught up.
fn expected(truths: &BTreeMap<String, Truth>) -> Shown {
    truths.iter().map(|(id, truth)| (labels(id, truth), (Some(truth.status), Some(truth.metrics)))).collect()
}

/// Scrapes until the exposition has caught up with the model; on the way, everything is as before or as after.
fn catch_up(exporter: &Exporter, before: &Shown, after: &Shown) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = shown(&exporter.scrape())?;
        if now == *after {
            return Ok(());
        }
        for (labels, (status, metrics)) in &now {
            let (old, new) = (before.get(labels), after.get(labels));
            let could_be = |number: &Option<u32>, part: fn(&Numbers) -> Option<u32>| {
                number.is_none() || [old, new].into_iter().flatten().any(|truth| part(truth) == *number)
            };
            // A name that is new may come with the numbers that were known under the old one.
            let renamed = old.is_none() && new.is_some();
            let known = old.is_some() || new.is_some();
            if !known || !(renamed || could_be(status, |truth| truth.0) && could_be(metrics, |truth| truth.1)) {
                return Err(format!("{labels} shows {:?}, which was never true", (status, metrics)));
            }
        }
        for (labels, truth) in before.iter().filter(|(labels, truth)| after.get(*labels) == Some(truth)) {
            if now.get(labels) != Some(truth) {
                return Err(format!("{labels} has not changed, but shows {:?}", now.get(labels)));
            }
        }
        if Instant::now() > deadline {
            return Err(format!("not seen: {after:#?}\nbut: {now:#?}"));
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

#[test]
fn whatever_changes_the_exposition_shows_what_was_true_before_or_is_true_now() {
    let config = Config { max_shrink_iters: 20, failure_persistence: None, ..Config::default() };
    // The same few changes each time, so that a failure is somebody's doing; PROPTEST_CASES=100 tries others.
    let mut runner = match std::env::var_os("PROPTEST_CASES") {
        Some(_) => TestRunner::new(config),
        None => {
            let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
            TestRunner::new_with_rng(Config { cases: 6, ..config }, rng)
        }
    };
    let outcome = runner.run(&changes(), |changes| {
        let mut model = Model::new();
        let exporter = model.exporter();
        for index in 0..8 {
            model.change(&Change::Create { account: index % 2, project: 0, name: index % NAMES.len() });
        }
        let fleet = expected(&model.truths);
        catch_up(&exporter, &Shown::new(), &fleet).map_err(TestCaseError::fail)?;
        for change in &changes {
            let before = expected(&model.truths);
            model.change(change);
            let after = expected(&model.truths);
            catch_up(&exporter, &before, &after)
                .map_err(|why| TestCaseError::fail(format!("after {change:?}: {why}")))?;
        }
        Ok(())
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}
