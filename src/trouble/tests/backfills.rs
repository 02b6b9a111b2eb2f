//! Bounded pipelines: how they end is not documented, so every way must be harmless, except an early end.

use super::*;

/// Blocks 1,000 to 2,000.
fn backfill() -> Value {
    json!({"execution_mode": "bounded", "execution_start_from": "1000", "execution_stop_from": "2000"})
}

fn at_block(block: u64) -> Value {
    json!({"last_block_height": block, "last_offset": block, "pending_records": 0})
}

/// Its troubles, and whether it has nothing to do.
fn outcome(scene: &mut Scene, seconds: u64, id: &str) -> (Vec<(&'static str, Option<i64>)>, bool) {
    let view = scene.account.view(scene.at(seconds));
    let off_duty = view.pipelines[&PipelineId::new(id).unwrap()].is_off_duty();
    (scene.troubles(seconds, id), off_duty)
}

/// A backfill that reaches this block and stays in this phase, while a live pipeline of its topic makes progress.
fn ends(scene: &mut Scene, id: &str, phase: &str, block: u64) {
    scene.lists(0, id, backfill());
    scene.lists(0, "live", json!({}));
    for seconds in (0..=4_000).step_by(50) {
        let (is_over, reached) = (seconds > 1_000, block - 100 + seconds / 10);
        let phase = if is_over { phase } else { "RUNNING" };
        scene.status(seconds, id, phase, if phase == "RUNNING" { 2 } else { 0 });
        scene.metrics(seconds, id, at_block(if is_over { block } else { reached }));
        scene.status(seconds, "live", "RUNNING", 2);
        scene.metrics(seconds, "live", at_block(9_000 + seconds));
    }
}

#[test]
fn one_that_ends_at_its_stop_block_is_no_trouble_however_it_ends() {
    for phase in ["STOPPED", "PAUSED", "RUNNING"] {
        // Whether the stop block itself is processed is not documented.
        for block in [1_999, 2_000, 2_500] {
            let mut scene = Scene::new();
            ends(&mut scene, "a", phase, block);
            assert_eq!(outcome(&mut scene, 4_000, "a"), (vec![], true), "{phase} at {block}");
        }
    }
}

#[test]
fn one_that_ends_before_its_stop_block_ended_early() {
    let mut scene = Scene::new();
    ends(&mut scene, "a", "STOPPED", 1_900);
    assert_eq!(outcome(&mut scene, 4_000, "a"), (vec![("ended_early", Some(1_050))], true));
    let mut scene = Scene::new();
    ends(&mut scene, "a", "PAUSED", 1_900);
    assert_eq!(outcome(&mut scene, 4_000, "a"), (vec![("ended_early", Some(1_050))], true));
    let mut scene = Scene::new();
    ends(&mut scene, "a", "RUNNING", 1_900);
    assert_eq!(outcome(&mut scene, 4_000, "a"), (vec![("stalled", Some(1_000))], false), "it has not ended at all");
}

#[test]
fn one_that_waits_to_be_resumed_has_the_time_of_a_deployment() {
    let mut scene = Scene::new();
    let mut fields = backfill();
    fields["status"] = "paused".into();
    scene.lists(0, "a", fields);
    scene.status(10, "a", "PAUSED", 0);
    scene.metrics(10, "a", at_block(1_500));
    assert_eq!(outcome(&mut scene, 9_000, "a"), (vec![], true), "the user has paused it");
    scene.lists(9_000, "a", backfill());
    scene.status(9_899, "a", "PAUSED", 0);
    assert_eq!(outcome(&mut scene, 9_899, "a").0, []);
    scene.status(9_900, "a", "PAUSED", 0);
    assert_eq!(outcome(&mut scene, 9_900, "a").0, [("ended_early", Some(9_000))]);
    scene.status(9_910, "a", "RUNNING", 2);
    assert_eq!(outcome(&mut scene, 9_910, "a"), (vec![], false));
}

#[test]
fn one_whose_end_or_height_is_not_known_may_end_anywhere() {
    for (fields, metrics) in [
        (json!({"execution_mode": "bounded"}), at_block(1_500)),
        (
            json!({"execution_mode": "bounded", "execution_start_from": "2000", "execution_stop_from": "1000"}),
            at_block(1_500),
        ),
        (backfill(), json!({"last_block_height": null})),
        (backfill(), json!({"last_block_height": 0})),
    ] {
        for phase in ["STOPPED", "PAUSED"] {
            let mut scene = Scene::new();
            scene.lists(0, "a", fields.clone());
            for seconds in [10, 2_000] {
                scene.metrics(seconds, "a", metrics.clone());
                scene.status(seconds, "a", phase, 0);
            }
            assert_eq!(outcome(&mut scene, 2_000, "a"), (vec![], true), "{phase}, {fields}, {metrics}");
        }
    }
}

#[test]
fn a_worker_that_is_gone_and_reports_zeros_has_not_lost_what_it_did() {
    let mut scene = Scene::new();
    scene.lists(0, "a", backfill());
    scene.status(0, "a", "RUNNING", 2);
    scene.metrics(0, "a", at_block(2_000));
    for metrics in [json!({"last_block_height": 0, "records_consumed": 0}), json!({})] {
        scene.metrics(30, "a", metrics);
        scene.status(40, "a", "STOPPED", 0);
        assert_eq!(outcome(&mut scene, 40, "a"), (vec![], true));
    }
}

#[test]
fn one_at_its_stop_block_is_not_at_its_end_while_records_wait_or_it_has_failed() {
    let mut scene = Scene::new();
    scene.lists(0, "a", backfill());
    let waiting = || json!({"last_block_height": 2_000, "pending_records": 7});
    for seconds in (0..=700).step_by(50) {
        scene.status(seconds, "a", "RUNNING", 2);
        scene.metrics(seconds, "a", waiting());
    }
    assert_eq!(outcome(&mut scene, 700, "a"), (vec![("stalled", Some(0))], false));
    scene.status(710, "a", "FAILED", 0);
    assert_eq!(outcome(&mut scene, 710, "a"), (vec![("failed", Some(710))], false));
}

#[test]
fn one_that_goes_on_after_its_end_has_time_to_start_and_to_move() {
    let mut scene = Scene::new();
    ends(&mut scene, "a", "RUNNING", 2_000);
    let mut fields = backfill();
    fields["execution_stop_from"] = "3000".into();
    scene.lists(4_010, "a", fields.clone());
    let live = |scene: &mut Scene, seconds| {
        scene.status(seconds, "live", "RUNNING", 2);
        scene.metrics(seconds, "live", at_block(9_000 + seconds));
    };
    for seconds in (4_050..=4_700).step_by(50) {
        scene.metrics(seconds, "a", at_block(2_000));
        live(&mut scene, seconds);
    }
    assert_eq!(outcome(&mut scene, 4_700, "a"), (vec![], false), "for ten minutes it was seen to have more to read");
    scene.metrics(4_750, "a", at_block(2_000));
    live(&mut scene, 4_750);
    assert_eq!(outcome(&mut scene, 4_750, "a").0, [("stalled", Some(1_000))]);

    ends(&mut scene, "b", "STOPPED", 2_000);
    scene.status(5_000, "b", "DEPLOYING", 0);
    scene.status(5_899, "b", "DEPLOYING", 0);
    assert_eq!(outcome(&mut scene, 5_899, "b"), (vec![], false));
    scene.status(5_900, "b", "DEPLOYING", 0);
    assert_eq!(outcome(&mut scene, 5_900, "b").0, [("not_running", Some(5_000))]);
}
