//! What an account does with responses: the cases that matter, then any sequence of them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::json;

use super::testing::{account, reading, settings};
use super::*;
use crate::api::Probe;

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

/// An account that has listed one pipeline.
fn account_of_one(now: Moment) -> Account {
    let mut account = account(&[], now);
    account.lists(&[json!({"id": "pipe_1", "status": "running"})], now);
    account
}

/// All that can be sent now, budget or not.
fn sends(account: &mut Account, now: Instant) -> Vec<(Request, Sent)> {
    account.settings.poll.max_in_flight = usize::MAX;
    account.budget.set_rate(1e6);
    let next = || match account.next(now) {
        Next::Send(request, sent) => Some((request, sent)),
        Next::WaitUntil(_) | Next::Idle => None,
    };
    std::iter::from_fn(next).collect()
}

/// The same key.
fn read_again(now: Moment) -> ReadAgain {
    ReadAgain { loaded_at: now.wall, is_another: false }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn a_401_leaves_only_the_list_to_be_asked_until_something_is_accepted() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let events = account.probed("pipe_1", failed(Error::of_status(401).unwrap()), start.after(seconds(1)));
    assert!(events.iter().any(|event| matches!(event, Event::KeyRefused(_))));
    assert!(account.view(start).credential.is_refused());
    let later = start.after(seconds(3));
    let sent = sends(&mut account, later.monotonic);
    assert_eq!(sent.iter().map(|(request, _)| request.clone()).collect::<Vec<_>>(), [Request::Page(1)]);
    let list = json!({"items": [{"id": "pipe_1"}], "pagination": {"has_more": false}});
    let page = Response::Page(1, Ok(serde_json::from_value(list).unwrap()));
    let events = account.answered(sent[0].1, page, later.after(seconds(1)));
    assert!(events.contains(&Event::KeyAcceptedAgain));
    assert!(!account.view(start).credential.is_refused());
    assert!(sends(&mut account, later.monotonic + seconds(2)).len() > 1, "probing resumes");
}

#[test]
fn a_401_for_the_old_key_is_counted_as_a_request_and_accuses_no_key() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    let (request, sent) = sends(&mut account, start.monotonic).remove(0);
    assert_eq!(request, probe("pipe_1", Probe::Status));
    account.key_replaced(start.wall, start.monotonic);
    let late = Response::Probe(id("pipe_1"), failed(Error::of_status(401).unwrap()));
    assert_eq!(account.answered(sent, late, start.after(seconds(1))), []);
    let view = account.view(start.after(seconds(1)));
    assert!(!view.credential.is_refused());
    assert_eq!(view.requests.failed(Reason::Unauthorized), 1);
    assert_eq!(view.pipelines[&id("pipe_1")].failure(Probe::Status), None);
    let again = sends(&mut account, start.monotonic + seconds(1));
    assert!(again.iter().any(|(request, _)| *request == probe("pipe_1", Probe::Status)), "{again:?}");
}

#[test]
fn a_new_key_is_tried_at_once_with_the_request_that_was_refused_and_with_the_list() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", failed(Error::of_status(401).unwrap()), start);
    account.key_replaced(start.wall, start.monotonic);
    let sent: Vec<Request> = sends(&mut account, start.monotonic).into_iter().map(|(request, _)| request).collect();
    assert_eq!(sent, [probe("pipe_1", Probe::Status), Request::Page(1)]);
}

#[test]
fn a_new_key_ends_the_pause_of_the_old_one() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.probed("pipe_1", failed(Error::RateLimited { retry_after: Some(seconds(3_600)) }), start);
    assert!(
        matches!(account.next(start.monotonic), Next::WaitUntil(until) if until > start.monotonic + seconds(3_599))
    );
    let view = account.view(start.after(seconds(600)));
    assert!(!view.is_up(start.after(seconds(600))), "nothing has been listed for long");
    account.key_replaced(start.wall, start.monotonic);
    assert!(matches!(account.next(start.monotonic + seconds(1)), Next::Send(..)));
}

#[test]
fn a_404_fails_the_probe_and_asks_for_a_list_which_alone_drops_the_pipeline() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    sends(&mut account, start.monotonic);
    let later = start.after(seconds(20));
    account.probed("pipe_1", failed(Error::of_status(404).unwrap()), later);
    assert_eq!(account.view(later).pipelines.len(), 1);
    assert_eq!(account.roster.due(), Some(later.monotonic));
    account.probed("pipe_1", failed(Error::of_status(404).unwrap()), later);
    let events = account.lists(&[], later.after(seconds(1)));
    assert_eq!(events, [Event::PipelineIsGone(PipelineName { id: id("pipe_1"), name: None })]);
    assert_eq!(account.view(later).pipelines.len(), 0);
}

#[test]
fn a_404_during_a_list_asks_for_another_one() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    account.roster.begin(100, start.monotonic);
    account.probed("pipe_1", failed(Error::of_status(404).unwrap()), start);
    let page = json!({"items": [{"id": "pipe_1"}], "pagination": {"has_more": false}});
    let sent = Sent { at: start.monotonic, generation: 1 };
    account.answered(sent, Response::Page(1, Ok(serde_json::from_value(page).unwrap())), start.after(seconds(10)));
    assert_eq!(account.roster.due(), Some(start.monotonic + seconds(10)));
}

#[test]
fn only_a_reading_shows_that_a_pipeline_is_in_transition() {
    let start = Moment::now();
    let mut account = account_of_one(start);
    for (response, expected) in
        [(status("RUNNING"), false), (status("DEPLOYING"), true), (failed(Error::of_status(500).unwrap()), false)]
    {
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
    assert_eq!(account.view(start).pipelines.len(), 1, "what is not polled is not shown");
    assert!(account.view(start).budget.paused_until.is_some());
    account.reconfigure(changed, ReadAgain { is_another: true, ..read_again(start) }, start);
    assert!(account.view(start).budget.paused_until.is_none(), "it was the other key's");
}

#[test]
fn once_is_over_when_everything_has_been_asked_or_the_list_fails() {
    let start = Moment::now();
    let mut fine = account(&[], start);
    fine.ask_once();
    assert!(!fine.is_done(start.monotonic));
    fine.lists(&[json!({"id": "pipe_1"})], start);
    assert!(!fine.is_done(start.monotonic));
    for probe in Probe::ALL {
        fine.probed("pipe_1", reading(*probe, json!({})), start);
    }
    assert!(fine.is_done(start.monotonic));
    assert_eq!(
        sends(&mut fine, start.monotonic + seconds(3_600)).iter().filter(|(r, _)| *r == Request::Page(1)).count(),
        0
    );
    let mut slow = account(&[], start);
    slow.ask_once();
    slow.lists(&[json!({"id": "pipe_1"})], start);
    assert_eq!(sends(&mut slow, start.monotonic).len(), 3);
    for probe in [Probe::Metrics, Probe::DestinationHealth] {
        slow.probed("pipe_1", reading(probe, json!({})), start);
    }
    assert_eq!(sends(&mut slow, start.monotonic + seconds(3_600)), [], "the others were asked, the third is in flight");
    slow.probed("pipe_1", failed(Error::of_status(500).unwrap()), start.after(seconds(3_600)));
    assert!(slow.is_done(start.monotonic + seconds(3_600)));

    let mut refused = account(&[], start);
    refused.ask_once();
    refused.hears(Response::Page(1, Err(Error::of_status(401).unwrap())), start);
    assert!(refused.is_done(start.monotonic));
    refused.key_replaced(start.wall, start.monotonic);
    assert!(!refused.is_done(start.monotonic), "the new key has the last word");
    assert_eq!(refused.failure(), Error::of_status(401));
}

#[test]
fn a_page_size_that_is_refused_is_no_failure_of_the_list_and_no_end_of_once() {
    let start = Moment::now();
    let mut account = account(&[], start);
    account.ask_once();
    let refusal = || Error::PageSizeRefused(Box::new(Error::of_status(422).unwrap()));
    assert_eq!(account.hears(Response::Page(1, Err(refusal())), start), []);
    assert!(!account.is_done(start.monotonic));
    let pages = |sent: Vec<(Request, Sent)>| sent.into_iter().map(|(request, _)| request).collect::<Vec<_>>();
    assert_eq!(pages(sends(&mut account, start.monotonic)), [Request::Page(1)]);
    // Pages of another size make another list.
    account.hears(Response::Page(2, Err(refusal())), start);
    assert_eq!(pages(sends(&mut account, start.monotonic)), [Request::Page(1)]);
    account.hears(Response::Page(1, Err(Error::of_status(422).unwrap())), start);
    assert!(account.is_done(start.monotonic));
    assert_eq!(account.failure(), Error::of_status(422));
}

/// What the world does to an account.
#[derive(Debug, Clone)]
enum Step {
    /// So many milliseconds pass.
    Pass(u64),
    /// A request in flight, chosen by the first number, is answered as the second says.
    Respond(usize, u8),
    /// The key's source holds another key.
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
    match how % 8 {
        0 => Error::of_status(401).unwrap(),
        1 => Error::of_status(403).unwrap(),
        2 => Error::of_status(404).unwrap(),
        3 => Error::RateLimited { retry_after: Some(seconds(u64::from(how))) },
        4 => Error::RateLimited { retry_after: None },
        5 => Error::of_status(503).unwrap(),
        6 => Error::Decode("x".to_owned()),
        _ => Error::Disconnected("x".to_owned()),
    }
}

fn respond(request: Request, how: u8) -> Response {
    match request {
        Request::Page(number) if how < 160 => {
            // Pipelines come and go with `how`; pages may promise more.
            let items: Vec<_> = (0..how % 7).map(|n| json!({"id": format!("pipe_{n}"), "status": "running"})).collect();
            let page = json!({"items": items, "pagination": {"has_more": how.is_multiple_of(5) && number < 3}});
            Response::Page(number, Ok(serde_json::from_value(page).unwrap()))
        }
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
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Whatever the API does and whenever: the budget holds, no probe is in flight twice, a dead key is not hammered, a
    /// pause is kept, and what is shown is fresh.
    #[test]
    fn any_sequence_of_responses_keys_and_times_keeps_the_invariants(steps in steps(), rate in 0.5_f64..20.0) {
        let start = Moment::now();
        let mut now = start;
        let mut configured = settings(&["pipe_0"]);
        configured.poll.requests_per_second = rate;
        let mut account = Account::new(configured.clone(), start.wall, fastrand::Rng::with_seed(7), start);
        let mut in_flight: Vec<(Request, Sent)> = Vec::new();
        let mut sent_at: Vec<Instant> = Vec::new();
        let mut paused_until = start.monotonic;
        let mut read: BTreeMap<(PipelineId, Probe), Moment> = BTreeMap::new();
        for step in steps {
            while let Next::Send(request, sent) = account.next(now.monotonic) {
                prop_assert!(now.monotonic >= paused_until, "a pause is kept");
                prop_assert!(in_flight.len() < configured.poll.max_in_flight);
                if let Request::Probe(..) = request {
                    prop_assert!(!in_flight.iter().any(|(other, _)| *other == request), "{request:?} is in flight");
                }
                in_flight.push((request, sent));
                sent_at.push(now.monotonic);
            }
            match step {
                Step::Pass(millis) => now = now.after(Duration::from_millis(millis)),
                Step::Respond(which, how) if !in_flight.is_empty() => {
                    let (request, sent) = in_flight.swap_remove(which % in_flight.len());
                    let response = respond(request, how);
                    if let Some(Error::RateLimited { retry_after: Some(wait) }) = response.error() {
                        paused_until = paused_until.max(now.monotonic + *wait);
                    }
                    if let (Response::Probe(id, probe), None) = (&response, response.error()) {
                        read.insert((id.clone(), probe.probe()), now);
                    }
                    account.answered(sent, response, now);
                }
                Step::Respond(..) => {}
                Step::NewKey => {
                    account.key_replaced(now.wall, now.monotonic);
                    paused_until = now.monotonic;
                }
                Step::Reload => {
                    account.reconfigure(configured.clone(), read_again(now), now);
                    in_flight.clear();
                }
            }
            let view = account.view(now);
            prop_assert_eq!(account.schedule.len(), view.pipelines.len());
            for (id, pipeline) in &view.pipelines {
                for (probe, state) in pipeline.probes() {
                    let at = state.read_at();
                    prop_assert!(at.is_none() || at == read.get(&(id.clone(), probe)).copied());
                    if state.is_fresh(now, view.stale_after) {
                        prop_assert!(now.since(at.unwrap()) <= view.stale_after);
                    }
                }
            }
            let names: BTreeSet<_> = view.pipelines.keys().collect();
            prop_assert_eq!(names.len(), view.pipelines.len());
        }
        for (index, from) in sent_at.iter().enumerate() {
            for (count, to) in sent_at[index..].iter().enumerate() {
                let allowed = rate * (*to - *from).as_secs_f64() + 1.0 + 0.05 * rate;
                prop_assert!(count as f64 + 1.0 <= allowed + 1e-3, "{} in {:?}", count + 1, *to - *from);
            }
        }
    }
}
