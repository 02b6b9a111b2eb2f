//! What Prometheus makes of the gauges of troubles: the left side of the generated rules.

use std::collections::BTreeSet;
use std::time::Duration;

use goldrush_exporter::trouble::kinds::Scope;

use super::picture::Picture;

/// A duration of a rule, in minutes or seconds.
pub fn duration(text: &str) -> Duration {
    let (number, unit) = text.split_at(text.len() - 1);
    let number: u64 = number.parse().unwrap_or_else(|_| panic!("{text}"));
    Duration::from_secs(if unit == "m" { 60 * number } else { number })
}

/// The label sets of `max by (per) (gauge{kind=~"kinds"})`.
pub fn labels_of(picture: &Picture, scope: Scope, kinds: &[&str], per: &[&str]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (account, shown) in &picture.accounts {
        let mut take = |series: &str, subject: &[(&str, &str)]| {
            let Some(rest) = series.strip_prefix(scope.gauge()) else { return };
            if kinds.iter().any(|kind| rest.contains(&format!("kind=\"{kind}\""))) {
                let of_subject = subject.iter().filter(|(name, _)| per.contains(name));
                let mut labels: String = of_subject.map(|(name, text)| format!("{name}={text:?},")).collect();
                for pair in rest.trim_matches(['{', '}']).split("\",") {
                    let name = pair.split('=').next().unwrap_or_default();
                    if per.contains(&name) {
                        labels += pair;
                    }
                }
                found.insert(labels);
            }
        };
        match scope {
            Scope::Account => shown.samples.keys().for_each(|series| take(series, &[("account", account)])),
            Scope::Pipeline => {
                for (id, pipeline) in &shown.pipelines {
                    let subject = [
                        ("account", account.as_str()),
                        ("project", &pipeline.project),
                        ("pipeline_id", id),
                        ("pipeline", &pipeline.name),
                    ];
                    pipeline.samples.keys().for_each(|series| take(series, &subject));
                }
            }
        }
    }
    found
}
