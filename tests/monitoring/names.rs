//! Alerts, runbooks, dashboards, documentation and what is deployed name no metric, label, alert, variable or dashboard that does not exist.

use crate::common::demo;
use crate::common::tools::{outcome, tool};

/// What `tests/names/check.py` finds with this exposition.
fn problems(exposition: &str) -> String {
    let mut check = tool("python3");
    check.arg("tests/names/check.py").current_dir(env!("CARGO_MANIFEST_DIR"));
    let (succeeded, printed) = outcome(check, exposition.as_bytes());
    assert_eq!(succeeded, printed.is_empty(), "{printed}");
    printed
}

#[test]
#[ignore = "needs python3 with PyYAML"]
fn nothing_is_named_that_does_not_exist() {
    let (_api, exporter) = demo();
    let exposition = exporter.scrape().0;
    assert_eq!(problems(&exposition), "");

    // The check itself can fail, for every kind of file.
    let renamed = exposition.replace("goldrush_pipeline_destination_", "goldrush_pipeline_target_");
    let found = problems(&renamed);
    for line in [
        "runbooks/GoldRushDestinationFlapping.md: there is no metric goldrush_pipeline_destination_healthy",
        "runbooks/GoldRushDestinationUnhealthy.md: there is no metric goldrush_pipeline_destination_healthy",
        "dashboards/fleet.json: panel All pipelines: there is no metric goldrush_pipeline_destination_healthy",
        "dashboards/pipeline.json: panel Destination: there is no metric goldrush_pipeline_destination_healthy",
        "docs/metrics.md: there is no metric goldrush_pipeline_destination_healthy",
        "alerts/goldrush.rules.yml: there is no metric goldrush_pipeline_destination_error",
        "deploy/kubernetes/base/prometheusrule.yaml: there is no metric goldrush_pipeline_destination_error",
    ] {
        assert!(found.lines().any(|found| found == line), "{line}: not in\n{found}");
    }
    let renamed = exposition.replace("kind=\"failed\"", "kind=\"broken\"");
    let line = "alert GoldRushPipelineFailed: goldrush_pipeline_trouble never has kind=\"failed\"";
    assert!(problems(&renamed).lines().any(|found| found == line), "{line}");
    let renamed = exposition.replace("alert=\"GoldRushPipelineFailed\"", "alert=\"GoldRushPipelineBroken\"");
    let line = "kind failed: there is no alert GoldRushPipelineBroken";
    assert!(problems(&renamed).lines().any(|found| found == line), "{line}");
    let renamed = exposition.replace("goldrush_service_key_loaded", "goldrush_service_key_read");
    let line = "deploy/README.md: there is no metric goldrush_service_key_loaded_timestamp_seconds";
    assert!(problems(&renamed).lines().any(|found| found == line), "{line}");
    let without = problems(&exposition.replace("reason=", "cause="));
    assert!(without.contains("dashboards/exporter.json: panel Failures by reason: no metric has the label reason"));
}
