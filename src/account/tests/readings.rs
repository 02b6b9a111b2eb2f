//! What is known about pipelines, and what a view says about all of them.

use super::*;

/// A pipeline after these responses, one per second.
fn pipeline(responses: impl IntoIterator<Item = ProbeResponse>) -> Arc<Pipeline> {
    let start = Moment::now();
    let mut account = account_of_one(start);
    for (response, after) in responses.into_iter().zip(1..) {
        account.probed("pipe_1", response, start.after(seconds(after)));
    }
    account.pipelines[&id("pipe_1")].clone()
}

#[test]
fn replicas_stay_known_while_a_status_lacks_them() {
    let responses = [json!({"replicas": 2, "ready": 1}), json!({"status": "RUNNING"})];
    let pipeline = pipeline(responses.map(|status| reading(Probe::Status, status)));
    assert_eq!(pipeline.replicas(), Some([2.0, 1.0]));
}

#[test]
fn a_pipeline_is_on_duty_since_it_was_first_listed() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", status("RUNNING"), start.after(seconds(100)));
    let on_duty = account.pipelines[&id("pipe_1")].on_duty_since();
    assert_eq!(on_duty, Some(Beginning { at: start, or_earlier: true }));
}

#[test]
fn an_entry_of_the_list_is_as_fresh_as_the_newest_list_and_keeps_the_texts_that_others_share() {
    let start = Moment::now();
    let mut account = account(&[], start);
    let project = |account: &Account| account.pipelines[&id("a")].listed().project.clone().unwrap();
    account.lists(&[json!({"id": "a", "project": "x"})], start);
    let before = project(&account);
    account.lists(&[json!({"id": "a", "project": "x"})], start.after(seconds(250)));
    assert!(Arc::ptr_eq(&before, &project(&account)));
    let pipeline = &account.pipelines[&id("a")];
    let is_fresh = |after| pipeline.listed_fresh(start.after(seconds(after)), seconds(300)).is_some();
    assert_eq!([is_fresh(550), is_fresh(551)], [true, false]);
}

#[test]
fn pipelines_on_duty_are_counted_once_their_status_is_known() {
    let start = Moment::now();
    let mut account = account(&[], start);
    let listed = |id: &str, status: &str| json!({"id": id, "status": status});
    account.lists(&[listed("a", "running"), listed("b", "paused"), listed("c", "running")], start);
    account.probed("a", status("RUNNING"), start);
    account.probed("b", status("PAUSED"), start);
    account.probed("c", reading(Probe::Metrics, json!({})), start);
    assert_eq!(account.view(start).on_duty_by_team(), BTreeMap::from([("", 1)]));
}

#[test]
fn the_highest_block_of_a_chain_is_that_of_any_unbounded_pipeline() {
    let start = Moment::now();
    let mut account = account(&[], start);
    let listed = |id: &str, mode: &str| json!({"id": id, "topic": "base.mainnet.x", "execution_mode": mode});
    account.lists(&[listed("a", "unbounded"), listed("b", "unbounded"), listed("c", "bounded")], start);
    for (id, block) in [("a", 9), ("b", 8), ("c", 10)] {
        account.probed(id, reading(Probe::Metrics, json!({"last_block_height": block})), start);
    }
    assert_eq!(account.view(start).highest_blocks(start), BTreeMap::from([("base.mainnet", 9.0)]));
}

#[test]
fn a_view_changes_when_its_usage_becomes_stale() {
    let start = Moment::now();
    let mut settings = settings(&[]);
    settings.poll.usage = Some(seconds(900));
    let mut account = Account::new(settings, start.wall(), fastrand::Rng::with_seed(1), start);
    account.lists(&[], start);
    account.reads_usage(json!({"credits_consumed": 5}), start);
    let now = start.after(seconds(2_690));
    let view = account.view(now);
    let changes_in = view.changes_in(now).unwrap();
    assert_eq!(changes_in, seconds(10) + Duration::from_nanos(1));
}
