//! Several exporters that share the pipelines show what one shows: nothing twice, nothing missing.

use std::collections::{BTreeMap, BTreeSet};

use crate::common::prometheus::Prometheus;
use crate::common::{self, Api, Exporter, all_succeed, of};

const PIPELINES: usize = 40;

/// The exporter of that shard.
fn shard(api: &Api, index: usize, total: usize) -> Exporter {
    let (index, total) = (index.to_string(), total.to_string());
    let settings = [("GOLDRUSH_EXPORTER__SHARD__INDEX", &*index), ("GOLDRUSH_EXPORTER__SHARD__TOTAL", &*total)];
    Exporter::with(api, &settings)
}

/// How many pipelines the exporter polls, once it has listed them and asked each of them for everything.
fn settled(exporter: &Exporter) -> common::Exposition {
    exporter.until("all of its pipelines", |exposition| {
        let polled = exposition.value("goldrush_pipelines{account=\"default\"}");
        exposition.value("goldrush_up{account=\"default\"}") == Some(1.0)
            && polled.is_some_and(|polled| all_succeed(exposition, polled as usize))
    })
}

/// The series about pipelines.
fn series(exposition: &common::Exposition) -> Vec<String> {
    let pipelines = exposition.samples().filter(|(name, _)| name.contains("pipeline_id="));
    pipelines.map(|(name, _)| name.to_owned()).collect()
}

#[test]
fn shards_together_show_what_one_exporter_shows_and_each_series_once() {
    let api = Api::healthy(PIPELINES);
    let alone: BTreeSet<String> = series(&settled(&Exporter::of(&api))).into_iter().collect();
    assert!(alone.len() > 20 * PIPELINES, "{}", alone.len());
    for total in [1, 2, 3, 5] {
        let shards: Vec<Exporter> = (0..total).map(|index| shard(&api, index, total)).collect();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut polled = 0.0;
        for (index, exporter) in shards.iter().enumerate() {
            let exposition = settled(exporter);
            assert_eq!(exposition.value("goldrush_exporter_shard_index"), Some(index as f64));
            assert_eq!(exposition.value("goldrush_exporter_total_shards"), Some(total as f64));
            polled += exposition.value("goldrush_pipelines{account=\"default\"}").unwrap();
            for series in series(&exposition) {
                if let Some(other) = seen.insert(series.clone(), index) {
                    panic!("{series} on shards {other} and {index} of {total}");
                }
            }
        }
        assert_eq!(polled as usize, PIPELINES, "the sum over {total} shards");
        assert_eq!(seen.into_keys().collect::<BTreeSet<_>>(), alone, "{total} shards");
    }
}

#[test]
#[ignore = "needs Prometheus"]
fn a_prometheus_federates_those_of_the_shards_as_documented() {
    let api = Api::healthy(PIPELINES);
    let shards = [0, 1].map(|index| shard(&api, index, 2));
    let own = shards.each_ref().map(|exporter| Prometheus::scraping(&exporter.address));
    let blocks =
        include_str!("../../docs/operations.md").split("```yaml\n").map(|rest| rest.split("```").next().unwrap());
    let mut config = blocks.into_iter().find(|block| block.contains("/federate")).unwrap().replace("15s", "1s");
    for (named, prometheus) in ["prometheus-0:9090", "prometheus-1:9090"].iter().zip(&own) {
        config = config.replace(named, prometheus.address());
    }
    let all = Prometheus::configured(&config, &[]);
    all.until(&format!("count(goldrush_pipeline_info) == {PIPELINES}"));
    all.until(&format!("count(count by (pipeline_id) (goldrush_pipeline_phase)) == {PIPELINES}"));
    // What the rules look at is the exporters, and they alone.
    let up = all.until("count by (job) (up{job=~\".*goldrush.*\"}) == 2");
    assert_eq!((up.len(), &up[0]["metric"]["job"]), (1, &"goldrush".into()));
}

#[test]
fn each_pipeline_is_asked_by_its_shard_only() {
    let api = Api::healthy(PIPELINES);
    let exporter = shard(&api, 1, 3);
    let shown = series(&settled(&exporter));
    let ids = api.simulator.pipeline_ids(0);
    let (own, others): (Vec<_>, Vec<_>) =
        ids.iter().partition(|id| shown.iter().any(|series| series.contains(&of(id))));
    assert!(!own.is_empty() && !others.is_empty());
    let asked: BTreeSet<String> = api.simulator.requests().into_iter().filter_map(|request| request.pipeline).collect();
    assert_eq!(asked, own.into_iter().cloned().collect(), "asked for another shard's pipeline");
}

#[test]
fn an_expected_pipeline_that_is_missing_is_missed_by_one_shard_only() {
    let api = Api::healthy(PIPELINES);
    let missed: Vec<f64> = (0..3)
        .flat_map(|index| {
            let index = index.to_string();
            let exporter = Exporter::with(
                &api,
                &[
                    ("GOLDRUSH_EXPORTER__SHARD__INDEX", &*index),
                    ("GOLDRUSH_EXPORTER__SHARD__TOTAL", "3"),
                    ("GOLDRUSH_EXPORTER__ACCOUNTS__0__EXPECT__0", "pipe_that_is_not_there"),
                ],
            );
            settled(&exporter).values("goldrush_expected_pipeline_missing", &[])
        })
        .collect();
    assert_eq!(missed, [1.0]);
}

#[test]
fn an_index_that_kubernetes_did_not_give_is_refused() {
    // A cluster older than 1.28 knows no pod-index label: the variable is there, and empty.
    for (index, problem) in [
        ("", "GOLDRUSH_EXPORTER__SHARD__INDEX: shard.index: expected a whole number from 0 to 4294967295, found \"\""),
        ("3", "GOLDRUSH_EXPORTER__SHARD__INDEX: shard.index: must be below shard.total (3): expected 0 to 2, found 3"),
    ] {
        let settings = [
            ("GOLDRUSH_EXPORTER__SHARD__INDEX", index),
            ("GOLDRUSH_EXPORTER__SHARD__TOTAL", "3"),
            ("GOLDRUSH_SERVICE_KEY", "sk_1"),
        ];
        let ended = common::run(&["--config.check"], &common::environment(&settings));
        assert_eq!((ended.status, ended.stderr), (Some(2), format!("goldrush-exporter: {problem}\n")));
    }
}
