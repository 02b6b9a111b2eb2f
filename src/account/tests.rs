//! What an account does with responses: first the cases that matter, then any sequence of responses.

mod news;
mod readings;
mod reload;
mod requests;

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::testing::{account, reading, settings};
use super::*;
use crate::api::Probe;
use crate::thresholds::Threshold;
use crate::trouble::{Judge, Trouble};

fn id(text: &str) -> PipelineId {
    PipelineId::new(text).unwrap()
}

fn probe(text: &str, probe: Probe) -> Request {
    Request::Probe(id(text), probe)
}

fn status(phase: &str) -> ProbeResponse {
    reading(Probe::Status, json!({"status": phase}))
}

fn failed(error: Error) -> ProbeResponse {
    ProbeResponse::failed(Probe::Status, error)
}

fn read_again(now: Moment) -> ReadAgain {
    ReadAgain { loaded_at: now.wall(), is_another: false }
}

/// An account that has listed one pipeline.
fn account_of_one(now: Moment) -> Account {
    let mut account = account(&[], now);
    account.lists(&[json!({"id": "pipe_1", "status": "running"})], now);
    account
}

/// Everything that can be sent now, regardless of the budget.
fn sends(account: &mut Account, now: Instant) -> Vec<(Request, Sent)> {
    account.settings.poll.max_in_flight = usize::MAX;
    account.budget.set_rate(1e6);
    let next = || match account.next(now) {
        Next::Send(request, sent) => Some((request, sent)),
        Next::WaitUntil(_) | Next::Idle => None,
    };
    std::iter::from_fn(next).collect()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Of ten thousand, each byte takes ten kilobytes.
#[test]
fn a_pipeline_is_small() {
    let size = size_of::<Pipeline>();
    assert!(size <= 1_800, "{size}");
}

#[test]
fn after_a_401_only_the_list_is_requested_until_something_is_accepted() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let events = account.probed("pipe_1", failed(Error::of_status(401).unwrap()), start.after(seconds(1)));
    assert!(events.iter().any(|event| matches!(event, Event::KeyRefused(_))));
    assert!(account.view(start).credential.is_refused());
    let later = start.after(seconds(3));
    let sent = sends(&mut account, later.monotonic());
    assert_eq!(sent.iter().map(|(request, _)| request.clone()).collect::<Vec<_>>(), [Request::Page(1)]);
    let list = json!({"items": [{"id": "pipe_1"}], "pagination": {"has_more": false}});
    let page = Response::Page(1, Ok(serde_json::from_value(list).unwrap()));
    let events = account.answered(sent[0].1, page, later.after(seconds(1)));
    assert!(events.contains(&Event::KeyAcceptedAgain));
    assert!(!account.view(start).credential.is_refused());
    assert!(sends(&mut account, later.monotonic() + seconds(2)).len() > 1, "probing resumes");
}

/// An account that polls its usage every hour, and has listed one pipeline.
fn account_with_usage(now: Moment) -> Account {
    let mut settings = settings(&[]);
    settings.poll.usage = Some(seconds(3_600));
    let mut account = Account::new(settings, now.wall(), fastrand::Rng::with_seed(1), now);
    assert!(!sends(&mut account, now.monotonic()).iter().any(|(request, _)| *request == Request::Usage), "no list yet");
    account.lists(&[json!({"id": "pipe_1", "status": "running"})], now);
    account
}

/// How many usage requests are sent now.
fn asks_for_usage(account: &mut Account, now: Moment) -> usize {
    sends(account, now.monotonic()).iter().filter(|(request, _)| *request == Request::Usage).count()
}

#[test]
fn usage_is_asked_for_at_its_pace_with_a_key_that_is_accepted_and_by_default_never() {
    let start = Moment::now();
    assert_eq!(asks_for_usage(&mut account_of_one(start), start.after(seconds(9_000))), 0);

    let mut account = account_with_usage(start);
    assert_eq!(asks_for_usage(&mut account, start), 1);
    assert_eq!(asks_for_usage(&mut account, start.after(seconds(9_000))), 0, "it is in flight");
    account.reads_usage(json!({"credits_consumed": 5}), start.after(seconds(9_001)));
    assert_eq!(asks_for_usage(&mut account, start.after(seconds(9_001))), 1, "it is long overdue");
    account.reads_usage(json!({"credits_consumed": 5}), start.after(seconds(9_002)));
    assert_eq!(asks_for_usage(&mut account, start.after(seconds(12_600))), 0);
    account.probed("pipe_1", failed(Error::of_status(401).unwrap()), start.after(seconds(12_600)));
    assert_eq!(asks_for_usage(&mut account, start.after(seconds(12_602))), 0, "the key is refused");
    account.lists(&[], start.after(seconds(12_700)));
    assert_eq!(asks_for_usage(&mut account, start.after(seconds(12_700))), 1);
}

#[test]
fn the_outcome_of_the_usage_changes_nothing_else() {
    let start = Moment::now();
    let said = |status| Error::of_status(status).unwrap();
    for error in [said(401), said(402), said(403), said(404), said(500), Error::Decode(String::new())] {
        let mut account = account_with_usage(start);
        account.read_at = Some(start);
        let (before, due) = (account.view(start).credential.state(), account.schedule.oldest_due());
        let events = account.hears(Response::Usage(Err(error.clone())), start.after(seconds(1)));
        assert_eq!(events, [Event::UsageFails(error.clone())]);
        let after = account.view(start.after(seconds(1)));
        assert_eq!(after.credential.state(), before, "{error}");
        assert_eq!((after.requests.failed(Reason::Unauthorized), after.requests.failed(Reason::Forbidden)), (0, 0));
        assert!(after.is_up(start) && after.budget.paused_until.is_none() && account.read_at == Some(start));
        assert_eq!((account.schedule.oldest_due(), account.failure()), (due, None), "{error}");
        let usage = after.usage.unwrap();
        assert_eq!((usage.failure(), usage.is_not_offered()), (Some(error.reason()), said(500) != error), "{error}");
        assert_eq!(after.requests.failures[Operation::Usage as usize][error.reason() as usize], 1);
        let again = account.hears(Response::Usage(Err(error)), start.after(seconds(2)));
        assert_eq!(again, [], "it is said once");
        assert_eq!(account.reads_usage(json!({"max_credits": 1}), start.after(seconds(3))), [Event::UsageSucceeds]);
    }
}

#[test]
fn a_429_to_the_usage_pauses_the_account_and_a_503_only_the_usage() {
    let start = Moment::now();
    let wait = Some(seconds(7_200));
    let mut account = account_with_usage(start);
    account.hears(Response::Usage(Err(Error::RateLimited { retry_after: wait })), start);
    assert!(account.view(start).budget.paused_until.is_some());
    let Error::ServerError { said, .. } = Error::of_status(503).unwrap() else { panic!() };
    let mut account = account_with_usage(start);
    account.hears(Response::Usage(Err(Error::ServerError { status: 503, retry_after: wait, said })), start);
    assert!(account.view(start).budget.paused_until.is_none());
    assert_eq!(asks_for_usage(&mut account, start.after(seconds(7_199))), 0);
    assert_eq!(asks_for_usage(&mut account, start.after(seconds(7_200))), 1);
}

#[test]
fn a_401_to_the_usage_for_the_old_key_is_asked_again_with_the_new_one() {
    let start = Moment::now();
    let mut account = account_with_usage(start);
    let sent = sends(&mut account, start.monotonic()).into_iter().find(|(request, _)| *request == Request::Usage);
    account.key_replaced(start.wall(), start.monotonic());
    account.answered(sent.unwrap().1, Response::Usage(Err(Error::of_status(401).unwrap())), start.after(seconds(1)));
    assert_eq!(account.view(start).usage.unwrap().failure(), None);
    assert_eq!(asks_for_usage(&mut account, start.after(seconds(1))), 1);
}

#[test]
fn usage_has_its_share_of_a_budget_that_is_too_small_and_no_more() {
    let start = Moment::now();
    let mut account = account_with_usage(start);
    let without = account_of_one(start).required();
    assert!((account.required() - without - 1.0 / 3_600.0).abs() < 1e-9);
    account.budget.set_rate(account.required() / 2.0);
    let usage = |account: &Account| account.usage.as_ref().unwrap().due();
    account.in_flight.clear();
    while !matches!(account.next(start.monotonic()), Next::Send(Request::Usage, _)) {
        account.budget = Budget::new(account.required() / 2.0, fastrand::Rng::with_seed(1), start.monotonic());
    }
    let stretched = usage(&account).saturating_duration_since(start.monotonic()).as_secs_f64();
    assert!((stretched - 7_200.0).abs() < 1.0, "{stretched}");
}

#[test]
fn a_reload_keeps_the_usage_that_is_known_and_forgets_it_when_it_is_switched_off() {
    let start = Moment::now();
    let mut account = account_with_usage(start);
    account.reads_usage(json!({"credits_consumed": 5}), start);
    let mut settings = account.settings.clone();
    settings.poll.usage = Some(seconds(60));
    account.reconfigure(settings.clone(), read_again(start), start);
    assert!(account.view(start).usage.unwrap().reading().is_some());
    assert_eq!(asks_for_usage(&mut account, start), 1);
    settings.poll.usage = None;
    account.reconfigure(settings, read_again(start), start);
    assert!(account.view(start).usage.is_none());
}

#[test]
fn once_requests_the_usage_once_and_its_failure_does_not_fail_the_account() {
    let start = Moment::now();
    let mut account = account_with_usage(start);
    account.ask_once();
    for probe in Probe::ALL {
        account.probed("pipe_1", reading(*probe, json!({})), start);
    }
    assert!(!account.is_done(start.monotonic()));
    assert_eq!(asks_for_usage(&mut account, start), 1);
    account.hears(Response::Usage(Err(Error::of_status(404).unwrap())), start);
    assert!(account.is_done(start.monotonic()) && account.failure().is_none());
    assert_eq!(asks_for_usage(&mut account, start.after(seconds(90_000))), 0);
}

#[test]
fn a_401_for_the_old_key_is_counted_as_a_request_and_accuses_no_key() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let (request, sent) = sends(&mut account, start.monotonic()).remove(0);
    assert_eq!(request, probe("pipe_1", Probe::Status));
    account.key_replaced(start.wall(), start.monotonic());
    let late = Response::Probe(id("pipe_1"), failed(Error::of_status(401).unwrap()));
    assert_eq!(account.answered(sent, late, start.after(seconds(1))), []);
    let view = account.view(start.after(seconds(1)));
    assert!(!view.credential.is_refused());
    assert_eq!(view.requests.failed(Reason::Unauthorized), 1);
    assert_eq!(view.pipelines[&id("pipe_1")].failure(Probe::Status), None);
    let again = sends(&mut account, start.monotonic() + seconds(1));
    assert!(again.iter().any(|(request, _)| *request == probe("pipe_1", Probe::Status)), "{again:?}");
}

#[test]
fn a_new_key_is_tried_at_once_with_the_request_that_was_refused_and_with_the_list() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", failed(Error::of_status(401).unwrap()), start);
    account.key_replaced(start.wall(), start.monotonic());
    let sent: Vec<Request> = sends(&mut account, start.monotonic()).into_iter().map(|(request, _)| request).collect();
    assert_eq!(sent, [probe("pipe_1", Probe::Status), Request::Page(1)]);
}

#[test]
fn a_new_key_ends_the_pause_of_the_old_one() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", failed(Error::RateLimited { retry_after: Some(seconds(3_600)) }), start);
    assert!(
        matches!(account.next(start.monotonic()), Next::WaitUntil(until) if until > start.monotonic() + seconds(3_599))
    );
    let view = account.view(start.after(seconds(600)));
    assert!(!view.is_up(start.after(seconds(600))), "nothing has been listed for long");
    account.key_replaced(start.wall(), start.monotonic());
    assert!(matches!(account.next(start.monotonic() + seconds(1)), Next::Send(..)));
}

/// Lists pipe_1 and reads its phase; later turns come at the resulting pace.
fn rests(intent: &str, mode: &str, phase: &str) -> bool {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.lists(&[json!({"id": "pipe_1", "status": intent, "execution_mode": mode})], start);
    account.takes_all_turns(start);
    account.probed("pipe_1", status(phase), start);
    account.probed("pipe_1", ProbeResponse::failed(Probe::Metrics, Error::of_status(500).unwrap()), start);
    account.probed("pipe_1", reading(Probe::DestinationHealth, json!({"healthy": true})), start);
    account.schedule.required() < 0.03
}

#[test]
fn pipelines_with_nothing_to_report_are_polled_at_the_idle_pace() {
    assert!(rests("paused", "unbounded", "PAUSED"));
    assert!(rests("paused", "unbounded", "STOPPED"));
    assert!(rests("paused", "unbounded", "FAILED"), "nothing is wrong with what is paused");
    assert!(rests("running", "bounded", "STOPPED"), "it has ended");
    assert!(!rests("paused", "unbounded", "RUNNING"), "its worker may stop at any time");
    assert!(!rests("paused", "unbounded", "STOPPING"));
    assert!(!rests("running", "unbounded", "STOPPED"), "it should run");
    assert!(!rests("running", "bounded", "FAILED"));
}

#[test]
fn a_change_in_the_list_wakes_an_idle_pipeline_at_once() {
    let start = Moment::now();
    let listed = |status: &str, updated: &str| [json!({"id": "pipe_1", "status": status, "updated_at": updated})];
    let (old, new) = ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z");
    for (status_later, updated_later, wakes) in
        [("paused", old, false), ("running", old, true), ("paused", new, true), ("running", new, true)]
    {
        let mut account = account(&[], start);
        account.lists(&listed("paused", old), start);
        account.takes_all_turns(start);
        account.probed("pipe_1", status("PAUSED"), start);
        account.probed("pipe_1", reading(Probe::Metrics, json!({})), start);
        account.probed("pipe_1", reading(Probe::DestinationHealth, json!({})), start);
        let later = start.after(seconds(2));
        account.lists(&listed(status_later, updated_later), later);
        let sent = sends(&mut account, later.monotonic());
        let probes = sent.iter().filter(|(request, _)| matches!(request, Request::Probe(..))).count();
        assert_eq!(probes, if wakes { 3 } else { 0 }, "{status_later} {updated_later}");
    }
}

#[test]
fn a_worker_that_starts_again_wakes_its_other_probes() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.lists(&[json!({"id": "pipe_1", "status": "running", "execution_mode": "bounded"})], start);
    account.takes_all_turns(start);
    account.probed("pipe_1", status("STOPPED"), start);
    account.probed("pipe_1", reading(Probe::Metrics, json!({})), start);
    account.probed("pipe_1", reading(Probe::DestinationHealth, json!({})), start);
    let later = start.after(seconds(2));
    account.probed("pipe_1", status("RUNNING"), later);
    let sent: Vec<Request> = sends(&mut account, later.monotonic()).into_iter().map(|(request, _)| request).collect();
    assert_eq!(sent, [probe("pipe_1", Probe::Metrics), probe("pipe_1", Probe::DestinationHealth)]);
}

#[test]
fn a_404_fails_the_probe_and_asks_for_a_list_which_alone_drops_the_pipeline() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    sends(&mut account, start.monotonic());
    let later = start.after(seconds(20));
    account.probed("pipe_1", failed(Error::of_status(404).unwrap()), later);
    assert_eq!(account.view(later).pipelines.len(), 1);
    assert_eq!(account.roster.due(), Some(later.monotonic()));
    account.probed("pipe_1", failed(Error::of_status(404).unwrap()), later);
    let events = account.lists(&[], later.after(seconds(1)));
    assert_eq!(events, [Event::PipelineIsGone(PipelineName { id: id("pipe_1"), name: None })]);
    assert_eq!(account.view(later).pipelines.len(), 0);
}

#[test]
fn a_404_during_a_list_asks_for_another_one() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.roster.begin(100, start.monotonic());
    account.probed("pipe_1", failed(Error::of_status(404).unwrap()), start);
    let page = json!({"items": [{"id": "pipe_1"}], "pagination": {"has_more": false}});
    let sent = Sent { at: start.monotonic(), generation: 1 };
    account.answered(sent, Response::Page(1, Ok(serde_json::from_value(page).unwrap())), start.after(seconds(10)));
    assert_eq!(account.roster.due(), Some(start.monotonic() + seconds(10)));
}

#[test]
fn a_reload_during_a_list_lists_once_even_after_a_404() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.roster.begin(100, start.monotonic());
    account.probed("pipe_1", failed(Error::of_status(404).unwrap()), start);
    account.reconfigure(settings(&[]), read_again(start), start);
    account.lists(&[json!({"id": "pipe_1"})], start);
    assert_eq!(account.roster.due(), Some(start.monotonic() + seconds(60)));
}

#[test]
fn only_a_reading_shows_that_a_pipeline_is_in_transition() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    for (response, expected) in [
        (status("RUNNING"), false),
        (status("DEPLOYING"), true),
        (failed(Error::of_status(500).unwrap()), false),
        (status(""), false),
    ] {
        account.probed("pipe_1", response, start);
        assert_eq!(account.schedule.required() > 0.2, expected, "{}", account.schedule.required());
    }
}

#[test]
fn a_reload_keeps_what_is_known_and_what_the_api_has_asked_for() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.lists(&[json!({"id": "a", "project": "x"}), json!({"id": "b", "project": "y"})], start);
    account.probed("a", status("RUNNING"), start);
    account.probed("a", failed(Error::RateLimited { retry_after: Some(seconds(60)) }), start);
    let mut changed = settings(&[]);
    changed.poll.status = seconds(7);
    changed.shard = config::Shard { index: 0, total: 1 };
    account.reconfigure(changed.clone(), read_again(start), start);
    let view = account.view(start);
    assert_eq!(view.pipelines.len(), 2);
    assert!(view.pipelines[&id("a")].status().is_some() && view.budget.paused_until.is_some());
    changed.max_pipelines = 1;
    account.reconfigure(changed.clone(), read_again(start), start);
    assert!(account.view(start).budget.paused_until.is_some());
    account.reconfigure(changed, ReadAgain { is_another: true, ..read_again(start) }, start);
    assert!(account.view(start).budget.paused_until.is_none(), "it was the other key's");
}

#[test]
fn a_reload_that_reads_the_same_key_again_is_not_a_rotation() {
    let start = Moment::now();
    let later = start.after(seconds(60));
    let mut account = account_of_one(start);
    let read = ReadAgain { loaded_at: later.wall(), is_another: false };
    account.reconfigure(settings(&[]), read, later);
    assert_eq!(account.view(later).credential.loaded_at(), start.wall());
    account.reconfigure(settings(&[]), ReadAgain { is_another: true, ..read }, later);
    assert_eq!(account.view(later).credential.loaded_at(), later.wall());
}

#[test]
fn after_a_reload_the_pipelines_that_have_waited_longest_go_first() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.lists(&["a", "b", "c", "new"].map(|id| json!({"id": id, "status": "running"})), start);
    for (id, after) in [("b", 1), ("c", 2), ("a", 3)] {
        for probe in Probe::ALL {
            account.probed(id, reading(*probe, json!({})), start.after(seconds(after)));
        }
    }
    let later = start.after(seconds(4));
    account.reconfigure(settings(&[]), read_again(start), later);
    let sent = sends(&mut account, later.monotonic()).into_iter().filter_map(|(request, _)| match request {
        Request::Probe(id, Probe::Status) => Some(id.to_string()),
        _ => None,
    });
    assert_eq!(sent.collect::<Vec<_>>(), ["new", "b", "c", "a"]);
}

#[test]
fn once_ends_when_everything_has_been_requested_or_the_list_fails() {
    let start = Moment::now();
    let mut fine = account(&[], start);
    fine.ask_once();
    assert!(!fine.is_done(start.monotonic()));
    fine.lists(&[json!({"id": "pipe_1"})], start);
    assert!(!fine.is_done(start.monotonic()));
    for probe in Probe::ALL {
        fine.probed("pipe_1", reading(*probe, json!({})), start);
    }
    assert!(fine.is_done(start.monotonic()));
    assert_eq!(
        sends(&mut fine, start.monotonic() + seconds(3_600)).iter().filter(|(r, _)| *r == Request::Page(1)).count(),
        0
    );
    let mut slow = account(&[], start);
    slow.ask_once();
    slow.lists(&[json!({"id": "pipe_1"})], start);
    assert_eq!(sends(&mut slow, start.monotonic()).len(), 3);
    for probe in [Probe::Metrics, Probe::DestinationHealth] {
        slow.probed("pipe_1", reading(probe, json!({})), start);
    }
    assert_eq!(
        sends(&mut slow, start.monotonic() + seconds(3_600)),
        [],
        "the others were asked, the third is in flight"
    );
    slow.probed("pipe_1", failed(Error::of_status(500).unwrap()), start.after(seconds(3_600)));
    assert!(slow.is_done(start.monotonic() + seconds(3_600)));

    let mut refused = account(&[], start);
    refused.ask_once();
    refused.hears(Response::Page(1, Err(Error::of_status(401).unwrap())), start);
    assert!(refused.is_done(start.monotonic()));
    refused.key_replaced(start.wall(), start.monotonic());
    assert!(!refused.is_done(start.monotonic()), "the new key has the last word");
    assert_eq!(refused.failure(), Error::of_status(401));
}

#[test]
fn a_403_for_the_old_key_says_nothing_about_what_the_new_one_may_see() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let (_, sent) = sends(&mut account, start.monotonic()).remove(0);
    account.key_replaced(start.wall(), start.monotonic());
    let late = Response::Probe(id("pipe_1"), failed(Error::of_status(403).unwrap()));
    assert_eq!(account.answered(sent, late, start.after(seconds(1))), []);
    assert!(!account.view(start).pipelines[&id("pipe_1")].is_forbidden());
    let again = sends(&mut account, start.monotonic() + seconds(1));
    assert!(again.iter().any(|(request, _)| *request == probe("pipe_1", Probe::Status)), "{again:?}");
}

#[test]
fn a_request_that_was_refused_is_not_sent_again_once_the_key_is_accepted_after_all() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", failed(Error::of_status(401).unwrap()), start);
    account.lists(&[], start.after(seconds(1)));
    let later = start.monotonic() + seconds(2);
    account.key_replaced(start.wall(), later);
    assert_eq!(sends(&mut account, later), [], "its pipeline is gone");
}

#[test]
fn the_last_page_that_was_sent_before_a_refusal_does_not_delay_the_next_list() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.roster.begin(100, start.monotonic());
    account.probed("pipe_1", failed(Error::of_status(401).unwrap()), start.after(seconds(1)));
    let page = json!({"items": [{"id": "pipe_1"}], "pagination": {"has_more": false}});
    let sent = Sent { at: start.monotonic(), generation: 1 };
    account.answered(sent, Response::Page(1, Ok(serde_json::from_value(page).unwrap())), start.after(seconds(2)));
    assert!(account.view(start).credential.is_refused());
    assert!(
        account.roster.due().is_some_and(|due| due <= start.monotonic() + seconds(3)),
        "{:?}",
        account.roster.due()
    );
}

#[test]
fn a_list_that_began_with_a_refused_key_is_followed_by_one_with_the_new_key() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.roster.begin(100, start.monotonic());
    let sent = Sent { at: start.monotonic(), generation: 1 };
    account.probed("pipe_1", failed(Error::of_status(401).unwrap()), start.after(seconds(1)));
    account.key_replaced(start.wall(), start.monotonic() + seconds(2));
    account.probed("pipe_1", status("RUNNING"), start.after(seconds(3)));
    account.answered(sent, page(1, 3, false), start.after(seconds(4)));
    assert_eq!(account.roster.due(), Some(start.monotonic() + seconds(5)), "its share of the budget");
}

#[test]
fn a_first_page_that_is_retried_with_a_new_key_begins_the_list_anew() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let at = |after: u64| start.after(seconds(60 + after));
    let page_1 = |sent: Vec<(Request, Sent)>| sent.into_iter().find(|(request, _)| *request == Request::Page(1));
    let (_, sent) = page_1(sends(&mut account, at(0).monotonic())).unwrap();
    account.probed("pipe_1", failed(Error::of_status(401).unwrap()), at(1));
    account.key_replaced(start.wall(), at(2).monotonic());
    account.answered(sent, Response::Page(1, Err(Error::of_status(401).unwrap())), at(10));
    let (_, sent) = page_1(sends(&mut account, at(10).monotonic())).unwrap();
    account.answered(sent, page(1, 3, false), at(11));
    assert_eq!(account.roster.due(), Some(at(70).monotonic()), "one list with the new key is enough");
}

#[test]
fn a_truncated_list_and_a_404_drop_a_pipeline_together() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.settings.max_pipelines = 2;
    let [a, b, c] = ["a", "b", "c"].map(|id| json!({"id": id}));
    account.lists(&[a.clone(), b.clone(), c.clone()], start);
    account.lists(&[b.clone(), c.clone(), json!({"id": "d"})], start);
    assert!(account.pipelines.contains_key(&id("a")), "a truncated list may hide it");
    account.probed("a", failed(Error::of_status(404).unwrap()), start);
    account.lists(&[b, c, json!({"id": "d"})], start);
    assert!(!account.pipelines.contains_key(&id("a")));
}

#[test]
fn after_a_reload_with_a_lower_max_pipelines_those_stay_that_the_list_shows_first() {
    let start = Moment::now();
    let mut account = account(&[], start);
    let [a, b, c] = ["a", "b", "c"].map(|id| json!({"id": id}));
    account.lists(&[c.clone(), a.clone(), b.clone()], start);
    account.reconfigure(Settings { max_pipelines: 2, ..settings(&[]) }, read_again(start), start);
    account.lists(&[c, a, b], start);
    let left: Vec<&str> = account.pipelines.keys().map(PipelineId::as_str).collect();
    assert_eq!(left, ["a", "c"]);
}

#[test]
fn a_request_that_comes_back_unsent_is_not_remembered_for_a_pipeline_that_is_gone() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let unsent = || failed(Error::Unsent("GOAWAY".to_owned()));
    account.lists(&[json!({"id": "pipe_1"}), json!({"id": "pipe_2"})], start);
    account.probed("pipe_1", unsent(), start);
    account.probed("pipe_2", unsent(), start);
    assert_eq!(account.unsent.len(), 2);
    account.lists(&[json!({"id": "pipe_2"})], start);
    assert_eq!(account.unsent, HashSet::from([probe("pipe_2", Probe::Status)]));
    account.probed("pipe_1", unsent(), start);
    assert_eq!(account.unsent.len(), 1);
}

#[test]
fn a_pipeline_that_a_list_has_missed_is_forgotten_with_it() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", status("RUNNING"), start);
    account.lists(&[], start);
    assert_eq!(account.roster.missed().collect::<Vec<_>>(), [&id("pipe_1")], "it answers, so it stays for now");
    account.probed("pipe_1", failed(Error::of_status(404).unwrap()), start);
    account.lists(&[json!({"id": null})], start);
    assert!(account.pipelines.is_empty());
    assert_eq!(account.roster.missed().next(), None);
}

#[test]
fn a_page_without_items_counts_as_one_that_cannot_be_read() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let page = serde_json::from_value(json!({"items": null})).unwrap();
    account.hears(Response::Page(1, Ok(page)), start);
    let counted = account.view(start).requests.failures[Operation::List as usize];
    assert_eq!(counted[Reason::Decode as usize], 1);
    assert_eq!(counted.iter().sum::<u64>(), 1);
}

#[test]
fn a_list_that_waits_for_its_next_page_for_long_is_not_known_to_succeed() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.roster.begin(100, start.monotonic());
    let page = json!({"items": [{"id": "pipe_1"}], "pagination": {"has_more": true}});
    let sent = Sent { at: start.monotonic(), generation: 1 };
    account.answered(sent, Response::Page(1, Ok(serde_json::from_value(page).unwrap())), start);
    account.probed("pipe_1", failed(Error::RateLimited { retry_after: Some(seconds(3_600)) }), start);
    let is_up = |account: &mut Account, after| {
        let now = start.after(seconds(after));
        account.view(now).is_up(now)
    };
    assert!(is_up(&mut account, 300));
    assert!(!is_up(&mut account, 301));
}

#[test]
fn a_list_that_a_pause_has_held_up_does_not_hold_up_the_next() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.roster.begin(100, start.monotonic());
    let sent = Sent { at: start.monotonic(), generation: 1 };
    account.answered(sent, page(1, 3, true), start);
    let hour = start.after(seconds(3_600));
    account.answered(Sent { at: hour.monotonic(), generation: 1 }, page(2, 1, false), hour);
    assert_eq!(account.roster.due(), Some(hour.monotonic() + seconds(60)));
}

#[test]
fn a_pipeline_that_is_new_after_an_hour_without_a_key_is_probed_at_once() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", failed(Error::of_status(401).unwrap()), start);
    let hour = start.after(seconds(3_600));
    account.lists(&[json!({"id": "pipe_1"}), json!({"id": "new"})], hour);
    let sent = sends(&mut account, hour.monotonic());
    assert!(sent.iter().any(|(request, _)| *request == probe("new", Probe::Metrics)), "{sent:?}");
}

#[test]
fn a_refused_page_size_neither_fails_the_list_nor_ends_once() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.ask_once();
    let refusal = || Error::PageSizeRefused(Box::new(Error::of_status(422).unwrap()));
    assert_eq!(account.hears(Response::Page(1, Err(refusal())), start), []);
    assert!(!account.is_done(start.monotonic()));
    let pages = |sent: Vec<(Request, Sent)>| sent.into_iter().map(|(request, _)| request).collect::<Vec<_>>();
    assert_eq!(pages(sends(&mut account, start.monotonic())), [Request::Page(1)]);
    // With another page size, the list must start over.
    account.hears(Response::Page(2, Err(refusal())), start);
    assert_eq!(pages(sends(&mut account, start.monotonic())), [Request::Page(1)]);
    account.hears(Response::Page(1, Err(Error::of_status(422).unwrap())), start);
    assert!(account.is_done(start.monotonic()));
    assert_eq!(account.failure(), Error::of_status(422));
}

#[test]
fn a_view_knows_when_it_changes_without_a_response() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.lists(&[], start);
    account.settings.poll.stale_after = seconds(100);
    account.hears(Response::Page(1, Err(Error::RateLimited { retry_after: Some(seconds(3_600)) })), start);
    account.lists(&[], start.after(seconds(1)));
    let now = start.after(seconds(120));
    let changes_in = account.view(now).changes_in(now).unwrap();
    let before = now.after(changes_in - Duration::from_nanos(1));
    let after = now.after(changes_in);
    assert!(account.view(before).is_up(before), "{changes_in:?}");
    assert!(!account.view(after).is_up(after), "{changes_in:?}");
}

#[test]
fn what_is_no_longer_expected_is_not_missing() {
    let start = Moment::now();
    let mut account = account(&["pipe_1", "pipe_2"], start);
    account.lists(&[], start);
    account.reconfigure(settings(&["pipe_2"]), read_again(start), start);
    let view = account.view(start);
    let missing: Vec<_> = view.listing.concerns().map(|(concern, _)| concern.clone()).collect();
    assert_eq!(missing, [Concern::Missing(id("pipe_2"))]);
    assert_eq!(view.listing.latest().unwrap().expected, [(id("pipe_2"), true)]);
}

#[test]
fn a_retry_in_flight_does_not_hide_what_is_due_next() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let sent = sends(&mut account, start.monotonic());
    account.urgent.push_back(sent[0].0.clone());
    let later = start.monotonic() + seconds(1);
    assert_eq!(account.next(later), Next::WaitUntil(start.monotonic() + seconds(60)), "the next list");
}

/// What happens to an account.
#[derive(Debug, Clone)]
enum Step {
    /// This many milliseconds pass.
    Pass(u64),
    /// A request in flight, chosen by the first number, gets a response chosen by the second.
    Respond(usize, u8),
    /// The source of the key holds another key.
    NewKey,
    Reload,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0_u64..20_000).prop_map(Step::Pass),
        1 => (0_u64..2_000_000).prop_map(Step::Pass),
        12 => (any::<usize>(), any::<u8>()).prop_map(|(which, how)| Step::Respond(which, how)),
        1 => Just(Step::NewKey),
        1 => Just(Step::Reload),
    ];
    prop::collection::vec(step, 1..300)
}

fn error(how: u8) -> Error {
    match how % 9 {
        0 => Error::of_status(401).unwrap(),
        1 => Error::of_status(403).unwrap(),
        2 => Error::of_status(404).unwrap(),
        3 => Error::RateLimited { retry_after: Some(seconds(u64::from(how))) },
        4 => Error::RateLimited { retry_after: None },
        5 => Error::of_status(503).unwrap(),
        6 => Error::Decode("x".to_owned()),
        7 => Error::Unsent("x".to_owned()),
        _ => Error::Disconnected("x".to_owned()),
    }
}

/// A page with this many pipelines.
fn page(number: u32, pipelines: u8, has_more: bool) -> Response {
    let items: Vec<_> = (0..pipelines).map(|n| json!({"id": format!("pipe_{n}"), "status": "running"})).collect();
    let page = json!({"items": items, "pagination": {"has_more": has_more}});
    Response::Page(number, Ok(serde_json::from_value(page).unwrap()))
}

fn respond(request: Request, how: u8) -> Response {
    match request {
        // Pipelines come and go with `how`; pages may promise more.
        Request::Page(number) if how < 160 => page(number, how % 7, how.is_multiple_of(5) && number < 3),
        Request::Page(number) => Response::Page(number, Err(error(how))),
        Request::Probe(id, probe) if how < 160 => {
            let data = match probe {
                Probe::Status => {
                    let phase = ["RUNNING", "DEPLOYING", "FAILED"][usize::from(how % 3)];
                    json!({"status": phase})
                }
                Probe::Metrics => json!({"last_offset": how, "pending_records": how}),
                Probe::DestinationHealth => json!({"healthy": how.is_multiple_of(2)}),
            };
            Response::Probe(id, reading(probe, data))
        }
        Request::Probe(id, probe) => Response::Probe(id, ProbeResponse::failed(probe, error(how))),
        Request::Usage if how < 160 => usage(how),
        Request::Usage => Response::Usage(Err(error(how))),
    }
}

/// A reading with this many credits.
fn usage(consumed: u8) -> Response {
    let usage = json!({"aggregate": {"credits_consumed": consumed, "max_credits": 100}});
    Response::Usage(Ok(serde_json::from_value(usage).unwrap()))
}

/// No request is in flight longer.
const TIMEOUT: Duration = Duration::from_secs(20);
/// The `how` that means a timeout: see [`respond`].
const TIMES_OUT: u8 = 188;

/// An account, the requests that it sent, and what must hold for it.
struct World {
    configured: Settings,
    account: Account,
    now: Moment,
    in_flight: Vec<(Request, Sent)>,
    sent_at: Vec<Instant>,
    paused_until: Instant,
    /// When each probe last succeeded.
    read: BTreeMap<(PipelineId, Probe), Moment>,
    /// When the newest 401 for the key in use arrived, unless a later request has been accepted.
    refused: Option<Instant>,
    /// When a list last began, unless something has happened since that requires another one at once.
    listed: Option<Instant>,
    /// Number of responses.
    heard: u64,
    counted: Vec<u64>,
}

impl World {
    fn new(rate: f64) -> Self {
        let now = Moment::now();
        let mut configured = settings(&["pipe_0"]);
        configured.poll.requests_per_second = rate;
        configured.poll.usage = Some(seconds(60));
        Self {
            account: Account::new(configured.clone(), now.wall(), fastrand::Rng::with_seed(7), now),
            configured,
            now,
            in_flight: Vec::new(),
            sent_at: Vec::new(),
            paused_until: now.monotonic(),
            read: BTreeMap::new(),
            refused: None,
            listed: None,
            heard: 0,
            counted: Vec::new(),
        }
    }

    /// Sends what is due. Returns when the next request is due.
    fn send(&mut self) -> Option<Instant> {
        let now = self.now.monotonic();
        loop {
            match self.account.next(now) {
                Next::Send(request, sent) => self.sent(request, sent),
                Next::WaitUntil(wake) => {
                    assert!(wake > now);
                    return Some(wake);
                }
                Next::Idle => {
                    assert!(!self.in_flight.is_empty(), "nothing would ever be sent again");
                    return None;
                }
            }
        }
    }

    fn sent(&mut self, request: Request, sent: Sent) {
        let now = self.now.monotonic();
        assert!(now >= self.paused_until, "a pause is kept");
        assert!(self.in_flight.len() < self.configured.poll.max_in_flight);
        assert!(!self.in_flight.iter().any(|(other, _)| *other == request), "{request:?} is in flight");
        if self.refused.is_some() {
            assert!(matches!(request, Request::Page(_)), "{request:?} with a dead key");
        }
        if request == Request::Page(1) {
            let before = self.listed.replace(now);
            let wait = before.map(|before| now - before);
            assert!(wait.is_none_or(|wait| wait >= Duration::from_millis(500)), "a list after {wait:?}");
        }
        self.in_flight.push((request, sent));
        self.sent_at.push(now);
    }

    fn hear(&mut self, which: usize, respond: impl FnOnce(Request) -> Response) {
        let (request, sent) = self.in_flight.swap_remove(which % self.in_flight.len());
        let response = respond(request);
        let now = self.now.monotonic();
        let error = response.error();
        if let Some(wait) = error.and_then(Error::retry_after) {
            self.paused_until = self.paused_until.max(now + wait);
        }
        if let (Response::Probe(id, probe), None) = (&response, error) {
            self.read.insert((id.clone(), probe.probe()), self.now);
        }
        if error.is_some_and(Error::is_unsent) {
            self.listed = None;
        }
        let is_of_current_key = sent.generation == self.account.credential.generation();
        match response.verdict() {
            KeyVerdict::Unauthorized if is_of_current_key && self.refused.is_none_or(|at| sent.at >= at) => {
                self.refused = Some(now);
            }
            KeyVerdict::Accepted | KeyVerdict::NotServiceKey if is_of_current_key => {
                if self.refused.is_some_and(|refused| sent.at >= refused) {
                    self.listed = None;
                }
                self.refused = self.refused.filter(|refused| sent.at < *refused);
            }
            _ => {}
        }
        self.heard += 1;
        let events = self.account.answered(sent, response, self.now);
        if events.iter().any(|event| matches!(event, Event::KeyAcceptedAgain)) {
            // The key may belong to another group: a list follows at once.
            self.listed = None;
        }
        if self.refused.is_some() {
            assert!(self.account.credential.is_refused());
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Pass(millis) => {
                let time = Duration::from_millis(millis);
                while time > TIMEOUT && !self.in_flight.is_empty() {
                    self.hear(0, |request| respond(request, TIMES_OUT));
                }
                self.now = self.now.after(time);
            }
            Step::Respond(which, how) if !self.in_flight.is_empty() => {
                self.hear(which, |request| respond(request, how));
            }
            Step::Respond(..) => {}
            Step::NewKey => {
                self.account.key_replaced(self.now.wall(), self.now.monotonic());
                self.paused_until = self.now.monotonic();
                self.refused = None;
                self.listed = None;
            }
            Step::Reload => {
                self.account.reconfigure(self.configured.clone(), read_again(self.now), self.now);
                self.in_flight.clear();
                self.listed = None;
            }
        }
    }

    fn check(&mut self) {
        let view = self.account.view(self.now);
        self.assert_holds_nothing_of_the_gone(&view);
        for (id, pipeline) in &view.pipelines {
            for (probe, state) in pipeline.probes() {
                let at = state.read_at();
                assert!(at.is_none() || at == self.read.get(&(id.clone(), probe)).copied());
                if state.is_fresh(self.now, view.stale_after) {
                    assert!(self.now.since(at.unwrap()) <= view.stale_after);
                }
            }
        }
        let requests = &view.requests;
        let durations: Vec<u64> = requests.durations.iter().flat_map(|histogram| histogram.counts).collect();
        assert_eq!(durations.iter().sum::<u64>(), self.heard, "each response is counted once");
        let failures = requests.failures.as_flattened().iter().copied();
        let counted: Vec<u64> = durations.into_iter().chain(failures).collect();
        assert!(counted.iter().zip(&self.counted).all(|(now, before)| now >= before), "a counter fell");
        self.counted = counted;
    }

    /// But for what is in flight.
    fn assert_holds_nothing_of_the_gone(&self, view: &View) {
        let Account { schedule, unsent, roster, .. } = &self.account;
        assert_eq!(schedule.len(), view.pipelines.len());
        let is_known = |id: &PipelineId| view.pipelines.contains_key(id);
        assert!(view.pipelines.keys().all(|id| schedule.contains(id)));
        let is_of_the_gone = |request: &&Request| matches!(request, Request::Probe(id, _) if !is_known(id));
        assert_eq!(unsent.iter().find(is_of_the_gone), None);
        let is_expected = |id: &PipelineId| self.configured.account.expect.contains(id);
        assert_eq!(roster.missed().find(|id| !is_known(id) && !is_expected(id)), None);
    }

    /// From now on every request succeeds, with three pipelines. Checks that readers see that after a while.
    fn heals(&mut self) {
        let healed = self.now.after(seconds(900));
        while self.now.monotonic() < healed.monotonic() {
            let wake = self.send();
            while !self.in_flight.is_empty() {
                self.hear(0, |request| match request {
                    Request::Page(number) => page(number, 3, false),
                    Request::Probe(id, probe) => Response::Probe(id, reading(probe, json!({}))),
                    Request::Usage => usage(1),
                });
            }
            if let Some(wake) = wake {
                self.now = self.now.after(wake - self.now.monotonic());
            }
        }
        let view = self.account.view(self.now);
        assert!(matches!(view.credential.state(), KeyState::Accepted { .. }), "{:?}", view.credential);
        assert!(
            view.usage.iter().all(|usage| usage.fresh(self.now, seconds(0)).is_some() && usage.failure().is_none())
        );
        assert!(view.is_up(self.now) && view.listing.concerns().next().is_none());
        let ids: Vec<&str> = view.pipelines.keys().map(PipelineId::as_str).collect();
        assert_eq!(ids, ["pipe_0", "pipe_1", "pipe_2"]);
        for (probe, state) in view.pipelines.values().flat_map(|pipeline| pipeline.probes()) {
            assert_eq!(state.failure(), None);
            let age = state.read_at().map(|at| self.now.since(at));
            assert!(age.is_some_and(|age| age < seconds(70)), "{probe:?} was last read {age:?} ago");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the API does and whenever: the budget holds, no request is in flight twice, a refused key is not
    /// hammered, a pause is kept, shown readings are fresh, counters never fall; and after a recovery, everything is
    /// shown as recovered.
    #[test]
    fn any_sequence_of_responses_keys_and_times_keeps_the_invariants(steps in steps(), rate in 0.5_f64..20.0) {
        let mut world = World::new(rate);
        for step in steps {
            world.send();
            world.step(step);
            world.check();
        }
        world.heals();
        let sent_at = world.sent_at;
        for (index, from) in sent_at.iter().enumerate() {
            for (count, to) in sent_at[index..].iter().enumerate() {
                let allowed = rate * (*to - *from).as_secs_f64() + 1.0 + 0.05 * rate;
                prop_assert!(count as f64 + 1.0 <= allowed + 1e-3, "{} in {:?}", count + 1, *to - *from);
            }
        }
    }
}

/// The changed threshold counts at once, and a lasting trouble does not begin again: an alert's `for` continues.
#[test]
fn a_threshold_that_is_changed_takes_effect_at_the_reload() {
    let start = Moment::now();
    let at = |after| start.after(seconds(after));
    let with = |overrides: &[(Threshold, f64)]| {
        let thresholds = overrides.iter().copied().collect();
        let mut settings = settings(&[]);
        settings.policies = vec![Arc::new(config::Policy { thresholds, ..config::Policy::default() })];
        settings
    };
    let mut account = account(&[], start);
    account.lists(&[json!({"id": "a", "status": "running"})], start);
    account.probed("a", status("RUNNING"), start);
    let metrics = |dropped: u32| json!({"processing_delay_ms": 400_000, "records_consumed": 1_000 + dropped * 10, "normalization_errors": dropped});
    for (after, dropped) in [(0, 0), (30, 5), (60, 10)] {
        account.probed("a", reading(Probe::Metrics, metrics(dropped)), at(after));
    }
    let troubles = |account: &mut Account| -> Vec<(&'static str, Option<u64>)> {
        let view = account.view(at(70));
        let found = Judge::new(&view, at(70)).pipeline(&view.pipelines[&id("a")]);
        let since = |trouble: &Trouble| trouble.since.map(|began| began.at.since(start).as_secs());
        found.iter().map(|trouble| (trouble.kind.row().name, since(trouble))).collect()
    };
    let both = [("delay_high", Some(0)), ("records_dropped", Some(30))];
    assert_eq!(troubles(&mut account), both);
    for (overrides, expected) in [
        (&[(Threshold::Delay, 200.0), (Threshold::DroppedShare, 0.01)][..], &both[..]),
        (&[(Threshold::Delay, 500.0)], &both[1..]),
        (&[(Threshold::DroppedShare, 0.2)], &[("delay_high", Some(70))]),
        (&[], &[("delay_high", Some(70)), ("records_dropped", Some(70))]),
    ] {
        account.reconfigure(with(overrides), read_again(start), at(70));
        assert_eq!(troubles(&mut account), expected, "{overrides:?}");
    }
}

#[test]
fn topics_that_no_listed_pipeline_has_are_forgotten() {
    let start = Moment::now();
    let at = |seconds| start.after(Duration::from_secs(seconds));
    let mut account = account(&[], start);
    account.lists(&[json!({"id": "pipe_1", "topic": "base.mainnet.logs"})], at(1));
    for (seconds, height) in [(2, 6), (3, 7)] {
        account.probed("pipe_1", reading(Probe::Metrics, json!({ "last_block_height": height })), at(seconds));
    }
    let is_known = |account: &Account| account.topics.is_read_beyond(Some("base.mainnet.logs"), Some(6.0), at(1));
    assert!(is_known(&account));
    for seconds in [60, 120, 180] {
        account.lists(&[json!({"id": "pipe_2"})], at(seconds));
    }
    assert!(!is_known(&account));
}
