//! Which families of the table are exposed, according to `metrics` in the configuration.

use super::families::{FAMILIES, Family};
use crate::config::{ConfigError, Metrics, Names, Profile, States};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// For each row of the table.
    shown: Vec<bool>,
    pub(super) states: States,
}

impl Selection {
    /// The families that these settings select.
    ///
    /// # Errors
    /// If a setting matches no family.
    pub fn of(metrics: &Metrics) -> Result<Self, ConfigError> {
        let exist = |names: &&Names| FAMILIES.iter().any(|family| names.contain(family.name));
        if let Some(unknown) = metrics.include.iter().chain(&metrics.exclude).find(|names| !exist(names)) {
            return Err(unknown.refused(&unknown_name(unknown.as_str())));
        }
        let any = |list: &[Names], name| list.iter().any(|names| names.contain(name));
        let is_shown = |family: &Family| {
            let is_added = metrics.profile == Profile::Full || family.in_lean || any(&metrics.include, family.name);
            is_added && !any(&metrics.exclude, family.name)
        };
        Ok(Self { shown: FAMILIES.iter().map(is_shown).collect(), states: metrics.states })
    }

    pub fn full() -> Self {
        Self { shown: vec![true; FAMILIES.len()], states: States::All }
    }

    /// Settings that are valid but probably not intended; one sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let missing = |(family, shown): (&Family, &bool)| (family.in_lean && !shown).then_some(family.name);
        let missing: Vec<&str> = FAMILIES.iter().zip(&self.shown).filter_map(missing).collect();
        if missing.is_empty() {
            return Vec::new();
        }
        let names = missing.join(", ");
        vec![format!("metrics.exclude leaves out metrics that the shipped alerts or dashboards need: {names}")]
    }

    pub(super) fn families(&self) -> impl Iterator<Item = &'static Family> {
        FAMILIES.iter().zip(&self.shown).filter(|(_, shown)| **shown).map(|(family, _)| family)
    }
}

/// Names within this distance are probably meant.
const CLOSE: usize = 4;

fn unknown_name(text: &str) -> String {
    let mut close: Vec<(usize, &str)> =
        FAMILIES.iter().map(|family| (distance(text, family.name), family.name)).collect();
    close.sort_unstable();
    close.retain(|(distance, _)| *distance <= CLOSE);
    let names = match close[..] {
        [] => FAMILIES.iter().map(|family| family.name).collect::<Vec<_>>().join(", "),
        _ => close.into_iter().map(|(_, name)| name).take(3).collect::<Vec<_>>().join(" or "),
    };
    format!("no metric is named {text:?} (expected a regular expression that matches {names})")
}

/// How many letters to insert, remove or replace to turn one text into the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (index, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], index + 1);
        for (column, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(diagonal + 1).min(row[column] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn selection(settings: &[(&str, &str)]) -> Result<Selection, String> {
        let environment: Vec<(String, String)> = settings
            .iter()
            .map(|(key, value)| (format!("GOLDRUSH_EXPORTER__METRICS__{key}"), (*value).to_owned()))
            .collect();
        let config = Config::load(None, &environment).map_err(|error| error.to_string())?;
        Selection::of(&config.metrics).map_err(|error| error.to_string())
    }

    fn names(selection: &Selection) -> Vec<&str> {
        selection.families().map(|family| family.name).collect()
    }

    #[test]
    fn a_profile_with_additions_and_exceptions() {
        let full = selection(&[]).unwrap();
        assert_eq!((full.states, full.families().count()), (States::All, FAMILIES.len()));
        assert_eq!(full, Selection::full());
        let lean = selection(&[("PROFILE", "lean")]).unwrap();
        assert_eq!(lean.states, States::Active);
        assert!(lean.families().all(|family| family.in_lean) && lean.warnings().is_empty());

        let more = selection(&[
            ("PROFILE", "lean"),
            ("STATES", "all"),
            ("INCLUDE__0", "goldrush_pipeline_replicas(_ready)?"),
            ("EXCLUDE__0", "goldrush_pipeline_replicas_ready"),
        ]);
        let more = more.unwrap();
        assert_eq!(more.states, States::All);
        let added: Vec<&str> = names(&more).into_iter().filter(|name| !names(&lean).contains(name)).collect();
        assert_eq!(added, ["goldrush_pipeline_replicas"]);

        let less = selection(&[("EXCLUDE__0", "goldrush_(up|pipelines)")]).unwrap();
        assert_eq!(less.families().count(), FAMILIES.len() - 2);
        assert_eq!(
            less.warnings(),
            [
                "metrics.exclude leaves out metrics that the shipped alerts or dashboards need: goldrush_up, goldrush_pipelines"
            ]
        );
    }

    #[test]
    fn a_name_that_does_not_exist_is_refused_with_those_that_are_probably_meant() {
        let refused = |key, value| selection(&[(key, value)]).unwrap_err();
        assert_eq!(
            refused("EXCLUDE__0", "goldrush_pipeline_phas"),
            "GOLDRUSH_EXPORTER__METRICS__EXCLUDE__0: metrics.exclude[0]: no metric is named \"goldrush_pipeline_phas\" \
             (expected a regular expression that matches goldrush_pipeline_phase or goldrush_pipeline_info or goldrush_pipelines)"
        );
        let all = refused("INCLUDE__0", "process_.*");
        assert!(FAMILIES.iter().all(|family| all.contains(family.name)), "{all}");
        assert_eq!(
            refused("PROFILE", "small"),
            "GOLDRUSH_EXPORTER__METRICS__PROFILE: metrics.profile: expected full or lean, found \"small\""
        );
    }
}
