//! When requests are sent, repeated and counted.

use super::*;

fn error_of(status: u16) -> Error {
    Error::of_status(status).unwrap()
}

fn requests(account: &mut Account, now: Moment) -> Vec<Request> {
    sends(account, now.monotonic()).into_iter().map(|(request, _)| request).collect()
}

#[test]
fn it_is_ready_after_a_list_or_a_refusal_or_a_minute() {
    let start = Moment::now();
    let is_ready = |account: &Account, millis| account.is_ready(start.after(Duration::from_millis(millis)));
    let fresh = account(&[], start);
    assert_eq!([is_ready(&fresh, 0), is_ready(&fresh, 59_999), is_ready(&fresh, 60_000)], [false, false, true]);
    assert!(is_ready(&account_of_one(start), 0));
    for (status, ready) in [(401, true), (403, true), (500, false)] {
        let mut account = account(&[], start);
        account.hears(Response::Page(1, Err(error_of(status))), start);
        assert_eq!(is_ready(&account, 0), ready, "{status}");
    }
}

#[test]
fn the_next_page_goes_before_everything_else() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.takes_all_turns(start);
    account.hears(page(1, 1, true), start);
    assert!(matches!(account.next(start.monotonic()), Next::Send(Request::Page(2), _)));
}

#[test]
fn a_page_that_was_not_processed_is_requested_once_more() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.takes_all_turns(start);
    let unsent = || Response::Page(1, Err(Error::Unsent("GOAWAY".to_owned())));
    assert_eq!(account.hears(unsent(), start), []);
    assert_eq!(requests(&mut account, start), [Request::Page(1)]);
    assert!(matches!(account.hears(unsent(), start)[..], [Event::ListFails(Error::Unsent(_))]), "the second in a row");
}

#[test]
fn a_list_whose_first_page_was_not_processed_begins_when_that_is_requested_again() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.takes_all_turns(start);
    account.roster.begin(100, start.monotonic());
    account.probed("pipe_1", failed(error_of(404)), start);
    let sent = Sent { at: start.monotonic(), generation: 1 };
    account.answered(sent, Response::Page(1, Err(Error::Unsent("GOAWAY".to_owned()))), start.after(seconds(1)));
    let later = start.after(seconds(2));
    let Next::Send(Request::Page(1), sent) = account.next(later.monotonic()) else { panic!() };
    let page = json!({"items": [{"id": "pipe_1"}], "pagination": {"has_more": false}});
    account.answered(sent, Response::Page(1, Ok(serde_json::from_value(page).unwrap())), later);
    assert_eq!(account.roster.due(), Some(later.monotonic() + seconds(60)), "this is the list that the 404 asked for");
}

#[test]
fn a_later_page_that_was_not_processed_is_requested_again_at_once() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.takes_all_turns(start);
    account.roster.begin(100, start.monotonic());
    let sent = Sent { at: start.monotonic(), generation: 1 };
    account.answered(sent, page(1, 1, true), start);
    assert_eq!(requests(&mut account, start).first(), Some(&Request::Page(2)));
    account.answered(sent, Response::Page(2, Err(Error::Unsent("GOAWAY".to_owned()))), start);
    assert_eq!(requests(&mut account, start), [Request::Page(2)]);
}

#[test]
fn while_the_key_is_refused_the_schedule_neither_wakes_anyone_nor_counts_as_late() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", failed(error_of(401)), start);
    let list = account.roster.due().unwrap();
    assert!(list > start.monotonic());
    assert_eq!(account.next(start.monotonic()), Next::WaitUntil(list));
    assert_eq!(account.view(start).budget.next_due, None);
}

#[test]
fn once_nothing_is_left_to_request_nothing_is_waited_for() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.ask_once();
    account.lists(&[], start);
    assert_eq!(account.next(start.monotonic() + seconds(3_600)), Next::Idle);
}

#[test]
fn once_is_not_done_before_the_new_key_has_been_tried() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.ask_once();
    for probe in [Probe::Metrics, Probe::DestinationHealth] {
        account.probed("pipe_1", reading(probe, json!({})), start);
    }
    account.probed("pipe_1", failed(error_of(401)), start.after(seconds(1)));
    assert!(account.is_done(start.monotonic()));
    assert_eq!(account.failure(), Some(error_of(401)));
    account.key_replaced(start.wall(), start.monotonic());
    assert!(!account.is_done(start.monotonic()), "it waits to be sent");
    let retry = account.next(start.monotonic() + seconds(1));
    assert!(matches!(retry, Next::Send(Request::Probe(..), _)), "{retry:?}");
    assert!(!account.is_done(start.monotonic()), "it is in flight");
}

#[test]
fn one_refusal_moves_the_next_list_by_one_step() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", failed(error_of(401)), start);
    let due = account.roster.due();
    account.probed("pipe_1", failed(error_of(401)), start.after(seconds(1)));
    assert_eq!(account.roster.due(), due, "the same wave");

    let mut account = account_of_one(start);
    account.hears(Response::Page(1, Err(error_of(401))), start);
    let wait = account.roster.due().unwrap() - start.monotonic();
    assert!(wait <= seconds(1), "the first step: {wait:?}");
}

#[test]
fn what_the_old_key_may_see_says_nothing_about_the_new_one() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", failed(error_of(401)), start.after(seconds(1)));
    let sent = sends(&mut account, start.monotonic() + seconds(4));
    let [(Request::Page(1), with_old_key)] = sent[..] else { panic!("{sent:?}") };
    account.key_replaced(start.wall(), start.monotonic() + seconds(5));
    account.answered(with_old_key, page(1, 1, false), start.after(seconds(6)));
    assert!(account.view(start).credential.is_refused());
}

#[test]
fn a_probe_that_shows_that_the_new_key_is_accepted_leads_to_a_list() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", failed(error_of(401)), start);
    account.key_replaced(start.wall(), start.monotonic());
    account.hears(Response::Page(1, Err(error_of(500))), start.after(seconds(1)));
    let later = start.after(seconds(2));
    assert!(account.roster.due().is_some_and(|due| due > later.monotonic()), "it fails");
    account.probed("pipe_1", status("RUNNING"), later);
    assert_eq!(account.roster.due(), Some(later.monotonic()));
}

/// How long polling pauses after this error.
fn pause_after(account: &mut Account, error: Error, now: Moment) -> Option<Duration> {
    account.probed("pipe_1", failed(error), now);
    account.view(now).budget.paused_until.map(|until| until.since(now))
}

#[test]
fn a_429_pauses_and_so_does_every_failure_that_says_how_long_to_wait() {
    let start = Moment::now();
    let Error::ServerError { said, .. } = error_of(503) else { panic!() };
    let unavailable = |retry_after| Error::ServerError { status: 503, retry_after, said: said.clone() };
    let pause = |error| pause_after(&mut account_of_one(start), error, start);
    assert_eq!(pause(unavailable(None)), None);
    assert_eq!(pause(unavailable(Some(seconds(30)))), Some(seconds(30)));
    assert_eq!(pause(Error::RateLimited { retry_after: Some(seconds(30)) }), Some(seconds(30)));
    assert!(pause(Error::RateLimited { retry_after: None }).is_some_and(|wait| wait <= seconds(1)));
}

#[test]
fn pauses_grow_until_a_response_shows_that_the_limit_is_not_reached() {
    let start = Moment::now();
    let hour = |n: u64| start.after(seconds(n * 3_600));
    let limited = || Error::RateLimited { retry_after: None };
    for (between, starts_again) in [
        (None, false),
        (Some(failed(Error::Disconnected(String::new()))), false),
        (Some(failed(error_of(500))), true),
        (Some(status("RUNNING")), true),
    ] {
        let mut account = account_of_one(start);
        pause_after(&mut account, limited(), hour(1));
        pause_after(&mut account, limited(), hour(2));
        let shown = format!("{between:?}");
        between.into_iter().for_each(|response| _ = account.probed("pipe_1", response, hour(3)));
        let wait = pause_after(&mut account, limited(), hour(4)).unwrap();
        assert_eq!(wait <= seconds(1), starts_again, "{wait:?} after {shown}");
    }
}

#[test]
fn a_response_that_arrives_during_a_pause_does_not_make_the_next_pause_short() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    for after in [0, 10] {
        pause_after(&mut account, Error::RateLimited { retry_after: None }, start.after(seconds(after)));
    }
    account.probed("pipe_1", status("RUNNING"), start.after(seconds(10)));
    let wait = pause_after(&mut account, Error::RateLimited { retry_after: None }, start.after(seconds(60))).unwrap();
    assert!(wait >= seconds(2), "the third step: {wait:?}");
}

#[test]
fn each_value_that_cannot_be_used_is_counted() {
    let start = Moment::now();
    let mut account = account_with_usage(start);
    let counted = |account: &mut Account, field| account.view(start).requests.unknown_values[field as usize];
    account.lists(&[json!({"id": "pipe_1", "name": 7}), json!({"id": null})], start);
    let page = json!({"items": [], "pagination": "none"});
    account.hears(Response::Page(1, Ok(serde_json::from_value(page).unwrap())), start);
    account.lists(&[json!({"id": "pipe_1"})], start);
    account.probed("pipe_1", reading(Probe::Status, json!({"replicas": "many"})), start);
    account.reads_usage(json!({"max_credits": "many"}), start);
    for field in [UnknownField::Id, UnknownField::Name, UnknownField::Pagination, UnknownField::Replicas] {
        assert_eq!(counted(&mut account, field), 1, "{field:?}");
    }
    assert_eq!(counted(&mut account, UnknownField::MaxCredits), 1);
}

#[test]
fn a_second_foreign_response_in_a_row_is_requested_again_at_the_pace_of_lists() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let foreign = || {
        let html = api::read(probe("pipe_1", Probe::Status), 200, &[("content-type", "text/html")], b"<html>");
        let Response::Probe(_, response) = html else { panic!("{html:?}") };
        response
    };
    let mut status_takes = |response| {
        account.probed("pipe_1", response, start);
        (1.0 / (account.schedule.required() - 2.0 / 30.0)).round()
    };
    assert_eq!(status_takes(foreign()), 15.0, "a proxy may be restarting");
    assert_eq!(status_takes(foreign()), 60.0);
    assert_eq!(status_takes(failed(error_of(500))), 15.0);
    assert_eq!(status_takes(foreign()), 15.0);
}

#[test]
fn only_the_first_404_asks_for_a_list() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let not_found = |probe| ProbeResponse::failed(probe, error_of(404));
    account.probed("pipe_1", not_found(Probe::Status), start.after(seconds(20)));
    let due = account.roster.due();
    assert_eq!(due, Some(start.monotonic() + seconds(20)));
    account.lists(&[json!({"id": "pipe_1", "status": "running"})], start.after(seconds(20)));
    let due = account.roster.due();
    for probe in [Probe::Status, Probe::Metrics] {
        account.probed("pipe_1", not_found(probe), start.after(seconds(50)));
        assert_eq!(account.roster.due(), due, "the list has shown it since");
    }
}

#[test]
fn a_response_that_hints_at_trouble_gives_the_other_probes_a_turn() {
    let start = Moment::now();
    for (phase, sent) in [("FAILED", 2), ("RUNNING", 0)] {
        let mut account = account_of_one(start);
        account.takes_all_turns(start);
        account.probed("pipe_1", status("RUNNING"), start);
        account.probed("pipe_1", reading(Probe::Metrics, json!({})), start);
        account.probed("pipe_1", reading(Probe::DestinationHealth, json!({})), start);
        account.probed("pipe_1", status(phase), start.after(seconds(2)));
        assert_eq!(requests(&mut account, start.after(seconds(2))).len(), sent, "{phase}");
    }
}

#[test]
fn a_worker_that_appears_wakes_the_other_probes_of_a_paused_pipeline() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.lists(&[json!({"id": "pipe_1", "status": "paused"})], start);
    account.takes_all_turns(start);
    account.probed("pipe_1", reading(Probe::Status, json!({})), start);
    account.probed("pipe_1", reading(Probe::Metrics, json!({})), start);
    account.probed("pipe_1", reading(Probe::DestinationHealth, json!({})), start);
    account.probed("pipe_1", status("RUNNING"), start.after(seconds(2)));
    let others = [Probe::Metrics, Probe::DestinationHealth].map(|kind| probe("pipe_1", kind));
    assert_eq!(requests(&mut account, start.after(seconds(2))), others);
}

#[test]
fn no_more_requests_are_in_flight_than_the_configuration_allows() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.settings.poll.max_in_flight = 2;
    account.budget.set_rate(1e6);
    let mut next = || match account.next(start.monotonic()) {
        Next::Send(request, _) => Some(request),
        other => {
            assert_eq!(other, Next::Idle);
            None
        }
    };
    let sent = [next(), next(), next()];
    assert_eq!(sent, [Some(probe("pipe_1", Probe::Status)), Some(probe("pipe_1", Probe::Metrics)), None]);
    account.probed("pipe_1", status("RUNNING"), start);
    assert!(matches!(account.next(start.monotonic()), Next::Send(..)));
}
