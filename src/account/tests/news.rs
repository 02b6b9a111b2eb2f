//! What is worth a log line: each piece of news once.

use super::*;
use crate::api::{DesiredStatus, Phase};

fn named(id: &str) -> PipelineName {
    PipelineName { id: PipelineId::new(id).unwrap(), name: None }
}

fn error_of(status: u16) -> Error {
    Error::of_status(status).unwrap()
}

#[test]
fn a_list_that_fails_succeeds_or_shows_something_new_is_news_once() {
    let start = Moment::now();
    let mut account = account(&[], start);
    let [a, b] = ["a", "b"].map(|id| json!({"id": id, "status": "running"}));
    let fails = |account: &mut Account, status| account.hears(Response::Page(1, Err(error_of(status))), start);
    assert_eq!(account.lists(std::slice::from_ref(&a), start), [Event::ListSucceeds { pipelines: 1 }]);
    assert_eq!(account.lists(&[a.clone(), b.clone()], start), [Event::PipelineIsNew(named("b"))]);
    assert_eq!(fails(&mut account, 500), [Event::ListFails(error_of(500))]);
    assert_eq!(fails(&mut account, 500), []);
    assert_eq!(fails(&mut account, 403), [Event::ListFails(error_of(403))], "it accepts no key");
    assert_eq!(account.lists(&[a.clone(), b.clone()], start), [Event::ListSucceeds { pipelines: 2 }]);
    assert_eq!(fails(&mut account, 401), [Event::KeyRefused(error_of(401))], "that says it all");
    assert_eq!(fails(&mut account, 401), []);
    let again = [Event::KeyAcceptedAgain, Event::ListSucceeds { pipelines: 2 }];
    assert_eq!(account.lists(&[a, b], start.after(seconds(1))), again);
    let page = serde_json::from_value(json!({"items": null})).unwrap();
    let events = account.hears(Response::Page(1, Ok(page)), start);
    assert!(matches!(&events[..], [Event::ListFails(Error::Decode(_))]), "{events:?}");
}

#[test]
fn a_limit_and_a_budget_that_are_too_small_are_said_once_each_time() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.settings.max_pipelines = 1;
    let items = ["a", "b"].map(|id| json!({"id": id}));
    let first = [Event::ListSucceeds { pipelines: 1 }, Event::Truncated { most: 1 }];
    assert_eq!(account.lists(&items, start), first);
    assert_eq!(account.lists(&items, start), []);
    account.settings.max_pipelines = 2;
    assert_eq!(account.lists(&items, start), [Event::PipelineIsNew(named("b"))]);

    let required = account.required();
    account.budget.set_rate(required);
    assert_eq!(account.lists(&items, start), [], "it just suffices");
    let allowed = required / 2.0;
    account.budget.set_rate(allowed);
    assert_eq!(account.lists(&items, start), [Event::Overloaded { required, allowed }]);
    assert_eq!(account.lists(&items, start), []);
    account.budget.set_rate(2.0 * required);
    assert_eq!(account.lists(&items, start), []);
    account.budget.set_rate(allowed);
    assert_eq!(account.lists(&items, start), [Event::Overloaded { required, allowed }]);

    let mut poor = settings(&[]);
    poor.poll.requests_per_second = 0.01;
    let mut poor = Account::new(poor, start.wall(), fastrand::Rng::with_seed(1), start);
    assert!(matches!(poor.lists(&items, start)[..], [Event::ListSucceeds { .. }, Event::Overloaded { .. }]));
}

#[test]
fn changes_of_a_pipeline_are_news_and_what_stays_is_not() {
    let start = Moment::now();
    let mut account = account(&[], start);
    let listed = |status: &str| [json!({"id": "a", "name": "Swaps", "status": status})];
    account.lists(&listed("running"), start);
    let changed = |change| {
        let name = PipelineName { id: id("a"), name: Some("Swaps".into()) };
        vec![Event::PipelineChanged(name, change)]
    };
    let health = |healthy| reading(Probe::DestinationHealth, json!({"healthy": healthy, "last_error": "timeout"}));
    let (running, stopped) = (Some(Phase::Running), Some(Phase::Stopped));
    let failure = Some((Reason::ServerError, error_of(500).to_string()));
    for (response, change) in [
        (status("RUNNING"), Some(Change::Phase { was: None, is: running })),
        (status("RUNNING"), None),
        (status("STOPPED"), Some(Change::Phase { was: running, is: stopped })),
        (failed(error_of(500)), Some(Change::Probe { probe: Probe::Status, was: None, failure })),
        (failed(error_of(500)), None),
        (
            status("STOPPED"),
            Some(Change::Probe { probe: Probe::Status, was: Some(Reason::ServerError), failure: None }),
        ),
        (health(true), None),
        (health(false), Some(Change::DestinationUnhealthy("timeout".to_owned()))),
        (health(false), None),
        (health(true), Some(Change::DestinationHealthy)),
    ] {
        let shown = format!("{response:?}");
        assert_eq!(account.probed("a", response, start), change.map(changed).unwrap_or_default(), "{shown}");
    }
    let wish = Change::Desired(Some(DesiredStatus::Paused));
    assert_eq!(account.lists(&listed("paused"), start), changed(wish));
    assert_eq!(account.lists(&listed("paused"), start), []);
    let gone = account.hears(Response::Page(1, Ok(serde_json::from_value(json!({"items": []})).unwrap())), start);
    let name = PipelineName { id: id("a"), name: Some("Swaps".into()) };
    assert_eq!((gone, account.lists(&[], start)), (vec![], vec![Event::PipelineIsGone(name)]), "it still responds");
}

#[test]
fn a_pause_is_news_and_again_when_it_grows_by_more_than_a_quarter_of_a_second() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let mut limited = |millis| {
        let retry_after = Some(Duration::from_millis(millis));
        let events = account.probed("pipe_1", failed(Error::RateLimited { retry_after }), start);
        events.into_iter().filter(|event| matches!(event, Event::Paused { .. })).collect::<Vec<_>>()
    };
    let paused = |millis| {
        let wait = Duration::from_millis(millis);
        [Event::Paused { retry_after: Some(wait), wait }]
    };
    assert_eq!(limited(10_000), paused(10_000));
    assert_eq!(limited(10_250), []);
    assert_eq!(limited(10_501), paused(10_501));
    assert_eq!(limited(1_000), []);
}
