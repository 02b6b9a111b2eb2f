//! The poller with answers from the tests' hands, and a paused clock.

use super::*;
use crate::fleet::Fleet;

/// A poller of an API that nobody serves.
async fn poller() -> Poller {
    let environment = [("GOLDRUSH_EXPORTER__API__BASE_URL".to_owned(), "http://127.0.0.1:9/".to_owned())];
    let config = Config::load(None, &environment).unwrap();
    let client = Client::new(config.api.clone()).unwrap();
    let keys = KeyHolder::load(KeySource::BuiltIn("sk_1")).await.unwrap();
    Poller::new(&config, config.accounts[0].clone(), client, keys, Fleet::default().account("default"))
}

fn id() -> PipelineId {
    PipelineId::new("pipe_1").unwrap()
}

fn page(items: serde_json::Value) -> Data {
    let page = serde_json::json!({"items": items, "pagination": {"has_more": false}});
    Data::Page(serde_json::from_value(page).unwrap())
}

/// An answer to what was sent at `sent`.
async fn answer(poller: &mut Poller, job: Job, sent: Instant, result: Result<Data, Error>) {
    let generation = poller.keys.current().generation;
    poller.finish(Finished { job, generation, sent, result }).await;
}

/// A poller that has listed one pipeline.
async fn poller_of_one() -> Poller {
    let mut poller = poller().await;
    assert!(matches!(poller.next_job(Instant::now()), Some(Job::ListPage(1))));
    let listed = page(serde_json::json!([{"id": "pipe_1", "status": "running"}]));
    answer(&mut poller, Job::ListPage(1), Instant::now(), Ok(listed)).await;
    assert_eq!(poller.schedule.len(), 1);
    poller
}

fn status(phase: &str) -> Data {
    Data::Status(serde_json::from_value(serde_json::json!({"status": phase})).unwrap())
}

#[tokio::test(start_paused = true)]
async fn answers_to_what_was_sent_before_a_refusal_do_not_undo_it() {
    let mut poller = poller_of_one().await;
    let sent = Instant::now();
    let [first, second, third] = Endpoint::PROBES.map(|endpoint| Job::Probe(Probe { id: id(), endpoint }));
    tokio::time::advance(Duration::from_secs(1)).await;
    answer(&mut poller, first, sent, Err(Error::of_status(401).unwrap())).await;
    tokio::time::advance(Duration::from_secs(1)).await;
    answer(&mut poller, second, sent, Ok(Data::Metrics(api::Metrics::default()))).await;
    assert!(poller.refused.is_some() && poller.fleet.lock().unauthorized);
    let list = Instant::now();
    tokio::time::advance(Duration::from_secs(1)).await;
    let late = Job::Probe(Probe { id: id(), endpoint: Endpoint::Metrics });
    answer(&mut poller, late, sent, Err(Error::of_status(401).unwrap())).await;
    assert!(poller.refused.is_some_and(|at| at < list), "what was sent before is no new refusal");
    answer(&mut poller, third, Instant::now(), Ok(Data::DestinationHealth(api::DestinationHealth::default()))).await;
    assert!(poller.refused.is_none() && !poller.fleet.lock().unauthorized);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_failed_once_is_asked_again_after_one_interval_however_small_the_budget() {
    let mut poller = poller_of_one().await;
    let now = Instant::now();
    (0..20_000).for_each(|n| poller.schedule.insert(&PipelineId::new(&format!("pipe_x{n}")).unwrap(), now));
    poller.listed_pages = Some(201);
    let listing = Listing::new(20_000, now);
    let wait = poller.next_list(listing.started, now) - now;
    assert_eq!(wait, Duration::from_secs(1_005), "201 pages are a twentieth of 4 requests per second");
    poller.list_failed(&listing, Error::of_status(502).unwrap(), Moment::now());
    assert_eq!(poller.list_due - now, poller.discovery);
    tokio::time::advance(Duration::from_secs(500)).await;
    poller.list_failed(&listing, Error::of_status(502).unwrap(), Moment::now());
    let wait = poller.list_due - Instant::now();
    assert!((Duration::from_secs(500)..=Duration::from_secs(505)).contains(&wait), "half of the time: {wait:?}");
}

#[tokio::test(start_paused = true)]
async fn an_expected_pipeline_that_is_missing_stays_so_while_a_list_hides_something() {
    let mut poller = poller_of_one().await;
    poller.account.expect = ["pipe_1", "pipe_9"].map(|id| PipelineId::new(id).unwrap()).to_vec();
    let mut expected = async |items: serde_json::Value| {
        poller.listing = Some(Listing::new(20_000, Instant::now()));
        answer(&mut poller, Job::ListPage(1), Instant::now(), Ok(page(items))).await;
        poller.fleet.lock().list.as_ref().unwrap().expected.clone()
    };
    let pipe = |id: Option<&str>| serde_json::json!({"id": id, "status": "running"});
    let (there, gone) = (("pipe_1".to_owned(), false), ("pipe_9".to_owned(), true));
    let hides = serde_json::json!([pipe(Some("pipe_1")), pipe(None)]);
    assert_eq!(expected(hides.clone()).await, std::slice::from_ref(&there), "it may be the one without an id");
    assert_eq!(expected(serde_json::json!([pipe(Some("pipe_1"))])).await, [there.clone(), gone.clone()]);
    assert_eq!(expected(hides).await, [there.clone(), gone]);
    let back = serde_json::json!([pipe(Some("pipe_1")), pipe(Some("pipe_9"))]);
    assert_eq!(expected(back).await, [there, ("pipe_9".to_owned(), false)]);
}

#[tokio::test(start_paused = true)]
async fn a_404_during_a_list_asks_for_another_one() {
    let mut poller = poller_of_one().await;
    poller.list_due = Instant::now();
    assert!(matches!(poller.next_job(Instant::now()), Some(Job::ListPage(1))));
    let probe = Job::Probe(Probe { id: id(), endpoint: Endpoint::Status });
    answer(&mut poller, probe, Instant::now(), Err(Error::of_status(404).unwrap())).await;
    answer(&mut poller, Job::ListPage(1), Instant::now(), Ok(page(serde_json::json!([])))).await;
    assert!(poller.list_due <= Instant::now());
}

#[tokio::test(start_paused = true)]
async fn only_an_answer_shows_that_a_pipeline_is_in_transition() {
    let mut poller = poller_of_one().await;
    let probe = || Probe { id: id(), endpoint: Endpoint::Status };
    let in_transition = |poller: &Poller| poller.schedule.required() > 0.2;
    for (result, wanted) in
        [(Ok(status("RUNNING")), false), (Ok(status("DEPLOYING")), true), (Err(Error::of_status(500).unwrap()), false)]
    {
        answer(&mut poller, Job::Probe(probe()), Instant::now(), result).await;
        assert_eq!(in_transition(&poller), wanted, "{}", poller.schedule.required());
    }
}

#[tokio::test(start_paused = true)]
async fn a_loop_that_waits_is_not_stuck_however_long_it_waits() {
    let day = Duration::from_secs(24 * 60 * 60);
    type Spoil = fn(&mut Poller, Duration);
    let waits: [(&str, Spoil); 3] = [
        ("the API is down", |_, _| {}),
        ("a pause after a 429", |poller, day| {
            poller.budget.pause(Some(day), Instant::now(), Instant::now());
        }),
        ("a refused key", |poller, day| {
            (poller.refused, poller.list_due) = (Some(Instant::now()), Instant::now() + day);
        }),
    ];
    for (what, spoil) in waits {
        let mut poller = poller().await;
        spoil(&mut poller, day);
        let pulse = poller.pulse();
        let running = tokio::spawn(poller.run());
        for minute in 0..240 {
            assert!(!pulse.is_stuck(), "{what}, after {minute} minutes");
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        running.abort();
    }
}
