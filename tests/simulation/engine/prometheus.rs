//! What Prometheus makes of the gauges of troubles: the left side of the generated rules.

use std::collections::BTreeSet;
use std::time::Duration;

use goldrush_exporter::trouble::kinds::Scope;

use super::picture::Picture;

/// A duration of a rule, in hours, minutes or seconds.
pub fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("{text}"));
    let seconds = match unit {
        "h" => 3_600,
        "m" => 60,
        "s" => 1,
        _ => panic!("{text}"),
    };
    Duration::from_secs(number * seconds)
}

/// The label sets of `max by (per) (gauge{kind=~"kinds"})`.
pub fn labels_of(picture: &Picture, scope: Scope, kinds: &[&str], per: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for series in picture.troubles.iter().filter(|series| *series.name == *scope.gauge()) {
        if series.kind.as_deref().is_some_and(|kind| kinds.contains(&kind)) {
            let labels = series.labels().filter(|(label, _)| per.contains(label));
            found.insert(labels.map(|(label, text)| format!("{label}={text:?},")).collect());
        }
    }
    found
}
