//! All parts of the exposition make up the whole, each with what it has to contain, and the other selections of families and
//! states are what is left of it.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use goldrush_exporter::config::{Config, ConfigFile};
use goldrush_exporter::exposition::{FAMILIES, Family, Format, Kind, Selection, fleet_text};

use super::super::daemon;
use super::super::picture::Reader;
use super::super::served::Served;
use super::{Invariant, Scene, Step};

/// Compared at every 256th scrape.
const EVERY: u64 = 256;
/// The first of them.
const FIRST: u64 = 16;

const CLASSIC: &str = "text/plain;version=0.0.4";
const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0";

/// Its value is the time of the real wall clock, unless it is 0.
const PAUSED_UNTIL: &str = "goldrush_poll_paused_until_timestamp_seconds{";

/// Families of which `states: active` leaves out what is 0.
const STATES: [&str; 2] = ["goldrush_pipeline_phase{", "goldrush_pipeline_desired_status{"];

pub struct Parts {
    scrapes: u64,
    served: Served,
    reader: Reader,
    full: Selection,
    lean: Selection,
    active: Selection,
    /// Names of samples that the profile has.
    in_lean: HashSet<String>,
    /// The shard of each account and pipeline, by the number of shards.
    shards: BTreeMap<(u32, String), u32>,
}

/// Series and values.
type Samples<'a> = Vec<(&'a str, &'a str)>;

impl Default for Parts {
    fn default() -> Self {
        Self {
            scrapes: 0,
            served: Served::default(),
            reader: Reader::default(),
            full: Selection::full(),
            lean: selection("{profile: lean}"),
            active: selection("{states: active}"),
            in_lean: FAMILIES.iter().filter(|family| family.in_lean).flat_map(names).collect(),
            shards: BTreeMap::new(),
        }
    }
}

impl Invariant for Parts {
    fn name(&self) -> &'static str {
        "parts agree"
    }

    fn check(&mut self, step: &Step, scene: &mut Scene) -> Result<(), String> {
        match step {
            Step::Restarted => self.served.restart(),
            Step::Scraped { .. } => {
                self.scrapes += 1;
                if self.scrapes % EVERY == FIRST {
                    self.compare_selections(scene)?;
                    self.compare_parts(scene)?;
                    scene.coverage.note("all parts agree with the whole");
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Parts {
    fn compare_selections(&self, scene: &Scene) -> Result<(), String> {
        let text = |selection| fleet_text(&scene.daemon.fleet, selection, scene.clock.moment(), Format::Classic);
        let full = text(&self.full);
        let full = samples(&full);
        let is_in_lean = |(series, _): &(&str, &str)| self.in_lean.contains(name(series));
        let is_active =
            |(series, value): &(&str, &str)| *value != "0" || !STATES.iter().any(|of| series.starts_with(of));
        let active = full.iter().copied().filter(is_active);
        equal("states: active", &samples(&text(&self.active)), &active.clone().collect())?;
        equal("profile: lean", &samples(&text(&self.lean)), &active.filter(is_in_lean).collect())
    }

    fn compare_parts(&mut self, scene: &Scene) -> Result<(), String> {
        let get = self.served.at(scene);
        let total = if self.scrapes % (2 * EVERY) == FIRST { 2 } else { 4 };
        let accounts = 0..scene.daemon.accounts.len();
        let account = |account| format!("account={}", daemon::name(account).replace(' ', "%20"));
        // The smallest part first: it cuts the text so finely that all parts are taken from the same text.
        let smallest = format!("/metrics?{}&shard=0/{total}", account(0));
        let intersection = get(&smallest, CLASSIC)?;
        let whole = get("/metrics", CLASSIC)?;
        let whole = sorted(&whole);
        let exporter = get("/metrics?only=exporter", CLASSIC)?;
        let exporter = sorted(&exporter);
        if let Some((series, _)) = exporter.iter().find(|(series, _)| label(series, "account").is_some()) {
            return Err(format!("only=exporter shows {series}"));
        }

        let of_accounts: Vec<String> =
            accounts.map(|index| get(&format!("/metrics?{}", account(index)), CLASSIC)).collect::<Result<_, _>>()?;
        let of_accounts: Vec<Samples> = of_accounts.iter().map(|text| sorted(text)).collect();
        for (index, part) in of_accounts.iter().enumerate() {
            let is_foreign = |(series, _): &&(&str, &str)| label(series, "account") != Some(daemon::name(index));
            if let Some((series, _)) = part.iter().find(is_foreign) {
                return Err(format!("the part of {} shows {series}", daemon::name(index)));
            }
        }
        equal("all accounts", &union(&exporter, &of_accounts), &whole)?;

        let of_shards: Vec<String> = (0..total)
            .map(|index| get(&format!("/metrics?shard={index}/{total}"), CLASSIC))
            .collect::<Result<_, _>>()?;
        let of_shards: Vec<Samples> = of_shards.iter().map(|text| sorted(text)).collect();
        equal("all shards", &union(&exporter, &of_shards), &whole)?;
        for (shard, part) in (0..).zip(&of_shards) {
            let subjects = part.iter().map(|(series, _)| subject(series));
            for subject in subjects.collect::<BTreeSet<_>>() {
                let Some(subject) = subject else { return Err(format!("shard {shard} shows the exporter")) };
                let known = *self.shards.entry((total, subject.to_owned())).or_insert(shard);
                if known != shard {
                    return Err(format!("{subject} is in shards {known} and {shard} of {total}"));
                }
            }
        }
        let in_both = of_shards[0].iter().filter(|(series, _)| label(series, "account") == Some(daemon::name(0)));
        equal(&smallest, &sorted(&intersection), &in_both.copied().collect())?;

        let other = get(&smallest, OPENMETRICS)?;
        let [part, other] = [intersection, other].map(|text| without_pause(&text));
        let (part, other) = (self.reader.read(&part, false)?, self.reader.read(&other, true)?);
        if let Some(sample) = part.difference(&other).or_else(|| other.difference(&part)) {
            return Err(format!("{sample} is in one of both formats of {smallest} only"));
        }
        // What sleeps is not known to the clock that parts are rendered by.
        if scene.clock.asleep.is_zero() {
            let text = fleet_text(&scene.daemon.fleet, &self.full, scene.clock.moment(), Format::Classic);
            let is_own = |series: &str| series.starts_with("goldrush_exporter_");
            let served = whole.into_iter().filter(|(series, _)| !is_own(series)).collect();
            equal("what is served", &served, &sorted(&text))?;
        }
        Ok(())
    }
}

/// As a user would write it.
fn selection(metrics: &str) -> Selection {
    let account = "accounts: [{name: any, service_key_file: /simulated/any}]";
    let file = ConfigFile { path: "simulated.yaml".into(), text: format!("metrics: {metrics}\n{account}\n") };
    let config = Config::load(Some(&file), &[]).unwrap_or_else(|error| panic!("{error}"));
    Selection::of(&config.metrics).unwrap_or_else(|error| panic!("{error}"))
}

/// The names of a family's samples.
fn names(family: &Family) -> Vec<String> {
    let ends: &[&str] = if family.kind == Kind::Histogram { &["_bucket", "_count", "_sum"] } else { &[""] };
    ends.iter().map(|end| format!("{}{end}", family.name)).collect()
}

fn name(series: &str) -> &str {
    series.split('{').next().unwrap_or_default()
}

/// The value of a label. None of those asked for needs an escape in a simulation.
fn label<'a>(series: &'a str, label: &str) -> Option<&'a str> {
    let at = series
        .match_indices(label)
        .find(|(at, _)| series[at + label.len()..].starts_with("=\"") && series[..*at].ends_with(['{', ',']))?;
    series[at.0 + label.len() + 2..].split('"').next()
}

/// The account or the pipeline that a series is about.
fn subject(series: &str) -> Option<&str> {
    let of = if series.starts_with("goldrush_pipeline_") { "pipeline_id" } else { "account" };
    label(series, of)
}

fn samples(text: &str) -> Samples<'_> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let samples = lines.map(|line| line.rsplit_once(' ').unwrap_or((line, "")));
    samples
        .map(|(series, value)| (series, if series.starts_with(PAUSED_UNTIL) && value != "0" { "later" } else { value }))
        .collect()
}

fn without_pause(text: &str) -> String {
    text.split_inclusive('\n').filter(|line| !line.starts_with(PAUSED_UNTIL)).collect()
}

fn sorted(text: &str) -> Samples<'_> {
    let mut samples = samples(text);
    samples.sort_unstable();
    samples
}

fn union<'a>(exporter: &Samples<'a>, parts: &[Samples<'a>]) -> Samples<'a> {
    let mut all: Samples = exporter.iter().chain(parts.iter().flatten()).copied().collect();
    all.sort_unstable();
    all
}

fn equal(what: &str, found: &Samples, expected: &Samples) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let lacks = |some: &Samples, others: &Samples| {
        let others: HashSet<_> = others.iter().collect();
        some.iter().find(|sample| !others.contains(sample)).map(|(series, value)| format!("{series} {value}"))
    };
    match (lacks(found, expected), lacks(expected, found)) {
        (None, None) => Err(format!("{what}: {} samples, and not {}", found.len(), expected.len())),
        (more, less) => Err(format!("{what}: has {more:?} and lacks {less:?}")),
    }
}
