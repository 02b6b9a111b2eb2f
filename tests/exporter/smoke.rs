//! The main job: from a key in the environment to every pipeline on `/metrics`.

use crate::common::{Api, Exporter, KEY};

#[test]
fn a_key_in_the_environment_is_enough() {
    let api = Api::healthy(20);
    let exporter = Exporter::of(&api);
    let exposition = exporter.until("all pipelines", |exposition| {
        exposition.values("goldrush_pipeline_destination_healthy", &[]).len() == 20
            && exposition.values("goldrush_pipeline_records_consumed", &[]).len() == 20
            && exposition.values("goldrush_pipeline_phase", &["phase=\"RUNNING\""]).len() == 20
    });
    assert_eq!(exposition.value("goldrush_up{account=\"default\"}"), Some(1.0));
    assert_eq!(exposition.value("goldrush_pipelines{account=\"default\"}"), Some(20.0));
    assert_eq!(exposition.value("goldrush_auth_unauthorized{account=\"default\"}"), Some(0.0));
    for text in [exposition.0, exporter.get("/").text(), exporter.stdout.text(), exporter.stderr.text()] {
        assert!(!text.contains(KEY));
    }
}
